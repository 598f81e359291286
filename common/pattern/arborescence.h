/* arborescence.h - the cheapest tree by which a root reaches everybody (Chu and Liu, Edmonds). Pure. */
#ifndef COMMON_PATTERN_ARBORESCENCE_H
#define COMMON_PATTERN_ARBORESCENCE_H

#include "longhaul/err.h"

/* cost: [n * n], row: from; finite, >= 0; the diagonal is not read. ret_parent: [n], the root's is the root. */
int lh_arborescence(unsigned n, const double *cost, unsigned root, unsigned *ret_parent, double *ret_cost,
		    struct lh_err *err);

#endif
