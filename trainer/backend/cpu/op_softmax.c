/* Softmax of each row over its channels. */
#include <math.h>

#include "backend/cpu/cpu.h"

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *x = r->x[0];
	real *y = r->y;
	for (size_t i = 0; i < rows; i++, x += c, y += c) {
		real top = x[0];
		double sum = 0;
		for (size_t j = 1; j < c; j++)
			top = x[j] > top ? x[j] : top;
		for (size_t j = 0; j < c; j++)
			sum += (double)(y[j] = (real)exp((double)(x[j] - top)));
		for (size_t j = 0; j < c; j++)
			y[j] = (real)((double)y[j] / sum);
	}
	return 0;
}

/* dx = y (dy - sum dy y) */
static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *y = r->y, *dy = r->dy;
	real *dx = r->dx[0];
	for (size_t i = 0; i < rows; i++, y += c, dy += c, dx += c) {
		double dot = 0;
		for (size_t j = 0; j < c; j++)
			dot += (double)(dy[j] * y[j]);
		for (size_t j = 0; j < c; j++)
			LH_PUT(dx[j], r->dx_add[0], y[j] * (dy[j] - (real)dot));
	}
	return 0;
}

const struct lh_backend_op lh_cpu_softmax = { .forward = forward, .backward = backward };
