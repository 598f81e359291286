/* Dealing samples, and the schedule that they are calculated on. */
#include <math.h>
#include <stdlib.h>

#include "hash.h"
#include "lhtest.h"
#include "pace.h"
#include "sync/deal.h"

enum { PEERS_MAX = 64 };

static double draw(unsigned *at)
{
	return (double)(lh_mix64(lh_test_seed() + ++*at * LH_MIX64_STEP) >> 11) * 0x1p-53;
}

/* Every id of the round is dealt, none twice, and nobody is further than one sample from the exact share. */
static void test_exact_cover(void)
{
	unsigned at = 0;
	for (int round = 0; round < 3000; round++) {
		double weights[PEERS_MAX], total = 0;
		struct lh_share shares[PEERS_MAX];
		unsigned n = 1 + (unsigned)(draw(&at) * PEERS_MAX) % PEERS_MAX;
		uint64_t batch = 1 + (uint64_t)(draw(&at) * (round % 2 ? 100 : 1e6));
		uint32_t epoch = 1 + (uint32_t)(draw(&at) * 1000);
		for (unsigned i = 0; i < n; i++)
			total += weights[i] = exp(8 * (draw(&at) - 0.5));
		lh_deal(batch, epoch, weights, n, shares);
		uint64_t next = (uint64_t)(epoch - 1) * batch;
		for (unsigned i = 0; i < n; i++) {
			CU_ASSERT_EQUAL(shares[i].first, next);
			next += shares[i].count;
			CU_ASSERT_TRUE(fabs((double)shares[i].count - (double)batch * weights[i] / total) < 1.001);
		}
		CU_ASSERT_EQUAL(next, (uint64_t)epoch * batch);
	}
}

static void test_known_deals(void)
{
	struct lh_share s[4];
	lh_deal(256, 3, (const double[]){ 100, 100, 100, 100 }, 4, s);
	for (unsigned i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(s[i].count, 64);
		CU_ASSERT_EQUAL(s[i].first, 512 + 64 * i);
	}
	lh_deal(10, 1, (const double[]){ 1, 1, 1 }, 3, s); /* the tie goes to the lower rank */
	CU_ASSERT_EQUAL(s[0].count, 4);
	CU_ASSERT_EQUAL(s[1].count, 3);
	lh_deal(10, 1, (const double[]){ 40, 80 }, 2, s);
	CU_ASSERT_EQUAL(s[0].count, 3);
	CU_ASSERT_EQUAL(s[1].count, 7);
	lh_deal(2, 1, (const double[]){ 1, 1, 1, 1 }, 4, s); /* fewer samples than peers */
	CU_ASSERT_EQUAL(s[0].count + s[1].count, 2);
	CU_ASSERT_EQUAL(s[3].count, 0);
	lh_deal(UINT64_C(1) << 40, 1, (const double[]){ 1e9, 1e-9 }, 2, s); /* the largest batch there is */
	CU_ASSERT_EQUAL(s[0].count + s[1].count, UINT64_C(1) << 40);
	CU_ASSERT_TRUE(s[1].count <= 1);
}

static void test_pace(void)
{
	struct lh_pace p = { .begin_ns = 1000, .samples_per_s = 40 };
	CU_ASSERT_EQUAL(lh_pace_due(&p, 0), 1000);
	CU_ASSERT_EQUAL(lh_pace_due(&p, 1), 1000 + 25 * LH_NS_PER_MS);
	CU_ASSERT_EQUAL(lh_pace_due(&p, 40), 1000 + LH_NS_PER_S);
	CU_ASSERT_EQUAL(lh_pace_late(&p, 40, 999 + LH_NS_PER_S), 0);
	CU_ASSERT_EQUAL(lh_pace_late(&p, 40, 1000 + LH_NS_PER_S), 0);
	CU_ASSERT_EQUAL(lh_pace_late(&p, 40, 1007 + LH_NS_PER_S), 7);
	p.samples_per_s = 1e-9; /* does not overflow */
	CU_ASSERT_EQUAL(lh_pace_due(&p, UINT64_C(1) << 40), INT64_MAX);
	CU_ASSERT_EQUAL(lh_pace_late(&p, UINT64_C(1) << 40, INT64_MAX), 0);
}

static const struct lh_test tests[] = {
	{ "exact_cover", test_exact_cover, 0 },
	{ "known_deals", test_known_deals, 0 },
	{ "pace", test_pace, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "deal", tests, sizeof tests / sizeof *tests);
}
