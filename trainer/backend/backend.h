/* backend.h - what a model's table of layers is made of, and what a backend must do to run it.
 *
 * A model is a list of nodes over numbered tensors (model/graph.h). Each node is one operation of `enum lh_op` with its
 * shapes and attributes. A backend gives memory and, for each operation, how much it keeps and two functions;
 * model/net.c runs the list forward in order and backward in reverse order. cpu/ is the readable specification; every
 * other backend runs the same tables and the same tests. docs/decisions/0013-one-definition-two-backends.md
 *
 * Tensors
 *   An activation of n samples is [n][h][w][c], dense (NHWC); a text is h = 1, w = tokens; a vector h = w = 1. Integer
 *   tensors (token ids, targets, masks) are int32_t. Parameters lie in one vector in the layouts that `enum lh_op` names,
 *   which for convolutions are not PyTorch's: model/graph.h converts.
 *
 * Precision
 *   Activations, their gradients and the copies of parameters that products read (lh_op_run.copy) have the precision of
 *   the backend's table. Parameters, their gradients, buffers, whatever an operation keeps (state), and y and dy
 *   of a cross entropy, are always fp32 (double in the gradient tests: `element_bytes`). Sums are fp32 or more; norms,
 *   softmaxes and losses calculate in fp32 inside.
 *
 * Backward
 *   dx[i] gets the gradient of input i: written, or added to what is there where dx_add[i] (an activation that several
 *   nodes use). NULL: nobody wants it. dparam[i] is always added to; NULL: frozen.
 */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"
#include "longhaul/precision.h"

struct lh_shape {
	size_t h, w, c;
};
static inline size_t lh_shape_rows(struct lh_shape s) { return s.h * s.w; }
static inline size_t lh_shape_count(struct lh_shape s) { return s.h * s.w * s.c; }

enum lh_op {
	LH_OP_LINEAR,        /* y = x w' + b                   w [out][in], b [out] or none */
	LH_OP_CONV2D,        /* and conv1d, with h = 1         w [out][kh][kw][in / groups], b or none */
	LH_OP_DEPTHWISE,     /* one kernel a channel           w [kh][kw][c], b or none */
	LH_OP_BATCHNORM,     /* over n, h, w                   gain [c], shift [c]; buffers mean [c], variance [c] */
	LH_OP_LAYERNORM,     /* over c                         gain [c], shift [c] */
	LH_OP_RELU,
	LH_OP_GELU,          /* x Phi(x), exact */
	LH_OP_SOFTMAX,       /* over c */
	LH_OP_ATTENTION,     /* inputs q, k, v and perhaps an integer mask over keys (0: padding) */
	LH_OP_EMBEDDING,     /* integer input                  w [symbols][c] */
	LH_OP_ADD_ROWS,      /* y = x + the first w rows of a table, or its only row    w [rows][c] */
	LH_OP_MAXPOOL,
	LH_OP_AVGPOOL,       /* padding counts as zeros */
	LH_OP_ADD,           /* y = x0 + x1 */
	LH_OP_SCALE,         /* y = x gain                     gain [c] */
	LH_OP_DROPOUT,       /* element by element */
	LH_OP_DROP_PATH,     /* stochastic depth: sample by sample */
	LH_OP_CROSS_ENTROPY, /* inputs logits, integer targets; y = {loss, hits} of the sample */
	LH_OP_COUNT
};

enum { LH_NODE_INPUTS_MAX = 4, LH_NODE_PARAMS_MAX = 2, LH_NODE_BUFFERS_MAX = 2, LH_NODE_NAME_MAX = 96 };

/* A target that does not count (PyTorch's ignore_index). */
#define LH_TARGET_IGNORED (-100)

struct lh_window {
	size_t kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
};

struct lh_node {
	enum lh_op op;
	char name[LH_NODE_NAME_MAX];     /* the layer as the user knows it: layer1.0.conv2 */
	unsigned inputs, params, buffers;
	int in[LH_NODE_INPUTS_MAX], out; /* tensors */
	int param[LH_NODE_PARAMS_MAX], buffer[LH_NODE_BUFFERS_MAX];
	struct lh_shape x[LH_NODE_INPUTS_MAX], y;

	struct lh_window window;         /* convolutions, pooling */
	size_t groups, heads;
	size_t table_rows;               /* embedding, add_rows: rows of w */
	bool causal;
	double epsilon, momentum;        /* norms */
	double p;                        /* dropout (of attention: on its weights), drop path */
	long padding_id;                 /* embedding: this id's row gets no gradient; -1: none */
	uint64_t stream;                 /* of the random choices of this node */
};

