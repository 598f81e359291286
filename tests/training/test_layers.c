/* Every operation of the tables, in double, against central differences at awkward shapes; and what its contract says
 * beyond its derivative: adding to a gradient, statistics, randomness, memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "lhtest.h"
#include "model/net.h"
#include "model/zoo.h"
#include "opcase.h"

_Static_assert(sizeof(real) == sizeof(double), "built with LH_REAL_DOUBLE");

#define STEP 1e-5
#define BOUND 1e-8 /* of |analytic - numeric| / max(1, |numeric|) */

static double scalar(struct lh_opbench *b)
{
	double sum = 0;
	lh_opbench_forward(b);
	for (size_t i = 0; i < b->y_count; i++)
		sum += b->y[i] * b->dy[i];
	return sum;
}

static void check(struct lh_opbench *b, const char *what, unsigned k, double *x, const double *gradient, size_t n)
{
	double worst = 0, length = 0;
	for (size_t i = 0; i < n; i++) {
		const double kept = x[i];
		static const double steps[4] = {-2, -1, 1, 2}, weights[4] = {1, -8, 8, -1};
		double numeric = 0;
		for (int j = 0; j < 4; j++) {
			x[i] = kept + steps[j] * STEP;
			numeric += weights[j] * scalar(b) / (12 * STEP);
		}
		x[i] = kept;
		const double off = fabs(gradient[i] - numeric) / fmax(1, fabs(numeric));
		worst = off > worst || isnan(off) ? off : worst;
		length += gradient[i] * gradient[i];
	}
	if (!(worst < BOUND) || !(length > 0))
		printf("# %s: %s%u off by %.3g, length %g\n", b->c->name, what, k, worst, length);
	CU_ASSERT_TRUE(worst < BOUND);
	CU_ASSERT_TRUE(length > 0);
}

static void check_case(const struct lh_opcase *c)
{
	struct lh_opbench b;
	lh_opbench_open(c, &lh_backend_cpu, &b);
	lh_opbench_forward(&b);
	lh_opbench_backward(&b, false);
	for (unsigned k = 0; k < b.node->inputs; k++)
		if (!b.integer[k])
			check(&b, "x", k, b.x[k], b.dx[k], b.x_count[k]);
	for (unsigned k = 0; k < b.node->params; k++) {
		if (!b.param[k])
			continue;
		double *gradient =
		    malloc(b.param_count[k] * sizeof *gradient); /* the checks run forward only, but to be sure */
		CU_ASSERT_PTR_NOT_NULL_FATAL(gradient);
		memcpy(gradient, b.dparam[k], b.param_count[k] * sizeof *gradient);
		const size_t width = b.node->y.c,
			     hole = b.node->op == LH_OP_EMBEDDING ? (size_t)b.node->padding_id * width : 0;
		const size_t after = b.node->op == LH_OP_EMBEDDING ? hole + width : 0;
		for (size_t i = hole; i < after; i++) /* padding's row: 0 by decree */
			CU_ASSERT_EQUAL(gradient[i], 0);
		if (hole)
			check(&b, "param", k, b.param[k], gradient, hole);
		check(&b, "param", k, b.param[k] + after, gradient + after, b.param_count[k] - after);
		free(gradient);
	}
	lh_opbench_close(&b);
}

static void test_central_differences(void)
{
	for (size_t i = 0; i < lh_opcases_count; i++)
		check_case(&lh_opcases[i]);
}

