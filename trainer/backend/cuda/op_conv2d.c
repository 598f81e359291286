/* Convolution. With a 1x1 kernel, stride 1 and one group it is a product over pixels, without a copy. Otherwise the library
 * is asked; what it cannot do (-ENOTSUP: no algorithm for the shape, or no cuDNN on this machine) is unfolded into scratch,
 * for as many samples at a time as fit, and multiplied group by group, as backend/cpu/op_conv2d.c does. */
#include <errno.h>

#include "backend/cuda/fold.h"

/* Unfolded pixels at a time; one sample's if that is more. */
#define UNFOLD_BYTES ((size_t)64 << 20)
enum { ALIGN = 256 };

struct sizes {
	struct lh_convolution c;
	size_t cin, cout, depth, pixels; /* of one group; pixels of one sample's output */
	size_t samples;                  /* unfolded at a time */
	bool direct;
};

static struct sizes sizes(const struct lh_node *node, size_t n, enum lh_precision type)
{
	const struct lh_window *k = &node->window;
	struct sizes s = { .c = { .n = n, .groups = node->groups, .x = node->x[0], .y = node->y, .window = *k, .type = type } };
	s.cin = s.c.x.c / node->groups;
	s.cout = s.c.y.c / node->groups;
	s.depth = k->kh * k->kw * s.cin;
	s.pixels = lh_shape_rows(s.c.y);
	s.direct = k->kh * k->kw == 1 && k->stride_h * k->stride_w == 1 && !k->pad_h && !k->pad_w && node->groups == 1;
	s.samples = UNFOLD_BYTES / (s.pixels * s.depth * sizeof(float));
	s.samples = s.samples < 1 ? 1 : s.samples > n ? n : s.samples;
	return s;
}

