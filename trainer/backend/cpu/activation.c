/* Elementwise non-linearities. */
#include "backend/cpu/vec.h"

void lh_op_relu_forward(size_t n, const real *x, real *y)
{
	LH_ELEMENTWISE
	for (size_t i = 0; i < n; i++)
		y[i] = x[i] <= 0 ? 0 : x[i]; /* NaN stays NaN, so that a broken number is seen */
}

void lh_op_relu_backward(size_t n, const real *y, const real *dy, real *dx)
{
	LH_ELEMENTWISE
	for (size_t i = 0; i < n; i++) {
		real g = dy[i]; /* loaded in any case, or the loop is not vectorised */
		dx[i] = y[i] > 0 ? g : 0;
	}
}

#define GELU_SCALE ((real)1.5957691216057308) /* 2 sqrt(2 / pi) */
#define GELU_CUBE ((real)0.044715)

void lh_op_gelu_forward(size_t n, const real *x, real *y)
{
	LH_ELEMENTWISE
	for (size_t i = 0; i < n; i++) {
		real u = GELU_SCALE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i]);
		y[i] = x[i] / (1 + exp_real(-u));
	}
}

void lh_op_gelu_backward(size_t n, const real *x, const real *dy, real *dx)
{
	LH_ELEMENTWISE
	for (size_t i = 0; i < n; i++) {
		real u = GELU_SCALE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i]);
		real s = 1 / (1 + exp_real(-u));
		real du = GELU_SCALE * (1 + 3 * GELU_CUBE * x[i] * x[i]);
		dx[i] = dy[i] * (s + x[i] * s * (1 - s) * du);
	}
}