/* dx_add adds; dparam always does. */
static void test_adds(void)
{
	for (size_t i = 0; i < lh_opcases_count; i++) {
		struct lh_opbench b;
		lh_opbench_open(&lh_opcases[i], &lh_backend_cpu, &b);
		for (unsigned k = 0; k < b.node->inputs; k++)
			for (size_t j = 0; j < b.x_count[k] && b.dx[k]; j++)
				b.dx[k][j] = 1e30; /* must be overwritten */
		lh_opbench_forward(&b);
		lh_opbench_backward(&b, false);
		double *once[LH_NODE_INPUTS_MAX] = {0}, *param_once[LH_NODE_PARAMS_MAX] = {0};
		for (unsigned k = 0; k < b.node->inputs; k++)
			if (b.dx[k] && (once[k] = malloc(b.x_count[k] * sizeof(double))))
				memcpy(once[k], b.dx[k], b.x_count[k] * sizeof(double));
		for (unsigned k = 0; k < b.node->params; k++)
			if (b.dparam[k] && (param_once[k] = malloc(b.param_count[k] * sizeof(double))))
				memcpy(param_once[k], b.dparam[k], b.param_count[k] * sizeof(double));
		lh_opbench_forward(&b);
		lh_opbench_backward(&b, true);
		double off = 0;
		for (unsigned k = 0; k < b.node->inputs; k++)
			for (size_t j = 0; once[k] && j < b.x_count[k]; j++)
				off = fmax(off, fabs(b.dx[k][j] - 2 * once[k][j]));
		for (unsigned k = 0; k < b.node->params; k++)
			for (size_t j = 0; param_once[k] && j < b.param_count[k]; j++)
				off = fmax(off, fabs(b.dparam[k][j] - 2 * param_once[k][j]));
		if (!(off < 1e-12))
			printf("# %s: off by %g\n", b.c->name, off);
		CU_ASSERT_TRUE(off < 1e-12);
		for (unsigned k = 0; k < LH_NODE_INPUTS_MAX; k++)
			free(once[k]);
		for (unsigned k = 0; k < LH_NODE_PARAMS_MAX; k++)
			free(param_once[k]);
		lh_opbench_close(&b);
	}
}

static const struct lh_opcase *find_case(const char *name)
{
	for (size_t i = 0; i < lh_opcases_count; i++)
		if (!strcmp(lh_opcases[i].name, name))
			return &lh_opcases[i];
	CU_FAIL_FATAL("no such case");
	return NULL;
}

/* The product against its definition, all transpositions, both strides wider than needed. */
static void test_gemm(void)
{
	enum { LD = 150 };
	static double a[LD * LD], b[LD * LD], c[LD * LD];
	static const size_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {9, 33, 65}, {2, 70, 130}};
	for (size_t i = 0; i < LD * LD; i++) {
		a[i] = lh_unit(1, i);
		b[i] = lh_unit(2, i);
	}
	for (unsigned s = 0; s < 4; s++)
		for (unsigned bits = 0; bits < 8; bits++) {
			const bool ta = bits & 1, tb = bits & 2, add = bits & 4;
			const size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
			double off = 0;
			for (size_t i = 0; i < LD * LD; i++)
				c[i] = 3;
			lh_gemm(ta, tb, m, n, k, a, LD, b, LD, c, LD, add);
			for (size_t i = 0; i < m; i++)
				for (size_t j = 0; j < n; j++) {
					double want = add ? 3 : 0;
					for (size_t p = 0; p < k; p++)
						want += (ta ? a[p * LD + i] : a[i * LD + p]) *
							(tb ? b[j * LD + p] : b[p * LD + j]);
					off = fmax(off, fabs(c[i * LD + j] - want));
				}
			CU_ASSERT_TRUE(off < 1e-12);
			CU_ASSERT_EQUAL(c[n], 3); /* beyond the row */
		}
}

/* A kernel that is turned over would pass differences: taps by hand, through the state dict's order of weights. */
static void test_conv_orientation(void)
{
	struct lh_opbench b;
	lh_opbench_open(find_case("conv_3x3"), &lh_backend_cpu, &b);
	const struct lh_graph_param *w = lh_opbench_param(&b, 0);
	memset(b.param[0], 0, w->count * sizeof(double));
	memset(b.param[1], 0, b.param_count[1] * sizeof(double));
	const size_t out = 4, in = 2, row = 0, col = 1; /* the pixel above */
	b.param[0][lh_graph_param_index(w, ((out * 6 + in) * 3 + row) * 3 + col)] = 1;
	lh_opbench_forward(&b);
	const double *x = b.x[0];
	CU_ASSERT_EQUAL(b.y[(3 * 5 + 2) * 10 + out], x[(2 * 5 + 2) * 6 + in]);
	CU_ASSERT_EQUAL(b.y[(0 * 5 + 2) * 10 + out], 0);
	lh_opbench_close(&b);
}

