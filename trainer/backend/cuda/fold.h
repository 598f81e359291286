/* fold.h - convolution as a product over unfolded pixels, where no library takes it; and what such products need. fold.cu */
#ifndef BACKEND_CUDA_FOLD_H
#define BACKEND_CUDA_FOLD_H

#include "backend/cuda/product.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The pixels that `samples` samples see, of one group of channels: cols[sample][out h][out w][kh][kw][channels of the
 * group], zero outside the image. x: the first of the samples. */
int lh_cuda_unfold(struct lh_backend *b, const struct lh_convolution *c, size_t samples, size_t group, const void *x,
		   void *cols, struct lh_err *err);
/* Its transpose: dx (that group's channels) = (add ? dx : 0) + the sum of what each pixel is seen as. */
int lh_cuda_fold(struct lh_backend *b, const struct lh_convolution *c, size_t samples, size_t group, const void *cols,
		 bool add, void *dx, struct lh_err *err);
/* to[i] += from[i], which has another type. */
int lh_cuda_add_cast(struct lh_backend *b, enum lh_precision type, size_t n, const void *from, float *to,
		     struct lh_err *err);

#ifdef __cplusplus
}
#endif
#endif
