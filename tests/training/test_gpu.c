/* The CUDA backend beside the cpu backend: every operation at awkward shapes in three precisions, and whole models, in the
 * plugin on a GPU (capability "gpu"; scripts/gpu-check demands it). Built with ON_SIMT the same is done by the same operations
 * on the host, with plain C where the libraries are (tests/support/simt). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/source.h"
#include "lhtest.h"
#include "model/net.h"
#include "model/zoo.h"
#include "opcase.h"
#include "opdevice.h"
#ifdef ON_SIMT
#include "simt_backend.h"
#else
#include "backend/plugin.h"
#endif

/* Where there is none, the test is skipped: this does not return. */
static const struct lh_backend_ops *device(unsigned precision)
{
#ifdef ON_SIMT
	return &lh_backend_simt[precision];
#else
	const struct lh_backend_plugin *plugin = NULL;
	struct lh_err err = LH_ERR_INIT;
	unsigned devices = 0;
	/* In the build directory; or, carried to another machine (scripts/gpu-check), beside this program. */
	const char *directory = access(PLUGIN_DIR, R_OK) ? NULL : PLUGIN_DIR;
	if (lh_backend_plugin_load(directory, &plugin, &err) || plugin->probe(&devices, &err))
		lh_test_skip("gpu", "%s", err.text);
	return plugin->ops[precision];
#endif
}

/* Both sides are fp32: each is off the truth by as much as the other. */
static double bound_of(const struct lh_opcase *c, unsigned precision)
{
	return precision == LH_PRECISION_FP32 ? 2 * c->bound_f32 : precision == LH_PRECISION_BF16 ? c->bound_bf16 : c->bound_f16;
}

/* What is allowed is said for each operation and precision, whether there is a GPU or not. */
static void test_bounds(void)
{
	for (size_t i = 0; i < lh_opcases_count; i++) {
		const struct lh_opcase *c = &lh_opcases[i];
		CU_ASSERT_TRUE(c->bound_f32 > 0 && c->bound_f32 < c->bound_f16 && c->bound_f16 < c->bound_bf16);
		CU_ASSERT_TRUE(c->bound_bf16 < 0.05);
	}
}

static double check(const struct lh_opcase *c, const struct lh_backend_ops *ops, struct lh_backend *backend,
		    const struct lh_opdevice *how)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_opbench b;
	struct lh_opresult want, got = { 0 };
	double worst = 0;
	lh_opbench_open(c, &lh_backend_cpu, &b);
	lh_opdevice_run_cpu(&b, how, &want);
	int rc = lh_opdevice_run(&b, ops, backend, how, &got, &err);
	if (rc)
		printf("# %s: %s\n", c->name, err.text);
	CU_ASSERT_EQUAL(rc, 0);
	for (unsigned k = 0; k < LH_OPRESULTS && !rc; k++) {
		const double bound = bound_of(c, how->precision), off = lh_opresult_distance(&got, &want, k);
		if (!(off < bound))
			printf("# %s (%s%s, shift %zu): %s off by %.3g, bound %.3g\n", c->name, lh_precision_names[how->precision],
			       how->add ? ", add" : "", how->shift, lh_opresult_name(k), off, bound);
		CU_ASSERT_TRUE(off < bound);
		worst = fmax(worst, off);
	}
	lh_opresult_free(&want);
	lh_opresult_free(&got);
	lh_opbench_close(&b);
	return worst;
}

static void check_all(unsigned precision)
{
	const struct lh_opdevice ways[] = { { .precision = precision }, { .precision = precision, .add = true, .shift = 1 } };
	const struct lh_backend_ops *ops = device(precision);
	struct lh_backend *backend = NULL;
	struct lh_err err = LH_ERR_INIT;
	double worst = 0;
	if (ops->open(&(struct lh_backend_config){ .deterministic = true }, &backend, &err)) {
		lh_test_skip("gpu", "%s", err.text); /* no bf16, say */
		return;
	}
	for (size_t i = 0; i < lh_opcases_count; i++)
		for (unsigned w = 0; w < 2; w++)
			worst = fmax(worst, check(&lh_opcases[i], ops, backend, &ways[w]));
	printf("# %s: worst %.2g of a length, %zu cases\n", lh_precision_names[precision], worst, 2 * lh_opcases_count);
	ops->close(backend);
}
static void test_fp32(void) { check_all(LH_PRECISION_FP32); }
static void test_bf16(void) { check_all(LH_PRECISION_BF16); }
static void test_fp16(void) { check_all(LH_PRECISION_FP16); }

/* --- whole models --- */

enum { SAMPLES = 3 };

struct model_run {
	struct lh_net_result result;
	float *grads;
	size_t parameters;
};