/* Running statistics move towards the batch's; without training they are what normalises. */
static void test_batchnorm_statistics(void)
{
	struct lh_opbench b;
	lh_opbench_open(find_case("batchnorm"), &lh_backend_cpu, &b);
	double *mean = b.run.buffer[0], *var = b.run.buffer[1];
	const size_t c = b.node->y.c, rows = b.x_count[0] / c;
	lh_opbench_forward(&b);
	double sum = 0, square = 0;
	for (size_t i = 0; i < rows; i++)
		sum += ((double *)b.x[0])[i * c + 2];
	for (size_t i = 0; i < rows; i++)
		square += pow(((double *)b.x[0])[i * c + 2] - sum / (double)rows, 2);
	CU_ASSERT_DOUBLE_EQUAL(mean[2], 0.1 * sum / (double)rows, 1e-14);
	CU_ASSERT_DOUBLE_EQUAL(var[2], 0.1 * square / (double)(rows - 1), 1e-14);
	mean[2] = 0.25;
	var[2] = 4;
	b.run.training = false;
	lh_opbench_forward(&b);
	const double want = (((double *)b.x[0])[2] - 0.25) / sqrt(4 + 1e-5) * b.param[0][2] + b.param[1][2];
	CU_ASSERT_DOUBLE_EQUAL(b.y[2], want, 1e-14);
	CU_ASSERT_EQUAL(mean[2], 0.25);
	lh_opbench_close(&b);
}

/* Drops about the share it should, keeps the mean, depends on the sample's id and not on its place, and does nothing
 * without training. */
static void test_random_choices(void)
{
	struct lh_opbench b;
	lh_opbench_open(find_case("dropout"), &lh_backend_cpu, &b);
	const size_t count = b.y_count / b.c->n;
	for (size_t i = 0; i < b.y_count; i++)
		((double *)b.x[0])[i] = 1;
	lh_opbench_forward(&b);
	size_t dropped = 0;
	for (size_t i = 0; i < b.y_count; i++) {
		dropped += b.y[i] == 0;
		CU_ASSERT_TRUE(b.y[i] == 0 || fabs(b.y[i] - 1 / 0.7) < 1e-14);
	}
	CU_ASSERT_DOUBLE_EQUAL((double)dropped / (double)b.y_count, 0.3, 0.05); /* 1155 draws: 3.7 deviations */
	double *first = calloc(count, sizeof *first);
	CU_ASSERT_PTR_NOT_NULL_FATAL(first);
	memcpy(first, b.y, count * sizeof *first);
	CU_ASSERT_NOT_EQUAL(memcmp(first, b.y + count, count * sizeof *first), 0);
	const uint64_t id = b.ids[0];
	b.ids[0] = b.ids[1];
	b.ids[1] = id;
	lh_opbench_forward(&b);
	CU_ASSERT_EQUAL(memcmp(first, b.y + count, count * sizeof *first), 0);
	b.run.seed++;
	lh_opbench_forward(&b);
	CU_ASSERT_NOT_EQUAL(memcmp(first, b.y + count, count * sizeof *first), 0);
	b.run.training = false;
	lh_opbench_forward(&b);
	CU_ASSERT_EQUAL(memcmp(b.y, b.x[0], b.y_count * sizeof(double)), 0);
	free(first);
	lh_opbench_close(&b);
}

/* Eight samples of stochastic depth: some gone whole, some kept whole. */
static void test_drop_path(void)
{
	struct lh_opbench b;
	lh_opbench_open(find_case("drop_path"), &lh_backend_cpu, &b);
	const size_t count = b.y_count / b.c->n;
	size_t gone = 0;
	lh_opbench_forward(&b);
	for (size_t s = 0; s < b.c->n; s++) {
		size_t zeros = 0;
		for (size_t i = 0; i < count; i++)
			zeros += b.y[s * count + i] == 0;
		CU_ASSERT_TRUE(zeros == 0 || zeros == count);
		gone += zeros == count;
	}
	CU_ASSERT_TRUE(gone > 0 && gone < b.c->n);
	lh_opbench_close(&b);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
	    {"central_differences", test_central_differences, 0},
	    {"adds", test_adds, 0},
	    {"gemm", test_gemm, 0},
	    {"conv_orientation", test_conv_orientation, 0},
	    {"batchnorm_statistics", test_batchnorm_statistics, 0},
	    {"random_choices", test_random_choices, 0},
	    {"drop_path", test_drop_path, 0},
	};
	return lh_test_main(argc, argv, "layers", tests, sizeof tests / sizeof *tests);
}
