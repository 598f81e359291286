/* Optimisers as data: names, defaults, ranges. What they calculate is trainer/optim/. */
#include "longhaul/optim.h"

#include <errno.h>

const char *const lh_optimizer_names[] = { "adamw", "sgd", "lamb", NULL };
const char *const lh_schedule_names[] = { "constant", "cosine", NULL };

struct lh_optim_options lh_optim_defaults(enum lh_optimizer kind)
{
	switch (kind) {
	case LH_OPTIMIZER_SGD:
		return (struct lh_optim_options){ .given = true };
	case LH_OPTIMIZER_LAMB:
		return (struct lh_optim_options){ .given = true, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-6,
						  .weight_decay = 0.01, .warmup_updates = 2 };
	case LH_OPTIMIZER_ADAMW:
		break;
	}
	/* Adam's first steps are as long as its later ones though its moments know nothing yet: hence the warm-up. In runs
	 * of some twenty rounds it is worth 2 % of accuracy. beta2 is 0.99 for the same shortness. */
	return (struct lh_optim_options){ .given = true, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8,
					  .weight_decay = 0.01, .warmup_updates = 2 };
}

struct lh_optim_options lh_optim_resolve(enum lh_optimizer kind, const struct lh_optim_options *o, uint32_t rounds)
{
	struct lh_optim_options r = o->given ? *o : lh_optim_defaults(kind);
	if (!r.total_updates)
		r.total_updates = rounds;
	return r;
}

static int refuse(struct lh_err *err, const char *key, double value, const char *what)
{
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%s\": %g %s", key, value, what);
}

/* A comparison with NaN is false, so NaN is refused everywhere. */
int lh_optim_check(enum lh_optimizer kind, const struct lh_optim_options *o, struct lh_err *err)
{
	const bool sgd = kind == LH_OPTIMIZER_SGD;
	if (!o->given)
		return 0;
	if (!(o->momentum >= 0 && o->momentum < 1))
		return refuse(err, "momentum", o->momentum, "is not within 0 ... 1, without 1");
	if (o->nesterov && !(o->momentum > 0))
		return refuse(err, "nesterov", o->momentum, "is no momentum to look ahead with");
	if (!sgd && !(o->beta1 >= 0 && o->beta1 < 1))
		return refuse(err, "beta1", o->beta1, "is not within 0 ... 1, without 1");
	if (!sgd && !(o->beta2 >= 0 && o->beta2 < 1))
		return refuse(err, "beta2", o->beta2, "is not within 0 ... 1, without 1");
	if (!sgd && !(o->epsilon > 0 && o->epsilon <= 1))
		return refuse(err, "epsilon", o->epsilon, "is not above 0 and at most 1");
	if (!(o->weight_decay >= 0 && o->weight_decay <= 10))
		return refuse(err, "weight_decay", o->weight_decay, "is not within 0 ... 10");
	if (!(o->floor >= 0 && o->floor <= 1))
		return refuse(err, "rate_floor", o->floor, "is not within 0 ... 1");
	if (!(o->clip_norm >= 0 && o->clip_norm <= 1e9))
		return refuse(err, "clip_norm", o->clip_norm, "is not within 0 ... 1e9");
	if (o->schedule == LH_SCHEDULE_COSINE && o->total_updates && o->total_updates <= o->warmup_updates)
		return refuse(err, "total_updates", o->total_updates, "updates end before the warm-up does");
	return 0;
}
