/* Position tables: row t of every sample gets row t of the table; a table of one row is added to all. Seen as
 * [samples][w c] the first is the second: something of the column is added to every row. */
#include "backend/cuda/kernel.h"

namespace
{
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
	return lh_cuda_bias_scratch(v.rows, v.c);
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const view v = view_of(r->node, r->n);
	return lh_run_affine<T>(b, err, "add_rows", v.rows, {static_cast<const T *>(r->x[0]), NULL, NULL, NULL,
				static_cast<const float *>(r->param[0]), static_cast<T *>(r->y), false, v.c});
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const view v = view_of(r->node, r->n);
	int rc = 0;
	if (r->dparam[0])
		rc = lh_cuda_bias_backward(b, lh_precision_of<T>::value, v.rows, v.c, r->dy, static_cast<float *>(r->dparam[0]),
					   r->scratch, err);
	if (rc || !r->dx[0])
		return rc;
	return lh_run_copy<T, T>(b, err, "add_rows", v.rows * v.c,
				 {static_cast<const T *>(r->dy), static_cast<T *>(r->dx[0]), r->dx_add[0]});
}
} // namespace

LH_CUDA_TABLE(add_rows, NULL, scratch, forward, backward);
