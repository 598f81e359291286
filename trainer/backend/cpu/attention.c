/* Causal multi-head self-attention, one (sequence, head) at a time:
 *   p = softmax over the past of (q k' / sqrt(head width)),  y = p v.
 * Products run over the whole square, half of which is masked: at windows of 64 that costs less than a
 * triangular product would. */
#include "backend/cpu/vec.h"

size_t lh_op_attention_scratch(const struct lh_attention *a)
{
	return a->window * a->window + a->window * (a->width / a->heads);
}

void lh_op_attention_forward(const struct lh_attention *a, size_t n, const real *qkv, real *att, real *y,
			     real *scratch)
{
	const size_t t = a->window, d = a->width, depth = d / a->heads, ld = 3 * d;
	const real scale = 1 / (real)sqrt((double)depth);
	for (size_t s = 0; s < n; s++, qkv += t * ld, y += t * d)
		for (size_t h = 0; h < a->heads; h++, att += t * t) {
			const real *q = qkv + h * depth, *k = q + d, *v = k + d;
			lh_op_transpose(t, depth, k, ld, scratch);
			lh_op_gemm(t, t, depth, q, ld, 1, scratch, t, att, t, false);
			lh_op_softmax_causal_forward(t, scale, att);
			lh_op_gemm(t, depth, t, att, t, 1, v, ld, y + h * depth, d, false);
		}
}

void lh_op_attention_backward(const struct lh_attention *a, size_t n, const real *qkv, const real *att,
			      const real *dy, real *dqkv, real *scratch)
{
	const size_t t = a->window, d = a->width, depth = d / a->heads, ld = 3 * d;
	const real scale = 1 / (real)sqrt((double)depth);
	real *ds = scratch, *transposed = scratch + t * t;
	for (size_t s = 0; s < n; s++, qkv += t * ld, dqkv += t * ld, dy += t * d)
		for (size_t h = 0; h < a->heads; h++, att += t * t) {
			const real *q = qkv + h * depth, *k = q + d, *v = k + d, *g = dy + h * depth;
			real *dq = dqkv + h * depth, *dk = dq + d, *dv = dk + d;
			lh_op_gemm(t, depth, t, att, 1, t, g, d, dv, ld, false);             /* dv = p' dy */
			lh_op_transpose(t, depth, v, ld, transposed);
			lh_op_gemm(t, t, depth, g, d, 1, transposed, t, ds, t, false);       /* dp = dy v' */
			lh_op_softmax_causal_backward(t, scale, att, ds);
			lh_op_gemm(t, depth, t, ds, t, 1, k, ld, dq, ld, false);             /* dq = ds k */
			lh_op_gemm(t, depth, t, ds, 1, t, q, ld, dk, ld, false);             /* dk = ds' q */
		}
}
