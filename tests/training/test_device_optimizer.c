/* An update on the device against the same update on the host (optim/optimizer.c), and the calls on vectors. The kernels
 * run thread by thread: tests/support/simt. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/optimizer.h"
#include "lhtest.h"
#include "opcase.h"
#include "opdevice.h"
#include "simt_backend.h"

enum { UPDATES = 3, TENSORS = 6 };
static const size_t counts[TENSORS] = { 70, 1, 40000, 16384, 5, 129 };

struct vectors {
	size_t n;
	float *params, *grads, *state;
};

static float *room(size_t n)
{
	float *p = calloc(n, sizeof *p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static struct vectors vectors(size_t n)
{
	struct vectors v = { n, room(n), room(n), room(2 * n) };
	for (size_t i = 0; i < n; i++) {
		v.params[i] = (float)lh_unit(1, i);
		v.grads[i] = (float)lh_unit(2, i) * 4;
	}
	return v;
}

static void free_vectors(struct vectors *v)
{
	free(v->params);
	free(v->grads);
	free(v->state);
}

static float *to_device(const float *from, size_t n)
{
	float *p = lh_simt_alloc(n * sizeof *p, false);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memcpy(p, from, n * sizeof *p);
	return p;
}

static double distance(size_t n, const float *a, const float *b)
{
	double off = 0, length = 0;
	for (size_t i = 0; i < n; i++) {
		off += pow((double)a[i] - (double)b[i], 2);
		length += pow((double)b[i], 2);
	}
	return sqrt(off / fmax(length, 1e-30));
}

static void run_device(struct lh_backend *b, const struct lh_optim *o, const struct lh_optim_tensor *tensors,
		       struct vectors *v)
{
	const size_t n = lh_cuda_optim_chunks(tensors, TENSORS, NULL);
	struct lh_cuda_chunk *chunks = lh_simt_alloc(n * sizeof *chunks, false);
	void *scratch = lh_simt_alloc(lh_cuda_optim_scratch(o, n), false);
	float *params = to_device(v->params, v->n), *grads = to_device(v->grads, v->n);
	float *state = to_device(v->state, lh_optim_slots(o) * v->n);
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_cuda_optim_chunks(tensors, TENSORS, chunks), n);
	for (uint64_t t = 1; t <= UPDATES; t++) {
		struct lh_optim_step step;
		lh_optim_begin(o, t, 0.125, 3, &step);
		const int rc = lh_cuda_optim_step(b, &step, chunks, n, params, grads, state, v->n, scratch, &err);
		if (rc)
			printf("# %s\n", err.text);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
	}
	memcpy(v->params, params, v->n * sizeof *params);
	memcpy(v->state, state, lh_optim_slots(o) * v->n * sizeof *state);
	void *all[] = { chunks, scratch, params, grads, state };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		lh_simt_free(all[i]);
}

static void check(struct lh_backend *b, const struct lh_optim *o, double bound)
{
	struct lh_optim_tensor tensors[TENSORS];
	size_t n = 0;
	for (size_t i = 0; i < TENSORS; i++) {
		tensors[i] = (struct lh_optim_tensor){ .offset = n, .count = counts[i], .decay = i % 2 == 0, .frozen = i == 4 };
		n += counts[i];
	}
	struct vectors host = vectors(n), device = vectors(n);
	for (uint64_t t = 1; t <= UPDATES; t++) {
		struct lh_optim_step step;
		lh_optim_begin(o, t, 0.125, 3, &step);
		for (size_t i = 0; i < TENSORS; i++)
			if (!tensors[i].frozen)
				lh_optim_apply(&step, tensors[i].decay, tensors[i].count, host.params + tensors[i].offset,
					       host.grads + tensors[i].offset, host.state + tensors[i].offset, n);
	}
	run_device(b, o, tensors, &device);
	const double off = distance(n, device.params, host.params);
	const double off_state = distance(2 * n, device.state, host.state);
	if (!(off <= bound && off_state <= bound))
		printf("# optimizer %d: parameters off by %.3g, state by %.3g\n", (int)o->kind, off, off_state);
	CU_ASSERT_TRUE(off <= bound);
	CU_ASSERT_TRUE(off_state <= bound);
	struct vectors fresh = vectors(n);
	const double moved = distance(n, host.params, fresh.params);
	CU_ASSERT_TRUE(moved > 1e-3); /* else nothing was compared */
	CU_ASSERT_EQUAL(memcmp(device.params + tensors[4].offset, fresh.params + tensors[4].offset, counts[4] * sizeof(float)), 0);
	free_vectors(&fresh);
	free_vectors(&host);
	free_vectors(&device);
}

/* Without sums the device's formulas are the host's: no bit differs (in a build that fuses nothing). */
static void test_optimizers(void)
{
	struct lh_backend *b = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_backend_simt[0].open(NULL, &b, NULL), 0);
	for (unsigned way = 0; way < 5; way++) {
		static const enum lh_optimizer kinds[5] = { LH_OPTIMIZER_SGD, LH_OPTIMIZER_SGD, LH_OPTIMIZER_SGD,
							    LH_OPTIMIZER_ADAMW, LH_OPTIMIZER_LAMB };
		struct lh_optim o = { .kind = kinds[way], .rate = 0.05, .o = lh_optim_defaults(kinds[way]) };
		o.o.momentum = way == 1 || way == 2 ? 0.9 : 0;
		o.o.nesterov = way == 2;
		o.o.weight_decay = 0.1;
		o.o.clip_norm = way == 3 ? 1 : 0;
		check(b, &o, way == 4 ? 1e-6 : 0);
	}
	lh_backend_simt[0].close(b);
}

