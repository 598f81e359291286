/* state_run.h - which run a state is of: what it means nothing without, as facts of a checkpoint (state_file.h).
 */
#ifndef COMMON_STATE_RUN_H
#define COMMON_STATE_RUN_H

#include "longhaul/peer.h"
#include "state_file.h"

struct lh_state_text { char bytes[LH_STATE_FACTS_MAX]; size_t n; };

/* One more line; what has no room is left out. */
void lh_state_say(struct lh_state_text *t, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* What must agree, since the state was made with it: model, seed, batch, the optimiser with its rule (momentum, betas, epsilon,
 * decay), strategy with its periods and outer momentum, wire. */
void lh_state_say_run(struct lh_state_text *t, const struct lh_peer_config *c);
/* What may differ, since it only says how far and how exactly the next updates go: rates, schedule, clipping, precision. */
void lh_state_say_pace(struct lh_state_text *t, const struct lh_peer_config *c);
/* -EBADMSG: the file is of another run, and in what. */
int lh_state_check_run(const struct lh_state_head *h, const struct lh_peer_config *c, struct lh_err *err);

/* What differs of what may. */
enum { LH_STATE_CHANGES_MAX = 12 };
struct lh_state_changes {
	unsigned n;
	struct lh_state_change { char key[32], was[96], is[96]; } of[LH_STATE_CHANGES_MAX];
};
void lh_state_changes(const struct lh_state_head *h, const struct lh_peer_config *c, struct lh_state_changes *ret);

/* Where in the run it was taken, and by whom. */
struct lh_state_where {
	unsigned rank, size; /* of the peer that wrote it, and of its group */
	uint32_t round;      /* rounds that the state has */
	uint64_t samples;    /* in all of them */
	bool shared;         /* all peers held the same parameters, nothing under way that is one peer's alone */
	bool elastic;
};
int lh_state_parse_where(const struct lh_state_head *h, struct lh_state_where *ret, struct lh_err *err);

#endif
