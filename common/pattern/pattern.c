#include "pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- groups ---- */

/* Sites get numbers in order of appearance. Peers of a site mostly follow each other, so the search is short. */
static void number_sites(struct lh_group *g, const uint32_t *site, uint32_t *names)
{
	unsigned s = 0;
	for (unsigned r = 0; r < g->npeers; r++) {
		uint32_t name = site ? site[r] : 0;
		if (!g->nsites || names[s] != name)
			for (s = 0; s < g->nsites && names[s] != name; s++)
				;
		if (s == g->nsites)
			names[g->nsites++] = name;
		g->site[r] = s;
		g->first[s + 1]++;
	}
	for (s = 0; s < g->nsites; s++)
		g->first[s + 1] += g->first[s];
}

int lh_group_init(struct lh_group *ret, unsigned npeers, const uint32_t *site, const uint32_t *share,
		  struct lh_err *err)
{
	struct lh_group g = {
		.npeers = npeers,
		.site = calloc(npeers, sizeof *g.site), .members = calloc(npeers, sizeof *g.members),
		.first = calloc((size_t)npeers + 1, sizeof *g.first),
		.shares = calloc((size_t)npeers + 1, sizeof *g.shares),
	};
	uint32_t *scratch = calloc(npeers, sizeof *scratch);
	if (!g.site || !g.members || !g.first || !g.shares || !scratch) {
		free(scratch);
		lh_group_done(&g);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "group of %u peers", npeers);
	}
	number_sites(&g, site, scratch);
	memset(scratch, 0, npeers * sizeof *scratch); /* now: members that a site has already */
	bool equal = true;
	for (unsigned r = 0; r < npeers; r++) {
		g.members[g.first[g.site[r]] + scratch[g.site[r]]++] = r;
		g.shares[r + 1] = g.shares[r] + (share ? share[r] : 0);
		equal &= !share || share[r] == share[0];
	}
	free(scratch);
	if (equal) {
		free(g.shares);
		g.shares = NULL;
	}
	*ret = g;
	return 0;
}

void lh_group_done(struct lh_group *g)
{
	free(g->site);
	free(g->members);
	free(g->first);
	free(g->shares);
	*g = (struct lh_group){ 0 };
}

int lh_group_of(const struct lh_peer_config *c, struct lh_group *ret, struct lh_err *err)
{
	uint32_t *numbers = calloc(2 * (size_t)c->size, sizeof *numbers);
	if (!numbers)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "group of %u peers", c->size);
	for (unsigned i = 0; i < c->size; i++) {
		numbers[i] = c->peers[i].site;
		numbers[c->size + i] = c->peers[i].share;
	}
	int rc = lh_group_init(ret, c->size, numbers, numbers + c->size, err);
	free(numbers);
	if (!rc)
		ret->trees = c->trees.n ? &c->trees : NULL;
	return rc;
}

/* ---- tables ---- */

const struct lh_pattern *lh_pattern_find(enum lh_algorithm a)
{
	static const struct lh_pattern *const all[] = {
		[LH_ALGORITHM_BUTTERFLY] = &lh_pattern_butterfly, [LH_ALGORITHM_RING] = &lh_pattern_ring,
		[LH_ALGORITHM_HALVING_DOUBLING] = &lh_pattern_halving_doubling,
		[LH_ALGORITHM_TWO_LEVEL] = &lh_pattern_two_level, [LH_ALGORITHM_CENTRAL] = &lh_pattern_central,
		[LH_ALGORITHM_WEIGHTED_BUTTERFLY] = &lh_pattern_weighted_butterfly,
		[LH_ALGORITHM_PACKED_TREES] = &lh_pattern_packed_trees,
	};
	return all[a];
}

struct lh_block lh_block_equal(uint64_t n, unsigned blocks, unsigned b)
{
	uint64_t base = n / blocks, longer = n % blocks;
	return (struct lh_block){
		.offset = b * base + (b < longer ? b : longer),
		.length = base + (b < longer),
	};
}

struct list {
	struct lh_transfer *at;
	size_t n, cap;
};

static void add(struct list *l, struct lh_transfer t)
{
	if (l->n < l->cap)
		l->at[l->n] = t;
	l->n++;
}