/* A tensor of many chunks: the ratio of its lengths is over all of them. */
static void test_chunks(void)
{
	struct lh_cuda_chunk chunks[8];
	const struct lh_optim_tensor tensors[3] = { { .offset = 0, .count = 2 * LH_CUDA_CHUNK + 1, .decay = true },
						    { .offset = 2 * LH_CUDA_CHUNK + 1, .count = 9, .frozen = true },
						    { .offset = 2 * LH_CUDA_CHUNK + 10, .count = LH_CUDA_CHUNK } };
	CU_ASSERT_EQUAL_FATAL(lh_cuda_optim_chunks(tensors, 3, NULL), 4);
	lh_cuda_optim_chunks(tensors, 3, chunks);
	CU_ASSERT_EQUAL(chunks[0].chunks, 3);
	CU_ASSERT_EQUAL(chunks[1].chunks, 0);
	CU_ASSERT_EQUAL(chunks[2].count, 1);
	CU_ASSERT_EQUAL(chunks[2].offset, 2 * LH_CUDA_CHUNK);
	CU_ASSERT_TRUE(chunks[2].decay);
	CU_ASSERT_EQUAL(chunks[3].offset, 2 * LH_CUDA_CHUNK + 10);
	CU_ASSERT_EQUAL(chunks[3].chunks, 1);
	CU_ASSERT_FALSE(chunks[3].decay);
}

static void test_sum(struct lh_backend *b, size_t n)
{
	float *host = room(n);
	double want = 0;
	for (size_t i = 0; i < n; i++) {
		host[i] = (float)lh_unit(3, i);
		want += (double)host[i] * (double)host[i];
	}
	float *x = to_device(host, n);
	double *sum = lh_simt_alloc(sizeof *sum, false);
	void *scratch = lh_simt_alloc(lh_cuda_sum_scratch(n), false);
	CU_ASSERT_EQUAL_FATAL(lh_cuda_sum_squares(b, n, x, sum, scratch, NULL), 0);
	CU_ASSERT_DOUBLE_EQUAL(*sum, want, 1e-6 * want);
	lh_simt_free(x);
	lh_simt_free(sum);
	lh_simt_free(scratch);
	free(host);
}

static void test_vectors(void)
{
	struct lh_backend *b = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_backend_simt[0].open(NULL, &b, NULL), 0);
	static const size_t lengths[] = { 1, 255, 16384, 70001 };
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		test_sum(b, lengths[i]);

	enum { N = 3000 };
	float *x = lh_simt_alloc(N * sizeof *x, true);
	unsigned long long *bad = lh_simt_alloc(sizeof *bad, false); /* all ones */
	x[5] = FLT_MAX;
	x[6] = -FLT_MAX;
	CU_ASSERT_EQUAL(lh_cuda_find_infinite(b, N, x, bad, NULL), 0);
	CU_ASSERT_EQUAL(*bad, ~0ull);
	x[2999] = NAN;
	x[777] = -INFINITY;
	CU_ASSERT_EQUAL(lh_cuda_find_infinite(b, N, x, bad, NULL), 0);
	CU_ASSERT_EQUAL(*bad, 777);
	for (size_t i = 0; i < N; i++)
		x[i] = (float)lh_unit(4, i);
	CU_ASSERT_EQUAL(lh_cuda_scale_vector(b, N - 1, 0.25f, x, NULL), 0);
	CU_ASSERT_EQUAL(x[10], (float)lh_unit(4, 10) / 4);
	CU_ASSERT_EQUAL(x[N - 1], (float)lh_unit(4, N - 1));
	lh_simt_free(x);
	lh_simt_free(bad);
	lh_backend_simt[0].close(b);
}

/* There and back, of a length and at an address that no vector fits, and at one that does. */
static void test_casts(void)
{
	enum { N = 1024 };
	struct lh_backend *b = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_backend_simt[0].open(NULL, &b, NULL), 0);
	for (unsigned p = 0; p < LH_PRECISIONS; p++)
		for (size_t shift = 0; shift < 2; shift++) {
			const size_t n = N - shift;
			float *x = lh_simt_alloc(N * sizeof *x, true), *back = lh_simt_alloc(N * sizeof *x, true);
			char *narrow = lh_simt_alloc(N * lh_opdevice_bytes(p), false);
			float want[N];
			char there[N * sizeof(float)];
			for (size_t i = 0; i < N; i++)
				x[i] = (float)(lh_unit(5, i) * pow(2, (double)(i % 60) - 30));
			CU_ASSERT_EQUAL(lh_cuda_cast(b, p, n, x + shift, narrow + shift * lh_opdevice_bytes(p), NULL), 0);
			CU_ASSERT_EQUAL(lh_cuda_uncast(b, p, n, narrow + shift * lh_opdevice_bytes(p), back + shift, NULL), 0);
			lh_opdevice_encode(p, n, x + shift, there);
			lh_opdevice_decode(p, n, there, want);
			CU_ASSERT_EQUAL(memcmp(want, back + shift, n * sizeof *want), 0);
			lh_simt_free(x);
			lh_simt_free(back);
			lh_simt_free(narrow);
		}
	lh_backend_simt[0].close(b);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "optimizers", test_optimizers, 0 },
		{ "chunks", test_chunks, 0 },
		{ "vectors", test_vectors, 0 },
		{ "casts", test_casts, 0 },
	};
	return lh_test_main(argc, argv, "device_optimizer", tests, sizeof tests / sizeof *tests);
}
