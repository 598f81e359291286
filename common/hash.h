/* hash.h - one 64-bit hash for everything that is compared: parameters of replicas, data files.
 *
 * XXH64 (the published algorithm of xxHash, checked against its reference values in tests/unit): fast enough for
 * gigabytes of pseudo-gradients, the same on every machine, and too small to ask a bare machine for one more
 * package. It finds accidents; it does not resist an attacker.
 */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

struct lh_hash64_state {
	uint64_t lane[4];
	uint64_t seed, length;
	unsigned char tail[32];
	size_t tail_len;
};

/* Hash of one buffer; data may be NULL when len is 0. */
uint64_t lh_hash64(const void *data, size_t len, uint64_t seed);

/* The same in pieces: the split does not matter. final may be called more than once. */
void lh_hash64_init(struct lh_hash64_state *s, uint64_t seed);
void lh_hash64_update(struct lh_hash64_state *s, const void *data, size_t len);
uint64_t lh_hash64_final(const struct lh_hash64_state *s);

/* A well-mixed 64-bit number from a 64-bit one, a bijection (the finaliser of SplitMix64); for seeded streams:
 * lh_mix64(seed + i * LH_MIX64_STEP) for i = 1, 2, ... is SplitMix64 itself. */
#define LH_MIX64_STEP UINT64_C(0x9e3779b97f4a7c15)
static inline uint64_t lh_mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif
