/* trace.c - see trace.h.
 *
 * Single spans are kept for people to look at. When the list is full, neighbours are merged, the finest structure
 * first: those that together are shorter than a resolution, those much shorter than it, and those of one kind that only
 * such a short one separated. The resolution doubles until half of the list is free, so a round costs a bounded number
 * of passes, and memory for KEPT spans. A merged span knows how much of each kind is in it.
 */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT = 4 * LH_SPANS_MAX };
/* What nobody can see on a screen: at most so long, or a 16th of it beside something longer. */
#define FINEST_NS (32 * LH_NS_PER_US)

struct kept {
	lh_ns from_ns, to_ns;
	lh_ns kinds_ns[LH_SPAN_KINDS];
	uint32_t merged;
};

struct exchange {
	uint32_t number;
	lh_ns from_ns, to_ns;
};

struct lh_trace {
	unsigned rank;
	uint32_t shown_every;
	enum lh_span_kind kind;    /* now */
	lh_ns since_ns, begin_ns;  /* of this state, of this round */
	lh_ns total_ns[LH_SPAN_KINDS], share_ns[LH_SPAN_KINDS]; /* of the round; until the share was done */
	struct exchange exchanges[LH_SPANS_EXCHANGES_MAX];
	uint32_t nexchanges;
	bool shown;                /* this round's single spans are kept */
	uint32_t n, nlast;         /* spans of this round; of the last one, for lh_trace_shorten */
	lh_ns last_begin_ns;
	struct kept spans[KEPT], last[LH_SPANS_MAX];
};

int lh_trace_new(unsigned rank, uint32_t shown_every, struct lh_trace **ret, struct lh_err *err)
{
	struct lh_trace *tr = calloc(1, sizeof *tr);
	if (!tr)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "trace");
	tr->rank = rank;
	tr->shown_every = shown_every;
	tr->shown = shown_every > 0;
	tr->since_ns = tr->begin_ns = lh_clock_ns();
	*ret = tr;
	return 0;
}

void lh_trace_free(struct lh_trace *tr)
{
	free(tr);
}

/* ---- merging ---- */

static enum lh_span_kind most_of(const struct kept *s)
{
	unsigned best = 0;
	for (unsigned k = 1; k < LH_SPAN_KINDS; k++)
		if (s->kinds_ns[k] > s->kinds_ns[best])
			best = k;
	return (enum lh_span_kind)best;
}

static bool belong_together(const struct kept *a, const struct kept *b, lh_ns resolution_ns)
{
	lh_ns la = a->to_ns - a->from_ns, lb = b->to_ns - b->from_ns, shorter = la < lb ? la : lb;
	return la + lb <= resolution_ns || shorter <= resolution_ns / 16 || most_of(a) == most_of(b);
}

/* One pass; it stops when `most` are left. */
static uint32_t merge_pass(struct kept *spans, uint32_t n, uint32_t most, lh_ns resolution_ns)
{
	uint32_t out = 0;
	for (uint32_t i = 1; i < n; i++) {
		struct kept *a = &spans[out];
		if (n - i + out + 1 <= most || !belong_together(a, &spans[i], resolution_ns)) {
			spans[++out] = spans[i];
			continue;
		}
		a->to_ns = spans[i].to_ns;
		a->merged += spans[i].merged;
		for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
			a->kinds_ns[k] += spans[i].kinds_ns[k];
	}
	return n ? out + 1 : 0;
}

static uint32_t merge(struct kept *spans, uint32_t n, uint32_t most)
{
	n = merge_pass(spans, n, 1, FINEST_NS);
	for (lh_ns resolution = 2 * FINEST_NS; n > most; resolution *= 2)
		n = merge_pass(spans, n, most, resolution);
	return n;
}

/* ---- states ---- */

/* What was until now goes into the sums and the list. */
static void close_span(struct lh_trace *tr, lh_ns now_ns)
{
	lh_ns spent = now_ns - tr->since_ns;
	struct kept next = { .from_ns = tr->since_ns, .to_ns = now_ns, .merged = 1 };
	tr->total_ns[tr->kind] += spent;
	tr->since_ns = now_ns;
	if (!tr->shown || spent == 0)
		return;
	struct kept *last = tr->n ? &tr->spans[tr->n - 1] : NULL;
	if (last && last->merged == 1 && last->kinds_ns[tr->kind]) { /* the same went on */
		last->to_ns = now_ns;
		last->kinds_ns[tr->kind] += spent;
		return;
	}
	if (tr->n == KEPT)
		tr->n = merge(tr->spans, tr->n, KEPT / 2);
	next.kinds_ns[tr->kind] = spent;
	tr->spans[tr->n++] = next;
}

