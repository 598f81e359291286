/* Recursive halving and doubling. Of N peers P = 2^m <= N take part as v = 0 ... P - 1, and own one block each. In
 * step k = 0 ... m - 1, v exchanges with v xor 2^k: it sends the blocks whose number has the partner's bit k, and
 * keeps the others. So the largest messages go to the nearest ranks, which are listed by site. Then the same back.
 *
 * Of one block b that is a binomial tree: v passes it on in the step of the lowest bit in which v and b differ.
 *
 * Where N is no power of two, each of the first 2 (N - P) ranks that is odd gives its whole vector to the even one
 * before it, and gets the whole result from it: twice the vector for the even one, two more trips for all.
 */
#include "pattern.h"

static unsigned power(const struct lh_group *g)
{
	unsigned p = 1;
	while (p <= g->npeers / 2)
		p *= 2;
	return p;
}

static struct lh_block block(const struct lh_group *g, uint64_t n, unsigned b)
{
	return lh_block_equal(n, power(g), b);
}

static unsigned rank_of(const struct lh_group *g, unsigned v)
{
	unsigned folded = g->npeers - power(g);
	return v < folded ? 2 * v : v + folded;
}

static unsigned owner(const struct lh_group *g, unsigned b)
{
	return rank_of(g, b);
}

static unsigned to_owner(const struct lh_group *g, unsigned b, unsigned rank)
{
	unsigned folded = g->npeers - power(g);
	if (rank < 2 * folded && rank % 2)
		return rank - 1;
	unsigned v = rank < 2 * folded ? rank / 2 : rank - folded, differ = v ^ b;
	return rank_of(g, v ^ (differ & -differ));
}

const struct lh_pattern lh_pattern_halving_doubling = {
	.name = "halving-doubling", .relays = true, .blocks = power, .block = block, .root = owner, .up = to_owner,
	.down = to_owner,
};
