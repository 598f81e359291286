/* Packed trees: blocks of unequal length, each with trees that were chosen for these wires (trees.h). Weighted butterfly:
 * the butterfly, named apart because its shares were chosen so. Without a plan for just this many peers (there is none, or
 * some of them have gone) packed trees are stars of equal length: the butterfly.
 */
#include <errno.h>
#include <stdlib.h>

#include "trees.h"

static const struct lh_trees *plan(const struct lh_group *g)
{
	return g->trees && g->trees->n && g->trees->npeers == g->npeers ? g->trees : NULL;
}

static unsigned blocks(const struct lh_group *g)
{
	return plan(g) ? plan(g)->n : g->npeers;
}

static struct lh_block block(const struct lh_group *g, uint64_t n, unsigned b)
{
	const struct lh_trees *t = plan(g);
	uint64_t below = 0, all = 0;
	if (!t)
		return lh_block_equal(n, g->npeers, b);
	for (unsigned i = 0; i < t->n; i++) {
		below += i < b ? t->weight[i] : 0;
		all += t->weight[i];
	}
	uint64_t from = (uint64_t)((unsigned __int128)n * below / all);
	uint64_t to = (uint64_t)((unsigned __int128)n * (below + t->weight[b]) / all);
	return (struct lh_block){ .offset = from, .length = to - from };
}

static unsigned root(const struct lh_group *g, unsigned b)
{
	return plan(g) ? plan(g)->root[b] : b;
}

static unsigned up(const struct lh_group *g, unsigned b, unsigned rank)
{
	return plan(g) ? plan(g)->up[(size_t)b * g->npeers + rank] : b;
}

static unsigned down(const struct lh_group *g, unsigned b, unsigned rank)
{
	return plan(g) ? plan(g)->down[(size_t)b * g->npeers + rank] : b;
}

const struct lh_pattern lh_pattern_packed_trees = {
	.name = "packed-trees", .relays = true, .blocks = blocks, .block = block, .root = root, .up = up, .down = down,
};

/* ---- plans ---- */

int lh_trees_init(struct lh_trees *t, unsigned n, unsigned npeers, struct lh_err *err)
{
	struct lh_trees x = {
		.n = n, .npeers = npeers, .weight = calloc(n + 1, sizeof *x.weight), .root = calloc(n + 1, sizeof *x.root),
		.up = calloc((size_t)n * npeers + 1, sizeof *x.up), .down = calloc((size_t)n * npeers + 1, sizeof *x.down),
	};
	if (!x.weight || !x.root || !x.up || !x.down) {
		lh_trees_done(&x);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%u trees", n);
	}
	*t = x;
	return 0;
}

void lh_trees_done(struct lh_trees *t)
{
	free(t->weight);
	free(t->root);
	free(t->up);
	free(t->down);
	*t = (struct lh_trees){ 0 };
}

/* Everybody's way ends at the root within as many steps as there are peers. */
static bool is_tree(const uint16_t *next, unsigned n, unsigned top)
{
	if (next[top] != top)
		return false;
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i, steps = 0;
		for (; at != top && steps <= n; steps++) {
			if (next[at] >= n)
				return false;
			at = next[at];
		}
		if (at != top)
			return false;
	}
	return true;
}

int lh_trees_check(const struct lh_trees *t, struct lh_err *err)
{
	if (!t->n || t->n > LH_TREES_MAX || !t->npeers || t->npeers > LH_TREES_PEERS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "trees: %u for %u peers; at most %u for %u", t->n,
				  t->npeers, LH_TREES_MAX, LH_TREES_PEERS_MAX);
	for (unsigned b = 0; b < t->n; b++) {
		size_t at = (size_t)b * t->npeers;
		if (!t->weight[b] || t->root[b] >= t->npeers)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "tree %u: weight %u, root %u", b, t->weight[b],
					  t->root[b]);
		if (!is_tree(t->up + at, t->npeers, t->root[b]) || !is_tree(t->down + at, t->npeers, t->root[b]))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "tree %u: not every way leads to peer %u", b,
					  t->root[b]);
	}
	return 0;
}

enum { ABSENT = UINT16_MAX };

/* The first on the way from `at` who is there; ABSENT: nobody is, up to the root. */
static unsigned next_present(const uint16_t *next, const uint16_t *number, unsigned root, unsigned at)
{
	while (at != root) {
		at = next[at];
		if (number[at] != ABSENT)
			return number[at];
	}
	return ABSENT;
}

/* One direction of one tree: whose way has nobody any more goes to the root straight. */
static void among(const uint16_t *next, const uint16_t *number, unsigned old_root, unsigned root, const unsigned *ranks,
		  unsigned n, uint16_t *ret)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned to = i == root ? root : next_present(next, number, old_root, ranks[i]);
		ret[i] = (uint16_t)(to == ABSENT ? root : to);
	}
}

/* Who takes a lost root's place: the first whose way to it has nobody else. */
static unsigned heir(const uint16_t *up, const uint16_t *number, unsigned root, const unsigned *ranks)
{
	unsigned i = 0;
	while (next_present(up, number, root, ranks[i]) != ABSENT)
		i++;
	return i;
}

int lh_trees_among(const struct lh_trees *t, const unsigned *ranks, unsigned n, struct lh_trees *ret, struct lh_err *err)
{
	uint16_t number[LH_TREES_PEERS_MAX];
	struct lh_trees x;
	if (!n || n > t->npeers || t->npeers > LH_TREES_PEERS_MAX)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "trees of %u peers among %u", t->npeers, n);
	int rc = lh_trees_init(&x, t->n, n, err);
	if (rc)
		return rc;
	for (unsigned i = 0; i < t->npeers; i++)
		number[i] = ABSENT;
	for (unsigned i = 0; i < n; i++)
		number[ranks[i]] = (uint16_t)i;
	for (unsigned b = 0; b < t->n; b++) {
		const uint16_t *up = t->up + (size_t)b * t->npeers, *down = t->down + (size_t)b * t->npeers;
		unsigned old_root = t->root[b];
		unsigned root = number[old_root] != ABSENT ? number[old_root] : heir(up, number, old_root, ranks);
		x.weight[b] = t->weight[b];
		x.root[b] = (uint16_t)root;
		among(up, number, old_root, root, ranks, n, x.up + (size_t)b * n);
		among(down, number, old_root, root, ranks, n, x.down + (size_t)b * n);
	}
	*ret = x;
	return 0;
}
