/* Softmax in its two places: attention weights, and the loss. */
#include "backend/cpu/vec.h"

/* y[j] = exp(scale (x[j] - max)), returns the sum. y may be x. */
LH_INLINE real exp_row(size_t n, real scale, const real *x, real *y)
{
	real max = x[0];
	for (size_t j = 1; j < n; j++)
		max = x[j] > max ? x[j] : max;
	for (size_t j = 0; j < n; j++)
		y[j] = exp_real(scale * (x[j] - max));
	return row_sum(n, y);
}

void lh_op_softmax_causal_forward(size_t size, real scale, real *p)
{
	for (size_t t = 0; t < size; t++, p += size) {
		real inverse = 1 / exp_row(t + 1, scale, p, p);
		for (size_t s = 0; s <= t; s++)
			p[s] *= inverse;
		for (size_t s = t + 1; s < size; s++)
			p[s] = 0;
	}
}

void lh_op_softmax_causal_backward(size_t size, real scale, const real *p, real *d)
{
	for (size_t t = 0; t < size; t++, p += size, d += size) {
		real dot = row_dot(t + 1, p, d);
		for (size_t s = 0; s <= t; s++)
			d[s] = scale * p[s] * (d[s] - dot);
		for (size_t s = t + 1; s < size; s++)
			d[s] = 0;
	}
}

/* -log softmax[target] = log(sum exp(x - max)) - (x[target] - max), in double: a loss is summed over many rows. */
double lh_op_cross_entropy(size_t rows, size_t cols, const real *logits, const uint8_t *targets,
				     real weight, real *dlogits, size_t *correct)
{
	double loss = 0;
	for (size_t r = 0; r < rows; r++, logits += cols) {
		real e[256], max = logits[0], at_target = logits[targets[r]];
		size_t best = 0;
		for (size_t j = 1; j < cols; j++)
			if (logits[j] > max) {
				max = logits[j];
				best = j;
			}
		real sum = exp_row(cols, 1, logits, e);
		loss += log((double)sum) - ((double)at_target - (double)max);
		*correct += best == targets[r];
		if (!dlogits)
			continue;
		real factor = weight / sum;
		for (size_t j = 0; j < cols; j++)
			dlogits[j] = e[j] * factor;
		dlogits[targets[r]] -= weight;
		dlogits += cols;
	}
	return loss;
}
