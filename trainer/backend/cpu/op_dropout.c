/* Dropout, element by element, and stochastic depth, sample by sample: zero with probability p, else divided by 1 - p.
 * The choice is a function of seed, node, sample id and element, so backward makes it again instead of keeping it, and
 * every peer and every microbatch makes the same one. */
#include "backend/cpu/cpu.h"

static void apply(const struct lh_op_run *r, const real *from, real *to, bool add, bool per_sample)
{
	const size_t count = lh_shape_count(r->node->y);
	const bool active = r->training && r->node->p > 0;
	const real keep = (real)(1 / (1 - r->node->p));
	for (size_t s = 0; s < r->n; s++, from += count, to += count) {
		const uint64_t key = active ? lh_random_key(r, s) : 0;
		real factor = active && per_sample ? (lh_random_at(key, 0) < r->node->p ? 0 : keep) : 1;
		for (size_t i = 0; i < count; i++) {
			if (active && !per_sample)
				factor = lh_random_at(key, i) < r->node->p ? 0 : keep;
			LH_PUT(to[i], add, factor * from[i]);
		}
	}
}

static int element_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	apply(r, r->x[0], r->y, false, false);
	return 0;
}

static int element_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	apply(r, r->dy, r->dx[0], r->dx_add[0], false);
	return 0;
}

static int sample_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	apply(r, r->x[0], r->y, false, true);
	return 0;
}

static int sample_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	apply(r, r->dy, r->dx[0], r->dx_add[0], true);
	return 0;
}

const struct lh_backend_op lh_cpu_dropout = { .forward = element_forward, .backward = element_backward };
const struct lh_backend_op lh_cpu_drop_path = { .forward = sample_forward, .backward = sample_backward };
