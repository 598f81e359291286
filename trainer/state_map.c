#include "state_map.h"

#include <stdio.h>

size_t lh_state_map_model(uint64_t state_bytes, uint64_t parameters, size_t nparams, lh_param_shape_fn *fn, const void *ctx,
			  struct lh_state_tensor *ret, size_t cap)
{
	const uint64_t vector = parameters * sizeof(float), vectors = vector ? state_bytes / vector : 0;
	const uint64_t counters = state_bytes - vectors * vector;
	size_t n = 0;
	if (counters && n++ < cap)
		ret[n - 1] = (struct lh_state_tensor){ .name = "optimizer.counters", .kind = LH_STATE_OPTIMIZER,
						       .type = LH_STATE_U8, .ndim = 1, .shape = { counters } };
	for (uint64_t v = 0; v < vectors; v++)
		for (size_t i = 0; i < nparams; i++) {
			const char *name;
			if (n++ >= cap)
				continue;
			struct lh_state_tensor *t = &ret[n - 1];
			*t = (struct lh_state_tensor){ .kind = v ? LH_STATE_OPTIMIZER : LH_STATE_PARAMETER, .type = LH_STATE_F32 };
			fn(ctx, i, &name, &t->ndim, t->shape);
			if (v)
				snprintf(t->name, sizeof t->name, "optimizer.%u.%.96s", (unsigned)v - 1, name);
			else
				snprintf(t->name, sizeof t->name, "%s", name);
		}
	return n;
}
