/* Linear layer over rows (pixels, tokens or samples); three matrix products.
 *
 * Rows are taken in blocks that stay in the second-level cache from one product to the next, so that biases are added and
 * summed up there and not in memory. A large matrix is taken whole all the same: each block would go through it again. */
#include "backend/cpu/cpu.h"

enum { BLOCK_BYTES = 2 * 1024 * 1024, BLOCK_ROWS_MIN = 512, BLOCK_MATRIX_MAX = 2 * 1024 * 1024 };

static size_t block_rows(size_t rows, size_t in, size_t out)
{
	size_t block = BLOCK_BYTES / sizeof(real) / (in + out);
	if (in * out * sizeof(real) > BLOCK_MATRIX_MAX)
		return rows;
	block = block < BLOCK_ROWS_MIN ? BLOCK_ROWS_MIN : block;
	return block > rows ? rows : block;
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t rows = r->n * lh_shape_rows(node->y), in = node->x[0].c, out = node->y.c;
	const size_t block = block_rows(rows, in, out);
	const real *x = r->x[0];
	real *y = r->y;
	for (size_t at = 0, n; at < rows; at += n) {
		n = rows - at < block ? rows - at : block;
		lh_gemm(false, true, n, out, in, x + at * in, in, r->param[0], in, y + at * out, out, false);
		if (r->param[1])
			lh_op_bias_forward(n, out, r->param[1], y + at * out);
	}
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t rows = r->n * lh_shape_rows(node->y), in = node->x[0].c, out = node->y.c;
	const size_t block = block_rows(rows, in, out);
	const real *x = r->x[0];
	for (size_t at = 0, n; at < rows; at += n) {
		const real *dy = (const real *)r->dy + at * out;
		n = rows - at < block ? rows - at : block;
		if (r->dparam[0])
			lh_gemm(true, false, out, in, n, dy, out, x + at * in, in, r->dparam[0], in, true);
		if (r->dparam[1])
			lh_op_bias_backward(n, out, dy, r->dparam[1]);
		if (r->dx[0])
			lh_gemm(false, false, n, in, out, dy, out, r->param[0], in, (real *)r->dx[0] + at * in, in,
				r->dx_add[0]);
	}
	return 0;
}

const struct lh_backend_op lh_cpu_linear = { .forward = forward, .backward = backward };
