/* predict.h - how long one all-reduce takes by one algorithm. docs/MEASUREMENT.md has the model and its error.
 *
 *     time = max( busiest thing, machine ) + longest chain of trips         (and at least the longest chain with its parts)
 */
#ifndef COMMON_PATTERN_PREDICT_H
#define COMMON_PATTERN_PREDICT_H

#include "wires.h"

struct lh_prediction {
	double wire_s;    /* the busiest thing, from the first byte to the last, windows opening included */
	double rates_s;   /* of it, the busiest of those with a rate: cards, links, access lines */
	double host_s;    /* all bytes through this machine */
	double latency_s; /* the longest chain of one-way delays */
	double total_s;
	unsigned busiest; /* the thing; lh_wires_kind() says what it is */
};

/* n: elements; element_bytes: of one on the wire, may be a fraction; part_bytes: of one part on the wire. */
int lh_predict(const struct lh_pattern *p, const struct lh_group *g, uint64_t n, double element_bytes,
	       double part_bytes, const struct lh_wires *w, struct lh_prediction *ret, struct lh_err *err);

#endif
