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
	uint64_t total_samples;   /* of it */
	float *flight, *own;      /* its vector, and the next one's; NULL: the engine is pseudo */
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

static int plan(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	r->exchanges = true;
	return lh_round_deal(s->w->c, r, err);
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
	return rc ? rc : lh_exchange_start(x->exchange, ++x->number, err);
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

static void close_delayed(struct lh_strategy *s)
{
	struct delayed *x = of(s);
	if (!x)
		return;
	lh_exchange_free(x->exchange);
	free(x->flight);
	free(x->own);
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
		fine = x->flight && x->own;
	}
	int rc = fine ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy delayed");
	if (!rc) {
		const struct lh_exchange_io io = { .read = read_flight, .write = write_flight, .ctx = x };
		x->base = (struct lh_strategy){ .ops = &lh_strategy_delayed, .w = w };
		rc = lh_exchange_new(w, LH_VECTOR_GRADIENT, n, &io, &x->exchange, err);
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
	.close = close_delayed,
};
