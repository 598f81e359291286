/* Operations and models against what PyTorch, torchvision and transformers calculate: tests/reference/ has the numbers
 * and the script that made them. Built twice: in double, where nothing but rounding may differ, and in fp32 with the
 * matrix product that training uses, where each operation declares its bound (opcase.c) and the models have one below; and
 * once more on the CUDA backend's own kernels, on the host (tests/support/simt). */
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
#ifdef ON_SIMT /* the CUDA backend's operations, on the host */
#include "simt_backend.h"
#define BACKEND (&lh_backend_simt[LH_PRECISION_FP32])
#define SUITE "reference_simt"
#else
#define BACKEND (&lh_backend_cpu)
#define SUITE (IN_DOUBLE ? "reference_f64" : "reference_f32")
#endif

#define IN_DOUBLE (sizeof(real) == sizeof(double))
#define BOUND_F64 1e-10
/* Ten to a hundred layers in fp32. Where a unit stands within rounding of ReLU's kink it switches, and in a deep net
 * over few pixels that tells in every gradient below: PyTorch's own fp32 is off by 0.11 of a length (resnet50), 0.008
 * (resnet152) from its double there. */
#define BOUND_MODEL_F32 1e-4
#define BOUND_RELU_F32 0.25
#define BOUND_RELU_LENGTH_F32 0.01 /* of the length of the whole gradient */

enum { SAMPLES = 4, LINE = 512 };

struct reference {
	char name[96];
	size_t count;
	double norm, product[2], sample[SAMPLES];
};

/* A vector of the products, the same numbers for every tensor. */
static double along(unsigned k, size_t i)
{
	static uint64_t streams[2];
	if (!streams[k])
		streams[k] = lh_stream_of("product", k ? "1" : "0");
	return lh_unit(streams[k], i);
}

/* How far `t` is from the reference, relative to its length (products: of the length's size times that of one element
 * of the seeded vector, as for an error that points nowhere in particular). */
static double distance(const struct reference *r, const real *t)
{
	double square = 0, product[2] = {0}, worst = 0;
	for (size_t i = 0; i < r->count; i++) {
		square += (double)t[i] * (double)t[i];
		for (unsigned k = 0; k < 2; k++)
			product[k] += (double)t[i] * along(k, i);
	}
	const double length = fmax(r->norm, 1e-30);
	worst = fabs(sqrt(square) - r->norm) / length;
	for (unsigned k = 0; k < 2; k++)
		worst = fmax(worst, fabs(product[k] - r->product[k]) / length);
	const uint64_t stream = lh_stream_of("element", r->name);
	for (unsigned k = 0; k < SAMPLES; k++)
		worst = fmax(worst, fabs((double)t[lh_draw(stream, k) % r->count] - r->sample[k]) / length);
	return isfinite(square) ? worst : INFINITY;
}

static void compare(const char *what, const struct reference *r, const real *t, size_t count, double bound,
		    double *worst)
{
	if (r->count != count)
		printf("# %s: %s has %zu elements, not %zu\n", what, r->name, count, r->count);
	CU_ASSERT_EQUAL_FATAL(r->count, count);
	const double off = distance(r, t);
	if (!(off < bound))
		printf("# %s: %s off by %.3g, bound %.3g, length %.6g\n", what, r->name, off, bound, r->norm);
	CU_ASSERT_TRUE(off < bound);
	*worst = fmax(*worst, off);
}

static bool parse(const char *line, struct reference *r)
{
	return sscanf(line, "%95s %zu %lf %lf %lf %lf %lf %lf %lf", r->name, &r->count, &r->norm, &r->product[0],
		      &r->product[1], &r->sample[0], &r->sample[1], &r->sample[2], &r->sample[3]) == 9;
}

