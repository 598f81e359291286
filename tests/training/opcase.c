/* The cases, and running one. Works with a backend whose memory is the process's (cpu). */
#include "opcase.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "lhtest.h"

uint64_t lh_stream_of(const char *name, const char *what)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	char text[256];
	snprintf(text, sizeof text, "%s#%s", name, what);
	for (const char *p = text; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return h;
}

uint64_t lh_draw(uint64_t stream, size_t i)
{
	return lh_mix64(stream + (i + 1) * LH_MIX64_STEP) >> 1;
}
double lh_unit(uint64_t stream, size_t i)
{
	return (double)(lh_draw(stream, i) >> 39) * 0x1p-23 - 1;
}

void lh_fill_param(const struct lh_graph_param *p, real *ours)
{
	const uint64_t stream = lh_stream_of(p->name, "param");
	const size_t len = strlen(p->name);
	size_t fan_in = 1;
	for (unsigned d = 1; d < p->ndim; d++)
		fan_in *= p->shape[d];
	double centre = 0, spread = 0.25;
	if (strstr(p->name, "layer_scale"))
		centre = 0.5;
	else if (p->ndim > 1)
		spread = sqrt(3.0 / (double)fan_in);
	else if (len > 6 && !strcmp(p->name + len - 6, "weight"))
		centre = 1;
	for (size_t i = 0; i < p->count; i++)
		ours[lh_graph_param_index(p, i)] = (real)(float)(centre + spread * lh_unit(stream, i));
}

void lh_to_theirs(const struct lh_graph_param *p, const real *ours, real *theirs)
{
	for (size_t i = 0; i < p->count; i++)
		theirs[i] = ours[lh_graph_param_index(p, i)];
}

/* --- the cases: no size is a multiple of a vector --- */

static int image(struct lh_graph *g, size_t h, size_t w, size_t c)
{
	return lh_graph_input(g, (struct lh_shape){h, w, c});
}
#define NAME lh_name("op")

static void linear(struct lh_graph *g)
{
	lh_g_linear(g, image(g, 1, 5, 7), NAME, 11, true);
}
static void linear_no_bias(struct lh_graph *g)
{
	lh_g_linear(g, image(g, 3, 3, 70), NAME, 37, false);
}
static void conv(struct lh_graph *g, size_t h, size_t w, size_t in, struct lh_conv c)
{
	lh_g_conv2d(g, image(g, h, w, in), NAME, c);
}
static void conv_3x3(struct lh_graph *g)
{
	conv(g, 7, 5, 6, (struct lh_conv){.out = 10, .kernel = 3, .padding = 1, .bias = true});
}
static void conv_7x7_stride(struct lh_graph *g)
{
	conv(g, 11, 9, 3, (struct lh_conv){.out = 5, .kernel = 7, .padding = 3, .stride = 2});
}
static void conv_groups(struct lh_graph *g)
{
	conv(g, 6, 7, 6, (struct lh_conv){.out = 9, .kernel = 3, .stride = 2, .padding = 1, .groups = 3, .bias = true});
}
static void conv_dilated(struct lh_graph *g)
{
	conv(g, 9, 8, 3, (struct lh_conv){.out = 4, .kernel = 3, .dilation = 2, .padding = 2});
}
static void conv_1x1(struct lh_graph *g)
{
	conv(g, 5, 3, 7, (struct lh_conv){.out = 6, .kernel = 1, .bias = true});
}
static void conv_1x1_stride(struct lh_graph *g)
{
	conv(g, 5, 7, 7, (struct lh_conv){.out = 6, .kernel = 1, .stride = 2});
}
static void conv_1x1_groups(struct lh_graph *g)
{
	conv(g, 3, 3, 8, (struct lh_conv){.out = 4, .kernel = 1, .groups = 2});
}
static void conv_patches(struct lh_graph *g)
{
	conv(g, 8, 12, 3, (struct lh_conv){.out = 5, .kernel = 4, .stride = 4, .bias = true});
}
static void depthwise(struct lh_graph *g)
{
	conv(g, 9, 6, 5, (struct lh_conv){.out = 5, .kernel = 7, .padding = 3, .groups = 5, .bias = true});
}
static void depthwise_stride(struct lh_graph *g)
{
	conv(g, 7, 8, 3,
	     (struct lh_conv){.out = 3, .kernel = 3, .padding = 1, .stride = 2, .dilation = 2, .groups = 3});
}