/* Scratch: for the bias's gradient; then, where it is not direct, for the library's and for the unfolded pixels. */
static size_t round_up(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static size_t bias_bytes(const struct lh_node *node, size_t n)
{
	return node->param[1] >= 0 ? round_up(lh_cuda_bias_scratch(n * lh_shape_rows(node->y), node->y.c)) : 0;
}

static size_t scratch_in(const struct lh_node *node, size_t n, enum lh_precision type)
{
	const struct sizes s = sizes(node, n, type);
	const size_t element = type == LH_PRECISION_FP32 ? sizeof(float) : sizeof(uint16_t);
	const size_t unfolded = s.samples * s.pixels * s.depth * element, library = lh_convolution_scratch(&s.c);
	return bias_bytes(node, n) + (s.direct ? 0 : unfolded > library ? unfolded : library);
}

static size_t scratch_fp32(const struct lh_node *node, size_t n) { return scratch_in(node, n, LH_PRECISION_FP32); }
static size_t scratch_half(const struct lh_node *node, size_t n) { return scratch_in(node, n, LH_PRECISION_FP16); }

/* Element i of an array of the backend's precision. */
static const void *at(const struct lh_backend *b, const void *p, size_t i)
{
	return (const char *)p + i * (b->precision == LH_PRECISION_FP32 ? sizeof(float) : sizeof(uint16_t));
}
static void *at_w(const struct lh_backend *b, void *p, size_t i) { return (void *)(uintptr_t)at(b, p, i); }

/* --- products over `rows` pixels whose inputs are `cols` (or, direct, the image itself), of one group --- */

static int forward_rows(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, size_t rows, size_t group,
			const void *cols, void *y, struct lh_err *err)
{
	const struct lh_product p = { .tb = true, .bias = s->direct && r->copy[1], .m = rows, .n = s->cout, .k = s->depth,
				      .lda = s->depth, .ldb = s->depth, .ldc = s->c.y.c, .batch = 1, .alpha = 1,
				      .in = b->precision, .out = b->precision };
	const size_t first = group * s->cout;
	return lh_product_run(b, &p, cols, at(b, r->copy[0], first * s->depth), s->direct ? r->copy[1] : NULL,
			      at_w(b, y, first), err);
}

static int filter_rows(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, size_t rows, size_t group,
		       const void *cols, const void *dy, struct lh_err *err)
{
	const struct lh_product p = { .ta = true, .add = true, .m = s->cout, .n = s->depth, .k = rows, .lda = s->c.y.c,
				      .ldb = s->depth, .ldc = s->depth, .batch = 1, .alpha = 1, .in = b->precision,
				      .out = LH_PRECISION_FP32 };
	const size_t first = group * s->cout;
	return lh_product_run(b, &p, at(b, dy, first), cols, NULL, (float *)r->dparam[0] + first * s->depth, err);
}

static int data_rows(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, size_t rows, size_t group,
		     const void *dy, bool add, void *cols, struct lh_err *err)
{
	const struct lh_product p = { .add = add, .m = rows, .n = s->depth, .k = s->cout, .lda = s->c.y.c, .ldb = s->depth,
				      .ldc = s->depth, .batch = 1, .alpha = 1, .in = b->precision, .out = b->precision };
	const size_t first = group * s->cout;
	return lh_product_run(b, &p, at(b, dy, first), at(b, r->copy[0], first * s->depth), NULL, cols, err);
}

/* --- unfolded --- */

enum way { FORWARD, FILTER, DATA };

static int unfolded_group(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, enum way way,
			  size_t first, size_t samples, size_t group, struct lh_err *err)
{
	void *cols = (char *)r->scratch + bias_bytes(r->node, r->n);
	const size_t rows = samples * s->pixels, of_x = first * lh_shape_count(s->c.x), of_y = first * lh_shape_count(s->c.y);
	int rc = 0;
	if (way != DATA)
		rc = lh_cuda_unfold(b, &s->c, samples, group, at(b, r->x[0], of_x), cols, err);
	if (!rc && way == FORWARD)
		return forward_rows(b, r, s, rows, group, cols, at_w(b, r->y, of_y), err);
	if (!rc && way == FILTER)
		return filter_rows(b, r, s, rows, group, cols, at(b, r->dy, of_y), err);
	if (!rc)
		rc = data_rows(b, r, s, rows, group, at(b, r->dy, of_y), false, cols, err);
	return rc ? rc : lh_cuda_fold(b, &s->c, samples, group, cols, r->dx_add[0], at_w(b, r->dx[0], of_x), err);
}

static int unfolded(struct lh_backend *b, const struct lh_op_run *r, const struct sizes *s, enum way way,
		    struct lh_err *err)
{
	int rc = 0;
	for (size_t first = 0, n; first < r->n && !rc; first += n) {
		n = r->n - first < s->samples ? r->n - first : s->samples;
		for (size_t group = 0; group < r->node->groups && !rc; group++)
			rc = unfolded_group(b, r, s, way, first, n, group, err);
	}
	return rc;
}

/* --- the operation --- */

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct sizes s = sizes(r->node, r->n, b->precision);
	const size_t rows = r->n * s.pixels;
	if (s.direct)
		return forward_rows(b, r, &s, rows, 0, r->x[0], r->y, err);
	int rc = lh_convolution_forward(b, &s.c, r->x[0], r->copy[0], r->y, err);
	if (rc == -ENOTSUP)
		rc = unfolded(b, r, &s, FORWARD, err);
	return rc || !r->param[1] ? rc : lh_cuda_bias_forward(b, b->precision, rows, s.c.y.c, r->param[1], r->y, err);
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct sizes s = sizes(r->node, r->n, b->precision);
	const size_t rows = r->n * s.pixels;
	void *library = (char *)r->scratch + bias_bytes(r->node, r->n);
	int rc = 0;
	if (r->dparam[0] && s.direct)
		rc = filter_rows(b, r, &s, rows, 0, r->x[0], r->dy, err);
	else if (r->dparam[0] && (rc = lh_convolution_filter(b, &s.c, r->x[0], r->dy, r->dparam[0], library, err)) == -ENOTSUP)
		rc = unfolded(b, r, &s, FILTER, err);
	if (!rc && r->dparam[1])
		rc = lh_cuda_bias_backward(b, b->precision, rows, s.c.y.c, r->dy, r->dparam[1], r->scratch, err);
	if (rc || !r->dx[0])
		return rc;
	if (s.direct)
		return data_rows(b, r, &s, rows, 0, r->dy, r->dx_add[0], r->dx[0], err);
	rc = lh_convolution_data(b, &s.c, r->copy[0], r->dy, r->dx[0], r->dx_add[0], err);
	return rc == -ENOTSUP ? unfolded(b, r, &s, DATA, err) : rc;
}

const struct lh_backend_op lh_cuda_conv2d[LH_PRECISIONS] = {
	{ .scratch = scratch_fp32, .forward = forward, .backward = backward },
	{ .scratch = scratch_half, .forward = forward, .backward = backward },
	{ .scratch = scratch_half, .forward = forward, .backward = backward },
};
