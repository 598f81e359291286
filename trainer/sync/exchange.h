/* exchange.h - the all-reduce that a strategy runs its vector through, as the configuration wants it. */
#ifndef TRAINER_SYNC_EXCHANGE_H
#define TRAINER_SYNC_EXCHANGE_H

#include "comm/allreduce.h"
#include "worker.h"

/* What is in the vector decides the power of two that fp16 gets on the wire. */
enum lh_vector {
	LH_VECTOR_GRADIENT,   /* a sum over the samples of a batch */
	LH_VECTOR_DIFFERENCE, /* of parameters over some rounds */
};

struct lh_exchange_io {
	int (*read)(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err);
	int (*write)(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err);
	void *ctx;
};

/* Among all peers of the run, of n elements. Becomes the user of the worker's transport. */
int lh_exchange_new(struct lh_worker *w, enum lh_vector kind, uint64_t n, const struct lh_exchange_io *io,
		    struct lh_allreduce **ret, struct lh_err *err);

#endif
