/* kernel.h - what kernels share: loads and stores that calculate in float whatever the type in memory, maps over
 * elements and over columns, the random choices of the cpu backend. */
#ifndef BACKEND_CUDA_KERNEL_H
#define BACKEND_CUDA_KERNEL_H

#include "backend/cuda/launch.h"

#define LH_DEVICE static __device__ __forceinline__
#define LH_MEMBER __device__ __forceinline__

LH_DEVICE float lh_float(float v) { return v; }
LH_DEVICE float lh_float(__half v) { return __half2float(v); }
LH_DEVICE float lh_float(__nv_bfloat16 v) { return __bfloat162float(v); }
LH_DEVICE void lh_round(float v, float *to) { *to = v; }
LH_DEVICE void lh_round(float v, __half *to) { *to = __float2half(v); }
LH_DEVICE void lh_round(float v, __nv_bfloat16 *to) { *to = __float2bfloat16(v); }

/* V neighbours in memory, moved by accesses of at most 16 bytes. */
template <typename T, int V> struct __align__(sizeof(T) * V < 16 ? sizeof(T) * V : 16) lh_pack {
	T v[V];
};

template <int V, typename T> LH_DEVICE void lh_load(const T *from, float (&v)[V])
{
	const lh_pack<T, V> p = *reinterpret_cast<const lh_pack<T, V> *>(from);
#pragma unroll
	for (int i = 0; i < V; i++)
		v[i] = lh_float(p.v[i]);
}

template <int V, typename T> LH_DEVICE void lh_store(T *to, const float (&v)[V])
{
	lh_pack<T, V> p;
#pragma unroll
	for (int i = 0; i < V; i++)
		lh_round(v[i], &p.v[i]);
	*reinterpret_cast<lh_pack<T, V> *>(to) = p;
}

/* dx = (add ? dx : 0) + v, rounded once. */
template <int V, typename T> LH_DEVICE void lh_put(T *dx, bool add, float (&v)[V])
{
	if (add) {
		float old[V];
		lh_load<V>(dx, old);
#pragma unroll
		for (int i = 0; i < V; i++)
			v[i] += old[i];
	}
	lh_store<V>(dx, v);
}

template <typename T> LH_DEVICE void lh_put_one(T *dx, bool add, float v)
{
	lh_round(add ? lh_float(*dx) + v : v, dx);
}

/* Elements of 16 bytes. */
template <typename T> constexpr int lh_vector_of() { return static_cast<int>(16 / sizeof(T)); }

/* Do rows of c elements at these addresses begin at multiples of V elements each? NULL does. */
static inline bool lh_aligned_one(const void *p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }
template <typename T, typename... P> static inline bool lh_aligned(int v, size_t c, const P *...p)
{
	const size_t bytes = static_cast<size_t>(v) * sizeof(T) < 16 ? static_cast<size_t>(v) * sizeof(T) : 16;
	return c % static_cast<size_t>(v) == 0 && (lh_aligned_one(p, bytes) && ...);
}

/* --- maps --- */

enum { LH_MAP_THREADS = 256 };

/* f.at<V>(i) for all i in 0, V, 2 V ... n - V. */
template <int V, typename F> static __global__ void lh_map_kernel(size_t n, const F f)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n / V; i += step)
		f.template at<V>(i * V);
}

/* vector: everything that f touches is aligned for it (lh_aligned). */
template <typename T, typename F>
static int lh_map(struct lh_backend *b, struct lh_err *err, const char *what, size_t n, bool vector, const F &f)
{
	constexpr int v = lh_vector_of<T>();
	if (vector)
		return lh_launch(b, err, what, lh_grid_over(b, n, v, LH_MAP_THREADS), lh_map_kernel<v, F>, n, f);
	return lh_launch(b, err, what, lh_grid_over(b, n, 1, LH_MAP_THREADS), lh_map_kernel<1, F>, n, f);
}

/* The same over [rows][c] where something is read once a column: f.begin<V>(column j) gives what it needs, then
 * f.at<V>(that, row, j) for each row. Threads of a warp have neighbouring columns. */
