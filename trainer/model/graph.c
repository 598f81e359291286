/* Building a model's table. */
#include "model/graph.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Far beyond any model here; keeps every product of sizes below in range. */
#define ELEMENTS_MAX ((size_t)1 << 40)
enum { SIDE_MAX = 1 << 24 };

struct lh_name lh_name(const char *fmt, ...)
{
	struct lh_name n;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(n.text, sizeof n.text, fmt, ap);
	va_end(ap);
	return n;
}

static int fail(struct lh_graph *g, int code, const char *where, const char *what)
{
	if (!g->failed) {
		g->failed = code;
		snprintf(g->failure, sizeof g->failure, "%.90s: %.60s", where, what);
	}
	return -1;
}

/* Room for one more of a growing array. */
static void *grow(struct lh_graph *g, void *array, size_t n, size_t size)
{
	if (n & (n - 1)) /* room up to the next power of 2 */
		return array;
	void *bigger = realloc(array, (n ? 2 * n : 1) * size);
	if (!bigger)
		fail(g, -ENOMEM, g->name, "no memory for its table");
	return bigger;
}
#define APPEND(g, array, n) \
	({ void *p_ = grow(g, (g)->array, (g)->n, sizeof *(g)->array); \
	   if (p_) (g)->array = p_; \
	   p_ ? &(g)->array[(g)->n++] : NULL; })

struct lh_graph *lh_graph_new(const char *name)
{
	struct lh_graph *g = calloc(1, sizeof *g);
	if (g) {
		snprintf(g->name, sizeof g->name, "%s", name);
		g->loss = g->logits = -1;
	}
	return g;
}

void lh_graph_free(struct lh_graph *g)
{
	if (!g)
		return;
	free(g->params);
	free(g->buffers);
	free(g->tensors);
	free(g->nodes);
	free(g);
}

static int add_tensor(struct lh_graph *g, struct lh_graph_tensor t)
{
	const struct lh_shape s = t.shape;
	if (g->failed)
		return -1;
	if (!s.h || !s.w || !s.c || s.h > SIDE_MAX || s.w > SIDE_MAX || s.c > SIDE_MAX ||
	    (double)s.h * (double)s.w * (double)s.c > (double)ELEMENTS_MAX)
		return fail(g, -EINVAL, g->nnodes ? g->nodes[g->nnodes - 1].name : g->name,
			    "an empty or impossible shape");
	struct lh_graph_tensor *new = APPEND(g, tensors, ntensors);
	if (!new)
		return -1;
	*new = t;
	return (int)g->ntensors - 1;
}

int lh_graph_input(struct lh_graph *g, struct lh_shape shape)
{
	return add_tensor(g, (struct lh_graph_tensor){ .shape = shape, .producer = -1 });
}

static int input_integers(struct lh_graph *g, size_t length, int32_t limit, bool ignorable)
{
	return add_tensor(g, (struct lh_graph_tensor){ .shape = { 1, length, 1 }, .producer = -1, .integer = true,
						       .limit = limit, .ignorable = ignorable });
}

int lh_graph_input_ids(struct lh_graph *g, size_t length, int32_t limit)
{
	return input_integers(g, length, limit, false);
}

int lh_graph_input_targets(struct lh_graph *g, size_t length, int32_t limit)
{
	return input_integers(g, length, limit, true);
}

/* --- nodes --- */

/* A node over x (tensors; -1 ends them early). NULL after a failure. Its y is set by `finish`. */
static struct lh_node *begin(struct lh_graph *g, enum lh_op op, const char *name, const int *x, unsigned inputs)
{
	for (unsigned i = 0; i < inputs && !g->failed; i++)
		if (x[i] < 0 || (size_t)x[i] >= g->ntensors)
			fail(g, -EINVAL, name, "an input that does not exist");
	if (g->failed)
		return NULL;
	struct lh_node *node = APPEND(g, nodes, nnodes);
	if (!node)
		return NULL;
	*node = (struct lh_node){ .op = op, .inputs = inputs, .groups = 1, .heads = 1, .padding_id = -1, .out = -1 };
	snprintf(node->name, sizeof node->name, "%s", *name ? name : lh_op_traits[op].name);
	for (unsigned i = 0; i < inputs; i++) {
		node->in[i] = x[i];
		node->x[i] = g->tensors[x[i]].shape;
	}
	node->y = node->x[0];
	node->stream = lh_hash64(name, strlen(name), 0);
	return node;
}

