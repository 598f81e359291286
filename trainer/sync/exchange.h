/* exchange.h - the sum over all peers that a strategy runs its vector through, as the configuration wants it: pattern,
 * codec, error feedback. One that takes several all-reduces in a row (powersgd) looks the same from outside.
 */
#ifndef TRAINER_SYNC_EXCHANGE_H
#define TRAINER_SYNC_EXCHANGE_H

#include "comm/allreduce.h"
#include "comm/mux.h"
#include "parts.h"
#include "worker.h"

/* What is in the vector decides the power of two that fp16 gets on the wire. */
enum lh_vector {
	LH_VECTOR_GRADIENT,   /* a sum over the samples of a batch */
	LH_VECTOR_DIFFERENCE, /* of parameters over some rounds */
	LH_VECTOR_CONTROL,    /* a few numbers that must come through unchanged */
};

struct lh_exchange_io {
	int (*read)(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err);
	int (*write)(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err);
	const float *(*peek)(void *ctx, uint64_t offset, size_t n); /* as of an all-reduce; may be NULL */
	void *ctx;
};

struct lh_exchange;

/* Among all peers of the run, of n elements. Becomes the user of the worker's transport. */
int lh_exchange_new(struct lh_worker *w, enum lh_vector kind, uint64_t n, const struct lh_exchange_io *io,
		    struct lh_exchange **ret, struct lh_err *err);
/* Elastic: from now on among this group only, where this peer is number `rank`, over this transport; exchanges count from
 * 1 again. What was under way is given up; what error feedback holds back stays. `group` is only read here. */
int lh_exchange_regroup(struct lh_exchange *x, const struct lh_group *group, unsigned rank, struct lh_transport *t,
			struct lh_err *err);
/* They count from 1, the same on all peers. */
int lh_exchange_start(struct lh_exchange *x, uint32_t number, struct lh_err *err);
bool lh_exchange_done(const struct lh_exchange *x);
/* Elastic: the last exchange was committed; its residuals count from now on. One that is never committed leaves none.
 * Fixed: nothing, every exchange counts. */
void lh_exchange_keep(struct lh_exchange *x);
/* What this peer sends in one, by the pattern. */
uint64_t lh_exchange_bytes(const struct lh_exchange *x);
/* Of what this peer holds back of all exchanges so far: sum of |r| and square root of the sum of r^2. It is lost with
 * the peer. 0 without error feedback. */
void lh_exchange_held_back(const struct lh_exchange *x, double *ret_l1, double *ret_l2);
/* From now on each exchange remembers what was held back before it: a checkpoint may be written while it is under way. */
int lh_exchange_remember(struct lh_exchange *x, struct lh_err *err);
/* Adds what it keeps from one exchange to the next; while one is under way, as it was before that one. */
int lh_exchange_state(struct lh_exchange *x, const char *name, bool under_way, struct lh_parts *p, struct lh_err *err);
/* Exchanges up to this number were before a checkpoint: none of them begins again. Before the first. */
void lh_exchange_skip(struct lh_exchange *x, uint32_t number);
void lh_exchange_free(struct lh_exchange *x); /* NULL is fine */

/* One of several that share the transport: it has number `number` (from 0) of `of`, and exchanges number + 1,
 * number + 1 + of, ... LH_VECTOR_CONTROL goes as fp32 by the algorithm with the fewest trips. */
struct lh_exchange_port { struct lh_mux *mux; unsigned number, of; };
int lh_exchange_new_port(struct lh_worker *w, const struct lh_exchange_port *port, enum lh_vector kind, uint64_t n,
			 const struct lh_exchange_io *io, struct lh_exchange **ret, struct lh_err *err);

#endif
