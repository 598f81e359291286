/* kernel.h - what kernels share: loads and stores that calculate in float whatever the type in memory, maps over
 * elements and over columns (copies and what a column adds or multiplies by among them), the random choices of the cpu backend. */
#ifndef BACKEND_CUDA_KERNEL_H
#define BACKEND_CUDA_KERNEL_H

#include <type_traits>

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

/* to = (add ? to : 0) + from, whatever their types. */
template <typename A, typename B> struct lh_copy {
	const A *from;
	B *to;
	bool add;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V];
		lh_load<V>(from + i, v);
		lh_put<V>(to + i, add, v);
	}
};

template <typename A, typename B>
static int lh_run_copy(struct lh_backend *b, struct lh_err *err, const char *what, size_t n, const lh_copy<A, B> &f)
{
	typedef std::conditional_t<(sizeof(A) < sizeof(B)), A, B> narrow;
	constexpr int v = lh_vector_of<narrow>();
	return lh_map<narrow>(b, err, what, n, lh_aligned<A>(v, n, f.from) && lh_aligned<B>(v, n, f.to), f);
}

/* The same over [rows][c] where something is read once a column: f.begin<V>(column j) gives what it needs, then
 * f.at<V>(that, row, j) for each row. Threads of a warp have neighbouring columns; where those are few, several rows. */
enum { LH_COLUMN_THREADS = 256, LH_COLUMN_LANES = 32, LH_COLUMN_ROWS = LH_COLUMN_THREADS / LH_COLUMN_LANES };

static inline dim3 lh_column_block(size_t c, int v)
{
	unsigned lanes = 1;
	while (lanes < LH_COLUMN_LANES && lanes * static_cast<size_t>(v) < c)
		lanes *= 2;
	return dim3(lanes, LH_COLUMN_THREADS / lanes);
}
static inline size_t lh_column_tiles(size_t c, int v)
{
	const size_t wide = lh_column_block(c, v).x * static_cast<size_t>(v);
	return (c + wide - 1) / wide;
}

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
	const size_t tiles = lh_column_tiles(c, V);
	const size_t most = static_cast<size_t>(lh_cuda_of(b)->processors) * LH_BLOCKS_PER_PROCESSOR / tiles + 1;
	lh_grid g = {};
	g.threads = lh_column_block(c, V);
	const size_t wanted = (rows + g.threads.y - 1) / g.threads.y;
	g.blocks = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(wanted < most ? wanted : most));
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

/* y = (add ? y : 0) + (x - mean) rstd gain + shift, each of the four a number of the column or (NULL) not there. */
template <int V> struct lh_affine_column {
	float mean[V], factor[V], shift[V];
};
template <typename T> struct lh_affine {
	const T *x;
	const float *mean, *rstd, *gain, *shift;
	T *y;
	bool add;
	size_t c;
	template <int V> LH_MEMBER lh_affine_column<V> begin(size_t j) const
	{
		lh_affine_column<V> g;
#pragma unroll
		for (int k = 0; k < V; k++) {
			g.mean[k] = mean ? mean[j + k] : 0;
			g.factor[k] = (rstd ? rstd[j + k] : 1) * (gain ? gain[j + k] : 1);
			g.shift[k] = shift ? shift[j + k] : 0;
		}
		return g;
	}
	template <int V> LH_MEMBER void at(const lh_affine_column<V> &g, size_t row, size_t j) const
	{
		float v[V];
		lh_load<V>(x + row * c + j, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] = (v[k] - g.mean[k]) * g.factor[k] + g.shift[k];
		lh_put<V>(y + row * c + j, add, v);
	}
};

template <typename T>
static int lh_run_affine(struct lh_backend *b, struct lh_err *err, const char *what, size_t rows, const lh_affine<T> &f)
{
	return lh_column_map<T>(b, err, what, rows, f.c, lh_aligned<T>(lh_vector_of<T>(), f.c, f.x, f.y), f);
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
