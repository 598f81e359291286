/* The parameter table and its initial values. */
#include "model/model.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

size_t lh_model_add(struct lh_model *m, const char *name, const size_t shape[LH_PARAM_DIMS_MAX], real centre,
		    real spread, bool decay)
{
	assert(m->nparams < LH_MODEL_TENSORS_MAX && strlen(name) < LH_PARAM_NAME_MAX);
	struct lh_param *p = &m->params[m->nparams++];
	*p = (struct lh_param){ .offset = m->parameters, .count = 1, .centre = centre, .spread = spread, .decay = decay };
	snprintf(p->name, sizeof p->name, "%s", name);
	while (p->ndim < LH_PARAM_DIMS_MAX && shape[p->ndim]) {
		p->shape[p->ndim] = shape[p->ndim];
		p->count *= shape[p->ndim++];
	}
	m->parameters += p->count;
	return p->offset;
}

void lh_model_init(const struct lh_model *m, uint64_t seed, real *params)
{
	for (size_t i = 0; i < m->nparams; i++) {
		const struct lh_param *p = &m->params[i];
		const uint64_t stream = lh_hash64(p->name, strlen(p->name), seed);
		for (size_t j = 0; j < p->count; j++) {
			uint64_t bits = lh_mix64(stream + (j + 1) * LH_MIX64_STEP);
			real unit = (real)(bits >> 40) * (real)0x1p-23 - 1; /* 24 bits: -1 ... 1 */
			params[p->offset + j] = p->centre + p->spread * unit;
		}
	}
}

void lh_model_free(struct lh_model *m)
{
	if (m)
		m->free(m);
}

void lh_blame_look(struct lh_blame *b, size_t n, const real *values, const char *fmt, ...)
{
	bool finite = true;
	va_list args;
	if (!b || *b->layer)
		return;
	for (size_t i = 0; i < n && finite; i++)
		finite = isfinite(values[i]);
	if (finite)
		return;
	va_start(args, fmt);
	vsnprintf(b->layer, sizeof b->layer, fmt, args);
	va_end(args);
}
