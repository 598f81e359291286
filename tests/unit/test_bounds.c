/* Lower bounds against brute force over all cuts, plans of shares and trees against what is known of them. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "lhtrees.h"
#include "pattern/arborescence.h"
#include "pattern/bound.h"
#include "pattern/packing.h"
#include "pattern/predict.h"
#include "pattern/trees.h"

/* shared/research: XLM-R in fp16 on the study's C-3, one stream a pair; Mbit/s. */
#define XLMR_BYTES 1.12e9
static const double c3_mbit[3][3] = { { 0, 209.4, 133.4 }, { 209.4, 0, 76.0 }, { 133.4, 76.0, 0 } };

static uint64_t seed = 1;
static unsigned draw(unsigned below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((seed >> 33) % below);
}

static struct lh_wires wires_of(unsigned npeers, unsigned per_site)
{
	uint32_t site[64];
	struct lh_wires w;
	for (unsigned i = 0; i < npeers; i++)
		site[i] = i / per_site;
	CU_ASSERT_EQUAL_FATAL(lh_wires_init(&w, npeers, site, NULL), 0);
	return w;
}

/* Three sites, n peers each; windows that give these rates over 100 ms round trips. */
static struct lh_wires c3(unsigned n)
{
	struct lh_wires w = wires_of(3 * n, n);
	for (unsigned s = 0; s < 3; s++)
		for (unsigned t = 0; t < 3; t++) {
			w.one_way_s[s * 3 + t] = s == t ? 0.0003 : 0.05;
			w.window[s * 3 + t] = s == t ? 3e6 : c3_mbit[s][t] * 1e6 / 8 * 0.1;
		}
	for (unsigned i = 0; i < 3 * n; i++)
		w.nic[i] = 6.9e9 / 8;
	return w;
}

static double predicted(const struct lh_pattern *p, const struct lh_wires *w, double bytes, const uint32_t *share,
			const struct lh_trees *trees)
{
	struct lh_prediction x;
	struct lh_group g;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&g, w->npeers, w->site, share, NULL), 0);
	g.trees = trees;
	CU_ASSERT_EQUAL_FATAL(lh_predict(p, &g, (uint64_t)(bytes / 2), 2, 524288, w, &x, NULL), 0);
	lh_group_done(&g);
	return x.total_s;
}

/* limits.md: with one peer a site, and with two. */
static void the_example_of_the_notes(void)
{
	for (unsigned n = 1; n <= 2; n++) {
		struct lh_wires w = c3(n);
		struct lh_bound b;
		struct lh_trees t;
		bool side[6];
		uint32_t share[6];
		double want = n == 1 ? 42.8 : 10.7;
		CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, XLMR_BYTES, &b, side, NULL), 0);
		/* Half a window is less than a tenth of a second. */
		CU_ASSERT_DOUBLE_EQUAL(b.cut_s, want, 0.1);
		CU_ASSERT_EQUAL(b.total_s, b.cut_s);
		for (unsigned i = 0; i < 3 * n; i++) /* Asia | the rest */
			CU_ASSERT_EQUAL(side[i] == side[2 * n], i >= 2 * n);
		CU_ASSERT_EQUAL_FATAL(lh_shares_plan(&w, XLMR_BYTES, share, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(lh_trees_plan(&w, XLMR_BYTES, &t, NULL), 0);
		CU_ASSERT_EQUAL(lh_trees_check(&t, NULL), 0);
		double equal = predicted(&lh_pattern_butterfly, &w, XLMR_BYTES, NULL, NULL);
		double weighted = predicted(&lh_pattern_weighted_butterfly, &w, XLMR_BYTES, share, NULL);
		double packed = predicted(&lh_pattern_packed_trees, &w, XLMR_BYTES, NULL, &t);
		printf("# %u a site: bound %.2f equal %.2f weighted %.2f packed %.2f s, %u trees\n", n, b.total_s, equal,
		       weighted, packed, t.n);
		CU_ASSERT_DOUBLE_EQUAL(equal, n == 1 ? 78.6 : 39.3, 0.5);
		CU_ASSERT_DOUBLE_EQUAL(weighted, n == 1 ? 42.8 : 21.4, 0.5);
		CU_ASSERT_TRUE(packed < want * 1.02 + 0.5);
		lh_trees_done(&t);
		lh_wires_done(&w);
	}
}

