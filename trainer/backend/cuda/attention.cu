/* What stands between the products of attention: masks, softmax, dropout and their gradient, for rows of scores.
 * The formulas are in backend/cpu/op_attention.c. */
#include <math.h>

#include "backend/cuda/rows.h"

namespace
{
struct geometry {
	size_t queries, keys, heads, width, depth;
	float scale;
	bool causal, dropout;
};

geometry geometry_of(const struct lh_op_run *r)
{
	const struct lh_node *node = r->node;
	geometry g = {};
	g.queries = lh_shape_rows(node->x[0]);
	g.keys = lh_shape_rows(node->x[1]);
	g.heads = node->heads;
	g.width = node->y.c;
	g.depth = g.width / g.heads;
	g.scale = static_cast<float>(1 / sqrt(static_cast<double>(g.depth)));
	g.causal = node->causal;
	g.dropout = r->training && node->p > 0;
	return g;
}

/* Row i of [samples][heads][queries]. */
struct row {
	size_t sample, end; /* keys from `end` on are in the future */
	uint64_t at;        /* of its first weight among the random choices of the sample */
	const int32_t *mask;
	LH_MEMBER bool sees(size_t j) const { return j < end && (!mask || mask[j]); }
};

LH_DEVICE row row_of(const geometry &g, size_t i, const int32_t *mask)
{
	const size_t of_sample = g.heads * g.queries;
	row w;
	w.sample = i / of_sample;
	const size_t inner = i - w.sample * of_sample, query = inner % g.queries;
	w.end = g.causal && query + 1 < g.keys ? query + 1 : g.keys;
	w.at = static_cast<uint64_t>(inner) * g.keys;
	w.mask = mask ? mask + w.sample * g.keys : NULL;
	return w;
}

template <typename T, int WARPS>
__global__ void weigh(geometry g, size_t rows, const __grid_constant__ struct lh_keys keys, struct lh_choice choice,
		      const float *scores, const int32_t *mask, float *lse, T *weights)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const row w = row_of(g, i, mask);
		const float *s = scores + i * g.keys;
		float top = -INFINITY, sum = 0;
		for (size_t j = threadIdx.x; j < w.end; j += team.threads)
			if (w.sees(j))
				top = fmaxf(top, s[j] * g.scale);
		top = team.max(top);
		for (size_t j = threadIdx.x; j < w.end; j += team.threads)
			if (w.sees(j))
				sum += expf(s[j] * g.scale - top);
		sum = team.sum(sum);
		const float share = sum > 0 || sum != sum ? 1 / sum : 0;
		if (!threadIdx.x)
			lse[i] = top + logf(sum);
		for (size_t j = threadIdx.x; j < g.keys; j += team.threads) {
			float p = w.sees(j) ? expf(s[j] * g.scale - top) * share : 0;
			if (g.dropout)
				p *= choice.factor(keys.of[w.sample], w.at + j);
			lh_round(p, weights + i * g.keys + j);
		}
	}
}

/* D = dy . y of each row: y and dy are [samples][queries][width]. */
template <typename T> __global__ void dots(geometry g, size_t rows, const T *y, const T *dy, float *dot)
{
	const lh_team<1> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const size_t query = i % g.queries, head = i / g.queries % g.heads, sample = i / g.queries / g.heads;
		const size_t at = (sample * g.queries + query) * g.width + head * g.depth;
		float sum = 0;
		for (size_t j = threadIdx.x; j < g.depth; j += team.threads)
			sum += lh_float(y[at + j]) * lh_float(dy[at + j]);
		sum = team.sum(sum);
		if (!threadIdx.x)
			dot[i] = sum;
	}
}

