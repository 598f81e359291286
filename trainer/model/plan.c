/* Blocks with a lifetime each, laid into one arena: the largest first, each at the lowest place where it meets nobody
 * who is alive at the same time. */
#include "model/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct block {
	size_t *place;     /* of the plan: where the offset goes */
	size_t bytes;
	size_t first, last;
	size_t offset;
};

struct blocks {
	struct block *all;
	size_t n;
};

static size_t round_up(size_t bytes) { return (bytes + LH_PLAN_ALIGN - 1) / LH_PLAN_ALIGN * LH_PLAN_ALIGN; }

static void add_block(struct blocks *b, size_t *place, size_t bytes, size_t first, size_t last)
{
	if (bytes)
		b->all[b->n++] = (struct block){.place = place, .bytes = round_up(bytes), .first = first, .last = last};
}

size_t lh_plan_element(const struct lh_plan *p, const struct lh_graph *g, int tensor)
{
	if (g->tensors[tensor].integer)
		return sizeof(int32_t);
	return tensor == g->loss ? p->element_bytes : p->activation_bytes;
}

/* What products read of the parameters, where that is not the parameters themselves. */
static void lay_copies(const struct lh_graph *g, struct lh_plan *p)
{
	for (size_t i = 0; i < g->nnodes && p->activation_bytes != p->element_bytes; i++) {
		const struct lh_node *node = &g->nodes[i];
		for (unsigned k = 0; k < node->params && (node->op == LH_OP_LINEAR || node->op == LH_OP_CONV2D); k++) {
			if (node->param[k] < 0 || p->copy[node->param[k]] != LH_PLAN_NONE)
				continue;
			p->copy[node->param[k]] = p->copies;
			p->copies += round_up(g->params[node->param[k]].count * p->activation_bytes);
		}
	}
}

/* Lifetimes of each tensor's value and gradient, of each node's state. */
static void list_blocks(const struct lh_graph *g, const struct lh_backend_ops *backend, struct lh_plan *p,
			struct blocks *b)
{
	const size_t n = g->nnodes, steps = 2 * n;
	for (size_t t = 0; t < g->ntensors; t++) {
		const struct lh_graph_tensor *tensor = &g->tensors[t];
		const size_t made = tensor->producer < 0 ? 0 : (size_t)tensor->producer;
		size_t last = made, filled = steps; /* the gradient is first touched by its last consumer */
		for (size_t i = 0; i < n; i++)
			for (unsigned k = 0; k < g->nodes[i].inputs; k++) {
				if (g->nodes[i].in[k] != (int)t)
					continue;
				const size_t use = lh_op_traits[g->nodes[i].op].keeps_x >> k & 1 ? steps - 1 - i : i;
				last = use > last ? use : last;
				filled = steps - 1 - i;
			}
		if (tensor->producer >= 0 && lh_op_traits[g->nodes[made].op].keeps_y)
			last = steps - 1 - made;
		if ((int)t == g->loss) {
			last = steps - 1; /* read after forward, or at the very end */
			filled = n;
		}
		const size_t bytes = p->microbatch * lh_shape_count(tensor->shape) * lh_plan_element(p, g, (int)t);
		add_block(b, &p->value[t], bytes, made, last);
		if (tensor->gradient)
			add_block(b, &p->gradient[t], bytes, filled, steps - 1 - made);
	}
	for (size_t i = 0; i < n; i++) {
		const struct lh_backend_op *op = backend->op[g->nodes[i].op];
		if (op->state)
			add_block(b, &p->state[i], op->state(&g->nodes[i], p->microbatch), i, steps - 1 - i);
		const size_t scratch = op->scratch ? op->scratch(&g->nodes[i], p->microbatch) : 0;
		p->scratch_bytes = round_up(scratch) > p->scratch_bytes ? round_up(scratch) : p->scratch_bytes;
	}
}

static int by_size(const void *a, const void *b)
{
	const struct block *x = a, *y = b;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->first != y->first ? (x->first < y->first ? -1 : 1) : x->place < y->place ? -1 : x->place > y->place;
}

/* placed: those laid already, by offset. Returns how many it holds now. */
static void lay(struct block *b, struct block **placed, size_t n, bool share)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		const struct block *o = placed[i];
		if (share && (o->last < b->first || b->last < o->first))
			continue;
		if (o->offset >= at + b->bytes)
			break;
		at = o->offset + o->bytes > at ? o->offset + o->bytes : at;
	}
	b->offset = at;
	size_t i = n;
	for (; i && placed[i - 1]->offset > at; i--)
		placed[i] = placed[i - 1];
	placed[i] = b;
}

