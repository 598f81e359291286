/* product_state.h - within the files behind product.h. */
#ifndef BACKEND_CUDA_PRODUCT_STATE_H
#define BACKEND_CUDA_PRODUCT_STATE_H

#include "backend/cuda/product.h"

struct lh_product_lt;    /* product_lt.c: cuBLASLt, and a plan for each shape */
struct lh_product_cudnn; /* product_cudnn.c */

struct lh_product_state {
	struct lh_product_lt *lt;
	struct lh_product_cudnn *cudnn;
	bool no_cudnn; /* it was looked for, and is not there */
};

void lh_product_lt_close(struct lh_product_state *s);
void lh_product_cudnn_close(struct lh_product_state *s);

#endif
