/* The interpreter: nodes forward in order, backward in reverse order, over memory that the plan laid out. */
#include "model/net.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "longhaul/units.h"

/* What a node is told about one microbatch at most; ids live on the caller's side. */
struct pass {
	struct lh_net *net;
	const uint64_t *ids;
	size_t n;
};

static void *at(const struct lh_net *net, size_t offset)
{
	return offset == LH_PLAN_NONE ? NULL : (char *)net->arena + offset;
}

static size_t tensor_bytes(const struct lh_net *net, int t, size_t n)
{
	const struct lh_graph_tensor *tensor = &net->graph->tensors[t];
	return n * lh_shape_count(tensor->shape) * lh_plan_element(net->plan, net->graph, t);
}

static void *in_vector(const struct lh_net *net, void *vector, size_t offset)
{
	return (char *)vector + offset * net->ops->element_bytes;
}

static struct lh_op_run bind(const struct pass *pass, size_t i)
{
	const struct lh_net *net = pass->net;
	const struct lh_graph *g = net->graph;
	const struct lh_plan *plan = net->plan;
	const struct lh_node *node = &g->nodes[i];
	struct lh_op_run r = {.node = node,
			      .n = pass->n,
			      .training = net->training,
			      .seed = net->seed,
			      .ids = pass->ids,
			      .y = at(net, plan->value[node->out]),
			      .dy = at(net, plan->gradient[node->out]),
			      .state = at(net, plan->state[i]),
			      .scratch = at(net, plan->scratch)};
	for (unsigned k = 0; k < node->inputs; k++) {
		r.x[k] = at(net, plan->value[node->in[k]]);
		r.dx[k] = at(net, plan->gradient[node->in[k]]);
		r.dx_add[k] = plan->adds[i * LH_NODE_INPUTS_MAX + k];
	}
	for (unsigned k = 0; k < node->params; k++) {
		if (node->param[k] < 0)
			continue;
		const struct lh_graph_param *p = &g->params[node->param[k]];
		r.param[k] = in_vector(net, net->params, p->offset);
		const size_t copy = plan->copy[node->param[k]];
		r.copy[k] = copy == LH_PLAN_NONE ? r.param[k] : (const char *)net->copies + copy;
		r.dparam[k] = p->frozen ? NULL : in_vector(net, net->grads, p->offset);
	}
	for (unsigned k = 0; k < node->buffers; k++)
		r.buffer[k] = in_vector(net, net->buffers, g->buffers[node->buffer[k]].offset);
	return r;
}

static int run_node(const struct pass *pass, size_t i, bool forward, struct lh_err *err)
{
	const struct lh_net *net = pass->net;
	const struct lh_backend_op *op = net->ops->op[net->graph->nodes[i].op];
	const struct lh_op_run r = bind(pass, i);
	const lh_ns begin = net->spent_ns ? lh_clock_ns() : 0;
	int rc = 0;
	if (forward)
		rc = op->forward(net->backend, &r, err);
	else if (r.dy) /* else nothing trainable is above it */
		rc = op->backward(net->backend, &r, err);
	if (net->spent_ns)
		net->spent_ns[2 * i + !forward] += (uint64_t)(lh_clock_ns() - begin);
	return rc;
}

static int check_samples(const struct lh_net *net, size_t n, struct lh_err *err)
{
	if (n && n <= net->plan->microbatch)
		return 0;
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: %zu samples in a microbatch of %zu", net->graph->name, n,
			  net->plan->microbatch);
}

static int check_integers(const struct lh_graph *g, int t, const int32_t *v, size_t n, struct lh_err *err)
{
	const struct lh_graph_tensor *tensor = &g->tensors[t];
	for (size_t i = 0; i < n; i++)
		if ((v[i] < 0 || v[i] >= tensor->limit) && !(tensor->ignorable && v[i] == LH_TARGET_IGNORED))
			return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "model %s: an input has symbol %ld of %ld",
					  g->name, (long)v[i], (long)tensor->limit);
	return 0;
}

