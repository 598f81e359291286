/* See elastic_round.h. Each round of a version but the last ends with an update of this peer's own (`local`), after as
 * many samples as its share of a round is; what it takes over from a lost peer comes behind, in updates of the same size.
 */
#include "elastic_round.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "comm/trace.h"

void lh_elastic_step(struct lh_elastic *x)
{
	if (x->c->die_step && ++x->steps == x->c->die_step)
		raise(SIGKILL);
}

uint32_t lh_elastic_rounds_of(const struct lh_elastic *x, uint32_t version)
{
	uint64_t n = (uint64_t)version * x->span;
	return n < x->c->epochs ? (uint32_t)n : x->c->epochs;
}

uint64_t lh_elastic_share(const struct lh_elastic *x)
{
	return lh_member_share(&x->m) * x->n;
}

void lh_elastic_new_round(struct lh_elastic *x, lh_ns begin_ns)
{
	x->rounds++;
	x->goal = x->m.version + 1;
	x->first = lh_elastic_rounds_of(x, x->m.version);
	x->n = lh_elastic_rounds_of(x, x->goal) - x->first;
	x->round = (struct lh_round){ .epoch = x->first + x->n, .total_samples = x->c->target_batch * x->n };
	for (uint32_t i = 0; i < x->n; i++)
		x->e[i] = (struct lh_event){ .kind = LH_EVENT_EPOCH, .epoch = x->first + i + 1, .held_back_l1 = NAN };
	x->e[0].begin_ns = begin_ns;
	x->pace = (struct lh_pace){ begin_ns, x->c->peers[x->c->rank].samples_per_s };
	x->at = 0;
	x->done = x->paced_from = x->step = x->stepped = 0;
	x->share_done = x->exchanging = x->told = false;
}

/* This peer's samples of the version's first round, as the deal is when its share is done: by the time they are told the
 * table may be of another. */
static void note_ranges(struct lh_elastic *x, const struct lh_table *t)
{
	x->nranges = 0;
	for (uint64_t i = 0; i < t->n; i++)
		if (t->range[i].owner == x->c->rank)
			x->ranges[x->nranges++] = (struct lh_range){ t->range[i].first, t->range[i].count };
}

/* Which samples of its k-th round this peer had, in as many lines as they need; the last ones go with the round's own. */
static int tell_ranges(struct lh_elastic *x, uint32_t k, struct lh_err *err)
{
	struct lh_event *e = &x->e[k], more = { .kind = LH_EVENT_SAMPLES, .epoch = e->epoch };
	size_t used = 0;
	int rc = 0;
	for (size_t i = 0; !rc && i < x->nranges; i++) {
		char text[48];
		int len = snprintf(text, sizeof text, "%llu+%llu", (unsigned long long)(x->ranges[i].first + k * x->c->target_batch),
				   (unsigned long long)x->ranges[i].count);
		if (used && used + 1 + (size_t)len >= sizeof more.ranges) {
			rc = x->h->tell(x->h->ctx, &more, err);
			used = 0;
		}
		used += (size_t)snprintf(more.ranges + used, sizeof more.ranges - used, "%s%s", used ? "," : "", text);
	}
	memcpy(e->ranges, more.ranges, sizeof e->ranges);
	return rc;
}

/* A round before the last of a version: nothing was exchanged. */
static void end_own_round(struct lh_elastic *x)
{
	struct lh_event *e = &x->e[x->at];
	lh_ns at = lh_elastic_now(x);
	e->calc_end_ns = e->exchange_end_ns = e->commit_ns = at;
	e->late_ns = lh_pace_late(&x->pace, x->done - x->paced_from, at);
	e->total_samples = x->c->target_batch;
	e->shared = LH_SHARED_NO;
	lh_trace_share_done(x->w->t->trace, at);
	x->h->end_round(x->h->ctx, e, &x->spans[x->at]);
	x->e[++x->at].begin_ns = at;
	x->pace.begin_ns = at;
	x->paced_from = x->done;
}

void lh_elastic_end_share(struct lh_elastic *x)
{
	struct lh_trace *tr = x->w->t->trace;
	lh_trace_enter(tr, LH_SPAN_OTHER);
	while (x->at + 1 < x->n) /* of who was dealt none */
		end_own_round(x);
	struct lh_event *e = &x->e[x->at];
	e->calc_end_ns = lh_elastic_now(x);
	e->late_ns = lh_pace_late(&x->pace, x->done - x->paced_from, e->calc_end_ns);
	lh_trace_share_done(tr, e->calc_end_ns);
	x->share_done = true;
	note_ranges(x, &x->m.view.table);
}

