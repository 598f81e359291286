/* trace.c - see trace.h.
 *
 * Times that are given from outside (a round's begin, the share's end, the commit) are CLOCK_MONOTONIC. In between the
 * CPU's own counter divides the time, where it runs at a constant rate: reading the clock takes 6 us inside User-Mode
 * Linux, where it is a system call, and an exchange changes its state thousands of times. Ticks become nanoseconds at the
 * next such instant, so sums are exact whatever the counter's rate is.
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
#ifdef __x86_64__
#include <cpuid.h>
#include <x86intrin.h>
#endif

enum { KEPT = 4 * LH_SPANS_MAX, ANCHORS = 8 };
/* What nobody can see on a screen: at most so long, or a 16th of it beside something longer. */
#define FINEST_NS (32 * LH_NS_PER_US)

struct kept {
	uint64_t from, to;         /* ticks; so are the next */
	uint64_t kinds[LH_SPAN_KINDS];
	uint32_t merged;
};

struct anchor { /* one instant on both clocks */
	uint64_t tick;
	lh_ns ns;
};

struct exchange {
	uint32_t number;
	lh_ns from_ns, to_ns;
};

struct lh_trace {
	unsigned rank;
	uint32_t shown_every;
	bool counts;               /* ticks are the CPU's, not nanoseconds */
	double ticks_per_ns;       /* roughly */
	enum lh_span_kind kind;    /* now */
	uint64_t since;            /* of this state */
	uint64_t ticks[LH_SPAN_KINDS]; /* since the last anchor */
	struct anchor anchors[ANCHORS]; /* of this round; the first is its begin */
	unsigned nanchors;
	lh_ns total_ns[LH_SPAN_KINDS], share_ns[LH_SPAN_KINDS]; /* of the round; until the share was done */
	struct exchange exchanges[LH_SPANS_EXCHANGES_MAX];
	uint32_t nexchanges;
	bool shown;                /* this round's single spans are kept */
	uint32_t n, nlast;         /* spans of this round; of the last one, for lh_trace_shorten */
	struct kept spans[KEPT], last[LH_SPANS_MAX];
	struct anchor last_anchors[ANCHORS];
	unsigned nlast_anchors;
};

/* ---- clocks ---- */

/* Does the CPU have a counter that neither stops nor changes its rate? */
static bool has_counter(void)
{
#ifdef __x86_64__
	unsigned a, b, c, d = 0;
	return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1u << 8;
#else
	return false;
#endif
}

static uint64_t tick(const struct lh_trace *tr)
{
#ifdef __x86_64__
	if (tr->counts)
		return __rdtsc();
#endif
	return (uint64_t)lh_clock_ns();
}

static lh_ns to_ns(const struct anchor *a, unsigned n, uint64_t at)
{
	unsigned i = 1;
	while (i + 1 < n && a[i].tick < at)
		i++;
	if (n < 2 || at <= a[i - 1].tick)
		return a[n < 2 ? 0 : i - 1].ns;
	if (at >= a[i].tick)
		return a[i].ns;
	return a[i - 1].ns + (lh_ns)((double)(at - a[i - 1].tick) / (double)(a[i].tick - a[i - 1].tick) *
				     (double)(a[i].ns - a[i - 1].ns));
}

int lh_trace_new(unsigned rank, uint32_t shown_every, struct lh_trace **ret, struct lh_err *err)
{
	struct lh_trace *tr = calloc(1, sizeof *tr);
	if (!tr)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "trace");
	tr->rank = rank;
	tr->shown_every = shown_every;
	tr->shown = shown_every > 0;
	tr->counts = has_counter();
	tr->ticks_per_ns = tr->counts ? 2.5 : 1;
	tr->since = tick(tr);
	tr->anchors[tr->nanchors++] = (struct anchor){ tr->since, lh_clock_ns() };
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
		if (s->kinds[k] > s->kinds[best])
			best = k;
	return (enum lh_span_kind)best;
}

static bool belong_together(const struct kept *a, const struct kept *b, uint64_t resolution)
{
	uint64_t la = a->to - a->from, lb = b->to - b->from, shorter = la < lb ? la : lb;
	return la + lb <= resolution || shorter <= resolution / 16 || most_of(a) == most_of(b);
}

/* One pass; it stops when `most` are left. */
static uint32_t merge_pass(struct kept *spans, uint32_t n, uint32_t most, uint64_t resolution)
{
	uint32_t out = 0;
	for (uint32_t i = 1; i < n; i++) {
		struct kept *a = &spans[out];
		if (n - i + out + 1 <= most || !belong_together(a, &spans[i], resolution)) {
			spans[++out] = spans[i];
			continue;
		}
		a->to = spans[i].to;
		a->merged += spans[i].merged;
		for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
			a->kinds[k] += spans[i].kinds[k];
	}
	return n ? out + 1 : 0;
}

static uint32_t merge(const struct lh_trace *tr, struct kept *spans, uint32_t n, uint32_t most)
{
	uint64_t finest = (uint64_t)((double)FINEST_NS * tr->ticks_per_ns);
	n = merge_pass(spans, n, 1, finest);
	for (uint64_t resolution = 2 * finest; n > most; resolution *= 2)
		n = merge_pass(spans, n, most, resolution);
	return n;
}

/* ---- states ---- */

/* What was until now goes into the sums and the list. */
static void close_span(struct lh_trace *tr, uint64_t now)
{
	if (now <= tr->since)
		return;
	struct kept next = { .from = tr->since, .to = now, .merged = 1 };
	uint64_t spent = now - tr->since;
	tr->ticks[tr->kind] += spent;
	tr->since = now;
	if (!tr->shown)
		return;
	struct kept *last = tr->n ? &tr->spans[tr->n - 1] : NULL;
	if (last && last->merged == 1 && last->kinds[tr->kind]) { /* the same went on */
		last->to = now;
		last->kinds[tr->kind] += spent;
		return;
	}
	if (tr->n == KEPT)
		tr->n = merge(tr, tr->spans, tr->n, KEPT / 2);
	next.kinds[tr->kind] = spent;
	tr->spans[tr->n++] = next;
}

