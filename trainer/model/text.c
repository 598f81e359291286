/* A small causal transformer over bytes, pre-norm as in GPT-2:
 *   x = token + position;  per layer: x += attention(norm(x)), x += mlp(norm(x));  logits = head(norm(x)). */
#include "model/model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS_PER_LAYER = 12, TENSORS_AROUND = 6, LAYERS_MAX = 16 };

struct layer {
	/* Offsets of the parameters. */
	size_t gain1, shift1, qkv_w, qkv_b, mix_w, mix_b, gain2, shift2, up_w, up_b, down_w, down_b;
	/* Activations of one batch: input, norm 1, qkv, attention weights, heads, middle (after attention's
	 * residual), norm 2, MLP before and after GELU. */
	real *x, *norm1, *qkv, *att, *heads, *middle, *norm2, *up, *act;
	real *mean1, *rstd1, *mean2, *rstd2;
};

struct text {
	struct lh_model model; /* first */
	struct lh_text_shape shape;
	struct lh_attention attention;
	size_t token, position, gain, shift, head_w, head_b;
	struct layer layers[LAYERS_MAX];
	real *x, *norm, *mean, *rstd, *logits; /* after the last layer */
	real *dx, *dy, *wide, *scratch;        /* gradients: of the residual stream, of a branch, of a wide layer */
	real *memory;
	struct lh_blame blame;
	struct lh_param table[LAYERS_MAX * TENSORS_PER_LAYER + TENSORS_AROUND];
};

static void add(size_t n, const real *x, const real *y, real *sum)
{
	for (size_t i = 0; i < n; i++)
		sum[i] = x[i] + y[i];
}

static void layer_forward(struct text *t, const struct layer *l, const real *p, size_t n, real *out, struct lh_blame *blame)
{
	const unsigned at = (unsigned)(l - t->layers);
	const size_t rows = n * t->shape.window, d = t->shape.width, mlp = t->shape.mlp;
	lh_op_layernorm_forward(rows, d, l->x, p + l->gain1, p + l->shift1, l->norm1, l->mean1, l->rstd1);
	lh_op_linear_forward(rows, d, 3 * d, l->norm1, p + l->qkv_w, p + l->qkv_b, l->qkv);
	lh_blame_look(blame, rows * 3 * d, l->qkv, "layer%u.qkv", at);
	lh_op_attention_forward(&t->attention, n, l->qkv, l->att, l->heads, t->scratch);
	lh_blame_look(blame, rows * d, l->heads, "layer%u attention", at);
	lh_op_linear_forward(rows, d, d, l->heads, p + l->mix_w, p + l->mix_b, l->middle);
	add(rows * d, l->x, l->middle, l->middle);
	lh_blame_look(blame, rows * d, l->middle, "layer%u.mix", at);
	lh_op_layernorm_forward(rows, d, l->middle, p + l->gain2, p + l->shift2, l->norm2, l->mean2, l->rstd2);
	lh_op_linear_forward(rows, d, mlp, l->norm2, p + l->up_w, p + l->up_b, l->up);
	lh_blame_look(blame, rows * mlp, l->up, "layer%u.up", at);
	lh_op_gelu_forward(rows * mlp, l->up, l->act);
	lh_op_linear_forward(rows, mlp, d, l->act, p + l->down_w, p + l->down_b, out);
	add(rows * d, l->middle, out, out);
	lh_blame_look(blame, rows * d, out, "layer%u.down", at);
}

/* t->dx: gradient of the layer's output on entry, of its input on return. */
static void layer_backward(struct text *t, const struct layer *l, const real *p, size_t n, real *g)
{
	const size_t rows = n * t->shape.window, d = t->shape.width, mlp = t->shape.mlp;
	real *branch = t->dy, *after = t->dy + rows * d;
	lh_op_linear_backward(rows, mlp, d, l->act, p + l->down_w, t->dx, t->wide, g + l->down_w, g + l->down_b,
			      t->scratch);
	lh_op_gelu_backward(rows * mlp, l->up, t->wide, t->wide);
	lh_op_linear_backward(rows, d, mlp, l->norm2, p + l->up_w, t->wide, branch, g + l->up_w, g + l->up_b,
			      t->scratch);
	lh_op_layernorm_backward(rows, d, l->middle, p + l->gain2, l->mean2, l->rstd2, branch, after, g + l->gain2,
				 g + l->shift2);
	add(rows * d, t->dx, after, t->dx);
	lh_op_linear_backward(rows, d, d, l->heads, p + l->mix_w, t->dx, branch, g + l->mix_w, g + l->mix_b,
			      t->scratch);
	lh_op_attention_backward(&t->attention, n, l->qkv, l->att, branch, t->wide, t->scratch);
	lh_op_linear_backward(rows, d, 3 * d, l->norm1, p + l->qkv_w, t->wide, branch, g + l->qkv_w, g + l->qkv_b,
			      t->scratch);
	lh_op_layernorm_backward(rows, d, l->x, p + l->gain1, l->mean1, l->rstd1, branch, after, g + l->gain1,
				 g + l->shift1);
	add(rows * d, t->dx, after, t->dx);
}

