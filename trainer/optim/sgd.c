#include "optim/sgd.h"

void lh_sgd_apply(double rate, size_t n, float *params, const float *grads)
{
	const float r = (float)rate;
	for (size_t i = 0; i < n; i++)
		params[i] -= r * grads[i];
}
