/* Layer normalisation: y = (x - mean) rstd gain + shift over each row. */
#include "backend/cpu/vec.h"

#define EPSILON ((real)1e-5)

void lh_op_layernorm_forward(size_t rows, size_t cols, const real *x, const real *gain, const real *shift,
				       real *y, real *mean, real *rstd)
{
	for (size_t r = 0; r < rows; r++, x += cols, y += cols) {
		real m = row_sum(cols, x) / (real)cols;
		for (size_t j = 0; j < cols; j++)
			y[j] = x[j] - m;
		real s = 1 / (real)sqrt(row_dot(cols, y, y) / (real)cols + EPSILON);
		for (size_t j = 0; j < cols; j++)
			y[j] = y[j] * s * gain[j] + shift[j];
		mean[r] = m;
		rstd[r] = s;
	}
}

/* With h = (x - mean) rstd and g = dy gain:  dx = rstd (g - mean(g) - h mean(g h)). */
void lh_op_layernorm_backward(size_t rows, size_t cols, const real *x, const real *gain, const real *mean,
					const real *rstd, const real *dy, real *dx, real *dgain, real *dshift)
{
	for (size_t r = 0; r < rows; r++, x += cols, dy += cols, dx += cols) {
		real sum_g = 0, sum_gh = 0;
		for (size_t j = 0; j < cols; j++) {
			real h = (x[j] - mean[r]) * rstd[r], g = dy[j] * gain[j];
			dgain[j] += dy[j] * h;
			dshift[j] += dy[j];
			dx[j] = g;
			sum_g += g;
			sum_gh += g * h;
		}
		sum_g /= (real)cols;
		sum_gh /= (real)cols;
		for (size_t j = 0; j < cols; j++)
			dx[j] = rstd[r] * (dx[j] - sum_g - (x[j] - mean[r]) * rstd[r] * sum_gh);
	}
}
