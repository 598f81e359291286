/* optimizer.h - one update: SGD with momentum, AdamW or LAMB, with warm-up, a schedule and clipping by global norm.
 *
 * Everything is a pure function of (settings, number of the update, parameters, gradient, state), on any backend:
 *
 *     lh_optim_begin   the numbers of this update, rounded once, on the host: also for a device
 *     lh_optim_apply   them on one tensor: the specification of what a device does
 *     lh_optim_run     both for a whole model, with the gradient's length where clipping or LAMB need one
 *
 * With g the averaged gradient after clipping, p a parameter, t the update (from 1), r its rate, d the decay (0 for a
 * tensor without):
 *
 *     sgd     g' = g + d p;  u = mu u + g';  p -= r (nesterov: g' + mu u, else u)      as torch.optim.SGD, dampening 0
 *     adamw   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *             p = (1 - r d) p - r (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)  Loshchilov, Hutter: 1711.05101
 *     lamb    m, v likewise;  s = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon) + d p
 *             p -= r (|p| / |s|) s                                   You et al.: 1904.00962, algorithm 2, phi(z) = z
 *             The trust ratio |p| / |s| is taken over each tensor; it is 1 where either length is 0, and for tensors
 *             without decay (biases, gains), as in the authors' implementation.
 *
 *     rate    r = rate x t / (W + 1) for t <= W
 *             cosine, x = (t - 1 - W) / (T - W), at most 1: r = rate (floor + (1 - floor) (1 + cos(pi x)) / 2)
 *             (1608.03983, without restarts); without libm, so the bits are the same on every machine
 *     clip    g = g min(1, clip / (|g| + 1e-6)), |g| over all tensors, as torch.nn.utils.clip_grad_norm_
 *
 * State is lh_optim_slots vectors of `parameters` floats, one after the other, zero at the start: sgd with momentum u;
 * adamw and lamb m, v. Beside it the number of updates, and nothing else, decides the updates to come.
 */
#ifndef OPTIM_OPTIMIZER_H
#define OPTIM_OPTIMIZER_H

#include <stddef.h>

#include "longhaul/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef LH_REAL_DOUBLE /* tests: against references far below fp32's rounding */
typedef double lh_optim_real;
#else
typedef float lh_optim_real;
#endif

enum { LH_OPTIM_SLOTS_MAX = 2 };

struct lh_optim {
	enum lh_optimizer kind;
	double rate;             /* > 0 */
	struct lh_optim_options o; /* given */
};

struct lh_optim_tensor {
	size_t offset, count;    /* in the vectors */
	bool decay;              /* weight decay (and lamb's trust ratio) applies */
	bool frozen;             /* never changed */
};

struct lh_peer_config;
/* As the configuration says; what it leaves out by the kind's defaults, a cosine's end from its rounds. */
struct lh_optim lh_optim_of(const struct lh_peer_config *c);
/* Vectors of state. */
unsigned lh_optim_slots(const struct lh_optim *o);
/* The rate of update t, from 1. */
double lh_optim_rate(const struct lh_optim *o, uint64_t t);
/* What the gradient of this length is multiplied with; 1 without clipping. */
double lh_optim_clip(const struct lh_optim *o, double norm);

/* The constants of one update; each computed in double and rounded once. */
struct lh_optim_step {
	enum lh_optimizer kind;
	bool nesterov;
	lh_optim_real scale;          /* g = scale x what the gradient's vector holds; clipping is in it */
	lh_optim_real rate, decay;    /* r, d: sgd, lamb */
	lh_optim_real momentum;
	lh_optim_real b1, c1, b2, c2; /* betas, 1 - betas */
	lh_optim_real step;           /* adamw: r / (1 - b1^t); lamb: 1 / (1 - b1^t) */
	lh_optim_real unbias2;        /* 1 / (1 - b2^t) */
	lh_optim_real epsilon;
	lh_optim_real keep;           /* adamw: 1 - r d */
};

/* Update t (from 1). scale: 1 / samples of the sum, and 1 / loss scale where there is one. norm: of the averaged gradient,
 * or anything where o->o.clip_norm is 0. */
void lh_optim_begin(const struct lh_optim *o, uint64_t t, double scale, double norm, struct lh_optim_step *ret);

/* One tensor: params, grads and state point at its first element; the next slot of state is `stride` elements on. */
void lh_optim_apply(const struct lh_optim_step *s, bool decay, size_t n, lh_optim_real *params,
		    const lh_optim_real *grads, lh_optim_real *state, size_t stride);

/* Sum of squares, in double, in an order that only n decides. */
double lh_optim_square_sum(size_t n, const lh_optim_real *v);

/* A whole update of all tensors, which follow each other without gaps. *ret_norm (may be NULL): of the averaged gradient
 * before clipping, NaN where nothing asked for it. Leaves the gradient as it is. */
void lh_optim_run(const struct lh_optim *o, uint64_t t, double scale, const struct lh_optim_tensor *tensors,
		  size_t ntensors, size_t parameters, lh_optim_real *params, const lh_optim_real *grads,
		  lh_optim_real *state, double *ret_norm);

#ifdef __cplusplus
}
#endif
#endif
