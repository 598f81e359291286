/* The tables of every pattern, for every number of peers up to 16, even and uneven sites, and lengths that do not
 * divide, shorter than N too: blocks cover the vector once; of each block every peer's numbers reach the root once,
 * and the result reaches every peer once; the lists of all ranks say the same; what is sent is what the definition
 * says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "lhtrees.h"
#include "pattern/pattern.h"

static const uint64_t lengths[] = { 0, 1, 2, 3, 5, 7, 15, 16, 17, 31, 97, 1000, 1023, 89546, UINT64_C(560142482) };

enum { PEERS_MAX = 16, ALGORITHMS = LH_ALGORITHMS, SITINGS = 4 };
enum { NLENGTHS = sizeof lengths / sizeof *lengths };

/* How N peers lie: all at one site; two, alternating; threes; one large site and every other peer alone. */
static struct lh_group group_of(unsigned n, unsigned siting)
{
	uint32_t site[PEERS_MAX];
	struct lh_group g;
	for (unsigned r = 0; r < n; r++)
		site[r] = siting == 0 ? 7 : siting == 1 ? r % 2 : siting == 2 ? 100 - r / 3 : r < n / 2 ? 0 : r;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&g, n, site, NULL, NULL), 0);
	return g;
}

static void check_blocks(const struct lh_pattern *p, const struct lh_group *g)
{
	unsigned blocks = p->blocks(g);
	CU_ASSERT_TRUE_FATAL(blocks >= 1 && blocks <= g->npeers);
	for (size_t k = 0; k < NLENGTHS; k++) {
		uint64_t at = 0, min = UINT64_MAX, max = 0;
		for (unsigned b = 0; b < blocks; b++) {
			struct lh_block x = p->block(g, lengths[k], b);
			CU_ASSERT_EQUAL(x.offset, at);
			at += x.length;
			min = x.length < min ? x.length : min;
			max = x.length > max ? x.length : max;
		}
		CU_ASSERT_EQUAL(at, lengths[k]);
		CU_ASSERT_TRUE(max - min <= 1);
	}
}

/* A transfer is in the lists of both its ends and in no other, as the trees say it. */
static size_t check_list(const struct lh_pattern *p, const struct lh_group *g, unsigned rank)
{
	static struct lh_transfer list[4 * PEERS_MAX * PEERS_MAX];
	size_t count = p->blocks(g) ? lh_pattern_transfers(p, g, rank, list, sizeof list / sizeof *list) : 0;
	CU_ASSERT_TRUE_FATAL(count <= sizeof list / sizeof *list);
	CU_ASSERT_EQUAL(lh_pattern_transfers(p, g, rank, NULL, 0), count);
	for (size_t i = 0; i < count; i++) {
		const struct lh_transfer *x = &list[i];
		CU_ASSERT_TRUE_FATAL(x->from < g->npeers && x->to < g->npeers && x->from != x->to);
		CU_ASSERT_TRUE(x->from == rank || x->to == rank);
		CU_ASSERT_TRUE(!i || list[i - 1].block < x->block ||
			       (list[i - 1].block == x->block && list[i - 1].kind <= x->kind));
		if (x->kind == LH_TRANSFER_REDUCE)
			CU_ASSERT_EQUAL(x->to, p->up(g, x->block, x->from));
		if (x->kind == LH_TRANSFER_RESULT)
			CU_ASSERT_EQUAL(x->from, p->down(g, x->block, x->to));
	}
	return count;
}

