#include "feedback.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct lh_feedback {
	uint64_t n;
	float *now, *next;  /* what is added to this exchange, what this exchange leaves; the same without undo */
	float *memory;
};

int lh_feedback_new(uint64_t n, bool undo, struct lh_feedback **ret, struct lh_err *err)
{
	struct lh_feedback *f = calloc(1, sizeof *f);
	float *memory = f ? calloc(n ? n : 1, undo ? 2 * sizeof(float) : sizeof(float)) : NULL;
	if (!memory) {
		free(f);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "error feedback of %llu elements",
				  (unsigned long long)n);
	}
	*f = (struct lh_feedback){ .n = n, .now = memory, .next = memory + (undo ? n : 0), .memory = memory };
	*ret = f;
	return 0;
}

void lh_feedback_add(const struct lh_feedback *f, uint64_t offset, size_t n, float *restrict dst)
{
	const float *restrict r = f->now + offset;
	for (size_t i = 0; i < n; i++)
		dst[i] += r[i];
}

void lh_feedback_set(struct lh_feedback *f, uint64_t offset, size_t n, const float *restrict meant,
		     const float *restrict sent)
{
	float *restrict r = f->next + offset;
	for (size_t i = 0; i < n; i++)
		r[i] = meant[i] - sent[i];
}

void lh_feedback_keep(struct lh_feedback *f)
{
	float *left = f->next;
	f->next = f->now;
	f->now = left;
}

float *lh_feedback_residual(struct lh_feedback *f)
{
	return f->now;
}

void lh_residual_mass(const float *r, uint64_t n, double *ret_l1, double *ret_l2)
{
	double l1 = 0, l2 = 0;
	for (uint64_t i = 0; i < n; i++) {
		l1 += fabs((double)r[i]);
		l2 += (double)r[i] * (double)r[i];
	}
	*ret_l1 = l1;
	*ret_l2 = sqrt(l2);
}

void lh_feedback_mass(const struct lh_feedback *f, double *ret_l1, double *ret_l2)
{
	lh_residual_mass(f->now, f->n, ret_l1, ret_l2);
}

void lh_feedback_free(struct lh_feedback *f)
{
	if (f)
		free(f->memory);
	free(f);
}
