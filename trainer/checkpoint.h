/* checkpoint.h - a peer's state on disk: a header, the engine's state, and a hash of both.
 *
 *      0          8         12      16     20        24             32          40         48
 *     | "lhckpt\n" | format | rank | size | version | fingerprint  | bytes     | hash     | state ...
 *
 * little-endian. It is written beside its name and renamed, so that there is always a whole one; one that is torn or
 * altered is refused. It says what a peer had when it was killed; a peer that comes back takes the group's state,
 * which is newer, and only where there is no group does it matter.
 */
#ifndef TRAINER_CHECKPOINT_H
#define TRAINER_CHECKPOINT_H

#include "engine.h"

#define LH_CHECKPOINT_HEADER 48
#define LH_CHECKPOINT_FORMAT 1

struct lh_checkpoint {
	uint32_t rank, size, version; /* version: rounds that the state has */
	uint64_t bytes, hash;
};

/* Path of a peer's checkpoint in its directory. */
void lh_checkpoint_path(const struct lh_peer_config *c, char ret[sizeof c->checkpoint_dir + 32]);
/* Write and rename, through to the disk. *ret_bytes: of the file. */
int lh_checkpoint_write(const struct lh_peer_config *c, const struct lh_engine_ops *ops, struct lh_engine_state *engine,
			uint32_t version, uint64_t *ret_bytes, struct lh_err *err);
/* Check the whole file. engine: takes the state, and is undefined when that fails; NULL: only look. -ENOENT: there is
 * none. */
int lh_checkpoint_read(const struct lh_peer_config *c, const struct lh_engine_ops *ops, struct lh_engine_state *engine,
		       struct lh_checkpoint *ret, struct lh_err *err);

#endif
