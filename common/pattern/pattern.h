/* pattern.h - who sends which block to whom, and nothing else: no sockets, no numbers, no time.
 *
 * A pattern cuts a vector of n elements into blocks. Each block has two trees over all peers with the same root: up
 * the first one go partial sums (a peer adds what its children there sent to its own and passes that on), down the
 * second one goes the finished sum, which the root makes. Nothing else is needed to describe an all-reduce whose
 * sums are made once: what the classical tables call steps follows from "a peer sends when it has all it needs",
 * and parts of a block stream through the trees one behind the other.
 *
 * Every peer derives the same trees from (group, n) alone. One pattern is one file; trainer/comm/allreduce.c runs
 * them, the harness asks for their length (lh_pattern_chain).
 */
#ifndef COMMON_PATTERN_PATTERN_H
#define COMMON_PATTERN_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"
#include "longhaul/peer.h"
#include "longhaul/units.h"

/* What a pattern may know of the peers: how many, which are at the same site, how much of the sum each is to make. */
struct lh_group {
	unsigned npeers, nsites;
	unsigned *site;    /* [npeers] 0 ... nsites - 1, in order of first appearance */
	unsigned *members; /* [npeers] ranks, by site, then by rank */
	unsigned *first;   /* [nsites + 1] where a site begins in `members` */
	uint64_t *shares;  /* [npeers + 1] sum of the shares of all ranks below; NULL: equal shares */
	const struct lh_trees *trees; /* packed-trees; NULL: none; not the group's own */
};

/* site: any numbers, equal at the same site; NULL: all at one. share: weights; NULL, or all 0: equal. */
int lh_group_init(struct lh_group *g, unsigned npeers, const uint32_t *site, const uint32_t *share,
		  struct lh_err *err);
void lh_group_done(struct lh_group *g);
/* The group that a configuration describes; it points into the configuration. */
int lh_group_of(const struct lh_peer_config *c, struct lh_group *ret, struct lh_err *err);

struct lh_block {
	uint64_t offset, length; /* elements */
};

struct lh_pattern {
	const char *name;
	bool relays; /* a result may reach a peer through another one than the root */
	unsigned (*blocks)(const struct lh_group *g);                              /* 1 ... npeers; packed trees: ... LH_TREES_MAX */
	struct lh_block (*block)(const struct lh_group *g, uint64_t n, unsigned block);
	unsigned (*root)(const struct lh_group *g, unsigned block);
	/* For a rank that is not the root: who gets its partial sum, and who gives it the result. */
	unsigned (*up)(const struct lh_group *g, unsigned block, unsigned rank);
	unsigned (*down)(const struct lh_group *g, unsigned block, unsigned rank);
};

extern const struct lh_pattern lh_pattern_butterfly, lh_pattern_ring, lh_pattern_halving_doubling,
	lh_pattern_two_level, lh_pattern_central, lh_pattern_weighted_butterfly, lh_pattern_packed_trees;

const struct lh_pattern *lh_pattern_find(enum lh_algorithm a);

/* ---- the same as a list ---- */

enum lh_transfer_kind { LH_TRANSFER_REDUCE, LH_TRANSFER_RESULT };

struct lh_transfer {
	enum lh_transfer_kind kind;
	unsigned block, from, to;
};

/* The transfers in which `rank` takes part, by block, then kind, then sender. Writes at most `cap` of them and
 * returns how many there are. Transfers of empty blocks are listed too; nothing is sent for them. */
size_t lh_pattern_transfers(const struct lh_pattern *p, const struct lh_group *g, unsigned rank,
			    struct lh_transfer *ret, size_t cap);

/* The most neighbours' parts that any one peer holds at a time, for each part that may be under way in a block: one for
 * each child in each block, and one for each block whose result it passes on. At least 1. */
unsigned lh_pattern_places(const struct lh_pattern *p, const struct lh_group *g);

/* ---- how long it takes at least ---- */

struct lh_pattern_chain {
	unsigned up, down; /* longest chain of transfers that wait for each other, up and down a tree of one block */
	unsigned trips;    /* up + down of the block where that is most */
	lh_ns latency_ns;  /* most one-way delay along such a chain, over all blocks */
};

/* one_way: delay of one transfer; NULL: none. Blocks without elements do not count. */
int lh_pattern_chain(const struct lh_pattern *p, const struct lh_group *g, uint64_t n,
		     lh_ns (*one_way)(void *ctx, unsigned from, unsigned to), void *ctx,
		     struct lh_pattern_chain *ret, struct lh_err *err);

/* For patterns: block b of `blocks`, lengths that differ by one at most, longer ones first. */
struct lh_block lh_block_equal(uint64_t n, unsigned blocks, unsigned b);

#endif
