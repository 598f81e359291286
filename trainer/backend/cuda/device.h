/* device.h - what only files that include CUDA's headers share. */
#ifndef BACKEND_CUDA_DEVICE_H
#define BACKEND_CUDA_DEVICE_H

#include <cuda_runtime_api.h>

#include "backend/cuda/cuda.h"

/* Is there a device that this build can use? Exit 3 with the reason. *ret_count: how many. */
int lh_cuda_probe(unsigned *ret_count, struct lh_err *err);

int lh_cuda_open(enum lh_precision precision, const struct lh_backend_config *config, struct lh_backend **ret,
		 struct lh_err *err);
void lh_cuda_close(struct lh_backend *b);
int lh_cuda_alloc(struct lh_backend *b, size_t bytes, void **ret, struct lh_err *err);
void lh_cuda_release(struct lh_backend *b, void *memory);
int lh_cuda_put(struct lh_backend *b, void *device, const void *host, size_t bytes, struct lh_err *err);
int lh_cuda_get(struct lh_backend *b, void *host, const void *device, size_t bytes, struct lh_err *err);
int lh_cuda_memory(struct lh_backend *b, uint64_t *ret_free, uint64_t *ret_total, struct lh_err *err);
int lh_cuda_zero(struct lh_backend *b, void *device, size_t bytes, struct lh_err *err);
int lh_cuda_put_reals(struct lh_backend *b, void *device, const void *host, size_t count, struct lh_err *err);
int lh_cuda_get_reals(struct lh_backend *b, void *host, const void *device, size_t count, struct lh_err *err);

int lh_cuda_wait(struct lh_backend *b, struct lh_err *err);

/* update.c: optimizer.cu behind the backend's calls. */
int lh_cuda_update_open(struct lh_backend *b, const struct lh_optim *o, const struct lh_optim_tensor *tensors,
			size_t ntensors, struct lh_backend_optim **ret, struct lh_err *err);
void lh_cuda_update_close(struct lh_backend *b, struct lh_backend_optim *o);
int lh_cuda_update_square_sum(struct lh_backend *b, const void *vector, size_t n, double *ret, struct lh_err *err);
int lh_cuda_update_step(struct lh_backend *b, struct lh_backend_optim *o, const struct lh_optim_step *step,
			void *params, const void *grads, void *moments, size_t stride, struct lh_err *err);

/* What all libraries share on the device, and the two pinned blocks of the host. */
enum {
	LH_CUDA_WORKSPACE_BYTES = 256 << 20, /* convolutions' algorithms want much; products 32 MiB */
	LH_CUDA_BLOCK_BYTES = 8 << 20,
	/* A process's context and the libraries' code, which are loaded into the device's memory when first used. A guess from what
	 * is told of others' programs: nothing here can ask before it is too late. */
	LH_CUDA_CONTEXT_BYTES = 512 << 20,
	LH_CUDA_FIXED_BYTES = LH_CUDA_WORKSPACE_BYTES + LH_CUDA_BLOCK_BYTES + LH_CUDA_CONTEXT_BYTES,
};

/* The error of a CUDA call as ours: exit 4, "GPU 0 (NVIDIA H100): WHAT: words"; 0 for success. */
int lh_cuda_check(struct lh_backend *b, cudaError_t rc, const char *what, struct lh_err *err);

#endif
