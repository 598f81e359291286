/* Softmax and cross entropy; what it calculates is said in backend/cpu/op_cross_entropy.c. y {loss, hits} and dy are float
 * in every precision. */
#include "backend/cuda/rows.h"

namespace
{
/* state: logarithm of the softmax's denominator of each row, then of each sample 1 / targets that count (0: none) */
size_t state(const struct lh_node *node, size_t n) { return n * (lh_shape_rows(node->x[0]) + 1) * sizeof(float); }
/* loss of each row, then whether it hit; -1: it does not count */
size_t scratch(const struct lh_node *node, size_t n)
{
	return n * lh_shape_rows(node->x[0]) * (sizeof(float) + sizeof(int32_t));
}

/* The largest of a team's numbers and the first place where it stands. */
template <int WARPS> LH_DEVICE size_t first_of(const lh_team<WARPS> &team, float own, float top, size_t at, size_t c)
{
	/* Places are below 2^24, or a float could not carry them: vocabularies end at 250002. */
	return static_cast<size_t>(-team.max(own == top ? -static_cast<float>(at) : -static_cast<float>(c)));
}

template <typename T, int WARPS>
__global__ void rows_of_loss(size_t rows, size_t c, const T *x, const int32_t *targets, float *lse, float *loss,
			     int32_t *hit)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const T *from = x + i * c;
		const int32_t target = targets[i];
		if (target == LH_TARGET_IGNORED) { /* all of the team alike */
			if (!threadIdx.x) {
				lse[i] = 0;
				loss[i] = 0;
				hit[i] = -1;
			}
			continue;
		}
		float own = -INFINITY, sum = 0;
		size_t at = c;
		for (size_t j = threadIdx.x; j < c; j += team.threads) {
			const float v = lh_float(from[j]);
			if (v > own || at == c) {
				own = v;
				at = j;
			}
		}
		const float top = team.max(own);
		const size_t best = first_of(team, own, top, at, c);
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			sum += expf(lh_float(from[j]) - top);
		const float log_sum = logf(team.sum(sum));
		if (!threadIdx.x) {
			lse[i] = top + log_sum;
			loss[i] = top - lh_float(from[target]) + log_sum;
			hit[i] = best == static_cast<size_t>(target);
		}
	}
}

/* One warp a sample. */
__global__ void samples_of_loss(size_t n, size_t rows, const float *loss, const int32_t *hit, float *share, float *y)
{
	const lh_team<1> team;
	for (size_t s = team.first(); s < n; s += team.step()) {
		double sum = 0;
		float counted = 0, hits = 0;
		for (size_t i = threadIdx.x; i < rows; i += team.threads) {
			const int32_t h = hit[s * rows + i];
			sum += static_cast<double>(loss[s * rows + i]);
			counted += h >= 0 ? 1.0f : 0.0f;
			hits += h > 0 ? 1.0f : 0.0f;
		}
#pragma unroll
		for (int d = LH_WARP / 2; d; d /= 2)
			sum += __shfl_xor_sync(0xffffffffu, sum, d);
		counted = team.sum(counted);
		hits = team.sum(hits);
		if (!threadIdx.x) {
			share[s] = counted > 0 ? 1 / counted : 0;
			y[2 * s] = counted > 0 ? static_cast<float>(sum / static_cast<double>(counted)) : 0;
			y[2 * s + 1] = hits;
		}
	}
}

template <typename T, int WARPS>
__global__ void loss_back(size_t n, size_t rows, size_t c, const T *x, const int32_t *targets, const float *lse,
			  const float *share, const float *dy, T *dx, bool add)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < n * rows; i += team.step()) {
		const int32_t target = targets[i];
		const float weight = target == LH_TARGET_IGNORED ? 0 : dy[2 * (i / rows)] * share[i / rows];
		for (size_t j = threadIdx.x; j < c; j += team.threads) {
			const float hot = static_cast<size_t>(target) == j ? 1.0f : 0.0f;
			const float d = weight == 0 ? 0 : weight * (expf(lh_float(x[i * c + j]) - lse[i]) - hot);
			lh_put_one(dx + i * c + j, add, d);
		}
	}
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = lh_shape_rows(r->node->x[0]), c = r->node->x[0].c, all = r->n * rows;
	float *lse = static_cast<float *>(r->state), *loss = static_cast<float *>(r->scratch);
	int32_t *hit = static_cast<int32_t *>(r->scratch) + all;
	const int rc = lh_launch_rows(b, err, "cross_entropy", all, c, rows_of_loss<T, 1>, rows_of_loss<T, LH_ROW_WARPS>, all,
				      c, static_cast<const T *>(r->x[0]), static_cast<const int32_t *>(r->x[1]), lse, loss, hit);
	return rc ? rc
		  : lh_launch_rows(b, err, "cross_entropy", r->n, 1, samples_of_loss, samples_of_loss, r->n, rows, loss, hit,
				   lse + all, static_cast<float *>(r->y));
}

/* Only the loss (dy[0] of each sample) has a gradient; the number of hits is a step function. */
template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = lh_shape_rows(r->node->x[0]), c = r->node->x[0].c, all = r->n * rows;
	const float *lse = static_cast<const float *>(r->state);
	if (!r->dx[0])
		return 0;
	return lh_launch_rows(b, err, "cross_entropy", all, c, loss_back<T, 1>, loss_back<T, LH_ROW_WARPS>, r->n, rows, c,
			      static_cast<const T *>(r->x[0]), static_cast<const int32_t *>(r->x[1]), lse, lse + all,
			      static_cast<const float *>(r->dy), static_cast<T *>(r->dx[0]), r->dx_add[0]);
}
} // namespace

LH_CUDA_TABLE(cross_entropy, state, scratch, forward, backward);