static void conv1d(struct lh_graph *g)
{
	lh_g_conv1d(g, image(g, 1, 11, 5), NAME,
		    (struct lh_conv){.out = 7, .kernel = 3, .stride = 2, .padding = 1, .bias = true});
}

static void batchnorm(struct lh_graph *g)
{
	lh_g_batchnorm(g, image(g, 4, 5, 6), NAME);
}
static void layernorm(struct lh_graph *g)
{
	lh_g_layernorm(g, image(g, 2, 3, 9), NAME, 1e-5);
}
static void relu(struct lh_graph *g)
{
	lh_g_relu(g, image(g, 3, 5, 7));
}
static void gelu(struct lh_graph *g)
{
	lh_g_gelu(g, image(g, 3, 5, 7));
}
static void softmax(struct lh_graph *g)
{
	lh_g_softmax(g, image(g, 1, 5, 13));
}

static void attend(struct lh_graph *g, size_t queries, size_t keys, bool masked, bool causal, double drop)
{
	const int q = image(g, 1, queries, 12), k = image(g, 1, keys, 12), v = image(g, 1, keys, 12);
	lh_g_attention(g, q, k, v, masked ? lh_graph_input_ids(g, keys, 2) : -1, NAME, 3, causal, drop);
}

static void attention(struct lh_graph *g)
{
	attend(g, 7, 7, false, false, 0);
}
static void attention_causal(struct lh_graph *g)
{
	attend(g, 7, 7, false, true, 0);
}
static void attention_cross_mask(struct lh_graph *g)
{
	attend(g, 5, 9, true, false, 0);
}
static void attention_dropout(struct lh_graph *g)
{
	attend(g, 5, 6, false, true, 0.3);
}
static void embedding(struct lh_graph *g)
{
	lh_g_embedding(g, lh_graph_input_ids(g, 17, 11), NAME, 11, 5, 1);
}
static void add_rows(struct lh_graph *g)
{
	lh_g_add_rows(g, image(g, 1, 5, 7), NAME, 8, false);
}
static void add_one_row(struct lh_graph *g)
{
	lh_g_add_rows(g, image(g, 1, 5, 7), NAME, 1, false);
}
static void maxpool(struct lh_graph *g)
{
	lh_g_maxpool(g, image(g, 7, 6, 5), 3, 2, 1);
}
static void avgpool(struct lh_graph *g)
{
	lh_g_avgpool(g, image(g, 7, 6, 5), 3, 2, 1);
}
static void global_avgpool(struct lh_graph *g)
{
	lh_g_global_avgpool(g, image(g, 7, 6, 5));
}
static void add(struct lh_graph *g)
{
	const int x = image(g, 3, 3, 5);
	lh_g_add(g, x, image(g, 3, 3, 5));
}
static void scale(struct lh_graph *g)
{
	lh_g_scale(g, image(g, 3, 3, 5), lh_name("op.layer_scale"), 1);
}
static void dropout(struct lh_graph *g)
{
	lh_g_dropout(g, image(g, 5, 7, 11), NAME, 0.3);
}
static void drop_path(struct lh_graph *g)
{
	lh_g_drop_path(g, image(g, 2, 3, 5), NAME, 0.4);
}

static void cross_entropy(struct lh_graph *g)
{
	const int x = image(g, 1, 6, 9);
	lh_graph_end(g, x, lh_graph_input_targets(g, 6, 9), NULL);
}

/* fp32 against double: a handful of roundings of 6e-8 each, more where sums cancel. bf16 and fp16 against the cpu backend in
 * fp32 from the same rounded inputs: results are rounded once, by at most 2^-8 and 2^-11 of a number; attention's weights are
 * rounded on their way, and where backward reads y, y was. */
