/* bound.h - how long an all-reduce takes at least, whatever the algorithm.
 *
 * Every peer's S bytes must leave it and the result, S bytes, must come in; 2 (N - 1) S bytes travel in all, and
 * 2 (R - 1) S of them between R sites; over every way to part the peers in two, each side must learn the other's sum,
 * S bytes each way. docs/MEASUREMENT.md has the formulas. The least of all cuts is found by maximum flow.
 */
#ifndef COMMON_PATTERN_BOUND_H
#define COMMON_PATTERN_BOUND_H

#include "wires.h"

struct lh_bound {
	double node_s;  /* one peer's S bytes, or all peers' 2 (N - 1) S together */
	double cut_s;   /* the tightest of all cuts */
	double delay_s; /* to the place where a sum is made and back, from the best such place */
	double host_s;  /* 2 (N - 1) S bytes through this machine */
	double total_s; /* the largest of them */
	bool host_limited; /* and that is the host's */
};

/* Above so many peers only the cuts between whole sites are looked at (still a bound, perhaps not the tightest). */
#define LH_BOUND_PEERS_MAX 128
#define LH_BOUND_SITES_MAX 64

/* bytes: of the vector on the wire. ret_side (may be NULL) [npeers]: one side of the tightest cut. */
int lh_bound_compute(const struct lh_wires *w, double bytes, struct lh_bound *ret, bool *ret_side, struct lh_err *err);

#endif
