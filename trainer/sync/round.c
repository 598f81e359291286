/* A round, phase by phase. See strategy.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "deal.h"
#include "pace.h"
#include "strategy.h"

/* ---- which samples ---- */

int lh_round_add(struct lh_round *r, uint64_t first, uint64_t count, struct lh_err *err)
{
	struct lh_range *more = realloc(r->ranges, (r->nranges + 1) * sizeof *more);
	if (!more)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "deal samples");
	r->ranges = more;
	r->ranges[r->nranges++] = (struct lh_range){ first, count };
	r->samples += count;
	return 0;
}

void lh_round_done(struct lh_round *r)
{
	free(r->ranges);
	*r = (struct lh_round){ 0 };
}

int lh_round_deal(const struct lh_peer_config *c, struct lh_round *r, struct lh_err *err)
{
	struct lh_share *shares = calloc(c->size, sizeof *shares);
	double *weights = calloc(c->size, sizeof *weights);
	int rc = 0;
	if (shares && weights) {
		for (unsigned i = 0; i < c->size; i++)
			weights[i] = c->peers[i].samples_per_s;
		lh_deal(c->target_batch, r->epoch, weights, c->size, shares);
		r->total_samples = c->target_batch;
		rc = lh_round_add(r, shares[c->rank].first, shares[c->rank].count, err);
	} else {
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "deal samples");
	}
	free(shares);
	free(weights);
	return rc;
}

/* Nothing when they do not fit, or when the calculation ended before they did. */
static void tell_ranges(const struct lh_round *r, struct lh_event *e)
{
	uint64_t dealt = 0;
	size_t used = 0;
	for (size_t i = 0; i < r->nranges; i++)
		dealt += r->ranges[i].count;
	for (size_t i = 0; i < r->nranges && dealt == r->samples && used < sizeof e->ranges; i++)
		if (r->ranges[i].count)
			used += (size_t)snprintf(e->ranges + used, sizeof e->ranges - used, "%s%llu+%llu", used ? "," : "",
						 (unsigned long long)r->ranges[i].first,
						 (unsigned long long)r->ranges[i].count);
	if (used >= sizeof e->ranges)
		*e->ranges = 0;
}

/* ---- calculate ---- */

static lh_ns thread_cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * LH_NS_PER_S + ts.tv_nsec;
}

int lh_worker_step(struct lh_worker *w, uint64_t first, size_t n, struct lh_event *e, struct lh_err *err)
{
	lh_ns before = thread_cpu_ns();
	double loss = 0;
	for (size_t i = 0; i < n; i++)
		w->ids[i] = first + i;
	int rc = w->turn ? lh_turn_take(w->turn, &e->queued_ns, err) : 0;
	if (!rc)
		rc = w->ops->step(w->engine, w->ids, n, &loss, err);
	if (w->turn && !rc) /* a step ends with its loss on the host: the device has nothing of it left to do */
		rc = lh_turn_give(w->turn, &e->held_ns, err);
	while (w->c->starve_ns && thread_cpu_ns() - before < w->c->starve_ns)
		; /* test hook */
	e->busy_ns += thread_cpu_ns() - before;
	e->loss_sum += loss;
	return rc;
}

/* What is under way of a round's calculation; a round that is done again goes on where it was. */
struct progress {
	struct lh_pace pace;
	uint64_t done;       /* samples */
	bool enough;
};

/* Until the samples are here. A device that waits for them makes up for none of that time: the schedule moves. */
static int wait_for_samples(struct lh_worker *w, uint64_t first, size_t n, struct progress *p, struct lh_event *e,
			    struct lh_err *err)
{
	int rc = w->have ? w->have(w->ctx, first, n, err) : 1;
	if (rc)
		return rc < 0 ? rc : 0;
	const lh_ns since = w->now(w->ctx);
	const enum lh_span_kind was = lh_trace_enter(w->t->trace, LH_SPAN_DATA);
	while (!rc && !lh_worker_is_void(w, e->epoch)) {
		rc = w->wait(w->ctx, INT64_MAX, err);
		if (!rc)
			rc = w->have(w->ctx, first, n, err);
	}
	lh_trace_enter(w->t->trace, was);
	const lh_ns waited = w->now(w->ctx) - since;
	e->data_wait_ns += waited;
	p->pace.begin_ns += waited;
	return rc < 0 ? rc : 0;
}

/* Until the pace has this step over. */
static int wait_out(struct lh_worker *w, struct lh_strategy *s, lh_ns due, uint32_t epoch, struct lh_err *err)
{
	int rc = 0;
	do {
		lh_ns until = due;
		if (s->ops->meanwhile)
			rc = s->ops->meanwhile(s, &until, err);
		if (!rc)
			rc = w->wait(w->ctx, until, err);
	} while (!rc && w->now(w->ctx) < due && !lh_worker_is_void(w, epoch));
	return rc;
}

/* One range, microbatch by microbatch, on the schedule of the declared rate. */
static int calculate_range(struct lh_worker *w, struct lh_strategy *s, const struct lh_round *r,
			   const struct lh_range *range, struct progress *p, struct lh_event *e, struct lh_err *err)
{
	int rc = 0;
	for (uint64_t at = 0; !rc && at < range->count && !p->enough && !lh_worker_is_void(w, e->epoch);) {
		size_t n = range->count - at < w->c->microbatch ? (size_t)(range->count - at) : w->c->microbatch;
		rc = wait_for_samples(w, range->first + at, n, p, e, err);
		if (rc || lh_worker_is_void(w, e->epoch))
			break;
		rc = lh_worker_step(w, range->first + at, n, e, err);
		at += n;
		p->done += n;
		lh_ns due = lh_pace_due(&p->pace, p->done);
		e->steps++;
		e->late_steps += w->now(w->ctx) > due;
		if (!rc)
			rc = wait_out(w, s, due, e->epoch, err);
		if (!rc && s->ops->enough)
			rc = s->ops->enough(s, r, p->done, err);
		p->enough = rc > 0;
		rc = rc < 0 ? rc : 0;
	}
	return rc;
}

