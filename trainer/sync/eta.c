/* Gradients, every target batch, as hivemind counts it: nobody is dealt samples, everybody reports how many it has and
 * how fast it is, and each ends the round by itself when by the reports the batch must be complete.
 *
 * Reports are a small all-reduce of their own, beside that of the gradients: each half second, also while a paced step
 * is waited out, and at the beginning of a round, a peer adds its samples, its speed (a moving average over
 * microbatches, as hivemind's) and whether it has ended the round. So all know the same sums S and V, of about the
 * moment t when their own report left, and end when S + V (now - t) >= batch. Hivemind's peers read each other's
 * reports from a hash table instead, as stale and as often; what they estimate is the same.
 *
 * Who has ended sends its gradient at once, and reports until all have ended: the first report in which everybody says
 * so has the exact number of samples, which the sum is divided by. Its number is the same on all peers, so
 * whatever is reported after it is of the next round.
 *
 * With a matchmaking floor, a peer looks for a group from when the round is predicted to be over within the floor, but
 * only at the end of a microbatch and only since the round began. The same reports find the groups (matching.h). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matching.h"

#define REPORT_NS (LH_NS_PER_S / 2)   /* hivemind's min_refresh_period */
#define EMA_ALPHA 0.1                 /* hivemind's performance_ema_alpha */
#define LONGEST_BATCHES 4             /* a round ends at the latest when a peer has calculated so many batches alone */
#define SAMPLES_LOW 4096              /* samples travel as two floats, exact to 2^36 */

enum { LOW, HIGH, SPEED, ENDED, FIELDS };

struct eta {
	struct lh_strategy base;
	struct lh_mux *mux;
	struct lh_exchange *report, *gradient;
	struct lh_matching *matching;      /* NULL: no floor, one group */
	uint32_t reports, gradients;       /* begun: their exchanges are 2 k - 1 and 2 k */
	unsigned fields;                   /* of a report: those above, then those of matching */
	float *mine, *sum;                 /* of the report under way, and what has come back of it */
	float *all;                        /* of the last one */
	lh_ns begin_ns;                    /* of the round */
	bool reporting, known;             /* one is under way; `all` is of this round */
	lh_ns asked_ns, known_ns;          /* when the one under way left, and when `all` had left */
	double ema_s, ema_weight;          /* seconds a sample */
	lh_ns step_ns;                     /* the last microbatch ended */
	uint64_t before, done;             /* samples of this peer: in earlier rounds, in this one */
	uint64_t saved[2];                 /* before, done */
	double saved_speed[2];             /* ema_s, ema_weight */
	bool ended, final;                 /* this peer's round is over; everybody's is, and `all` says so */
};

static struct eta *of(struct lh_strategy *s) { return (struct eta *)s; }

static int read_mine(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, ((struct eta *)ctx)->mine + offset, n * sizeof *dst);
	return 0;
}

static int write_sum(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	memcpy(((struct eta *)ctx)->sum + offset, src, n * sizeof *src);
	return 0;
}

static int read_gradient(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	const struct lh_worker *w = ((const struct eta *)ctx)->base.w;
	return w->ops->gradient_read(w->engine, offset, n, dst, err);
}

static const float *peek_gradient(void *ctx, uint64_t offset, size_t n)
{
	const struct lh_worker *w = ((const struct eta *)ctx)->base.w;
	return w->ops->gradient_peek ? w->ops->gradient_peek(w->engine, offset, n) : NULL;
}

static int write_gradient(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	const struct lh_worker *w = ((const struct eta *)ctx)->base.w;
	return w->ops->gradient_write(w->engine, offset, n, src, err);
}

/* ---- reports ---- */

static int begin_report(struct eta *x, struct lh_err *err)
{
	const struct lh_worker *w = x->base.w;
	x->mine[LOW] = (float)(x->done % SAMPLES_LOW);
	x->mine[HIGH] = (float)(x->done / SAMPLES_LOW);
	x->mine[SPEED] = x->ema_s > 0 ? (float)(x->ema_weight / x->ema_s) : 0;
	x->mine[ENDED] = x->ended;
	if (x->matching)
		lh_matching_put(x->matching, x->done, x->mine + FIELDS);
	x->asked_ns = w->now(w->ctx);
	x->reporting = true;
	return lh_exchange_start(x->report, 2 * ++x->reports - 1, err);
}

static uint64_t reported_samples(const struct eta *x)
{
	return (uint64_t)x->all[LOW] + (uint64_t)x->all[HIGH] * SAMPLES_LOW;
}

