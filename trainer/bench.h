/* bench.h - one peer of `longhaul bench allreduce`: exchanges of one size, one at a time, each when it is told to.
 *
 * config->bench_elements is the length of the vector. It joins like a peer that trains; then every LH_CONTROL_GO
 * is one exchange and one BENCH event, until LH_CONTROL_STOP. The harness lets nobody begin before everybody has ended
 * the one before, so between two exchanges nothing travels, for as long as the harness likes.
 *
 * The vectors are whole numbers, so small that every partial sum is exact in fp32, fp16 and bf16; every element of the
 * result is compared, with int8 within its rounding (topk leaves most behind, and is not). They are made from a short table and never held: a vector of any size costs no memory.
 */
#ifndef TRAINER_BENCH_H
#define TRAINER_BENCH_H

#include "train.h"

/* As lh_train_run. */
int lh_bench_run(const struct lh_peer_config *config, const struct lh_train_io *io, int *ret_signal,
		 struct lh_err *err);

#endif
