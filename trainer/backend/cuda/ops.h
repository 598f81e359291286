/* ops.h - the operations of the CUDA backend, each with its forward, backward, state and scratch (struct lh_backend_op) for
 * the three precisions, and the calls on vectors that are no operation.
 *
 * Types, with T the precision (fp32, bf16, fp16)
 *   activations and their gradients (x, y, dy, dx)      T
 *   integer tensors                                     int32_t
 *   parameters, their gradients, buffers                float in every precision: the master copies. Only matrix products
 *                                                       and convolutions read copies in T (linear, conv2d).
 *   state, scratch                                      the operation's own
 *   cross entropy's y {loss, hits} and its dy           float in every precision: neither a count nor a scaled loss fits in
 *                                                       half, so the graph's loss tensor and its gradient are float
 * Sums are in float or double. Nothing here waits for the device, allocates, or reads memory of the host later than the
 * call; all work goes to the backend's stream in order.
 *
 * Determinism: sums have an order that follows from shapes and alignment, not from the device. The one exception is the gradient
 * of an embedding, which adds atomically unless `deterministic` is set.
 */
#ifndef BACKEND_CUDA_OPS_H
#define BACKEND_CUDA_OPS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "backend/backend.h"

/* What the kernels must know of the backend: the first member of the CUDA backend's struct lh_backend. */
struct CUstream_st;
struct lh_cuda {
	struct CUstream_st *stream; /* cudaStream_t */
	int processors;             /* multiprocessors of the device */
	bool tensor_cores;          /* it has mma.h's product, in both two-byte types */
	bool deterministic;
};
enum { LH_BLOCKS_PER_PROCESSOR = 16 };
static inline struct lh_cuda *lh_cuda_of(struct lh_backend *b) { return (struct lh_cuda *)(void *)b; }

enum { LH_CUDA_PRECISIONS = LH_PRECISIONS }; /* each table has one for each enum lh_precision */
#define LH_CUDA_OP(name) extern const struct lh_backend_op lh_cuda_##name[LH_CUDA_PRECISIONS]
LH_CUDA_OP(linear); /* on product.h, with bias.cu */
LH_CUDA_OP(conv2d); /* on product.h, with bias.cu */
LH_CUDA_OP(attention); /* products of product.h around the kernels of attention.cu */
LH_CUDA_OP(depthwise);
LH_CUDA_OP(batchnorm);
LH_CUDA_OP(layernorm);
LH_CUDA_OP(relu);
LH_CUDA_OP(gelu);
LH_CUDA_OP(softmax);
LH_CUDA_OP(embedding);
LH_CUDA_OP(add_rows);
LH_CUDA_OP(maxpool);
LH_CUDA_OP(avgpool);
LH_CUDA_OP(add);
LH_CUDA_OP(scale);
LH_CUDA_OP(dropout);
LH_CUDA_OP(drop_path);
LH_CUDA_OP(cross_entropy);
#undef LH_CUDA_OP

/* bias.cu: y[rows][c] += bias in every row; dbias += sum of the rows of dy, with scratch of the size given. */
int lh_cuda_bias_forward(struct lh_backend *b, unsigned precision, size_t rows, size_t c, const float *bias, void *y,
			 struct lh_err *err);
size_t lh_cuda_bias_scratch(size_t rows, size_t c);
int lh_cuda_bias_backward(struct lh_backend *b, unsigned precision, size_t rows, size_t c, const void *dy, float *dbias,
			  void *scratch, struct lh_err *err);

/* attention.cu: the part between the products, for rows of `keys` scores of n samples (first: the number of the first of
 * them in r, for its mask, its id and its place in r->state). Scores are [n][heads][queries][keys], q k' without its
 * factor.
 * Forward: weights (T) become dropout(softmax(scores)), r->state the logarithms of the denominators.
 * Backward: from scores made again and dp = dy v' come the weights as they met v, and ds, of the scores themselves (the
 * factor within); dot: D = dy . y of each row, lh_cuda_attention_dot. */
size_t lh_cuda_attention_state(const struct lh_node *node, size_t n);
int lh_cuda_attention_forward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, size_t first, size_t n,
			      const float *scores, void *weights, struct lh_err *err);
int lh_cuda_attention_dot(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, size_t first, size_t n,
			  float *dot, struct lh_err *err);
int lh_cuda_attention_backward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, size_t first,
			       size_t n, const float *scores, const float *dp, const float *dot, void *weights, void *ds,
			       struct lh_err *err);

/* attention_fused.cu: all of attention at once, without a matrix of scores in memory. Only where lh_cuda_attention_fuses. */
bool lh_cuda_attention_fuses(struct lh_backend *b, unsigned precision, const struct lh_op_run *r);
int lh_cuda_attention_fused_forward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, struct lh_err *err);
/* dot: lh_cuda_attention_dot of all samples. */
int lh_cuda_attention_fused_backward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, const float *dot,
				     struct lh_err *err);

/* vector.cu, on float vectors of any length. */
int lh_cuda_cast(struct lh_backend *b, unsigned precision, size_t n, const float *from, void *to, struct lh_err *err);
int lh_cuda_uncast(struct lh_backend *b, unsigned precision, size_t n, const void *from, float *to, struct lh_err *err);
int lh_cuda_scale_vector(struct lh_backend *b, size_t n, float factor, float *x, struct lh_err *err); /* x *= factor */
/* *sum (device) = sum of squares, in double; scratch of lh_cuda_sum_scratch bytes. */
size_t lh_cuda_sum_scratch(size_t n);
int lh_cuda_sum_squares(struct lh_backend *b, size_t n, const float *x, double *sum, void *scratch, struct lh_err *err);
/* *bad (device) becomes the first index whose element is not finite, or stays as it is (set it to all ones before): so
 * tensors of one vector can be looked through one after the other, and the first broken one be named. */
int lh_cuda_find_infinite(struct lh_backend *b, size_t n, const float *x, unsigned long long *bad, struct lh_err *err);

#ifdef __cplusplus
}
#endif
#endif
