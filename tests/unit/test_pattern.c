/* The butterfly's table, for every number of peers up to 16 and lengths that do not divide, shorter than N too. */
#include <stdlib.h>
#include <string.h>

#include "comm/pattern_butterfly.h"
#include "lhtest.h"

static const uint64_t lengths[] = { 0, 1, 2, 3, 5, 7, 15, 16, 17, 31, 97, 1000, 1023, 89546, UINT64_C(560142482) };

enum { PEERS_MAX = 16 };

static void test_blocks_cover_once(void)
{
	const struct lh_pattern *p = &lh_pattern_butterfly;
	for (unsigned n = 1; n <= PEERS_MAX; n++)
		for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
			uint64_t at = 0, min = UINT64_MAX, max = 0;
			CU_ASSERT_EQUAL(p->blocks(n), n);
			for (unsigned b = 0; b < n; b++) {
				struct lh_block x = p->block(n, lengths[k], b);
				CU_ASSERT_EQUAL(x.offset, at);
				at += x.length;
				min = x.length < min ? x.length : min;
				max = x.length > max ? x.length : max;
			}
			CU_ASSERT_EQUAL(at, lengths[k]);
			CU_ASSERT_TRUE(max - min <= 1);
		}
}

/* Each owner gets its block from every other peer once, then every other peer gets it from the owner once; the
 * tables of all ranks say the same. */
static void test_transfers(void)
{
	const struct lh_pattern *p = &lh_pattern_butterfly;
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		unsigned seen[2][PEERS_MAX][PEERS_MAX];
		memset(seen, 0, sizeof seen);
		for (unsigned rank = 0; rank < n; rank++) {
			struct lh_transfer list[4 * PEERS_MAX];
			size_t count = p->transfers(n, rank, list, sizeof list / sizeof *list);
			CU_ASSERT_EQUAL_FATAL(count, 4u * (n - 1));
			CU_ASSERT_EQUAL(p->transfers(n, rank, NULL, 0), count);
			for (size_t i = 0; i < count; i++) {
				const struct lh_transfer *x = &list[i];
				CU_ASSERT_TRUE_FATAL(x->from < n && x->to < n && x->from != x->to);
				CU_ASSERT_TRUE(x->from == rank || x->to == rank);
				CU_ASSERT_EQUAL(x->round, x->kind == LH_TRANSFER_RESULT);
				CU_ASSERT_EQUAL(x->block, x->kind == LH_TRANSFER_RESULT ? x->from : x->to);
				CU_ASSERT_TRUE(!i || list[i - 1].round <= x->round);
				seen[x->kind][x->from][x->to]++;
			}
		}
		for (unsigned from = 0; from < n; from++)
			for (unsigned to = 0; to < n; to++) {
				CU_ASSERT_EQUAL(seen[0][from][to], from == to ? 0 : 2); /* in both tables */
				CU_ASSERT_EQUAL(seen[1][from][to], from == to ? 0 : 2);
			}
	}
}

static const struct lh_test tests[] = {
	{ "blocks_cover_once", test_blocks_cover_once, 0 },
	{ "transfers", test_transfers, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "pattern", tests, sizeof tests / sizeof *tests);
}
