/* Layer norm of each row over its channels. */
#include "backend/cuda/columns.h"
#include "backend/cuda/rows.h"

namespace
{
/* state: mean [rows], 1 / deviation [rows] */
size_t state(const struct lh_node *node, size_t n) { return 2 * n * lh_shape_rows(node->y) * sizeof(float); }

/* x, twice from the cache: the mean first, then the squares around it. */
template <typename T, int WARPS>
__global__ void norm(size_t rows, size_t c, float epsilon, const T *x, const float *gain, const float *shift, float *mean,
		     float *rstd, T *y)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const T *from = x + i * c;
		float sum = 0, square = 0;
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			sum += lh_float(from[j]);
		const float m = team.sum(sum) / static_cast<float>(c);
		for (size_t j = threadIdx.x; j < c; j += team.threads) {
			const float d = lh_float(from[j]) - m;
			square += d * d;
		}
		const float s = rsqrtf(team.sum(square) / static_cast<float>(c) + epsilon);
		if (!threadIdx.x) {
			mean[i] = m;
			rstd[i] = s;
		}
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			lh_round((lh_float(from[j]) - m) * s * gain[j] + shift[j], y + i * c + j);
	}
}

/* With z = (x - mean) rstd, u = dy gain:   dx = rstd (u - mean(u) - z mean(u z)) */
template <typename T, int WARPS>
__global__ void norm_back(size_t rows, size_t c, const T *x, const float *gain, const float *mean, const float *rstd,
			  const T *dy, T *dx, bool add)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const float m = mean[i], s = rstd[i];
		float sum = 0, dot = 0;
		for (size_t j = threadIdx.x; j < c; j += team.threads) {
			const float u = lh_float(dy[i * c + j]) * gain[j];
			sum += u;
			dot += u * (lh_float(x[i * c + j]) - m) * s;
		}
		sum = team.sum(sum) / static_cast<float>(c);
		dot = team.sum(dot) / static_cast<float>(c);
		for (size_t j = threadIdx.x; j < c; j += team.threads) {
			const float z = (lh_float(x[i * c + j]) - m) * s, u = lh_float(dy[i * c + j]) * gain[j];
			lh_put_one(dx + i * c + j, add, s * (u - sum - z * dot));
		}
	}
}

size_t scratch(const struct lh_node *node, size_t n)
{
	return lh_columns_scratch(2, n * lh_shape_rows(node->y), node->y.c);
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	float *mean = static_cast<float *>(r->state);
	return lh_launch_rows(b, err, "layernorm", rows, c, norm<T, 1>, norm<T, LH_ROW_WARPS>, rows, c,
			      static_cast<float>(r->node->epsilon), static_cast<const T *>(r->x[0]),
			      static_cast<const float *>(r->param[0]), static_cast<const float *>(r->param[1]), mean,
			      mean + rows, static_cast<T *>(r->y));
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const T *x = static_cast<const T *>(r->x[0]), *dy = static_cast<const T *>(r->dy);
	const float *mean = static_cast<const float *>(r->state);
	const lh_add_to<2> to = {{static_cast<float *>(r->dparam[0]), static_cast<float *>(r->dparam[1])}};
	int rc = 0;
	if (to.to[0] || to.to[1])
		rc = lh_columns<T, 2>(b, err, "layernorm", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, x, dy),
				      lh_norm_sums<T, true>{x, dy, mean, mean + rows, c}, to, r->scratch);
	if (rc || !r->dx[0])
		return rc;
	return lh_launch_rows(b, err, "layernorm", rows, c, norm_back<T, 1>, norm_back<T, LH_ROW_WARPS>, rows, c, x,
			      static_cast<const float *>(r->param[0]), mean, mean + rows, dy, static_cast<T *>(r->dx[0]),
			      r->dx_add[0]);
}
} // namespace

LH_CUDA_TABLE(layernorm, state, scratch, forward, backward);
