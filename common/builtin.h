/* builtin.h - the models that engine cpu offers by a short name, for those who must know of them without a trainer: the
 * language of experiments, and predictions. The trainer's tests hold the numbers against the models. */
#ifndef COMMON_BUILTIN_H
#define COMMON_BUILTIN_H

#include <stdint.h>

struct lh_builtin_model {
	const char *name;
	uint64_t parameters;
};
/* The i-th; NULL beyond the last. */
const struct lh_builtin_model *lh_builtin_model(unsigned i);

#endif
