/* Softmax and cross entropy. A sample's loss is the mean over its targets that are not ignored, in nats (0 where it
 * has none), so that the gradient of a batch is the sum over its samples however they are dealt. */
#include <math.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/vec.h"

/* state: logarithm of the softmax's denominator, for each row */
static size_t state(const struct lh_node *node, size_t n) { return n * lh_shape_rows(node->x[0]) * sizeof(real); }

static size_t counted(const int32_t *targets, size_t rows)
{
	size_t n = 0;
	for (size_t i = 0; i < rows; i++)
		n += targets[i] != LH_TARGET_IGNORED;
	return n;
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = lh_shape_rows(r->node->x[0]), c = r->node->x[0].c;
	const real *x = r->x[0];
	const int32_t *targets = r->x[1];
	real *lse = r->state, *y = r->y;
	for (size_t s = 0; s < r->n; s++, y += 2, targets += rows) {
		double loss = 0;
		size_t hits = 0;
		for (size_t i = 0; i < rows; i++, x += c, lse++) {
			size_t best = 0;
			double sum = 0;
			if (targets[i] == LH_TARGET_IGNORED)
				continue;
			for (size_t j = 1; j < c; j++)
				best = x[j] > x[best] ? j : best;
			for (size_t j = 0; j < c; j++)
				sum += (double)exp_real(x[j] - x[best]);
			*lse = x[best] + (real)log(sum);
			loss += (double)(x[best] - x[targets[i]]) + log(sum);
			hits += best == (size_t)targets[i];
		}
		const size_t n = counted(targets, rows);
		y[0] = (real)(n ? loss / (double)n : 0);
		y[1] = (real)hits;
	}
	return 0;
}

/* Only the loss (dy[0] of each sample) has a gradient; the number of hits is a step function. */
static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t rows = lh_shape_rows(r->node->x[0]), c = r->node->x[0].c;
	const real *x = r->x[0], *dy = r->dy, *lse = r->state;
	const int32_t *targets = r->x[1];
	real *dx = r->dx[0];
	for (size_t s = 0; s < r->n; s++, dy += 2, targets += rows) {
		const size_t n = counted(targets, rows);
		for (size_t i = 0; i < rows; i++, x += c, dx += c, lse++) {
			const real weight = targets[i] == LH_TARGET_IGNORED ? 0 : dy[0] / (real)n;
			for (size_t j = 0; j < c; j++)
				LH_PUT(dx[j], r->dx_add[0], weight == 0 ? 0 : weight * exp_real(x[j] - *lse));
			if (targets[i] != LH_TARGET_IGNORED)
				dx[targets[i]] -= weight;
		}
	}
	return 0;
}

const struct lh_backend_op lh_cpu_cross_entropy = { .state = state, .forward = forward, .backward = backward };
