/* max(x, 0). NaN stays NaN, so that a broken number is seen. */
#include "backend/cpu/cpu.h"

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const real *x = r->x[0];
	real *y = r->y;
	for (size_t i = 0, n = r->n * lh_shape_count(r->node->y); i < n; i++)
		y[i] = x[i] < 0 ? 0 : x[i];
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const real *y = r->y, *dy = r->dy;
	real *dx = r->dx[0];
	for (size_t i = 0, n = r->n * lh_shape_count(r->node->y); i < n; i++)
		LH_PUT(dx[i], r->dx_add[0], y[i] > 0 ? dy[i] : 0);
	return 0;
}

const struct lh_backend_op lh_cpu_relu = { .forward = forward, .backward = backward };
