#include "hash.h"
#include "lhtest.h"

#include <string.h>

/* The values were computed with the reference implementation (PyPI package xxhash 4.1.0, xxh64). */
static void reference_values(void)
{
	static const char text[] = "Nobody inspects the spammish repetition, said the parrot to the longhaul";
	CU_ASSERT_EQUAL(lh_hash64(NULL, 0, 0), UINT64_C(0xef46db3751d8e999));
	CU_ASSERT_EQUAL(lh_hash64("a", 1, 0), UINT64_C(0xd24ec4f1a98c6e5b));
	CU_ASSERT_EQUAL(lh_hash64("abc", 3, 0), UINT64_C(0x44bc2cf5ad770999));
	CU_ASSERT_EQUAL(lh_hash64(text, 4, UINT64_C(0x0)), UINT64_C(0x265faa35d7afec64));
	CU_ASSERT_EQUAL(lh_hash64(text, 7, UINT64_C(0x1)), UINT64_C(0xf1566179bdd73909));
	CU_ASSERT_EQUAL(lh_hash64(text, 13, UINT64_C(0x0)), UINT64_C(0xe2fb61fd1706533));
	CU_ASSERT_EQUAL(lh_hash64(text, 31, UINT64_C(0x0)), UINT64_C(0xc1a0e0ae86e1d78c));
	CU_ASSERT_EQUAL(lh_hash64(text, 32, UINT64_C(0x0)), UINT64_C(0x96f5bfcbfe7f0d1a));
	CU_ASSERT_EQUAL(lh_hash64(text, 33, UINT64_C(0x7)), UINT64_C(0xb8d82a9d400bf34));
	CU_ASSERT_EQUAL(lh_hash64(text, 72, UINT64_C(0x0)), UINT64_C(0xdc5b22bfbf1f3c19));
	CU_ASSERT_EQUAL(lh_hash64(text, 72, UINT64_C(0x123456789abcdef)), UINT64_C(0xab5da1b669971fda));
}

static void split_does_not_matter(void)
{
	unsigned char data[200];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)(i * 7 + 3);
	uint64_t whole = lh_hash64(data, sizeof data, 5);
	for (size_t a = 0; a <= sizeof data; a++)
		for (size_t b = a; b <= sizeof data; b += 13) {
			struct lh_hash64_state s;
			lh_hash64_init(&s, 5);
			lh_hash64_update(&s, data, a);
			lh_hash64_update(&s, data + a, b - a);
			lh_hash64_update(&s, data + b, sizeof data - b);
			CU_ASSERT_EQUAL(lh_hash64_final(&s), whole);
		}
}

static void every_bit_counts(void)
{
	unsigned char data[100] = { 0 };
	uint64_t before = lh_hash64(data, sizeof data, 0);
	for (size_t bit = 0; bit < 8 * sizeof data; bit++) {
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
		CU_ASSERT_NOT_EQUAL(lh_hash64(data, sizeof data, 0), before);
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	CU_ASSERT_NOT_EQUAL(lh_hash64(data, sizeof data, 1), before);
	CU_ASSERT_NOT_EQUAL(lh_hash64(data, sizeof data - 1, 0), before);
}

/* SplitMix64 from seed 0 begins with these (Vigna's reference program). */
static void mix_is_splitmix(void)
{
	CU_ASSERT_EQUAL(lh_mix64(1 * LH_MIX64_STEP), UINT64_C(0xe220a8397b1dcdaf));
	CU_ASSERT_EQUAL(lh_mix64(2 * LH_MIX64_STEP), UINT64_C(0x6e789e6aa1b965f4));
	CU_ASSERT_EQUAL(lh_mix64(3 * LH_MIX64_STEP), UINT64_C(0x06c45d188009454f));
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "reference_values", reference_values, 0 },
		{ "split_does_not_matter", split_does_not_matter, 0 },
		{ "every_bit_counts", every_bit_counts, 0 },
		{ "mix_is_splitmix", mix_is_splitmix, 0 },
	};
	return lh_test_main(argc, argv, "hash", tests, sizeof tests / sizeof *tests);
}
