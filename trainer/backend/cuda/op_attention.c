/* Attention: at once where the device and the shape allow it (attention_fused.cu); else batched products around the kernels of
 * attention.cu, for as many samples at a time as the scratch holds.
 * backend/cpu/op_attention.c has the formulas; scores [sample][head][query][key] are fp32, weights have the precision.
 *
 * Heads lie side by side in a row of q, k and v: one (sample, head) is a matrix whose rows are a whole width apart. A batch
 * has one stride, so it runs over heads or over samples, whichever are more, and a loop over the others. */
#include "backend/cuda/product.h"

/* What one call may take, unless one sample needs more. */
#define SCRATCH_BYTES ((size_t)256 << 20)
enum { ALIGN = 256 };

struct sizes {
	size_t queries, keys, width, depth, heads, element;
	size_t samples; /* at a time */
};

static size_t round_up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static struct sizes sizes(const struct lh_node *node, size_t n, enum lh_precision type)
{
	struct sizes s = { .queries = lh_shape_rows(node->x[0]), .keys = lh_shape_rows(node->x[1]), .width = node->y.c,
			   .depth = node->y.c / node->heads, .heads = node->heads,
			   .element = type == LH_PRECISION_FP32 ? sizeof(float) : sizeof(uint16_t) };
	s.samples = SCRATCH_BYTES / (s.heads * s.queries * s.keys * 2 * (sizeof(float) + s.element));
	s.samples = s.samples < 1 ? 1 : s.samples > n ? n : s.samples;
	return s;
}

/* Scratch of backward, whose beginning forward uses: scores, weights; gradients of weights, of scores; dy . y of rows.
 * Bytes from its begin on. */
struct places {
	size_t weights, dweights, dscores, dot, end;
};

static struct places places(const struct sizes *s)
{
	const size_t rows = s->samples * s->heads * s->queries, count = rows * s->keys;
	struct places p;
	p.weights = round_up(count * sizeof(float));
	p.dweights = p.weights + round_up(count * s->element);
	p.dscores = p.dweights + round_up(count * sizeof(float));
	p.dot = p.dscores + round_up(count * s->element);
	p.end = p.dot + round_up(rows * sizeof(float));
	return p;
}

static size_t scratch_in(const struct lh_node *node, size_t n, enum lh_precision type)
{
	const struct sizes s = sizes(node, n, type);
	const size_t dot = n * s.heads * s.queries * sizeof(float); /* all that the fused way needs */
	return places(&s).end > dot ? places(&s).end : dot;
}

static size_t scratch_fp32(const struct lh_node *node, size_t n) { return scratch_in(node, n, LH_PRECISION_FP32); }
static size_t scratch_half(const struct lh_node *node, size_t n) { return scratch_in(node, n, LH_PRECISION_FP16); }

/* A matrix of each (sample, head): the first one, and elements from sample to sample and from head to head. */
struct matrices {
	char *at;
	size_t of_sample, of_head, ld, element;
};

static struct matrices rows_of(const struct sizes *s, const void *p, size_t rows, size_t sample)
{
	return (struct matrices){ (char *)(uintptr_t)p + sample * rows * s->width * s->element, rows * s->width, s->depth,
				  s->width, s->element };
}

static struct matrices scores_of(const struct sizes *s, void *scratch, size_t offset, size_t element)
{
	return (struct matrices){ (char *)scratch + offset, s->heads * s->queries * s->keys, s->queries * s->keys, s->keys, element };
}

static int multiply(struct lh_backend *b, const struct sizes *s, size_t samples, struct lh_product p,
		    const struct matrices *x, const struct matrices *y, const struct matrices *c, struct lh_err *err)
{
	const bool by_head = s->heads >= samples;
	const size_t loops = by_head ? samples : s->heads;
	int rc = 0;
	p.batch = by_head ? s->heads : samples;
	p.stride_a = by_head ? x->of_head : x->of_sample;
	p.stride_b = by_head ? y->of_head : y->of_sample;
	p.stride_c = by_head ? c->of_head : c->of_sample;
	p.lda = x->ld;
	p.ldb = y->ld;
	p.ldc = c->ld;
	p.alpha = 1;
	p.in = b->precision;
	p.out = c->element == sizeof(float) ? LH_PRECISION_FP32 : b->precision;
	for (size_t i = 0; i < loops && !rc; i++)
		rc = lh_product_run(b, &p, x->at + i * (by_head ? x->of_sample : x->of_head) * x->element,
				    y->at + i * (by_head ? y->of_sample : y->of_head) * y->element, NULL,
				    c->at + i * (by_head ? c->of_sample : c->of_head) * c->element, err);
	return rc;
}

