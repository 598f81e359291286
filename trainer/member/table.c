#include "table.h"

#include <string.h>

#include "sync/deal.h"

/* Shares of `count` samples for each of `members`, by rank; the firsts count from 0. */
static void share_out(uint64_t count, uint64_t members, const double *weights, struct lh_share *ret)
{
	double dense[LH_MEMBER_CAP];
	struct lh_share shares[LH_MEMBER_CAP];
	unsigned n = 0;
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		if (members >> i & 1)
			dense[n++] = weights[i];
	if (n)
		lh_deal(count, 1, dense, n, shares);
	n = 0;
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		ret[i] = members >> i & 1 ? shares[n++] : (struct lh_share){ 0 };
}

void lh_table_deal(struct lh_table *t, uint64_t batch, uint64_t first, uint64_t members, const double *weights)
{
	struct lh_share shares[LH_MEMBER_CAP];
	memset(t, 0, sizeof *t);
	share_out(batch, members, weights, shares);
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		if (shares[i].count)
			t->range[t->n++] = (struct lh_member_range){ first + shares[i].first, shares[i].count, i };
}

/* The whole of a range to whoever has least for its weight: what is done when the table would get too long. */
static unsigned idlest(const struct lh_table *t, uint64_t members, const double *weights)
{
	unsigned best = 0;
	double least = -1;
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++) {
		if (!(members >> i & 1))
			continue;
		double load = (double)lh_table_samples(t, i) / weights[i];
		if (least < 0 || load < least) {
			least = load;
			best = i;
		}
	}
	return best;
}

/* Take the ranges of those that are gone out of the table; the others move up and keep their order. */
static void take_out(struct lh_table *t, uint64_t members, struct lh_table *ret_lost)
{
	uint64_t kept = 0;
	memset(ret_lost, 0, sizeof *ret_lost);
	for (uint64_t i = 0; i < t->n; i++) {
		if (members >> t->range[i].owner & 1)
			t->range[kept++] = t->range[i];
		else
			ret_lost->range[ret_lost->n++] = t->range[i];
	}
	memset(&t->range[kept], 0, (t->n - kept) * sizeof *t->range);
	t->n = kept;
}

uint64_t lh_table_redeal(struct lh_table *t, uint64_t members, const double *weights)
{
	struct lh_share shares[LH_MEMBER_CAP];
	struct lh_table lost;
	uint64_t total = 0;
	unsigned owner = 0;
	take_out(t, members, &lost);
	for (uint64_t i = 0; i < lost.n; i++)
		total += lost.range[i].count;
	if (!total || !members)
		return total;
	/* Cutting n ranges for m members makes at most n + m - 1 pieces. */
	if (t->n + lost.n + LH_MEMBER_CAP > LH_MEMBER_RANGES) {
		for (uint64_t i = 0; i < lost.n; i++) {
			lost.range[i].owner = idlest(t, members, weights);
			t->range[t->n++] = lost.range[i];
		}
		return total;
	}
	share_out(total, members, weights, shares);
	for (uint64_t i = 0; i < lost.n; i++)
		for (struct lh_member_range r = lost.range[i]; r.count;) {
			while (!shares[owner].count)
				owner++;
			uint64_t n = r.count < shares[owner].count ? r.count : shares[owner].count;
			t->range[t->n++] = (struct lh_member_range){ r.first, n, owner };
			shares[owner].count -= n;
			r.first += n;
			r.count -= n;
		}
	return total;
}

bool lh_table_is_whole(const struct lh_table *t, uint64_t batch, uint64_t first, uint64_t members)
{
	uint64_t total = 0;
	if (t->n > LH_MEMBER_RANGES)
		return false;
	for (uint64_t i = 0; i < t->n; i++) {
		const struct lh_member_range *r = &t->range[i];
		if (r->owner >= LH_MEMBER_CAP || !(members >> r->owner & 1) || !r->count || r->count > batch ||
		    r->first < first || r->first - first > batch - r->count)
			return false;
		for (uint64_t k = 0; k < i; k++)
			if (r->first < t->range[k].first + t->range[k].count &&
			    t->range[k].first < r->first + r->count)
				return false;
		total += r->count;
	}
	return total == batch;
}

uint64_t lh_table_samples(const struct lh_table *t, unsigned rank)
{
	uint64_t n = 0;
	for (uint64_t i = 0; i < t->n; i++)
		if (t->range[i].owner == rank)
			n += t->range[i].count;
	return n;
}

uint64_t lh_table_sample_of(const struct lh_table *t, unsigned rank, uint64_t at, uint32_t rounds, uint64_t batch,
			    uint64_t *ret_run, uint32_t *ret_round)
{
	*ret_run = 0;
	*ret_round = 0;
	for (uint64_t i = 0; i < t->n; i++) {
		const struct lh_member_range *r = &t->range[i];
		if (r->owner != rank)
			continue;
		if (at < r->count * rounds) {
			*ret_run = r->count - at % r->count;
			*ret_round = (uint32_t)(at / r->count);
			return r->first + *ret_round * batch + at % r->count;
		}
		at -= r->count * rounds;
	}
	return 0;
}

uint64_t lh_table_sample(const struct lh_table *t, unsigned rank, uint64_t at, uint64_t *ret_run)
{
	uint32_t round;
	return lh_table_sample_of(t, rank, at, 1, 0, ret_run, &round);
}
