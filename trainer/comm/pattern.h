/* pattern.h - who sends which block to whom, and nothing else: no sockets, no numbers, no time.
 *
 * A pattern cuts a vector of n elements into blocks and lists transfers in rounds. A REDUCE transfer carries what
 * its sender has of the block so far; a RESULT transfer carries the finished block. Every peer derives the same
 * table from (peers, n) alone. One pattern is one file; the executor is allreduce.c.
 */
#ifndef TRAINER_COMM_PATTERN_H
#define TRAINER_COMM_PATTERN_H

#include <stddef.h>
#include <stdint.h>

enum lh_transfer_kind { LH_TRANSFER_REDUCE, LH_TRANSFER_RESULT };

struct lh_transfer {
	unsigned round;
	enum lh_transfer_kind kind;
	unsigned from, to, block;
};

struct lh_block {
	uint64_t offset, length; /* elements */
};

struct lh_pattern {
	const char *name;
	unsigned (*blocks)(unsigned npeers);
	struct lh_block (*block)(unsigned npeers, uint64_t n, unsigned block);
	/* The transfers in which `rank` takes part, by round, then sender, then receiver. Writes at most `cap` of
	 * them and returns how many there are. Transfers of empty blocks are listed too; nothing is sent for them. */
	size_t (*transfers)(unsigned npeers, unsigned rank, struct lh_transfer *ret, size_t cap);
};

#endif
