/* Attention without its matrix of scores: a block has 64 rows of one head, 16 a warp, and goes over the other side by tiles in
 * shared memory. The formulas are in backend/cpu/op_attention.c; the idea is Dao's FlashAttention.
 *
 *   forward   rows of q: scores with a tile of k, weights against the largest score so far, times a tile of v. When a larger one
 *             comes, what was summed shrinks; the denominator divides at the end.
 *   dq        rows of q and dy: scores with k, gradients of weights with v; gradients of scores times the tile of k.
 *   dk, dv    rows of k and v: the same turned over, with tiles of q and dy.
 *
 * Scores are made twice in backward, so that every sum has one owner and one order: nothing is added atomically. Results of a
 * product stay in registers and are the next one's operand (mma.h). */
#include <math.h>

#include "backend/cuda/mma.h"

namespace
{
enum {
	DEPTH = 64, WARPS = 4, THREADS = 32 * WARPS, ROWS = 16 * WARPS,
	WORDS = DEPTH / 2, PITCH = WORDS + 4,   /* of a row in shared memory: eight rows, eight banks of 16 bytes */
	STEPS = DEPTH / 16, COLUMNS = DEPTH / 8, /* of a product: along the depth; results */
	FORWARD_TILE = 64, BACKWARD_TILE = 32,
};

struct shape {
	size_t queries, keys, heads, width;
	float scale;
	bool causal, dropout;
};

/* One head of one sample of q, k, v, their gradients, y or dy: rows `width` apart. */
template <typename T> struct rows {
	T *at;
	size_t width, count;
};

/* Which head a block has, of the samples of a launch, and the first of its rows. */
struct place {
	size_t sample, head, first;
	LH_MEMBER place(const shape &s, size_t count)
	{
		const size_t tiles = (count + ROWS - 1) / ROWS, of_head = blockIdx.x / tiles;
		first = blockIdx.x % tiles * ROWS;
		sample = of_head / s.heads;
		head = of_head % s.heads;
	}
	template <typename T> LH_MEMBER rows<T> of(T *p, const shape &s, size_t count) const
	{
		return {p + sample * count * s.width + head * DEPTH, s.width, count};
	}
	/* Of the row's number and, by it, of the random choices. */
	LH_MEMBER size_t row(const shape &s, size_t query) const { return (sample * s.heads + head) * s.queries + query; }
};

/* What a lane has of a product's result: rows g and g + 8 of the warp's 16, two columns of each eight. */
struct lane {
	unsigned g, t;
	size_t row; /* of the head: the warp's first */
	LH_MEMBER lane(size_t first) : g(threadIdx.x % 32 / 4), t(threadIdx.x % 4), row(first + threadIdx.x / 32 * 16) {}
	LH_MEMBER size_t row_of(int half) const { return row + g + 8 * static_cast<unsigned>(half); }
	LH_MEMBER size_t column_of(int j, int e) const { return 8 * static_cast<unsigned>(j) + 2 * t + static_cast<unsigned>(e & 1); }
};

/* The warp's 16 rows as left operands; zero behind the last row. */
template <typename T> LH_DEVICE void take_rows(const rows<const T> &from, const lane &l, uint32_t (&a)[STEPS][4])
{
#pragma unroll
	for (int k = 0; k < STEPS; k++)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const size_t row = l.row_of(i & 1);
			a[k][i] = row < from.count ? *reinterpret_cast<const uint32_t *>(from.at + row * from.width + 16 * k + 2 * l.t +
											 8 * (i >> 1))
						   : 0;
		}
}

template <typename T, int N> LH_DEVICE void take_tile(const rows<const T> &from, size_t first, LH_SHARED_OF(uint32_t) tile)
{
#pragma unroll
	for (int i = 0; i < N * (WORDS / 4) / THREADS; i++) {
		const unsigned at = threadIdx.x + static_cast<unsigned>(i) * THREADS, row = at / (WORDS / 4), part = at % (WORDS / 4);
		uint4 v = {0, 0, 0, 0};
		if (first + row < from.count)
			v = *reinterpret_cast<const uint4 *>(from.at + (first + row) * from.width + 8 * part);
		lh_shared_put(tile, row * PITCH + 4 * part, v);
	}
}

