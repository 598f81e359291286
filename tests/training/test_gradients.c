/* Every derivative against central differences. The ops and models are built once more with real = double for this
 * program, so that a right derivative agrees to about 1e-9 and a wrong one cannot hide in rounding.
 *
 * Each op is seen as y = f(inputs); with random weights r the scalar is L = sum r y, dy = r, and backward must give
 * dL/dx for every element of every input, checked one by one.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/ops.h"
#include "hash.h"
#include "lhtest.h"
#include "model/model.h"

_Static_assert(sizeof(real) == sizeof(double), "built with LH_REAL_DOUBLE");

#define STEP 1e-5
#define BOUND 2e-8 /* of |analytic - numeric| / max(1, |numeric|): cancellation is some 1e-10, truncation less */

static uint64_t at;
static double uniform(void) { return (double)(lh_mix64(lh_test_seed() + ++at * LH_MIX64_STEP) >> 11) * 0x1p-52 - 1; }

static void randomise(double *x, size_t n, double scale)
{
	for (size_t i = 0; i < n; i++)
		x[i] = scale * uniform();
}

/* The scalar under test, of whatever the pointers in `ctx` hold now. */
typedef double scalar_fn(void *ctx);

static void check(const char *what, scalar_fn *f, void *ctx, double *x, const double *gradient, size_t n)
{
	double worst = 0;
	for (size_t i = 0; i < n; i++) {
		const double kept = x[i];
		/* Fourth order: over a row of nearly equal elements layernorm bends too much for the plain difference. */
		static const double steps[4] = { -2, -1, 1, 2 }, weights[4] = { 1, -8, 8, -1 };
		double numeric = 0;
		for (int k = 0; k < 4; k++) {
			x[i] = kept + steps[k] * STEP;
			numeric += weights[k] * f(ctx) / (12 * STEP);
		}
		x[i] = kept;
		const double off = fabs(gradient[i] - numeric) / fmax(1, fabs(numeric));
		worst = off > worst || isnan(off) ? off : worst;
	}
	if (!(worst < BOUND))
		printf("# %s: off by %.3g\n", what, worst);
	CU_ASSERT_TRUE(worst < BOUND);
}

static double weighted(const double *y, const double *r, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += y[i] * r[i];
	return sum;
}

/* Room for one op: inputs, their gradients, output, its weights. */
enum { ROOM = 4096 };
static double x[ROOM], w[ROOM], b[ROOM], y[ROOM], r[ROOM], dx[ROOM], dw[ROOM], db[ROOM], scratch[ROOM];
static double kept1[ROOM], kept2[ROOM];

static void fresh(void)
{
	randomise(x, ROOM, 1);
	randomise(w, ROOM, 1);
	randomise(b, ROOM, 1);
	randomise(r, ROOM, 1);
	memset(dx, 0, sizeof dx);
	memset(dw, 0, sizeof dw);
	memset(db, 0, sizeof db);
}

enum { ROWS = 5, IN = 9, OUT = 21 }; /* not multiples of any tile */

static double linear(void *ctx)
{
	lh_op_linear_forward(ROWS, IN, OUT, x, w, b, y);
	return weighted(y, r, ROWS * OUT);
}

static void test_linear(void)
{
	fresh();
	linear(NULL);
	lh_op_linear_backward(ROWS, IN, OUT, x, w, r, dx, dw, db, scratch);
	check("linear x", linear, NULL, x, dx, ROWS * IN);
	check("linear w", linear, NULL, w, dw, IN * OUT);
	check("linear b", linear, NULL, b, db, OUT);
}

