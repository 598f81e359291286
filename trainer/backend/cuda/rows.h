/* rows.h - a team of WARPS warps works on one row: one warp for short rows, eight rows a block; a block for long ones. */
#ifndef BACKEND_CUDA_ROWS_H
#define BACKEND_CUDA_ROWS_H

#include "backend/cuda/kernel.h"

enum { LH_ROW_WARPS = 8, LH_ROW_SHORT = 1024, LH_WARP = 32 };

LH_DEVICE float lh_warp_sum(float v)
{
#pragma unroll
	for (int d = LH_WARP / 2; d; d /= 2)
		v += __shfl_xor_sync(0xffffffffu, v, d);
	return v;
}

LH_DEVICE float lh_warp_max(float v)
{
#pragma unroll
	for (int d = LH_WARP / 2; d; d /= 2)
		v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
	return v;
}

/* Threads are (32 WARPS, 8 / WARPS): x within the row, y the row within the block. All threads of the block come to
 * sum() and max() alike, since with a team of a block they hold barriers: the loop over rows has `more()`. */
template <int WARPS> struct lh_team {
	static constexpr int threads = LH_WARP * WARPS;
	static constexpr int rows = LH_ROW_WARPS / WARPS;

	LH_MEMBER size_t first() const { return static_cast<size_t>(blockIdx.x) * rows + threadIdx.y; }
	LH_MEMBER size_t step() const { return static_cast<size_t>(gridDim.x) * rows; }

	template <bool MAX> LH_MEMBER float reduce(float v) const
	{
		v = MAX ? lh_warp_max(v) : lh_warp_sum(v);
		if (WARPS == 1)
			return v;
		LH_SHARED(float, of_warp, LH_ROW_WARPS);
		if (threadIdx.x % LH_WARP == 0)
			of_warp[threadIdx.x / LH_WARP] = v;
		__syncthreads();
		v = of_warp[0];
#pragma unroll
		for (int i = 1; i < WARPS; i++)
			v = MAX ? fmaxf(v, of_warp[i]) : v + of_warp[i];
		__syncthreads(); /* before the next one writes */
		return v;
	}
	LH_MEMBER float sum(float v) const { return reduce<false>(v); }
	LH_MEMBER float max(float v) const { return reduce<true>(v); }
};

/* A row that the team holds in registers, V neighbours at a time: read once, however often it is looked at. */
enum { LH_ROW_HELD = 32, LH_ROW_HELD_MAX = LH_ROW_HELD * LH_WARP * LH_ROW_WARPS };
template <int WARPS, int V> struct lh_held {
	static constexpr int parts = LH_ROW_HELD / V;
	float v[parts][V];

	static LH_MEMBER size_t place(int i)
	{
		return (static_cast<size_t>(i) * lh_team<WARPS>::threads + threadIdx.x) * V;
	}
	template <typename T> LH_MEMBER void load(const T *row, size_t c)
	{
#pragma unroll
		for (int i = 0; i < parts; i++)
			if (place(i) < c)
				lh_load<V>(row + place(i), v[i]);
	}
	/* The thread's sum of f(element, its place in the row's part: i, k). */
	template <typename F> LH_MEMBER float sum(size_t c, const F &f) const
	{
		float all = 0;
#pragma unroll
		for (int i = 0; i < parts; i++)
			if (place(i) < c)
#pragma unroll
				for (int k = 0; k < V; k++)
					all += f(v[i][k], i, k);
		return all;
	}
};

static inline bool lh_rows_short(size_t c) { return c <= LH_ROW_SHORT; }

/* Launches for_short = kernel<1> or for_long = kernel<LH_ROW_WARPS> over rows of c elements. */
template <typename... P, typename... A>
static int lh_launch_rows(struct lh_backend *b, struct lh_err *err, const char *what, size_t rows, size_t c,
			  void (*for_short)(P...), void (*for_long)(P...), A... args)
{
	const size_t most = static_cast<size_t>(lh_cuda_of(b)->processors) * LH_BLOCKS_PER_PROCESSOR;
	const size_t a_block = lh_rows_short(c) ? LH_ROW_WARPS : 1, wanted = (rows + a_block - 1) / a_block;
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>(wanted < most ? wanted : most));
	g.threads = lh_rows_short(c) ? dim3(LH_WARP, LH_ROW_WARPS) : dim3(LH_WARP * LH_ROW_WARPS, 1);
	return lh_launch(b, err, what, g, lh_rows_short(c) ? for_short : for_long, args...);
}

#endif
