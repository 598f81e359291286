/* lhtrees.h - trees drawn at random, for what must hold for any that spans: algorithm packed-trees. */
#ifndef LHTREES_H
#define LHTREES_H

#include <CUnit/CUnit.h>

#include "hash.h"
#include "longhaul/peer.h"

static inline unsigned lhtrees_draw(uint64_t *state, unsigned below)
{
	*state += LH_MIX64_STEP;
	return (unsigned)(lh_mix64(*state) % below);
}

/* Peers join in an order drawn at random, each to one that is in already. */
static inline void lhtrees_draw_tree(uint64_t *state, unsigned npeers, unsigned root, uint16_t *next)
{
	uint16_t order[LH_TREES_PEERS_MAX];
	for (unsigned i = 0; i < npeers; i++)
		order[i] = (uint16_t)((root + i) % npeers);
	for (unsigned i = 1; i < npeers; i++) {
		unsigned other = i + lhtrees_draw(state, npeers - i);
		uint16_t swap = order[i];
		order[i] = order[other];
		order[other] = swap;
		next[order[i]] = order[lhtrees_draw(state, i)];
	}
	next[root] = (uint16_t)root;
}

static inline struct lh_trees lhtrees_random(unsigned npeers, unsigned ntrees, uint64_t seed)
{
	struct lh_trees t;
	CU_ASSERT_EQUAL_FATAL(lh_trees_init(&t, ntrees, npeers, NULL), 0);
	for (unsigned b = 0; b < ntrees; b++) {
		t.weight[b] = 1 + lhtrees_draw(&seed, 1000);
		t.root[b] = (uint16_t)lhtrees_draw(&seed, npeers);
		lhtrees_draw_tree(&seed, npeers, t.root[b], t.up + (size_t)b * npeers);
		lhtrees_draw_tree(&seed, npeers, t.root[b], t.down + (size_t)b * npeers);
	}
	CU_ASSERT_EQUAL_FATAL(lh_trees_check(&t, NULL), 0);
	return t;
}

#endif
