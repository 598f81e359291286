/* pointwise.h - operations on each element by itself.
 *
 * F: F::name; F::value(x) is y; F::back(d, kept) is d of x, where kept is y (F::KEEPS_Y) or x. */
#ifndef BACKEND_CUDA_POINTWISE_H
#define BACKEND_CUDA_POINTWISE_H

#include "backend/cuda/kernel.h"

template <typename F, typename T> struct lh_pointwise_value {
	const T *x;
	T *y;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V];
		lh_load<V>(x + i, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] = F::value(v[k]);
		lh_store<V>(y + i, v);
	}
};

template <typename F, typename T> struct lh_pointwise_back {
	const T *kept, *dy;
	T *dx;
	bool add;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V], d[V];
		lh_load<V>(kept + i, v);
		lh_load<V>(dy + i, d);
#pragma unroll
		for (int k = 0; k < V; k++)
			d[k] = F::back(d[k], v[k]);
		lh_put<V>(dx + i, add, d);
	}
};

template <typename F> struct lh_pointwise {
	template <typename T> static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
	{
		const size_t n = r->n * lh_shape_count(r->node->y);
		const lh_pointwise_value<F, T> f = {static_cast<const T *>(r->x[0]), static_cast<T *>(r->y)};
		return lh_map<T>(b, err, F::name, n, lh_aligned<T>(lh_vector_of<T>(), n, f.x, f.y), f);
	}
	template <typename T> static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
	{
		const size_t n = r->n * lh_shape_count(r->node->y);
		const lh_pointwise_back<F, T> f = {static_cast<const T *>(F::KEEPS_Y ? r->y : r->x[0]), static_cast<const T *>(r->dy),
						   static_cast<T *>(r->dx[0]), r->dx_add[0]};
		if (!f.dx)
			return 0;
		return lh_map<T>(b, err, F::name, n, lh_aligned<T>(lh_vector_of<T>(), n, f.kept, f.dy, f.dx), f);
	}
};

#endif
