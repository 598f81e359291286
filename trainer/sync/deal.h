/* deal.h - which samples each peer takes, dealt once before the round. Pure.
 *
 * Round e (from 1) trains on the global sample ids [ (e-1) x batch, e x batch ). They are cut into runs in the order
 * of ranks, as long as the peers' weights say, by the method of largest remainders: every id is dealt exactly
 * once, and every peer computes the same table.
 */
#ifndef TRAINER_SYNC_DEAL_H
#define TRAINER_SYNC_DEAL_H

#include <stdint.h>

struct lh_share {
	uint64_t first, count;
};

/* weights: positive and finite. shares: [npeers], filled. Ties of remainders go to the lower rank. */
void lh_deal(uint64_t batch, uint32_t epoch, const double *weights, unsigned npeers, struct lh_share *shares);

#endif
