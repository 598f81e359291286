/* The CUDA backend's own kernels against the cpu backend, without a GPU: the same .cu files run thread by thread
 * (tests/support/simt), in three precisions, at awkward shapes, with memory that ends at a guard page. What this shows
 * and what not: docs/decisions/0027-kernels-proven-on-the-host.md */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "opcase.h"
#include "opdevice.h"
#include "simt_backend.h"

#define NAME lh_name("op")

/* --- shapes that reach what opcase.c's do not: vectors, strips, long rows, many samples --- */

static int image(struct lh_graph *g, size_t h, size_t w, size_t c) { return lh_graph_input(g, (struct lh_shape){ h, w, c }); }
static void relu_vector(struct lh_graph *g) { lh_g_relu(g, image(g, 3, 5, 16)); }
static void gelu_vector(struct lh_graph *g) { lh_g_gelu(g, image(g, 9, 9, 24)); }
static void add_vector(struct lh_graph *g)
{
	const int x = image(g, 3, 3, 40);
	lh_g_add(g, x, image(g, 3, 3, 40));
}
/* Few columns: a block's threads take more rows. */
static void scale_narrow(struct lh_graph *g) { lh_g_scale(g, image(g, 7, 15, 24), lh_name("op.layer_scale"), 1); }
static void batchnorm_narrow(struct lh_graph *g) { lh_g_batchnorm(g, image(g, 9, 8, 24), NAME); }
static void batchnorm_one(struct lh_graph *g) { lh_g_batchnorm(g, image(g, 11, 13, 8), NAME); }
static void scale_vector(struct lh_graph *g) { lh_g_scale(g, image(g, 7, 5, 136), lh_name("op.layer_scale"), 1); }
static void batchnorm_vector(struct lh_graph *g) { lh_g_batchnorm(g, image(g, 9, 8, 136), NAME); }
static void layernorm_vector(struct lh_graph *g) { lh_g_layernorm(g, image(g, 1, 70, 136), NAME, 1e-5); }
static void layernorm_long(struct lh_graph *g) { lh_g_layernorm(g, image(g, 1, 3, 1100), NAME, 1e-5); }
static void layernorm_wide(struct lh_graph *g) { lh_g_layernorm(g, image(g, 1, 2, 1536), NAME, 1e-5); }
static void softmax_long(struct lh_graph *g) { lh_g_softmax(g, image(g, 1, 3, 1100)); }
static void add_rows_vector(struct lh_graph *g) { lh_g_add_rows(g, image(g, 1, 6, 24), NAME, 8, false); }
static void add_one_row_vector(struct lh_graph *g) { lh_g_add_rows(g, image(g, 1, 70, 136), NAME, 1, false); }
static void embedding_many(struct lh_graph *g)
{
	lh_g_embedding(g, lh_graph_input_ids(g, 300, 6), NAME, 6, 70, 2); /* each id in several tiles of 256 */
}
static void dropout_many(struct lh_graph *g) { lh_g_dropout(g, image(g, 1, 1, 8), NAME, 0.3); }
static void attention_many(struct lh_graph *g)
{
	const int q = image(g, 1, 2, 4), k = image(g, 1, 3, 4), v = image(g, 1, 3, 4);
	lh_g_attention(g, q, k, v, lh_graph_input_ids(g, 3, 2), NAME, 2, false, 0.3);
}
/* Heads as wide as the fused kernels have them: several blocks of rows and tiles, none whole. */
static void attend(struct lh_graph *g, size_t queries, size_t keys, size_t heads, bool masked, bool causal, double drop)
{
	const int q = image(g, 1, queries, 64 * heads), k = image(g, 1, keys, 64 * heads), v = image(g, 1, keys, 64 * heads);
	lh_g_attention(g, q, k, v, masked ? lh_graph_input_ids(g, keys, 2) : -1, NAME, heads, causal, drop);
}
static void fused(struct lh_graph *g) { attend(g, 70, 75, 2, false, false, 0); }
static void fused_causal(struct lh_graph *g) { attend(g, 133, 133, 1, false, true, 0); }
static void fused_cross_mask(struct lh_graph *g) { attend(g, 9, 131, 2, true, false, 0); }
static void fused_dropout(struct lh_graph *g) { attend(g, 35, 35, 2, true, true, 0.3); }
static void fused_many(struct lh_graph *g) { attend(g, 2, 3, 1, true, false, 0.3); }
static void drop_path_vector(struct lh_graph *g) { lh_g_drop_path(g, image(g, 2, 3, 8), NAME, 0.4); }
static void strips(struct lh_graph *g, size_t c, size_t kernel)
{
	lh_g_conv2d(g, image(g, 5, 19, c), NAME,
		    (struct lh_conv){ .out = c, .kernel = kernel, .padding = kernel / 2, .groups = c, .bias = true });
}
static void depthwise_strips(struct lh_graph *g) { strips(g, 66, 7); }
static void depthwise_3x3(struct lh_graph *g) { strips(g, 6, 3); }
static void depthwise_unpadded(struct lh_graph *g)
{
	lh_g_conv2d(g, image(g, 9, 11, 4), NAME, (struct lh_conv){ .out = 4, .kernel = 7, .groups = 4 });
}
static void depthwise_many(struct lh_graph *g) /* more rows of outputs than blocks of them */
{
	lh_g_conv2d(g, image(g, 40, 3, 3), NAME, (struct lh_conv){ .out = 3, .kernel = 5, .padding = 2, .groups = 3 });
}
static void pool_dilation_free(struct lh_graph *g) { lh_g_maxpool(g, image(g, 6, 6, 16), 2, 2, 0); }
static void loss(struct lh_graph *g, size_t rows, int32_t symbols)
{
	const int x = image(g, 1, rows, (size_t)symbols);
	lh_graph_end(g, x, lh_graph_input_targets(g, rows, symbols), NULL);
}
static void cross_entropy_long(struct lh_graph *g) { loss(g, 5, 1100); }
static void cross_entropy_one(struct lh_graph *g) { loss(g, 1, 10); } /* a third of the samples have no target at all */

