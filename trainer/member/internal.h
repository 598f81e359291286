/* internal.h - shared by member.c (rounds, joining, leaving) and change.c (from one view to the next). */
#ifndef TRAINER_MEMBER_INTERNAL_H
#define TRAINER_MEMBER_INTERNAL_H

#include "member.h"

static inline uint64_t bit(unsigned rank)
{
	return UINT64_C(1) << rank;
}

static inline unsigned count(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

static inline unsigned lowest(uint64_t set)
{
	return (unsigned)__builtin_ctzll(set);
}

/* The first sample id after `version`. */
static inline uint64_t first_of(const struct lh_member *m, uint32_t version)
{
	return version * m->c.stride;
}

/* member.c */
void lh_member_send(struct lh_member *m, uint64_t to, struct lh_member_message *msg);
uint64_t lh_member_alive(const struct lh_member *m);
void lh_member_end(struct lh_member *m, enum lh_member_end end);
void lh_member_take_view(struct lh_member *m, const struct lh_view *v, lh_ns now_ns);
void lh_member_want_change(struct lh_member *m, uint32_t cause, lh_ns now_ns);
void lh_member_consider(struct lh_member *m, lh_ns now_ns);

/* change.c */
bool lh_change_quorum(const struct lh_view *v, uint64_t set);
/* Between two rounds: somebody can come in, or somebody wants to leave and is not the last. */
bool lh_change_wanted(const struct lh_member *m);
void lh_change_forget(struct lh_member *m);
void lh_change_advance(struct lh_member *m, lh_ns now_ns);
void lh_change_found(struct lh_member *m, unsigned peer);
int lh_change_receive(struct lh_member *m, unsigned from, const struct lh_member_message *msg, lh_ns now_ns,
		      struct lh_err *err);

#endif
