/* bench_peak.h - a large linear layer on a backend: what the device can do in this second, beside which a model is put.
 * Nothing here knows a library. */
#ifndef TRAINER_BENCH_PEAK_H
#define TRAINER_BENCH_PEAK_H

#include "backend/backend.h"

struct lh_bench_peak {
	const struct lh_backend_ops *ops;
	struct lh_backend *backend;
	struct lh_node node;
	struct lh_op_run run;
	void *memory; /* x, w, y */
	size_t side;
	double best;  /* flop/s of all measurements */
};

/* The backend must outlive it, and *p stay where it is. After a failure, too, it is to be closed. */
int lh_bench_peak_open(const struct lh_backend_ops *ops, struct lh_backend *backend, struct lh_bench_peak *p, struct lh_err *err);
/* The best of a few, flop/s. */
int lh_bench_peak_measure(struct lh_bench_peak *p, double *ret_now, struct lh_err *err);
void lh_bench_peak_close(struct lh_bench_peak *p); /* of zeroes is fine */

/* Sorts them. */
double lh_bench_median(double *x, size_t n);

#endif