/* s [16][N] = a [16][DEPTH] tile' */
template <typename T, int N>
LH_DEVICE void against(const uint32_t (&a)[STEPS][4], LH_SHARED_OF(uint32_t) tile, float (&s)[N / 8][4])
{
	const unsigned of_lane = threadIdx.x % 8 * PITCH + threadIdx.x % 32 / 8 * 4;
#pragma unroll
	for (int j = 0; j < N / 8; j++) {
		s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
#pragma unroll
		for (int k = 0; k < STEPS; k += 2) {
			uint32_t b[4];
			lh_matrices<T, false>(tile, of_lane + 8 * static_cast<unsigned>(j) * PITCH + 8 * static_cast<unsigned>(k), b);
			lh_mma<T>(s[j], a[k], b[0], b[1]);
			lh_mma<T>(s[j], a[k + 1], b[2], b[3]);
		}
	}
}

/* sum [16][DEPTH] += p [16][N] tile */
template <typename T, int N>
LH_DEVICE void through(const float (&p)[N / 8][4], LH_SHARED_OF(uint32_t) tile, float (&sum)[COLUMNS][4])
{
	const unsigned m = threadIdx.x % 32 / 8, of_lane = (m % 2 * 8 + threadIdx.x % 8) * PITCH + m / 2 * 4;
#pragma unroll
	for (int k = 0; k < N / 16; k++) {
		const uint32_t a[4] = {lh_pair<T>(p[2 * k][0], p[2 * k][1]), lh_pair<T>(p[2 * k][2], p[2 * k][3]),
				       lh_pair<T>(p[2 * k + 1][0], p[2 * k + 1][1]), lh_pair<T>(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
		for (int j = 0; j < COLUMNS; j += 2) {
			uint32_t b[4];
			lh_matrices<T, true>(tile, of_lane + 16 * static_cast<unsigned>(k) * PITCH + 4 * static_cast<unsigned>(j), b);
			lh_mma<T>(sum[j], a, b[0], b[1]);
			lh_mma<T>(sum[j + 1], a, b[2], b[3]);
		}
	}
}

LH_DEVICE void clear(float (&sum)[COLUMNS][4])
{
#pragma unroll
	for (int j = 0; j < COLUMNS; j++)
		sum[j][0] = sum[j][1] = sum[j][2] = sum[j][3] = 0;
}

/* to = (add ? to : 0) + sum times the row's factor */
template <typename T>
LH_DEVICE void give_rows(const rows<T> &to, const lane &l, const float (&sum)[COLUMNS][4], const float (&factor)[2], bool add)
{
#pragma unroll
	for (int half = 0; half < 2; half++)
		if (l.row_of(half) < to.count)
#pragma unroll
			for (int j = 0; j < COLUMNS; j++) {
				float v[2] = {sum[j][2 * half] * factor[half], sum[j][2 * half + 1] * factor[half]};
				lh_put<2>(to.at + l.row_of(half) * to.width + l.column_of(j, 0), add, v);
			}
}

/* Over the four lanes that share a row. */
LH_DEVICE float row_sum(float v)
{
	v += __shfl_xor_sync(0xffffffffu, v, 1);
	return v + __shfl_xor_sync(0xffffffffu, v, 2);
}
LH_DEVICE float row_max(float v)
{
	v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 1));
	return fmaxf(v, __shfl_xor_sync(0xffffffffu, v, 2));
}