static void test_gemm_against_definition(void)
{
	for (size_t m = 1; m <= 9; m += 2)
		for (size_t n = 1; n <= 20; n += 3)
			for (int add = 0; add < 2; add++)
				for (int transposed = 0; transposed < 2; transposed++) {
					const size_t k = 7, row = transposed ? 1 : k, col = transposed ? m : 1;
					double want[200];
					fresh();
					for (size_t i = 0; i < m; i++)
						for (size_t j = 0; j < n; j++) {
							want[i * n + j] = add ? y[i * (n + 1) + j] : 0;
							for (size_t p = 0; p < k; p++)
								want[i * n + j] += x[i * row + p * col] * w[p * n + j];
						}
					lh_op_gemm(m, n, k, x, row, col, w, n, y, n + 1, add);
					for (size_t i = 0; i < m; i++)
						for (size_t j = 0; j < n; j++)
							CU_ASSERT_DOUBLE_EQUAL(y[i * (n + 1) + j], want[i * n + j], 1e-13);
				}
}

static const struct lh_conv2d conv_shape = { .side = 4, .kernel = 3, .cin = 2, .cout = 3 };
enum { IMAGES = 2, CONV_IN = IMAGES * 16 * 2, CONV_OUT = IMAGES * 16 * 3, CONV_W = 9 * 2 * 3 };

static double conv(void *ctx)
{
	lh_op_conv2d_forward(&conv_shape, IMAGES, x, w, b, y, scratch);
	return weighted(y, r, CONV_OUT);
}

static void test_conv2d(void)
{
	CU_ASSERT_TRUE_FATAL(lh_op_conv2d_scratch(&conv_shape) <= ROOM);
	fresh();
	conv(NULL);
	lh_op_conv2d_backward(&conv_shape, IMAGES, x, w, r, dx, dw, db, scratch);
	check("conv2d x", conv, NULL, x, dx, CONV_IN);
	check("conv2d w", conv, NULL, w, dw, CONV_W);
	check("conv2d b", conv, NULL, b, db, 3);
}

/* The unfolding and the gradient check would both accept a transposed kernel: one value by hand. */
static void test_conv2d_orientation(void)
{
	const struct lh_conv2d c = { .side = 3, .kernel = 3, .cin = 1, .cout = 1 };
	fresh();
	memset(w, 0, sizeof w);
	b[0] = 0.5;
	w[0 * 3 + 1] = 1; /* tap (row -1, column 0): the pixel above */
	w[1 * 3 + 2] = 10; /* tap (row 0, column +1): the pixel to the right */
	lh_op_conv2d_forward(&c, 1, x, w, b, y, scratch);
	CU_ASSERT_DOUBLE_EQUAL(y[1 * 3 + 1], x[0 * 3 + 1] + 10 * x[1 * 3 + 2] + 0.5, 1e-14);
	CU_ASSERT_DOUBLE_EQUAL(y[0 * 3 + 2], 0.5, 1e-14); /* both lie outside */
}

static uint8_t winners[ROOM];

static double pool(void *ctx)
{
	lh_op_maxpool_forward(2, 4, 3, x, y, winners);
	return weighted(y, r, 2 * 4 * 3);
}

static void test_maxpool(void)
{
	fresh();
	for (size_t i = 0; i < 96; i++) /* no two values closer than the step */
		x[i] = (double)(lh_mix64(i + lh_test_seed()) % 100) / 10 + (double)i / 1000;
	pool(NULL);
	lh_op_maxpool_backward(2, 4, 3, winners, r, dx);
	check("maxpool x", pool, NULL, x, dx, 96);
}

static double relu(void *ctx)
{
	lh_op_relu_forward(50, x, y);
	return weighted(y, r, 50);
}

static double gelu(void *ctx)
{
	lh_op_gelu_forward(50, x, y);
	return weighted(y, r, 50);
}

