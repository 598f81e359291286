/* The scale of a channel (ConvNeXt's layer scale). */
#include "backend/cuda/columns.h"

namespace
{
template <int V> struct gains {
	float v[V];
};

template <typename T> struct scale {
	const T *x;
	const float *gain;
	T *y;
	bool add;
	size_t c;
	template <int V> LH_MEMBER gains<V> begin(size_t j) const
	{
		gains<V> g;
#pragma unroll
		for (int k = 0; k < V; k++)
			g.v[k] = gain[j + k];
		return g;
	}
	template <int V> LH_MEMBER void at(const gains<V> &g, size_t row, size_t j) const
	{
		float v[V];
		lh_load<V>(x + row * c + j, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] *= g.v[k];
		lh_put<V>(y + row * c + j, add, v);
	}
};

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
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const scale<T> f = {static_cast<const T *>(from), static_cast<const float *>(r->param[0]), static_cast<T *>(to), add,
			    c};
	return lh_column_map<T>(b, err, "scale", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, f.x, f.y), f);
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
		rc = lh_columns<1>(b, err, "scale", rows, c, lh_aligned<T>(LH_COLUMNS_V, c, f.x, f.dy), f, to, r->scratch);
	return !rc && r->dx[0] ? apply<T>(b, r, r->dy, r->dx[0], r->dx_add[0], err) : rc;
}
} // namespace

LH_CUDA_TABLE(scale, NULL, scratch, forward, backward);