static void forward(struct text *t, const real *p, const uint8_t *inputs, size_t n, struct lh_blame *blame)
{
	const struct lh_text_shape *s = &t->shape;
	const size_t rows = n * s->window;
	lh_op_embedding_forward(rows, s->window, s->width, inputs, p + t->token, p + t->position, t->layers[0].x);
	lh_blame_look(blame, rows * s->width, t->layers[0].x, "embedding");
	for (size_t i = 0; i < s->layers; i++)
		layer_forward(t, &t->layers[i], p, n, i + 1 < s->layers ? t->layers[i + 1].x : t->x, blame);
	lh_op_layernorm_forward(rows, s->width, t->x, p + t->gain, p + t->shift, t->norm, t->mean, t->rstd);
	lh_op_linear_forward(rows, s->width, s->symbols, t->norm, p + t->head_w, p + t->head_b, t->logits);
	lh_blame_look(blame, rows * s->symbols, t->logits, "head");
}

static const char *text_blame(struct lh_model *m, const real *params, const uint8_t *inputs, size_t n)
{
	struct text *t = (struct text *)m;
	*t->blame.layer = 0;
	forward(t, params, inputs, n, &t->blame);
	return *t->blame.layer ? t->blame.layer : NULL;
}

static void text_run(struct lh_model *m, const real *p, const uint8_t *inputs, const uint8_t *targets, size_t n,
		     real *grads, struct lh_model_result *result)
{
	struct text *t = (struct text *)m;
	const struct lh_text_shape *s = &t->shape;
	const size_t rows = n * s->window;
	forward(t, p, inputs, n, NULL);
	result->loss_sum += lh_op_cross_entropy(rows, s->symbols, t->logits, targets, 1 / (real)s->window,
						grads ? t->logits : NULL, &result->correct) / (double)s->window;
	if (!grads)
		return;
	lh_op_linear_backward(rows, s->width, s->symbols, t->norm, p + t->head_w, t->logits, t->dy, grads + t->head_w,
			      grads + t->head_b, t->scratch);
	lh_op_layernorm_backward(rows, s->width, t->x, p + t->gain, t->mean, t->rstd, t->dy, t->dx, grads + t->gain,
				 grads + t->shift);
	for (size_t i = s->layers; i-- > 0;)
		layer_backward(t, &t->layers[i], p, n, grads);
	lh_op_embedding_backward(rows, s->window, s->width, inputs, t->dx, grads + t->token, grads + t->position);
}

static void text_free(struct lh_model *m)
{
	struct text *t = (struct text *)m;
	free(t->memory);
	free(t);
}

static size_t max_of(size_t a, size_t b) { return a > b ? a : b; }

/* Walk over everything that lives in the one allocation. Called twice: to count (base NULL), and to hand out. */
static size_t carve(struct text *t, real *base)
{
	const struct lh_text_shape *s = &t->shape;
	const size_t rows = t->model.batch * s->window, d = s->width, widest = max_of(s->mlp, 3 * d);
	size_t used = 0;
	for (size_t i = 0; i < s->layers; i++) {
		struct layer *l = &t->layers[i];
		const struct { real **at; size_t count; } parts[] = {
			{ &l->x, rows * d }, { &l->norm1, rows * d }, { &l->qkv, rows * 3 * d },
			{ &l->att, rows * s->window * s->heads }, { &l->heads, rows * d }, { &l->middle, rows * d },
			{ &l->norm2, rows * d }, { &l->up, rows * s->mlp }, { &l->act, rows * s->mlp },
			{ &l->mean1, rows }, { &l->rstd1, rows }, { &l->mean2, rows }, { &l->rstd2, rows },
		};
		for (size_t k = 0; k < sizeof parts / sizeof *parts; used += parts[k++].count)
			*parts[k].at = base ? base + used : NULL;
	}
	const struct { real **at; size_t count; } parts[] = {
		{ &t->x, rows * d }, { &t->norm, rows * d }, { &t->mean, rows }, { &t->rstd, rows },
		{ &t->logits, rows * s->symbols }, { &t->dx, rows * d }, { &t->dy, 2 * rows * d },
		{ &t->wide, rows * widest },
		{ &t->scratch, max_of(lh_op_attention_scratch(&t->attention), d * max_of(widest, s->symbols)) },
	};
	for (size_t k = 0; k < sizeof parts / sizeof *parts; used += parts[k++].count)
		*parts[k].at = base ? base + used : NULL;
	return used;
}