int lh_net_put_inputs(struct lh_net *net, const void *const *inputs, size_t n, struct lh_err *err)
{
	const struct lh_graph *g = net->graph;
	int rc = check_samples(net, n, err);
	for (size_t t = 0, i = 0; t < g->ntensors && !rc; t++) {
		if (g->tensors[t].producer >= 0)
			continue;
		if (g->tensors[t].integer)
			rc = check_integers(g, (int)t, inputs[i], n * lh_shape_count(g->tensors[t].shape), err);
		if (!rc && g->tensors[t].integer)
			rc = net->ops->put(net->backend, at(net, net->plan->value[t]), inputs[i],
					   tensor_bytes(net, (int)t, n), err);
		else if (!rc)
			rc = net->ops->put_reals(net->backend, at(net, net->plan->value[t]), inputs[i],
						 n * lh_shape_count(g->tensors[t].shape), err);
		i++;
	}
	return rc;
}

/* The loss tensor, {loss, hits} of each sample, in the backend's element. */
static int read_loss(struct lh_net *net, size_t n, struct lh_net_result *result, struct lh_err *err)
{
	const size_t size = net->ops->element_bytes;
	char *host = malloc(2 * n * size);
	if (!host)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", net->graph->name);
	int rc = lh_net_get(net, net->graph->loss, n, host, err);
	for (size_t i = 0; i < n && !rc; i++) {
		double d[2];
		float f[2];
		memcpy(size == sizeof *d ? (void *)d : (void *)f, host + 2 * i * size, 2 * size);
		result->loss_sum += size == sizeof *d ? d[0] : (double)f[0];
		result->hits += (size_t)(size == sizeof *d ? d[1] : (double)f[1]);
	}
	free(host);
	return rc;
}

/* ids given, or 0, 1, ...: a list that the caller frees. */
static int begin_pass(struct lh_net *net, const uint64_t *ids, size_t n, struct pass *pass, uint64_t **ret_own,
		      struct lh_err *err)
{
	int rc = check_samples(net, n, err);
	if (rc)
		return rc;
	uint64_t *own = NULL;
	if (!ids) {
		own = malloc(n * sizeof *own);
		if (!own)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", net->graph->name);
		for (size_t i = 0; i < n; i++)
			own[i] = i;
	}
	*ret_own = own;
	*pass = (struct pass){ .net = net, .ids = own ? own : ids, .n = n };
	return 0;
}

static int make_copies(struct lh_net *net, struct lh_err *err)
{
	const struct lh_graph *g = net->graph;
	int rc = 0;
	for (size_t i = 0; i < g->nparams && net->copies && !rc; i++)
		if (net->plan->copy[i] != LH_PLAN_NONE)
			rc = net->ops->cast(net->backend, (char *)net->copies + net->plan->copy[i],
					    in_vector(net, net->params, g->params[i].offset), g->params[i].count, err);
	net->stale = rc != 0;
	return rc;
}

static int begin_forward(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
			 struct lh_err *err)
{
	const struct lh_graph *g = net->graph;
	struct pass pass;
	uint64_t *own = NULL;
	int rc = begin_pass(net, ids, n, &pass, &own, err);
	if (!rc && inputs)
		rc = lh_net_put_inputs(net, inputs, n, err);
	if (!rc && net->stale)
		rc = make_copies(net, err);
	for (size_t i = 0; i < g->nnodes && !rc; i++)
		rc = run_node(&pass, i, true, err);
	free(own);
	return rc;
}

int lh_net_forward(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
		   struct lh_net_result *result, struct lh_err *err)
{
	int rc = begin_forward(net, inputs, ids, n, err);
	return rc ? rc : read_loss(net, n, result, err);
}

static bool is_finite(const struct lh_net *net, const void *values, size_t count)
{
	bool finite = true;
	for (size_t i = 0; i < count && finite; i++)
		finite = net->ops->element_bytes == sizeof(double) ? isfinite(((const double *)values)[i]) :
								     isfinite(((const float *)values)[i]);
	return finite;
}