static int forward_some(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, size_t first, size_t n,
			struct lh_err *err)
{
	const struct places at = places(s);
	const struct matrices q = rows_of(s, r->x[0], s->queries, first), k = rows_of(s, r->x[1], s->keys, first);
	const struct matrices v = rows_of(s, r->x[2], s->keys, first), y = rows_of(s, r->y, s->queries, first);
	const struct matrices scores = scores_of(s, r->scratch, 0, sizeof(float)), p = scores_of(s, r->scratch, at.weights, s->element);
	const struct lh_product of_scores = { .tb = true, .m = s->queries, .n = s->keys, .k = s->depth };
	const struct lh_product of_y = { .m = s->queries, .n = s->depth, .k = s->keys };
	int rc = multiply(b, s, n, of_scores, &q, &k, &scores, err);
	if (!rc)
		rc = lh_cuda_attention_forward(b, b->precision, r, first, n, r->scratch, p.at, err);
	return rc ? rc : multiply(b, s, n, of_y, &p, &v, &y, err);
}

static int backward_some(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, size_t first, size_t n,
			 struct lh_err *err)
{
	const struct places at = places(s);
	const struct matrices q = rows_of(s, r->x[0], s->queries, first), k = rows_of(s, r->x[1], s->keys, first);
	const struct matrices v = rows_of(s, r->x[2], s->keys, first), dy = rows_of(s, r->dy, s->queries, first);
	const struct matrices scores = scores_of(s, r->scratch, 0, sizeof(float)), p = scores_of(s, r->scratch, at.weights, s->element);
	const struct matrices dp = scores_of(s, r->scratch, at.dweights, sizeof(float)), ds = scores_of(s, r->scratch, at.dscores, s->element);
	const struct lh_product of_scores = { .tb = true, .m = s->queries, .n = s->keys, .k = s->depth };
	const struct lh_product of_dq = { .add = r->dx_add[0], .m = s->queries, .n = s->depth, .k = s->keys };
	struct lh_product of_dk = { .ta = true, .add = r->dx_add[1], .m = s->keys, .n = s->depth, .k = s->queries };
	float *dot = (float *)(void *)((char *)r->scratch + at.dot);
	int rc = multiply(b, s, n, of_scores, &q, &k, &scores, err);
	if (!rc)
		rc = multiply(b, s, n, of_scores, &dy, &v, &dp, err);
	if (!rc)
		rc = lh_cuda_attention_dot(b, b->precision, r, first, n, dot, err);
	if (!rc)
		rc = lh_cuda_attention_backward(b, b->precision, r, first, n, r->scratch, (const float *)(const void *)dp.at,
						dot, p.at, ds.at, err);
	const struct matrices dq = rows_of(s, r->dx[0], s->queries, first), dk = rows_of(s, r->dx[1], s->keys, first);
	const struct matrices dv = rows_of(s, r->dx[2], s->keys, first);
	if (!rc && r->dx[0])
		rc = multiply(b, s, n, of_dq, &ds, &k, &dq, err);
	if (!rc && r->dx[1])
		rc = multiply(b, s, n, of_dk, &ds, &q, &dk, err);
	of_dk.add = r->dx_add[2];
	if (!rc && r->dx[2])
		rc = multiply(b, s, n, of_dk, &p, &dy, &dv, err);
	return rc;
}

static int run(struct lh_backend *b, const struct lh_op_run *r, bool forward, struct lh_err *err)
{
	const struct sizes s = sizes(r->node, r->n, b->precision);
	int rc = 0;
	for (size_t first = 0, n; first < r->n && !rc; first += n) {
		n = r->n - first < s.samples ? r->n - first : s.samples;
		rc = forward ? forward_some(b, r, &s, first, n, err) : backward_some(b, r, &s, first, n, err);
	}
	return rc;
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	if (lh_cuda_attention_fuses(b, b->precision, r))
		return lh_cuda_attention_fused_forward(b, b->precision, r, err);
	return run(b, r, true, err);
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	if (!lh_cuda_attention_fuses(b, b->precision, r))
		return run(b, r, false, err);
	int rc = lh_cuda_attention_dot(b, b->precision, r, 0, r->n, r->scratch, err);
	return rc ? rc : lh_cuda_attention_fused_backward(b, b->precision, r, r->scratch, err);
}

#define TABLE(bytes)                                                                                                   \
	{ .state = lh_cuda_attention_state, .scratch = bytes, .forward = forward, .backward = backward }
const struct lh_backend_op lh_cuda_attention[LH_PRECISIONS] = {
	TABLE(scratch_fp32), TABLE(scratch_half), TABLE(scratch_half)
};
