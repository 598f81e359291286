/* Two levels: each block has one holder at every site. The holders gather it inside their sites, exchange it as a
 * butterfly between the sites, and spread the result inside. With R sites of n peers each, a peer sends 2 (n - 1) / n
 * of the vector to its own site and 2 (R - 1) / R / n to others: all peers of a site share its traffic with the rest
 * of the world, and that is n times less than a flat butterfly's.
 *
 * Every site is the root of as many blocks as a site has peers on average, and the holder of block b is its member
 * number b, counted round: where all sites are equally large, N blocks, as above. One site is a flat butterfly, as are
 * N sites.
 */
#include "pattern.h"

static unsigned blocks_a_site(const struct lh_group *g)
{
	return g->npeers / g->nsites;
}

static unsigned blocks(const struct lh_group *g)
{
	return blocks_a_site(g) * g->nsites;
}

static struct lh_block block(const struct lh_group *g, uint64_t n, unsigned b)
{
	return lh_block_equal(n, blocks(g), b);
}

static unsigned holder(const struct lh_group *g, unsigned site, unsigned b)
{
	return g->members[g->first[site] + b % (g->first[site + 1] - g->first[site])];
}

static unsigned root(const struct lh_group *g, unsigned b)
{
	return holder(g, b / blocks_a_site(g), b);
}

static unsigned to_root(const struct lh_group *g, unsigned b, unsigned rank)
{
	unsigned here = holder(g, g->site[rank], b);
	return rank == here ? root(g, b) : here;
}

const struct lh_pattern lh_pattern_two_level = {
	.name = "two-level", .relays = true, .blocks = blocks, .block = block, .root = root, .up = to_root,
	.down = to_root,
};
