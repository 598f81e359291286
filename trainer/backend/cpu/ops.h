/* ops.h - the arithmetic of the trainer on a CPU, one function per layer and direction. Plain C that reads like
 * the formulas: this folder is the specification that a faster backend is compared with.
 *
 * Conventions
 *   Tensors are dense, row-major and caller-owned; images are NHWC, convolution weights [kh][kw][cin][cout],
 *   linear weights [in][out]. No function allocates.
 *   *_backward writes gradients of activations (dx) and ADDS to gradients of parameters (dw, db, ...).
 *
 * Sums
 *   Every sum runs in one fixed order that depends on shapes only, and sums over rows (samples) run through the
 *   accumulator that the caller passes. So the bits of a gradient depend neither on how a batch is cut into
 *   microbatches nor on the vector width of the machine: the compiler may vectorise across outputs but not
 *   reorder a sum (no -ffast-math) nor fuse a multiply and an add (-ffp-contract=off).
 *
 * Type
 *   `real` is float. Tests build the same files once more with LH_REAL_DOUBLE, to hold every derivative
 *   against central differences far below fp32's rounding.
 */
#ifndef BACKEND_CPU_OPS_H
#define BACKEND_CPU_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef LH_REAL_DOUBLE
typedef double real;
#else
typedef float real;
#endif

/* c[m][n] = (add ? c : 0) + a[m][k] b[k][n]. Element (i, p) of a is a[i * a_row + p * a_col], so a transposed a
 * costs nothing; b and c have contiguous rows of stride ldb, ldc. Summed over k in ascending order. */
void lh_op_gemm(size_t m, size_t n, size_t k, const real *a, size_t a_row, size_t a_col, const real *b, size_t ldb,
		real *c, size_t ldc, bool add);
/* dst[cols][rows] = src[rows][cols] transposed; src has row stride ld. */
void lh_op_transpose(size_t rows, size_t cols, const real *src, size_t ld, real *dst);

/* y[rows][out] = x[rows][in] w[in][out] + b[out]. */
void lh_op_linear_forward(size_t rows, size_t in, size_t out, const real *x, const real *w, const real *b, real *y);
/* dx may be NULL. scratch: in * out reals (unused where dx is NULL). */
void lh_op_linear_backward(size_t rows, size_t in, size_t out, const real *x, const real *w, const real *dy,
			   real *dx, real *dw, real *db, real *scratch);
void lh_op_bias_forward(size_t rows, size_t cols, const real *b, real *y);   /* y += b in every row */
void lh_op_bias_backward(size_t rows, size_t cols, const real *dy, real *db);

/* Square images, odd square kernel, stride 1, zero padding that keeps the size. */
struct lh_conv2d {
	size_t side, kernel, cin, cout;
};
/* Reals of scratch that both directions need. */
size_t lh_op_conv2d_scratch(const struct lh_conv2d *c);
void lh_op_conv2d_forward(const struct lh_conv2d *c, size_t n, const real *x, const real *w, const real *b, real *y,
			  real *scratch);
void lh_op_conv2d_backward(const struct lh_conv2d *c, size_t n, const real *x, const real *w, const real *dy,
			   real *dx, real *dw, real *db, real *scratch); /* dx may be NULL */

/* 2 x 2 windows, stride 2, even side. argmax keeps which of the 4 won (the first of equals). */
void lh_op_maxpool_forward(size_t n, size_t side, size_t channels, const real *x, real *y, uint8_t *argmax);
void lh_op_maxpool_backward(size_t n, size_t side, size_t channels, const uint8_t *argmax, const real *dy, real *dx);

void lh_op_relu_forward(size_t n, const real *x, real *y);                    /* y may be x */
void lh_op_relu_backward(size_t n, const real *y, const real *dy, real *dx);  /* dx may be dy; y: the output */
/* x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form of GELU. */
void lh_op_gelu_forward(size_t n, const real *x, real *y);
void lh_op_gelu_backward(size_t n, const real *x, const real *dy, real *dx);   /* dx may be dy */

/* Each row to mean 0 and variance 1 (epsilon 1e-5), then times gain plus shift. mean, rstd: [rows], kept. */
void lh_op_layernorm_forward(size_t rows, size_t cols, const real *x, const real *gain, const real *shift, real *y,
			     real *mean, real *rstd);
void lh_op_layernorm_backward(size_t rows, size_t cols, const real *x, const real *gain, const real *mean,
			      const real *rstd, const real *dy, real *dx, real *dgain, real *dshift);

/* Row t of p[size][size] becomes softmax(scale * p[t][0 ... t]); what lies after t becomes 0. */
void lh_op_softmax_causal_forward(size_t size, real scale, real *p);
/* d holds dp on entry and ds on return; p is forward's output. */
void lh_op_softmax_causal_backward(size_t size, real scale, const real *p, real *d);
/* Softmax and cross entropy of each row against its target (< cols): returns the summed loss in nats, adds to
 * *correct the rows whose largest logit is the target. dlogits (may be NULL, may be logits) gets
 * weight * (softmax - onehot). */
double lh_op_cross_entropy(size_t rows, size_t cols, const real *logits, const uint8_t *targets, real weight,
			   real *dlogits, size_t *correct);

/* Causal self-attention of n sequences: qkv [n * window][3 width] (all queries, all keys, all values),
 * y [n * window][width], att [n][heads][window][window] is kept for backward. */
struct lh_attention {
	size_t window, width, heads; /* heads divides width */
};
size_t lh_op_attention_scratch(const struct lh_attention *a);
void lh_op_attention_forward(const struct lh_attention *a, size_t n, const real *qkv, real *att, real *y,
			     real *scratch);
void lh_op_attention_backward(const struct lh_attention *a, size_t n, const real *qkv, const real *att,
			      const real *dy, real *dqkv, real *scratch);

/* y[r] = token[ids[r]] + position[r % window]. */
void lh_op_embedding_forward(size_t rows, size_t window, size_t width, const uint8_t *ids, const real *token,
			     const real *position, real *y);
void lh_op_embedding_backward(size_t rows, size_t window, size_t width, const uint8_t *ids, const real *dy,
			      real *dtoken, real *dposition);

#endif
