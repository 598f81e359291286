/* packing.c - see packing.h.
 *
 * The dual of that programme, minimise sum of rate(e) y(e) so that every way costs 1 or more, has a solution to begin
 * with that is optimal but not feasible (y = 0), stays so when a way is added, and has few rows: one a way. So it is what
 * is kept, as a dictionary: every basic variable is `constant + sum of factor x nonbasic variable`. Variables are the
 * prices y and, of each way, its surplus (cost - 1). A nonbasic surplus' factor in the objective is the amount x.
 */
#include "packing.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEASIBLE 1e-9
#define PIVOT_LEAST 1e-9
#define APART 1e-5
#define PIVOTS_MAX 20000u

struct lh_packing {
	unsigned m, n, cap;      /* things, ways, room for ways */
	double scale;            /* the largest rate: objective factors are within 1 */
	double *objective;       /* [m] of the nonbasic variables */
	unsigned *nonbasic;      /* [m] variables: 0 ... m - 1 prices, m + k the surplus of way k */
	double **row;            /* [n][m + 1], the constant last */
	unsigned *basic;         /* [n] */
};

static int no_memory(struct lh_err *err)
{
	return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "linear programme");
}

int lh_packing_new(unsigned nthings, const double *rate, struct lh_packing **ret, struct lh_err *err)
{
	struct lh_packing *p = calloc(1, sizeof *p);
	if (!p)
		return no_memory(err);
	p->m = nthings;
	p->objective = calloc(nthings + 1, sizeof *p->objective);
	p->nonbasic = calloc(nthings + 1, sizeof *p->nonbasic);
	if (!p->objective || !p->nonbasic) {
		lh_packing_free(p);
		return no_memory(err);
	}
	for (unsigned e = 0; e < nthings; e++)
		p->scale = fmax(p->scale, rate[e]);
	for (unsigned e = 0; e < nthings; e++) {
		/* Many rates are equal, and the method may turn in circles among equals. */
		p->objective[e] = rate[e] / p->scale * (1 + APART * (e * 2654435761u >> 8 & 0xffff) / 0xffff);
		p->nonbasic[e] = e;
	}
	*ret = p;
	return 0;
}

void lh_packing_free(struct lh_packing *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		free(p->row[i]);
	free(p->row);
	free(p->basic);
	free(p->objective);
	free(p->nonbasic);
	free(p);
}

static bool grow(struct lh_packing *p)
{
	if (p->n < p->cap)
		return true;
	unsigned cap = p->cap ? 2 * p->cap : 32;
	double **row = realloc(p->row, cap * sizeof *row);
	p->row = row ? row : p->row;
	unsigned *basic = realloc(p->basic, cap * sizeof *basic);
	p->basic = basic ? basic : p->basic;
	if (!row || !basic)
		return false;
	p->cap = cap;
	return true;
}

int lh_packing_add(struct lh_packing *p, const struct lh_load *loads, unsigned nloads, struct lh_err *err)
{
	double *load = calloc(p->m + 1, sizeof *load), *row = calloc(p->m + 1, sizeof *row);
	if (!load || !row || !grow(p)) {
		free(load);
		free(row);
		return no_memory(err);
	}
	for (unsigned i = 0; i < nloads; i++)
		load[loads[i].thing] += loads[i].amount;
	row[p->m] = -1;
	for (unsigned j = 0; j < p->m; j++)
		if (p->nonbasic[j] < p->m)
			row[j] += load[p->nonbasic[j]];
	for (unsigned i = 0; i < p->n; i++) {
		double factor = p->basic[i] < p->m ? load[p->basic[i]] : 0;
		for (unsigned j = 0; factor > 0 && j <= p->m; j++)
			row[j] += factor * p->row[i][j];
	}
	free(load);
	p->row[p->n] = row;
	p->basic[p->n] = p->m + p->n;
	p->n++;
	return 0;
}

/* Row i and column j change places. */
static void pivot(struct lh_packing *p, unsigned i, unsigned j)
{
	double *own = p->row[i], by = own[j];
	own[j] = -1;
	for (unsigned k = 0; k <= p->m; k++)
		own[k] /= -by;
	for (unsigned r = 0; r <= p->n; r++) {
		double *row = r < p->n ? p->row[r] : p->objective, factor = row[j];
		if (r == i || factor == 0)
			continue;
		row[j] = 0;
		for (unsigned k = 0; k < p->m; k++)
			row[k] += factor * own[k];
		if (r < p->n)
			row[p->m] += factor * own[p->m];
	}
	unsigned variable = p->basic[i];
	p->basic[i] = p->nonbasic[j];
	p->nonbasic[j] = variable;
}

static unsigned leaving(const struct lh_packing *p)
{
	unsigned worst = p->n;
	double least = -FEASIBLE;
	for (unsigned i = 0; i < p->n; i++)
		if (p->row[i][p->m] < least) {
			least = p->row[i][p->m];
			worst = i;
		}
	return worst;
}

/* The first that would become negative in the objective; of equals the largest factor, for the sake of rounding. */
static unsigned entering(const struct lh_packing *p, const double *row)
{
	unsigned best = p->m;
	double ratio = INFINITY;
	for (unsigned j = 0; j < p->m; j++) {
		if (row[j] < PIVOT_LEAST)
			continue;
		double r = fmax(p->objective[j], 0) / row[j];
		if (r < ratio - 1e-12 || (r < ratio + 1e-12 && row[j] > row[best])) {
			ratio = fmin(r, ratio);
			best = j;
		}
	}
	return best;
}

int lh_packing_solve(struct lh_packing *p, struct lh_err *err)
{
	for (unsigned step = 0; step < PIVOTS_MAX; step++) {
		unsigned i = leaving(p);
		if (i == p->n)
			return 0;
		unsigned j = entering(p, p->row[i]);
		if (j == p->m)
			return lh_err_set(err, LH_EXIT_MACHINE, -ERANGE, "linear programme: a way that uses nothing");
		pivot(p, i, j);
	}
	return lh_err_set(err, LH_EXIT_MACHINE, -ELOOP, "linear programme: no end after %u steps", PIVOTS_MAX);
}

double lh_packing_read(const struct lh_packing *p, double *ret_prices, double *ret_amounts)
{
	double sum = 0;
	for (unsigned e = 0; e < p->m; e++)
		ret_prices[e] = 0;
	for (unsigned k = 0; k < p->n; k++)
		ret_amounts[k] = 0;
	for (unsigned i = 0; i < p->n; i++)
		if (p->basic[i] < p->m)
			ret_prices[p->basic[i]] = fmax(p->row[i][p->m], 0);
	for (unsigned j = 0; j < p->m; j++)
		if (p->nonbasic[j] >= p->m) {
			double x = fmax(p->objective[j], 0) * p->scale;
			ret_amounts[p->nonbasic[j] - p->m] = x;
			sum += x;
		}
	return sum;
}
