/* elastic_round.h - one peer's part of the version under way, in a group that changes (elastic.c): what it was dealt,
 * calculated on schedule, and told at the commit.
 */
#ifndef TRAINER_ELASTIC_ROUND_H
#define TRAINER_ELASTIC_ROUND_H

#include "comm/subset.h"
#include "elastic.h"
#include "elastic_state.h"
#include "member/member.h"
#include "pace.h"

struct lh_elastic {
	const struct lh_elastic_host *h;
	struct lh_worker *w;
	const struct lh_peer_config *c;
	struct lh_member m;
	double weights[LH_MEMBER_CAP];
	struct lh_subset *subset;
	struct lh_state_of of;
	struct lh_state_out out[LH_MEMBER_CAP];
	struct lh_state_in in;
	uint32_t span, versions;   /* rounds of a version, versions of the run */
	/* The version under way. */
	uint32_t view;             /* the one installed; 0: none */
	uint64_t members;          /* of it */
	uint32_t incarnation[LH_MEMBER_CAP];
	uint32_t goal;             /* its number */
	uint32_t first, n, at;     /* of its rounds: how many were before, how many there are, which one is under way */
	struct lh_round round;     /* all of them together; its epoch is the last's */
	struct lh_range ranges[LH_MEMBER_RANGES];
	size_t nranges;
	struct lh_event *e;        /* [span] */
	struct lh_spans *spans;    /* [span] */
	struct lh_pace pace;
	uint64_t done, paced_from; /* samples; where the present schedule began */
	uint64_t step, stepped;    /* samples of an own update; where the last one was made */
	uint32_t rounds;           /* counts new versions, to notice one from within a wait */
	bool share_done, exchanging, told;
	/* Checkpoints. */
	lh_ns checkpoint_ns, checkpointed_ns; /* interval, 0: none; when the last one was written */
	bool has_checkpoint;
	uint32_t checkpoint_version;
	uint64_t deaf;             /* peers that do not take what is said to them */
	uint32_t steps;            /* of the protocol, for the test hook */
	bool over, stop_seen;
	enum lh_member_end end;
	int rc;
	struct lh_err err;
};

static inline lh_ns lh_elastic_now(const struct lh_elastic *x)
{
	return x->w->now(x->w->ctx);
}

/* Between any two of these nothing happens that another peer could notice: where tests kill a peer. */
void lh_elastic_step(struct lh_elastic *x);

/* Rounds that are committed with a version. */
uint32_t lh_elastic_rounds_of(const struct lh_elastic *x, uint32_t version);

/* Samples of this peer in all rounds of the version under way, as the deal is now. */
uint64_t lh_elastic_share(const struct lh_elastic *x);

/* The version after the machine's begins. */
void lh_elastic_new_round(struct lh_elastic *x, lh_ns begin_ns);

/* Waits for the samples of the next microbatch or calculates it, then waits until its device would be done; returns early when a
 * new version begins meanwhile. */
int lh_elastic_calculate(struct lh_elastic *x, struct lh_err *err);

/* All that this peer was dealt is calculated: only the exchange is left. */
void lh_elastic_end_share(struct lh_elastic *x);

/* The version is committed: all of its rounds count now, and are told. */
int lh_elastic_tell_rounds(struct lh_elastic *x, struct lh_err *err);

#endif
