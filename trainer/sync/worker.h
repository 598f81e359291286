/* worker.h - one peer as rounds and strategies see it: what calculates, what carries frames, and time.
 *
 * Time and waiting are the owner's: train.c waits on sockets with the real clock, a test may run many workers in one
 * process on a clock of its own.
 */
#ifndef TRAINER_SYNC_WORKER_H
#define TRAINER_SYNC_WORKER_H

#include "comm/transport.h"
#include "engine.h"
#include "longhaul/peer.h"
#include "turn.h"

struct lh_round;

struct lh_worker {
	const struct lh_peer_config *c;
	const struct lh_engine_ops *ops;
	struct lh_engine_state *engine;
	struct lh_transport *t;
	lh_ns paused_ns;              /* since the last commit: a checkpoint was written; the pace knows nothing of it */
	struct lh_turn *turn;         /* of a shared device; NULL: this peer has one of its own */
	uint64_t *ids;                /* [microbatch], for the round under way */
	lh_ns (*now)(void *ctx);
	/* Let the network move until then, or until something happened; once, without waiting, when that is past. */
	int (*wait)(void *ctx, lh_ns until_ns, struct lh_err *err);
	/* Samples that come from elsewhere; NULL: the engine makes its own. have: 1 these are here, 0 not yet, wait for them.
	 * expect: this round's are needed next. */
	int (*have)(void *ctx, uint64_t first, size_t n, struct lh_err *err);
	int (*expect)(void *ctx, const struct lh_round *r, struct lh_err *err);
	void *ctx;
};

/* One microbatch, samples first ... first + n - 1; its loss and CPU time are added to the event. */
int lh_worker_step(struct lh_worker *w, uint64_t first, size_t n, struct lh_event *e, struct lh_err *err);

/* Somebody left after a round before this one (it was told to stop first): this round cannot be completed. */
static inline bool lh_worker_is_void(const struct lh_worker *w, uint32_t epoch)
{
	return w->t->bye_seen && w->t->bye_exchange < epoch;
}

#endif
