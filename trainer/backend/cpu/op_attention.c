/* Multi-head attention of one set of rows to another (itself, the past of itself, or an encoder's output):
 *
 *     s = q k' / sqrt(head width),  p = softmax over the keys that may be seen,  y = dropout(p) v
 *
 * one (sample, head) at a time. Forward keeps one number a row, the logarithm of the softmax's denominator, and
 * backward makes s and p again: one product more instead of heads x queries x keys numbers a sample and layer (whisper:
 * 1500 x 1500 a head).
 *
 *     dv = dropout(p)' dy      dp = dropout'(dy v')      ds = p (dp - D), D = sum dp p = dy . y
 *     dq = ds k / sqrt(head width)                       dk = ds' q / sqrt(head width) */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/vec.h"

struct view {
	size_t queries, keys, width, depth; /* depth: of one head */
	real scale;
	const int32_t *mask;                /* of the sample at hand, or NULL */
	uint64_t key;                       /* of its random choices */
	size_t head;
};

static size_t state(const struct lh_node *node, size_t n)
{
	return n * node->heads * lh_shape_rows(node->x[0]) * sizeof(real);
}

static size_t scratch(const struct lh_node *node, size_t n)
{
	return 2 * lh_shape_rows(node->x[0]) * lh_shape_rows(node->x[1]) * sizeof(real);
}

static struct view view(const struct lh_op_run *r, size_t sample, size_t head)
{
	const struct lh_node *node = r->node;
	struct view v = { .queries = lh_shape_rows(node->x[0]), .keys = lh_shape_rows(node->x[1]), .width = node->y.c,
			  .depth = node->y.c / node->heads, .head = head };
	v.scale = (real)(1 / sqrt((double)v.depth));
	v.mask = r->x[3] ? (const int32_t *)r->x[3] + sample * v.keys : NULL;
	v.key = r->training && node->p > 0 ? lh_random_key(r, sample) : 0;
	return v;
}

/* What dropout multiplies weight (query, key) by. */
static real kept(const struct lh_op_run *r, const struct view *v, size_t query, size_t key)
{
	const uint64_t i = ((uint64_t)v->head * v->queries + query) * v->keys + key;
	return lh_random_at(v->key, i) < r->node->p ? 0 : (real)(1 / (1 - r->node->p));
}

/* One row of s becomes p: its first n keys may be seen, save those that the mask hides. lse is written (forward) or read.
 * A row that sees nothing is 0. */
static void row_weights(const struct view *v, size_t n, real *s, real *lse, bool forward)
{
	real top = (real)-INFINITY, sum = 0;
	for (size_t j = 0; j < n; j++) {
		s[j] *= v->scale;
		top = (!v->mask || v->mask[j]) && s[j] > top ? s[j] : top;
	}
	const real from = forward ? top : *lse;
	LH_ELEMENTWISE
	for (size_t j = 0; j < n; j++)
		s[j] = exp_real(s[j] - from);
	for (size_t j = 0; j < n && v->mask; j++)
		s[j] = v->mask[j] ? s[j] : 0;
	memset(s + n, 0, (v->keys - n) * sizeof *s);
	if (!forward)
		return;
	sum = row_sum(n, s);
	*lse = top + (real)log((double)sum);
	const real share = sum > 0 || isnan(sum) ? 1 / sum : 0;
	for (size_t j = 0; j < n; j++)
		s[j] *= share;
}

/* Rows of s become p. */
static void weights(const struct lh_node *node, const struct view *v, real *s, real *lse, bool forward)
{
	for (size_t i = 0; i < v->queries; i++, s += v->keys)
		row_weights(v, node->causal && i + 1 < v->keys ? i + 1 : v->keys, s, &lse[i], forward);
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	real *s = r->scratch, *lse = r->state;
	for (size_t sample = 0; sample < r->n; sample++)
		for (size_t head = 0; head < node->heads; head++) {
			const struct view v = view(r, sample, head);
			const size_t d = v.width, at_q = sample * v.queries * d + head * v.depth;
			const size_t at_k = sample * v.keys * d + head * v.depth;
			lh_gemm(false, true, v.queries, v.keys, v.depth, (const real *)r->x[0] + at_q, d,
				(const real *)r->x[1] + at_k, d, s, v.keys, false);
			weights(node, &v, s, lse, true);
			lse += v.queries;
			for (size_t i = 0; r->training && node->p > 0 && i < v.queries; i++)
				for (size_t j = 0; j < v.keys; j++)
					s[i * v.keys + j] *= kept(r, &v, i, j);
			lh_gemm(false, false, v.queries, v.depth, v.keys, s, v.keys, (const real *)r->x[2] + at_k, d,
				(real *)r->y + at_q, d, false);
		}
	return 0;
}

/* p becomes dropout(p), dp (of the weights that met v) becomes ds. */
static void through_softmax(const struct lh_op_run *r, const struct view *v, const real *y, const real *dy, real *p,
			    real *dp)
{
	for (size_t i = 0; i < v->queries; i++, p += v->keys, dp += v->keys, y += v->width, dy += v->width) {
		const real dot = row_dot(v->depth, y, dy);
		const bool dropout = r->training && r->node->p > 0;
		for (size_t j = 0; j < v->keys && !dropout; j++)
			dp[j] = p[j] * (dp[j] - dot) * v->scale;
		for (size_t j = 0; j < v->keys && dropout; j++) {
			const real keep = kept(r, v, i, j);
			dp[j] = p[j] * (dp[j] * keep - dot) * v->scale;
			p[j] *= keep;
		}
	}
}

static void backward_head(const struct lh_op_run *r, size_t sample, size_t head)
{
	const struct view v = view(r, sample, head);
	const size_t d = v.width, at_q = sample * v.queries * d + head * v.depth;
	const size_t at_k = sample * v.keys * d + head * v.depth;
	const real *q = (const real *)r->x[0] + at_q, *k = (const real *)r->x[1] + at_k;
	const real *value = (const real *)r->x[2] + at_k, *dy = (const real *)r->dy + at_q;
	real *p = r->scratch, *dp = p + v.queries * v.keys;
	real *lse = (real *)r->state + (sample * r->node->heads + head) * v.queries;
	lh_gemm(false, true, v.queries, v.keys, v.depth, q, d, k, d, p, v.keys, false);
	weights(r->node, &v, p, lse, false);
	lh_gemm(false, true, v.queries, v.keys, v.depth, dy, d, value, d, dp, v.keys, false);
	through_softmax(r, &v, (const real *)r->y + at_q, dy, p, dp);
	if (r->dx[0])
		lh_gemm(false, false, v.queries, v.depth, v.keys, dp, v.keys, k, d, (real *)r->dx[0] + at_q, d,
			r->dx_add[0]);
	if (r->dx[1])
		lh_gemm(true, false, v.keys, v.depth, v.queries, dp, v.keys, q, d, (real *)r->dx[1] + at_k, d,
			r->dx_add[1]);
	if (r->dx[2])
		lh_gemm(true, false, v.keys, v.depth, v.queries, p, v.keys, dy, d, (real *)r->dx[2] + at_k, d,
			r->dx_add[2]);
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	for (size_t sample = 0; sample < r->n; sample++)
		for (size_t head = 0; head < r->node->heads; head++)
			backward_head(r, sample, head);
	return 0;
}

const struct lh_backend_op lh_cpu_attention = {
    .state = state, .scratch = scratch, .forward = forward, .backward = backward};
