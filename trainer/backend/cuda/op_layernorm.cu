/* Layer norm of each row over its channels. */
#include "backend/cuda/columns.h"
#include "backend/cuda/rows.h"

namespace
{
/* state: mean [rows], 1 / deviation [rows] */
size_t state(const struct lh_node *node, size_t n) { return 2 * n * lh_shape_rows(node->y) * sizeof(float); }

/* The mean first, then the squares around it. */
template <typename T, int V, int WARPS>
__global__ void norm(size_t rows, size_t c, float epsilon, const T *x, const float *gain, const float *shift, float *mean,
		     float *rstd, T *y)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		lh_held<WARPS, V> row;
		row.load(x + i * c, c);
		const float m = team.sum(row.sum(c, [](float v, int, int) { return v; })) / static_cast<float>(c);
		const float square = team.sum(row.sum(c, [=](float v, int, int) { return (v - m) * (v - m); }));
		const float s = rsqrtf(square / static_cast<float>(c) + epsilon);
		if (!threadIdx.x) {
			mean[i] = m;
			rstd[i] = s;
		}
#pragma unroll
		for (int p = 0; p < row.parts; p++) {
			const size_t j = row.place(p);
			float g[V], b[V];
			if (j >= c)
				break;
			lh_load<V>(gain + j, g);
			lh_load<V>(shift + j, b);
#pragma unroll
			for (int k = 0; k < V; k++)
				g[k] = (row.v[p][k] - m) * s * g[k] + b[k];
			lh_store<V>(y + i * c + j, g);
		}
	}
}

/* With z = (x - mean) rstd, u = dy gain:   dx = rstd (u - mean(u) - z mean(u z)) */
template <typename T, int V, int WARPS>
__global__ void norm_back(size_t rows, size_t c, const T *x, const float *gain, const float *mean, const float *rstd,
			  const T *dy, T *dx, bool add)
{
	const lh_team<WARPS> team;
	for (size_t i = team.first(); i < rows; i += team.step()) {
		const float m = mean[i], s = rstd[i];
		lh_held<WARPS, V> z, u;
		z.load(x + i * c, c);
		u.load(dy + i * c, c);
#pragma unroll
		for (int p = 0; p < z.parts; p++) {
			float g[V];
			if (z.place(p) >= c)
				break;
			lh_load<V>(gain + z.place(p), g);
#pragma unroll
			for (int k = 0; k < V; k++) {
				z.v[p][k] = (z.v[p][k] - m) * s;
				u.v[p][k] *= g[k];
			}
		}
		const float sum = team.sum(u.sum(c, [](float v, int, int) { return v; })) / static_cast<float>(c);
		const float dot = team.sum(u.sum(c, [&z](float v, int p, int k) { return v * z.v[p][k]; })) / static_cast<float>(c);
#pragma unroll
		for (int p = 0; p < z.parts; p++) {
			if (z.place(p) >= c)
				break;
#pragma unroll
			for (int k = 0; k < V; k++)
				u.v[p][k] = s * (u.v[p][k] - sum - z.v[p][k] * dot);
			lh_put<V>(dx + i * c + z.place(p), add, u.v[p]);
		}
	}
}

size_t scratch(const struct lh_node *node, size_t n)
{
	return lh_columns_scratch(2, n * lh_shape_rows(node->y), node->y.c);
}

int check_width(size_t c, struct lh_err *err)
{
	if (c <= LH_ROW_HELD_MAX)
		return 0;
	return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "GPU: a layer norm over %zu channels: at most %d", c, LH_ROW_HELD_MAX);
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	constexpr int v = lh_vector_of<T>();
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const T *x = static_cast<const T *>(r->x[0]);
	const float *gain = static_cast<const float *>(r->param[0]), *shift = static_cast<const float *>(r->param[1]);
	float *mean = static_cast<float *>(r->state);
	T *y = static_cast<T *>(r->y);
	const bool vector = lh_aligned<T>(v, c, x, y) && lh_aligned<float>(v, c, gain, shift);
	const int rc = check_width(c, err);
	return rc ? rc
		  : lh_launch_rows(b, err, "layernorm", rows, c, vector ? norm<T, v, 1> : norm<T, 1, 1>,
				   vector ? norm<T, v, LH_ROW_WARPS> : norm<T, 1, LH_ROW_WARPS>, rows, c,
				   static_cast<float>(r->node->epsilon), x, gain, shift, mean, mean + rows, y);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	constexpr int v = lh_vector_of<T>();
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const T *x = static_cast<const T *>(r->x[0]), *dy = static_cast<const T *>(r->dy);
	const float *mean = static_cast<const float *>(r->state), *gain = static_cast<const float *>(r->param[0]);
	const lh_add_to<2> to = {{static_cast<float *>(r->dparam[0]), static_cast<float *>(r->dparam[1])}};
	T *dx = static_cast<T *>(r->dx[0]);
	const bool vector = lh_aligned<T>(v, c, x, dy, dx) && lh_aligned<float>(v, c, gain);
	int rc = 0;
	if (to.to[0] || to.to[1])
		rc = lh_columns<T, 2>(b, err, "layernorm", rows, c, lh_aligned<T>(v, c, x, dy),
				      lh_norm_sums<T, true>{x, dy, mean, mean + rows, c}, to, r->scratch);
	if (rc || !dx)
		return rc;
	return lh_launch_rows(b, err, "layernorm", rows, c, vector ? norm_back<T, v, 1> : norm_back<T, 1, 1>,
			      vector ? norm_back<T, v, LH_ROW_WARPS> : norm_back<T, 1, LH_ROW_WARPS>, rows, c, x, gain, mean,
			      mean + rows, dy, dx, r->dx_add[0]);
}
} // namespace

LH_CUDA_TABLE(layernorm, state, scratch, forward, backward);
