/* builtin.h - the models that engines cpu and cuda offer by a short name, for those who must know of them without a trainer: the
 * language of experiments, and predictions. The trainer's tests hold the numbers against the models. */
#ifndef COMMON_BUILTIN_H
#define COMMON_BUILTIN_H

#include <stdbool.h>

#include "longhaul/peer.h"

struct lh_builtin_model {
	const char *name;
	uint64_t parameters;
	bool large; /* one of the study's at full size: engine cuda's */
	enum lh_data own;        /* what `data: auto` is */
	unsigned fits;           /* bits of enum lh_data: what it can learn from */
};
enum { LH_BUILTIN_TABLES = 2 }; /* from this one on they are tables of layers (trainer/model/zoo.h) */
/* The i-th; NULL beyond the last. */
const struct lh_builtin_model *lh_builtin_model(unsigned i);

#endif
