/* A small convolutional network for images of handwritten digits. */
#include "model/model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct digits {
	struct lh_model model; /* first */
	struct lh_digits_shape shape;
	struct lh_conv2d conv1, conv2, conv3;
	size_t w1, b1, w2, b2, w3, b3, w4, b4, w5, b5; /* offsets of the parameters */
	/* Activations of one batch (a: after ReLU), and two buffers that gradients move between. */
	real *x, *a1, *a2, *pooled, *a3, *a4, *logits, *g, *h, *scratch;
	uint8_t *argmax;
	real *memory;
	struct lh_blame blame;
	struct lh_param table[10];
};

static void forward(struct digits *d, const real *p, const uint8_t *inputs, size_t n, struct lh_blame *blame)
{
	const struct lh_digits_shape *s = &d->shape;
	const size_t pixels = s->side * s->side, quarter = pixels / 4;
	for (size_t i = 0; i < n * pixels; i++)
		d->x[i] = (real)inputs[i] / (real)s->max_value * 2 - (real)0.6; /* mean near 0, variance near 1/2 */
	lh_op_conv2d_forward(&d->conv1, n, d->x, p + d->w1, p + d->b1, d->a1, d->scratch);
	lh_blame_look(blame, n * pixels * s->c1, d->a1, "conv1");
	lh_op_relu_forward(n * pixels * s->c1, d->a1, d->a1);
	lh_op_conv2d_forward(&d->conv2, n, d->a1, p + d->w2, p + d->b2, d->a2, d->scratch);
	lh_blame_look(blame, n * pixels * s->c2, d->a2, "conv2");
	lh_op_relu_forward(n * pixels * s->c2, d->a2, d->a2);
	lh_op_maxpool_forward(n, s->side, s->c2, d->a2, d->pooled, d->argmax);
	lh_op_conv2d_forward(&d->conv3, n, d->pooled, p + d->w3, p + d->b3, d->a3, d->scratch);
	lh_blame_look(blame, n * quarter * s->c3, d->a3, "conv3");
	lh_op_relu_forward(n * quarter * s->c3, d->a3, d->a3);
	lh_op_linear_forward(n, quarter * s->c3, s->hidden, d->a3, p + d->w4, p + d->b4, d->a4);
	lh_blame_look(blame, n * s->hidden, d->a4, "hidden");
	lh_op_relu_forward(n * s->hidden, d->a4, d->a4);
	lh_op_linear_forward(n, s->hidden, s->classes, d->a4, p + d->w5, p + d->b5, d->logits);
	lh_blame_look(blame, n * s->classes, d->logits, "out");
}

/* d->logits holds the gradient of the logits. */
static void backward(struct digits *d, const real *p, size_t n, real *grads)
{
	const struct lh_digits_shape *s = &d->shape;
	const size_t pixels = s->side * s->side, quarter = pixels / 4;
	real *g = d->g, *h = d->h;
	lh_op_linear_backward(n, s->hidden, s->classes, d->a4, p + d->w5, d->logits, g, grads + d->w5, grads + d->b5,
			      d->scratch);
	lh_op_relu_backward(n * s->hidden, d->a4, g, g);
	lh_op_linear_backward(n, quarter * s->c3, s->hidden, d->a3, p + d->w4, g, h, grads + d->w4, grads + d->b4,
			      d->scratch);
	lh_op_relu_backward(n * quarter * s->c3, d->a3, h, h);
	lh_op_conv2d_backward(&d->conv3, n, d->pooled, p + d->w3, h, g, grads + d->w3, grads + d->b3, d->scratch);
	lh_op_maxpool_backward(n, s->side, s->c2, d->argmax, g, h);
	lh_op_relu_backward(n * pixels * s->c2, d->a2, h, h);
	lh_op_conv2d_backward(&d->conv2, n, d->a1, p + d->w2, h, g, grads + d->w2, grads + d->b2, d->scratch);
	lh_op_relu_backward(n * pixels * s->c1, d->a1, g, g);
	lh_op_conv2d_backward(&d->conv1, n, d->x, p + d->w1, g, NULL, grads + d->w1, grads + d->b1, d->scratch);
}

static void digits_run(struct lh_model *m, const real *params, const uint8_t *inputs, const uint8_t *targets, size_t n,
		       real *grads, struct lh_model_result *result)
{
	struct digits *d = (struct digits *)m;
	forward(d, params, inputs, n, NULL);
	result->loss_sum += lh_op_cross_entropy(n, d->shape.classes, d->logits, targets, 1, grads ? d->logits : NULL,
						&result->correct);
	if (grads)
		backward(d, params, n, grads);
}

