/* bench_device.h - how fast a device trains a model: one peer's microbatch over and over, by phases, beside the rate of a
 * large matrix product on the same device in the same run. */
#ifndef TRAINER_BENCH_DEVICE_H
#define TRAINER_BENCH_DEVICE_H

#include <stdbool.h>

#include "backend/backend.h"

struct lh_bench_device_options {
	const char *model;                    /* a specification of model/zoo.h, digits or text */
	const struct lh_backend_ops *backend;
	size_t microbatch;
	double seconds;                       /* at least so long, and at least three rounds */
	const char *data_dir;                 /* digits and text read the shipped sets; NULL: not known */
};

struct lh_bench_device {
	size_t microbatch, rounds, parameters;
	double data_s, copy_s, forward_s, backward_s, update_s; /* median of a microbatch; copy: of its data to the device */
	double flop;                            /* of a sample, forward and backward */
	double peak;                            /* flop/s: the best product of the run */
	double product_s, product_flop;         /* linear and conv2d nodes, all rounds */
	double attention_s, attention_flop;
	double product_share, share;            /* of the peak beside them, medians: those nodes, the whole step */
	size_t memory;                          /* bytes of the device, as planned */
	double loss;                            /* of a sample, last round */
};

/* The same of digits and text, which run on the CPU in fp32 alone. */
int lh_bench_own(const struct lh_bench_device_options *o, struct lh_bench_device *ret, struct lh_err *err);
int lh_bench_device(const struct lh_bench_device_options *o, struct lh_bench_device *ret, struct lh_err *err);

/* Samples a second of data, forward and backward: what a peer's schedule is about. */
static inline double lh_bench_device_rate(const struct lh_bench_device *b)
{
	return (double)b->microbatch / (b->data_s + b->copy_s + b->forward_s + b->backward_s);
}

#endif
