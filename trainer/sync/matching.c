#include "matching.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "comm/subset.h"
#include "match.h"

enum { SINCE_LOW, SINCE_HIGH, SAMPLES_LOW, SAMPLES_HIGH, PLACES };

#define LOW_END 4096u /* a number travels as two floats, exact to 2^36 */

struct lh_matching {
	struct lh_worker *w;
	struct lh_transport *port;
	struct lh_subset *subset;   /* NULL until a round is split */
	struct lh_match *of, *was;  /* [size] by rank: of this round, and what the exchange is made for */
	lh_ns *search_ns;           /* [size] as the last report has it */
	uint64_t *samples;          /* [size] */
	unsigned *ranks;            /* [size] scratch: the own group, ascending */
	unsigned groups, n;         /* n: of the own one */
	lh_ns since_ns;             /* this peer looks; 0: not yet */
	uint64_t split;
	bool known, settled;
};

unsigned lh_matching_fields(unsigned npeers)
{
	return PLACES * npeers;
}

int lh_matching_new(struct lh_worker *w, struct lh_transport *port, struct lh_matching **ret, struct lh_err *err)
{
	const unsigned n = w->c->size;
	struct lh_matching *m = calloc(1, sizeof *m);
	if (m) {
		*m = (struct lh_matching){ .w = w, .port = port, .groups = 1, .n = n };
		m->of = calloc(n, sizeof *m->of);
		m->was = calloc(n, sizeof *m->was); /* all led by 0: one group */
		m->search_ns = calloc(n, sizeof *m->search_ns);
		m->samples = calloc(n, sizeof *m->samples);
		m->ranks = calloc(n, sizeof *m->ranks);
	}
	if (!m || !m->of || !m->was || !m->search_ns || !m->samples || !m->ranks) {
		lh_matching_free(m);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "groups");
	}
	*ret = m;
	return 0;
}

void lh_matching_round(struct lh_matching *m)
{
	m->since_ns = 0;
	m->known = m->settled = false;
}

void lh_matching_search(struct lh_matching *m, lh_ns now_ns)
{
	if (!m->since_ns)
		m->since_ns = now_ns > 0 ? now_ns : 1;
}

/* ---- reports ---- */

static void put(uint64_t v, float *low)
{
	low[0] = (float)(v % LOW_END);
	low[1] = (float)(v / LOW_END);
}

static uint64_t taken(const float *low)
{
	return (uint64_t)low[0] + (uint64_t)low[1] * LOW_END;
}

/* Times in ms, and one more, so that 0 says that it does not look. Peers have one clock, as machines with NTP nearly
 * have. */
void lh_matching_put(const struct lh_matching *m, uint64_t samples, float *places)
{
	float *own = places + PLACES * m->w->c->rank;
	memset(places, 0, lh_matching_fields(m->w->c->size) * sizeof *places);
	put(m->since_ns ? (uint64_t)(m->since_ns / LH_NS_PER_MS) + 1 : 0, own + SINCE_LOW);
	put(samples, own + SAMPLES_LOW);
}

/* Leaders may differ though the groups are the same. */
static bool same_groups(const struct lh_match *a, const struct lh_match *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < i; j++)
			if ((a[i].leader == a[j].leader) != (b[i].leader == b[j].leader))
				return false;
	return true;
}

static int describe(struct lh_matching *m, struct lh_group *ret, struct lh_trees *ret_trees, unsigned *ret_own,
		    struct lh_err *err)
{
	const struct lh_peer_config *c = m->w->c;
	uint32_t *site = calloc(m->n, sizeof *site), *share = calloc(m->n, sizeof *share);
	int rc = site && share ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "groups");
	for (unsigned i = 0; !rc && i < m->n; i++) {
		site[i] = c->peers[m->ranks[i]].site;
		share[i] = c->peers[m->ranks[i]].share;
		*ret_own = m->ranks[i] == c->rank ? i : *ret_own;
	}
	if (!rc)
		rc = lh_group_init(ret, m->n, site, share, err);
	free(site);
	free(share);
	if (rc || !c->trees.n)
		return rc;
	rc = lh_trees_among(&c->trees, m->ranks, m->n, ret_trees, err);
	ret->trees = ret_trees;
	if (rc)
		lh_group_done(ret);
	return rc;
}

