/* optimizer.h - an update on the device: lh_optim_run (optim/optimizer.h) with the same settings, the same state in the
 * same layout and the same numbers of the update from lh_optim_begin. Clipping needs the gradient's length first:
 * lh_cuda_sum_squares (ops.h).
 *
 * Tensors are cut into chunks once, when a model is opened, and the table of chunks lies in the device's memory. */
#ifndef BACKEND_CUDA_OPTIMIZER_H
#define BACKEND_CUDA_OPTIMIZER_H

#include "backend/cuda/ops.h"
#include "optim/optimizer.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LH_CUDA_CHUNK ((size_t)1 << 14) /* elements: a block of 256 threads has 64 each */

struct lh_cuda_chunk {
	uint64_t offset;       /* in the vectors */
	uint32_t count;
	uint32_t chunks : 31;  /* of the whole tensor, in its first chunk; else 0 */
	uint32_t decay : 1;
};

/* How many chunks there are; writes them (memory of the host) unless chunks is NULL. Frozen tensors have none. */
size_t lh_cuda_optim_chunks(const struct lh_optim_tensor *tensors, size_t ntensors, struct lh_cuda_chunk *chunks);
/* Bytes of the device that a step needs beside the state. */
size_t lh_cuda_optim_scratch(const struct lh_optim *o, size_t nchunks);
/* All pointers but s are the device's. state: slots of `stride` floats each, as lh_optim_slots says (NULL: none). */
int lh_cuda_optim_step(struct lh_backend *b, const struct lh_optim_step *s, const struct lh_cuda_chunk *chunks,
		       size_t nchunks, float *params, const float *grads, float *state, size_t stride, void *scratch,
		       struct lh_err *err);

#ifdef __cplusplus
}
#endif
#endif
