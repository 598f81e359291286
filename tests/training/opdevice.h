/* opdevice.h - an operation's case (opcase.h) run on another backend, in any precision, beside the cpu backend.
 *
 * Inputs are rounded to the precision first, so that both calculate from the same numbers; what differs is the order and
 * the width of sums and the rounding of results. Memory goes through the backend's own calls, each tensor in a block of
 * its own.
 */
#ifndef OPDEVICE_H
#define OPDEVICE_H

#include "opcase.h"

/* To the nearest, ties to even. Independent of whatever the backend does. */
size_t lh_opdevice_bytes(unsigned precision);
void lh_opdevice_encode(unsigned precision, size_t n, const float *from, void *to);
void lh_opdevice_decode(unsigned precision, size_t n, const void *from, float *to);

struct lh_opdevice {
	unsigned precision;
	bool add;       /* dx is added to numbers that were there */
	bool untrained; /* as in evaluation */
	bool broken;    /* some of x[0] is NaN */
	size_t shift;   /* tensors begin so many elements behind what alloc gives: addresses that no vector fits */
};

/* What forward and backward gave: y, dx, dparam, buffers, as floats. */
struct lh_opresult {
	float *of[1 + LH_NODE_INPUTS_MAX + LH_NODE_PARAMS_MAX + LH_NODE_BUFFERS_MAX];
	size_t count[1 + LH_NODE_INPUTS_MAX + LH_NODE_PARAMS_MAX + LH_NODE_BUFFERS_MAX];
};
enum { LH_OPRESULTS = 1 + LH_NODE_INPUTS_MAX + LH_NODE_PARAMS_MAX + LH_NODE_BUFFERS_MAX };
const char *lh_opresult_name(unsigned k); /* "y", "dx0", ... */

/* b: opened on the cpu backend; its inputs and dy become what the precision holds. Runs it there and on `backend`. */
void lh_opdevice_run_cpu(struct lh_opbench *b, const struct lh_opdevice *how, struct lh_opresult *ret);
int lh_opdevice_run(struct lh_opbench *b, const struct lh_backend_ops *ops, struct lh_backend *backend,
		    const struct lh_opdevice *how, struct lh_opresult *ret, struct lh_err *err);
/* Length of the difference over the length of `want`; infinite where a number is missing or not finite in one only. */
double lh_opresult_distance(const struct lh_opresult *got, const struct lh_opresult *want, unsigned k);
void lh_opresult_free(struct lh_opresult *r);

#endif