/* Carry the numbers: when no more is under way the root has each peer's once, then all have the result once. */
static void check_sums(const struct lh_pattern *p, const struct lh_group *g, unsigned block)
{
	unsigned n = g->npeers, root = p->root(g, block), has[PEERS_MAX] = { 0 }, wait[PEERS_MAX] = { 0 }, sent = 0;
	bool result[PEERS_MAX] = { false }, gone[PEERS_MAX] = { false };
	CU_ASSERT_TRUE_FATAL(root < n);
	for (unsigned r = 0; r < n; r++) {
		has[r] = 1u << r;
		if (r != root)
			wait[p->up(g, block, r)]++;
	}
	for (bool moved = true; moved;) {
		moved = false;
		for (unsigned r = 0; r < n; r++) {
			if (r == root || gone[r] || wait[r])
				continue;
			unsigned to = p->up(g, block, r);
			CU_ASSERT_EQUAL(has[to] & has[r], 0);
			has[to] |= has[r];
			wait[to]--;
			sent++;
			moved = gone[r] = true;
		}
	}
	CU_ASSERT_EQUAL(sent, n - 1);
	CU_ASSERT_EQUAL(has[root], (1u << n) - 1);
	result[root] = true;
	for (unsigned pass = 0; pass < n; pass++)
		for (unsigned r = 0; r < n; r++)
			if (r != root && !result[r])
				result[r] = result[p->down(g, block, r)];
	for (unsigned r = 0; r < n; r++)
		CU_ASSERT_TRUE(result[r]);
}

/* Blocks of packed trees: as long as their weights say. */
static void check_weights(const struct lh_pattern *p, const struct lh_group *g)
{
	double all = 0;
	for (unsigned b = 0; b < g->trees->n; b++)
		all += g->trees->weight[b];
	CU_ASSERT_EQUAL_FATAL(p->blocks(g), g->trees->n);
	for (size_t k = 0; k < NLENGTHS; k++) {
		uint64_t at = 0;
		for (unsigned b = 0; b < g->trees->n; b++) {
			struct lh_block x = p->block(g, lengths[k], b);
			CU_ASSERT_EQUAL(x.offset, at);
			CU_ASSERT_TRUE(fabs((double)x.length - (double)lengths[k] * g->trees->weight[b] / all) < 1.001);
			at += x.length;
		}
		CU_ASSERT_EQUAL(at, lengths[k]);
	}
}

/* Random trees: every peer's numbers reach the root once, the result everybody, and the lists say so. */
static void test_packed_trees(void)
{
	const struct lh_pattern *p = &lh_pattern_packed_trees;
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		struct lh_group g = group_of(n, 1);
		struct lh_trees t = lhtrees_random(n, 1 + n % 7 * 4, lh_test_seed() + n), few = lhtrees_random(n + 1, 1, 1);
		size_t listed = 0;
		g.trees = &t;
		check_weights(p, &g);
		for (unsigned b = 0; b < t.n; b++)
			check_sums(p, &g, b);
		for (unsigned r = 0; r < n; r++)
			listed += check_list(p, &g, r);
		CU_ASSERT_EQUAL(listed, 4u * t.n * (n - 1));
		g.trees = &few; /* of another number of peers: as if there were none */
		check_blocks(p, &g);
		lh_trees_done(&few);
		lh_trees_done(&t);
		lh_group_done(&g);
	}
}

/* The windows of the executor: how many neighbours' parts the fullest peer holds. */
static void test_places(void)
{
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		struct lh_group g = group_of(n, 0);
		CU_ASSERT_EQUAL(lh_pattern_places(&lh_pattern_butterfly, &g), n > 1 ? n - 1 : 1);
		CU_ASSERT_EQUAL(lh_pattern_places(&lh_pattern_central, &g), n > 1 ? n - 1 : 1);
		/* One child in each block but the one that begins at the peer, results passed on but the last time, at home. */
		CU_ASSERT_EQUAL(lh_pattern_places(&lh_pattern_ring, &g), n > 1 ? 2 * n - 3 : 1);
		lh_group_done(&g);
	}
}

static void test_tables(void)
{
	for (int a = 0; a < ALGORITHMS; a++)
		for (unsigned n = 1; n <= PEERS_MAX; n++)
			for (unsigned siting = 0; siting < SITINGS; siting++) {
				const struct lh_pattern *p = lh_pattern_find((enum lh_algorithm)a);
				struct lh_group g = group_of(n, siting);
				size_t listed = 0;
				CU_ASSERT_STRING_EQUAL(p->name, lh_algorithm_names[a]);
				check_blocks(p, &g);
				for (unsigned b = 0; b < p->blocks(&g); b++)
					check_sums(p, &g, b);
				for (unsigned r = 0; r < n; r++)
					listed += check_list(p, &g, r);
				/* Up and down, n - 1 transfers a block, in two lists each. */
				CU_ASSERT_EQUAL(listed, 4u * p->blocks(&g) * (n - 1));
				lh_group_done(&g);
			}
	CU_ASSERT_PTR_NULL(lh_algorithm_names[ALGORITHMS]);
}