template <typename T>
__global__ void weigh_back(geometry g, size_t rows, const __grid_constant__ struct lh_keys keys, struct lh_choice choice,
			   const float *scores, const float *dp, const float *dot, const int32_t *mask, const float *lse,
			   T *weights, T *ds)
{
	const lh_team<1> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const row w = row_of(g, i, mask);
		for (size_t j = threadIdx.x; j < g.keys; j += team.threads) {
			const size_t at = i * g.keys + j;
			const float p = w.sees(j) ? expf(scores[at] * g.scale - lse[i]) : 0;
			const float keep = g.dropout ? choice.factor(keys.of[w.sample], w.at + j) : 1;
			lh_round(p > 0 || p != p ? p * (dp[at] * keep - dot[i]) * g.scale : 0, ds + at);
			lh_round(p * keep, weights + at);
		}
	}
}

/* Samples that one launch takes, and where they begin in memory of the whole. */
struct part {
	size_t samples, rows, offset; /* offset: rows before it, counted from `first` */
};
part part_of(const geometry &g, size_t done, size_t n)
{
	part p;
	p.samples = n - done < LH_KEYS_MAX ? n - done : LH_KEYS_MAX;
	p.rows = p.samples * g.heads * g.queries;
	p.offset = done * g.heads * g.queries;
	return p;
}

struct lh_keys keys_of(const geometry &g, const struct lh_op_run *r, size_t first, size_t n)
{
	return g.dropout ? lh_keys_of(r, first, n) : lh_keys();
}

const int32_t *mask_of(const geometry &g, const struct lh_op_run *r, size_t sample)
{
	return r->x[3] ? static_cast<const int32_t *>(r->x[3]) + sample * g.keys : NULL;
}
} // namespace

size_t lh_cuda_attention_state(const struct lh_node *node, size_t n)
{
	return n * node->heads * lh_shape_rows(node->x[0]) * sizeof(float);
}

int lh_cuda_attention_forward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, size_t first, size_t n,
			      const float *scores, void *weights, struct lh_err *err)
{
	const geometry g = geometry_of(r);
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		int rc = 0;
		for (size_t done = 0; done < n && !rc; done += LH_KEYS_MAX) {
			const part p = part_of(g, done, n);
			rc = lh_launch_rows(b, err, "attention", p.rows, g.keys, weigh<T, 1>, weigh<T, LH_ROW_WARPS>, g, p.rows,
					    keys_of(g, r, first + done, p.samples), lh_choice_of(r->node),
					    scores + p.offset * g.keys, mask_of(g, r, first + done),
					    static_cast<float *>(r->state) + first * g.heads * g.queries + p.offset,
					    static_cast<T *>(weights) + p.offset * g.keys);
		}
		return rc;
	});
}

int lh_cuda_attention_dot(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, size_t first, size_t n,
			  float *dot, struct lh_err *err)
{
	const geometry g = geometry_of(r);
	const size_t rows = n * g.heads * g.queries, at = first * g.queries * g.width;
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		return lh_launch_rows(b, err, "attention", rows, 1, dots<T>, dots<T>, g, rows,
				      static_cast<const T *>(r->y) + at, static_cast<const T *>(r->dy) + at, dot);
	});
}

int lh_cuda_attention_backward(struct lh_backend *b, unsigned precision, const struct lh_op_run *r, size_t first,
			       size_t n, const float *scores, const float *dp, const float *dot, void *weights, void *ds,
			       struct lh_err *err)
{
	const geometry g = geometry_of(r);
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		int rc = 0;
		for (size_t done = 0; done < n && !rc; done += LH_KEYS_MAX) {
			const part p = part_of(g, done, n);
			rc = lh_launch_rows(b, err, "attention", p.rows, 1, weigh_back<T>, weigh_back<T>, g, p.rows,
					    keys_of(g, r, first + done, p.samples), lh_choice_of(r->node),
					    scores + p.offset * g.keys, dp + p.offset * g.keys, dot + p.offset,
					    mask_of(g, r, first + done),
					    static_cast<const float *>(r->state) + first * g.heads * g.queries + p.offset,
					    static_cast<T *>(weights) + p.offset * g.keys, static_cast<T *>(ds) + p.offset * g.keys);
		}
		return rc;
	});
}
