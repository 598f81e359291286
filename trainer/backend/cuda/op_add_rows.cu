/* Position tables: row t of every sample gets row t of the table; a table of one row is added to all. Seen as
 * [samples][w c] the first is the second: something of the column is added to every row. */
#include "backend/cuda/columns.h"

namespace
{
template <typename T> struct copy {
	const T *from;
	T *to;
	bool add;
	template <int V> LH_MEMBER void at(size_t i) const
	{
		float v[V];
		lh_load<V>(from + i, v);
		lh_put<V>(to + i, add, v);
	}
};

template <int V> struct entries {
	float v[V];
};

template <typename T> struct rows_add {
	const T *x;
	const float *w;
	T *y;
	size_t c;
	template <int V> LH_MEMBER entries<V> begin(size_t j) const
	{
		entries<V> g;
#pragma unroll
		for (int k = 0; k < V; k++)
			g.v[k] = w[j + k];
		return g;
	}
	template <int V> LH_MEMBER void at(const entries<V> &g, size_t row, size_t j) const
	{
		float v[V];
		lh_load<V>(x + row * c + j, v);
#pragma unroll
		for (int k = 0; k < V; k++)
			v[k] += g.v[k];
		lh_store<V>(y + row * c + j, v);
	}
};

template <typename T> struct rows_back {
	const T *dy;
	size_t c;
	template <int V> LH_MEMBER void at(size_t row, size_t j, float (&v)[1][V]) const
	{
		lh_load<V>(dy + row * c + j, v[0]);
	}
};

struct view {
	size_t rows, c;
};
view view_of(const struct lh_node *node, size_t n)
{
	const size_t inner = lh_shape_rows(node->y);
	if (node->table_rows == 1)
		return {n * inner, node->y.c};
	return {n, inner * node->y.c};
}

size_t scratch(const struct lh_node *node, size_t n)
{
	const view v = view_of(node, n);
	return lh_columns_scratch(1, v.rows, v.c);
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const view v = view_of(r->node, r->n);
	const rows_add<T> f = {static_cast<const T *>(r->x[0]), static_cast<const float *>(r->param[0]),
			       static_cast<T *>(r->y), v.c};
	return lh_column_map<T>(b, err, "add_rows", v.rows, v.c, lh_aligned<T>(lh_vector_of<T>(), v.c, f.x, f.y), f);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const view v = view_of(r->node, r->n);
	const rows_back<T> f = {static_cast<const T *>(r->dy), v.c};
	const lh_add_to<1> to = {{static_cast<float *>(r->dparam[0])}};
	int rc = 0;
	if (to.to[0])
		rc = lh_columns<1>(b, err, "add_rows", v.rows, v.c, lh_aligned<T>(LH_COLUMNS_V, v.c, f.dy), f, to, r->scratch);
	if (rc || !r->dx[0])
		return rc;
	const size_t n = v.rows * v.c;
	const copy<T> g = {f.dy, static_cast<T *>(r->dx[0]), r->dx_add[0]};
	return lh_map<T>(b, err, "add_rows", n, lh_aligned<T>(lh_vector_of<T>(), n, g.from, g.to), g);
}
} // namespace

LH_CUDA_TABLE(add_rows, NULL, scratch, forward, backward);
