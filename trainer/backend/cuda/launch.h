/* launch.h - the one way in which kernels are launched. A .cu file says lh_launch() and never <<<>>>: nvcc makes a launch
 * on the backend's stream of it, with its error told; the host's compiler (tests/support/simt) makes a loop over blocks
 * of it, thread by thread, so that the same file is proven on a machine without a GPU.
 * docs/decisions/0027-kernels-proven-on-the-host.md
 *
 * What a kernel may use is what simt.h has: threadIdx and its like, __syncthreads, __syncwarp, __shfl_*_sync, __ballot_sync,
 * atomics, __half and __nv_bfloat16 and their conversions, what mma.h has, and shared memory by
 *
 *     LH_SHARED(type, name, count);          a block's array; name[i] only
 *     LH_SHARED_DYNAMIC(type, name, count);  the same, count known at the launch (one a kernel)
 *     LH_SHARED_OF(type) name                the type by which it is handed to a function
 */
#ifndef BACKEND_CUDA_LAUNCH_H
#define BACKEND_CUDA_LAUNCH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define LH_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define LH_SHARED_DYNAMIC(type, name, count)                                                                           \
	extern __shared__ __align__(16) unsigned char lh_dynamic_shared[];                                             \
	type *name = reinterpret_cast<type *>(lh_dynamic_shared)
#define LH_SHARED_OF(type) type *
#else
#include "simt.h"
#define LH_SHARED(type, name, count) LH_SIMT_SHARED(type, name, count)
#define LH_SHARED_DYNAMIC(type, name, count) LH_SIMT_SHARED_DYNAMIC(type, name, count)
#define LH_SHARED_OF(type) simt::shared_array<type>
#endif

#include "backend/cuda/ops.h"

struct lh_grid {
	dim3 blocks, threads;
	size_t shared; /* bytes of LH_SHARED_DYNAMIC; at most LH_SHARED_BYTES_MAX with the static ones */
};
enum { LH_SHARED_BYTES_MAX = 48 * 1024 };

/* 0, or -EIO with what the device said. what: the operation as the user knows it. */
template <typename... P, typename... A>
static inline int lh_launch(struct lh_backend *b, struct lh_err *err, const char *what, const lh_grid &g,
			    void (*kernel)(P...), A... args)
{
	if (!g.blocks.x || !g.blocks.y || !g.blocks.z)
		return 0; /* nothing to do */
#ifdef __CUDACC__
	kernel<<<g.blocks, g.threads, g.shared, lh_cuda_of(b)->stream>>>(args...);
	const cudaError_t rc = cudaGetLastError();
	if (rc != cudaSuccess)
		return lh_err_set(err, LH_EXIT_BROKE, -EIO, "GPU: kernel %s: %s", what, cudaGetErrorString(rc));
#else
	(void)b;
	if (simt::run(g.blocks, g.threads, g.shared, what, [=] { kernel(args...); }))
		return lh_err_set(err, LH_EXIT_BROKE, -EIO, "GPU: kernel %s: %s", what, simt::error());
#endif
	return 0;
}

/* For kernels whose result does not depend on the grid (each thread strides over its elements): enough blocks of
 * `threads` for count elements, `each` a thread, but not more than fill the device a few times. */
static inline lh_grid lh_grid_over(struct lh_backend *b, size_t count, size_t each, unsigned threads)
{
	const size_t wanted = (count + each * threads - 1) / (each * threads);
	const size_t most = (size_t)lh_cuda_of(b)->processors * LH_BLOCKS_PER_PROCESSOR;
	lh_grid g = {};
	g.blocks = dim3((unsigned)(wanted < most ? wanted : most));
	g.threads = dim3(threads);
	return g;
}

#endif
