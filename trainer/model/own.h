/* own.h - digits and text, the two models with layers of their own (the zoo's are tables, model/zoo.h). */
#ifndef MODEL_OWN_H
#define MODEL_OWN_H

#include <stdbool.h>

#include "data/source.h"
#include "model/model.h"

/* They hold their own activations: for a few samples at a time, whatever the microbatch; at most so many bytes. A test holds it. */
#define LH_OWN_ACTIVATIONS (UINT64_C(4) << 20)

bool lh_own_is(const char *name);
/* What it reads. -EINVAL: there is no such model. */
int lh_own_input(const char *name, struct lh_input_shape *ret, struct lh_err *err);
/* Runs as many samples at a time as fill the tiles of a product and stay in the second-level cache. */
int lh_own_new(const char *name, struct lh_model **ret, struct lh_err *err);

#endif