LH_DEVICE bool seen(const shape &s, size_t query, size_t key) { return !s.causal || key <= query; }
/* key: of the sample's random choices */
LH_DEVICE float kept(const shape &s, const struct lh_choice &choice, uint64_t key, const place &at, size_t query, size_t k)
{
	return choice.factor(key, (at.head * s.queries + query) * s.keys + k);
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    attend(shape s, const __grid_constant__ struct lh_keys choices, struct lh_choice choice, const T *q, const T *k, const T *v,
	   const int32_t *mask, float *lse, T *y)
{
	constexpr int N = FORWARD_TILE;
	LH_SHARED(uint32_t, tile_k, N * PITCH);
	LH_SHARED(uint32_t, tile_v, N * PITCH);
	LH_SHARED(int32_t, open, N);
	const place at(s, s.queries);
	const lane l(at.first);
	uint32_t a[STEPS][4];
	float sum[COLUMNS][4], top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
	take_rows<T>(at.of(q, s, s.queries), l, a);
	clear(sum);
	const size_t end = s.causal && at.first + ROWS < s.keys ? at.first + ROWS : s.keys;
	for (size_t first = 0; first < end; first += N) {
		float p[N / 8][4];
		__syncthreads(); /* nobody reads the last tile any more */
		take_tile<T, N>(at.of(k, s, s.keys), first, tile_k);
		take_tile<T, N>(at.of(v, s, s.keys), first, tile_v);
		if (threadIdx.x < N)
			open[threadIdx.x] = first + threadIdx.x < s.keys && (!mask || mask[at.sample * s.keys + first + threadIdx.x]);
		__syncthreads();
		against<T, N>(a, tile_k, p);
		float before[2] = {top[0], top[1]};
#pragma unroll
		for (int j = 0; j < N / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const size_t column = l.column_of(j, e);
				p[j][e] = open[column] && seen(s, l.row_of(e / 2), first + column) ? p[j][e] * s.scale : -INFINITY;
				top[e / 2] = fmaxf(top[e / 2], p[j][e]);
			}
#pragma unroll
		for (int half = 0; half < 2; half++) {
			top[half] = row_max(top[half]);
			const float shrink = top[half] > -INFINITY ? expf(before[half] - top[half]) : 1;
			total[half] *= shrink;
#pragma unroll
			for (int j = 0; j < COLUMNS; j++) {
				sum[j][2 * half] *= shrink;
				sum[j][2 * half + 1] *= shrink;
			}
		}
#pragma unroll
		for (int j = 0; j < N / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const bool nothing = p[j][e] == -INFINITY; /* hidden, or as good as that */
				p[j][e] = nothing ? 0 : expf(p[j][e] - top[e / 2]);
				total[e / 2] += p[j][e];
				if (s.dropout)
					p[j][e] *= kept(s, choice, choices.of[at.sample], at, l.row_of(e / 2), first + l.column_of(j, e));
			}
		through<T, N>(p, tile_v, sum);
	}
	float share[2];
#pragma unroll
	for (int half = 0; half < 2; half++) {
		const float all = row_sum(total[half]);
		share[half] = all > 0 || all != all ? 1 / all : 0;
		if (!l.t && l.row_of(half) < s.queries)
			lse[at.row(s, l.row_of(half))] = top[half] + logf(all);
	}
	give_rows<T>(at.of(y, s, s.queries), l, sum, share, false);
}

/* From the score and the gradient dp of what met v: the weight as it met v, and the score's gradient. */
struct weight {
	float met, ds;
	LH_MEMBER weight(const shape &s, bool open, float score, float dp, float lse, float dot, float keep)
	{
		const float p = open ? expf(score * s.scale - lse) : 0;
		met = p * keep;
		ds = p > 0 || p != p ? p * (dp * keep - dot) * s.scale : 0;
	}
};

template <typename T>
__global__ void __launch_bounds__(THREADS)
    back_to_queries(shape s, const __grid_constant__ struct lh_keys choices, struct lh_choice choice, const T *q, const T *k,
		    const T *v, const T *dy, const int32_t *mask, const float *lse, const float *dot, T *dq, bool add)
{
	constexpr int N = BACKWARD_TILE;
	LH_SHARED(uint32_t, tile_k, N * PITCH);
	LH_SHARED(uint32_t, tile_v, N * PITCH);
	LH_SHARED(int32_t, open, N);
	const place at(s, s.queries);
	const lane l(at.first);
	uint32_t of_q[STEPS][4], of_dy[STEPS][4];
	float sum[COLUMNS][4], own_lse[2] = {0, 0}, own_dot[2] = {0, 0};
	take_rows<T>(at.of(q, s, s.queries), l, of_q);
	take_rows<T>(at.of(dy, s, s.queries), l, of_dy);
	clear(sum);
#pragma unroll
	for (int half = 0; half < 2; half++)
		if (l.row_of(half) < s.queries) {
			own_lse[half] = lse[at.row(s, l.row_of(half))];
			own_dot[half] = dot[at.row(s, l.row_of(half))];
		}
	const size_t end = s.causal && at.first + ROWS < s.keys ? at.first + ROWS : s.keys;
	for (size_t first = 0; first < end; first += N) {
		float p[N / 8][4], dp[N / 8][4];
		__syncthreads();
		take_tile<T, N>(at.of(k, s, s.keys), first, tile_k);
		take_tile<T, N>(at.of(v, s, s.keys), first, tile_v);
		if (threadIdx.x < N)
			open[threadIdx.x] = first + threadIdx.x < s.keys && (!mask || mask[at.sample * s.keys + first + threadIdx.x]);
		__syncthreads();
		against<T, N>(of_q, tile_k, p);
		against<T, N>(of_dy, tile_v, dp);
#pragma unroll
		for (int j = 0; j < N / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const size_t query = l.row_of(e / 2), key = first + l.column_of(j, e);
				const float keep = s.dropout ? kept(s, choice, choices.of[at.sample], at, query, key) : 1;
				const weight w(s, query < s.queries && open[l.column_of(j, e)] && seen(s, query, key), p[j][e], dp[j][e],
					       own_lse[e / 2], own_dot[e / 2], keep);
				p[j][e] = w.ds;
			}
		through<T, N>(p, tile_k, sum);
	}
	give_rows<T>(at.of(dq, s, s.queries), l, sum, {1, 1}, add);
}

template <typename T>
__global__ void __launch_bounds__(THREADS)
    back_to_keys(shape s, const __grid_constant__ struct lh_keys choices, struct lh_choice choice, const T *q, const T *k,
		 const T *v, const T *dy, const int32_t *mask, const float *lse, const float *dot, T *dk, T *dv, bool add_k, bool add_v)
{
	constexpr int N = BACKWARD_TILE;
	LH_SHARED(uint32_t, tile_q, N * PITCH);
	LH_SHARED(uint32_t, tile_dy, N * PITCH);
	LH_SHARED(float, of_query, 2 * N); /* lse, dot */
	const place at(s, s.keys);
	const lane l(at.first);
	uint32_t of_k[STEPS][4], of_v[STEPS][4];
	float sum_k[COLUMNS][4], sum_v[COLUMNS][4];
	bool open[2];
	take_rows<T>(at.of(k, s, s.keys), l, of_k);
	take_rows<T>(at.of(v, s, s.keys), l, of_v);
	clear(sum_k);
	clear(sum_v);
#pragma unroll
	for (int half = 0; half < 2; half++)
		open[half] = l.row_of(half) < s.keys && (!mask || mask[at.sample * s.keys + l.row_of(half)]);
	for (size_t first = s.causal ? at.first / N * N : 0; first < s.queries; first += N) {
		float p[N / 8][4], dp[N / 8][4];
		__syncthreads();
		take_tile<T, N>(at.of(q, s, s.queries), first, tile_q);
		take_tile<T, N>(at.of(dy, s, s.queries), first, tile_dy);
		if (threadIdx.x < 2 * N) {
			const size_t query = first + threadIdx.x % N;
			of_query[threadIdx.x] = query < s.queries ? (threadIdx.x < N ? lse : dot)[at.row(s, query)] : 0;
		}
		__syncthreads();
		against<T, N>(of_k, tile_q, p);
		against<T, N>(of_v, tile_dy, dp);
#pragma unroll
		for (int j = 0; j < N / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const size_t key = l.row_of(e / 2), column = l.column_of(j, e), query = first + column;
				const float keep = s.dropout ? kept(s, choice, choices.of[at.sample], at, query, key) : 1;
				const weight w(s, query < s.queries && open[e / 2] && seen(s, query, key), p[j][e], dp[j][e],
					       of_query[column], of_query[N + column], keep);
				p[j][e] = w.met;
				dp[j][e] = w.ds;
			}
		through<T, N>(p, tile_dy, sum_v);
		through<T, N>(dp, tile_q, sum_k);
	}
	if (dk)
		give_rows<T>(at.of(dk, s, s.keys), l, sum_k, {1, 1}, add_k);
	if (dv)
		give_rows<T>(at.of(dv, s, s.keys), l, sum_v, {1, 1}, add_v);
}

/* --- launches: samples as many as a launch has keys for --- */

shape shape_of(const struct lh_op_run *r)
{
	const struct lh_node *node = r->node;
	shape s = {};
	s.queries = lh_shape_rows(node->x[0]);
	s.keys = lh_shape_rows(node->x[1]);
	s.heads = node->heads;
	s.width = node->y.c;
	s.scale = static_cast<float>(1 / sqrt(static_cast<double>(DEPTH)));
	s.causal = node->causal;
	s.dropout = r->training && node->p > 0;
	return s;
}

lh_grid grid_of(const shape &s, size_t count, size_t samples)
{
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>((count + ROWS - 1) / ROWS * s.heads * samples));
	g.threads = dim3(THREADS);
	return g;
}