static int end_report(struct eta *x, struct lh_err *err)
{
	memcpy(x->all, x->sum, x->fields * sizeof *x->all);
	x->reporting = false;
	x->known = true;
	x->known_ns = x->asked_ns;
	x->final = x->all[ENDED] == (float)x->base.w->c->size;
	return x->matching ? lh_matching_take(x->matching, x->all + FIELDS, x->gradient, x->gradients, 2, err) : 0;
}

/* No report comes after this one in this round; the same on all peers. */
static bool told_all(const struct eta *x)
{
	return x->final && (!x->matching || lh_matching_settled(x->matching));
}

/* Who has ended reports until nothing is left to say. */
static int go_on_reporting(struct eta *x, struct lh_err *err)
{
	int rc = x->reporting && lh_exchange_done(x->report) ? end_report(x, err) : 0;
	return rc || x->reporting || told_all(x) ? rc : begin_report(x, err);
}

static void measure_speed(struct eta *x, uint64_t samples, lh_ns now)
{
	if (!samples)
		return;
	x->ema_s += EMA_ALPHA * ((double)(now - x->step_ns) / 1e9 / (double)samples - x->ema_s);
	x->ema_weight += EMA_ALPHA * (1 - x->ema_weight);
}

/* ---- the phases ---- */

static int plan(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct eta *x = of(s);
	const struct lh_worker *w = s->w;
	r->exchanges = true;
	x->before += x->done;
	x->done = 0;
	x->ended = x->known = x->final = false;
	x->begin_ns = x->step_ns = w->now(w->ctx);
	if (x->matching)
		lh_matching_round(x->matching);
	/* Every peer walks through passes of its own over the data. */
	int rc = lh_round_add(r, ((uint64_t)w->c->rank << 40) + x->before, LONGEST_BATCHES * w->c->target_batch, err);
	if (!rc && x->ema_s > 0)
		rc = begin_report(x, err);
	return rc;
}

/* By the last report, now; before the first of the round, by the last speed and the round's begin. */
static double expected_samples(const struct eta *x, lh_ns now)
{
	return (x->known ? (double)reported_samples(x) : 0) +
	       x->all[SPEED] * ((double)(now - (x->known ? x->known_ns : x->begin_ns)) / 1e9);
}

/* The end is predicted to be nearer than matchmaking takes: it must begin. */
static void look_for_group(struct eta *x, lh_ns now)
{
	const struct lh_peer_config *c = x->base.w->c;
	double left = (double)c->target_batch - expected_samples(x, now);
	if (x->matching && left <= x->all[SPEED] * ((double)c->sync.match_floor_ns / 1e9))
		lh_matching_search(x->matching, now);
}

static int enough(struct lh_strategy *s, const struct lh_round *r, uint64_t done, struct lh_err *err)
{
	struct eta *x = of(s);
	const lh_ns now = s->w->now(s->w->ctx);
	int rc = 0;
	measure_speed(x, done - x->done, now);
	x->done = done;
	x->step_ns = now;
	if (x->reporting && lh_exchange_done(x->report))
		rc = end_report(x, err);
	look_for_group(x, now);
	if (!rc && !x->reporting && (!x->known || now - x->asked_ns >= REPORT_NS))
		rc = begin_report(x, err);
	if (rc)
		return rc;
	return (x->known && expected_samples(x, now) >= (double)s->w->c->target_batch) || done >= s->w->c->target_batch;
}

/* A step may take long; reports go on meanwhile, as hivemind's do from a thread of their own. */
static int meanwhile(struct lh_strategy *s, lh_ns *until_ns, struct lh_err *err)
{
	struct eta *x = of(s);
	const lh_ns due = x->asked_ns + REPORT_NS;
	int rc = x->reporting && lh_exchange_done(x->report) ? end_report(x, err) : 0;
	if (rc || x->reporting)
		return rc;
	if (s->w->now(s->w->ctx) >= due)
		return begin_report(x, err);
	*until_ns = due < *until_ns ? due : *until_ns;
	return 0;
}

static int match(struct lh_strategy *s, struct lh_round *r, lh_ns *ret_until, struct lh_err *err)
{
	struct eta *x = of(s);
	const lh_ns now = s->w->now(s->w->ctx);
	if (!x->matching)
		return 1;
	x->ended = true;
	lh_matching_search(x->matching, now);
	int rc = go_on_reporting(x, err);
	const bool settled = lh_matching_settled(x->matching);
	*ret_until = settled ? lh_matching_close_ns(x->matching) : INT64_MAX;
	return rc ? rc : settled && now >= *ret_until;
}

static int begin(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct eta *x = of(s);
	r->waits = true;
	x->ended = true;
	int rc = lh_exchange_start(x->gradient, 2 * ++x->gradients, err);
	return rc || x->reporting || x->final ? rc : begin_report(x, err);
}

