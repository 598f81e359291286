/* shard.h - which item of the data set a global sample id means.
 *
 * Sample ids count up without end; ids p * n ... p * n + n - 1 are pass p over a set of n items. Each pass visits
 * every item once, in an order of its own: a seeded permutation computed on the fly, so that every peer agrees
 * about every id without a table and without talking.
 */
#ifndef DATA_SHARD_H
#define DATA_SHARD_H

#include <stdint.h>

/* Item (< n) of a sample id; n >= 1. */
uint64_t lh_shard_item(uint64_t seed, uint64_t n, uint64_t sample_id);

#endif