static void test_relu_and_gelu(void)
{
	fresh();
	for (size_t i = 0; i < 50; i++)
		x[i] = 4 * x[i] + (x[i] > 0 ? 0.01 : -0.01); /* not at the kink */
	relu(NULL);
	lh_op_relu_backward(50, y, r, dx);
	check("relu x", relu, NULL, x, dx, 50);
	gelu(NULL);
	lh_op_gelu_backward(50, x, r, dx);
	check("gelu x", gelu, NULL, x, dx, 50);
	/* Published values of the tanh form. */
	x[0] = 1;
	x[1] = -2;
	lh_op_gelu_forward(2, x, y);
	CU_ASSERT_DOUBLE_EQUAL(y[0], 0.8411919906, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(y[1], -0.0454023059, 1e-9);
}

static double norm(void *ctx)
{
	lh_op_layernorm_forward(ROWS, IN, x, w, b, y, kept1, kept2);
	return weighted(y, r, ROWS * IN);
}

static void test_layernorm(void)
{
	fresh();
	norm(NULL);
	lh_op_layernorm_backward(ROWS, IN, x, w, kept1, kept2, r, dx, dw, db);
	check("layernorm x", norm, NULL, x, dx, ROWS * IN);
	check("layernorm gain", norm, NULL, w, dw, IN);
	check("layernorm shift", norm, NULL, b, db, IN);
}

enum { SIZE = 7 };

static double softmax(void *ctx)
{
	memcpy(y, x, SIZE * SIZE * sizeof *y);
	lh_op_softmax_causal_forward(SIZE, 0.7, y);
	return weighted(y, r, SIZE * SIZE);
}

static void test_softmax_causal(void)
{
	fresh();
	softmax(NULL);
	for (size_t t = 0; t < SIZE; t++) {
		double sum = 0;
		for (size_t s = 0; s < SIZE; s++)
			sum += y[t * SIZE + s];
		CU_ASSERT_DOUBLE_EQUAL(sum, 1, 1e-14);
		CU_ASSERT_TRUE(t + 1 == SIZE || y[t * SIZE + t + 1] == 0);
	}
	memcpy(dx, r, SIZE * SIZE * sizeof *dx);
	lh_op_softmax_causal_backward(SIZE, 0.7, y, dx);
	check("softmax x", softmax, NULL, x, dx, SIZE * SIZE);
}

static const uint8_t targets[ROWS] = { 3, 0, 8, 3, 5 };

static double cross_entropy(void *ctx)
{
	size_t correct = 0;
	return 0.25 * lh_op_cross_entropy(ROWS, IN, x, targets, 0.25, NULL, &correct);
}

static void test_cross_entropy(void)
{
	size_t correct = 0;
	fresh();
	lh_op_cross_entropy(ROWS, IN, x, targets, 0.25, dx, &correct);
	check("cross entropy", cross_entropy, NULL, x, dx, ROWS * IN);
	memset(x, 0, sizeof x);
	x[3] = x[IN + 1] = 1;
	correct = 0;
	double loss = lh_op_cross_entropy(2, IN, x, targets, 1, NULL, &correct); /* row 0 right, row 1 wrong */
	CU_ASSERT_EQUAL(correct, 1);
	CU_ASSERT_DOUBLE_EQUAL(loss, 2 * log(exp(1) + IN - 1) - 1, 1e-14);
}

static const struct lh_attention heads_shape = { .window = 5, .width = 6, .heads = 2 };

static double attention(void *ctx)
{
	lh_op_attention_forward(&heads_shape, 2, x, kept1, y, scratch);
	return weighted(y, r, 2 * 5 * 6);
}

static void test_attention(void)
{
	fresh();
	attention(NULL);
	lh_op_attention_backward(&heads_shape, 2, x, kept1, r, dx, scratch);
	check("attention qkv", attention, NULL, x, dx, 2 * 5 * 18);
	/* Causal: what comes later changes nothing before it; the first output is the first value. */
	double before[12];
	memcpy(before, y, sizeof before);
	for (size_t i = 2 * 18; i < 5 * 18; i++)
		x[i] += 1;
	attention(NULL);
	CU_ASSERT_EQUAL(memcmp(before, y, sizeof before), 0);
	CU_ASSERT_DOUBLE_EQUAL(y[0], x[12], 1e-14);
}

static const uint8_t ids[6] = { 2, 0, 2, 3, 3, 1 };

static double embedding(void *ctx)
{
	lh_op_embedding_forward(6, 3, 4, ids, w, b, y);
	return weighted(y, r, 24);
}

static void test_embedding(void)
{
	fresh();
	lh_op_embedding_backward(6, 3, 4, ids, r, dw, db);
	check("embedding token", embedding, NULL, w, dw, 16);
	check("embedding position", embedding, NULL, b, db, 12);
}

struct whole {
	struct lh_model *model;
	double *params;
	const uint8_t *inputs, *targets;
	size_t n;
};

static double whole_loss(void *ctx)
{
	struct whole *m = ctx;
	struct lh_model_result result = { 0 };
	m->model->run(m->model, m->params, m->inputs, m->targets, m->n, NULL, &result);
	return result.loss_sum;
}

/* Every parameter of a narrow model: forward and backward as the engine runs them. */
static void check_whole(struct lh_model *model, uint64_t seed, const uint8_t *inputs, const uint8_t *labels, size_t n)
{
	struct whole m = { model, calloc(model->parameters, sizeof(double)), inputs, labels, n };
	double *grads = calloc(model->parameters, sizeof *grads);
	CU_ASSERT_TRUE_FATAL(m.params && grads);
	lh_model_init(model, seed, m.params);
	for (size_t i = 0; i < model->parameters; i++)
		m.params[i] += 0.1 * ((double)(lh_mix64(seed + i) >> 11) * 0x1p-52 - 1); /* biases off 0, gains off 1 */
	struct lh_model_result result = { 0 };
	model->run(model, m.params, inputs, labels, n, grads, &result);
	CU_ASSERT_DOUBLE_EQUAL(result.loss_sum, whole_loss(&m), 1e-12);
	size_t covered = 0;
	for (size_t i = 0; i < model->nparams; i++) {
		const struct lh_param *p = &model->params[i];
		CU_ASSERT_EQUAL(p->offset, covered);
		covered += p->count;
		check(p->name, whole_loss, &m, m.params + p->offset, grads + p->offset, p->count);
	}
	CU_ASSERT_EQUAL(covered, model->parameters);
	free(m.params);
	free(grads);
	lh_model_free(model);
}

/* One seed, since with another one in a hundred some ReLU stands within a step of its kink. */
static void test_digits_model(void)
{
	const struct lh_digits_shape shape = { .side = 4, .max_value = 16, .c1 = 2, .c2 = 3, .c3 = 4, .hidden = 5, .classes = 3 };
	struct lh_model *model = NULL;
	uint8_t images[3 * 16];
	for (size_t i = 0; i < sizeof images; i++)
		images[i] = (uint8_t)(lh_mix64(i) % 17);
	CU_ASSERT_EQUAL_FATAL(lh_digits_new(&shape, 3, &model, NULL), 0);
	check_whole(model, 1, images, (const uint8_t[]){ 2, 0, 1 }, 3);
}

static void test_text_model(void)
{
	const struct lh_text_shape shape = { .window = 5, .symbols = 11, .width = 6, .heads = 2, .layers = 2, .mlp = 7 };
	struct lh_model *model = NULL;
	uint8_t text[2 * 5 + 1];
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)(lh_mix64(lh_test_seed() ^ i) % 11);
	CU_ASSERT_EQUAL_FATAL(lh_text_new(&shape, 2, &model, NULL), 0);
	check_whole(model, lh_test_seed(), text, text + 1, 2);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "gemm_against_definition", test_gemm_against_definition, 0 },
		{ "linear", test_linear, 0 },
		{ "conv2d", test_conv2d, 0 },
		{ "conv2d_orientation", test_conv2d_orientation, 0 },
		{ "maxpool", test_maxpool, 0 },
		{ "relu_and_gelu", test_relu_and_gelu, 0 },
		{ "layernorm", test_layernorm, 0 },
		{ "softmax_causal", test_softmax_causal, 0 },
		{ "cross_entropy", test_cross_entropy, 0 },
		{ "attention", test_attention, 0 },
		{ "embedding", test_embedding, 0 },
		{ "digits_model", test_digits_model, 0 },
		{ "text_model", test_text_model, 0 },
	};
	return lh_test_main(argc, argv, "gradients", tests, sizeof tests / sizeof *tests);
}
