/* dist.h - the delay tables of netem's jitter distributions, made by formula.
 *
 * netem draws an entry t of the table and delays a packet by delay + jitter x t / 8192. iproute2 reads its
 * tables from files that are not where a program can count on them, so these are our own (docs/MEASUREMENT.md,
 * "Links and queues", has the formulas):
 *   uniform       t / 8192 uniform in (-1, 1): jitter is the half width
 *   normal        standard normal quantiles
 *   pareto        quantiles of a Pareto law of shape 3
 *   paretonormal  a quarter of the normal value plus three quarters of an independent Pareto value
 * All but uniform are clipped to what 16 bits hold (4 standard deviations) and then scaled and shifted to mean 0
 * and standard deviation 1, so that the mean delay is the one asked and jitter is the standard deviation.
 */
#ifndef NETEM_DIST_H
#define NETEM_DIST_H

#include <stdint.h>

#include "longhaul/topology.h"

#define LH_DIST_ENTRIES 4096
#define LH_DIST_SCALE 8192

/* LH_DIST_ENTRIES entries; made on first use, then constant. NULL for a value that is no distribution. */
const int16_t *lh_dist_table(enum lh_dist dist);

/* Largest |entry| / LH_DIST_SCALE, rounded up: how many jitters a packet can be off its delay. */
unsigned lh_dist_reach(enum lh_dist dist);

/* "uniform", "normal", "pareto", "paretonormal". */
const char *lh_dist_name(enum lh_dist dist);

#endif