/* Returns the arena's size. */
static size_t lay_all(struct blocks *b, struct block **placed, bool share)
{
	size_t end = 0;
	qsort(b->all, b->n, sizeof *b->all, by_size);
	for (size_t i = 0; i < b->n; i++) {
		lay(&b->all[i], placed, i, share);
		*b->all[i].place = b->all[i].offset;
		end = b->all[i].offset + b->all[i].bytes > end ? b->all[i].offset + b->all[i].bytes : end;
	}
	return end;
}

static size_t most_alive(const struct blocks *b, size_t steps)
{
	size_t most = 0;
	for (size_t s = 0; s < steps; s++) {
		size_t sum = 0;
		for (size_t i = 0; i < b->n; i++)
			if (b->all[i].first <= s && s <= b->all[i].last)
				sum += b->all[i].bytes;
		most = sum > most ? sum : most;
	}
	return most;
}

/* Going back, the first node to meet a tensor writes its gradient, the others add. */
static int find_adds(const struct lh_graph *g, struct lh_plan *p)
{
	bool *written = calloc(g->ntensors, sizeof *written);
	if (!written)
		return -ENOMEM;
	for (size_t i = g->nnodes; i-- > 0;)
		for (unsigned k = 0; k < g->nodes[i].inputs; k++) {
			const int t = g->nodes[i].in[k];
			p->adds[i * LH_NODE_INPUTS_MAX + k] = written[t];
			written[t] = true;
		}
	free(written);
	return 0;
}

static int make(const struct lh_graph *g, const struct lh_backend_ops *backend, bool share, struct lh_plan *p)
{
	const size_t most = 2 * g->ntensors + g->nnodes;
	struct blocks b = { .all = calloc(most, sizeof *b.all) };
	struct block **placed = calloc(most, sizeof *placed);
	p->value = malloc(g->ntensors * sizeof *p->value);
	p->gradient = malloc(g->ntensors * sizeof *p->gradient);
	p->state = malloc(g->nnodes * sizeof *p->state);
	p->copy = malloc((g->nparams + 1) * sizeof *p->copy);
	p->adds = calloc(g->nnodes * LH_NODE_INPUTS_MAX, sizeof *p->adds);
	int rc = b.all && placed && p->value && p->gradient && p->state && p->copy && p->adds ? 0 : -ENOMEM;
	if (!rc)
		rc = find_adds(g, p);
	if (!rc) {
		memset(p->value, 0xff, g->ntensors * sizeof *p->value);
		memset(p->gradient, 0xff, g->ntensors * sizeof *p->gradient);
		memset(p->state, 0xff, g->nnodes * sizeof *p->state);
		memset(p->copy, 0xff, (g->nparams + 1) * sizeof *p->copy);
		list_blocks(g, backend, p, &b);
		lay_copies(g, p);
		p->scratch = lay_all(&b, placed, share);
		p->activations = p->scratch + p->scratch_bytes;
		p->live = most_alive(&b, 2 * g->nnodes) + p->scratch_bytes;
		p->weights = p->gradients = g->parameters * backend->element_bytes;
		p->buffers = g->buffer_elements * backend->element_bytes;
	}
	free(b.all);
	free(placed);
	return rc;
}

int lh_plan_new(const struct lh_graph *g, const struct lh_backend_ops *backend, size_t microbatch, bool share,
		struct lh_plan **ret, struct lh_err *err)
{
	if (!microbatch || microbatch > 1 << 16)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: microbatch %zu: not in 1 ... 65536", g->name,
				  microbatch);
	struct lh_plan *p = calloc(1, sizeof *p);
	if (p)
		*p = (struct lh_plan){ .microbatch = microbatch,
				       .activation_bytes = backend->activation_bytes,
				       .element_bytes = backend->element_bytes };
	if (!p || make(g, backend, share, p)) {
		lh_plan_free(p);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s: its memory plan", g->name);
	}
	*ret = p;
	return 0;
}

void lh_plan_free(struct lh_plan *p)
{
	if (!p)
		return;
	free(p->value);
	free(p->gradient);
	free(p->state);
	free(p->copy);
	free(p->adds);
	free(p);
}
