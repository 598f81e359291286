/* Residual sum, and the scale of a channel (ConvNeXt's layer scale). */
#include "backend/cpu/cpu.h"

static int add_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const real *x0 = r->x[0], *x1 = r->x[1];
	real *y = r->y;
	for (size_t i = 0, n = r->n * lh_shape_count(r->node->y); i < n; i++)
		y[i] = x0[i] + x1[i];
	return 0;
}

static int add_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const real *dy = r->dy;
	for (int k = 0; k < 2; k++) {
		real *dx = r->dx[k];
		for (size_t i = 0, n = r->n * lh_shape_count(r->node->y); dx && i < n; i++)
			LH_PUT(dx[i], r->dx_add[k], dy[i]);
	}
	return 0;
}

const struct lh_backend_op lh_cpu_add = { .forward = add_forward, .backward = add_backward };

static int scale_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *x = r->x[0], *gain = r->param[0];
	real *y = r->y;
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < c; j++)
			y[i * c + j] = x[i * c + j] * gain[j];
	return 0;
}

static int scale_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *x = r->x[0], *gain = r->param[0], *dy = r->dy;
	real *dx = r->dx[0], *dgain = r->dparam[0];
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < c; j++) {
			if (dgain)
				dgain[j] += dy[i * c + j] * x[i * c + j];
			if (dx)
				LH_PUT(dx[i * c + j], r->dx_add[0], dy[i * c + j] * gain[j]);
		}
	return 0;
}

const struct lh_backend_op lh_cpu_scale = { .forward = scale_forward, .backward = scale_backward };
