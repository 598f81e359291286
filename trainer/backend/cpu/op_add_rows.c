/* Position tables: row t of every sample gets row t of the table; a table of one row is added to all. */
#include "backend/cpu/cpu.h"

static size_t table_row(const struct lh_node *node, size_t row)
{
	return node->table_rows == 1 ? 0 : row % lh_shape_rows(node->y);
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	for (size_t i = 0; i < rows; i++) {
		const real *x = (const real *)r->x[0] + i * c,
			   *w = (const real *)r->param[0] + table_row(r->node, i) * c;
		real *y = (real *)r->y + i * c;
		for (size_t j = 0; j < c; j++)
			y[j] = x[j] + w[j];
	}
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *dy = r->dy;
	real *dx = r->dx[0];
	for (size_t i = 0; r->dparam[0] && i < rows; i++) {
		real *dw = (real *)r->dparam[0] + table_row(r->node, i) * c;
		for (size_t j = 0; j < c; j++)
			dw[j] += dy[i * c + j];
	}
	for (size_t i = 0; dx && i < rows * c; i++)
		LH_PUT(dx[i], r->dx_add[0], dy[i]);
	return 0;
}

const struct lh_backend_op lh_cpu_add_rows = { .forward = forward, .backward = backward };
