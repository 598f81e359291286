/* Central reducer, the baseline: rank 0 gets everybody's vector and sends everybody the sum. A peer sends its vector
 * once, the centre N - 1 times.
 */
#include "pattern.h"

static unsigned blocks(const struct lh_group *g)
{
	return 1;
}

static struct lh_block block(const struct lh_group *g, uint64_t n, unsigned b)
{
	return (struct lh_block){ .offset = 0, .length = n };
}

static unsigned centre(const struct lh_group *g, unsigned b)
{
	return 0;
}

static unsigned to_centre(const struct lh_group *g, unsigned b, unsigned rank)
{
	return 0;
}

const struct lh_pattern lh_pattern_central = {
	.name = "central", .blocks = blocks, .block = block, .root = centre, .up = to_centre, .down = to_centre,
};