/* Elements that a rank sends to peers of its own site (0) and of others (1). */
static void volume(const struct lh_pattern *p, const struct lh_group *g, uint64_t n, unsigned rank, uint64_t ret[2])
{
	struct lh_transfer list[4 * PEERS_MAX * PEERS_MAX];
	size_t count = lh_pattern_transfers(p, g, rank, list, sizeof list / sizeof *list);
	ret[0] = ret[1] = 0;
	for (size_t i = 0; i < count; i++)
		if (list[i].from == rank)
			ret[g->site[rank] != g->site[list[i].to]] += p->block(g, n, list[i].block).length;
}

/* The formulas of each file's head; 720720 is divisible by 1 ... 16. */
static void test_volumes(void)
{
	enum { N_ELEMENTS = 720720 };
	uint64_t v[2];
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		struct lh_group g = group_of(n, 0);
		unsigned power = n >= 16 ? 16 : n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1, folded = 2 * (n - power);
		for (unsigned r = 0; r < n; r++) {
			uint64_t even = 2 * (uint64_t)(n - 1) * (N_ELEMENTS / n);
			volume(&lh_pattern_butterfly, &g, N_ELEMENTS, r, v);
			CU_ASSERT_EQUAL(v[0], even);
			volume(&lh_pattern_ring, &g, N_ELEMENTS, r, v);
			CU_ASSERT_EQUAL(v[0], even);
			volume(&lh_pattern_central, &g, N_ELEMENTS, r, v);
			CU_ASSERT_EQUAL(v[0], n == 1 ? 0 : (uint64_t)N_ELEMENTS * (r ? 1 : n - 1));
			volume(&lh_pattern_halving_doubling, &g, N_ELEMENTS, r, v);
			uint64_t inner = 2 * (uint64_t)(power - 1) * (N_ELEMENTS / power);
			CU_ASSERT_EQUAL(v[0], r >= folded ? inner : r % 2 ? N_ELEMENTS : inner + N_ELEMENTS);
		}
		lh_group_done(&g);
	}
	for (unsigned sites = 1; sites <= 4; sites++)
		for (unsigned n = 1; sites * n <= PEERS_MAX; n++) {
			uint32_t site[PEERS_MAX];
			struct lh_group g;
			for (unsigned r = 0; r < sites * n; r++)
				site[r] = sites - r % sites;
			CU_ASSERT_EQUAL_FATAL(lh_group_init(&g, sites * n, site, NULL, NULL), 0);
			for (unsigned r = 0; r < sites * n; r++) {
				volume(&lh_pattern_two_level, &g, N_ELEMENTS, r, v);
				CU_ASSERT_EQUAL(v[0], 2 * (uint64_t)(n - 1) * (N_ELEMENTS / n));
				CU_ASSERT_EQUAL(v[1], 2 * (uint64_t)(sites - 1) * (N_ELEMENTS / sites / n));
			}
			lh_group_done(&g);
		}
}

/* What crosses between sites in all: (R - 1) vectors up and as many down, whatever the sites' sizes. */
static void test_two_level_crossings(void)
{
	for (unsigned n = 1; n <= PEERS_MAX; n++)
		for (unsigned siting = 0; siting < SITINGS; siting++) {
			struct lh_group g = group_of(n, siting);
			uint64_t v[2], across = 0;
			for (unsigned r = 0; r < n; r++) {
				volume(&lh_pattern_two_level, &g, 100003, r, v);
				across += v[1];
			}
			CU_ASSERT_EQUAL(across, 2 * (uint64_t)(g.nsites - 1) * 100003);
			lh_group_done(&g);
		}
}

