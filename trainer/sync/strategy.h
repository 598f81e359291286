/* strategy.h - when peers exchange and what: the third choice beside pattern and codec. One strategy is one row.
 *
 * A round is: calculate a share of samples, exchange, update. The loop (train.c) carries it out; a strategy only
 * says what this peer's next round is.
 */
#ifndef TRAINER_SYNC_STRATEGY_H
#define TRAINER_SYNC_STRATEGY_H

#include "longhaul/peer.h"

struct lh_round {
	uint64_t first_sample, samples; /* of this peer */
	uint64_t total_samples;         /* of all peers: what the summed gradient is divided by */
	bool exchange;                  /* average gradients at the end of the round */
};

struct lh_strategy {
	const char *name;
	int (*round)(const struct lh_peer_config *c, uint32_t epoch, struct lh_round *ret, struct lh_err *err);
};

/* Every target batch, exact: samples dealt before the round in proportion to the declared rates, every gradient
 * counts once, everybody averages at the end of each round. */
extern const struct lh_strategy lh_strategy_exact;

#endif
