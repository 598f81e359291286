/* group.h - who was in the group when: what the members told of it (views), what the schedule and the processes did
 * (lives of peers), and from both the interruptions with their times. Pure; docs/MEASUREMENT.md has every formula.
 *
 * With membership fixed nothing is told, and there is nothing to summarise.
 */
#ifndef HARNESS_GROUP_H
#define HARNESS_GROUP_H

#include "longhaul/experiment.h"

/* One process of a peer. */
struct lh_life {
	unsigned peer;
	uint32_t incarnation;
	bool founder;             /* there when the run began */
	bool ended, finished, failed, left;
	lh_ns start_ns, notice_ns, kill_ns, left_ns, end_ns; /* 0: not */
	bool synced;
	lh_ns sync_begin_ns, sync_end_ns;
	uint64_t sync_bytes;
	unsigned donor;
	double held_back_l1;      /* by its error feedback after its last commit; NaN: not told */
};

/* A view, as all who told of it told it. */
struct lh_view_record {
	uint32_t number, version, aborted_round;
	uint64_t members, gone, came, told; /* masks of ranks; told: who said so */
	enum lh_view_cause cause;
	uint64_t samples_redealt;
	lh_ns first_ns, last_ns;  /* when the first and the last member of before told that it begins; joiners too where all
				   * are joiners */
	lh_ns noticed_first_ns, noticed_last_ns; /* of its cause, by those who were members before */
	lh_ns began_ns[LH_MEMBERS_MAX]; /* for each who told */
};

enum lh_interruption_why {
	LH_GONE_KILLED,  /* by the schedule */
	LH_GONE_DIED,    /* its process ended, unasked */
	LH_GONE_GAVE_UP, /* it said that it failed */
	LH_GONE_LEFT,    /* after a notice, on its own */
	LH_GONE_CUT_OFF, /* it lived: stalled, or out of reach */
};
const char *lh_interruption_why_name(enum lh_interruption_why why); /* "killed", "died", ... */

struct lh_interruption {
	unsigned peer;
	enum lh_interruption_why why;
	uint32_t epoch;           /* under way; 0: no view told */
	uint32_t view;            /* that was formed without it; 0: none was */
	/* Instants; 0: not known, or it did not happen. */
	lh_ns notice_ns, gone_ns, detected_ns, regrouped_ns, restart_ns, synced_ns, back_ns;
	lh_ns sync_ns;            /* how long fetching the state took */
	uint64_t sync_bytes;
	double held_back_l1;      /* what its error feedback held back, and was lost with it: sum of |r|; NaN: not told */
};

struct lh_group_log {
	unsigned npeers;
	struct lh_life *lives;
	size_t nlives, lives_room;
	struct lh_view_record *views; /* by number, without gaps in between that nobody told of */
	size_t nviews, views_room;
	lh_ns cut_ns[64];         /* when the schedule cut links, the last ones */
	size_t ncuts;
	uint32_t checkpoints;
	lh_ns checkpoint_ns;      /* time that all together took to be written */
	uint64_t checkpoint_bytes;
};

void lh_group_log_done(struct lh_group_log *g);

/* A process was started. */
int lh_group_log_start(struct lh_group_log *g, unsigned peer, lh_ns t_ns, bool founder, uint32_t incarnation,
		       struct lh_err *err);
/* The schedule told, or killed, the peer; CUT, PARTITION: it cut a link, and `peer` is nobody. */
void lh_group_log_change(struct lh_group_log *g, enum lh_change_kind kind, unsigned peer, lh_ns t_ns);
/* Its process ended. */
void lh_group_log_exit(struct lh_group_log *g, unsigned peer, lh_ns t_ns);
/* -EPROTO: members contradict each other about a view, so there would be two groups. Kinds of no concern are
 * ignored. */
int lh_group_log_event(struct lh_group_log *g, const struct lh_event *e, struct lh_err *err);

/* The newest view; NULL: none was told. */
const struct lh_view_record *lh_group_log_view(const struct lh_group_log *g);
/* How often the peer was started. */
uint32_t lh_group_log_lives(const struct lh_group_log *g, unsigned peer);

/* In the order of the views; malloc'ed, NULL and 0 where there is none. */
int lh_group_log_interruptions(const struct lh_group_log *g, struct lh_interruption **ret, size_t *ret_n,
			       struct lh_err *err);

#endif