/* ---- all cuts ---- */

/* Bytes that can go from side A to side B within t: only what each pair, card and way of a site lets through. */
struct cutter {
	const struct lh_wires *w;
	unsigned a; /* mask of the peers of side A */
	double t;
};

static double pair_room(const struct lh_wires *w, unsigned i, unsigned k, double t)
{
	return lh_wires_window(w, i, k) * (t / lh_wires_rtt(w, i, k) + 0.5);
}

/* With nothing shared but cards: a transport problem between two sides, whose least cut is found by trying every set of
 * cards of the smaller side that are the limit; each peer of the other side is then held by its card or by its pairs. */
static double room(const struct cutter *c)
{
	const struct lh_wires *w = c->w;
	const unsigned all = (1u << w->npeers) - 1, b = all & ~c->a;
	const bool a_is_small = __builtin_popcount(c->a) <= __builtin_popcount(b);
	const unsigned small = a_is_small ? c->a : b, large = all & ~small;
	double least = INFINITY;
	for (unsigned cards = small;; cards = (cards - 1) & small) {
		double sum = 0;
		for (unsigned i = 0; i < w->npeers && sum < least; i++) {
			double pairs = 0;
			if (cards >> i & 1)
				sum += w->nic[i] * c->t;
			for (unsigned k = 0; large >> i & 1 && k < w->npeers; k++)
				if (small & ~cards & 1u << k)
					pairs += a_is_small ? pair_room(w, k, i, c->t) : pair_room(w, i, k, c->t);
			sum += fmin(pairs, w->nic[i] * c->t);
		}
		least = fmin(least, sum);
		if (!cards)
			return least;
	}
}

static void all_cuts_by_force(void)
{
	for (unsigned round = 0; round < 44; round++) {
		unsigned n = 2 + round % 11, per = 1 + draw(3); /* 2 ... 12 peers */
		struct lh_wires w = wires_of(n, per);
		double bytes = 1e5 + draw(100000000);
		struct lh_bound b;
		for (unsigned i = 0; i < w.nsites * w.nsites; i++) {
			w.one_way_s[i] = 0.001 * (1 + draw(150));
			w.window[i] = 1000.0 * (1 + draw(3000));
		}
		for (unsigned i = 0; i < n; i++)
			w.nic[i] = draw(2) ? INFINITY : 1e5 * (1 + draw(1000));
		CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, bytes, &b, NULL, NULL), 0);
		/* Just at that time every cut lets S through, and just before one does not. */
		double at = INFINITY, before = INFINITY;
		for (unsigned a = 1; a + 1 < 1u << n; a++) {
			at = fmin(at, room(&(struct cutter){ &w, a, b.cut_s }));
			before = fmin(before, room(&(struct cutter){ &w, a, b.cut_s * 0.9999 }));
		}
		CU_ASSERT_TRUE(at >= bytes * (1 - 1e-5));
		CU_ASSERT_TRUE(b.cut_s == 0 || before < bytes);
		lh_wires_done(&w);
	}
}

/* Links and access ways, one thing at a time: the formula by hand. */
static void shared_ways(void)
{
	struct lh_wires w = wires_of(6, 2);
	struct lh_bound b;
	double s = 1e8;
	for (unsigned i = 0; i < 9; i++)
		w.one_way_s[i] = i % 4 ? 0.05 : 0;
	w.link[0 * 3 + 1] = w.link[1 * 3 + 0] = 4e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, s, &b, NULL, NULL), 0);
	CU_ASSERT_EQUAL(b.cut_s, 0); /* everything may go round by the third site */
	w.link[2 * 3 + 1] = 1e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, s, &b, NULL, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(b.cut_s, 20, 1e-3); /* into site 1: 4 + 1 MB/s */
	w.down[1] = 2e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, s, &b, NULL, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(b.cut_s, 50, 1e-3);
	CU_ASSERT_DOUBLE_EQUAL(b.node_s, 50, 1e-3);
	w.up[0] = 1e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, s, &b, NULL, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(b.cut_s, 100, 1e-3);
	CU_ASSERT_DOUBLE_EQUAL(b.delay_s, 0.1, 1e-9);
	CU_ASSERT_EQUAL(b.host_s, 0);
	w.host = 1e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, s, &b, NULL, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(b.host_s, 1000, 1e-6); /* 2 x 5 x 100 MB */
	CU_ASSERT_TRUE(b.host_limited);
	CU_ASSERT_EQUAL(b.total_s, b.host_s);
	lh_wires_done(&w);
}