static int finish(struct lh_graph *g, struct lh_node *node)
{
	if (!node || g->failed)
		return -1;
	bool gradient = false;
	for (unsigned i = 0; i < node->inputs; i++)
		gradient |= g->tensors[node->in[i]].gradient;
	for (unsigned i = 0; i < node->params; i++)
		gradient |= node->param[i] >= 0 && !g->params[node->param[i]].frozen;
	const int out = add_tensor(g, (struct lh_graph_tensor){ .shape = node->y, .gradient = gradient,
								.producer = (int)g->nnodes - 1 });
	node->out = out;
	return out;
}

static int unary(struct lh_graph *g, enum lh_op op, const char *name, int x)
{
	return finish(g, begin(g, op, name, &x, 1));
}

/* shape ends with 0. Initial values: centre +- spread. */
static void add_param(struct lh_graph *g, struct lh_node *node, struct lh_name name, const size_t *shape,
		      enum lh_layout layout, double centre, double spread)
{
	struct lh_graph_param *p = g->failed ? NULL : APPEND(g, params, nparams);
	if (!p)
		return;
	*p = (struct lh_graph_param){ .layout = layout, .offset = g->parameters, .count = 1, .centre = centre,
				      .spread = spread };
	memcpy(p->name, name.text, sizeof p->name);
	while (p->ndim < LH_GRAPH_DIMS_MAX && shape[p->ndim]) {
		p->shape[p->ndim] = shape[p->ndim];
		p->count *= shape[p->ndim++];
		if (p->count > ELEMENTS_MAX) {
			fail(g, -EINVAL, name.text, "too many elements");
			return;
		}
	}
	p->decay = p->ndim > 1;
	g->parameters += p->count;
	node->param[node->params++] = (int)g->nparams - 1;
}

/* What keeps the variance of a sum of fan_in products. */
static double spread_of(size_t fan_in) { return sqrt(3.0 / (double)fan_in); }

static void add_bias(struct lh_graph *g, struct lh_node *node, struct lh_name layer, bool wanted)
{
	if (wanted)
		add_param(g, node, lh_name("%.80s.bias", layer.text), (size_t[]){node->y.c, 0}, LH_LAYOUT_PLAIN, 0, 0);
	else
		node->param[node->params++] = -1;
}

int lh_g_linear(struct lh_graph *g, int x, struct lh_name name, size_t out, bool bias)
{
	struct lh_node *node = begin(g, LH_OP_LINEAR, name.text, &x, 1);
	if (!node)
		return -1;
	node->y.c = out;
	add_param(g, node, lh_name("%.80s.weight", name.text), (size_t[]){ out, node->x[0].c, 0 }, LH_LAYOUT_PLAIN, 0,
		  spread_of(node->x[0].c));
	add_bias(g, node, name, bias);
	return finish(g, node);
}

const struct lh_graph_param *lh_graph_find_param(const struct lh_graph *g, const char *name)
{
	for (size_t i = 0; i < g->nparams; i++)
		if (!strcmp(g->params[i].name, name))
			return &g->params[i];
	return NULL;
}

int lh_g_tied_linear(struct lh_graph *g, int x, struct lh_name weight, const char *bias)
{
	struct lh_node *node = begin(g, LH_OP_LINEAR, weight.text, &x, 1);
	if (!node)
		return -1;
	const struct lh_graph_param *p = lh_graph_find_param(g, weight.text);
	if (!p || p->ndim != 2 || p->shape[1] != node->x[0].c)
		return fail(g, -EINVAL, weight.text, "no matrix to be tied to");
	node->y.c = p->shape[0];
	node->param[node->params++] = (int)(p - g->params);
	if (bias)
		add_param(g, node, lh_name("%s", bias), (size_t[]){ node->y.c, 0 }, LH_LAYOUT_PLAIN, 0, 0);
	else
		node->param[node->params++] = -1;
	return finish(g, node);
}

/* --- windows --- */

static size_t slots(size_t in, size_t kernel, size_t stride, size_t pad, size_t dilation)
{
	const size_t reach = dilation * (kernel - 1) + 1;
	return in + 2 * pad < reach ? 0 : (in + 2 * pad - reach) / stride + 1;
}

/* Fill node->window and the y that follows from it. flat: along w only. */
static void set_window(struct lh_graph *g, struct lh_node *node, struct lh_conv c, bool flat)
{
	const size_t most = 1 << 12;
	if (!c.kernel || c.kernel > most || c.stride > most || c.padding > most || c.dilation > most) {
		fail(g, -EINVAL, node->name, "an impossible window");
		return;
	}
	c.stride = c.stride ? c.stride : 1;
	c.dilation = c.dilation ? c.dilation : 1;
	node->window = (struct lh_window){ .kh = flat ? 1 : c.kernel, .kw = c.kernel, .stride_h = flat ? 1 : c.stride,
					   .stride_w = c.stride, .pad_h = flat ? 0 : c.padding, .pad_w = c.padding,
					   .dilation_h = flat ? 1 : c.dilation, .dilation_w = c.dilation };
	const struct lh_window *k = &node->window;
	node->y.h = slots(node->x[0].h, k->kh, k->stride_h, k->pad_h, k->dilation_h);
	node->y.w = slots(node->x[0].w, k->kw, k->stride_w, k->pad_w, k->dilation_w);
}