/* f(first sample, how many, their keys) */
template <typename F> int over_samples(const struct lh_op_run *r, const shape &s, const F &f)
{
	int rc = 0;
	for (size_t first = 0, n; first < r->n && !rc; first += n) {
		n = r->n - first < LH_KEYS_MAX ? r->n - first : LH_KEYS_MAX;
		rc = f(first, n, s.dropout ? lh_keys_of(r, first, n) : lh_keys());
	}
	return rc;
}

template <typename T> T *from_sample(const void *p, size_t elements) /* NULL stays NULL */
{
	return p ? static_cast<T *>(const_cast<void *>(p)) + elements : NULL;
}
} // namespace

bool lh_cuda_attention_fuses(struct lh_backend *b, unsigned precision, const struct lh_op_run *r)
{
	if (precision == LH_PRECISION_FP32 || !lh_cuda_of(b)->tensor_cores || r->node->y.c != DEPTH * r->node->heads)
		return false;
	const void *const all[] = {r->x[0], r->x[1], r->x[2], r->y, r->dy, r->dx[0], r->dx[1], r->dx[2]};
	for (const void *p : all)
		if (!lh_aligned_one(p, 16))
			return false;
	return true;
}

int lh_cuda_attention_fused_forward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, struct lh_err *err)
{
	const shape s = shape_of(r);
	const size_t of_q = s.queries * s.width, of_k = s.keys * s.width;
	return lh_with_half(precision, [=](auto zero) {
		typedef decltype(zero) T;
		return over_samples(r, s, [=](size_t first, size_t n, const struct lh_keys &keys) {
			return lh_launch(b, err, "attention", grid_of(s, s.queries, n), attend<T>, s, keys, lh_choice_of(r->node),
					 from_sample<const T>(r->x[0], first * of_q), from_sample<const T>(r->x[1], first * of_k),
					 from_sample<const T>(r->x[2], first * of_k), from_sample<const int32_t>(r->x[3], first * s.keys),
					 from_sample<float>(r->state, first * s.heads * s.queries), from_sample<T>(r->y, first * of_q));
		});
	});
}

