/* product.h - matrix products and convolutions on the device. The only header between own code and libraries.
 *
 * product_lt.c (cuBLASLt) and product_cudnn.c (cuDNN) stand behind it on a GPU; a host build puts plain C there
 * (tests/support/simt). Everything is asynchronous on b->stream and may use b->workspace. All pointers are device memory.
 * A shape's algorithm is chosen by the library's heuristics at its first call and kept.
 */
#ifndef BACKEND_CUDA_PRODUCT_H
#define BACKEND_CUDA_PRODUCT_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* c[m][n] = alpha op(a) op(b) + (add ? c : 0) + (bias ? bias[n] in every row : 0), row-major with row strides, `batch`
 * times over. op(a) is m x k (ta: a is stored k x m), op(b) is k x n (tb: stored n x k). Sums and alpha are fp32. */
struct lh_product {
	bool ta, tb, add, bias;
	size_t m, n, k, lda, ldb, ldc;
	size_t batch;                        /* >= 1 */
	size_t stride_a, stride_b, stride_c; /* elements from one of the batch to the next; batch 1: any */
	float alpha;
	enum lh_precision in, out;           /* types of a and b; of c. out is fp32 or the same as in. bias has the type of c */
};
int lh_product_run(struct lh_backend *b, const struct lh_product *p, const void *x, const void *y, const void *bias,
		   void *c, struct lh_err *err);

/* -ENOTSUP, with nothing done, from each of the three: no library here can; op_conv2d.c has another way.
 *
 * A convolution of NHWC images, weights [out][kh][kw][in / groups]; everything in `type`, except sums, and dw below. */
struct lh_convolution {
	size_t n, groups;
	struct lh_shape x, y;
	struct lh_window window;
	enum lh_precision type;
};
int lh_convolution_forward(struct lh_backend *b, const struct lh_convolution *c, const void *x, const void *w, void *y,
			   struct lh_err *err);
/* dx = (add ? dx : 0) + ... */
int lh_convolution_data(struct lh_backend *b, const struct lh_convolution *c, const void *w, const void *dy, void *dx,
			bool add, struct lh_err *err);
/* dw += ..., fp32. scratch: lh_convolution_scratch bytes of device memory (a library may make dw in `type` only). */
int lh_convolution_filter(struct lh_backend *b, const struct lh_convolution *c, const void *x, const void *dy, float *dw,
			  void *scratch, struct lh_err *err);
size_t lh_convolution_scratch(const struct lh_convolution *c);

/* Opens and closes b->product. Nothing of a library is needed before the first call that uses it. */
int lh_product_open(struct lh_backend *b, struct lh_err *err);
void lh_product_close(struct lh_backend *b); /* b->product NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
