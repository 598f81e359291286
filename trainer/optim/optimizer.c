#include "optim/optimizer.h"

#include <math.h>
#include <string.h>

#include "longhaul/peer.h"

typedef lh_optim_real real;

#ifdef LH_REAL_DOUBLE
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif

struct lh_optim lh_optim_of(const struct lh_peer_config *c)
{
	return (struct lh_optim){ .kind = c->sync.optimizer, .rate = c->learning_rate,
				  .o = lh_optim_resolve(c->sync.optimizer, &c->optim, c->epochs) };
}

unsigned lh_optim_slots(const struct lh_optim *o)
{
	return o->kind != LH_OPTIMIZER_SGD ? 2 : o->o.momentum > 0;
}

/* cos(x)^2 for 0 <= x <= pi / 2, to 4e-16: Taylor's series to x^24, whose next term is below 1e-19 there. */
static double cos_square(double x)
{
	double sum = 1;
	for (int k = 24; k > 0; k -= 2)
		sum = 1 - x * x / (k * (k - 1)) * sum;
	return sum * sum;
}

double lh_optim_rate(const struct lh_optim *o, uint64_t t)
{
	const double half_pi = 1.57079632679489661923;
	const uint64_t warmup = o->o.warmup_updates, total = o->o.total_updates;
	if (t <= warmup)
		return o->rate * ((double)t / (double)(warmup + 1));
	if (o->o.schedule == LH_SCHEDULE_CONSTANT)
		return o->rate;
	if (t > total) /* a cosine of no length, too */
		return o->rate * o->o.floor;
	const double x = (double)(t - 1 - warmup) / (double)(total - warmup);
	return o->rate * (o->o.floor + (1 - o->o.floor) * cos_square(half_pi * x));
}

double lh_optim_clip(const struct lh_optim *o, double norm)
{
	const double factor = o->o.clip_norm / (norm + 1e-6);
	return o->o.clip_norm > 0 && factor < 1 ? factor : 1;
}

/* 1 - b^t, by products: they have the same bits everywhere. Powers below 2^-60 leave 1. */
static double unbias(double b, uint64_t t)
{
	double power = 1;
	for (uint64_t i = 0; i < t && power > 0x1p-60; i++)
		power *= b;
	return 1 - power;
}

void lh_optim_begin(const struct lh_optim *o, uint64_t t, double scale, double norm, struct lh_optim_step *ret)
{
	const struct lh_optim_options *s = &o->o;
	const double rate = lh_optim_rate(o, t), unbias1 = unbias(s->beta1, t);
	const bool adamw = o->kind == LH_OPTIMIZER_ADAMW;
	*ret = (struct lh_optim_step){
		.kind = o->kind, .nesterov = s->nesterov, .scale = (real)(scale * lh_optim_clip(o, norm)), .rate = (real)rate,
		.decay = (real)s->weight_decay, .momentum = (real)s->momentum, .b1 = (real)s->beta1,
		.c1 = (real)(1 - s->beta1), .b2 = (real)s->beta2, .c2 = (real)(1 - s->beta2),
		.step = (real)((adamw ? rate : 1) / unbias1), .unbias2 = (real)(1 / unbias(s->beta2, t)),
		.epsilon = (real)s->epsilon, .keep = (real)(1 - rate * s->weight_decay),
	};
}

static void apply_sgd(const struct lh_optim_step *s, bool decay, size_t n, real *params, const real *grads, real *state)
{
	const real d = decay ? s->decay : 0;
	for (size_t i = 0; i < n; i++) {
		real g = grads[i] * s->scale + d * params[i];
		if (s->momentum > 0) {
			state[i] = s->momentum * state[i] + g;
			g = s->nesterov ? g + s->momentum * state[i] : state[i];
		}
		params[i] -= s->rate * g;
	}
}

static void apply_adamw(const struct lh_optim_step *s, bool decay, size_t n, real *params, const real *grads, real *m,
			real *v)
{
	const real keep = decay ? s->keep : 1;
	for (size_t i = 0; i < n; i++) {
		real g = grads[i] * s->scale;
		m[i] = s->b1 * m[i] + s->c1 * g;
		v[i] = s->b2 * v[i] + s->c2 * g * g;
		params[i] = keep * params[i] - s->step * m[i] / (SQRT(v[i] * s->unbias2) + s->epsilon);
	}
}

enum { LANES = 8 }; /* of a sum: room for the compiler's vectors, and an order all the same */

static double lane_sum(const double lanes[LANES])
{
	return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

double lh_optim_square_sum(size_t n, const real *v)
{
	double lanes[LANES] = { 0 };
	for (size_t i = 0; i + LANES <= n; i += LANES)
		for (int k = 0; k < LANES; k++)
			lanes[k] += (double)v[i + (size_t)k] * (double)v[i + (size_t)k];
	for (size_t i = n - n % LANES; i < n; i++)
		lanes[i % LANES] += (double)v[i] * (double)v[i];
	return lane_sum(lanes);
}

static real lamb_direction(const struct lh_optim_step *s, real d, real p, real m, real v)
{
	return s->step * m / (SQRT(v * s->unbias2) + s->epsilon) + d * p;
}

/* The direction is made twice rather than kept. */
static void apply_lamb(const struct lh_optim_step *s, bool decay, size_t n, real *params, const real *grads, real *m,
		       real *v)
{
	const real d = decay ? s->decay : 0;
	double lanes[LANES] = { 0 };
	for (size_t i = 0; i < n; i++) {
		real g = grads[i] * s->scale;
		m[i] = s->b1 * m[i] + s->c1 * g;
		v[i] = s->b2 * v[i] + s->c2 * g * g;
		const double u = (double)lamb_direction(s, d, params[i], m[i], v[i]);
		lanes[i % LANES] += u * u;
	}
	const double length = sqrt(lh_optim_square_sum(n, params)), size = sqrt(lane_sum(lanes));
	const real rate = s->rate * (decay && length > 0 && size > 0 ? (real)(length / size) : 1);
	for (size_t i = 0; i < n; i++)
		params[i] -= rate * lamb_direction(s, d, params[i], m[i], v[i]);
}

void lh_optim_apply(const struct lh_optim_step *s, bool decay, size_t n, real *params, const real *grads, real *state,
		    size_t stride)
{
	switch (s->kind) {
	case LH_OPTIMIZER_SGD: apply_sgd(s, decay, n, params, grads, state); break;
	case LH_OPTIMIZER_ADAMW: apply_adamw(s, decay, n, params, grads, state, state + stride); break;
	case LH_OPTIMIZER_LAMB: apply_lamb(s, decay, n, params, grads, state, state + stride); break;
	}
}

void lh_optim_run(const struct lh_optim *o, uint64_t t, double scale, const struct lh_optim_tensor *tensors,
		  size_t ntensors, size_t parameters, real *params, const real *grads, real *state, double *ret_norm)
{
	struct lh_optim_step step;
	double norm = (double)NAN;
	if (o->o.clip_norm > 0)
		norm = sqrt(lh_optim_square_sum(parameters, grads)) * scale;
	lh_optim_begin(o, t, scale, norm, &step);
	for (size_t i = 0; i < ntensors; i++) {
		const size_t at = tensors[i].offset;
		if (!tensors[i].frozen)
			lh_optim_apply(&step, tensors[i].decay, tensors[i].count, params + at, grads + at,
				       state ? state + at : NULL, parameters);
	}
	if (ret_norm)
		*ret_norm = norm;
}