enum { LH_COLUMN_LANES = 32, LH_COLUMN_ROWS = 8 };

template <int V, typename F> static __global__ void lh_column_map_kernel(size_t rows, size_t c, const F f)
{
	const size_t j = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) * V;
	if (j >= c)
		return;
	const auto column = f.template begin<V>(j);
	for (size_t i = static_cast<size_t>(blockIdx.y) * blockDim.y + threadIdx.y; i < rows;
	     i += static_cast<size_t>(gridDim.y) * blockDim.y)
		f.template at<V>(column, i, j);
}

template <int V, typename F>
static int lh_column_map_v(struct lh_backend *b, struct lh_err *err, const char *what, size_t rows, size_t c, const F &f)
{
	const size_t tiles = (c + LH_COLUMN_LANES * V - 1) / (LH_COLUMN_LANES * V);
	const size_t most = static_cast<size_t>(lh_cuda_of(b)->processors) * LH_BLOCKS_PER_PROCESSOR / tiles + 1;
	const size_t wanted = (rows + LH_COLUMN_ROWS - 1) / LH_COLUMN_ROWS;
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(wanted < most ? wanted : most));
	g.threads = dim3(LH_COLUMN_LANES, LH_COLUMN_ROWS);
	return lh_launch(b, err, what, g, lh_column_map_kernel<V, F>, rows, c, f);
}

template <typename T, typename F>
static int lh_column_map(struct lh_backend *b, struct lh_err *err, const char *what, size_t rows, size_t c, bool vector,
			 const F &f)
{
	if (vector)
		return lh_column_map_v<lh_vector_of<T>()>(b, err, what, rows, c, f);
	return lh_column_map_v<1>(b, err, what, rows, c, f);
}

/* --- random choices: those of lh_random_key and lh_random_at (backend/cpu/cpu.h), bit by bit --- */

LH_DEVICE uint64_t lh_device_mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* (hash >> 11) 2^-53 < p, in integers. */
struct lh_choice {
	uint64_t threshold;
	float keep; /* 1 / (1 - p) */
	LH_MEMBER float factor(uint64_t key, uint64_t i) const
	{
		const uint64_t drawn = lh_device_mix64(key + (i + 1) * 0x9e3779b97f4a7c15ull) >> 11;
		return drawn < threshold ? 0 : keep;
	}
};

/* Keys of samples go to a kernel as arguments: no copy, no memory, and the caller's ids are not read later. */
constexpr size_t LH_KEYS_MAX = 128;
struct lh_keys {
	uint64_t of[LH_KEYS_MAX];
};
struct lh_choice lh_choice_of(const struct lh_node *node);
/* Of samples first ... first + n - 1 of r, n at most LH_KEYS_MAX. */
struct lh_keys lh_keys_of(const struct lh_op_run *r, size_t first, size_t n);

/* --- tables --- */

#define LH_CUDA_TABLE(name, state, scratch, forward, backward)                                                         \
	const struct lh_backend_op lh_cuda_##name[LH_PRECISIONS] = {                                              \
	    {state, scratch, forward<float>, backward<float>},                                                         \
	    {state, scratch, forward<__nv_bfloat16>, backward<__nv_bfloat16>},                                         \
	    {state, scratch, forward<__half>, backward<__half>},                                                       \
	}

template <typename T> struct lh_precision_of {
	static constexpr unsigned value = LH_PRECISION_FP32;
};
template <> struct lh_precision_of<__nv_bfloat16> {
	static constexpr unsigned value = LH_PRECISION_BF16;
};
template <> struct lh_precision_of<__half> {
	static constexpr unsigned value = LH_PRECISION_FP16;
};

/* f(T()) with the T of a precision of two bytes; then, of any. */
template <typename F> static inline int lh_with_half(unsigned precision, F f)
{
	return precision == LH_PRECISION_BF16 ? f(__nv_bfloat16()) : f(__half());
}

template <typename F> static inline int lh_with_type(unsigned precision, F f)
{
	if (precision == LH_PRECISION_FP32)
		return f(float());
	return lh_with_half(precision, f);
}

#endif