#define ROUNDED 4e-3, 5e-4
#define ROUNDED_WITHIN 8e-3, 1e-3
static const struct lh_opcase more[] = {
	{ "relu_vector", 2, relu_vector, 1e-7, ROUNDED },
	{ "gelu_vector", 2, gelu_vector, 1e-6, ROUNDED },
	{ "add_vector", 2, add_vector, 1e-6, ROUNDED },
	{ "scale_vector", 3, scale_vector, 1e-6, ROUNDED },
	{ "scale_narrow", 3, scale_narrow, 1e-6, ROUNDED },
	{ "batchnorm_narrow", 3, batchnorm_narrow, 2e-6, ROUNDED },
	{ "batchnorm_one", 3, batchnorm_one, 2e-6, ROUNDED },
	{ "batchnorm_vector", 3, batchnorm_vector, 2e-6, ROUNDED },
	{ "layernorm_vector", 2, layernorm_vector, 2e-6, ROUNDED },
	{ "layernorm_long", 2, layernorm_long, 2e-6, ROUNDED },
	{ "layernorm_wide", 2, layernorm_wide, 2e-6, ROUNDED },
	{ "softmax_long", 2, softmax_long, 2e-6, ROUNDED_WITHIN },
	{ "add_rows_vector", 3, add_rows_vector, 1e-6, ROUNDED },
	{ "add_one_row_vector", 3, add_one_row_vector, 1e-6, ROUNDED },
	{ "embedding_many", 2, embedding_many, 1e-6, ROUNDED },
	{ "attention_fused", 2, fused, 2e-6, ROUNDED_WITHIN },
	{ "attention_fused_causal", 1, fused_causal, 2e-6, ROUNDED_WITHIN },
	{ "attention_fused_cross_mask", 2, fused_cross_mask, 2e-6, ROUNDED_WITHIN },
	{ "attention_fused_dropout", 2, fused_dropout, 2e-6, ROUNDED_WITHIN },
	{ "drop_path_vector", 8, drop_path_vector, 1e-6, ROUNDED },
	{ "depthwise_strips", 2, depthwise_strips, 1e-6, ROUNDED },
	{ "depthwise_3x3", 2, depthwise_3x3, 1e-6, ROUNDED },
	{ "depthwise_unpadded", 2, depthwise_unpadded, 1e-6, ROUNDED },
	{ "depthwise_many", 8, depthwise_many, 1e-6, ROUNDED },
	{ "maxpool_2x2", 2, pool_dilation_free, 1e-6, ROUNDED },
	{ "cross_entropy_long", 2, cross_entropy_long, 1e-6, ROUNDED },
	{ "cross_entropy_one", 8, cross_entropy_one, 1e-6, ROUNDED },
};
/* More than a launch has keys for. */
static const struct lh_opcase many[] = { { "dropout_many", 300, dropout_many, 1e-6, ROUNDED },
					 { "attention_many", 140, attention_many, 2e-6, ROUNDED_WITHIN },
					 { "attention_fused_many", 140, fused_many, 2e-6, ROUNDED_WITHIN } };