static const char *digits_blame(struct lh_model *m, const real *params, const uint8_t *inputs, size_t n)
{
	struct digits *d = (struct digits *)m;
	*d->blame.layer = 0;
	forward(d, params, inputs, n, &d->blame);
	return *d->blame.layer ? d->blame.layer : NULL;
}

static void digits_free(struct lh_model *m)
{
	struct digits *d = (struct digits *)m;
	free(d->memory);
	free(d->argmax);
	free(d);
}

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

static int digits_allocate(struct digits *d)
{
	const struct lh_digits_shape *s = &d->shape;
	const size_t n = d->model.batch, pixels = s->side * s->side, quarter = pixels / 4;
	size_t scratch = max_of(lh_op_conv2d_scratch(&d->conv1), lh_op_conv2d_scratch(&d->conv2));
	scratch = max_of(scratch, lh_op_conv2d_scratch(&d->conv3));
	scratch = max_of(scratch, quarter * s->c3 * s->hidden);
	const size_t widest = n * max_of(max_of(pixels * max_of(s->c1, s->c2), quarter * s->c3), s->hidden);
	const struct { real **at; size_t count; } parts[] = {
		{ &d->x, n * pixels }, { &d->a1, n * pixels * s->c1 }, { &d->a2, n * pixels * s->c2 },
		{ &d->pooled, n * quarter * s->c2 }, { &d->a3, n * quarter * s->c3 }, { &d->a4, n * s->hidden },
		{ &d->logits, n * s->classes }, { &d->g, widest }, { &d->h, widest }, { &d->scratch, scratch },
	};
	size_t total = 0;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		total += parts[i].count;
	d->memory = calloc(total, sizeof *d->memory);
	d->argmax = malloc(n * quarter * s->c2);
	if (!d->memory || !d->argmax)
		return -ENOMEM;
	real *at = d->memory;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; at += parts[i++].count)
		*parts[i].at = at;
	return 0;
}

/* He's bound for a layer followed by ReLU. */
static real he(size_t fan_in) { return (real)sqrt(6.0 / (double)fan_in); }

int lh_digits_new(const struct lh_digits_shape *s, size_t batch, struct lh_model **ret, struct lh_err *err)
{
	struct digits *d = calloc(1, sizeof *d);
	if (!d)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model digits");
	d->shape = *s;
	d->conv1 = (struct lh_conv2d){ s->side, 3, 1, s->c1 };
	d->conv2 = (struct lh_conv2d){ s->side, 3, s->c1, s->c2 };
	d->conv3 = (struct lh_conv2d){ s->side / 2, 3, s->c2, s->c3 };
	struct lh_model *m = &d->model;
	*m = (struct lh_model){ .name = "digits", .params = d->table, .input_bytes = s->side * s->side,
				.target_bytes = 1, .batch = batch, .run = digits_run, .blame = digits_blame,
				.free = digits_free };
	const size_t flat = s->side * s->side / 4 * s->c3;
	const double pixels = (double)(s->side * s->side), first = pixels * 9 * (double)s->c1; /* no gradient of the image */
	m->flop = 6 * (first + pixels * 9 * (double)(s->c1 * s->c2) + pixels / 4 * 9 * (double)(s->c2 * s->c3) +
		       (double)(flat * s->hidden + s->hidden * s->classes)) - 2 * first;
	d->w1 = lh_model_add(m, "conv1.weight", (size_t[4]){ 3, 3, 1, s->c1 }, 0, he(9), true);
	d->b1 = lh_model_add(m, "conv1.bias", (size_t[4]){ s->c1 }, 0, 0, false);
	d->w2 = lh_model_add(m, "conv2.weight", (size_t[4]){ 3, 3, s->c1, s->c2 }, 0, he(9 * s->c1), true);
	d->b2 = lh_model_add(m, "conv2.bias", (size_t[4]){ s->c2 }, 0, 0, false);
	d->w3 = lh_model_add(m, "conv3.weight", (size_t[4]){ 3, 3, s->c2, s->c3 }, 0, he(9 * s->c2), true);
	d->b3 = lh_model_add(m, "conv3.bias", (size_t[4]){ s->c3 }, 0, 0, false);
	d->w4 = lh_model_add(m, "hidden.weight", (size_t[4]){ flat, s->hidden }, 0, he(flat), true);
	d->b4 = lh_model_add(m, "hidden.bias", (size_t[4]){ s->hidden }, 0, 0, false);
	d->w5 = lh_model_add(m, "out.weight", (size_t[4]){ s->hidden, s->classes }, 0, he(s->hidden) / 2, true);
	d->b5 = lh_model_add(m, "out.bias", (size_t[4]){ s->classes }, 0, 0, false);
	if (digits_allocate(d)) {
		digits_free(m);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model digits: activations of %zu samples", batch);
	}
	*ret = m;
	return 0;
}
