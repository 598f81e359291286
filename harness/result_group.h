/* result_group.h - what elastic membership did to a run, as JSON and text; docs/MEASUREMENT.md defines each key. */
#ifndef HARNESS_RESULT_GROUP_H
#define HARNESS_RESULT_GROUP_H

#include "result.h"

/* null with membership fixed. */
struct json_t *lh_result_group_json(const struct lh_result *r);
void lh_result_group_print(const struct lh_result *r, FILE *out);
/* Share of the throughput of the baseline, else of the run's own undisturbed epochs, that is missing; NaN: not
 * known. */
double lh_result_throughput_lost(const struct lh_result *r);

#endif
