/* dist.c - see dist.h. Quantile tables: entry i stands for the probability (i + 1/2) / N. */
#include "dist.h"

#include <math.h>
#include <pthread.h>

enum { NDIST = LH_DIST_PARETONORMAL + 1, NORMALISE_ROUNDS = 40 };

static int16_t tables[NDIST][LH_DIST_ENTRIES]; /* constant once `made` has run */
static pthread_once_t made = PTHREAD_ONCE_INIT;

static double middle(unsigned i)
{
	return (i + 0.5) / LH_DIST_ENTRIES;
}

/* The first bits of i in reverse order as a fraction: even cover of (0, 1) that is independent of i's own order. */
static double radical_inverse(unsigned i)
{
	double x = 0.5 / LH_DIST_ENTRIES;
	for (double bit = 0.5; i; i >>= 1, bit /= 2)
		x += (i & 1) * bit;
	return x;
}

/* Newton's method on the normal distribution function, from a start on the outer side of the tail, where it
 * converges from one side. */
static double normal_quantile(double p)
{
	if (p > 0.5)
		return -normal_quantile(1 - p);
	double x = -sqrt(-2 * log(p));
	for (int i = 0; i < 60; i++) {
		double step = (0.5 * erfc(-x * M_SQRT1_2) - p) / (exp(-x * x / 2) / sqrt(2 * M_PI));
		x -= step;
		if (fabs(step) < 1e-12)
			break;
	}
	return x;
}

/* Shape 3: mean 3/2, variance 3/4. */
static double pareto_quantile(double p)
{
	return (pow(1 - p, -1.0 / 3) - 1.5) / sqrt(0.75);
}

static double clip(double x)
{
	const double limit = 32767.0 / LH_DIST_SCALE;
	return x > limit ? limit : x < -limit ? -limit : x;
}

static void store(enum lh_dist dist, const double *x)
{
	for (unsigned i = 0; i < LH_DIST_ENTRIES; i++)
		tables[dist][i] = (int16_t)lround(x[i] * LH_DIST_SCALE);
}

/* Clipping a tail moves the mean and narrows the spread; scale and shift until both are right after it. */
static void normalise_and_store(enum lh_dist dist, const double *raw)
{
	double scale = 1, shift = 0, x[LH_DIST_ENTRIES];
	for (int round = 0; round < NORMALISE_ROUNDS; round++) {
		double sum = 0, squares = 0;
		for (unsigned i = 0; i < LH_DIST_ENTRIES; i++) {
			x[i] = clip(raw[i] * scale + shift);
			sum += x[i];
			squares += x[i] * x[i];
		}
		double mean = sum / LH_DIST_ENTRIES;
		double deviation = sqrt(squares / LH_DIST_ENTRIES - mean * mean);
		scale /= deviation;
		shift = (shift - mean) / deviation;
	}
	for (unsigned i = 0; i < LH_DIST_ENTRIES; i++)
		x[i] = clip(raw[i] * scale + shift);
	store(dist, x);
}

static void make(void)
{
	double x[LH_DIST_ENTRIES];
	for (unsigned i = 0; i < LH_DIST_ENTRIES; i++)
		x[i] = 2 * middle(i) - 1;
	store(LH_DIST_UNIFORM, x);
	for (unsigned i = 0; i < LH_DIST_ENTRIES; i++)
		x[i] = normal_quantile(middle(i));
	normalise_and_store(LH_DIST_NORMAL, x);
	for (unsigned i = 0; i < LH_DIST_ENTRIES; i++)
		x[i] = pareto_quantile(middle(i));
	normalise_and_store(LH_DIST_PARETO, x);
	for (unsigned i = 0; i < LH_DIST_ENTRIES; i++)
		x[i] = 0.25 * normal_quantile(middle(i)) + 0.75 * pareto_quantile(radical_inverse(i));
	normalise_and_store(LH_DIST_PARETONORMAL, x);
}

const int16_t *lh_dist_table(enum lh_dist dist)
{
	if ((unsigned)dist >= NDIST)
		return NULL;
	pthread_once(&made, make);
	return tables[dist];
}

unsigned lh_dist_reach(enum lh_dist dist)
{
	return dist == LH_DIST_UNIFORM ? 1 : 4;
}

const char *lh_dist_name(enum lh_dist dist)
{
	static const char *const names[NDIST] = { "uniform", "normal", "pareto", "paretonormal" };
	return (unsigned)dist < NDIST ? names[dist] : "?";
}
