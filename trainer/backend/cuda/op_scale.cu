/* The scale of a channel (ConvNeXt's layer scale). */
#include "backend/cuda/columns.h"

namespace
{
template <typename T> struct gain_back {
	const T *x, *dy;
	size_t c;
	template <int V> LH_MEMBER void at(size_t row, size_t j, float (&v)[1][V]) const
	{
		float d[V];
		lh_load<V>(x + row * c + j, v[0]);
		lh_load<V>(dy + row * c + j, d);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[0][k] *= d[k];
	}
};

size_t scratch(const struct lh_node *node, size_t n)
{
	return lh_columns_scratch(1, n * lh_shape_rows(node->y), node->y.c);
}

template <typename T>
int apply(struct lh_backend *b, const struct lh_op_run *r, const void *from, void *to, bool add, struct lh_err *err)
{
	return lh_run_affine<T>(b, err, "scale", r->n * lh_shape_rows(r->node->y),
				{static_cast<const T *>(from), NULL, NULL, static_cast<const float *>(r->param[0]), NULL,
				 static_cast<T *>(to), add, r->node->y.c});
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return apply<T>(b, r, r->x[0], r->y, false, err);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const gain_back<T> f = {static_cast<const T *>(r->x[0]), static_cast<const T *>(r->dy), c};
	const lh_add_to<1> to = {{static_cast<float *>(r->dparam[0])}};
	int rc = 0;
	if (to.to[0])
		rc = lh_columns<T, 1>(b, err, "scale", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, f.x, f.dy), f, to, r->scratch);
	return !rc && r->dx[0] ? apply<T>(b, r, r->dy, r->dx[0], r->dx_add[0], err) : rc;
}
} // namespace

LH_CUDA_TABLE(scale, NULL, scratch, forward, backward);