/* Both sides are fp32: each is off the truth by as much as the other. */
static double bound_of(const struct lh_opcase *c, unsigned precision)
{
	return precision == LH_PRECISION_FP32 ? 2 * c->bound_f32 : precision == LH_PRECISION_BF16 ? c->bound_bf16 : c->bound_f16;
}

static double worst[LH_PRECISIONS];

static void compare(const struct lh_opcase *c, const struct lh_opdevice *how, const struct lh_opresult *got,
		    const struct lh_opresult *want)
{
	for (unsigned k = 0; k < LH_OPRESULTS; k++) {
		const double bound = bound_of(c, how->precision), off = lh_opresult_distance(got, want, k);
		if (!(off < bound))
			printf("# %s (%s%s%s, shift %zu): %s off by %.3g, bound %.3g\n", c->name,
			       lh_precision_names[how->precision], how->add ? ", add" : "", how->untrained ? ", untrained" : "",
			       how->shift, lh_opresult_name(k), off, bound);
		CU_ASSERT_TRUE(off < bound);
		worst[how->precision] = fmax(worst[how->precision], off);
	}
}

static bool same(const struct lh_opresult *a, const struct lh_opresult *b)
{
	for (unsigned k = 0; k < LH_OPRESULTS; k++)
		if (a->count[k] != b->count[k] || (a->count[k] && memcmp(a->of[k], b->of[k], a->count[k] * sizeof(float))))
			return false;
	return true;
}

/* In one way; then with the threads in another order, which must not change a bit. */
static void check(const struct lh_opcase *c, const struct lh_opdevice *how)
{
	struct lh_err err = LH_ERR_INIT;
	const struct lh_backend_ops *ops = &lh_backend_simt[how->precision];
	struct lh_backend *backend = NULL;
	struct lh_opbench b;
	struct lh_opresult want, got[2] = { 0 };
	lh_opbench_open(c, &lh_backend_cpu, &b);
	CU_ASSERT_EQUAL_FATAL(ops->open(NULL, &backend, &err), 0);
	if (ops->op[b.node->op]) {
		lh_opdevice_run_cpu(&b, how, &want);
		for (unsigned i = 0; i < 2; i++) {
			lh_simt_seed(lh_test_seed() + i);
			const int rc = lh_opdevice_run(&b, ops, backend, how, &got[i], &err);
			if (rc)
				printf("# %s: %s\n", c->name, err.text);
			CU_ASSERT_EQUAL_FATAL(rc, 0);
		}
		compare(c, how, &got[0], &want);
		if (!same(&got[0], &got[1]))
			printf("# %s (%s): another order of threads gives other bits\n", c->name,
			       lh_precision_names[how->precision]);
		CU_ASSERT_TRUE(same(&got[0], &got[1]));
		lh_opresult_free(&want);
		lh_opresult_free(&got[0]);
		lh_opresult_free(&got[1]);
	}
	ops->close(backend);
	lh_opbench_close(&b);
}

static void check_all(unsigned precision)
{
	const struct lh_opdevice ways[] = {
		{ .precision = precision },
		{ .precision = precision, .add = true, .shift = 1 },
	};
	const size_t own = sizeof more / sizeof *more;
	for (size_t i = 0; i < lh_opcases_count + own; i++) {
		const struct lh_opcase *c = i < lh_opcases_count ? &lh_opcases[i] : &more[i - lh_opcases_count];
		for (unsigned w = 0; w < 2; w++)
			check(c, &ways[w]);
	}
	printf("# %s: worst %.2g of a length\n", lh_precision_names[precision], worst[precision]);
}
static void test_fp32(void) { check_all(LH_PRECISION_FP32); }
static void test_bf16(void) { check_all(LH_PRECISION_BF16); }
static void test_fp16(void) { check_all(LH_PRECISION_FP16); }