#define ROUNDED 4e-3, 5e-4
#define ROUNDED_WITHIN 8e-3, 1e-3
const struct lh_opcase lh_opcases[] = {
    {"linear", 3, linear, 1e-6, ROUNDED},
    {"linear_no_bias", 2, linear_no_bias, 1e-6, ROUNDED},
    {"conv_3x3", 3, conv_3x3, 1e-6, ROUNDED},
    {"conv_7x7_stride", 2, conv_7x7_stride, 1e-6, ROUNDED},
    {"conv_groups", 2, conv_groups, 1e-6, ROUNDED},
    {"conv_dilated", 2, conv_dilated, 1e-6, ROUNDED},
    {"conv_1x1", 3, conv_1x1, 1e-6, ROUNDED},
    {"conv_1x1_stride", 2, conv_1x1_stride, 1e-6, ROUNDED},
    {"conv_1x1_groups", 2, conv_1x1_groups, 1e-6, ROUNDED},
    {"conv_patches", 2, conv_patches, 1e-6, ROUNDED},
    {"depthwise", 2, depthwise, 1e-6, ROUNDED},
    {"depthwise_stride", 2, depthwise_stride, 1e-6, ROUNDED},
    {"conv1d", 3, conv1d, 1e-6, ROUNDED},
    {"batchnorm", 3, batchnorm, 2e-6, ROUNDED},
    {"layernorm", 2, layernorm, 2e-6, ROUNDED},
    {"relu", 2, relu, 1e-7, ROUNDED},
    {"gelu", 2, gelu, 1e-6, ROUNDED},
    {"softmax", 3, softmax, 1e-6, ROUNDED_WITHIN},
    {"attention", 2, attention, 2e-6, ROUNDED_WITHIN},
    {"attention_causal", 2, attention_causal, 2e-6, ROUNDED_WITHIN},
    {"attention_cross_mask", 2, attention_cross_mask, 2e-6, ROUNDED_WITHIN},
    {"attention_dropout", 3, attention_dropout, 2e-6, ROUNDED_WITHIN},
    {"embedding", 2, embedding, 1e-6, ROUNDED},
    {"add_rows", 3, add_rows, 1e-6, ROUNDED},
    {"add_one_row", 3, add_one_row, 1e-6, ROUNDED},
    {"maxpool", 2, maxpool, 1e-6, ROUNDED},
    {"avgpool", 2, avgpool, 1e-6, ROUNDED},
    {"global_avgpool", 2, global_avgpool, 1e-6, ROUNDED},
    {"add", 2, add, 1e-6, ROUNDED},
    {"scale", 2, scale, 1e-6, ROUNDED},
    {"dropout", 3, dropout, 1e-6, ROUNDED},
    {"drop_path", 8, drop_path, 1e-6, ROUNDED},
    {"cross_entropy", 3, cross_entropy, 1e-6, ROUNDED},
};
const size_t lh_opcases_count = sizeof lh_opcases / sizeof *lh_opcases;

/* --- running one --- */