static FILE *open_file(const char *name)
{
	FILE *f = fopen(lh_test_path(name), "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	return f;
}

/* --- operations --- */

static void compare_tensor(struct lh_opbench *b, const struct reference *r, double *worst)
{
	const double bound = IN_DOUBLE ? BOUND_F64 : b->c->bound_f32;
	const unsigned k = (unsigned)(r->name[strlen(r->name) - 1] - '0');
	if (!strcmp(r->name, "y")) {
		compare(b->c->name, r, b->y, b->y_count, bound, worst);
	} else if (!strncmp(r->name, "dx", 2) && k < b->node->inputs) {
		compare(b->c->name, r, b->dx[k], b->x_count[k], bound, worst);
	} else {
		const struct lh_graph_param *p = lh_opbench_param(b, k);
		CU_ASSERT_PTR_NOT_NULL_FATAL(p);
		real *theirs = malloc(p->count * sizeof *theirs);
		CU_ASSERT_PTR_NOT_NULL_FATAL(theirs);
		lh_to_theirs(p, b->dparam[k], theirs);
		compare(b->c->name, r, theirs, p->count, bound, worst);
		free(theirs);
	}
}

/* Tensors of a case that must be compared: y, dx of real inputs, dparam. */
static unsigned expected(const struct lh_opbench *b)
{
	unsigned n = 1;
	for (unsigned k = 0; k < b->node->inputs; k++)
		n += !b->integer[k];
	for (unsigned k = 0; k < b->node->params; k++)
		n += b->param[k] != NULL;
	return n;
}

static void test_operations(void)
{
	FILE *f = open_file("reference/operations.txt");
	char line[LINE];
	struct lh_opbench b = {0};
	unsigned cases = 0, left = 0;
	double worst = 0;
	while (fgets(line, sizeof line, f)) {
		struct reference r = {0};
		if (!strncmp(line, "case ", 5)) {
			CU_ASSERT_EQUAL(left, 0);
			if (b.c)
				lh_opbench_close(&b);
			line[strcspn(line, "\n")] = 0;
			size_t i = 0;
			while (i < lh_opcases_count && strcmp(lh_opcases[i].name, line + 5))
				i++;
			CU_ASSERT_TRUE_FATAL(i < lh_opcases_count);
			lh_opbench_open(&lh_opcases[i], BACKEND, &b);
			lh_opbench_forward(&b);
			lh_opbench_backward(&b, false);
			left = expected(&b);
			cases++;
		} else if (*line != '#') {
			CU_ASSERT_TRUE_FATAL(parse(line, &r) && b.c);
			compare_tensor(&b, &r, &worst);
			left--;
		}
	}
	fclose(f);
	lh_opbench_close(&b);
	CU_ASSERT_EQUAL(left, 0);
	CU_ASSERT_EQUAL(cases, lh_opcases_count - 3); /* the random ones have differences only */
	printf("# %u operations, worst %.2g of a length\n", cases, worst);
}

/* --- models --- */

struct inputs {
	void *of[LH_NODE_INPUTS_MAX];
};

static void *room(size_t n, size_t size)
{
	void *p = calloc(n, size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

/* Of input k: uniform, for reals; draw(i) % limit, for integers. */
static void *plain_input(const char *spec, unsigned k, const struct lh_graph_tensor *t, size_t n)
{
	char what[4] = {'x', (char)('0' + k), 0};
	const uint64_t stream = lh_stream_of(spec, what);
	const size_t count = n * lh_shape_count(t->shape);
	void *p = room(count, sizeof(real));
	for (size_t i = 0; i < count; i++)
		if (t->integer)
			((int32_t *)p)[i] = (int32_t)(lh_draw(stream, i) % (uint64_t)t->limit);
		else
			((real *)p)[i] = (real)lh_unit(stream, i);
	return p;
}

/* RoBERTa: sample i ends i eighths early; a seventh of the tokens are targets. */
static void roberta_inputs(const char *spec, const struct lh_graph *g, size_t n, struct inputs *in)
{
	const size_t length = g->tensors[0].shape.w;
	const uint64_t ids = lh_stream_of(spec, "x0"), targets = lh_stream_of(spec, "x3"),
		       symbols = (uint64_t)g->tensors[0].limit;
	for (unsigned k = 0; k < 4; k++)
		in->of[k] = room(n * length, sizeof(int32_t));
	int32_t *id = in->of[0], *place = in->of[1], *mask = in->of[2], *target = in->of[3];
	for (size_t s = 0, i = 0; s < n; s++)
		for (size_t t = 0; t < length; t++, i++) {
			const bool padding = t >= length - length * s / 8;
			const uint64_t d = lh_draw(targets, i);
			id[i] = padding ? 1 : (int32_t)(2 + lh_draw(ids, i) % (symbols - 2));
			place[i] = padding ? 1 : (int32_t)(2 + t);
			mask[i] = !padding;
			target[i] = !t ? 2 : padding || d % 7 ? LH_TARGET_IGNORED : (int32_t)(d / 7 % symbols);
		}
}

static void make_inputs(const char *spec, const struct lh_graph *g, size_t n, struct inputs *in)
{
	*in = (struct inputs){{NULL}};
	if (strstr(spec, "roberta")) {
		roberta_inputs(spec, g, n, in);
		return;
	}
	for (unsigned t = 0, k = 0; t < g->ntensors; t++)
		if (g->tensors[t].producer < 0) {
			in->of[k] = plain_input(spec, k, &g->tensors[t], n);
			k++;
		}
	const size_t length = g->tensors[1].shape.w; /* whisper: the last targets of sample i do not count */
	for (size_t s = 0; s < n && !strncmp(spec, "whisper", 7); s++)
		for (size_t t = length - length * s / 8; t < length; t++)
			((int32_t *)in->of[2])[s * length + t] = LH_TARGET_IGNORED;
}

static void fill_params(const struct lh_graph *g, real *params)
{
	float *initial = NULL;
	for (size_t i = 0; i < g->nparams; i++) {
		const struct lh_graph_param *p = &g->params[i];
		if (!p->frozen) {
			lh_fill_param(p, params + p->offset);
			continue;
		}
		initial = initial ? initial : room(g->parameters, sizeof *initial);
		lh_graph_init(g, 1, initial);
		for (size_t j = 0; j < p->count; j++)
			params[p->offset + j] = (real)initial[p->offset + j];
	}
	free(initial);
}

struct run {
	struct lh_graph *g;
	struct lh_net *net;
	real *grads, *logits, *losses;
	size_t n;
};

static void open_run(const char *spec, size_t n, struct run *r)
{
	struct lh_err err = LH_ERR_INIT;
	struct inputs in;
	*r = (struct run){.n = n};
	int rc = lh_zoo_build(spec, &r->g, &err);
	if (rc || lh_net_new(r->g, BACKEND, n, LH_NET_SHARE, &r->net, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->net);
	make_inputs(spec, r->g, n, &in);
	r->grads = room(r->g->parameters, sizeof *r->grads);
	r->losses = room(2 * n, sizeof *r->losses);
	r->logits = room(n * lh_shape_count(r->g->tensors[r->g->logits].shape), sizeof *r->logits);
	fill_params(r->g, r->grads);
	struct lh_net_result result = {0};
	rc = lh_net_put_params(r->net, r->grads, &err);
	if (!rc)
		rc = lh_net_forward(r->net, (const void *const *)in.of, NULL, n, &result, &err);
	if (!rc)
		rc = lh_net_get(r->net, r->g->logits, n, r->logits, &err);
	if (!rc)
		rc = lh_net_get(r->net, r->g->loss, n, r->losses, &err);
	if (!rc)
		rc = lh_net_backward(r->net, NULL, n, &err);
	if (!rc)
		rc = lh_net_get_grads(r->net, r->grads, &err);
	if (rc)
		printf("# %s: %s\n", spec, err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	for (size_t i = 0; i < n; i++)
		r->losses[i] = r->losses[2 * i];
	for (unsigned k = 0; k < LH_NODE_INPUTS_MAX; k++)
		free(in.of[k]);
}

static void close_run(struct run *r)
{
	free(r->grads);
	free(r->logits);
	free(r->losses);
	lh_net_free(r->net);
	lh_graph_free(r->g);
}

static void compare_model(const struct run *run, const struct reference *r, double *worst)
{
	double bound = IN_DOUBLE ? BOUND_F64 : BOUND_MODEL_F32;
	if (!strcmp(r->name, "loss")) {
		compare(run->g->name, r, run->losses, run->n, bound, worst);
	} else if (!strcmp(r->name, "logits")) {
		compare(run->g->name, r, run->logits, run->n * lh_shape_count(run->g->tensors[run->g->logits].shape),
			bound, worst);
	} else {
		const struct lh_graph_param *p = lh_graph_find_param(run->g, r->name);
		if (!p)
			printf("# %s: no tensor %s\n", run->g->name, r->name);
		CU_ASSERT_PTR_NOT_NULL_FATAL(p);
		if (!IN_DOUBLE && strstr(run->g->name, "resnet"))
			bound = BOUND_RELU_F32;
		real *theirs = room(p->count, sizeof *theirs);
		lh_to_theirs(p, run->grads + p->offset, theirs);
		/* A bias that a norm takes away again has no gradient but rounding: measured by the largest gradient
		 * there. */
		struct reference scaled = *r;
		scaled.norm = fmax(r->norm, 1e-12);
		if (r->norm < 1e-6)
			CU_ASSERT_TRUE(distance(&scaled, theirs) * scaled.norm < (IN_DOUBLE ? 1e-10 : 1e-4));
		if (r->norm >= 1e-6)
			compare(run->g->name, r, theirs, p->count, bound, worst);
		free(theirs);
	}
}

static size_t trainable(const struct lh_graph *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->nparams; i++)
		n += !g->params[i].frozen;
	return n;
}

static void test_models(void)
{
	FILE *f = open_file("reference/models.txt");
	char line[LINE], spec[256] = "";
	struct run run = {0};
	size_t left = 0, models = 0, n;
	double worst = 0;
	while (fgets(line, sizeof line, f)) {
		struct reference r = {0};
		line[strcspn(line, "\n")] = 0;
		if (*line == '#' || !strncmp(line, "names ", 6))
			continue;
		if (!strncmp(line, "case ", 5)) {
			snprintf(spec, sizeof spec, "%.250s", line + 5);
		} else if (sscanf(line, "n %zu", &n) == 1) {
			CU_ASSERT_EQUAL(left, 0);
			if (models++) {
				printf("# %s: worst %.2g of a length\n", run.g->name, worst);
				close_run(&run);
			}
			worst = 0;
			open_run(spec, n, &run);
			left = trainable(run.g) + 2;
		} else {
			CU_ASSERT_TRUE_FATAL(parse(line, &r));
			compare_model(&run, &r, &worst);
			left--;
		}
	}
	fclose(f);
	CU_ASSERT_EQUAL(left, 0);
	CU_ASSERT_EQUAL(models, lh_zoo_count());
	printf("# %s: worst %.2g of a length\n", run.g->name, worst);
	close_run(&run);
}

/* --- full size: names, shapes, counts --- */

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static uint64_t hash_names(const struct lh_graph *g)
{
	enum { WIDTH = 160 };
	char(*lines)[WIDTH] = room(g->nparams + g->nbuffers, WIDTH);
	for (size_t i = 0; i < g->nparams; i++) {
		int at = snprintf(lines[i], WIDTH, "%s ", g->params[i].name);
		for (unsigned d = 0; d < g->params[i].ndim; d++)
			at +=
			    snprintf(lines[i] + at, (size_t)(WIDTH - at), "%s%zu", d ? "x" : "", g->params[i].shape[d]);
	}
	for (size_t i = 0; i < g->nbuffers; i++)
		snprintf(lines[g->nparams + i], WIDTH, "%s %zu", g->buffers[i].name, g->buffers[i].count);
	qsort(lines, g->nparams, WIDTH, by_text);
	qsort(lines + g->nparams, g->nbuffers, WIDTH, by_text);
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < g->nparams + g->nbuffers; i++) {
		for (const char *p = lines[i]; *p; p++)
			h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
		h = (h ^ '\n') * UINT64_C(0x100000001b3);
	}
	free(lines);
	return h;
}

static void test_names(void)
{
	FILE *f = open_file("reference/models.txt");
	char line[LINE], name[96];
	unsigned long long count, hash;
	size_t tensors, models = 0;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "names %95s %llu %zu %llx", name, &count, &tensors, &hash) != 4)
			continue;
		struct lh_graph *g = NULL;
		CU_ASSERT_EQUAL_FATAL(lh_zoo_build(name, &g, NULL), 0);
		if (g->parameters != count || g->nparams + g->nbuffers != tensors || hash_names(g) != hash)
			printf("# %s: %zu parameters of %llu, %zu tensors of %zu, hash %d\n", name, g->parameters,
			       count, g->nparams + g->nbuffers, tensors, hash_names(g) == hash);
		CU_ASSERT_EQUAL(g->parameters, count);
		CU_ASSERT_EQUAL(g->nparams + g->nbuffers, tensors);
		CU_ASSERT_EQUAL(hash_names(g), hash);
		CU_ASSERT_STRING_EQUAL(lh_zoo_model(models)->name, name);
		CU_ASSERT_EQUAL(lh_zoo_model(models++)->parameters, count);
		lh_graph_free(g);
	}
	fclose(f);
	CU_ASSERT_EQUAL(models, lh_zoo_count());
}

