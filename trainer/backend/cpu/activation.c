/* Elementwise non-linearities. */
#include "backend/cpu/vec.h"

LH_CLONES void lh_op_relu_forward(size_t n, const real *x, real *y)
{
	for (size_t i = 0; i < n; i++)
		y[i] = x[i] > 0 ? x[i] : 0;
}

LH_CLONES void lh_op_relu_backward(size_t n, const real *y, const real *dy, real *dx)
{
	for (size_t i = 0; i < n; i++)
		dx[i] = y[i] > 0 ? dy[i] : 0;
}

#define GELU_SCALE ((real)1.5957691216057308) /* 2 sqrt(2 / pi) */
#define GELU_CUBE ((real)0.044715)

LH_CLONES void lh_op_gelu_forward(size_t n, const real *x, real *y)
{
	for (size_t i = 0; i < n; i++) {
		real u = GELU_SCALE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i]);
		y[i] = x[i] / (1 + exp_real(-u));
	}
}

LH_CLONES void lh_op_gelu_backward(size_t n, const real *x, const real *dy, real *dx)
{
	for (size_t i = 0; i < n; i++) {
		real u = GELU_SCALE * (x[i] + GELU_CUBE * x[i] * x[i] * x[i]);
		real s = 1 / (1 + exp_real(-u));
		real du = GELU_SCALE * (1 + 3 * GELU_CUBE * x[i] * x[i]);
		dx[i] = dy[i] * (s + x[i] * s * (1 - s) * du);
	}
}
