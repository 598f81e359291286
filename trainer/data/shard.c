/* A balanced Feistel network permutes 0 ... 2^(2h) - 1; positions that land outside 0 ... n - 1 are sent through
 * again until they land inside (cycle walking), which keeps it a permutation of 0 ... n - 1. The domain is less
 * than 4 n, so that takes under four rounds on average. */
#include "data/shard.h"

#include "hash.h"

enum { ROUNDS = 6 };

static uint64_t feistel(uint64_t key, unsigned half_bits, uint64_t x)
{
	const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
	uint64_t left = x >> half_bits, right = x & mask;
	for (unsigned r = 0; r < ROUNDS; r++) {
		uint64_t next = left ^ (lh_mix64(key + r * LH_MIX64_STEP + lh_mix64(right)) & mask);
		left = right;
		right = next;
	}
	return left << half_bits | right;
}

uint64_t lh_shard_item(uint64_t seed, uint64_t n, uint64_t sample_id)
{
	const uint64_t pass = sample_id / n, key = lh_mix64(lh_mix64(seed) ^ (pass + 1) * LH_MIX64_STEP);
	unsigned half_bits = 1;
	while (half_bits < 32 && n > UINT64_C(1) << (2 * half_bits))
		half_bits++;
	uint64_t x = sample_id % n;
	do
		x = feistel(key, half_bits, x);
	while (x >= n);
	return x;
}