/* Uniform with the variance 1 / fan_in; `share` scales what is added to the residual stream. */
static real spread(size_t fan_in, double share) { return (real)(share * sqrt(3.0 / (double)fan_in)); }

static void layer_params(struct text *t, size_t index)
{
	struct lh_model *m = &t->model;
	struct layer *l = &t->layers[index];
	const size_t d = t->shape.width, mlp = t->shape.mlp;
	const double share = 1 / sqrt(2.0 * (double)t->shape.layers);
	const struct { size_t *at; const char *name; size_t rows, cols; real centre, spread; } rows[TENSORS_PER_LAYER] = {
		{ &l->gain1, "norm1.gain", d, 0, 1, 0 },
		{ &l->shift1, "norm1.shift", d, 0, 0, 0 },
		{ &l->qkv_w, "qkv.weight", d, 3 * d, 0, spread(d, 1) },
		{ &l->qkv_b, "qkv.bias", 3 * d, 0, 0, 0 },
		{ &l->mix_w, "mix.weight", d, d, 0, spread(d, share) },
		{ &l->mix_b, "mix.bias", d, 0, 0, 0 },
		{ &l->gain2, "norm2.gain", d, 0, 1, 0 },
		{ &l->shift2, "norm2.shift", d, 0, 0, 0 },
		{ &l->up_w, "up.weight", d, mlp, 0, spread(d, 1) },
		{ &l->up_b, "up.bias", mlp, 0, 0, 0 },
		{ &l->down_w, "down.weight", mlp, d, 0, spread(mlp, share) },
		{ &l->down_b, "down.bias", d, 0, 0, 0 },
	};
	for (size_t i = 0; i < TENSORS_PER_LAYER; i++) {
		char name[LH_PARAM_NAME_MAX];
		snprintf(name, sizeof name, "layer%u.%s", (unsigned)index % LAYERS_MAX, rows[i].name);
		*rows[i].at = lh_model_add(m, name, (size_t[4]){ rows[i].rows, rows[i].cols }, rows[i].centre,
					   rows[i].spread, rows[i].cols != 0);
	}
}

int lh_text_new(const struct lh_text_shape *s, size_t batch, struct lh_model **ret, struct lh_err *err)
{
	if (s->layers < 1 || s->layers > LAYERS_MAX || s->width % s->heads || s->symbols > 256)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model text: impossible shape");
	struct text *t = calloc(1, sizeof *t);
	if (!t)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model text");
	t->shape = *s;
	t->attention = (struct lh_attention){ s->window, s->width, s->heads };
	struct lh_model *m = &t->model;
	*m = (struct lh_model){ .name = "text", .params = t->table, .input_bytes = s->window,
				.target_bytes = s->window, .batch = batch, .run = text_run, .blame = text_blame, .free = text_free };
	/* Attention multiplies whole squares, masked halves too: 2 products forward, 4 backward. */
	m->flop = 6 * (double)s->window * ((double)(s->layers * s->width * (4 * s->width + 2 * s->mlp + 2 * s->window)) +
					   (double)(s->width * s->symbols));
	t->token = lh_model_add(m, "token", (size_t[4]){ s->symbols, s->width }, 0, (real)0.5, true);
	t->position = lh_model_add(m, "position", (size_t[4]){ s->window, s->width }, 0, (real)0.1, true);
	for (size_t i = 0; i < s->layers; i++)
		layer_params(t, i);
	t->gain = lh_model_add(m, "norm.gain", (size_t[4]){ s->width }, 1, 0, false);
	t->shift = lh_model_add(m, "norm.shift", (size_t[4]){ s->width }, 0, 0, false);
	t->head_w = lh_model_add(m, "head.weight", (size_t[4]){ s->width, s->symbols }, 0, spread(s->width, 0.25), true);
	t->head_b = lh_model_add(m, "head.bias", (size_t[4]){ s->symbols }, 0, 0, false);
	t->memory = calloc(carve(t, NULL), sizeof *t->memory);
	if (!t->memory) {
		text_free(m);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model text: activations of %zu samples", batch);
	}
	carve(t, t->memory);
	*ret = m;
	return 0;
}
