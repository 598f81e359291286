/* max(x, 0). NaN stays NaN, so that a broken number is seen. */
#include "backend/cuda/kernel.h"

namespace
{
template <typename T> struct relu {
	const T *x;
	T *y;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V];
		lh_load<V>(x + i, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] = v[k] < 0 ? 0 : v[k];
		lh_store<V>(y + i, v);
	}
};

template <typename T> struct relu_back {
	const T *y, *dy;
	T *dx;
	bool add;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V], d[V];
		lh_load<V>(y + i, v);
		lh_load<V>(dy + i, d);
#pragma unroll
		for (int k = 0; k < V; k++)
			d[k] = v[k] > 0 ? d[k] : 0;
		lh_put<V>(dx + i, add, d);
	}
};

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t n = r->n * lh_shape_count(r->node->y);
	const relu<T> f = {static_cast<const T *>(r->x[0]), static_cast<T *>(r->y)};
	return lh_map<T>(b, err, "relu", n, lh_aligned<T>(lh_vector_of<T>(), n, f.x, f.y), f);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t n = r->n * lh_shape_count(r->node->y);
	if (!r->dx[0])
		return 0;
	const relu_back<T> f = {static_cast<const T *>(r->y), static_cast<const T *>(r->dy), static_cast<T *>(r->dx[0]),
				r->dx_add[0]};
	return lh_map<T>(b, err, "relu", n, lh_aligned<T>(lh_vector_of<T>(), n, f.y, f.dy, f.dx), f);
}
} // namespace

LH_CUDA_TABLE(relu, NULL, NULL, forward, backward);