int lh_cuda_attention_fused_backward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, const float *dot,
				     struct lh_err *err)
{
	const shape s = shape_of(r);
	const size_t of_q = s.queries * s.width, of_k = s.keys * s.width;
	return lh_with_half(precision, [=](auto zero) {
		typedef decltype(zero) T;
		return over_samples(r, s, [=](size_t first, size_t n, const struct lh_keys &keys) {
			const size_t rows_before = first * s.heads * s.queries;
			const T *q = from_sample<const T>(r->x[0], first * of_q), *k = from_sample<const T>(r->x[1], first * of_k);
			const T *v = from_sample<const T>(r->x[2], first * of_k), *dy = from_sample<const T>(r->dy, first * of_q);
			const int32_t *mask = from_sample<const int32_t>(r->x[3], first * s.keys);
			const float *lse = from_sample<const float>(r->state, rows_before), *own_dot = dot + rows_before;
			int rc = 0;
			if (r->dx[0])
				rc = lh_launch(b, err, "attention", grid_of(s, s.queries, n), back_to_queries<T>, s, keys,
					       lh_choice_of(r->node), q, k, v, dy, mask, lse, own_dot,
					       from_sample<T>(r->dx[0], first * of_q), r->dx_add[0]);
			if (!rc && (r->dx[1] || r->dx[2]))
				rc = lh_launch(b, err, "attention", grid_of(s, s.keys, n), back_to_keys<T>, s, keys, lh_choice_of(r->node),
					       q, k, v, dy, mask, lse, own_dot, from_sample<T>(r->dx[1], first * of_k),
					       from_sample<T>(r->dx[2], first * of_k), r->dx_add[1], r->dx_add[2]);
			return rc;
		});
	});
}