static void test_many_samples(void)
{
	for (size_t i = 0; i < sizeof many / sizeof *many; i++)
		check(&many[i], &(struct lh_opdevice){ .precision = LH_PRECISION_FP16 });
}

/* Not deterministic: an embedding's gradient is added atomically, so sums have any order. */
static void test_atomic(void)
{
	struct lh_backend *backend = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_backend_simt[0].open(&(struct lh_backend_config){ .deterministic = false }, &backend, NULL), 0);
	for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
		const struct lh_opdevice how = { .precision = LH_PRECISION_FP32 };
		struct lh_opbench b;
		struct lh_opresult want, got;
		if (strcmp(more[i].name, "embedding_many"))
			continue;
		lh_opbench_open(&more[i], &lh_backend_cpu, &b);
		lh_opdevice_run_cpu(&b, &how, &want);
		CU_ASSERT_EQUAL_FATAL(lh_opdevice_run(&b, &lh_backend_simt[0], backend, &how, &got, NULL), 0);
		compare(&more[i], &how, &got, &want);
		lh_opresult_free(&want);
		lh_opresult_free(&got);
		lh_opbench_close(&b);
	}
	lh_backend_simt[0].close(backend);
}

static void test_evaluation(void)
{
	for (unsigned p = 0; p < LH_PRECISIONS; p++)
		for (size_t i = 0; i < lh_opcases_count; i++)
			if (!strcmp(lh_opcases[i].name, "batchnorm") || !strncmp(lh_opcases[i].name, "drop", 4))
				check(&lh_opcases[i], &(struct lh_opdevice){ .precision = p, .untrained = true });
}

/* A broken number is seen behind it: the cpu backend says where. */
static void test_nan(void)
{
	static const char *const names[] = { "relu", "gelu", "maxpool", "avgpool", "layernorm", "batchnorm", "softmax" };
	for (unsigned p = 0; p < LH_PRECISIONS; p++)
		for (size_t i = 0; i < lh_opcases_count; i++)
			for (size_t k = 0; k < sizeof names / sizeof *names; k++)
				if (!strcmp(lh_opcases[i].name, names[k]))
					check(&lh_opcases[i], &(struct lh_opdevice){ .precision = p, .broken = true });
}

/* The host's half of the types: every number of 16 bits, what lies around it, and half way between two. */
static void test_types(void)
{
	for (unsigned p = LH_PRECISION_BF16; p < LH_PRECISIONS; p++)
		for (uint32_t u = 0; u < 65536; u++) {
			const uint16_t bits = (uint16_t)u;
			float x, next;
			lh_opdevice_decode(p, 1, &bits, &x);
			const float ours = lh_simt_widen(p, bits);
			if (memcmp(&x, &ours, sizeof x) && !(isnan(x) && isnan(ours)))
				CU_FAIL("a number of 16 bits is read as another");
			lh_opdevice_decode(p, 1, &(uint16_t){ (uint16_t)(bits + 1) }, &next);
			const float half = x / 2 + next / 2;
			const float near[] = { x, nextafterf(x, INFINITY), nextafterf(x, -INFINITY), half,
					       nextafterf(half, INFINITY), nextafterf(half, -INFINITY) };
			for (unsigned i = 0; i < sizeof near / sizeof *near; i++) {
				uint16_t want;
				lh_opdevice_encode(p, 1, &near[i], &want);
				if (lh_simt_narrow(p, near[i]) != want) {
					printf("# %s: %a becomes %04x, not %04x\n", lh_precision_names[p], (double)near[i],
					       lh_simt_narrow(p, near[i]), want);
					CU_FAIL_FATAL("rounding");
				}
			}
		}
	CU_PASS("65536 numbers and their neighbours in two types");
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "types", test_types, 0 },
		{ "fp32", test_fp32, 0 },
		{ "bf16", test_bf16, 0 },
		{ "fp16", test_fp16, 0 },
		{ "many_samples", test_many_samples, 0 },
		{ "atomic", test_atomic, 0 },
		{ "evaluation", test_evaluation, 0 },
		{ "nan", test_nan, 0 },
	};
	return lh_test_main(argc, argv, "kernels", tests, sizeof tests / sizeof *tests);
}