static void *room(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

/* "x0", "dy", ... */
static uint64_t stream_of(const struct lh_opbench *b, const char *what, unsigned k)
{
	char text[16];
	snprintf(text, sizeof text, "%s%u", what, k);
	return lh_stream_of(b->c->name, text);
}

static void open_input(struct lh_opbench *b, unsigned k)
{
	const struct lh_graph_tensor *t = &b->g->tensors[b->node->in[k]];
	const uint64_t stream = stream_of(b, "x", k);
	const size_t count = b->x_count[k] = b->c->n * lh_shape_count(t->shape);
	b->integer[k] = t->integer;
	b->x[k] = room(count, sizeof(real));
	if (!t->integer)
		b->dx[k] = room(count, sizeof(real));
	for (size_t i = 0; i < count; i++)
		if (t->integer)
			((int32_t *)b->x[k])[i] = t->ignorable && lh_draw(stream, i) % 3 == 0
						      ? LH_TARGET_IGNORED
						      : (int32_t)(lh_draw(stream, i) / 3 % (uint64_t)t->limit);
		else
			((real *)b->x[k])[i] = (real)lh_unit(stream, i);
	b->run.x[k] = b->x[k];
	b->run.dx[k] = b->dx[k];
}

const struct lh_graph_param *lh_opbench_param(const struct lh_opbench *b, unsigned k)
{
	return k < b->node->params && b->node->param[k] >= 0 ? &b->g->params[b->node->param[k]] : NULL;
}

void lh_opbench_open(const struct lh_opcase *c, const struct lh_backend_ops *ops, struct lh_opbench *b)
{
	*b = (struct lh_opbench){.c = c, .ops = ops, .g = lh_graph_new(c->name)};
	CU_ASSERT_PTR_NOT_NULL_FATAL(b->g);
	c->build(b->g);
	CU_ASSERT_EQUAL_FATAL(b->g->failed, 0);
	CU_ASSERT_EQUAL_FATAL(ops->open(NULL, &b->backend, NULL), 0);
	b->node = &b->g->nodes[b->g->nnodes - 1];
	b->run = (struct lh_op_run){.node = b->node, .n = c->n, .training = true, .seed = 5, .ids = b->ids};
	for (size_t i = 0; i < c->n; i++)
		b->ids[i] = 100 + 7 * i;
	for (unsigned k = 0; k < b->node->inputs; k++)
		open_input(b, k);
	for (unsigned k = 0; k < b->node->params; k++) {
		const struct lh_graph_param *p = lh_opbench_param(b, k);
		if (!p)
			continue;
		b->param_count[k] = p->count;
		b->run.copy[k] = b->run.param[k] = b->param[k] = room(p->count, sizeof(real));
		b->run.dparam[k] = b->dparam[k] = room(p->count, sizeof(real));
		lh_fill_param(p, b->param[k]);
	}
	for (unsigned k = 0; k < b->node->buffers; k++)
		b->run.buffer[k] = room(b->g->buffers[b->node->buffer[k]].count, sizeof(real));
	const struct lh_backend_op *op = ops->op[b->node->op];
	b->y_count = c->n * lh_shape_count(b->node->y);
	b->run.y = b->y = room(b->y_count, sizeof(real));
	b->run.dy = b->dy = room(b->y_count, sizeof(real));
	b->run.state = room(op->state ? op->state(b->node, c->n) : 0, 1);
	b->run.scratch = room(op->scratch ? op->scratch(b->node, c->n) : 0, 1);
	for (size_t i = 0; i < b->y_count; i++) /* the hits of a cross entropy have no gradient */
		b->dy[i] = b->node->op == LH_OP_CROSS_ENTROPY && i % 2 ? 0 : (real)lh_unit(stream_of(b, "dy", 0), i);
}

void lh_opbench_forward(struct lh_opbench *b)
{
	CU_ASSERT_EQUAL_FATAL(b->ops->op[b->node->op]->forward(b->backend, &b->run, NULL), 0);
}

void lh_opbench_backward(struct lh_opbench *b, bool add)
{
	for (unsigned k = 0; k < b->node->inputs; k++)
		b->run.dx_add[k] = add;
	CU_ASSERT_EQUAL_FATAL(b->ops->op[b->node->op]->backward(b->backend, &b->run, NULL), 0);
}

void lh_opbench_close(struct lh_opbench *b)
{
	for (unsigned k = 0; k < LH_NODE_INPUTS_MAX; k++) {
		free(b->x[k]);
		free(b->dx[k]);
	}
	for (unsigned k = 0; k < LH_NODE_PARAMS_MAX; k++) {
		free(b->param[k]);
		free(b->dparam[k]);
	}
	for (unsigned k = 0; k < LH_NODE_BUFFERS_MAX; k++)
		free(b->run.buffer[k]);
	free(b->y);
	free(b->dy);
	free(b->run.state);
	free(b->run.scratch);
	b->ops->close(b->backend);
	lh_graph_free(b->g);
}