/* What was calculated of it. */
static void trim(struct lh_round *r, uint64_t done)
{
	r->samples = done;
	for (size_t i = 0; i < r->nranges; i++) {
		struct lh_range *range = &r->ranges[i];
		range->count = range->count < done ? range->count : done;
		done -= range->count;
	}
}

static int calculate(struct lh_worker *w, struct lh_strategy *s, struct lh_round *r, struct lh_event *e,
		     struct lh_err *err)
{
	struct progress p = { .pace = { .begin_ns = e->begin_ns + w->paused_ns,
					.samples_per_s = w->c->peers[w->c->rank].samples_per_s } };
	int rc = w->expect ? w->expect(w->ctx, r, err) : 0;
	w->paused_ns = 0;
	lh_trace_enter(w->t->trace, LH_SPAN_CALCULATE);
	for (size_t i = 0; !rc && i < r->nranges; i++)
		rc = calculate_range(w, s, r, &r->ranges[i], &p, e, err);
	trim(r, p.done);
	lh_trace_enter(w->t->trace, LH_SPAN_OTHER); /* before the clock is read, so that nothing comes between */
	e->calc_end_ns = w->now(w->ctx);
	e->late_ns = lh_pace_late(&p.pace, p.done, e->calc_end_ns);
	if (!rc && s->ops->local && !lh_worker_is_void(w, e->epoch)) {
		lh_trace_enter(w->t->trace, LH_SPAN_OPTIMISE);
		rc = s->ops->local(s, r, err);
		lh_trace_enter(w->t->trace, LH_SPAN_OTHER);
		e->calc_end_ns = w->now(w->ctx);
	}
	lh_trace_share_done(w->t->trace, e->calc_end_ns);
	return rc;
}

/* ---- exchange and commit ---- */

static int wait_until_ready(struct lh_worker *w, struct lh_strategy *s, const struct lh_round *r, struct lh_err *err)
{
	int rc = 0;
	while (!rc && !s->ops->ready(s, r) && !lh_worker_is_void(w, r->epoch))
		rc = w->wait(w->ctx, INT64_MAX, err);
	return rc;
}

/* Finding the group takes at least so long, and it is not looked for before the round begins: runs beside the
 * calculation, and holds up an exchange whose batch was reached sooner. */
static int match(struct lh_worker *w, struct lh_strategy *s, struct lh_round *r, const struct lh_event *e,
		 struct lh_err *err)
{
	lh_ns until = e->begin_ns + w->c->sync.match_floor_ns;
	int rc = 0;
	if (!w->c->sync.match_floor_ns || !r->exchanges)
		return 0;
	lh_trace_enter(w->t->trace, LH_SPAN_MATCH);
	while (!rc && !lh_worker_is_void(w, r->epoch)) {
		int found = s->ops->match ? s->ops->match(s, r, &until, err) : w->now(w->ctx) >= until;
		if (found)
			return found < 0 ? found : 0;
		rc = w->wait(w->ctx, until, err);
	}
	return rc;
}

/* 0: committed. 1: became void. */
static int exchange_and_commit(struct lh_worker *w, struct lh_strategy *s, struct lh_round *r, struct lh_event *e,
			       struct lh_err *err)
{
	int rc = match(w, s, r, e, err), again = 1;
	lh_trace_enter(w->t->trace, LH_SPAN_WAIT);
	if (!rc)
		rc = s->ops->begin(s, r, err);
	e->exchange_end_ns = e->calc_end_ns;
	while (!rc && again) {
		rc = wait_until_ready(w, s, r, err);
		if (rc)
			return rc;
		if (!s->ops->ready(s, r))
			return 1;
		if (r->waits)
			e->exchange_end_ns = w->now(w->ctx);
		lh_trace_enter(w->t->trace, LH_SPAN_OPTIMISE);
		again = s->ops->commit(s, r, err);
		lh_trace_enter(w->t->trace, again > 0 ? LH_SPAN_WAIT : LH_SPAN_OTHER);
		rc = again < 0 ? again : 0;
	}
	return rc;
}

int lh_round_run(struct lh_worker *w, struct lh_strategy *s, uint32_t epoch, struct lh_event *e, bool *ret_void,
		 struct lh_err *err)
{
	struct lh_round r = { .epoch = epoch };
	e->kind = LH_EVENT_EPOCH;
	e->epoch = epoch;
	int rc = s->ops->plan(s, &r, err);
	if (!rc)
		rc = calculate(w, s, &r, e, err);
	if (!rc && lh_worker_is_void(w, epoch))
		rc = 1;
	if (!rc)
		rc = exchange_and_commit(w, s, &r, e, err);
	if (!rc && w->c->flip_epoch == epoch && w->c->flip_rank == w->c->rank)
		w->ops->flip_bit(w->engine);
	e->commit_ns = w->now(w->ctx);
	if (!r.waits) { /* nothing was communicated: all of the round is this peer's own work */
		e->calc_end_ns = e->exchange_end_ns = e->commit_ns;
		lh_trace_share_done(w->t->trace, e->commit_ns);
	}
	e->samples = r.samples;
	e->total_samples = r.total_samples;
	e->groups = r.groups;
	e->group = r.group;
	e->group_size = r.group_size;
	tell_ranges(&r, e);
	e->uses = r.uses;
	e->held_back_l1 = NAN;
	e->shared = s->shared;
	lh_round_done(&r);
	*ret_void = rc > 0;
	return rc < 0 ? rc : 0;
}
