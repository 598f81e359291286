/* packing.h - the linear programme behind shares and trees: how fast can ways of sending be used side by side?
 *
 *     maximise sum of x_k  so that  for every thing e: sum over k of load_k(e) x_k <= rate(e),  x >= 0
 *
 * x_k is what travels in way k, bytes a second. Ways are added one at a time; after each solve the prices y of the things
 * (the dual solution) say what a new way would have to cost to be worth adding: less than 1, sum of load(e) y(e).
 * Solved by the dual simplex method, to 1e-5; at most as many ways are used as things are full.
 */
#ifndef COMMON_PATTERN_PACKING_H
#define COMMON_PATTERN_PACKING_H

#include <stdbool.h>

#include "longhaul/err.h"

struct lh_packing;

struct lh_load {
	unsigned thing;
	double amount; /* > 0 */
};

/* rate: [nthings], each finite and > 0. */
int lh_packing_new(unsigned nthings, const double *rate, struct lh_packing **ret, struct lh_err *err);
/* At least one load; things may come several times. */
int lh_packing_add(struct lh_packing *p, const struct lh_load *loads, unsigned nloads, struct lh_err *err);
int lh_packing_solve(struct lh_packing *p, struct lh_err *err);
/* After a solve. Prices: [nthings], amounts: [ways]; both by the caller. Returns the sum of the amounts. */
double lh_packing_read(const struct lh_packing *p, double *ret_prices, double *ret_amounts);
void lh_packing_free(struct lh_packing *p);

#endif