/* One call. Pointers are the backend's memory. */
struct lh_op_run {
	const struct lh_node *node;
	size_t n;                        /* samples */
	bool training;                   /* batch statistics, random choices */
	uint64_t seed;                   /* with node->stream and ids[] it decides every random choice: */
	const uint64_t *ids;             /* global sample ids [n], host memory; so neither the microbatch nor the */
					 /* peer that has the sample changes one */
	const void *x[LH_NODE_INPUTS_MAX], *param[LH_NODE_PARAMS_MAX];
	const void *copy[LH_NODE_PARAMS_MAX]; /* linear, conv2d: param in the activations' precision (fp32: param itself) */
	void *buffer[LH_NODE_BUFFERS_MAX];
	void *y;                         /* forward writes it; backward finds it only where the traits say so */
	void *state;                     /* kept from forward to backward */
	void *scratch;                   /* nothing in it survives the call */

	const void *dy;
	void *dx[LH_NODE_INPUTS_MAX], *dparam[LH_NODE_PARAMS_MAX];
	bool dx_add[LH_NODE_INPUTS_MAX];
};

struct lh_backend; /* each backend's own */

struct lh_backend_op {
	/* Bytes for n samples; NULL: none. */
	size_t (*state)(const struct lh_node *node, size_t n);
	size_t (*scratch)(const struct lh_node *node, size_t n);
	int (*forward)(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err);
	int (*backward)(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err);
};

struct lh_backend_config {
	unsigned device;                 /* of several of a kind */
	bool deterministic;              /* same input, same bits: no sum whose order is not fixed */
};

struct lh_optim;
struct lh_optim_step;
struct lh_optim_tensor;
struct lh_backend_optim; /* each backend's own */

/* One for each backend and precision. */
struct lh_backend_ops {
	const char *name;                /* "cpu", "cuda" */
	enum lh_precision precision;
	size_t activation_bytes;         /* of an element: of an activation, */
	size_t element_bytes;            /* and of a parameter: 4, or 8 in the gradient tests */
	bool host_memory;                /* its memory is the process's own: pointers may be followed */
	size_t fixed_bytes;              /* of the device, beside what alloc is asked for */
	/* config NULL: all 0. Refuses (exit 3) where the machine lacks what it takes. */
	int (*open)(const struct lh_backend_config *config, struct lh_backend **ret, struct lh_err *err);
	void (*close)(struct lh_backend *b);
	int (*alloc)(struct lh_backend *b, size_t bytes, void **ret, struct lh_err *err); /* zeroed, aligned */
	void (*release)(struct lh_backend *b, void *memory);
	/* Bytes that are free and there, for all processes. NULL: the host's. */
	int (*memory)(struct lh_backend *b, uint64_t *ret_free, uint64_t *ret_total, struct lh_err *err);
	/* Calls take effect in order; what they are given may be used again when they return. get waits for all before it. */
	int (*put)(struct lh_backend *b, void *device, const void *host, size_t bytes, struct lh_err *err);
	int (*get)(struct lh_backend *b, void *host, const void *device, size_t bytes, struct lh_err *err);
	int (*zero)(struct lh_backend *b, void *device, size_t bytes, struct lh_err *err);
	/* The same for activations: elements of element_bytes on the host, of the precision on the device. */
	int (*put_reals)(struct lh_backend *b, void *device, const void *host, size_t count, struct lh_err *err);
	int (*get_reals)(struct lh_backend *b, void *host, const void *device, size_t count, struct lh_err *err);
	/* On the device, parameters to the precision of activations. NULL: only element_bytes. */
	int (*cast)(struct lh_backend *b, void *copy, const void *param, size_t count, struct lh_err *err);
	/* Until all that was asked for is done. NULL: it always is. */
	int (*wait)(struct lh_backend *b, struct lh_err *err);

	/* Updates on the device (optim/optimizer.h): NULL, all four: by the host. Vectors are the device's. */
	int (*optim_open)(struct lh_backend *b, const struct lh_optim *o, const struct lh_optim_tensor *tensors,
			  size_t ntensors, struct lh_backend_optim **ret, struct lh_err *err);
	void (*optim_close)(struct lh_backend *b, struct lh_backend_optim *o); /* NULL is fine */
	/* The sum of squares, in an order that only n decides; waits. */
	int (*optim_square_sum)(struct lh_backend *b, const void *vector, size_t n, double *ret, struct lh_err *err);
	/* One update of all tensors that are not frozen. moments: lh_optim_slots vectors, each `stride` elements on. */
	int (*optim_step)(struct lh_backend *b, struct lh_backend_optim *o, const struct lh_optim_step *step, void *params,
			  const void *grads, void *moments, size_t stride, struct lh_err *err);
	const struct lh_backend_op *op[LH_OP_COUNT];
};

extern const struct lh_backend_ops lh_backend_cpu;

/* What is true of an operation on every backend. */
struct lh_op_traits {
	const char *name;
	unsigned keeps_x;  /* bit i: backward reads x[i] */
	bool keeps_y;      /* backward reads y */
};
extern const struct lh_op_traits lh_op_traits[LH_OP_COUNT];

/* Multiply-adds of one sample going forward, matrix products and convolutions only. Backward costs as many for each
 * of dx and dparam (attention: twice; it also makes its weights again, which is not counted). */
double lh_op_multiply_adds(const struct lh_node *node);

#endif
