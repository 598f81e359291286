/* Models as wholes, in fp32 on the cpu backend: memory, randomness, learning, bad input. That their numbers are right
 * is test_reference.c's. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/blas.h"
#include "backend/cpu/cpu.h"
#include "lhtest.h"
#include "model/net.h"
#include "model/zoo.h"
#include "opcase.h"
#include "optim/optimizer.h"

static const char *const families[] = {
    "resnet18:width=1/8,depth=1,image=40,symbols=7",
    "resnet50:width=1/16,depth=2,image=40,symbols=7",
    "convnext_large:width=1/32,depth=2,image=64,symbols=7",
    "roberta-base:width=1/16,depth=2,tokens=17,symbols=41",
    "whisper-tiny:width=1/16,depth=2,tokens=9,frames=20,symbols=41",
};
enum { FAMILIES = sizeof families / sizeof *families };

static void *room(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

struct fixture {
	struct lh_graph *g;
	struct lh_net *net;
	float *params, *grads;
	void *inputs[LH_NODE_INPUTS_MAX];
	size_t n;
};

/* Inputs of n samples, params as lh_graph_init makes them. A mask lets all be seen. */
static void open_fixture(const char *spec, size_t n, bool share, struct fixture *f)
{
	struct lh_err err = LH_ERR_INIT;
	*f = (struct fixture){.n = n};
	if (lh_zoo_build(spec, &f->g, &err) || lh_net_new(f->g, &lh_backend_cpu, n, share ? LH_NET_SHARE : 0, &f->net, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->net);
	f->params = room(f->g->parameters, sizeof *f->params);
	f->grads = room(f->g->parameters, sizeof *f->grads);
	for (unsigned t = 0, k = 0; t < f->g->ntensors; t++) {
		const struct lh_graph_tensor *tensor = &f->g->tensors[t];
		const size_t count = n * lh_shape_count(tensor->shape);
		if (tensor->producer >= 0)
			continue;
		f->inputs[k] = room(count, sizeof(float));
		for (size_t i = 0; i < count; i++)
			if (tensor->integer)
				((int32_t *)f->inputs[k])[i] =
				    tensor->limit == 2 ? 1 : (int32_t)(lh_draw(k, i) % (uint64_t)tensor->limit);
			else
				((float *)f->inputs[k])[i] = (float)lh_unit(k, i);
		k++;
	}
	lh_graph_init(f->g, 3, f->params);
	CU_ASSERT_EQUAL_FATAL(lh_net_put_params(f->net, f->params, &err), 0);
}

static void close_fixture(struct fixture *f)
{
	for (unsigned k = 0; k < LH_NODE_INPUTS_MAX; k++)
		free(f->inputs[k]);
	free(f->params);
	free(f->grads);
	lh_net_free(f->net);
	lh_graph_free(f->g);
}

/* Samples first ... first + n of the fixture's; gradients into f->grads. */
static struct lh_net_result step(struct fixture *f, size_t first, size_t n)
{
	struct lh_net_result result = {0};
	const void *inputs[LH_NODE_INPUTS_MAX] = {0};
	uint64_t ids[16];
	for (unsigned t = 0, k = 0; t < f->g->ntensors; t++)
		if (f->g->tensors[t].producer < 0) {
			inputs[k] = (char *)f->inputs[k] + first * lh_shape_count(f->g->tensors[t].shape) * 4;
			k++;
		}
	for (size_t i = 0; i < n; i++)
		ids[i] = first + i;
	CU_ASSERT_EQUAL_FATAL(lh_net_zero_grads(f->net, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_net_forward(f->net, inputs, ids, n, &result, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_net_backward(f->net, ids, n, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_net_get_grads(f->net, f->grads, NULL), 0);
	return result;
}

/* Blocks that share memory are never alive together: the same bits as with a place for each. And again: the same. */
static void test_shared_memory_changes_nothing(void)
{
	for (size_t i = 0; i < FAMILIES; i++) {
		struct fixture shared, apart;
		open_fixture(families[i], 3, true, &shared);
		open_fixture(families[i], 3, false, &apart);
		const struct lh_plan *p = shared.net->plan;
		CU_ASSERT_TRUE(p->activations >= p->live);
		CU_ASSERT_TRUE((double)p->activations < 1.25 * (double)p->live);
		CU_ASSERT_TRUE(p->activations < apart.net->plan->activations);
		memset(shared.net->arena, 0xff, p->activations); /* NaN */
		const struct lh_net_result a = step(&shared, 0, 3), b = step(&apart, 0, 3);
		CU_ASSERT_TRUE(isfinite(a.loss_sum));
		CU_ASSERT_EQUAL(a.loss_sum, b.loss_sum);
		CU_ASSERT_EQUAL(memcmp(shared.grads, apart.grads, shared.g->parameters * sizeof(float)), 0);
		step(&shared, 0, 3);
		CU_ASSERT_EQUAL(memcmp(shared.grads, apart.grads, shared.g->parameters * sizeof(float)), 0);
		close_fixture(&shared);
		close_fixture(&apart);
	}
}

/* Without batch norm a batch is its samples, random choices and all. */
static void test_batch_is_its_samples(void)
{
	for (size_t i = 2; i < FAMILIES; i++) {
		struct fixture f;
		open_fixture(families[i], 3, true, &f);
		float *whole = room(f.g->parameters, sizeof *whole), *sum = room(f.g->parameters, sizeof *sum);
		struct lh_net_result r = step(&f, 0, 3);
		memcpy(whole, f.grads, f.g->parameters * sizeof *whole);
		for (size_t s = 0; s < 3; s++) {
			r.loss_sum -= step(&f, s, 1).loss_sum;
			for (size_t j = 0; j < f.g->parameters; j++)
				sum[j] += f.grads[j];
		}
		double square = 0, length = 0;
		for (size_t j = 0; j < f.g->parameters; j++) {
			square += pow((double)(sum[j] - whole[j]), 2);
			length += pow((double)whole[j], 2);
		}
		CU_ASSERT_DOUBLE_EQUAL(r.loss_sum, 0, 1e-5);
		CU_ASSERT_TRUE(length > 0 && sqrt(square / length) < 1e-5);
		free(whole);
		free(sum);
		close_fixture(&f);
	}
}

/* Each family learns eight samples by heart. */
static void test_learns_eight_samples(void)
{
	static const struct {
		const char *spec;
		double rate;
		unsigned updates;
	} runs[] = {
	    {"resnet18:width=1/8,depth=1,image=32,symbols=7", 0.01, 30},
	    {"resnet50:width=1/8,depth=1,image=32,symbols=7", 0.01, 30},
	    {"convnext_large:width=1/16,depth=1,image=32,symbols=7,drop=0", 0.003, 60},
	    {"roberta-base:width=1/16,depth=1,tokens=6,symbols=41,drop=0", 0.01, 60},
	    {"whisper-tiny:width=1/16,depth=1,tokens=6,frames=20,symbols=41", 0.01, 60},
	};
	for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
		struct fixture f;
		open_fixture(runs[i].spec, 8, true, &f);
		struct lh_optim o = { .rate = runs[i].rate, .o = lh_optim_defaults(LH_OPTIMIZER_ADAMW) };
		const struct lh_optim_tensor all = { .count = f.g->parameters };
		float *state = room(2 * f.g->parameters, sizeof *state);
		o.o.warmup_updates = 0;
		const double before = step(&f, 0, 8).loss_sum / 8;
		for (unsigned u = 0; u < runs[i].updates; u++) {
			step(&f, 0, 8);
			lh_optim_run(&o, u + 1, 1.0 / 8, &all, 1, f.g->parameters, f.params, f.grads, state, NULL);
			CU_ASSERT_EQUAL_FATAL(lh_net_put_params(f.net, f.params, NULL), 0);
		}
		const double after = step(&f, 0, 8).loss_sum / 8;
		printf("# %s: %.3f nats, after %u updates %.4f\n", f.g->name, before, runs[i].updates, after);
		CU_ASSERT_TRUE(after < 0.1 && before > 1);
		free(state);
		close_fixture(&f);
	}
}

/* Padding tells nothing: what stands behind the mask changes no logit before it. */
static void test_mask(void)
{
	struct fixture f;
	open_fixture("roberta-base:width=1/16,depth=2,tokens=12,symbols=41,drop=0", 1, true, &f);
	enum { SEEN = 7, V = 41 };
	float first[12 * V], second[12 * V];
	for (size_t t = SEEN; t < 12; t++)
		((int32_t *)f.inputs[2])[t] = 0;
	for (size_t t = SEEN; t < 12; t++)
		((int32_t *)f.inputs[3])[t] = LH_TARGET_IGNORED;
	struct lh_net_result r = {0};
	lh_net_forward(f.net, (const void *const *)f.inputs, NULL, 1, &r, NULL);
	lh_net_get(f.net, f.g->logits, 1, first, NULL);
	for (size_t t = SEEN; t < 12; t++)
		((int32_t *)f.inputs[0])[t] = (((int32_t *)f.inputs[0])[t] + 5) % V;
	lh_net_forward(f.net, (const void *const *)f.inputs, NULL, 1, &r, NULL);
	lh_net_get(f.net, f.g->logits, 1, second, NULL);
	CU_ASSERT_EQUAL(memcmp(first, second, SEEN * V * sizeof *first), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(first, second, sizeof first), 0);
	close_fixture(&f);
}

static void refused(const char *spec, const char *because)
{
	struct lh_graph *g = NULL;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_TRUE(lh_zoo_build(spec, &g, &err) < 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	if (!strstr(err.text, because))
		printf("# %s: %s\n", spec, err.text);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, because));
	CU_ASSERT_PTR_NULL(g);
}

static void test_bad_input(void)
{
	refused("resnet19", "not one of resnet18");
	refused("resnet18:width=3", "1/N");
	refused("resnet18:width=1/7", "1/7 of a width of 64");
	refused("resnet18:depth=0", "1 to 1048576");
	refused("resnet18:depth=-1", "1 to 1048576");
	refused("resnet18:size=3", "size");
	refused("resnet18:image", "image");
	refused("resnet18:tokens=7", "no such input");
	refused("roberta-base:width=1/128", "12 heads do not divide");
	refused("convnext_large:image=16", "impossible shape");
	refused("resnet18:image=1048576", "impossible");
	refused("whisper-tiny:frames=21", "fewer positions");
	struct fixture f;
	struct lh_err err = LH_ERR_INIT;
	struct lh_net_result r = {0};
	open_fixture(families[3], 2, true, &f);
	((int32_t *)f.inputs[0])[30] = 41;
	CU_ASSERT_EQUAL(lh_net_forward(f.net, (const void *const *)f.inputs, NULL, 2, &r, &err), -ERANGE);
	((int32_t *)f.inputs[0])[30] = LH_TARGET_IGNORED; /* a token is not a target */
	CU_ASSERT_EQUAL(lh_net_forward(f.net, (const void *const *)f.inputs, NULL, 2, &r, &err), -ERANGE);
	CU_ASSERT_EQUAL(lh_net_forward(f.net, (const void *const *)f.inputs, NULL, 3, &r, &err), -EINVAL);
	close_fixture(&f);
}

/* The library's product and ours. Where there is no library, the same thing twice. */
static void test_blas(void)
{
	enum { M = 37, N = 29, K = 83 };
	static float a[M * K], b[K * N], c[2][M * N];
	for (size_t i = 0; i < M * K; i++)
		a[i] = (float)lh_unit(1, i);
	for (size_t i = 0; i < K * N; i++)
		b[i] = (float)lh_unit(2, i);
	for (unsigned bits = 0; bits < 8; bits++) {
		const bool ta = bits & 1, tb = bits & 2, add = bits & 4;
		for (unsigned w = 0; w < 2; w++) {
			for (size_t i = 0; i < M * N; i++)
				c[w][i] = 1;
			w ? lh_blas_own() : (void)lh_blas_open();
			lh_gemm(ta, tb, M, N, K, a, ta ? M : K, b, tb ? K : N, c[w], N, add);
		}
		for (size_t i = 0; i < M * N; i++)
			CU_ASSERT_DOUBLE_EQUAL((double)c[0][i], (double)c[1][i], 1e-5);
	}
	lh_blas_open();
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
	    {"shared_memory_changes_nothing", test_shared_memory_changes_nothing, 0},
	    {"batch_is_its_samples", test_batch_is_its_samples, 0},
	    {"learns_eight_samples", test_learns_eight_samples, 0},
	    {"mask", test_mask, 0},
	    {"bad_input", test_bad_input, 0},
	    {"blas", test_blas, 0},
	};
	fprintf(stderr, "matrix products: %s\n", lh_blas_open()); /* TAP begins with its version */
	return lh_test_main(argc, argv, "models", tests, sizeof tests / sizeof *tests);
}
