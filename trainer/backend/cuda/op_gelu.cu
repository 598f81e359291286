/* GELU with the normal distribution itself: x Phi(x), Phi(x) = erfc(-x / sqrt 2) / 2. */
#include "backend/cuda/kernel.h"

namespace
{
constexpr float SQRT_HALF = 0.70710678118654752440f, DENSITY_AT_0 = 0.39894228040143267794f;

LH_DEVICE float phi(float x) { return 0.5f * erfcf(-x * SQRT_HALF); }

template <typename T> struct gelu {
	const T *x;
	T *y;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V];
		lh_load<V>(x + i, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] *= phi(v[k]);
		lh_store<V>(y + i, v);
	}
};

template <typename T> struct gelu_back {
	const T *x, *dy;
	T *dx;
	bool add;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V], d[V];
		lh_load<V>(x + i, v);
		lh_load<V>(dy + i, d);
#pragma unroll
		for (int k = 0; k < V; k++)
			d[k] *= phi(v[k]) + v[k] * DENSITY_AT_0 * expf(-0.5f * v[k] * v[k]);
		lh_put<V>(dx + i, add, d);
	}
};

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t n = r->n * lh_shape_count(r->node->y);
	const gelu<T> f = {static_cast<const T *>(r->x[0]), static_cast<T *>(r->y)};
	return lh_map<T>(b, err, "gelu", n, lh_aligned<T>(lh_vector_of<T>(), n, f.x, f.y), f);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t n = r->n * lh_shape_count(r->node->y);
	if (!r->dx[0])
		return 0;
	const gelu_back<T> f = {static_cast<const T *>(r->x[0]), static_cast<const T *>(r->dy), static_cast<T *>(r->dx[0]),
				r->dx_add[0]};
	return lh_map<T>(b, err, "gelu", n, lh_aligned<T>(lh_vector_of<T>(), n, f.x, f.dy, f.dx), f);
}
} // namespace

LH_CUDA_TABLE(gelu, NULL, NULL, forward, backward);
