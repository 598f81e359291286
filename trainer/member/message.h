/* message.h - what members say to each other: a header of 8 bytes and fields by kind, little-endian, as the payload of a
 * frame. Pure: bytes in, messages out, everything held against limits. docs/decisions/0017-membership.md has the layout.
 */
#ifndef TRAINER_MEMBER_MESSAGE_H
#define TRAINER_MEMBER_MESSAGE_H

#include <stddef.h>

#include "table.h"

/* A group of members: what a change decides, whole, so that who knows it needs nothing of those before. */
struct lh_view {
	uint32_t number;           /* from 1 */
	uint32_t version;          /* rounds that are committed when it begins */
	uint64_t members;          /* 1 << rank */
	uint64_t synced;           /* of these, who has the state of `version`, or the result that makes it */
	uint64_t hash;             /* of that result, for those that have not yet applied it */
	uint64_t redealt;          /* samples of the round that were dealt again */
	uint32_t cause;            /* enum lh_view_cause */
	uint32_t aborted;          /* 1: the round after `version` was under way and is done again */
	uint32_t incarnation[LH_MEMBER_CAP]; /* of members; 0 of others */
	struct lh_table table;     /* of the round after `version` */
};

enum lh_member_kind {
	LH_MEMBER_ACK = 1,     /* round, hash: I hold this result of the round */
	LH_MEMBER_SUSPECT = 2, /* to the lowest rank: begin a change; cause */
	LH_MEMBER_PREPARE = 3, /* ballot: what do you have? */
	LH_MEMBER_PROMISE = 4, /* ballot, state, and what was accepted before */
	LH_MEMBER_REFUSE = 5,  /* ballot, promised: a higher ballot has my promise */
	LH_MEMBER_PROPOSE = 6, /* ballot, group */
	LH_MEMBER_ACCEPT = 7,  /* ballot */
	LH_MEMBER_VIEW = 8,    /* group: decided */
	LH_MEMBER_JOIN = 9,    /* incarnation, connected: I want to be in */
	LH_MEMBER_LEAVE = 10,  /* I want to be out */
	LH_MEMBER_DONE = 11,   /* round: I committed the last one */
	LH_MEMBER_FETCH = 12,  /* round: send me the state after it */
};

enum { LH_MEMBER_HAS_STATE = 1, LH_MEMBER_HAS_RESULT = 2, LH_MEMBER_LEAVING = 4, LH_MEMBER_STARTED = 8 };

struct lh_member_message {
	uint32_t kind;             /* enum lh_member_kind */
	uint32_t view;             /* the sender's */
	uint32_t ballot, promised;
	uint32_t accepted;         /* ballot of the group below; 0: none was accepted */
	uint32_t version;          /* or round */
	uint32_t flags;            /* PROMISE: LH_MEMBER_HAS_...; SUSPECT: enum lh_view_cause */
	uint32_t incarnation;
	uint64_t hash, connected;
	struct lh_view group;      /* VIEW, PROPOSE, PROMISE with accepted */
};

#define LH_MEMBER_BALLOT_MAX (UINT32_C(1) << 31)
#define LH_MEMBER_VIEW_BYTES(members, ranges) (56 + 4 * (members) + 20 * (ranges))
/* Of any message. */
#define LH_MEMBER_MESSAGE_MAX (48 + LH_MEMBER_VIEW_BYTES(LH_MEMBER_CAP, LH_MEMBER_RANGES))

/* Its length. */
size_t lh_member_print(const struct lh_member_message *m, uint8_t ret[LH_MEMBER_MESSAGE_MAX]);
/* size: ranks of the run. Refuses what no member sends: sets beyond size, groups whose parts contradict each other. */
int lh_member_parse(const uint8_t *bytes, size_t len, unsigned size, struct lh_member_message *ret,
		    struct lh_err *err);
const char *lh_member_kind_name(uint32_t kind);

#endif