enum lh_span_kind lh_trace_enter(struct lh_trace *tr, enum lh_span_kind kind)
{
	if (!tr || tr->kind == kind)
		return kind;
	enum lh_span_kind was = tr->kind;
	close_span(tr, lh_clock_ns());
	tr->kind = kind;
	return was;
}

enum lh_span_kind lh_trace_sleep(struct lh_trace *tr, unsigned blocked)
{
	if (!tr)
		return LH_SPAN_OTHER;
	return lh_trace_enter(tr, tr->kind == LH_SPAN_WAIT && blocked ? LH_SPAN_WINDOW : tr->kind);
}

/* ---- rounds ---- */

static void clear(struct lh_trace *tr, lh_ns now_ns)
{
	uint32_t going_on = 0;
	memset(tr->total_ns, 0, sizeof tr->total_ns);
	memset(tr->share_ns, 0, sizeof tr->share_ns);
	tr->begin_ns = now_ns;
	tr->n = 0;
	for (uint32_t i = 0; i < tr->nexchanges; i++)
		if (!tr->exchanges[i].to_ns)
			tr->exchanges[going_on++] = tr->exchanges[i];
	tr->nexchanges = going_on;
}

void lh_trace_begin(struct lh_trace *tr, lh_ns now_ns)
{
	if (!tr)
		return;
	tr->since_ns = now_ns;
	clear(tr, now_ns);
}

void lh_trace_share_done(struct lh_trace *tr, lh_ns now_ns)
{
	if (!tr)
		return;
	close_span(tr, now_ns > tr->since_ns ? now_ns : tr->since_ns);
	memcpy(tr->share_ns, tr->total_ns, sizeof tr->share_ns);
}

void lh_trace_exchange_begin(struct lh_trace *tr, uint32_t number)
{
	if (!tr || tr->nexchanges == LH_SPANS_EXCHANGES_MAX)
		return;
	tr->exchanges[tr->nexchanges++] = (struct exchange){ .number = number, .from_ns = lh_clock_ns() };
}

void lh_trace_exchange_end(struct lh_trace *tr, uint32_t number)
{
	for (uint32_t i = 0; tr && i < tr->nexchanges; i++)
		if (tr->exchanges[i].number == number && !tr->exchanges[i].to_ns)
			tr->exchanges[i].to_ns = lh_clock_ns();
}

/* The spans of the last round as the line has them. */
static void show(const struct lh_trace *tr, struct lh_spans *s)
{
	s->nspans = tr->nlast;
	for (uint32_t i = 0; i < tr->nlast; i++) {
		const struct kept *p = &tr->last[i];
		s->spans[i] = (struct lh_span){
			.kind = most_of(p), .from_us = (uint64_t)(p->from_ns - tr->last_begin_ns) / 1000,
			.to_us = (uint64_t)(p->to_ns - tr->last_begin_ns) / 1000, .merged = p->merged,
		};
	}
}

void lh_trace_round(struct lh_trace *tr, uint32_t epoch, lh_ns now_ns, struct lh_spans *ret)
{
	*ret = (struct lh_spans){ .epoch = epoch };
	if (!tr)
		return;
	close_span(tr, now_ns);
	ret->rank = tr->rank;
	ret->begin_ns = tr->begin_ns;
	ret->end_ns = now_ns;
	memcpy(ret->total_ns, tr->total_ns, sizeof ret->total_ns);
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		ret->comm_ns[k] = tr->total_ns[k] - tr->share_ns[k];
	ret->nexchanges = tr->nexchanges;
	for (uint32_t i = 0; i < tr->nexchanges; i++) {
		ret->exchanges[i].number = tr->exchanges[i].number;
		ret->exchanges[i].from_ns = tr->exchanges[i].from_ns;
		ret->exchanges[i].to_ns = tr->exchanges[i].to_ns;
	}
	tr->nlast = merge(tr->spans, tr->n, LH_SPANS_MAX);
	tr->last_begin_ns = tr->begin_ns;
	memcpy(tr->last, tr->spans, tr->nlast * sizeof *tr->last);
	show(tr, ret);
	clear(tr, now_ns);
	tr->shown = tr->shown_every && epoch % tr->shown_every == 0;
}

void lh_trace_shorten(struct lh_trace *tr, struct lh_spans *s, uint32_t most)
{
	if (!tr)
		return;
	tr->nlast = merge(tr->last, tr->nlast, most);
	show(tr, s);
}