static void *room(size_t bytes)
{
	void *p = calloc(bytes ? bytes : 1, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

/* A microbatch of made-up data, gathered tensor by tensor. */
static void fill_inputs(const char *spec, const struct lh_graph *g, void **inputs)
{
	struct lh_zoo_model m;
	bool drop;
	size_t bytes[LH_NODE_INPUTS_MAX], n = 0;
	CU_ASSERT_EQUAL_FATAL(lh_zoo_find(spec, &m, &drop, NULL), 0);
	const struct lh_input_shape shape = lh_zoo_input(&m);
	struct lh_source *data = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_source_open(&shape, LH_DATA_SYNTHETIC, "", 9, spec, &data, NULL), 0);
	uint8_t *sample = room(data->input_bytes + data->target_bytes);
	for (size_t t = 0; t < g->ntensors; t++)
		if (g->tensors[t].producer < 0) {
			bytes[n] = lh_shape_count(g->tensors[t].shape) * 4;
			inputs[n] = room(SAMPLES * bytes[n]);
			n++;
		}
	for (size_t i = 0; i < SAMPLES; i++) {
		const uint8_t *from = sample;
		lh_source_sample(data, false, i, sample, sample + data->input_bytes, NULL);
		for (size_t k = 0; k < n; from += bytes[k++])
			memcpy((uint8_t *)inputs[k] + i * bytes[k], from, bytes[k]);
	}
	lh_source_close(data);
	free(sample);
}

static void run_model(const char *spec, const struct lh_backend_ops *ops, double loss_scale, struct model_run *ret)
{
	struct lh_graph *g = NULL;
	struct lh_net *net = NULL;
	struct lh_err err = LH_ERR_INIT;
	void *inputs[LH_NODE_INPUTS_MAX] = { NULL };
	const struct lh_backend_config config = { .deterministic = true };
	int rc = lh_zoo_build(spec, &g, &err);
	if (!rc)
		rc = lh_net_open(g, ops, &config, SAMPLES, LH_NET_SHARE, &net, &err);
	if (rc)
		printf("# %s: %s\n", spec, err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	float *params = room(g->parameters * sizeof *params);
	lh_graph_init(g, 3, params);
	*ret = (struct model_run){ .grads = room(g->parameters * sizeof(float)), .parameters = g->parameters };
	net->seed = 5;
	net->loss_scale = loss_scale;
	fill_inputs(spec, g, inputs);
	for (unsigned step = 0; step < 2 && !rc; step++) /* the second finds plans made, and adds to gradients */
		rc = lh_net_put_params(net, params, &err) ||
		     lh_net_step(net, (const void *const *)inputs, NULL, SAMPLES, &ret->result, &err);
	if (!rc)
		rc = lh_net_get_grads(net, ret->grads, &err);
	if (rc)
		printf("# %s: %s\n", spec, err.text);
	CU_ASSERT_EQUAL(rc, 0);
	for (size_t i = 0; i < g->parameters; i++)
		ret->grads[i] /= (float)loss_scale;
	for (unsigned k = 0; k < LH_NODE_INPUTS_MAX; k++)
		free(inputs[k]);
	free(params);
	lh_net_free(net);
	lh_graph_free(g);
}

/* NULL where this device has not that precision, and says so. */
static const struct lh_backend_ops *has(const struct lh_backend_ops *ops)
{
	struct lh_backend *backend;
	struct lh_err err = LH_ERR_INIT;
	if (!ops->open(NULL, &backend, &err)) {
		ops->close(backend);
		return ops;
	}
	printf("# %s: %s\n", lh_precision_names[ops->precision], err.text);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_MACHINE);
	CU_ASSERT_NOT_EQUAL(ops->precision, LH_PRECISION_FP32);
	return NULL;
}

/* Some dozen layers, each rounded to 8 or 11 bits: no layer's bound says what comes out, so these are seen on the host (twice
 * the worst of it) and hold for a GPU too. ResNets have kinks where a rounding switches a unit (test_reference.c): the share of
 * units that switch goes with the rounding, and the gradient's error with the root of that share. */
static void test_models(void)
{
	static const struct {
		const char *spec;
		double of_length[LH_PRECISIONS];
	} models[] = {
		{ "resnet18:width=1/8,depth=1,image=64,symbols=10", { 1e-4, 0.65, 0.2 } },
		{ "resnet50:width=1/16,depth=1,image=64,symbols=10", { 1e-4, 0.7, 0.25 } },
		{ "convnext_large:width=1/16,depth=1,image=32,symbols=10", { 1e-4, 0.1, 0.02 } },
		{ "roberta-base:width=1/16,depth=2,tokens=16,symbols=32", { 1e-4, 0.1, 0.02 } },
		{ "whisper-tiny:width=1/8,depth=1,tokens=8,frames=64,symbols=32", { 1e-4, 0.1, 0.02 } },
	};
	const struct lh_backend_ops *ops[LH_PRECISIONS];
	for (unsigned p = 0; p < LH_PRECISIONS; p++) /* before anything is held: a skip jumps out of here */
		ops[p] = has(device(p));
	for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
		struct model_run want;
		run_model(models[i].spec, &lh_backend_cpu, 1, &want);
		for (unsigned p = 0; p < LH_PRECISIONS; p++) {
			struct model_run got;
			double off = 0, length = 0;
			if (!ops[p])
				continue;
			run_model(models[i].spec, ops[p], p == LH_PRECISION_FP16 ? 1024 : 1, &got);
			for (size_t j = 0; j < want.parameters; j++) {
				off += pow((double)got.grads[j] - (double)want.grads[j], 2);
				length += pow((double)want.grads[j], 2);
			}
			off = sqrt(off / length);
			printf("# %s, %s: loss %.5f, cpu %.5f; gradient off by %.2g of its length\n", models[i].spec,
			       lh_precision_names[p], got.result.loss_sum, want.result.loss_sum, off);
			CU_ASSERT_TRUE(off < models[i].of_length[p]);
			CU_ASSERT_DOUBLE_EQUAL(got.result.loss_sum / want.result.loss_sum, 1,
					       p == LH_PRECISION_FP32 ? 1e-5 : p == LH_PRECISION_BF16 ? 0.03 : 0.005);
			free(got.grads);
		}
		free(want.grads);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "bounds", test_bounds, 0 },
		{ "fp32", test_fp32, 0 },
		{ "bf16", test_bf16, 0 },
		{ "fp16", test_fp16, 0 },
		{ "models", test_models, 0 },
	};
	return lh_test_main(argc, argv, "gpu", tests, sizeof tests / sizeof *tests);
}