static void delays_and_cards(void)
{
	struct lh_wires w = wires_of(3, 1);
	struct lh_bound b;
	/* In a line: the sum is best made in the middle. */
	for (unsigned i = 0; i < 9; i++)
		w.one_way_s[i] = i % 4 ? 0.05 : 0;
	w.one_way_s[0 * 3 + 2] = w.one_way_s[2 * 3 + 0] = 0.2;
	for (unsigned i = 0; i < 3; i++)
		w.nic[i] = 1e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, 3e6, &b, NULL, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(b.delay_s, 0.1, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(b.node_s, 4, 1e-9); /* 2 x 2 x 3 MB over 3 MB/s */
	w.nic[1] = 0.5e6;
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, 3e6, &b, NULL, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(b.node_s, 6, 1e-9);
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, 0, &b, NULL, NULL), 0);
	CU_ASSERT_EQUAL(b.total_s, 0);
	lh_wires_done(&w);
	w = wires_of(1, 1);
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, 1e9, &b, NULL, NULL), 0);
	CU_ASSERT_EQUAL(b.total_s, 0);
	lh_wires_done(&w);
}

/* ---- trees ---- */

static double cheapest_by_force(unsigned n, const double *cost, unsigned root)
{
	double best = INFINITY;
	unsigned all = 1;
	for (unsigned i = 0; i < n; i++)
		all *= n;
	for (unsigned code = 0; code < all; code++) {
		unsigned parent[6], x = code;
		double sum = 0;
		bool tree = true;
		for (unsigned v = 0; v < n; v++, x /= n) {
			parent[v] = v == root ? root : x % n;
			tree &= v == root || parent[v] != v;
			sum += v == root || parent[v] == v ? 0 : cost[parent[v] * n + v];
		}
		for (unsigned v = 0; tree && v < n; v++) {
			unsigned at = v, steps = 0;
			while (at != root && steps++ <= n)
				at = parent[at];
			tree = at == root;
		}
		if (tree && sum < best)
			best = sum;
	}
	return best;
}

static void cheapest_trees_by_force(void)
{
	for (unsigned round = 0; round < 300; round++) {
		unsigned n = 2 + draw(4), root = draw(n), parent[6];
		double cost[36], got, sum = 0;
		for (unsigned i = 0; i < n * n; i++)
			cost[i] = draw(round % 3 ? 10 : 1000);
		CU_ASSERT_EQUAL_FATAL(lh_arborescence(n, cost, root, parent, &got, NULL), 0);
		CU_ASSERT_EQUAL(parent[root], root);
		for (unsigned v = 0; v < n; v++) {
			unsigned at = v, steps = 0;
			sum += v == root ? 0 : cost[parent[v] * n + v];
			while (at != root && steps++ <= n)
				at = parent[at];
			CU_ASSERT_EQUAL(at, root);
		}
		CU_ASSERT_DOUBLE_EQUAL(got, sum, 1e-9);
		CU_ASSERT_DOUBLE_EQUAL(got, cheapest_by_force(n, cost, root), 1e-9);
	}
}