static struct lh_transport *carrier(struct lh_matching *m, struct lh_err *err)
{
	if (m->groups == 1)
		return m->port;
	if (!m->subset && lh_subset_new(m->port, m->w->c->size, &m->subset, err))
		return NULL;
	lh_subset_set(m->subset, m->ranks, m->n);
	return lh_subset_transport(m->subset);
}

/* The exchange and what checks it, for the own group from now on. */
static int regroup(struct lh_matching *m, struct lh_exchange *exchange, uint32_t begun, uint32_t stride,
		   struct lh_err *err)
{
	struct lh_worker *w = m->w;
	struct lh_pattern_chain chain = { 0 };
	struct lh_trees trees = { 0 };
	struct lh_group group;
	unsigned own = 0;
	int rc = describe(m, &group, &trees, &own, err);
	if (rc)
		return rc;
	struct lh_transport *t = carrier(m, err);
	rc = t ? lh_exchange_regroup(exchange, &group, own, t, err) : -ENOMEM;
	if (!rc && begun)
		lh_exchange_skip(exchange, begun * stride);
	if (!rc)
		rc = lh_pattern_chain(lh_pattern_find(w->c->algorithm), &group, w->ops->parameters(w->engine), NULL, NULL,
				      &chain, err);
	if (!rc && w->ops->among)
		rc = w->ops->among(w->engine, begun + 1, m->ranks, m->n, chain.up ? chain.up - 1 : 0, err);
	lh_group_done(&group);
	lh_trees_done(&trees);
	return rc;
}

static int find_groups(struct lh_matching *m, struct lh_exchange *exchange, uint32_t begun, uint32_t stride,
		       struct lh_err *err)
{
	const unsigned size = m->w->c->size, own = m->w->c->rank;
	m->groups = lh_match(m->search_ns, size, m->w->c->sync.match_floor_ns, m->of);
	m->n = 0;
	for (unsigned i = 0; i < size; i++)
		if (m->of[i].leader == m->of[own].leader)
			m->ranks[m->n++] = i;
	m->split |= m->groups > 1;
	m->known = true;
	m->settled = same_groups(m->of, m->was, size);
	memcpy(m->was, m->of, size * sizeof *m->was);
	return m->settled ? 0 : regroup(m, exchange, begun, stride, err);
}

int lh_matching_take(struct lh_matching *m, const float *places, struct lh_exchange *exchange, uint32_t begun,
		     uint32_t stride, struct lh_err *err)
{
	bool all = true;
	for (unsigned i = 0; i < m->w->c->size; i++, places += PLACES) {
		m->search_ns[i] = (lh_ns)taken(places + SINCE_LOW) * LH_NS_PER_MS;
		m->samples[i] = taken(places + SAMPLES_LOW);
		all = all && m->search_ns[i];
	}
	if (m->known)
		m->settled = true;
	else if (all)
		return find_groups(m, exchange, begun, stride, err);
	return 0;
}

/* ---- what came of it ---- */

bool lh_matching_settled(const struct lh_matching *m) { return m->settled; }
lh_ns lh_matching_close_ns(const struct lh_matching *m) { return m->of[m->w->c->rank].close_ns; }
uint64_t *lh_matching_was_split(struct lh_matching *m) { return &m->split; }

uint64_t lh_matching_samples(const struct lh_matching *m)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < m->n; i++)
		sum += m->samples[m->ranks[i]];
	return sum;
}

void lh_matching_tell(const struct lh_matching *m, struct lh_round *r)
{
	r->groups = m->groups;
	r->group = m->of[m->w->c->rank].leader;
	r->group_size = m->n;
}

void lh_matching_free(struct lh_matching *m)
{
	if (!m)
		return;
	lh_subset_free(m->subset);
	free(m->of);
	free(m->was);
	free(m->search_ns);
	free(m->samples);
	free(m->ranks);
	free(m);
}
