/* loss_scale.h - dynamic loss scaling: a pure state machine (Micikevicius et al., 1710.03740; growth and backoff as in
 * torch.amp.GradScaler).
 *
 * The backward pass begins with `scale` instead of 1, so that small gradients do not vanish in fp16. After the sum over
 * all peers there is one question: is it finite? If not, the update is left out and the scale shrinks; after `interval`
 * finite ones in a row it grows. A sum that is not finite at the smallest scale is not a matter of range: training stops.
 * fp32 and bf16 have a scale that is 1 and stays so; there the first such sum stops it.
 *
 * Scales are powers of two where growth and backoff are, so that scaling rounds nothing.
 */
#ifndef OPTIM_LOSS_SCALE_H
#define OPTIM_LOSS_SCALE_H

#include <stdbool.h>
#include <stdint.h>

struct lh_loss_scale_settings {
	double initial, minimum, maximum; /* 0 < minimum <= initial <= maximum */
	double growth, backoff;           /* >= 1; 0 < b < 1 */
	uint32_t interval;                /* finite sums until it grows; >= 1 */
};
#define LH_LOSS_SCALE_FP16 \
	{ .initial = 65536, .minimum = 1, .maximum = 16777216, .growth = 2, .backoff = 0.5, .interval = 2000 }
#define LH_LOSS_SCALE_OFF { .initial = 1, .minimum = 1, .maximum = 1, .growth = 1, .backoff = 0.5, .interval = 1 }

struct lh_loss_scale { /* travels with the optimiser's state */
	double scale;
	uint64_t good;     /* finite sums since the scale changed */
	uint64_t skipped;  /* updates left out, of all */
	uint64_t in_a_row; /* and since the last that was not */
};

enum lh_verdict { LH_VERDICT_APPLY, LH_VERDICT_SKIP, LH_VERDICT_STOP };

static inline struct lh_loss_scale lh_loss_scale_begin(const struct lh_loss_scale_settings *s)
{
	return (struct lh_loss_scale){ .scale = s->initial };
}

/* What becomes of an update whose gradient is finite or not, and the scale of the next. STOP changes nothing. */
static inline enum lh_verdict lh_loss_scale_next(const struct lh_loss_scale_settings *s, struct lh_loss_scale *l,
						 bool finite)
{
	if (finite) {
		l->in_a_row = 0;
		if (++l->good < s->interval || l->scale >= s->maximum)
			return LH_VERDICT_APPLY;
		l->good = 0;
		l->scale = l->scale * s->growth < s->maximum ? l->scale * s->growth : s->maximum;
		return LH_VERDICT_APPLY;
	}
	if (l->scale <= s->minimum)
		return LH_VERDICT_STOP;
	l->good = 0;
	l->skipped++;
	l->in_a_row++;
	l->scale = l->scale * s->backoff > s->minimum ? l->scale * s->backoff : s->minimum;
	return LH_VERDICT_SKIP;
}

#endif
