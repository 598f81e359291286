/* Vectors of floats: casts, lengths, what is broken in them. */
#include "backend/cuda/columns.h"
#include "backend/cuda/rows.h"

namespace
{
struct multiply {
	float *x;
	float factor;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V];
		lh_load<V>(x + i, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] *= factor;
		lh_store<V>(x + i, v);
	}
};

/* How a vector is cut: by its length alone, so that the order of the sum does not depend on the device. */
enum { SUM_THREADS = 256, SUM_EACH = 64 };
constexpr size_t SUM_BLOCKS_MAX = 1024;
unsigned sum_blocks(size_t n)
{
	const size_t wanted = (n + SUM_THREADS * SUM_EACH - 1) / (SUM_THREADS * SUM_EACH);
	return static_cast<unsigned>(wanted < 1 ? 1 : wanted < SUM_BLOCKS_MAX ? wanted : SUM_BLOCKS_MAX);
}

LH_DEVICE double block_sum(double v)
{
	LH_SHARED(double, of_warp, SUM_THREADS / LH_WARP);
#pragma unroll
	for (int d = LH_WARP / 2; d; d /= 2)
		v += __shfl_xor_sync(0xffffffffu, v, d);
	if (threadIdx.x % LH_WARP == 0)
		of_warp[threadIdx.x / LH_WARP] = v;
	__syncthreads();
	v = 0;
	for (unsigned i = 0; i < SUM_THREADS / LH_WARP; i++)
		v += of_warp[i];
	return v;
}

/* 64 squares in float, then double: where double is slow it costs a sixty-fourth. */
__global__ void squares(size_t n, const float *x, double *partial)
{
	const size_t step = static_cast<size_t>(gridDim.x) * SUM_THREADS;
	double sum = 0;
	size_t i = static_cast<size_t>(blockIdx.x) * SUM_THREADS + threadIdx.x;
	while (i < n) {
		float few = 0;
		for (int k = 0; k < SUM_EACH && i < n; k++, i += step)
			few += x[i] * x[i];
		sum += static_cast<double>(few);
	}
	sum = block_sum(sum);
	if (!threadIdx.x)
		partial[blockIdx.x] = sum;
}

__global__ void sum_up(unsigned n, const double *partial, double *sum)
{
	double v = 0;
	for (unsigned i = threadIdx.x; i < n; i += SUM_THREADS)
		v += partial[i];
	v = block_sum(v);
	if (!threadIdx.x)
		*sum = v;
}

/* Nothing is written while all is well. The smallest index is the same whatever the order. */
__global__ void find(size_t n, const float *x, unsigned long long *bad)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step)
		if (!(fabsf(x[i]) <= 3.402823466e38f)) {
			atomicMin(bad, static_cast<unsigned long long>(i));
			return;
		}
}
} // namespace

int lh_cuda_cast(struct lh_backend *b, unsigned precision, size_t n, const float *from, void *to, struct lh_err *err)
{
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		return lh_run_copy<float, T>(b, err, "cast", n, {from, static_cast<T *>(to), false});
	});
}

int lh_cuda_uncast(struct lh_backend *b, unsigned precision, size_t n, const void *from, float *to, struct lh_err *err)
{
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		return lh_run_copy<T, float>(b, err, "uncast", n, {static_cast<const T *>(from), to, false});
	});
}

int lh_cuda_scale_vector(struct lh_backend *b, size_t n, float factor, float *x, struct lh_err *err)
{
	const multiply f = {x, factor};
	return lh_map<float>(b, err, "scale_vector", n, lh_aligned<float>(lh_vector_of<float>(), n, x), f);
}

size_t lh_cuda_sum_scratch(size_t n) { return sum_blocks(n) * sizeof(double); }

int lh_cuda_sum_squares(struct lh_backend *b, size_t n, const float *x, double *sum, void *scratch, struct lh_err *err)
{
	double *partial = static_cast<double *>(scratch);
	lh_grid g = {};
	g.blocks = dim3(sum_blocks(n));
	g.threads = dim3(SUM_THREADS);
	const int rc = lh_launch(b, err, "sum_squares", g, squares, n, x, partial);
	g.blocks = dim3(1);
	return rc ? rc : lh_launch(b, err, "sum_squares", g, sum_up, sum_blocks(n), static_cast<const double *>(partial), sum);
}

int lh_cuda_find_infinite(struct lh_backend *b, size_t n, const float *x, unsigned long long *bad, struct lh_err *err)
{
	return lh_launch(b, err, "find_infinite", lh_grid_over(b, n, 1, LH_MAP_THREADS), find, n, x, bad);
}
