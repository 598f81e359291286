/* stats.c - see stats.h. */
#include "stats.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

double lh_quantile(const double *sorted, size_t n, double p)
{
	if (n == 0)
		return NAN;
	double at = p * (double)(n - 1);
	size_t low = (size_t)floor(at);
	if (low >= n - 1)
		return sorted[n - 1];
	double part = at - (double)low;
	return sorted[low] + part * (sorted[low + 1] - sorted[low]);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int lh_stats_compute(const double *values, size_t n, struct lh_stats *ret)
{
	double *sorted = malloc((n ? n : 1) * sizeof *sorted);
	size_t kept = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (isfinite(values[i]))
			sorted[kept++] = values[i];
	qsort(sorted, kept, sizeof *sorted, compare_doubles);
	*ret = (struct lh_stats){
		.n = kept,
		.min = lh_quantile(sorted, kept, 0),
		.p10 = lh_quantile(sorted, kept, 0.1),
		.median = lh_quantile(sorted, kept, 0.5),
		.p90 = lh_quantile(sorted, kept, 0.9),
		.max = lh_quantile(sorted, kept, 1),
	};
	free(sorted);
	return 0;
}

struct json_t *lh_json_number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

int lh_digits_after(double v, int significant)
{
	int before = isfinite(v) && v != 0 ? (int)floor(log10(fabs(v))) + 1 : 1;

	return significant > before ? significant - before : 0;
}