static int conv(struct lh_graph *g, int x, struct lh_name name, struct lh_conv c, bool flat)
{
	struct lh_node *node = begin(g, LH_OP_CONV2D, name.text, &x, 1);
	if (!node)
		return -1;
	const size_t in = node->x[0].c, groups = c.groups ? c.groups : 1;
	if (in % groups || c.out % groups)
		return fail(g, -EINVAL, name.text, "its groups do not divide its channels");
	set_window(g, node, c, flat);
	const bool depthwise = groups > 1 && groups == in && c.out == in;
	node->op = depthwise ? LH_OP_DEPTHWISE : LH_OP_CONV2D;
	node->groups = groups;
	node->y.c = c.out;
	const size_t shape2[] = {c.out, in / groups, c.kernel, c.kernel, 0},
		     shape1[] = {c.out, in / groups, c.kernel, 0};
	add_param(g, node, lh_name("%.80s.weight", name.text), flat ? shape1 : shape2,
		  depthwise ? LH_LAYOUT_HWC : LH_LAYOUT_OHWI, 0,
		  spread_of(node->window.kh * node->window.kw * in / groups));
	add_bias(g, node, name, c.bias);
	return finish(g, node);
}

int lh_g_conv2d(struct lh_graph *g, int x, struct lh_name name, struct lh_conv c) { return conv(g, x, name, c, false); }
int lh_g_conv1d(struct lh_graph *g, int x, struct lh_name name, struct lh_conv c) { return conv(g, x, name, c, true); }

static int pool(struct lh_graph *g, enum lh_op op, int x, size_t kernel, size_t stride, size_t padding)
{
	struct lh_node *node = begin(g, op, "", &x, 1);
	if (!node)
		return -1;
	if (2 * padding > kernel)
		return fail(g, -EINVAL, node->name, "padding of more than half of its window");
	set_window(g, node, (struct lh_conv){ .kernel = kernel, .stride = stride, .padding = padding }, false);
	return finish(g, node);
}

int lh_g_maxpool(struct lh_graph *g, int x, size_t kernel, size_t stride, size_t padding)
{
	return pool(g, LH_OP_MAXPOOL, x, kernel, stride, padding);
}

int lh_g_avgpool(struct lh_graph *g, int x, size_t kernel, size_t stride, size_t padding)
{
	return pool(g, LH_OP_AVGPOOL, x, kernel, stride, padding);
}

int lh_g_global_avgpool(struct lh_graph *g, int x)
{
	struct lh_node *node = begin(g, LH_OP_AVGPOOL, "", &x, 1);
	if (!node)
		return -1;
	node->window = (struct lh_window){ .kh = node->x[0].h, .kw = node->x[0].w, .stride_h = 1, .stride_w = 1,
					   .dilation_h = 1, .dilation_w = 1 };
	node->y = (struct lh_shape){ 1, 1, node->x[0].c };
	return finish(g, node);
}

/* --- norms and element-wise --- */

static void add_gain_and_shift(struct lh_graph *g, struct lh_node *node, struct lh_name name)
{
	const size_t shape[] = { node->y.c, 0 };
	add_param(g, node, lh_name("%.80s.weight", name.text), shape, LH_LAYOUT_PLAIN, 1, 0);
	add_param(g, node, lh_name("%.80s.bias", name.text), shape, LH_LAYOUT_PLAIN, 0, 0);
}

static void add_buffer(struct lh_graph *g, struct lh_node *node, struct lh_name name, double initial)
{
	struct lh_graph_buffer *b = g->failed ? NULL : APPEND(g, buffers, nbuffers);
	if (!b)
		return;
	*b = (struct lh_graph_buffer){ .offset = g->buffer_elements, .count = node->y.c, .initial = initial };
	memcpy(b->name, name.text, sizeof b->name);
	g->buffer_elements += b->count;
	node->buffer[node->buffers++] = (int)g->nbuffers - 1;
}

