/* matching.h - a peer's part in finding the groups of a round (match.h), by way of reports: sums over all peers.
 *
 * Theory of operation. A report has a place for each peer, in which it puts when it began to look for a group and how
 * many samples it has; nobody else adds to that place. The first report of a round in which everybody looks is the same
 * on all peers, so all work out the same groups. Where these are not the groups of before, the exchange is made anew
 * among the own group; and since another peer may know sooner than this one, nobody begins to exchange before one more
 * report has come: everybody took part in that, and nobody does before its own exchange is made.
 *
 * Who has once averaged without the others no longer holds what they hold, and nothing here brings that back.
 */
#ifndef TRAINER_SYNC_MATCHING_H
#define TRAINER_SYNC_MATCHING_H

#include "exchange.h"
#include "strategy.h"

struct lh_matching;

/* Places of a report: so many numbers. */
unsigned lh_matching_fields(unsigned npeers);
/* port: that of the exchange, as lh_exchange_new_port was given it. */
int lh_matching_new(struct lh_worker *w, struct lh_transport *port, struct lh_matching **ret, struct lh_err *err);
/* A round begins: nobody looks yet. */
void lh_matching_round(struct lh_matching *m);
/* This peer looks from now on; again: nothing. */
void lh_matching_search(struct lh_matching *m, lh_ns now_ns);
/* This peer's places of a report that leaves now; the others are 0. */
void lh_matching_put(const struct lh_matching *m, uint64_t samples, float *places);
/* A report has come. `exchange` may be made anew; `begun` of its exchanges, each with a number `stride` above the one
 * before, have been. */
int lh_matching_take(struct lh_matching *m, const float *places, struct lh_exchange *exchange, uint32_t begun,
		     uint32_t stride, struct lh_err *err);
/* The groups are known and everybody's exchange is made for them. */
bool lh_matching_settled(const struct lh_matching *m);
/* When settled: no exchange before this time. */
lh_ns lh_matching_close_ns(const struct lh_matching *m);
/* Samples of this peer's group by the last report. */
uint64_t lh_matching_samples(const struct lh_matching *m);
/* Fills groups, group and group_size. */
void lh_matching_tell(const struct lh_matching *m, struct lh_round *r);
/* 1 once a round was split: peers no longer hold the same. For checkpoints. */
uint64_t *lh_matching_was_split(struct lh_matching *m);
void lh_matching_free(struct lh_matching *m); /* before the port; NULL is fine */

#endif
