/* elastic_state.h - the state of the group on its way from a member to one that joins.
 *
 * It goes in parts, each by whichever stream is free, so in any order; the last one to be made says what the hashes
 * of all others add up to. A donor's state stays as it is until the joiner's ACK, so parts may come from one
 * donor and, after a change of the group, from another; but not where members have moments of their own (strategies whose
 * state has `taken`): the owner then passes on only what the donor asked sends.
 */
#ifndef TRAINER_ELASTIC_STATE_H
#define TRAINER_ELASTIC_STATE_H

#include "comm/transport.h"
#include "engine.h"
#include "sync/strategy.h"

#define LH_STATE_PART (128 * 1024)
#define LH_STATE_AHEAD 4 /* parts on their way to one peer */

/* Whose: the strategy's shared state where it has one, else the engine's. */
struct lh_state_of {
	const struct lh_engine_ops *ops;
	struct lh_engine_state *engine;
	struct lh_strategy *s; /* NULL: none */
};

struct lh_state_out { /* to one peer */
	bool active;
	uint32_t version, next;
	uint64_t sum;
	uint8_t *buffer[LH_STATE_AHEAD];
	bool busy[LH_STATE_AHEAD];
};

struct lh_state_in {
	bool active, has_sum;
	unsigned donor;
	uint32_t version, parts, got;
	uint64_t sum, told_sum, told_hash, bytes;
	lh_ns begin_ns;
	uint8_t *have; /* [parts] */
};

uint32_t lh_state_parts(const struct lh_state_of *of);
/* Of the parameters in it. */
uint64_t lh_state_hash(const struct lh_state_of *of);

/* Begin, from its first part. */
void lh_state_serve(struct lh_state_out *o, uint32_t version);
/* What to send next: 1, 0 for nothing (now), or an error. */
int lh_state_next(struct lh_state_out *o, const struct lh_state_of *of, struct lh_frame *ret,
		  const void **ret_payload, struct lh_err *err);
void lh_state_sent(struct lh_state_out *o, const void *payload);
/* The connection is gone, and what was on its way with it. */
void lh_state_out_lost(struct lh_state_out *o);
void lh_state_out_done(struct lh_state_out *o);

int lh_state_fetch(struct lh_state_in *in, const struct lh_state_of *of, unsigned donor, uint32_t version,
		   lh_ns now_ns, struct lh_err *err);
/* A part came. 1: the state is whole, and right; 0: not yet, or not for us; -EPROTO, -EBADMSG: the peer is no good. */
int lh_state_take(struct lh_state_in *in, const struct lh_state_of *of, const struct lh_frame *f,
		  const uint8_t *payload, struct lh_err *err);
void lh_state_in_done(struct lh_state_in *in);

#endif
