/* random.h - the random choices of a model: a hash of seed, node, global sample id and element. */
#ifndef BACKEND_RANDOM_H
#define BACKEND_RANDOM_H

#include "backend/backend.h"
#include "hash.h"

/* The random choice of element i of a sample at a node: uniform in 0 ... 1, the same on every machine. */
static inline uint64_t lh_random_key(const struct lh_op_run *r, size_t sample)
{
	return lh_mix64(lh_mix64(r->seed ^ r->node->stream) + (r->ids[sample] + 1) * LH_MIX64_STEP);
}
static inline double lh_random_at(uint64_t key, uint64_t i)
{
	return (double)(lh_mix64(key + (i + 1) * LH_MIX64_STEP) >> 11) * 0x1p-53;
}

#endif
