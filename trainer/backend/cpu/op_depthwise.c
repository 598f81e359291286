/* Depthwise convolution: each channel has a kernel of its own. Channels are the innermost loop, so that they
 * vectorise; the weights are stored [kh][kw][c] for that. */
#include <string.h>

#include "backend/cpu/cpu.h"

/* Visit every (output pixel, tap inside the image) with the offsets of their first channels. */
typedef void visit_fn(const struct lh_op_run *r, size_t x_at, size_t y_at, size_t w_at, size_t channels);

static void visit(const struct lh_op_run *r, visit_fn *f)
{
	const struct lh_node *node = r->node;
	const struct lh_shape x = node->x[0], y = node->y;
	const struct lh_window *k = &node->window;
	for (size_t p = 0; p < r->n * lh_shape_rows(y); p++) {
		const size_t sample = p / lh_shape_rows(y), i = p % lh_shape_rows(y) / y.w, j = p % y.w;
		for (size_t u = 0; u < k->kh; u++) {
			const long row = (long)(i * k->stride_h + u * k->dilation_h) - (long)k->pad_h;
			if (row < 0 || row >= (long)x.h)
				continue;
			for (size_t v = 0; v < k->kw; v++) {
				const long col = (long)(j * k->stride_w + v * k->dilation_w) - (long)k->pad_w;
				if (col >= 0 && col < (long)x.w)
					f(r, ((sample * x.h + (size_t)row) * x.w + (size_t)col) * x.c, p * y.c,
					  (u * k->kw + v) * x.c, x.c);
			}
		}
	}
}

static void multiply(const struct lh_op_run *r, size_t x_at, size_t y_at, size_t w_at, size_t channels)
{
	const real *x = (const real *)r->x[0] + x_at, *w = (const real *)r->param[0] + w_at;
	real *y = (real *)r->y + y_at;
	for (size_t c = 0; c < channels; c++)
		y[c] += x[c] * w[c];
}

static void to_weights(const struct lh_op_run *r, size_t x_at, size_t y_at, size_t w_at, size_t channels)
{
	const real *x = (const real *)r->x[0] + x_at, *dy = (const real *)r->dy + y_at;
	real *dw = (real *)r->dparam[0] + w_at;
	for (size_t c = 0; c < channels; c++)
		dw[c] += x[c] * dy[c];
}

static void to_input(const struct lh_op_run *r, size_t x_at, size_t y_at, size_t w_at, size_t channels)
{
	const real *w = (const real *)r->param[0] + w_at, *dy = (const real *)r->dy + y_at;
	real *dx = (real *)r->dx[0] + x_at;
	for (size_t c = 0; c < channels; c++)
		dx[c] += w[c] * dy[c];
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), channels = r->node->y.c;
	memset(r->y, 0, rows * channels * sizeof(real));
	if (r->param[1])
		lh_op_bias_forward(rows, channels, r->param[1], r->y);
	visit(r, multiply);
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	if (r->dparam[0])
		visit(r, to_weights);
	if (r->dparam[1])
		lh_op_bias_backward(r->n * lh_shape_rows(node->y), node->y.c, r->dy, r->dparam[1]);
	if (r->dx[0]) {
		if (!r->dx_add[0])
			memset(r->dx[0], 0, r->n * lh_shape_count(node->x[0]) * sizeof(real));
		visit(r, to_input);
	}
	return 0;
}

const struct lh_backend_op lh_cpu_depthwise = { .forward = forward, .backward = backward };
