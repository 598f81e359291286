/* state_map.h - the tensors of an engine's state where it is counters, then the parameters, then as many vectors of the
 * optimiser as fit: for `state_map` of engine.h.
 */
#ifndef TRAINER_STATE_MAP_H
#define TRAINER_STATE_MAP_H

#include "state_file.h"

/* Name and shape of parameter i, in the order of the vector. */
typedef void lh_param_shape_fn(const void *ctx, size_t i, const char **ret_name, unsigned *ret_ndim,
			       uint64_t ret_shape[LH_STATE_DIMS_MAX]);

/* Writes at most `cap`, returns how many there are. */
size_t lh_state_map_model(uint64_t state_bytes, uint64_t parameters, size_t nparams, lh_param_shape_fn *fn, const void *ctx,
			  struct lh_state_tensor *ret, size_t cap);

#endif