/* One sample through each model at full size: minutes, and 12 GB for the largest. Both sides are fp32. */
static void test_full_size(void)
{
	FILE *f = open_file("reference/full.txt");
	char line[LINE], name[96], spec[128];
	size_t count, models = 0;
	double loss, length;
	while (fgets(line, sizeof line, f)) {
		struct run run;
		if (*line == '#' || sscanf(line, "%95s %zu %lf %lf", name, &count, &loss, &length) != 4)
			continue;
		snprintf(spec, sizeof spec, "%s:drop=0", name);
		open_run(spec, 1, &run);
		double square = 0;
		size_t elements = 0;
		for (size_t i = 0; i < run.g->nparams; i++) {
			const struct lh_graph_param *p = &run.g->params[i];
			elements += p->frozen ? 0 : p->count;
			for (size_t j = 0; j < p->count && !p->frozen; j++)
				square += (double)run.grads[p->offset + j] * (double)run.grads[p->offset + j];
		}
		printf("# %s: loss %.6f, theirs %.6f; length of the gradient %.6g, theirs %.6g\n", name,
		       (double)run.losses[0], loss, sqrt(square), length);
		CU_ASSERT_EQUAL(elements, count);
		CU_ASSERT_DOUBLE_EQUAL((double)run.losses[0], loss, BOUND_MODEL_F32 * loss);
		CU_ASSERT_DOUBLE_EQUAL(sqrt(square), length,
				       length * (strstr(name, "resnet") ? BOUND_RELU_LENGTH_F32 : BOUND_MODEL_F32));
		models++;
		close_run(&run);
	}
	fclose(f);
	CU_ASSERT_EQUAL(models, lh_zoo_count());
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
	    {"operations", test_operations, 0},
	    {"models", test_models, 0},
	    {"names", test_names, 0},
	    {"full_size", test_full_size, LH_TEST_LONG},
	};
	fprintf(stderr, "matrix products: %s\n", lh_blas_open()); /* TAP begins with its version */
	const size_t n = sizeof tests / sizeof *tests - IN_DOUBLE; /* full size is compared in fp32 only */
	return lh_test_main(argc, argv, SUITE, tests, n);
}
