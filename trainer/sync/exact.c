/* Gradients, every target batch. The sum over all peers takes the place of the own one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "hash.h"
#include "strategy.h"

struct exact {
	struct lh_strategy base;
	struct lh_exchange *exchange;
	uint64_t number;           /* exchanges begun */
	uint64_t hash;             /* of what came, by parts, in any order */
	float *result;             /* elastic: the sum, kept apart from the own gradient until commit; else NULL */
};

static struct exact *of(struct lh_strategy *s) { return (struct exact *)s; }

static int read_gradient(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	const struct lh_worker *w = ((const struct exact *)ctx)->base.w;
	return w->ops->gradient_read(w->engine, offset, n, dst, err);
}

static const float *peek_gradient(void *ctx, uint64_t offset, size_t n)
{
	const struct lh_worker *w = ((const struct exact *)ctx)->base.w;
	return w->ops->gradient_peek ? w->ops->gradient_peek(w->engine, offset, n) : NULL;
}

static int write_gradient(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	struct exact *x = ctx;
	const struct lh_worker *w = x->base.w;
	if (w->c->membership == LH_MEMBERSHIP_ELASTIC)
		x->hash += lh_hash64(src, n * sizeof *src, lh_mix64(offset));
	if (!x->result)
		return w->ops->gradient_write(w->engine, offset, n, src, err);
	memcpy(x->result + offset, src, n * sizeof *src);
	return 0;
}

static int plan(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	r->exchanges = true;
	return lh_round_deal(s->w->c, r, err);
}

static int begin(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	r->waits = true;
	of(s)->hash = 0;
	return lh_exchange_start(of(s)->exchange, (uint32_t)++of(s)->number, err);
}

static bool ready(const struct lh_strategy *s, const struct lh_round *r)
{
	return lh_exchange_done(((const struct exact *)s)->exchange);
}

static int commit(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	const struct lh_worker *w = s->w;
	int rc = 0;
	if (of(s)->result)
		rc = w->ops->gradient_write(w->engine, 0, w->ops->parameters(w->engine), of(s)->result, err);
	lh_exchange_keep(of(s)->exchange);
	r->uses = r->epoch;
	return rc ? rc : s->w->ops->update(s->w->engine, r->total_samples, err);
}

/* The own gradient is as it was before `begin`, and more samples may be added to it. */
static void abort_exact(struct lh_strategy *s, struct lh_round *r)
{
	if (s->w->ops->forget)
		s->w->ops->forget(s->w->engine);
}

static int regroup(struct lh_strategy *s, const struct lh_group *group, unsigned rank, struct lh_transport *t,
		   struct lh_err *err)
{
	abort_exact(s, NULL);
	of(s)->number = 0;
	return lh_exchange_regroup(of(s)->exchange, group, rank, t, err);
}

static uint64_t result_hash(const struct lh_strategy *s) { return ((const struct exact *)s)->hash; }

static double held_back(const struct lh_strategy *s)
{
	double l1, l2;
	lh_exchange_held_back(((const struct exact *)s)->exchange, &l1, &l2);
	return l1;
}

static int state(struct lh_strategy *s, struct lh_parts *p, struct lh_err *err)
{
	int rc = lh_parts_add(p, LH_STATE_SHARED, LH_STATE_U64, "exact.exchanges", &of(s)->number, 1, err);
	return rc ? rc : lh_exchange_state(of(s)->exchange, "exact", false, p, err);
}

static int restored(struct lh_strategy *s, uint32_t round, struct lh_err *err)
{
	if (of(s)->number > round)
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: %llu exchanges in %u rounds",
				  (unsigned long long)of(s)->number, round);
	lh_exchange_skip(of(s)->exchange, (uint32_t)of(s)->number);
	return 0;
}

static void close_exact(struct lh_strategy *s)
{
	if (s) {
		lh_exchange_free(of(s)->exchange);
		free(of(s)->result);
	}
	free(s);
}

static int open_exact(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	struct exact *x = calloc(1, sizeof *x);
	if (!x)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy");
	x->base = (struct lh_strategy){ .ops = &lh_strategy_exact, .w = w };
	const struct lh_exchange_io io = { .read = read_gradient, .write = write_gradient, .peek = peek_gradient,
		.ctx = x };
	const uint64_t n = w->ops->parameters(w->engine);
	int rc = 0;
	if (w->c->membership == LH_MEMBERSHIP_ELASTIC && !w->ops->pseudo && !(x->result = malloc(n * sizeof(float))))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy");
	if (!rc)
		rc = lh_exchange_new(w, LH_VECTOR_GRADIENT, n, &io, &x->exchange, err);
	if (rc) {
		close_exact(&x->base);
		return rc;
	}
	*ret = &x->base;
	return 0;
}

const struct lh_strategy_ops lh_strategy_exact = {
	.name = "exact", .open = open_exact, .plan = plan, .begin = begin, .ready = ready, .commit = commit,
	.abort = abort_exact, .regroup = regroup, .result_hash = result_hash, .held_back = held_back,
	.state = state, .restored = restored, .close = close_exact,
};
