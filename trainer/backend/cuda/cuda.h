/* cuda.h - an opened device: its one stream, its workspace, its libraries.
 *
 * Plain C and includes nothing of CUDA, so that the same sources are also built for the host (tests/support/simt), where
 * device memory is the process's. docs/decisions/0026-cuda-backend.md
 */
#ifndef BACKEND_CUDA_CUDA_H
#define BACKEND_CUDA_CUDA_H

#include "backend/cuda/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lh_cuda_device;   /* device.c: what else belongs to an opened device */
struct lh_product_state; /* behind product.h: libraries, handles, plans */

struct lh_backend {
	struct lh_cuda cuda;         /* first: all that kernels know of it */
	enum lh_precision precision;
	void *workspace;             /* of one call of product.h at a time; nothing in it survives the call */
	size_t workspace_bytes;
	struct lh_product_state *product;
	struct lh_cuda_device *device;
};

#ifdef __cplusplus
}
#endif
#endif
