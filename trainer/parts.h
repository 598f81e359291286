/* parts.h - what a state consists of: tensors with names, and where each one lies. Who has state adds its parts; the
 * checkpoint writes them, or reads them back into the same places.
 */
#ifndef TRAINER_PARTS_H
#define TRAINER_PARTS_H

#include "engine.h"
#include "state_file.h"

struct lh_part {
	struct lh_state_tensor t;
	void *at;         /* in memory; NULL: in the engine's state, */
	bool own;         /* in what is this peer's alone, */
	uint64_t from;    /* from this byte on */
};

struct lh_parts {
	struct lh_part *part;
	uint32_t n, cap;
};

/* A vector of n elements in memory, which stays there until the parts are done. n 0: nothing is added. */
int lh_parts_add(struct lh_parts *p, enum lh_state_kind kind, enum lh_state_type type, const char *name, void *at, uint64_t n,
		 struct lh_err *err);
/* All of an engine's state. */
int lh_parts_add_engine(struct lh_parts *p, const struct lh_engine_ops *ops, const struct lh_engine_state *engine,
			struct lh_err *err);
void lh_parts_done(struct lh_parts *p);

#endif
