/* Ring: peer r sends to r + 1 only. The partial sum of block b starts at b + 1 and comes home after N - 1 hops; the
 * result goes round once more. 2 (N - 1) / N of the vector a peer, all of it over one path, 2 (N - 1) trips.
 */
#include "pattern.h"

static unsigned blocks(const struct lh_group *g)
{
	return g->npeers;
}

static struct lh_block block(const struct lh_group *g, uint64_t n, unsigned b)
{
	return lh_block_equal(n, g->npeers, b);
}

static unsigned owner(const struct lh_group *g, unsigned b)
{
	return b;
}

static unsigned next(const struct lh_group *g, unsigned b, unsigned rank)
{
	return (rank + 1) % g->npeers;
}

static unsigned previous(const struct lh_group *g, unsigned b, unsigned rank)
{
	return (rank + g->npeers - 1) % g->npeers;
}

const struct lh_pattern lh_pattern_ring = {
	.name = "ring", .relays = true, .blocks = blocks, .block = block, .root = owner, .up = next, .down = previous,
};