int lh_g_batchnorm(struct lh_graph *g, int x, struct lh_name name)
{
	struct lh_node *node = begin(g, LH_OP_BATCHNORM, name.text, &x, 1);
	if (!node)
		return -1;
	node->epsilon = 1e-5;
	node->momentum = 0.1;
	add_gain_and_shift(g, node, name);
	add_buffer(g, node, lh_name("%.80s.running_mean", name.text), 0);
	add_buffer(g, node, lh_name("%.80s.running_var", name.text), 1);
	return finish(g, node);
}

int lh_g_layernorm(struct lh_graph *g, int x, struct lh_name name, double epsilon)
{
	struct lh_node *node = begin(g, LH_OP_LAYERNORM, name.text, &x, 1);
	if (!node)
		return -1;
	node->epsilon = epsilon;
	add_gain_and_shift(g, node, name);
	return finish(g, node);
}

int lh_g_relu(struct lh_graph *g, int x) { return unary(g, LH_OP_RELU, "", x); }
int lh_g_gelu(struct lh_graph *g, int x) { return unary(g, LH_OP_GELU, "", x); }
int lh_g_softmax(struct lh_graph *g, int x) { return unary(g, LH_OP_SOFTMAX, "", x); }

int lh_g_add(struct lh_graph *g, int x0, int x1)
{
	struct lh_node *node = begin(g, LH_OP_ADD, "", (int[]){ x0, x1 }, 2);
	if (node && memcmp(&node->x[0], &node->x[1], sizeof node->x[0]))
		return fail(g, -EINVAL, "residual", "two shapes");
	return finish(g, node);
}

int lh_g_scale(struct lh_graph *g, int x, struct lh_name name, double initial)
{
	struct lh_node *node = begin(g, LH_OP_SCALE, name.text, &x, 1);
	if (!node)
		return -1;
	add_param(g, node, name, (size_t[]){ node->y.c, 1, 1, 0 }, LH_LAYOUT_PLAIN, initial, 0);
	if (!g->failed)
		g->params[g->nparams - 1].decay = false;
	return finish(g, node);
}

static int drop(struct lh_graph *g, enum lh_op op, int x, struct lh_name name, double p)
{
	if (!(p > 0))
		return x;
	struct lh_node *node = begin(g, op, name.text, &x, 1);
	if (node && !(p < 1))
		return fail(g, -EINVAL, name.text, "drops everything");
	if (node)
		node->p = p;
	return finish(g, node);
}

int lh_g_dropout(struct lh_graph *g, int x, struct lh_name name, double p)
{
	return drop(g, LH_OP_DROPOUT, x, name, p);
}
int lh_g_drop_path(struct lh_graph *g, int x, struct lh_name name, double p)
{
	return drop(g, LH_OP_DROP_PATH, x, name, p);
}

/* --- text --- */

int lh_g_attention(struct lh_graph *g, int q, int k, int v, int mask, struct lh_name name, size_t heads, bool causal,
		   double dropout)
{
	struct lh_node *node = begin(g, LH_OP_ATTENTION, name.text, (int[]){ q, k, v, mask }, mask < 0 ? 3 : 4);
	if (!node)
		return -1;
	const struct lh_shape *x = node->x;
	if (!heads || x[0].c % heads || x[1].c != x[0].c || memcmp(&x[1], &x[2], sizeof x[1]) ||
	    (mask >= 0 && (!g->tensors[mask].integer || lh_shape_count(x[3]) != lh_shape_rows(x[1]))))
		return fail(g, -EINVAL, name.text, "queries, keys, values and heads do not fit");
	node->heads = heads;
	node->causal = causal;
	node->p = dropout;
	return finish(g, node);
}

int lh_g_embedding(struct lh_graph *g, int ids, struct lh_name name, size_t symbols, size_t width, long padding_id)
{
	struct lh_node *node = begin(g, LH_OP_EMBEDDING, name.text, &ids, 1);
	if (!node)
		return -1;
	const struct lh_graph_tensor *t = &g->tensors[ids];
	if (!t->integer || t->ignorable || t->limit < 1 || (size_t)t->limit > symbols)
		return fail(g, -EINVAL, name.text, "ids beyond its table");
	node->y = (struct lh_shape){ node->x[0].h, node->x[0].w, width };
	node->table_rows = symbols;
	node->padding_id = padding_id;
	add_param(g, node, lh_name("%.80s.weight", name.text), (size_t[]){ symbols, width, 0 }, LH_LAYOUT_PLAIN, 0,
		  0.02 * sqrt(3));
	return finish(g, node);
}

