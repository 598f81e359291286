/* data.h - what reading samples from a store asks of the network, before anything runs. Pure. */
#ifndef HARNESS_DATA_H
#define HARNESS_DATA_H

#include <stdio.h>

#include "longhaul/experiment.h"

struct lh_data_plan {
	double need_bps, has_bps; /* where they are closest: with all peers at full pace, framing and headers included; INFINITY */
	double share;             /* need / has: above 1 data bind, and peers calculate 1 / share of the time at most; 0: no limit */
	char what[120];           /* "link b2->us", "windows of 20 ms", ... */
};

/* Of the first pass: a cache asks for less later. sample_bytes: as stored. */
void lh_data_plan(const struct lh_experiment *exp, uint64_t sample_bytes, struct lh_data_plan *ret);
/* Two lines, each with `#` before it. sample_bytes 0: not known, only the first. */
void lh_data_plan_print(const struct lh_experiment *exp, uint64_t sample_bytes, FILE *out);
struct json_t *lh_data_plan_json(const struct lh_experiment *exp, uint64_t sample_bytes);

#endif
