/* Linear layer over rows (pixels, tokens or samples); three matrix products. */
#include "backend/cpu/cpu.h"

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t rows = r->n * lh_shape_rows(node->y), in = node->x[0].c, out = node->y.c;
	lh_gemm(false, true, rows, out, in, r->x[0], in, r->param[0], in, r->y, out, false);
	if (r->param[1])
		lh_op_bias_forward(rows, out, r->param[1], r->y);
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t rows = r->n * lh_shape_rows(node->y), in = node->x[0].c, out = node->y.c;
	if (r->dparam[0])
		lh_gemm(true, false, out, in, rows, r->dy, out, r->x[0], in, r->dparam[0], in, true);
	if (r->dparam[1])
		lh_op_bias_backward(rows, out, r->dy, r->dparam[1]);
	if (r->dx[0])
		lh_gemm(false, false, rows, in, out, r->dy, out, r->param[0], in, r->dx[0], in, r->dx_add[0]);
	return 0;
}

const struct lh_backend_op lh_cpu_linear = { .forward = forward, .backward = backward };