static void name_node(const struct lh_graph *g, size_t i, char ret[LH_NET_BLAME_MAX])
{
	const char *op = lh_op_traits[g->nodes[i].op].name;
	if (*g->nodes[i].name) {
		snprintf(ret, LH_NET_BLAME_MAX, "%s (%s)", g->nodes[i].name, op);
		return;
	}
	size_t before = i;
	while (before > 0 && !*g->nodes[before].name)
		before--;
	snprintf(ret, LH_NET_BLAME_MAX, "%s after %s", op, *g->nodes[before].name ? g->nodes[before].name : "the input");
}

int lh_net_blame(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
		 char ret[LH_NET_BLAME_MAX], struct lh_err *err)
{
	const struct lh_graph *g = net->graph;
	struct pass pass;
	uint64_t *own = NULL;
	size_t largest = 0;
	*ret = 0;
	for (size_t i = 0; i < g->nnodes; i++) {
		size_t count = n * lh_shape_count(g->nodes[i].y);
		largest = count > largest ? count : largest;
	}
	void *host = malloc(largest * net->ops->element_bytes + 1);
	int rc = host ? begin_pass(net, ids, n, &pass, &own, err) :
			lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", g->name);
	if (!rc)
		rc = lh_net_put_inputs(net, inputs, n, err);
	if (!rc && net->stale)
		rc = make_copies(net, err);
	for (size_t i = 0; i < g->nnodes && !rc && !*ret; i++) {
		rc = run_node(&pass, i, true, err);
		if (!rc)
			rc = lh_net_get(net, g->nodes[i].out, n, host, err);
		if (!rc && !is_finite(net, host, n * lh_shape_count(g->nodes[i].y)))
			name_node(g, i, ret);
	}
	free(own);
	free(host);
	return rc;
}

/* d loss / d {loss, hits} = {1, 0} for each sample, times the scale. */
static int put_root(struct lh_net *net, size_t n, struct lh_err *err)
{
	const size_t size = net->ops->element_bytes;
	const double d[2] = { net->loss_scale, 0 };
	const float f[2] = { (float)net->loss_scale, 0 };
	char *host = malloc(2 * n * size);
	if (!host)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", net->graph->name);
	for (size_t i = 0; i < n; i++)
		memcpy(host + 2 * i * size, size == sizeof *d ? (const void *)d : (const void *)f, 2 * size);
	int rc = net->ops->put(net->backend, at(net, net->plan->gradient[net->graph->loss]), host, 2 * n * size, err);
	free(host);
	return rc;
}

int lh_net_backward(struct lh_net *net, const uint64_t *ids, size_t n, struct lh_err *err)
{
	const struct lh_graph *g = net->graph;
	struct pass pass;
	uint64_t *own = NULL;
	int rc = begin_pass(net, ids, n, &pass, &own, err);
	if (!rc && g->tensors[g->loss].gradient)
		rc = put_root(net, n, err);
	for (size_t i = g->nnodes; i-- > 0 && !rc;)
		rc = run_node(&pass, i, false, err);
	free(own);
	return rc;
}

int lh_net_step(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
		struct lh_net_result *result, struct lh_err *err)
{
	int rc = begin_forward(net, inputs, ids, n, err);
	if (!rc)
		rc = lh_net_backward(net, ids, n, err);
	return rc ? rc : read_loss(net, n, result, err);
}

int lh_net_get(struct lh_net *net, int tensor, size_t n, void *host, struct lh_err *err)
{
	const void *from = at(net, net->plan->value[tensor]);
	if (net->graph->tensors[tensor].integer || tensor == net->graph->loss)
		return net->ops->get(net->backend, host, from, tensor_bytes(net, tensor, n), err);
	return net->ops->get_reals(net->backend, host, from, n * lh_shape_count(net->graph->tensors[tensor].shape), err);
}

