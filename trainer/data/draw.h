/* draw.h - a sample's own stream of random numbers: SplitMix64 from (seed, id), so any sample can be made at any time. */
#ifndef DATA_DRAW_H
#define DATA_DRAW_H

#include <stdbool.h>

#include "hash.h"

struct lh_draw {
	uint64_t key, at;
};

static inline struct lh_draw lh_draw_begin(uint64_t seed, bool held_out, uint64_t id)
{
	return (struct lh_draw){ lh_mix64(lh_mix64(seed ^ (held_out ? 0x68656c64 : 0)) + (id + 1) * LH_MIX64_STEP), 0 };
}

static inline uint64_t lh_draw_next(struct lh_draw *d) { return lh_mix64(d->key + ++d->at * LH_MIX64_STEP); }

/* 0 ... limit - 1; limit < 2^32. */
static inline uint64_t lh_draw_below(struct lh_draw *d, uint64_t limit)
{
	return (lh_draw_next(d) >> 32) * limit >> 32;
}

/* A fixed property of a symbol: the same in all samples. */
static inline uint64_t lh_trait(uint64_t seed, uint64_t symbol, uint64_t which)
{
	return lh_mix64(lh_mix64(seed + which) + (symbol + 1) * LH_MIX64_STEP) >> 32;
}

#endif
