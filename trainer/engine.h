/* engine.h - what the training loop needs of whatever calculates: the `cpu` engine (really trains) and the
 * `paced` engine (waits, and makes deterministic pseudo-gradients of a model's true size).
 *
 * The gradient is a vector of `parameters` floats: the SUM over the samples of the steps since the last
 * update. It is read and written in blocks, so that a model of half a billion parameters needs no second copy:
 * a paced engine computes blocks on the fly.
 */
#ifndef TRAINER_ENGINE_H
#define TRAINER_ENGINE_H

#include "longhaul/peer.h"
#include "state_file.h"

struct lh_engine_state; /* each engine's own */
struct lh_source;

struct lh_tensor { /* a piece of the vector, as a matrix, row after row */
	const char *name;
	uint64_t offset, rows, cols; /* one dimension: cols is 1; of more than two the last is the columns */
};

struct lh_engine_ops {
	const char *name;
	/* There is no model: every exchanged vector is made up as it is read, and checked as it comes back. `update` then
	 * ends an exchange, and the k-th exchange's numbers are a function of k. */
	bool pseudo;
	/* Build the model with parameters seeded from config->seed: the same bytes in every peer. */
	int (*open)(const struct lh_peer_config *config, struct lh_engine_state **ret, struct lh_err *err);
	uint64_t (*parameters)(const struct lh_engine_state *s);
	/* What the vector consists of, in its order, without gaps. Writes at most `cap`, returns how many there are. NULL,
	 * or 0: unknown. */
	size_t (*tensors)(const struct lh_engine_state *s, struct lh_tensor *ret, size_t cap);
	/* Forward and backward over one microbatch of global sample ids; adds to the gradient sum and to *loss_sum
	 * (NaN from an engine without loss). cpu: takes the time it takes. paced: returns at once (the loop paces). */
	int (*step)(struct lh_engine_state *s, const uint64_t *sample_ids, size_t n, double *loss_sum, struct lh_err *err);
	/* Blocks of the gradient sum. read: this peer's own. write: the sum over all peers. */
	int (*gradient_read)(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err);
	int (*gradient_write)(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src, struct lh_err *err);
	/* Where a block of this peer's own gradient lies, for reading until it is written. NULL, or of it: must be read. */
	const float *(*gradient_peek)(const struct lh_engine_state *s, uint64_t offset, size_t n);
	/* Take no notice of what gradient_write brought since the last update (the exchange is done again). Only where
	 * gradient_write does not replace the own gradient; NULL elsewhere. */
	void (*forget)(struct lh_engine_state *s);
	/* Divide the summed gradient by total_samples, take one optimiser step, zero the gradient. */
	int (*update)(struct lh_engine_state *s, uint64_t total_samples, struct lh_err *err);
	/* Blocks of the parameters. NULL: pseudo. */
	int (*parameters_read)(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err);
	int (*parameters_write)(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src,
				struct lh_err *err);
	/* Updates that were left out since the sum was not finite (fp16). NULL: none ever. */
	uint64_t (*skipped)(const struct lh_engine_state *s);
	/* 64-bit hash of all parameters (and of what was written, for paced). */
	uint64_t (*state_hash)(const struct lh_engine_state *s);
	/* Held-out metric and its reference (chance, unigram entropy). -ENOTSUP: no evaluation. */
	int (*evaluate)(struct lh_engine_state *s, char metric[32], double *ret_value, double *ret_reference,
			struct lh_err *err);
	/* ---- membership elastic ---- */
	/* Everything that decides the rounds to come (parameters, optimiser) as bytes, equal on all peers between two
	 * updates. Written in pieces, in any order; complete when each byte was. */
	uint64_t (*state_bytes)(const struct lh_engine_state *s);
	int (*state_read)(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err);
	int (*state_write)(struct lh_engine_state *s, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err);
	/* What those bytes are, in their order, without gaps: the tensors of a checkpoint (offset, bytes and hash are not
	 * set). Writes at most `cap`, returns how many there are. NULL: one tensor of bytes. */
	size_t (*state_map)(const struct lh_engine_state *s, struct lh_state_tensor *ret, size_t cap);
	/* The same of what this peer alone has, which other peers never get: running statistics. NULL: nothing. */
	size_t (*own_map)(const struct lh_engine_state *s, struct lh_state_tensor *ret, size_t cap);
	int (*own_read)(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err);
	int (*own_write)(struct lh_engine_state *s, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err);
	/* Forget the gradient, this peer's own too. */
	void (*clear)(struct lh_engine_state *s);
	/* From now on sums are over these ranks, in partial sums that are passed on so often at most, and the next update is
	 * number `update` (from 1). NULL: need not know. */
	int (*among)(struct lh_engine_state *s, uint32_t update, const unsigned *ranks, unsigned n, unsigned passed_on,
		     struct lh_err *err);
	/* What makes its samples; NULL: it has none. And the same without a model, for whoever hands samples out. */
	struct lh_source *(*source)(struct lh_engine_state *s);
	int (*open_source)(const struct lh_peer_config *config, struct lh_source **ret, struct lh_err *err);
	/* Test hook: flip one bit of the parameters. */
	void (*flip_bit)(struct lh_engine_state *s);
	void (*close)(struct lh_engine_state *s); /* NULL is fine */
};

/* cpu: digits, text. table: the zoo's models, on the backend that the configuration's engine names. */
extern const struct lh_engine_ops lh_engine_cpu, lh_engine_table, lh_engine_paced;
/* The one that the configuration asks for. */
const struct lh_engine_ops *lh_engine_of(const struct lh_peer_config *c);

#endif
