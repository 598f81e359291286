#include <math.h>
#include <stdlib.h>

#include "data/shard.h"
#include "lhtest.h"

/* Over one pass every item comes exactly once, whatever the size of the set. */
static void every_item_once_a_pass(void)
{
	static const uint64_t sizes[] = { 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 1500, 4096, 4097 };
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
		const uint64_t n = sizes[k];
		for (uint64_t pass = 0; pass < 3; pass++) {
			unsigned char *seen = calloc(n, 1);
			uint64_t bad = 0;
			CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
			for (uint64_t id = pass * n; id < (pass + 1) * n; id++) {
				uint64_t item = lh_shard_item(lh_test_seed(), n, id);
				bad += item >= n || seen[item]++;
			}
			CU_ASSERT_EQUAL(bad, 0);
			free(seen);
		}
	}
}

static uint64_t agreements(uint64_t seed_a, uint64_t seed_b, uint64_t n, uint64_t first_a, uint64_t first_b)
{
	uint64_t same = 0;
	for (uint64_t i = 0; i < n; i++)
		same += lh_shard_item(seed_a, n, first_a + i) == lh_shard_item(seed_b, n, first_b + i);
	return same;
}

/* Two random permutations agree at one place on average (Poisson): 12 or more has a chance of 1e-9. */
static void passes_and_seeds_differ(void)
{
	const uint64_t n = 1500, seed = lh_test_seed();
	CU_ASSERT_TRUE(agreements(seed, seed, n, 0, n) < 12);
	CU_ASSERT_TRUE(agreements(seed, seed, n, n, 2 * n) < 12);
	CU_ASSERT_TRUE(agreements(seed, seed + 1, n, 0, 0) < 12);
	CU_ASSERT_EQUAL(agreements(seed, seed, n, 7, 7), n);
}

/* The order is mixed: over a pass, the position says nothing about the item. Correlation of n pairs has a standard
 * deviation of 1 / sqrt(n); 6 of them. */
static void order_is_mixed(void)
{
	const uint64_t n = 10000;
	double sum = 0, mean = (double)(n - 1) / 2, square = 0;
	for (uint64_t i = 0; i < n; i++) {
		sum += ((double)i - mean) * ((double)lh_shard_item(lh_test_seed(), n, i) - mean);
		square += ((double)i - mean) * ((double)i - mean);
	}
	CU_ASSERT_TRUE(fabs(sum / square) < 6 / sqrt((double)n));
}

static void large_ids(void)
{
	CU_ASSERT_TRUE(lh_shard_item(1, 112598, UINT64_MAX) < 112598);
	CU_ASSERT_TRUE(lh_shard_item(UINT64_MAX, UINT64_C(1) << 40, UINT64_MAX) < UINT64_C(1) << 40);
	/* Fixed, so that a change of the permutation, which changes every run, does not go unseen. */
	CU_ASSERT_EQUAL(lh_shard_item(1, 1500, 0), 541);
	CU_ASSERT_EQUAL(lh_shard_item(1, 1500, 1501), 1126);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "every_item_once_a_pass", every_item_once_a_pass, 0 },
		{ "passes_and_seeds_differ", passes_and_seeds_differ, 0 },
		{ "order_is_mixed", order_is_mixed, 0 },
		{ "large_ids", large_ids, 0 },
	};
	return lh_test_main(argc, argv, "shard", tests, sizeof tests / sizeof *tests);
}