static void programme(void)
{
	/* max x0 + x1 + x2: x0 + x1 <= 4, x1 + x2 <= 3, x0 + 2 x2 <= 5. */
	const double rate[] = { 4, 3, 5 };
	const struct lh_load a[] = { { 0, 1 }, { 2, 1 } }, b[] = { { 0, 1 }, { 1, 1 } }, c[] = { { 1, 1 }, { 2, 2 } };
	double price[3], x[3];
	struct lh_packing *p;
	CU_ASSERT_EQUAL_FATAL(lh_packing_new(3, rate, &p, NULL), 0);
	CU_ASSERT_EQUAL(lh_packing_add(p, a, 2, NULL), 0);
	CU_ASSERT_EQUAL(lh_packing_solve(p, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(lh_packing_read(p, price, x), 4, 1e-4);
	CU_ASSERT_EQUAL(lh_packing_add(p, b, 2, NULL), 0);
	CU_ASSERT_EQUAL(lh_packing_add(p, c, 2, NULL), 0);
	CU_ASSERT_EQUAL(lh_packing_solve(p, NULL), 0);
	double best = lh_packing_read(p, price, x);
	CU_ASSERT_TRUE(x[0] + x[1] <= 4 + 1e-4 && x[1] + x[2] <= 3 + 1e-4 && x[0] + 2 * x[2] <= 5 + 1e-4);
	/* Prices pay for every way and cost as much as it brings: both are optimal. */
	CU_ASSERT_DOUBLE_EQUAL(4 * price[0] + 3 * price[1] + 5 * price[2], best, 1e-4);
	CU_ASSERT_TRUE(price[0] + price[2] >= 1 - 1e-9 && price[0] + price[1] >= 1 - 1e-9);
	CU_ASSERT_TRUE(price[1] + 2 * price[2] >= 1 - 1e-9);
	lh_packing_free(p);
}

/* Random wires: trees span, are no worse than any other algorithm's trees, and never better than the bound. */
static void plans_against_bounds(void)
{
	double worst = 0;
	for (unsigned round = 0; round < 30; round++) {
		unsigned n = 2 + draw(9), per = 1 + draw(3);
		struct lh_wires w = wires_of(n, per);
		struct lh_bound b;
		struct lh_trees t;
		uint32_t share[16];
		double bytes = 1e9;
		for (unsigned i = 0; i < w.nsites * w.nsites; i++) {
			w.one_way_s[i] = i % (w.nsites + 1) ? 0.001 * (1 + draw(150)) : 0.0003;
			w.window[i] = 1000.0 * (100 + draw(3000));
			w.link[i] = draw(3) ? INFINITY : 1e6 * (1 + draw(100));
		}
		for (unsigned i = 0; i < n; i++)
			w.nic[i] = 1e6 * (10 + draw(100));
		for (unsigned s = 0; s < w.nsites; s++)
			w.up[s] = w.down[s] = draw(3) ? INFINITY : 1e6 * (5 + draw(50));
		CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, bytes, &b, NULL, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(lh_trees_plan(&w, bytes, &t, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(lh_shares_plan(&w, bytes, share, NULL), 0);
		CU_ASSERT_EQUAL(lh_trees_check(&t, NULL), 0);
		double packed = predicted(&lh_pattern_packed_trees, &w, bytes, NULL, &t);
		double weighted = predicted(&lh_pattern_weighted_butterfly, &w, bytes, share, NULL);
		double equal = predicted(&lh_pattern_butterfly, &w, bytes, NULL, NULL);
		CU_ASSERT_TRUE(packed >= b.total_s * 0.999);
		CU_ASSERT_TRUE(weighted >= b.total_s * 0.999);
		/* Up to what was rounded away and a longer chain of trips. */
		CU_ASSERT_TRUE(weighted <= equal * 1.01 + 0.01);
		CU_ASSERT_TRUE(packed <= weighted * 1.01 + 2);
		worst = fmax(worst, packed / b.total_s);
		lh_trees_done(&t);
		lh_wires_done(&w);
	}
	printf("# packed trees are at most %.2f times the bound\n", worst);
}

static void trees_that_are_none(void)
{
	struct lh_trees t;
	CU_ASSERT_EQUAL_FATAL(lh_trees_init(&t, 1, 3, NULL), 0);
	t.weight[0] = 1;
	t.up[1] = 2;
	CU_ASSERT_EQUAL(lh_trees_check(&t, NULL), 0);
	t.up[2] = 1; /* a cycle */
	CU_ASSERT_TRUE(lh_trees_check(&t, NULL) < 0);
	t.up[2] = 3; /* nobody */
	CU_ASSERT_TRUE(lh_trees_check(&t, NULL) < 0);
	t.up[2] = 0;
	t.down[0] = 1; /* the root has no parent */
	CU_ASSERT_TRUE(lh_trees_check(&t, NULL) < 0);
	t.down[0] = 0;
	t.weight[0] = 0;
	CU_ASSERT_TRUE(lh_trees_check(&t, NULL) < 0);
	lh_trees_done(&t);
}

/* Whoever is lost, what is left of any trees spans the others; nobody lost: nothing changes, and links between those who
 * stay do. */
static void trees_of_those_who_stay(void)
{
	for (uint64_t k = 0; k < 400; k++) {
		unsigned n = 1 + draw(12), all[12], some[12], left = 0;
		struct lh_trees t = lhtrees_random(n, 1 + draw(6), k), same, x;
		for (unsigned i = 0; i < n; i++) {
			all[i] = i;
			if (draw(3))
				some[left++] = i;
		}
		CU_ASSERT_EQUAL_FATAL(lh_trees_among(&t, all, n, &same, NULL), 0);
		size_t places = (size_t)t.n * n;
		CU_ASSERT_EQUAL(memcmp(same.up, t.up, places * sizeof *t.up), 0);
		CU_ASSERT_EQUAL(memcmp(same.down, t.down, places * sizeof *t.down), 0);
		CU_ASSERT_EQUAL(memcmp(same.root, t.root, t.n * sizeof *t.root), 0);
		CU_ASSERT_EQUAL(memcmp(same.weight, t.weight, t.n * sizeof *t.weight), 0);
		lh_trees_done(&same);
		if (!left) {
			CU_ASSERT_TRUE(lh_trees_among(&t, some, 0, &x, NULL) < 0);
			lh_trees_done(&t);
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(lh_trees_among(&t, some, left, &x, NULL), 0);
		CU_ASSERT_EQUAL(lh_trees_check(&x, NULL), 0);
		for (unsigned b = 0; b < t.n; b++)
			for (unsigned i = 0; i < left; i++)
				for (unsigned m = 0; m < left; m++)
					if (i != x.root[b] && t.up[(size_t)b * n + some[i]] == some[m])
						CU_ASSERT_EQUAL(x.up[(size_t)b * left + i], m);
		lh_trees_done(&x);
		lh_trees_done(&t);
	}
}

/* 64 peers, as many as there may be. */
static void many_peers(void)
{
	struct lh_wires w = wires_of(64, 8);
	struct lh_bound b;
	struct lh_trees t;
	uint32_t share[64];
	lh_ns begin = lh_clock_ns();
	for (unsigned i = 0; i < 64; i++) {
		w.one_way_s[i] = i % 9 ? 0.001 * (1 + draw(150)) : 0.0003;
		w.window[i] = 1000.0 * (100 + draw(3000));
	}
	for (unsigned i = 0; i < 64; i++)
		w.nic[i] = i % 8 ? w.nic[i - 1] : 1e6 * (50 + draw(100)); /* the same at a site */
	CU_ASSERT_EQUAL_FATAL(lh_bound_compute(&w, 1e9, &b, NULL, NULL), 0);
	lh_ns bound = lh_clock_ns();
	CU_ASSERT_EQUAL_FATAL(lh_shares_plan(&w, 1e9, share, NULL), 0);
	lh_ns shares = lh_clock_ns();
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_trees_plan(&w, 1e9, &t, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	lh_ns trees = lh_clock_ns();
	double packed = predicted(&lh_pattern_packed_trees, &w, 1e9, NULL, &t);
	printf("# 64 peers: bound %.2f s in %.2f s, shares in %.2f s, %u trees for %.2f s in %.2f s\n", b.total_s,
	       (double)(bound - begin) / 1e9, (double)(shares - bound) / 1e9, t.n, packed, (double)(trees - shares) / 1e9);
	CU_ASSERT_TRUE(packed >= b.total_s && packed < 1.3 * b.total_s);
	lh_trees_done(&t);
	lh_wires_done(&w);
}

static const struct lh_test tests[] = {
	{ "the_example_of_the_notes", the_example_of_the_notes, 0 },
	{ "all_cuts_by_force", all_cuts_by_force, 0 },
	{ "shared_ways", shared_ways, 0 },
	{ "delays_and_cards", delays_and_cards, 0 },
	{ "cheapest_trees_by_force", cheapest_trees_by_force, 0 },
	{ "programme", programme, 0 },
	{ "plans_against_bounds", plans_against_bounds, 0 },
	{ "trees_that_are_none", trees_that_are_none, 0 },
	{ "trees_of_those_who_stay", trees_of_those_who_stay, 0 },
	{ "many_peers", many_peers, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "bounds", tests, sizeof tests / sizeof *tests);
}
