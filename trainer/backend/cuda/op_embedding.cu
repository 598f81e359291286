/* Rows of a table picked by integers. The ids were checked when they came in (model/net.c).
 *
 * Backward: atomically, each element on its own; or, deterministic, the first of the rows with one id adds all of them in
 * order. For that each block reads the ids (from the cache: four bytes a row), which costs rows x rows comparisons,
 * 2.7e8 for 32 texts of 512. */
#include "backend/cuda/rows.h"

namespace
{
enum { THREADS = 256 };

template <typename T> __global__ void pick(size_t rows, size_t c, const int32_t *ids, const float *w, T *y)
{
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.y + threadIdx.y; i < rows;
	     i += static_cast<size_t>(gridDim.x) * blockDim.y) {
		const float *from = w + static_cast<size_t>(ids[i]) * c;
		for (size_t j = threadIdx.x; j < c; j += blockDim.x)
			lh_round(from[j], y + i * c + j);
	}
}

template <typename T>
__global__ void scatter(size_t rows, size_t c, const int32_t *ids, long padding, const T *dy, float *dw)
{
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.y + threadIdx.y; i < rows;
	     i += static_cast<size_t>(gridDim.x) * blockDim.y) {
		if (ids[i] == padding)
			continue;
		float *to = dw + static_cast<size_t>(ids[i]) * c;
		for (size_t j = threadIdx.x; j < c; j += blockDim.x)
			atomicAdd(to + j, lh_float(dy[i * c + j]));
	}
}

/* Does any thread of the block say so? Bits of 32 threads each, for the order. */
LH_DEVICE bool block_ballot(bool mine, LH_SHARED_OF(unsigned) bits)
{
	const unsigned of_warp = __ballot_sync(0xffffffffu, mine);
	if (threadIdx.x % LH_WARP == 0)
		bits[threadIdx.x / LH_WARP] = of_warp;
	__syncthreads();
	unsigned any = 0;
	for (unsigned i = 0; i < THREADS / LH_WARP; i++)
		any |= bits[i];
	return any != 0;
}

/* Block i adds all rows whose id is that of row i, unless an earlier row has it. */
template <typename T>
__global__ void gather(size_t rows, size_t c, const int32_t *ids, long padding, const T *dy, float *dw)
{
	LH_SHARED(unsigned, bits, THREADS / LH_WARP);
	for (size_t i = blockIdx.x; i < rows; i += gridDim.x) {
		const int32_t id = ids[i];
		bool mine = id == padding;
		for (size_t k = threadIdx.x; k < i; k += THREADS)
			mine |= ids[k] == id;
		const bool earlier = block_ballot(mine, bits);
		__syncthreads();
		if (earlier)
			continue;
		for (size_t from = i; from < rows; from += THREADS) {
			block_ballot(from + threadIdx.x < rows && ids[from + threadIdx.x] == id, bits);
			for (size_t j = threadIdx.x; j < c; j += THREADS) {
				float sum = dw[static_cast<size_t>(id) * c + j];
				for (size_t word = 0; word < THREADS / LH_WARP; word++)
					for (unsigned left = bits[word]; left; left &= left - 1) {
						const size_t bit = static_cast<size_t>(__ffs(static_cast<int>(left)) - 1);
						sum += lh_float(dy[(from + word * LH_WARP + bit) * c + j]);
					}
				dw[static_cast<size_t>(id) * c + j] = sum;
			}
			__syncthreads();
		}
	}
}

lh_grid grid_of(struct lh_backend *b, size_t rows)
{
	lh_grid g = lh_grid_over(b, rows, 1, THREADS / 64);
	g.threads = dim3(64, THREADS / 64);
	return g;
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	return lh_launch(b, err, "embedding", grid_of(b, rows), pick<T>, rows, c, static_cast<const int32_t *>(r->x[0]),
			 static_cast<const float *>(r->param[0]), static_cast<T *>(r->y));
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const bool in_order = lh_cuda_of(b)->deterministic;
	lh_grid g = lh_grid_over(b, rows, 1, 1);
	g.threads = dim3(THREADS);
	if (!r->dparam[0])
		return 0;
	return lh_launch(b, err, "embedding", in_order ? g : grid_of(b, rows), in_order ? gather<T> : scatter<T>, rows, c,
			 static_cast<const int32_t *>(r->x[0]), r->node->padding_id, static_cast<const T *>(r->dy),
			 static_cast<float *>(r->dparam[0]));
}
} // namespace

LH_CUDA_TABLE(embedding, NULL, NULL, forward, backward);