size_t lh_pattern_transfers(const struct lh_pattern *p, const struct lh_group *g, unsigned rank,
			    struct lh_transfer *ret, size_t cap)
{
	struct list l = { .at = ret, .cap = cap };
	unsigned nblocks = p->blocks(g);
	for (unsigned b = 0; b < nblocks; b++) {
		unsigned root = p->root(g, b);
		for (unsigned r = 0; r < g->npeers; r++) {
			unsigned to = r == root ? r : p->up(g, b, r);
			if (r != root && (r == rank || to == rank))
				add(&l, (struct lh_transfer){ LH_TRANSFER_REDUCE, b, r, to });
		}
		if (rank != root)
			add(&l, (struct lh_transfer){ LH_TRANSFER_RESULT, b, p->down(g, b, rank), rank });
		for (unsigned r = 0; r < g->npeers; r++)
			if (r != root && p->down(g, b, r) == rank)
				add(&l, (struct lh_transfer){ LH_TRANSFER_RESULT, b, rank, r });
	}
	return l.n;
}

unsigned lh_pattern_places(const struct lh_pattern *p, const struct lh_group *g)
{
	unsigned most = 1, nblocks = p->blocks(g);
	for (unsigned rank = 0; rank < g->npeers; rank++) {
		unsigned places = 0;
		for (unsigned b = 0; b < nblocks; b++) {
			unsigned root = p->root(g, b), children = 0, heirs = 0;
			for (unsigned r = 0; r < g->npeers; r++) {
				children += r != root && p->up(g, b, r) == rank;
				heirs += r != root && p->down(g, b, r) == rank;
			}
			places += children + (p->relays && rank != root && heirs);
		}
		most = places > most ? places : most;
	}
	return most;
}

/* ---- length ---- */

struct walk {
	const struct lh_group *g;
	lh_ns (*one_way)(void *ctx, unsigned from, unsigned to);
	void *ctx;
	unsigned *hops, *path; /* [npeers] to the root; ranks whose hops are not known yet */
	lh_ns *cost;           /* [npeers] */
};

/* The longest way between the root and a rank in one tree; `upward`: the delay of a hop is that towards the root. */
static void measure(const struct walk *w, unsigned (*next)(const struct lh_group *, unsigned, unsigned), unsigned block,
		    unsigned root, bool upward, unsigned *ret_hops, lh_ns *ret_cost)
{
	*ret_hops = 0;
	*ret_cost = 0;
	for (unsigned r = 0; r < w->g->npeers; r++)
		w->hops[r] = r == root ? 0 : UINT32_MAX;
	w->cost[root] = 0;
	for (unsigned r = 0; r < w->g->npeers; r++) {
		unsigned n = 0, at = r;
		for (; w->hops[at] == UINT32_MAX; at = next(w->g, block, at))
			w->path[n++] = at;
		while (n) {
			unsigned here = w->path[--n], from = upward ? here : at, to = upward ? at : here;
			w->hops[here] = w->hops[at] + 1;
			w->cost[here] = w->cost[at] + (w->one_way ? w->one_way(w->ctx, from, to) : 0);
			at = here;
		}
		*ret_hops = w->hops[r] > *ret_hops ? w->hops[r] : *ret_hops;
		*ret_cost = w->cost[r] > *ret_cost ? w->cost[r] : *ret_cost;
	}
}

int lh_pattern_chain(const struct lh_pattern *p, const struct lh_group *g, uint64_t n,
		     lh_ns (*one_way)(void *ctx, unsigned from, unsigned to), void *ctx,
		     struct lh_pattern_chain *ret, struct lh_err *err)
{
	struct lh_pattern_chain c = { 0 };
	struct walk w = {
		.g = g, .one_way = one_way, .ctx = ctx, .hops = calloc(g->npeers, sizeof *w.hops),
		.path = calloc(g->npeers, sizeof *w.path), .cost = calloc(g->npeers, sizeof *w.cost),
	};
	bool fine = w.hops && w.path && w.cost;
	for (unsigned b = 0; fine && b < p->blocks(g); b++) {
		unsigned up, down;
		lh_ns cost_up, cost_down;
		if (!p->block(g, n, b).length)
			continue;
		measure(&w, p->up, b, p->root(g, b), true, &up, &cost_up);
		measure(&w, p->down, b, p->root(g, b), false, &down, &cost_down);
		c.up = up > c.up ? up : c.up;
		c.down = down > c.down ? down : c.down;
		c.trips = up + down > c.trips ? up + down : c.trips;
		c.latency_ns = cost_up + cost_down > c.latency_ns ? cost_up + cost_down : c.latency_ns;
	}
	free(w.hops);
	free(w.path);
	free(w.cost);
	if (!fine)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "pattern %s", p->name);
	*ret = c;
	return 0;
}
