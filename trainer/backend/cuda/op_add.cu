/* Residual sum. */
#include "backend/cuda/kernel.h"

namespace
{
template <typename T> struct sum {
	const T *x0, *x1;
	T *y;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V], w[V];
		lh_load<V>(x0 + i, v);
		lh_load<V>(x1 + i, w);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] += w[k];
		lh_store<V>(y + i, v);
	}
};

/* Both inputs in one pass over dy. */
template <typename T> struct sum_back {
	const T *dy;
	T *dx0, *dx1;
	bool add0, add1;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float d[V], e[V];
		lh_load<V>(dy + i, d);
#pragma unroll
		for (int k = 0; k < V; k++)
			e[k] = d[k];
		if (dx0)
			lh_put<V>(dx0 + i, add0, d);
		if (dx1)
			lh_put<V>(dx1 + i, add1, e);
	}
};

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t n = r->n * lh_shape_count(r->node->y);
	const sum<T> f = {static_cast<const T *>(r->x[0]), static_cast<const T *>(r->x[1]), static_cast<T *>(r->y)};
	return lh_map<T>(b, err, "add", n, lh_aligned<T>(lh_vector_of<T>(), n, f.x0, f.x1, f.y), f);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t n = r->n * lh_shape_count(r->node->y);
	const sum_back<T> f = {static_cast<const T *>(r->dy), static_cast<T *>(r->dx[0]), static_cast<T *>(r->dx[1]),
			       r->dx_add[0], r->dx_add[1]};
	if (!f.dx0 && !f.dx1)
		return 0;
	return lh_map<T>(b, err, "add", n, lh_aligned<T>(lh_vector_of<T>(), n, f.dy, f.dx0, f.dx1), f);
}
} // namespace

LH_CUDA_TABLE(add, NULL, NULL, forward, backward);
