/* Token and position embedding. */
#include "backend/cpu/vec.h"

void lh_op_embedding_forward(size_t rows, size_t window, size_t width, const uint8_t *ids,
				       const real *token, const real *position, real *y)
{
	for (size_t r = 0; r < rows; r++)
		for (size_t j = 0; j < width; j++)
			y[r * width + j] = token[ids[r] * width + j] + position[r % window * width + j];
}

void lh_op_embedding_backward(size_t rows, size_t window, size_t width, const uint8_t *ids, const real *dy,
					real *dtoken, real *dposition)
{
	for (size_t r = 0; r < rows; r++) {
		real *dt = dtoken + ids[r] * width, *dp = dposition + r % window * width;
		for (size_t j = 0; j < width; j++) {
			dt[j] += dy[r * width + j];
			dp[j] += dy[r * width + j];
		}
	}
}
