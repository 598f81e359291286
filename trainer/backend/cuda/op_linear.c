/* Linear layer over rows (pixels, tokens or samples): three matrix products, the bias in the first one's epilogue. */
#include "backend/cuda/product.h"

static size_t scratch(const struct lh_node *node, size_t n)
{
	return node->param[1] >= 0 ? lh_cuda_bias_scratch(n * lh_shape_rows(node->y), node->y.c) : 0;
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t in = node->x[0].c, out = node->y.c;
	const struct lh_product p = { .tb = true, .bias = r->copy[1] != NULL, .m = r->n * lh_shape_rows(node->y), .n = out,
				      .k = in, .lda = in, .ldb = in, .ldc = out, .batch = 1, .alpha = 1,
				      .in = b->precision, .out = b->precision };
	return lh_product_run(b, &p, r->x[0], r->copy[0], r->copy[1], r->y, err);
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t rows = r->n * lh_shape_rows(node->y), in = node->x[0].c, out = node->y.c;
	const struct lh_product dw = { .ta = true, .add = true, .m = out, .n = in, .k = rows, .lda = out, .ldb = in, .ldc = in,
				       .batch = 1, .alpha = 1, .in = b->precision, .out = LH_PRECISION_FP32 };
	const struct lh_product dx = { .add = r->dx_add[0], .m = rows, .n = in, .k = out, .lda = out, .ldb = in, .ldc = in,
				       .batch = 1, .alpha = 1, .in = b->precision, .out = b->precision };
	int rc = 0;
	if (r->dparam[0])
		rc = lh_product_run(b, &dw, r->dy, r->x[0], NULL, r->dparam[0], err);
	if (!rc && r->dparam[1])
		rc = lh_cuda_bias_backward(b, b->precision, rows, out, r->dy, r->dparam[1], r->scratch, err);
	if (!rc && r->dx[0])
		rc = lh_product_run(b, &dx, r->dy, r->copy[0], NULL, r->dx[0], err);
	return rc;
}

#define TABLE { .scratch = scratch, .forward = forward, .backward = backward }
const struct lh_backend_op lh_cuda_linear[LH_PRECISIONS] = { TABLE, TABLE, TABLE };
