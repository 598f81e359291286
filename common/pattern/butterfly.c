/* Flat butterfly: as many blocks as peers, peer b owns block b. Everybody sends its part of block b to the owner,
 * directly; the owner sends the result to everybody. With share f of the vector a peer sends 1 + (N - 2) f of it:
 * 2 (N - 1) / N with equal shares; over the path that joins the two peers in question.
 */
#include "pattern.h"

static unsigned blocks(const struct lh_group *g)
{
	return g->npeers;
}

static uint64_t below(const struct lh_group *g, uint64_t n, unsigned b)
{
	return (uint64_t)((unsigned __int128)n * g->shares[b] / g->shares[g->npeers]);
}

static struct lh_block block(const struct lh_group *g, uint64_t n, unsigned b)
{
	if (!g->shares)
		return lh_block_equal(n, g->npeers, b);
	uint64_t from = below(g, n, b);
	return (struct lh_block){ .offset = from, .length = below(g, n, b + 1) - from };
}

static unsigned owner(const struct lh_group *g, unsigned b)
{
	return b;
}

static unsigned to_owner(const struct lh_group *g, unsigned b, unsigned rank)
{
	return b;
}

const struct lh_pattern lh_pattern_butterfly = {
	.name = "butterfly", .blocks = blocks, .block = block, .root = owner, .up = to_owner, .down = to_owner,
};

const struct lh_pattern lh_pattern_weighted_butterfly = {
	.name = "weighted-butterfly", .blocks = blocks, .block = block, .root = owner, .up = to_owner, .down = to_owner,
};
