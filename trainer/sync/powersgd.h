/* powersgd.h - sums matrices as products of two thin factors, in two all-reduces one after the other.
 *
 * Theory of operation (Vogels, Karimireddy, Jaggi 2019). Of every matrix M_i (a peer's numbers and its residual,
 * rows x cols) only r columns' worth travels:
 *
 *     P = sum of M_i Q             first all-reduce, rows x r; Q is the last exchange's, the same on all peers
 *     P = orthonormal columns of P
 *     Q = sum of M_i^T P           second all-reduce, cols x r; kept for the next exchange (warm start)
 *     sum of M_i is taken to be P Q^T;  residual of this peer = M_i - P (M_i^T P)^T
 *
 * The residual is what of the peer's own numbers does not lie in P. The paper takes M_i - P Q^T / N; both add up
 * to the same, so the next P and Q are the same, but that one keeps for ever how much the peer differed from the
 * mean. Parts of residuals may still cancel each other: lost with a peer is what it held, to the full.
 *
 * A matrix goes this way only where r (rows + cols) < rows x cols / 2; the rest of the vector travels with the
 * first all-reduce as it is. All of it travels as fp32.
 *
 * Every peer orthonormalises the same bytes by the same plain loops (no reassociation, no contraction), so P is the
 * same to the bit. A column that depends on those before it becomes 0, and its column of Q is drawn anew.
 */
#ifndef TRAINER_SYNC_POWERSGD_H
#define TRAINER_SYNC_POWERSGD_H

#include "comm/allreduce.h"
#include "engine.h"

#define LH_POWERSGD_RANK_MAX 256u

struct lh_powersgd_config {
	const struct lh_pattern *pattern;
	const struct lh_group *group;     /* only read by lh_powersgd_new */
	unsigned rank;                    /* of the peer */
	unsigned columns;                 /* r, 1 ... LH_POWERSGD_RANK_MAX */
	const struct lh_tensor *tensors;  /* only read by lh_powersgd_new; cover the vector once */
	size_t ntensors;
	bool always;                      /* for tests: every matrix, however little it saves */
	uint64_t n, seed;
	size_t part_bytes;                /* as in lh_allreduce_config */
	unsigned window;
	int (*read)(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err);
	int (*write)(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err);
	void *ctx;
};

struct lh_powersgd;

/* t: of two or more peers; becomes its user. */
int lh_powersgd_new(const struct lh_powersgd_config *config, struct lh_transport *t, struct lh_powersgd **ret,
		    struct lh_err *err);
/* From 1; exchange e of these are the all-reduces 2 e - 1 and 2 e. */
int lh_powersgd_start(struct lh_powersgd *g, uint32_t number, struct lh_err *err);
bool lh_powersgd_done(const struct lh_powersgd *g);
uint64_t lh_powersgd_bytes(const struct lh_powersgd *g);
/* Elements of the two vectors that travel: of an exchange, and of any tensors. */
void lh_powersgd_lengths(const struct lh_powersgd *g, uint64_t *ret_first, uint64_t *ret_second);
void lh_powersgd_count(const struct lh_tensor *tensors, size_t ntensors, unsigned columns, uint64_t *ret_first,
		       uint64_t *ret_second);
/* What is kept from one exchange to the next: the residual, this peer's, and the last factors, the same on all. */
void lh_powersgd_kept(struct lh_powersgd *g, float **ret_residual, uint64_t *ret_n, float **ret_factors,
		      uint64_t *ret_nfactors);
/* Exchanges up to this one were before a restart. Before the first. */
void lh_powersgd_skip(struct lh_powersgd *g, uint32_t number);
/* [n] what this peer holds back. */
const float *lh_powersgd_residual(const struct lh_powersgd *g);
void lh_powersgd_mass(const struct lh_powersgd *g, double *ret_l1, double *ret_l2);
void lh_powersgd_free(struct lh_powersgd *g); /* NULL is fine */

#endif
