/* graph.h - a model as a table: parameters with the reference implementation's names, tensors, and nodes in the order
 * in which they run.
 *
 * A family's file (resnet.c, ...) calls the functions below once, layer by layer; each appends a node, works out its
 * shape, adds its parameters and returns the number of its output tensor. A failure (no memory, shapes that do not fit)
 * sticks in the graph and is told by lh_graph_end; in between negative tensors are passed on.
 *
 * Parameters are named, and in lh_graph_param.shape shaped, as in torchvision's and transformers' state dicts. Where
 * our layout differs (`layout`), lh_graph_param_index says where an element lies.
 */
#ifndef MODEL_GRAPH_H
#define MODEL_GRAPH_H

#include "backend/backend.h"

enum { LH_GRAPH_DIMS_MAX = 4 };

enum lh_layout {
	LH_LAYOUT_PLAIN,
	LH_LAYOUT_OHWI,  /* theirs [out][in][kh][kw] or [out][in][k], ours [out][kh][kw][in] */
	LH_LAYOUT_HWC,   /* theirs [c][1][kh][kw], ours [kh][kw][c] */
};

enum lh_init { LH_INIT_UNIFORM, LH_INIT_SINUSOIDS };

struct lh_graph_param {
	char name[LH_NODE_NAME_MAX];
	unsigned ndim;
	size_t shape[LH_GRAPH_DIMS_MAX]; /* theirs */
	enum lh_layout layout;
	size_t offset, count;            /* in the vector of parameters; no gaps */
	bool frozen;                     /* counted and exchanged, never changed (whisper's encoder positions) */
	bool decay;                      /* weight decay applies: matrices and kernels, not biases and gains */
	enum lh_init init;
	double centre, spread;           /* initial values: uniform in centre +- spread */
};

struct lh_graph_buffer {             /* batch norm's running statistics: no parameters, not exchanged */
	char name[LH_NODE_NAME_MAX];
	size_t offset, count;            /* in the vector of buffers */
	double initial;
};

struct lh_graph_tensor {
	struct lh_shape shape;
	bool integer;
	int32_t limit; /* integer: values are 0 ... limit - 1, or LH_TARGET_IGNORED where `ignorable` */
	bool ignorable;
	bool gradient;                   /* some trainable parameter is above it */
	int producer;                    /* node, or -1: an input */
};

struct lh_graph {
	char name[LH_NODE_NAME_MAX];
	struct lh_graph_param *params;
	struct lh_graph_buffer *buffers;
	struct lh_graph_tensor *tensors;
	struct lh_node *nodes;
	size_t nparams, nbuffers, ntensors, nnodes;
	size_t parameters, buffer_elements;
	int loss, logits;                /* tensors */
	int failed;                      /* negative errno */
	char failure[160];
};

struct lh_graph *lh_graph_new(const char *name);
void lh_graph_free(struct lh_graph *g); /* NULL is fine */
/* Cross entropy of `logits` ends the model. Fails with the first failure, or if a tensor is used by nobody. */
int lh_graph_end(struct lh_graph *g, int logits, int targets, struct lh_err *err);

/* Names are made by printf: lh_name("layer%u.%u.conv1", i, j). */
struct lh_name {
	char text[LH_NODE_NAME_MAX];
};
struct lh_name lh_name(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int lh_graph_input(struct lh_graph *g, struct lh_shape shape);
int lh_graph_input_ids(struct lh_graph *g, size_t length, int32_t limit);
int lh_graph_input_targets(struct lh_graph *g, size_t length, int32_t limit);

int lh_g_linear(struct lh_graph *g, int x, struct lh_name name, size_t out, bool bias);
/* Linear with another layer's matrix (a decoder tied to its embedding), and a bias of its own unless bias is NULL. */
int lh_g_tied_linear(struct lh_graph *g, int x, struct lh_name weight, const char *bias);
struct lh_conv {
	size_t out, kernel, stride, padding, dilation, groups; /* 0: 1 (padding: 0) */
	bool bias;
};
/* Square kernels; on an input with h = 1 and `flat`, along w only (conv1d). groups = channels = out: depthwise. */
int lh_g_conv2d(struct lh_graph *g, int x, struct lh_name name, struct lh_conv c);
int lh_g_conv1d(struct lh_graph *g, int x, struct lh_name name, struct lh_conv c);
int lh_g_batchnorm(struct lh_graph *g, int x, struct lh_name name);
int lh_g_layernorm(struct lh_graph *g, int x, struct lh_name name, double epsilon);
int lh_g_relu(struct lh_graph *g, int x);
int lh_g_gelu(struct lh_graph *g, int x);
int lh_g_softmax(struct lh_graph *g, int x);
/* mask: integer tensor over keys, or -1. name: of the random choices. */
int lh_g_attention(struct lh_graph *g, int q, int k, int v, int mask, struct lh_name name, size_t heads, bool causal,
		   double dropout);
int lh_g_embedding(struct lh_graph *g, int ids, struct lh_name name, size_t symbols, size_t width, long padding_id);
int lh_g_add_rows(struct lh_graph *g, int x, struct lh_name name, size_t rows, bool frozen_sinusoids);
int lh_g_maxpool(struct lh_graph *g, int x, size_t kernel, size_t stride, size_t padding);
int lh_g_avgpool(struct lh_graph *g, int x, size_t kernel, size_t stride, size_t padding);
int lh_g_global_avgpool(struct lh_graph *g, int x);
int lh_g_add(struct lh_graph *g, int x0, int x1);
/* shape: the parameter's own, as theirs is (ConvNeXt: c,1,1). */
int lh_g_scale(struct lh_graph *g, int x, struct lh_name name, double initial);
/* p = 0: x itself. */
int lh_g_dropout(struct lh_graph *g, int x, struct lh_name name, double p);
int lh_g_drop_path(struct lh_graph *g, int x, struct lh_name name, double p);

/* Where element i of the reference's (row-major) tensor lies in ours. */
size_t lh_graph_param_index(const struct lh_graph_param *p, size_t i);
/* Initial parameters: a pure function of the table and the seed. `out` has g->parameters elements. */
void lh_graph_init(const struct lh_graph *g, uint64_t seed, float *out);
const struct lh_graph_param *lh_graph_find_param(const struct lh_graph *g, const char *name);

/* Floating-point operations of one sample forward and backward (matrix products and convolutions, a multiply-add is 2).
 */
double lh_graph_node_flop(const struct lh_graph *g, const struct lh_node *node);
double lh_graph_flop(const struct lh_graph *g);

#endif
