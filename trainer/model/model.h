/* model.h - a model: a table of named parameters in one flat vector, and one function that runs a batch.
 *
 * A model knows neither data sets nor optimisers nor peers. Inputs and targets are bytes: pixels and a label, or a
 * window of text and the same window one byte later. Everything it needs is allocated when it is made.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "backend/cpu/ops.h"
#include "longhaul/err.h"

enum { LH_PARAM_NAME_MAX = 96, LH_PARAM_DIMS_MAX = 4, LH_MODEL_TENSORS_MAX = 256 };

struct lh_param {
	char name[LH_PARAM_NAME_MAX];
	unsigned ndim;
	size_t shape[LH_PARAM_DIMS_MAX];
	size_t offset, count;  /* in the flat vector; tensors follow each other without gaps */
	real centre, spread;   /* initial values: uniform in centre +- spread */
	bool decay;            /* weight decay applies: matrices, not biases and gains */
};

struct lh_model_result {
	double loss_sum;       /* summed over samples; a sample's loss is the mean over its targets, in nats */
	size_t correct;        /* targets that the largest logit hit */
};

struct lh_model {
	const char *name;
	struct lh_param *params;
	size_t nparams, parameters;
	size_t input_bytes, target_bytes; /* of one sample */
	size_t batch;                     /* the most samples of one run */
	double flop;                      /* of a sample, forward and backward: products, convolutions, attention */
	/* Forward over n <= batch samples; with grads not NULL also backward, ADDING the gradient of loss_sum.
	 * Adds to *result. Not reentrant: activations are the model's. */
	void (*run)(struct lh_model *m, const real *params, const uint8_t *inputs, const uint8_t *targets, size_t n,
		    real *grads, struct lh_model_result *result);
	/* When a loss is no number: forward once more; the first layer whose output is not finite, or NULL. */
	const char *(*blame)(struct lh_model *m, const real *params, const uint8_t *inputs, size_t n);
	void (*free)(struct lh_model *m); /* the constructor's counterpart; use lh_model_free */
};

/* side x side images with values 0 ... max_value:
 * conv3x3 c1, conv3x3 c2, max pool, conv3x3 c3, linear hidden, linear classes, ReLU between. */
struct lh_digits_shape {
	size_t side, max_value, c1, c2, c3, hidden, classes;
};
#define LH_DIGITS_SHAPE { .side = 8, .max_value = 16, .c1 = 16, .c2 = 32, .c3 = 64, .hidden = 64, .classes = 10 }
int lh_digits_new(const struct lh_digits_shape *shape, size_t batch, struct lh_model **ret, struct lh_err *err);

/* Causal byte-level transformer, pre-norm: embeddings; layers x (attention, MLP with GELU); norm; linear head. */
struct lh_text_shape {
	size_t window, symbols, width, heads, layers, mlp;
};
#define LH_TEXT_SHAPE { .window = 64, .symbols = 256, .width = 48, .heads = 3, .layers = 2, .mlp = 192 }
int lh_text_new(const struct lh_text_shape *shape, size_t batch, struct lh_model **ret, struct lh_err *err);

/* Initial parameters: a pure function of the table and the seed; each tensor has its own stream, named by it. */
void lh_model_init(const struct lh_model *m, uint64_t seed, real *params);
void lh_model_free(struct lh_model *m); /* NULL is fine */

/* For `blame`: remembers the first layer it is shown whose numbers are not finite. NULL: does nothing. */
struct lh_blame {
	char layer[LH_PARAM_NAME_MAX]; /* "": none yet */
};
void lh_blame_look(struct lh_blame *b, size_t n, const real *values, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* For constructors: append a tensor to the table (fails when full), shape ending with 0. Returns its offset. */
size_t lh_model_add(struct lh_model *m, const char *name, const size_t shape[LH_PARAM_DIMS_MAX], real centre,
		    real spread, bool decay);

#endif
