/* optim.h - how a gradient moves the parameters: the part of an experiment that says it, as plain data.
 *
 * Kind and rate are beside it (lh_sync_options.optimizer, lh_peer_config.learning_rate). What each number does, with its
 * formula and source, is in trainer/optim/optimizer.h.
 */
#ifndef LONGHAUL_OPTIM_H
#define LONGHAUL_OPTIM_H

#include <stdbool.h>
#include <stdint.h>

#include "longhaul/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum lh_optimizer { LH_OPTIMIZER_ADAMW, LH_OPTIMIZER_SGD, LH_OPTIMIZER_LAMB };
enum lh_schedule { LH_SCHEDULE_CONSTANT, LH_SCHEDULE_COSINE };
extern const char *const lh_optimizer_names[], *const lh_schedule_names[]; /* by enum, NULL-terminated */

struct lh_optim_options {
	bool given;              /* false: all of them are lh_optim_defaults() of the kind */
	double momentum;         /* sgd: 0 <= m < 1; 0: no velocity is kept */
	bool nesterov;           /* sgd with momentum */
	double beta1, beta2;     /* adamw, lamb: 0 <= b < 1 */
	double epsilon;          /* adamw, lamb: > 0 */
	double weight_decay;     /* >= 0; of matrices and kernels, never of biases, gains and shifts */
	uint32_t warmup_updates; /* W: update t of the first W goes with t / (W + 1) of the rate */
	enum lh_schedule schedule;
	uint32_t total_updates;  /* cosine: T, the rate has reached the floor after so many; > W. 0: the run's rounds */
	double floor;            /* cosine: share of the rate, 0 ... 1 */
	double clip_norm;        /* the averaged gradient is scaled down to this length; 0: as it is */
};

/* adamw: betas 0.9 and 0.99, epsilon 1e-8, decay 0.01, 2 updates of warm-up. sgd: none of all. lamb: betas 0.9 and 0.999,
 * epsilon 1e-6, decay 0.01, 2 updates. Schedule constant, no clipping. */
struct lh_optim_options lh_optim_defaults(enum lh_optimizer kind);
/* *o, or the defaults where it is not given; a cosine that says no end has it after `rounds`. */
struct lh_optim_options lh_optim_resolve(enum lh_optimizer kind, const struct lh_optim_options *o, uint32_t rounds);
/* -EINVAL and one line that begins with the key (as the peer's configuration calls it): a value out of its range. */
int lh_optim_check(enum lh_optimizer kind, const struct lh_optim_options *o, struct lh_err *err);

#ifdef __cplusplus
}
#endif
#endif
