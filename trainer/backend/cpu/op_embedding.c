/* Rows of a table picked by integers. The ids were checked when they came in (model/net.c). */
#include <string.h>

#include "backend/cpu/cpu.h"

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const int32_t *ids = r->x[0];
	for (size_t i = 0; i < rows; i++)
		memcpy((real *)r->y + i * c, (const real *)r->param[0] + (size_t)ids[i] * c, c * sizeof(real));
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = r->n * lh_shape_rows(r->node->y), c = r->node->y.c;
	const int32_t *ids = r->x[0];
	const real *dy = r->dy;
	for (size_t i = 0; r->dparam[0] && i < rows; i++, dy += c) {
		real *dw = (real *)r->dparam[0] + (size_t)ids[i] * c;
		for (size_t j = 0; j < c && ids[i] != r->node->padding_id; j++)
			dw[j] += dy[j];
	}
	return 0;
}

const struct lh_backend_op lh_cpu_embedding = { .forward = forward, .backward = backward };
