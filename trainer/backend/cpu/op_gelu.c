/* GELU with the normal distribution itself, which all eleven models use: x Phi(x), Phi(x) = erfc(-x / sqrt 2) / 2. */
#include <math.h>

#include "backend/cpu/cpu.h"

#define SQRT_HALF 0.70710678118654752440
#define DENSITY_AT_0 0.39894228040143267794

static real erfc_real(real x) { return sizeof(real) == sizeof(double) ? (real)erfc((double)x) : (real)erfcf((float)x); }
static real gauss_real(real x)
{
	const real square = -x * x / 2;
	return (real)DENSITY_AT_0 *
	       (sizeof(real) == sizeof(double) ? (real)exp((double)square) : (real)expf((float)square));
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const real *x = r->x[0];
	real *y = r->y;
	for (size_t i = 0, n = r->n * lh_shape_count(r->node->y); i < n; i++)
		y[i] = x[i] * (real)0.5 * erfc_real(-x[i] * (real)SQRT_HALF);
	return 0;
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const real *x = r->x[0], *dy = r->dy;
	real *dx = r->dx[0];
	for (size_t i = 0, n = r->n * lh_shape_count(r->node->y); i < n; i++)
		LH_PUT(dx[i], r->dx_add[0],
		       dy[i] * ((real)0.5 * erfc_real(-x[i] * (real)SQRT_HALF) + x[i] * gauss_real(x[i])));
	return 0;
}

const struct lh_backend_op lh_cpu_gelu = { .forward = forward, .backward = backward };