/* What this peer has of the round and has not calculated yet is what it needs next. */
static int expect(struct lh_elastic *x, struct lh_err *err)
{
	struct lh_round r = { .epoch = x->first + x->at + 1 };
	uint32_t of;
	int rc = 0;
	for (uint64_t at = x->done, run; !rc && at < lh_elastic_share(x); at += run) {
		const uint64_t first = lh_table_sample_of(&x->m.view.table, x->c->rank, at, x->n, x->c->target_batch, &run, &of);
		rc = lh_round_add(&r, first, run, err);
	}
	if (!rc)
		rc = x->w->expect(x->w->ctx, &r, err);
	lh_round_done(&r);
	return rc;
}

/* 1: the samples are here. 0: they were not, and something else may have happened. */
static int samples(struct lh_elastic *x, uint64_t first, size_t n, struct lh_err *err)
{
	int rc = x->w->have ? expect(x, err) : 1;
	if (!rc)
		rc = x->w->have(x->w->ctx, first, n, err);
	if (rc)
		return rc;
	const lh_ns since = lh_elastic_now(x), until = lh_member_timer(&x->m);
	const uint32_t round = x->rounds;
	lh_trace_enter(x->w->t->trace, LH_SPAN_DATA);
	rc = x->w->wait(x->w->ctx, until, err);
	if (x->rounds == round) {
		x->e[x->at].data_wait_ns += lh_elastic_now(x) - since;
		x->pace.begin_ns += lh_elastic_now(x) - since; /* a device that waits makes up for nothing */
	}
	if (!rc && lh_elastic_now(x) >= until)
		lh_member_tick(&x->m, lh_elastic_now(x));
	return rc;
}

/* The own update, where the strategy has one: after so many samples as this peer's share of a round is, and at its end. */
static int update_own(struct lh_elastic *x, struct lh_err *err)
{
	const struct lh_strategy_ops *ops = x->h->strategy->ops;
	struct lh_round r = { .epoch = x->first + x->at + 1, .samples = x->done - x->stepped };
	if (!ops->local || (r.samples < x->step && x->done < lh_elastic_share(x)))
		return 0;
	lh_trace_enter(x->w->t->trace, LH_SPAN_OPTIMISE);
	lh_elastic_step(x);
	int rc = ops->local(x->h->strategy, &r, err);
	lh_trace_enter(x->w->t->trace, LH_SPAN_OTHER);
	x->stepped = x->done;
	while (!rc && x->at + 1 < x->n && x->done >= (x->at + 1) * x->step)
		end_own_round(x);
	return rc;
}

int lh_elastic_calculate(struct lh_elastic *x, struct lh_err *err)
{
	uint64_t run;
	uint32_t of, round = x->rounds;
	struct lh_event t = { .kind = LH_EVENT_EPOCH };
	uint64_t first = lh_table_sample_of(&x->m.view.table, x->c->rank, x->done, x->n, x->c->target_batch, &run, &of);
	x->step = x->step ? x->step : run;
	if (x->h->strategy->ops->local && x->stepped + x->step - x->done < run)
		run = x->stepped + x->step - x->done;
	size_t n = run < x->c->microbatch ? (size_t)run : x->c->microbatch;
	int rc = samples(x, first, n, err);
	if (rc <= 0)
		return rc;
	lh_trace_enter(x->w->t->trace, LH_SPAN_CALCULATE);
	lh_elastic_step(x);
	rc = lh_worker_step(x->w, first, n, &t, err);
	struct lh_event *e = &x->e[x->at];
	e->busy_ns += t.busy_ns;
	e->held_ns += t.held_ns;
	e->queued_ns += t.queued_ns;
	x->e[of].loss_sum += t.loss_sum;
	x->e[of].samples += n;
	x->done += n;
	lh_ns due = lh_pace_due(&x->pace, x->done - x->paced_from);
	do {
		if (!rc)
			rc = x->w->wait(x->w->ctx, due, err);
	} while (!rc && lh_elastic_now(x) < due && x->rounds == round && !x->over && !x->rc);
	return rc || x->rounds != round || x->over || x->rc ? rc : update_own(x, err);
}

int lh_elastic_tell_rounds(struct lh_elastic *x, struct lh_err *err)
{
	const struct lh_strategy_ops *ops = x->h->strategy->ops;
	const double held_back = ops->held_back ? ops->held_back(x->h->strategy) : 0;
	int rc = 0;
	x->h->end_round(x->h->ctx, &x->e[x->at], &x->spans[x->at]);
	for (uint32_t i = 0; !rc && i < x->n; i++) {
		struct lh_event *e = &x->e[i];
		e->view = x->view;
		e->total_samples = x->c->target_batch;
		e->held_back_l1 = held_back;
		rc = tell_ranges(x, i, err);
		if (!rc)
			rc = x->h->tell_round(x->h->ctx, e, &x->spans[i], err);
	}
	return rc;
}
