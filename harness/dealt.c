/* dealt.c - was each sample of an epoch counted once? From the ranges of ids that the peers told. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "metrics.h"

struct range { uint64_t first, end; };

struct ranges {
	struct range *list;
	size_t n, room;
};

static int add(struct ranges *r, uint64_t first, uint64_t count, struct lh_err *err)
{
	if (r->n == r->room) {
		size_t more = r->room ? 2 * r->room : 64;
		struct range *list = realloc(r->list, more * sizeof *list);
		if (!list)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "the samples of an epoch");
		r->list = list;
		r->room = more;
	}
	r->list[r->n++] = (struct range){ first, first + count };
	return 0;
}

static bool number(const char **p, uint64_t *ret)
{
	uint64_t n = 0;
	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(**p - '0'), &n))
			return false;
	*ret = n;
	return true;
}

/* "0+32,48+16": *sum samples more. 1: it is not that. */
static int parse(const char *text, uint64_t *sum, struct ranges *r, struct lh_err *err)
{
	uint64_t first, count, end;

	for (const char *p = text; *p; p += *p == ',') {
		if (!number(&p, &first) || *p++ != '+' || !number(&p, &count) || (*p && *p != ','))
			return 1;
		if (__builtin_add_overflow(first, count, &end) || __builtin_add_overflow(*sum, count, sum))
			return 1;
		int rc = add(r, first, count, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* All that a peer told of one epoch. 1: that is not as many as it had. */
static int parse_all(const struct lh_series *s, const struct lh_event *e, struct ranges *r, struct lh_err *err)
{
	uint64_t sum = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->nmore; i++)
		if (s->more[i].rank == e->rank && s->more[i].epoch == e->epoch)
			rc = parse(s->more[i].text, &sum, r, err);
	if (rc == 0)
		rc = parse(e->ranges, &sum, r, err);
	return rc ? rc : sum != e->samples;
}

static int by_first(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

static enum lh_dealt judge(const struct ranges *r, uint64_t first, uint64_t count, uint64_t *ret_left)
{
	uint64_t at = first, left = 0;

	for (size_t i = 0; i < r->n; i++) {
		if (r->list[i].first < first || r->list[i].end > first + count)
			return LH_DEALT_STRANGE;
		if (r->list[i].first < at)
			return LH_DEALT_TWICE;
		left += r->list[i].first - at;
		at = r->list[i].end;
	}
	*ret_left = left + (first + count - at);
	return LH_DEALT_ONCE;
}

enum lh_dealt lh_metrics_dealt(const struct lh_series *s, uint32_t epoch, uint64_t target_batch,
			       uint64_t *ret_unreported, struct lh_err *err)
{
	struct ranges r = { 0 };
	uint64_t left = 0;
	bool whole = true;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < s->npeers; i++) {
		const struct lh_event *e = lh_series_at(s, epoch, i);
		if (!e)
			continue;
		rc = parse_all(s, e, &r, err);
		whole &= !e->total_samples || e->total_samples == target_batch;
	}
	if (rc != 0) {
		free(r.list);
		return rc < 0 ? (enum lh_dealt)rc : LH_DEALT_NOT_TOLD;
	}
	if (r.n)
		qsort(r.list, r.n, sizeof *r.list, by_first);
	enum lh_dealt d = judge(&r, (uint64_t)(epoch - 1) * target_batch, target_batch, &left);
	free(r.list);
	if (d == LH_DEALT_ONCE && !whole)
		d = LH_DEALT_TOO_FEW;
	if (d == LH_DEALT_ONCE && left && !lh_series_lost_one(s, epoch))
		d = LH_DEALT_TOO_FEW;
	if (d == LH_DEALT_ONCE)
		*ret_unreported = left;
	return d;
}
