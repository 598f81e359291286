/* Gradients, one round late: the sum of round e is exchanged while round e + 1 is calculated, and applied at its end.
 * So a gradient is calculated on parameters that lack exactly one update, and a round takes the longer of
 * calculation and exchange instead of both. The last round applies its own sum too: every sample counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "strategy.h"

struct delayed {
	struct lh_strategy base;
	struct lh_exchange *exchange;
	uint32_t number;          /* exchanges begun */
	uint32_t flying;          /* the round whose gradient is being exchanged; 0: none */
	bool again;               /* that exchange is to begin again, since this peer was restarted */
	uint64_t total_samples;   /* of it */
	float *flight, *own;      /* its vector, and the next one's; NULL: the engine is pseudo */
	float *departed;          /* with checkpoints: `flight` as it left */
	uint64_t saved[3];        /* number, flying, total_samples */
};

static struct delayed *of(struct lh_strategy *s) { return (struct delayed *)s; }

static int read_flight(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	const struct delayed *x = ctx;
	if (!x->flight)
		return x->base.w->ops->gradient_read(x->base.w->engine, offset, n, dst, err);
	memcpy(dst, x->flight + offset, n * sizeof *dst);
	return 0;
}

static int write_flight(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	const struct delayed *x = ctx;
	if (!x->flight)
		return x->base.w->ops->gradient_write(x->base.w->engine, offset, n, src, err);
	memcpy(x->flight + offset, src, n * sizeof *src);
	return 0;
}

static int start(struct delayed *x, struct lh_err *err)
{
	if (x->departed)
		memcpy(x->departed, x->flight, x->base.w->ops->parameters(x->base.w->engine) * sizeof *x->flight);
	return lh_exchange_start(x->exchange, ++x->number, err);
}

static int plan(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct delayed *x = of(s);
	int rc = x->again ? start(x, err) : 0;
	x->again = false;
	r->exchanges = true;
	return rc ? rc : lh_round_deal(s->w->c, r, err);
}

/* Put the gradient that the engine has calculated aside, and an update with the finished sum in its place. */
static int apply(struct delayed *x, struct lh_round *r, struct lh_err *err)
{
	const struct lh_worker *w = x->base.w;
	int rc = 0;
	if (x->flight) {
		uint64_t n = w->ops->parameters(w->engine);
		rc = w->ops->gradient_read(w->engine, 0, n, x->own, err);
		if (!rc)
			rc = w->ops->gradient_write(w->engine, 0, n, x->flight, err);
	}
	if (!rc)
		rc = w->ops->update(w->engine, x->total_samples, err);
	r->uses = x->flying;
	x->flying = 0;
	return rc;
}

/* The gradient of round r leaves. Where a sum was applied before, apply() has put it into `own`. */
static int depart(struct delayed *x, const struct lh_round *r, bool has_own, struct lh_err *err)
{
	const struct lh_worker *w = x->base.w;
	int rc = 0;
	if (x->flight && has_own) {
		float *swap = x->flight;
		x->flight = x->own;
		x->own = swap;
	} else if (x->flight) {
		uint64_t n = w->ops->parameters(w->engine);
		rc = w->ops->gradient_read(w->engine, 0, n, x->flight, err);
		memset(x->own, 0, n * sizeof *x->own);
		if (!rc)
			rc = w->ops->gradient_write(w->engine, 0, n, x->own, err);
	}
	x->flying = r->epoch;
	x->total_samples = r->total_samples;
	return rc ? rc : start(x, err);
}

static int begin(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct delayed *x = of(s);
	r->waits = x->flying || r->epoch == s->w->c->epochs;
	return x->flying ? 0 : depart(x, r, false, err);
}

static bool ready(const struct lh_strategy *s, const struct lh_round *r)
{
	return !r->waits || lh_exchange_done(((const struct delayed *)s)->exchange);
}

static int commit(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct delayed *x = of(s);
	if (!r->waits)
		return 0;
	bool is_older = x->flying < r->epoch;
	int rc = apply(x, r, err);
	if (!rc && is_older)
		rc = depart(x, r, true, err);
	return rc ? rc : is_older && r->epoch == s->w->c->epochs;
}

/* ---- checkpoints ---- */

/* What is under way is written as it left, and leaves again: the sum comes out the same. */
static int state(struct lh_strategy *s, struct lh_parts *p, struct lh_err *err)
{
	struct delayed *x = of(s);
	const uint64_t n = x->flight ? s->w->ops->parameters(s->w->engine) : 0, now[] = {
		x->flying ? x->number - 1 : x->number, x->flying, x->total_samples };
	memcpy(x->saved, now, sizeof now);
	int rc = lh_parts_add(p, LH_STATE_SHARED, LH_STATE_U64, "delayed.counters", x->saved, 3, err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_HELD, LH_STATE_F32, "delayed.gradient",
				  x->flying && x->departed ? x->departed : x->flight, n, err);
	return rc ? rc : lh_exchange_state(x->exchange, "delayed", x->flying, p, err);
}

static int restored(struct lh_strategy *s, uint32_t round, struct lh_err *err)
{
	struct delayed *x = of(s);
	if (x->saved[0] > round || (x->saved[1] && x->saved[1] != round) || (x->saved[1] && !x->saved[2]))
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: exchange %llu of round %llu after round %u",
				  (unsigned long long)x->saved[0], (unsigned long long)x->saved[1], round);
	x->number = (uint32_t)x->saved[0];
	x->flying = (uint32_t)x->saved[1];
	x->total_samples = x->saved[2];
	x->again = x->flying;
	lh_exchange_skip(x->exchange, x->number);
	return 0;
}

static void close_delayed(struct lh_strategy *s)
{
	struct delayed *x = of(s);
	if (!x)
		return;
	lh_exchange_free(x->exchange);
	free(x->flight);
	free(x->own);
	free(x->departed);
	free(x);
}

static int open_delayed(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	const uint64_t n = w->ops->parameters(w->engine);
	struct delayed *x = calloc(1, sizeof *x);
	bool fine = x;
	if (x && !w->ops->pseudo) {
		x->flight = calloc(n, sizeof *x->flight);
		x->own = calloc(n, sizeof *x->own);
		x->departed = w->c->checkpoint_rounds ? calloc(n, sizeof *x->departed) : NULL;
		fine = x->flight && x->own && (x->departed || !w->c->checkpoint_rounds);
	}
	int rc = fine ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy delayed");
	if (!rc) {
		const struct lh_exchange_io io = { .read = read_flight, .write = write_flight, .ctx = x };
		x->base = (struct lh_strategy){ .ops = &lh_strategy_delayed, .w = w };
		rc = lh_exchange_new(w, LH_VECTOR_GRADIENT, n, &io, &x->exchange, err);
		if (!rc && w->c->checkpoint_rounds)
			rc = lh_exchange_remember(x->exchange, err);
	}
	if (rc) {
		close_delayed(x ? &x->base : NULL);
		return rc;
	}
	*ret = &x->base;
	return 0;
}

const struct lh_strategy_ops lh_strategy_delayed = {
	.name = "delayed", .open = open_delayed, .plan = plan, .begin = begin, .ready = ready, .commit = commit,
	.state = state, .restored = restored, .close = close_delayed,
};
