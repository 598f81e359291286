/* stats.h - order statistics of small samples. Undefined is NaN, which JSON writes as null. */
#ifndef HARNESS_STATS_H
#define HARNESS_STATS_H

#include <stddef.h>

struct json_t;

struct lh_stats {
	size_t n;                 /* finite values seen; the others are left out */
	double min, median, max;  /* NaN when n == 0 */
	double p10, p90;
};

/* p-th quantile (0 ... 1) of sorted[n], linear between the two nearest ranks (Hyndman and Fan's type 7).
 * NaN when n is 0. */
double lh_quantile(const double *sorted, size_t n, double p);

/* Sorts a copy of values[n], non-finite ones left out. -ENOMEM or 0. */
int lh_stats_compute(const double *values, size_t n, struct lh_stats *ret);

/* Digits after the point with which a figure of v's size has at least so many significant ones: a column of them lines
 * up and ends in no lonely whole number. */
int lh_digits_after(double v, int significant);

/* JSON number, or null for NaN and infinities. */
struct json_t *lh_json_number(double value);

#endif
