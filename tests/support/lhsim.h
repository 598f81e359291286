/* lhsim.h - a whole run in one process: rounds, strategies, exchanges over the loopback transport, in simulated time.
 *
 * Each peer is a thread, but only one runs at a time; it gives the turn away when it waits, and a draw from the seed says
 * who is next. Time passes by a drawn bit with every turn, and jumps to the next thing that somebody waits for when
 * nothing moves any more. So a run takes as long as its calculation, its order of arrival is drawn anew for each seed,
 * and the same seed gives the same run.
 */
#ifndef LHSIM_H
#define LHSIM_H

#include "sync/strategy.h"

enum { LHSIM_PEERS = 16 };

struct lhsim {
	struct lh_peer_config config;    /* shared; rank is filled in for each */
	struct lh_peer_endpoint endpoints[LHSIM_PEERS];
	const struct lh_engine_ops *engine;
	uint64_t seed;
	unsigned depth, streams;         /* of the loopback */
	lh_ns tick_ns;                   /* a turn takes 0 ... this */
	/* After each commit, in the peer's turn. May be NULL. */
	void (*committed)(void *ctx, struct lh_worker *w, const struct lh_event *e);
	void *ctx;
	struct lh_event *events;         /* [epochs][size], filled; the caller's to free */
	struct lh_err err;               /* of the first that failed */
};

/* n peers of 200 samples/s with sensible values: engine cpu on digits, fp32, AdamW. */
void lhsim_init(struct lhsim *s, unsigned n);
/* 0, or the first error: also -EDEADLK when nobody can go on. */
int lhsim_run(struct lhsim *s);
const struct lh_event *lhsim_event(const struct lhsim *s, uint32_t epoch, unsigned rank);
/* Sum over the peers of the losses of a round's samples. */
double lhsim_loss(const struct lhsim *s, uint32_t epoch);
void lhsim_done(struct lhsim *s);

#endif
