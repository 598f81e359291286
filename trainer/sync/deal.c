#include "deal.h"

#include <math.h>
#include <stdbool.h>

/* The rank whose exact share exceeds what it has by most (or least, when samples must be taken back). */
static unsigned furthest(const struct lh_share *shares, const double *weights, double total, uint64_t batch,
			 unsigned npeers, bool below)
{
	unsigned best = npeers;
	double best_by = 0;
	for (unsigned i = 0; i < npeers; i++) {
		double by = (double)batch * (weights[i] / total) - (double)shares[i].count;
		if (!below)
			by = -by;
		if (best == npeers || by > best_by) {
			best = i;
			best_by = by;
		}
	}
	return best;
}

void lh_deal(uint64_t batch, uint32_t epoch, const double *weights, unsigned npeers, struct lh_share *shares)
{
	double total = 0;
	uint64_t dealt = 0, at = (uint64_t)(epoch - 1) * batch;
	for (unsigned i = 0; i < npeers; i++)
		total += weights[i];
	for (unsigned i = 0; i < npeers; i++) {
		double exact = floor((double)batch * (weights[i] / total));
		shares[i].count = exact < (double)batch ? (uint64_t)exact : batch;
		dealt += shares[i].count;
	}
	/* Fewer than npeers samples are left; rounding of the quotients may also have dealt one too many. */
	while (dealt != batch) {
		unsigned i = furthest(shares, weights, total, batch, npeers, dealt < batch);
		shares[i].count += dealt < batch ? 1 : (uint64_t)-1;
		dealt += dealt < batch ? 1 : (uint64_t)-1;
	}
	for (unsigned i = 0; i < npeers; i++) {
		shares[i].first = at;
		at += shares[i].count;
	}
}
