/* Max and average pooling. Max never takes the padding, the first of equals wins, and NaN wins over all; average
 * counts the padding as zeros. Global average pooling is a window as large as the image. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"

/* The offset of tap (u, v) of output pixel `at` in its sample, or -1 outside. */
static long tap(const struct lh_node *node, size_t at, size_t t)
{
	const struct lh_window *k = &node->window;
	const struct lh_shape x = node->x[0];
	const long row = (long)(at / node->y.w * k->stride_h + t / k->kw * k->dilation_h) - (long)k->pad_h;
	const long col = (long)(at % node->y.w * k->stride_w + t % k->kw * k->dilation_w) - (long)k->pad_w;
	return row < 0 || col < 0 || row >= (long)x.h || col >= (long)x.w ? -1 : (row * (long)x.w + col) * (long)x.c;
}

/* state: which tap won, for each output */
static size_t max_state(const struct lh_node *node, size_t n) { return n * lh_shape_count(node->y) * sizeof(uint16_t); }

static int max_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t c = node->y.c, pixels = lh_shape_rows(node->y), taps = node->window.kh * node->window.kw;
	for (size_t p = 0; p < r->n * pixels; p++) {
		const real *x = (const real *)r->x[0] + p / pixels * lh_shape_count(node->x[0]);
		real *y = (real *)r->y + p * c;
		uint16_t *won = (uint16_t *)r->state + p * c;
		for (size_t j = 0; j < c; j++)
			y[j] = (real)-INFINITY, won[j] = 0;
		for (size_t t = 0; t < taps; t++) {
			const long at = tap(node, p % pixels, t);
			for (size_t j = 0; at >= 0 && j < c; j++)
				if (!(x[(size_t)at + j] <= y[j]) && !isnan(y[j]))
					y[j] = x[(size_t)at + j], won[j] = (uint16_t)t;
		}
	}
	return 0;
}

static int max_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t c = node->y.c, pixels = lh_shape_rows(node->y), image = lh_shape_count(node->x[0]);
	if (!r->dx_add[0])
		memset(r->dx[0], 0, r->n * image * sizeof(real));
	for (size_t p = 0; p < r->n * pixels; p++) {
		real *dx = (real *)r->dx[0] + p / pixels * image;
		const real *dy = (const real *)r->dy + p * c;
		const uint16_t *won = (const uint16_t *)r->state + p * c;
		for (size_t j = 0; j < c; j++) {
			const long at = tap(node, p % pixels, won[j]);
			if (at >= 0)
				dx[(size_t)at + j] += dy[j];
		}
	}
	return 0;
}

const struct lh_backend_op lh_cpu_maxpool = { .state = max_state, .forward = max_forward, .backward = max_backward };

static int average_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t c = node->y.c, pixels = lh_shape_rows(node->y), taps = node->window.kh * node->window.kw;
	for (size_t p = 0; p < r->n * pixels; p++) {
		const real *x = (const real *)r->x[0] + p / pixels * lh_shape_count(node->x[0]);
		real *y = (real *)r->y + p * c;
		memset(y, 0, c * sizeof *y);
		for (size_t t = 0; t < taps; t++) {
			const long at = tap(node, p % pixels, t);
			for (size_t j = 0; at >= 0 && j < c; j++)
				y[j] += x[(size_t)at + j];
		}
		for (size_t j = 0; j < c; j++)
			y[j] /= (real)taps;
	}
	return 0;
}

static int average_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t c = node->y.c, pixels = lh_shape_rows(node->y), image = lh_shape_count(node->x[0]);
	const size_t taps = node->window.kh * node->window.kw;
	if (!r->dx_add[0])
		memset(r->dx[0], 0, r->n * image * sizeof(real));
	for (size_t p = 0; p < r->n * pixels; p++) {
		real *dx = (real *)r->dx[0] + p / pixels * image;
		const real *dy = (const real *)r->dy + p * c;
		for (size_t t = 0; t < taps; t++) {
			const long at = tap(node, p % pixels, t);
			for (size_t j = 0; at >= 0 && j < c; j++)
				dx[(size_t)at + j] += dy[j] / (real)taps;
		}
	}
	return 0;
}

const struct lh_backend_op lh_cpu_avgpool = { .forward = average_forward, .backward = average_backward };
