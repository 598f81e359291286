/* checkpoint.h - a peer's state on disk, in the format of state_file.h, and back.
 *
 * One file a checkpoint, DIR/peer-1-round-0000000012.checkpoint: parameters, optimiser, running statistics, and what the
 * strategy has between two rounds, in flight and held back. It is written under another name and renamed, so that there is
 * always a whole one; of those of earlier rounds the newest few stay. docs/decisions/0025-checkpoints.md.
 */
#ifndef TRAINER_CHECKPOINT_H
#define TRAINER_CHECKPOINT_H

#include "parts.h"
#include "sync/strategy.h"

#define LH_CHECKPOINT_PATH (sizeof ((struct lh_peer_config *)0)->checkpoint_dir + 56)

/* Whose state. */
struct lh_checkpoint_of {
	const struct lh_peer_config *c;
	const struct lh_engine_ops *ops;
	struct lh_engine_state *engine;
	struct lh_strategy *strategy; /* NULL: without one */
};

/* Where in the run. */
struct lh_checkpoint {
	unsigned rank, size; /* of the peer that wrote it, and of its group */
	uint32_t round;      /* rounds that the state has */
	uint64_t samples;    /* in all of them */
	bool shared;         /* all peers held the same parameters, nothing under way */
	uint64_t bytes;      /* of the file */
};

void lh_checkpoint_path(const struct lh_peer_config *c, uint32_t round, char ret[LH_CHECKPOINT_PATH]);
/* Rank, size and rounds in *where; its bytes are set. Through to the disk, then the oldest go. */
int lh_checkpoint_write(const struct lh_checkpoint_of *of, struct lh_checkpoint *where, struct lh_err *err);
/* The whole file is checked before anything is taken. After an error past that the state is undefined. */
int lh_checkpoint_read(const char *path, enum lh_take take, const struct lh_checkpoint_of *of, struct lh_checkpoint *ret,
		       struct lh_err *err);
/* The newest in this peer's directory. -ENOENT: there is none. */
int lh_checkpoint_newest(const struct lh_peer_config *c, char ret[LH_CHECKPOINT_PATH], struct lh_err *err);

#endif
