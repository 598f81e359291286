/* table.h - whose samples are whose in one round, and what happens to those of a member that is gone. Pure.
 *
 * The round that makes version v + 1 trains on the sample ids [first, first + batch), where first is v x stride. A table
 * says who calculates which of them: ranges that cover the round once. (Where stride is a multiple of the batch, the same
 * shares, shifted by the batch, are those of the rounds up to the next version: the table need not know.) When members go before the round is committed, their
 * ranges are dealt again among those that stay, as new ranges behind the old ones: so a member that stays keeps what it
 * has and finds more at the end of its list.
 */
#ifndef TRAINER_MEMBER_TABLE_H
#define TRAINER_MEMBER_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "longhaul/peer.h"

/* Tests that enumerate states make these small. */
#ifndef LH_MEMBER_CAP
#define LH_MEMBER_CAP LH_MEMBERS_MAX
#endif
#ifndef LH_MEMBER_RANGES
#define LH_MEMBER_RANGES 512
#endif

struct lh_member_range {
	uint64_t first, count, owner; /* owner: rank */
};

struct lh_table {
	uint64_t n;
	struct lh_member_range range[LH_MEMBER_RANGES];
};

/* Deal the round that begins with sample `first` to the ranks of `members`, by weight. weights: [LH_MEMBER_CAP], positive. */
void lh_table_deal(struct lh_table *t, uint64_t batch, uint64_t first, uint64_t members, const double *weights);
/* Deal again what is not owned by any of `members`; returns how many samples that were. */
uint64_t lh_table_redeal(struct lh_table *t, uint64_t members, const double *weights);
/* Every sample of the round once, owned by ranks of `members`. */
bool lh_table_is_whole(const struct lh_table *t, uint64_t batch, uint64_t first, uint64_t members);
/* Samples of one rank. */
uint64_t lh_table_samples(const struct lh_table *t, unsigned rank);
/* The rank's sample number `at` (0 ... its samples - 1) and how many follow it without a gap, itself included. */
uint64_t lh_table_sample(const struct lh_table *t, unsigned rank, uint64_t at, uint64_t *ret_run);
/* The same where the table stands for `rounds` rounds in a row, each with the ids `batch` beyond those of the one before: a
 * range is done for all rounds before the next one. *ret_round: which round it is, from 0. */
uint64_t lh_table_sample_of(const struct lh_table *t, unsigned rank, uint64_t at, uint32_t rounds, uint64_t batch,
			    uint64_t *ret_run, uint32_t *ret_round);

#endif
