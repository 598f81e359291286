#include "match.h"

static const unsigned NOBODY = ~0u;

/* Of those without a group, `but` not counted, who began first; of several, the lowest rank. n: there is none. */
static unsigned first_of(const lh_ns *search_ns, unsigned n, const struct lh_match *m, unsigned but)
{
	unsigned best = n;
	for (unsigned i = 0; i < n; i++)
		if (m[i].leader == NOBODY && i != but && (best == n || search_ns[i] < search_ns[best]))
			best = i;
	return best;
}

/* When the leader's time is up for the last time: it goes on by whole windows until somebody else looks, too. */
static lh_ns close_of(const lh_ns *search_ns, unsigned leader, unsigned next, unsigned n, lh_ns window_ns)
{
	lh_ns after = next < n ? search_ns[next] - search_ns[leader] : 0;
	lh_ns windows = after > window_ns ? (after + window_ns - 1) / window_ns : 1;
	return search_ns[leader] + windows * window_ns;
}

unsigned lh_match(const lh_ns *search_ns, unsigned n, lh_ns window_ns, struct lh_match *ret)
{
	unsigned groups = 0;
	for (unsigned i = 0; i < n; i++)
		ret[i] = (struct lh_match){ .leader = NOBODY };
	for (unsigned leader; (leader = first_of(search_ns, n, ret, n)) < n; groups++) {
		lh_ns close = close_of(search_ns, leader, first_of(search_ns, n, ret, leader), n, window_ns);
		for (unsigned i = 0; i < n; i++)
			if (ret[i].leader == NOBODY && (i == leader || search_ns[i] <= close))
				ret[i] = (struct lh_match){ leader, close };
	}
	return groups;
}
