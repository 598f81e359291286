/* Softmax of each row over its channels. */
#include "backend/cuda/rows.h"

namespace
{
template <typename T, int WARPS> __global__ void softmax(size_t rows, size_t c, const T *x, T *y)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const T *from = x + i * c;
		float top = -INFINITY, sum = 0;
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			top = fmaxf(top, lh_float(from[j]));
		top = team.max(top);
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			sum += expf(lh_float(from[j]) - top);
		const float share = 1 / team.sum(sum);
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			lh_round(expf(lh_float(from[j]) - top) * share, y + i * c + j);
	}
}

/* dx = y (dy - sum dy y) */
template <typename T, int WARPS>
__global__ void softmax_back(size_t rows, size_t c, const T *y, const T *dy, T *dx, bool add)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		float dot = 0;
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			dot += lh_float(y[i * c + j]) * lh_float(dy[i * c + j]);
		dot = team.sum(dot);
		for (size_t j = threadIdx.x; j < c; j += team.threads)
			lh_put_one(dx + i * c + j, add, lh_float(y[i * c + j]) * (lh_float(dy[i * c + j]) - dot));
	}
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	return lh_launch_rows(b, err, "softmax", rows, c, softmax<T, 1>, softmax<T, LH_ROW_WARPS>, rows, c,
			      static_cast<const T *>(r->x[0]), static_cast<T *>(r->y));
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	if (!r->dx[0])
		return 0;
	return lh_launch_rows(b, err, "softmax", rows, c, softmax_back<T, 1>, softmax_back<T, LH_ROW_WARPS>, rows, c,
			      static_cast<const T *>(r->y), static_cast<const T *>(r->dy), static_cast<T *>(r->dx[0]),
			      r->dx_add[0]);
}
} // namespace

LH_CUDA_TABLE(softmax, NULL, NULL, forward, backward);