static bool ready(const struct lh_strategy *s, const struct lh_round *r)
{
	const struct eta *x = (const struct eta *)s;
	return lh_exchange_done(x->final ? x->gradient : x->report);
}

static int commit(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct eta *x = of(s);
	if (!x->final) {
		int rc = go_on_reporting(x, err);
		return rc ? rc : 1;
	}
	r->total_samples = x->matching ? lh_matching_samples(x->matching) : reported_samples(x);
	if (x->matching) {
		lh_matching_tell(x->matching, r);
		s->shared = *lh_matching_was_split(x->matching) ? LH_SHARED_NO : LH_SHARED_YES;
	}
	r->uses = r->epoch;
	return s->w->ops->update(s->w->engine, r->total_samples, err);
}

/* Reports are of a round; what stays is where this peer is in its own walk, and how fast it was. */
static int state(struct lh_strategy *s, struct lh_parts *p, struct lh_err *err)
{
	struct eta *x = of(s);
	x->saved[0] = x->before;
	x->saved[1] = x->done;
	x->saved_speed[0] = x->ema_s;
	x->saved_speed[1] = x->ema_weight;
	int rc = lh_parts_add(p, LH_STATE_OWN, LH_STATE_U64, "eta.samples", x->saved, 2, err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_OWN, LH_STATE_F64, "eta.speed", x->saved_speed, 2, err);
	if (!rc && x->matching)
		rc = lh_parts_add(p, LH_STATE_OWN, LH_STATE_U64, "eta.split", lh_matching_was_split(x->matching), 1, err);
	return rc ? rc : lh_exchange_state(x->gradient, "eta", false, p, err);
}

static int restored(struct lh_strategy *s, uint32_t round, struct lh_err *err)
{
	struct eta *x = of(s);
	const double *v = x->saved_speed;
	if (x->saved[0] >> 40 || x->saved[1] >> 40 || !(v[0] >= 0 && v[0] < 1e9 && v[1] >= 0 && v[1] <= 1))
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: a peer's samples or speed that cannot be");
	x->before = x->saved[0];
	x->done = x->saved[1];
	x->ema_s = v[0];
	x->ema_weight = v[1];
	if (x->matching && *lh_matching_was_split(x->matching))
		s->shared = LH_SHARED_NO;
	return 0;
}

static void close_eta(struct lh_strategy *s)
{
	struct eta *x = of(s);
	if (!x)
		return;
	lh_exchange_free(x->report);
	lh_exchange_free(x->gradient);
	lh_matching_free(x->matching);
	lh_mux_free(x->mux);
	free(x->mine);
	free(x->sum);
	free(x->all);
	free(x);
}

static int open_eta(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	struct eta *x = calloc(1, sizeof *x);
	if (!x)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy eta");
	const struct lh_exchange_io report = { .read = read_mine, .write = write_sum, .ctx = x };
	const struct lh_exchange_io gradient = { .read = read_gradient, .write = write_gradient, .peek = peek_gradient,
		.ctx = x };
	const bool matches = w->c->sync.match_floor_ns && w->c->size > 1;
	x->base = (struct lh_strategy){ .ops = &lh_strategy_eta, .w = w };
	x->fields = FIELDS + (matches ? lh_matching_fields(w->c->size) : 0);
	x->mine = calloc(x->fields, sizeof *x->mine);
	x->sum = calloc(x->fields, sizeof *x->sum);
	x->all = calloc(x->fields, sizeof *x->all);
	int rc = x->mine && x->sum && x->all ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy eta");
	if (!rc)
		rc = lh_mux_new(w->t, w->c->size, 2, &x->mux, err);
	if (!rc && matches)
		rc = lh_matching_new(w, lh_mux_port(x->mux, 1), &x->matching, err);
	if (!rc)
		rc = lh_exchange_new_port(w, &(struct lh_exchange_port){ x->mux, 0, 2 }, LH_VECTOR_CONTROL, x->fields,
					  &report, &x->report, err);
	if (!rc)
		rc = lh_exchange_new_port(w, &(struct lh_exchange_port){ x->mux, 1, 2 }, LH_VECTOR_GRADIENT,
					  w->ops->parameters(w->engine), &gradient, &x->gradient, err);
	if (rc) {
		close_eta(&x->base);
		return rc;
	}
	*ret = &x->base;
	return 0;
}

const struct lh_strategy_ops lh_strategy_eta = {
	.name = "eta", .open = open_eta, .plan = plan, .enough = enough, .meanwhile = meanwhile, .match = match,
	.begin = begin, .ready = ready,
	.commit = commit, .state = state, .restored = restored, .close = close_eta,
};
