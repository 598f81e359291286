/* member.h - who is in the group, which round is committed, and what happens when a peer comes or goes. A pure state
 * machine: no sockets, no clock, no memory of its own. docs/decisions/0017-membership.md is its theory of operation.
 *
 *     JOINING -> SYNCING -> READY -> ROUND -> commit: READY
 *                                      \----> change of the group: commit or abort, then READY in the next view
 *
 * Inputs are the functions below; outputs are the calls of struct lh_member_ops, made before an input returns. They must
 * not call back into the machine. What a peer sends another must come in order, or the connection be reported lost;
 * nothing is promised about when. Safety needs no clock; `now_ns` decides only when to try again and when to give up.
 */
#ifndef TRAINER_MEMBER_MEMBER_H
#define TRAINER_MEMBER_MEMBER_H

#include "message.h"

enum lh_member_end {
	LH_MEMBER_FINISHED,  /* the last round is committed, and all that are left know it */
	LH_MEMBER_TOO_LATE,  /* the run ended before this peer could join */
	LH_MEMBER_LEFT,      /* as it was told to */
	LH_MEMBER_NO_QUORUM, /* too few members of the view are in reach to decide anything */
	LH_MEMBER_NO_GROUP,  /* a joiner found no group that it can reach all members of */
	LH_MEMBER_NO_STATE,  /* all members that had the state are gone */
	LH_MEMBER_MISMATCH,  /* results differed again and again */
	LH_MEMBER_BROKEN,    /* another member's decision contradicts what this one holds: a defect */
};

struct lh_member_ops {
	/* To all ranks of `to` that are connected. */
	void (*send)(void *ctx, uint64_t to, const struct lh_member_message *msg);
	/* All members hold this result of round `version`: apply it. */
	void (*commit)(void *ctx, uint32_t version, uint64_t hash);
	/* A group begins (lh_member_view). What was exchanged for the round under way is void, results included. */
	void (*install)(void *ctx, lh_ns noticed_ns);
	/* This peer needs the state after round `version`; `donor` was asked for it. Earlier such calls are void. */
	void (*fetch)(void *ctx, unsigned donor, uint32_t version);
	/* Send `to` the state after round `version`, which is this peer's, until the next commit or install. */
	void (*serve)(void *ctx, unsigned to, uint32_t version);
	/* This peer is not in the group any more, though it lives: it has no state and joins again. */
	void (*excluded)(void *ctx);
	void (*over)(void *ctx, enum lh_member_end end);
};

struct lh_member_config {
	unsigned rank, size;       /* size at most LH_MEMBER_CAP */
	uint32_t incarnation;
	uint64_t founders;         /* members of view 1: all ranks that are there from the beginning */
	uint64_t batch, stride;    /* samples of a round's table; ids from one version's to the next's, 0: batch */
	uint32_t rounds;           /* of the run */
	uint32_t version;          /* rounds that the founders' state has: a run that goes on */
	const double *weights;     /* [LH_MEMBER_CAP]: declared pace of each rank */
	lh_ns give_up_ns;          /* how long to wait for a quorum, or for a group to join */
	lh_ns retry_ns;            /* before a refused change is tried again; longer than a few round trips */
};

struct lh_promise {
	uint64_t hash, connected;
	uint32_t version, flags;
};

enum lh_change_phase { LH_CHANGE_IDLE, LH_CHANGE_PREPARE, LH_CHANGE_PROPOSE };

struct lh_member {
	struct lh_member_config c;
	const struct lh_member_ops *ops;
	void *ctx;
	bool is_over, in_view, synced, has_result, notice;
	bool need_change, mismatch, started; /* started: the exchange of the round after version has begun */
	uint32_t version;          /* rounds that this peer's state has; without state: the view's */
	struct lh_view view;       /* the last one known; number 0: none */
	uint64_t result;           /* hash of the own result of the next round */
	uint64_t acks, ack_hash;   /* who holds a result of the next round, and which */
	uint64_t connected, done, leaving, asking;
	uint32_t cause;            /* of need_change */
	uint32_t mismatches;       /* in a row */
	uint32_t incarnation[LH_MEMBER_CAP];  /* of who is connected */
	uint64_t asked[LH_MEMBER_CAP];        /* of who is asking: who it is connected to */
	lh_ns rtt_ns[LH_MEMBER_CAP];
	unsigned donor;
	unsigned suspected_to;     /* who was told of the present cause; LH_MEMBER_CAP: nobody */
	lh_ns noticed_ns, retry_at_ns, quorumless_ns, searching_ns; /* 0: not */
	/* The change of this view into the next one: acceptor, then coordinator. */
	uint32_t promised, accepted_ballot;
	struct lh_view accepted;
	enum lh_change_phase phase;
	uint32_t ballot, seen, best_ballot;
	uint64_t promises, accepts;
	struct lh_promise promise[LH_MEMBER_CAP];
	struct lh_view proposal;   /* while preparing: the value of best_ballot */
};

/* A founder is in view 1 at once and takes all founders for connected until it hears of a loss. */
void lh_member_init(struct lh_member *m, const struct lh_member_config *config, const struct lh_member_ops *ops,
		    void *ctx, lh_ns now_ns);

/* A connection with a peer is open, in this incarnation; or the one there was is no more. */
void lh_member_found(struct lh_member *m, unsigned peer, uint32_t incarnation, lh_ns rtt_ns, lh_ns now_ns);
void lh_member_lost(struct lh_member *m, unsigned peer, lh_ns now_ns);
/* -EPROTO: no member sends this, and nothing has changed; the connection is not worth keeping. */
int lh_member_receive(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns,
		      struct lh_err *err);
/* The exchange of the round begins; its result is complete, with this hash, and kept until commit or install. */
void lh_member_exchange(struct lh_member *m);
void lh_member_result(struct lh_member *m, uint64_t hash, lh_ns now_ns);
/* The state after round `version` is here, whole and checked. */
void lh_member_synced(struct lh_member *m, uint32_t version, lh_ns now_ns);
/* Leave the group after this round. */
void lh_member_notice(struct lh_member *m, lh_ns now_ns);
/* Call it at lh_member_timer (INT64_MAX: never) at the latest. */
void lh_member_tick(struct lh_member *m, lh_ns now_ns);
lh_ns lh_member_timer(const struct lh_member *m);

/* "joining", "syncing", "ready", "round", "voted", "changing", "over": for people and tests. */
const char *lh_member_state(const struct lh_member *m);
const char *lh_member_end_text(enum lh_member_end end);
/* Samples that this peer has in the round under way. */
static inline uint64_t lh_member_share(const struct lh_member *m)
{
	return lh_table_samples(&m->view.table, m->c.rank);
}

#endif