/* What the counter said at now_ns, which was read a moment ago. */
static uint64_t tick_of(const struct lh_trace *tr, lh_ns now_ns)
{
	uint64_t now = tick(tr);
	double since = (double)(lh_clock_ns() - now_ns) * tr->ticks_per_ns;
	return since > 0 && since < (double)now ? now - (uint64_t)since : now;
}

/* It is now_ns: what the ticks since the last such instant were in nanoseconds, without a rest. */
static void set_anchor(struct lh_trace *tr, lh_ns now_ns)
{
	const struct anchor before = tr->anchors[tr->nanchors - 1];
	close_span(tr, tick_of(tr, now_ns));
	lh_ns left = now_ns > before.ns ? now_ns - before.ns : 0, all = left;
	double ticks = (double)(tr->since - before.tick);
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++) {
		lh_ns ns = ticks > 0 ? (lh_ns)((double)tr->ticks[k] / ticks * (double)all) : 0;
		ns = ns < left ? ns : left;
		tr->total_ns[k] += ns;
		left -= ns;
		tr->ticks[k] = 0;
	}
	tr->total_ns[tr->kind] += left;
	if (tr->nanchors < ANCHORS)
		tr->nanchors++;
	tr->anchors[tr->nanchors - 1] = (struct anchor){ tr->since, before.ns + all };
}

enum lh_span_kind lh_trace_enter(struct lh_trace *tr, enum lh_span_kind kind)
{
	if (!tr || tr->kind == kind)
		return kind;
	enum lh_span_kind was = tr->kind;
	close_span(tr, tick(tr));
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

/* The last anchor is the begin of what comes. */
static void clear(struct lh_trace *tr)
{
	uint32_t going_on = 0;
	memset(tr->total_ns, 0, sizeof tr->total_ns);
	memset(tr->share_ns, 0, sizeof tr->share_ns);
	tr->anchors[0] = tr->anchors[tr->nanchors - 1];
	tr->nanchors = 1;
	tr->n = 0;
	for (uint32_t i = 0; i < tr->nexchanges; i++)
		if (!tr->exchanges[i].to_ns)
			tr->exchanges[going_on++] = tr->exchanges[i];
	tr->nexchanges = going_on;
}

/* From the first to the last anchor of a round. */
static void learn_rate(struct lh_trace *tr)
{
	const struct anchor *a = &tr->anchors[0], *b = &tr->anchors[tr->nanchors - 1];
	if (b->ns - a->ns > LH_NS_PER_MS && b->tick > a->tick)
		tr->ticks_per_ns = (double)(b->tick - a->tick) / (double)(b->ns - a->ns);
}

void lh_trace_begin(struct lh_trace *tr, lh_ns now_ns)
{
	if (!tr)
		return;
	set_anchor(tr, now_ns);
	learn_rate(tr);
	clear(tr);
}

void lh_trace_share_done(struct lh_trace *tr, lh_ns now_ns)
{
	if (!tr)
		return;
	set_anchor(tr, now_ns);
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
	const struct anchor *a = tr->last_anchors;
	s->nspans = tr->nlast;
	for (uint32_t i = 0; i < tr->nlast; i++) {
		const struct kept *p = &tr->last[i];
		s->spans[i] = (struct lh_span){
			.kind = most_of(p), .from_us = (uint64_t)(to_ns(a, tr->nlast_anchors, p->from) - a[0].ns) / 1000,
			.to_us = (uint64_t)(to_ns(a, tr->nlast_anchors, p->to) - a[0].ns) / 1000,
			.merged = p->merged,
		};
	}
}

/* What a line of the last round is made from. */
static void keep_last(struct lh_trace *tr)
{
	tr->nlast = merge(tr, tr->spans, tr->n, LH_SPANS_MAX);
	memcpy(tr->last, tr->spans, tr->nlast * sizeof *tr->last);
	memcpy(tr->last_anchors, tr->anchors, sizeof tr->last_anchors);
	tr->nlast_anchors = tr->nanchors;
}

void lh_trace_round(struct lh_trace *tr, uint32_t epoch, lh_ns now_ns, struct lh_spans *ret)
{
	*ret = (struct lh_spans){ .epoch = epoch };
	if (!tr)
		return;
	set_anchor(tr, now_ns);
	ret->rank = tr->rank;
	ret->begin_ns = tr->anchors[0].ns;
	ret->end_ns = tr->anchors[tr->nanchors - 1].ns;
	memcpy(ret->total_ns, tr->total_ns, sizeof ret->total_ns);
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		ret->comm_ns[k] = tr->total_ns[k] - tr->share_ns[k];
	ret->nexchanges = tr->nexchanges;
	for (uint32_t i = 0; i < tr->nexchanges; i++) {
		ret->exchanges[i].number = tr->exchanges[i].number;
		ret->exchanges[i].from_ns = tr->exchanges[i].from_ns;
		ret->exchanges[i].to_ns = tr->exchanges[i].to_ns;
	}
	keep_last(tr);
	show(tr, ret);
	learn_rate(tr);
	clear(tr);
	tr->shown = tr->shown_every && epoch % tr->shown_every == 0;
}

void lh_trace_shorten(struct lh_trace *tr, struct lh_spans *s, uint32_t most)
{
	if (!tr)
		return;
	tr->nlast = merge(tr, tr->last, tr->nlast, most);
	show(tr, s);
}
