/* Batch norm over samples and pixels. Training takes the statistics of the microbatch at hand (so a microbatch is part
 * of what is calculated) and moves the running ones, with the unbiased variance, as PyTorch does; without training the
 * running ones are used. Sums are in double. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"

/* state: mean [c], 1 / deviation [c] */
static size_t state(const struct lh_node *node, size_t n) { return 2 * node->y.c * sizeof(real); }
static size_t scratch(const struct lh_node *node, size_t n) { return 2 * node->y.c * sizeof(double); }

/* sum[c] = sum over rows of x[c]; with centre also square[c] = sum of (x[c] - centre[c])^2 alone. */
static void sum_rows(size_t rows, size_t c, const real *x, const real *centre, double *sum)
{
	memset(sum, 0, c * sizeof *sum);
	for (size_t i = 0; i < rows; i++, x += c)
		for (size_t j = 0; j < c; j++) {
			const double v = centre ? (double)x[j] - (double)centre[j] : (double)x[j];
			sum[j] += centre ? v * v : v;
		}
}

static void statistics(const struct lh_op_run *r, size_t rows, real *mean, real *rstd)
{
	const struct lh_node *node = r->node;
	const size_t c = node->y.c;
	real *running_mean = r->buffer[0], *running_var = r->buffer[1];
	double *sum = r->scratch;
	sum_rows(rows, c, r->x[0], NULL, sum);
	for (size_t j = 0; j < c; j++)
		mean[j] = (real)(sum[j] / (double)rows);
	sum_rows(rows, c, r->x[0], mean, sum);
	for (size_t j = 0; j < c; j++) {
		const double unbiased = sum[j] / (double)(rows > 1 ? rows - 1 : 1);
		rstd[j] = (real)(1 / sqrt(sum[j] / (double)rows + node->epsilon));
		running_mean[j] =
		    (real)((1 - node->momentum) * (double)running_mean[j] + node->momentum * (double)mean[j]);
		running_var[j] = (real)((1 - node->momentum) * (double)running_var[j] + node->momentum * unbiased);
	}
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *x = r->x[0], *gain = r->param[0], *shift = r->param[1];
	real *mean = r->state, *rstd = mean + c, *y = r->y;
	if (r->training)
		statistics(r, rows, mean, rstd);
	for (size_t j = 0; j < c && !r->training; j++) {
		mean[j] = ((const real *)r->buffer[0])[j];
		rstd[j] = (real)(1 / sqrt((double)((const real *)r->buffer[1])[j] + r->node->epsilon));
	}
	for (size_t i = 0; i < rows; i++, x += c, y += c)
		for (size_t j = 0; j < c; j++)
			y[j] = (x[j] - mean[j]) * rstd[j] * gain[j] + shift[j];
	return 0;
}

/* With z = (x - mean) rstd:   dshift = sum dy,   dgain = sum dy z,
 *                             dx = gain rstd (dy - dshift / rows - z dgain / rows) */
static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const real *mean = r->state, *rstd = mean + c, *gain = r->param[0];
	const real *x = r->x[0], *dy = r->dy;
	double *dgain = r->scratch, *dshift = dgain + c;
	memset(dgain, 0, 2 * c * sizeof *dgain);
	for (size_t i = 0; i < rows; i++)
		for (size_t j = 0; j < c; j++) {
			dshift[j] += (double)dy[i * c + j];
			dgain[j] += (double)(dy[i * c + j] * ((x[i * c + j] - mean[j]) * rstd[j]));
		}
	for (size_t j = 0; j < c && r->dparam[0]; j++)
		((real *)r->dparam[0])[j] += (real)dgain[j];
	for (size_t j = 0; j < c && r->dparam[1]; j++)
		((real *)r->dparam[1])[j] += (real)dshift[j];
	real *dx = r->dx[0];
	for (size_t i = 0; dx && i < rows; i++)
		for (size_t j = 0; j < c; j++) {
			const real z = (x[i * c + j] - mean[j]) * rstd[j];
			const real centred =
			    dy[i * c + j] - (real)(dshift[j] / (double)rows) - z * (real)(dgain[j] / (double)rows);
			LH_PUT(dx[i * c + j], r->dx_add[0], gain[j] * rstd[j] * centred);
		}
	return 0;
}

const struct lh_backend_op lh_cpu_batchnorm = {
    .state = state, .scratch = scratch, .forward = forward, .backward = backward};
