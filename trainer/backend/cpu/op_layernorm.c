/* Layer norm of each row over its channels. */
#include <math.h>

#include "backend/cpu/cpu.h"

/* state: mean [rows], 1 / deviation [rows] */
static size_t state(const struct lh_node *node, size_t n) { return 2 * n * lh_shape_rows(node->y) * sizeof(real); }

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *x = r->x[0], *gain = r->param[0], *shift = r->param[1];
	real *mean = r->state, *rstd = mean + rows, *y = r->y;
	for (size_t i = 0; i < rows; i++, x += c, y += c) {
		double sum = 0, square = 0;
		for (size_t j = 0; j < c; j++)
			sum += (double)x[j];
		const double m = sum / (double)c;
		for (size_t j = 0; j < c; j++)
			square += ((double)x[j] - m) * ((double)x[j] - m);
		mean[i] = (real)m;
		rstd[i] = (real)(1 / sqrt(square / (double)c + r->node->epsilon));
		for (size_t j = 0; j < c; j++)
			y[j] = (x[j] - mean[i]) * rstd[i] * gain[j] + shift[j];
	}
	return 0;
}

/* With z = (x - mean) rstd, u = dy gain:   dx = rstd (u - mean(u) - z mean(u z)) */
static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *x = r->x[0], *dy = r->dy, *gain = r->param[0], *mean = r->state, *rstd = mean + rows;
	real *dx = r->dx[0], *dgain = r->dparam[0], *dshift = r->dparam[1];
	for (size_t i = 0; i < rows; i++, x += c, dy += c) {
		double sum = 0, dot = 0;
		for (size_t j = 0; j < c; j++) {
			const real z = (x[j] - mean[i]) * rstd[i], u = dy[j] * gain[j];
			sum += (double)u;
			dot += (double)(u * z);
			if (dgain)
				dgain[j] += dy[j] * z;
			if (dshift)
				dshift[j] += dy[j];
		}
		const real mean_u = (real)(sum / (double)c), mean_uz = (real)(dot / (double)c);
		for (size_t j = 0; dx && j < c; j++) {
			const real z = (x[j] - mean[i]) * rstd[i];
			LH_PUT(dx[i * c + j], r->dx_add[0], rstd[i] * (dy[j] * gain[j] - mean_u - z * mean_uz));
		}
	}
	return 0;
}

const struct lh_backend_op lh_cpu_layernorm = { .state = state, .forward = forward, .backward = backward };