int lh_net_put_params(struct lh_net *net, const void *host, struct lh_err *err)
{
	net->stale = true;
	return net->ops->put(net->backend, net->params, host, net->plan->weights, err);
}

int lh_net_get_grads(struct lh_net *net, void *host, struct lh_err *err)
{
	return net->ops->get(net->backend, host, net->grads, net->plan->gradients, err);
}

int lh_net_zero_grads(struct lh_net *net, struct lh_err *err)
{
	return net->ops->zero(net->backend, net->grads, net->plan->gradients, err);
}

static int put_buffers(struct lh_net *net, struct lh_err *err)
{
	const struct lh_graph *g = net->graph;
	const size_t size = net->ops->element_bytes;
	char *host = malloc(net->plan->buffers + 1);
	if (!host)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", g->name);
	for (size_t k = 0; k < g->nbuffers; k++)
		for (size_t i = 0; i < g->buffers[k].count; i++) {
			const double d = g->buffers[k].initial;
			const float f = (float)d;
			memcpy(host + (g->buffers[k].offset + i) * size,
			       size == sizeof d ? (const void *)&d : (const void *)&f, size);
		}
	int rc = net->ops->put(net->backend, net->buffers, host, net->plan->buffers, err);
	free(host);
	return rc;
}

static int allocate(struct lh_net *net, struct lh_err *err)
{
	const struct lh_plan *p = net->plan;
	const struct { void **at; size_t bytes; bool wanted; } blocks[] = {
		{ &net->params, p->weights, !net->lent }, { &net->grads, p->gradients, !net->lent },
		{ &net->buffers, p->buffers, true }, { &net->copies, p->copies, p->copies > 0 },
		{ &net->arena, p->activations, true },
	};
	int rc = 0;
	for (size_t i = 0; i < sizeof blocks / sizeof *blocks && !rc; i++)
		if (blocks[i].wanted)
			rc = net->ops->alloc(net->backend, blocks[i].bytes, blocks[i].at, err);
	if (rc)
		lh_err_wrap(err, "model %s, microbatch %zu", net->graph->name, p->microbatch);
	return rc;
}

int lh_net_open(const struct lh_graph *graph, const struct lh_backend_ops *ops, const struct lh_backend_config *config,
		size_t microbatch, unsigned flags, struct lh_net **ret, struct lh_err *err)
{
	struct lh_net *net = calloc(1, sizeof *net);
	if (!net)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", graph->name);
	*net = (struct lh_net){ .graph = graph, .training = true, .stale = true, .loss_scale = 1,
				.lent = flags & LH_NET_LENT };
	int rc = ops->open(config, &net->backend, err);
	net->ops = rc ? NULL : ops;
	if (!rc)
		rc = lh_plan_new(graph, ops, microbatch, flags & LH_NET_SHARE, &net->plan, err);
	if (!rc)
		rc = allocate(net, err);
	if (!rc)
		rc = put_buffers(net, err);
	if (rc) {
		lh_net_free(net);
		return rc;
	}
	*ret = net;
	return 0;
}

int lh_net_new(const struct lh_graph *graph, const struct lh_backend_ops *ops, size_t microbatch, unsigned flags,
	       struct lh_net **ret, struct lh_err *err)
{
	return lh_net_open(graph, ops, NULL, microbatch, flags, ret, err);
}

void lh_net_lend(struct lh_net *net, void *params, void *grads)
{
	net->params = params;
	net->grads = grads;
	net->stale = true;
}

void lh_net_free(struct lh_net *net)
{
	if (!net)
		return;
	void *memory[] = { net->lent ? NULL : net->params, net->lent ? NULL : net->grads, net->buffers, net->copies,
			   net->arena };
	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		if (memory[i])
			net->ops->release(net->backend, memory[i]);
	if (net->ops)
		net->ops->close(net->backend);
	lh_plan_free(net->plan);
	free(net);
}