static void test_shares(void)
{
	static const uint32_t shares[] = { 64, 36, 0, 1000000007 };
	for (unsigned n = 1; n <= 4; n++) {
		struct lh_group g;
		uint64_t total = 0;
		CU_ASSERT_EQUAL_FATAL(lh_group_init(&g, n, NULL, shares, NULL), 0);
		for (unsigned b = 0; b < n; b++)
			total += shares[b];
		for (size_t k = 0; k < NLENGTHS; k++) {
			uint64_t at = 0;
			for (unsigned b = 0; b < n; b++) {
				struct lh_block x = lh_pattern_butterfly.block(&g, lengths[k], b);
				double exact = (double)lengths[k] * shares[b] / (double)total;
				CU_ASSERT_EQUAL(x.offset, at);
				CU_ASSERT_TRUE((double)x.length > exact - 1.001 && (double)x.length < exact + 1.001);
				at += x.length;
			}
			CU_ASSERT_EQUAL(at, lengths[k]);
		}
		lh_group_done(&g);
	}
	/* Equal weights are no weights. */
	struct lh_group g;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&g, 3, NULL, (const uint32_t[]){ 5, 5, 5 }, NULL), 0);
	CU_ASSERT_PTR_NULL(g.shares);
	lh_group_done(&g);
}

/* Peers of one site are 1 ms apart, those of different sites 100 ms. */
static lh_ns one_way(void *ctx, unsigned from, unsigned to)
{
	const struct lh_group *g = ctx;
	return (g->site[from] == g->site[to] ? 1 : 100) * LH_NS_PER_MS;
}

static void check_chain(const struct lh_pattern *p, struct lh_group *g, uint64_t n, unsigned trips, unsigned ms)
{
	struct lh_pattern_chain c;
	CU_ASSERT_EQUAL_FATAL(lh_pattern_chain(p, g, n, one_way, g, &c, NULL), 0);
	CU_ASSERT_EQUAL(c.trips, trips);
	CU_ASSERT_EQUAL(c.latency_ns, ms * LH_NS_PER_MS);
	if (c.trips != trips || c.latency_ns != ms * LH_NS_PER_MS)
		printf("# %s N %u: %u trips, %lld ms\n", p->name, g->npeers, c.trips,
		       (long long)(c.latency_ns / LH_NS_PER_MS));
}

static void test_chains(void)
{
	static const uint32_t two_sites[] = { 0, 0, 0, 0, 1, 1, 1, 1 };
	struct lh_group g;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&g, 8, two_sites, NULL, NULL), 0);
	check_chain(&lh_pattern_butterfly, &g, 100, 2, 200);
	check_chain(&lh_pattern_central, &g, 100, 2, 200);
	/* Seven of eight hops each way; two of the ring's eight are long, and the missing one may be short twice. */
	check_chain(&lh_pattern_ring, &g, 100, 14, 410);
	/* Near, near, far; far, near, near. */
	check_chain(&lh_pattern_halving_doubling, &g, 100, 6, 204);
	check_chain(&lh_pattern_two_level, &g, 100, 4, 202);
	check_chain(&lh_pattern_two_level, &g, 0, 0, 0);
	/* One element: block 0 alone, whose way is from peer 1 round to 0 and from 0 round to 7. */
	check_chain(&lh_pattern_ring, &g, 1, 14, 311);
	lh_group_done(&g);
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		unsigned log = n >= 16 ? 4 : n >= 8 ? 3 : n >= 4 ? 2 : n >= 2 ? 1 : 0, fold = n != 1u << log;
		g = group_of(n, 0);
		check_chain(&lh_pattern_butterfly, &g, 100, n > 1 ? 2 : 0, n > 1 ? 2 : 0);
		check_chain(&lh_pattern_ring, &g, 100, 2 * (n - 1), 2 * (n - 1));
		check_chain(&lh_pattern_halving_doubling, &g, 100, 2 * (log + fold), 2 * (log + fold));
		check_chain(&lh_pattern_two_level, &g, 100, n > 1 ? 2 : 0, n > 1 ? 2 : 0);
		lh_group_done(&g);
	}
}

static const struct lh_test tests[] = {
	{ "tables", test_tables, 0 },
	{ "packed_trees", test_packed_trees, 0 },
	{ "places", test_places, 0 },
	{ "volumes", test_volumes, 0 },
	{ "two_level_crossings", test_two_level_crossings, 0 },
	{ "shares", test_shares, 0 },
	{ "chains", test_chains, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "pattern", tests, sizeof tests / sizeof *tests);
}