int lh_g_add_rows(struct lh_graph *g, int x, struct lh_name name, size_t rows, bool frozen_sinusoids)
{
	struct lh_node *node = begin(g, LH_OP_ADD_ROWS, name.text, &x, 1);
	if (!node)
		return -1;
	if (rows != 1 && rows < lh_shape_rows(node->x[0]))
		return fail(g, -EINVAL, name.text, "fewer positions than rows");
	node->table_rows = rows;
	add_param(g, node, lh_name("%.80s.weight", name.text), (size_t[]){ rows, node->y.c, 0 }, LH_LAYOUT_PLAIN, 0,
		  0.02 * sqrt(3));
	if (frozen_sinusoids && !g->failed) {
		struct lh_graph_param *p = &g->params[g->nparams - 1];
		p->frozen = true;
		p->decay = false;
		p->init = LH_INIT_SINUSOIDS;
	}
	return finish(g, node);
}

/* --- the whole --- */

int lh_graph_end(struct lh_graph *g, int logits, int targets, struct lh_err *err)
{
	struct lh_node *node = begin(g, LH_OP_CROSS_ENTROPY, "loss", (int[]){ logits, targets }, 2);
	if (node && (!g->tensors[targets].integer || lh_shape_rows(node->x[0]) != lh_shape_count(node->x[1]) ||
		     (size_t)g->tensors[targets].limit > node->x[0].c))
		fail(g, -EINVAL, "loss", "targets that do not fit the logits");
	if (node)
		node->y = (struct lh_shape){ 1, 1, 2 };
	g->logits = logits;
	g->loss = finish(g, node);
	for (size_t t = 0; t < g->ntensors && !g->failed; t++) {
		bool used = (int)t == g->loss;
		for (size_t i = 0; i < g->nnodes && !used; i++)
			for (unsigned k = 0; k < g->nodes[i].inputs; k++)
				used |= g->nodes[i].in[k] == (int)t;
		if (!used)
			fail(g, -EINVAL,
			     g->tensors[t].producer < 0 ? "an input" : g->nodes[g->tensors[t].producer].name,
			     "nobody uses it");
	}
	if (g->failed)
		return lh_err_set(err, g->failed == -ENOMEM ? LH_EXIT_MACHINE : LH_EXIT_INPUT, g->failed,
				  "model %s: %s", g->name, g->failure);
	return 0;
}

size_t lh_graph_param_index(const struct lh_graph_param *p, size_t i)
{
	const size_t taps = p->ndim == 4 ? p->shape[2] * p->shape[3] : p->ndim == 3 ? p->shape[2] : 1;
	switch (p->layout) {
	case LH_LAYOUT_OHWI: {
		const size_t in = p->shape[1], tap = i % taps, channel = i / taps % in, out = i / taps / in;
		return (out * taps + tap) * in + channel;
	}
	case LH_LAYOUT_HWC: return i % taps * p->shape[0] + i / taps;
	default: return i;
	}
}

/* Row t: sines of t / 10000^(j / (half - 1)) for j < half, then their cosines (whisper). */
static double sinusoid(const struct lh_graph_param *p, size_t i)
{
	const size_t width = p->shape[1], half = width / 2, t = i / width, j = i % width;
	const double step = log(10000.0) / (double)(half > 1 ? half - 1 : 1);
	const double angle = (double)t * exp(-step * (double)(j % half));
	return j < half ? sin(angle) : cos(angle);
}

void lh_graph_init(const struct lh_graph *g, uint64_t seed, float *out)
{
	for (size_t k = 0; k < g->nparams; k++) {
		const struct lh_graph_param *p = &g->params[k];
		const uint64_t stream = lh_hash64(p->name, strlen(p->name), seed);
		for (size_t i = 0; i < p->count; i++) {
			const uint64_t bits = lh_mix64(stream + (i + 1) * LH_MIX64_STEP);
			const double unit = (double)(bits >> 40) * 0x1p-23 - 1;
			const double v = p->init == LH_INIT_SINUSOIDS ? sinusoid(p, i) : p->centre + p->spread * unit;
			out[p->offset + lh_graph_param_index(p, i)] = (float)v;
		}
	}
}

double lh_graph_node_flop(const struct lh_graph *g, const struct lh_node *node)
{
	const bool dx = g->tensors[node->in[0]].gradient;
	const bool weights = node->params && node->param[0] >= 0 && !g->params[node->param[0]].frozen;
	const double back = (dx ? node->op == LH_OP_ATTENTION ? 2 : 1 : 0) + (weights ? 1 : 0);
	return 2 * lh_op_multiply_adds(node) * (1 + back);
}

double lh_graph_flop(const struct lh_graph *g)
{
	double sum = 0;
	for (size_t i = 0; i < g->nnodes; i++)
		sum += lh_graph_node_flop(g, &g->nodes[i]);
	return sum;
}
