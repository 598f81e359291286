/* `longhaul-peer bench-train`: forward, backward and update of one microbatch on the cpu backend, again and again, each
 * node timed; and in the same run the rate of a large matrix product, which nothing here can exceed. Products and
 * convolutions are compared with it: their arithmetic as lh_op_multiply_adds counts it over the time that their nodes
 * took, unfolding, biases and all. Each round has a product of its own beside it, and the median of the rounds' shares is
 * printed, so that other work on the machine slows both. */
#include "bench_train.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/blas.h"
#include "backend/cpu/cpu.h"
#include "longhaul/units.h"
#include "model/net.h"
#include "model/zoo.h"
#include "optim/adamw.h"

static const char help[] =
	"usage: longhaul-peer bench-train --model MODEL [--microbatch N] [--seconds S] [--json]\n"
	"\n"
	"Trains one made-up microbatch over and over on the cpu engine, one thread, fp32, and\n"
	"prints samples/s, milliseconds of a microbatch, GFLOP/s, and the share of the rate of a\n"
	"large matrix product that was measured in the same run. MODEL as for longhaul models.\n";

enum { PEAK_SIDE = 768, PEAK_RUNS = 4, ROUNDS_MAX = 1000 };

struct figures {
	size_t microbatch, rounds, parameters;
	double forward_s, backward_s, update_s; /* median of a microbatch */
	double flop;                            /* of a sample */
	double peak;                            /* flop/s: the best product of the run */
	double product_s, product_flop;         /* linear and conv2d nodes, all rounds */
	double attention_s, attention_flop;
	double product_share, share;            /* of the peak beside them, medians: those nodes, the whole step */
	size_t memory;
};

static double seconds_since(lh_ns begin) { return (double)(lh_clock_ns() - begin) / (double)LH_NS_PER_S; }

/* The best of a few products; *best keeps the run's. */
static int measure_peak(double *ret_now, double *best, struct lh_err *err)
{
	const size_t n = PEAK_SIDE;
	float *m = malloc(3 * n * n * sizeof *m);
	if (!m)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "bench-train");
	for (size_t i = 0; i < 3 * n * n; i++)
		m[i] = (float)(i % 7) - 3;
	double now = 0;
	for (int i = 0; i < PEAK_RUNS; i++) {
		const lh_ns begin = lh_clock_ns();
		lh_gemm(false, true, n, n, n, m, n, m + n * n, n, m + 2 * n * n, n, false);
		const double rate = 2.0 * (double)n * (double)n * (double)n / seconds_since(begin);
		now = rate > now ? rate : now;
	}
	*best = now > *best ? now : *best;
	*ret_now = now;
	free(m);
	return 0;
}

struct bench {
	struct lh_graph *g;
	struct lh_net *net;
	void *inputs[LH_NODE_INPUTS_MAX];
	float *params, *m, *v;
	uint64_t *spent; /* [nodes][2] */
};

static void close_bench(struct bench *b)
{
	for (unsigned k = 0; k < LH_NODE_INPUTS_MAX; k++)
		free(b->inputs[k]);
	free(b->m);
	free(b->v);
	free(b->params);
	free(b->spent);
	lh_net_free(b->net);
	lh_graph_free(b->g);
}

static int make_inputs(struct bench *b, size_t n)
{
	for (size_t t = 0, k = 0; t < b->g->ntensors; t++) {
		const struct lh_graph_tensor *tensor = &b->g->tensors[t];
		const size_t count = n * lh_shape_count(tensor->shape);
		if (tensor->producer >= 0)
			continue;
		float *x = b->inputs[k++] = malloc(count * sizeof *x);
		if (!x)
			return -ENOMEM;
		for (size_t i = 0; i < count; i++) {
			const uint64_t bits = lh_mix64(i + 1);
			const int32_t symbol = tensor->limit == 2 ? 1 : (int32_t)(bits % (uint64_t)(tensor->limit + !tensor->integer));
			if (tensor->integer)
				memcpy(&x[i], &symbol, sizeof symbol);
			else
				x[i] = (float)(bits >> 40) * 0x1p-23f - 1;
		}
	}
	return 0;
}

static int open_bench(const char *spec, size_t n, struct bench *b, struct lh_err *err)
{
	int rc = lh_zoo_build(spec, &b->g, err);
	if (!rc)
		rc = lh_net_new(b->g, &lh_backend_cpu, n, LH_NET_SHARE, &b->net, err);
	if (rc)
		return rc;
	const size_t count = b->g->parameters;
	b->params = malloc(count * sizeof *b->params);
	b->m = calloc(count, sizeof *b->m);
	b->v = calloc(count, sizeof *b->v);
	b->spent = b->net->spent_ns = calloc(2 * b->g->nnodes, sizeof *b->spent);
	if (!b->params || !b->m || !b->v || !b->spent || make_inputs(b, n))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", spec);
	lh_graph_init(b->g, 1, b->params);
	return lh_net_put_params(b->net, b->params, err);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *x, size_t n)
{
	qsort(x, n, sizeof *x, by_value);
	return x[n / 2];
}

/* One microbatch: times[3] are forward, backward, update. */
static int one_round(struct bench *b, struct lh_adamw *o, size_t n, double times[3], struct lh_err *err)
{
	struct lh_net_result result = { 0 };
	const lh_ns begin = lh_clock_ns();
	int rc = lh_net_forward(b->net, (const void *const *)b->inputs, NULL, n, &result, err);
	const lh_ns middle = lh_clock_ns();
	if (!rc)
		rc = lh_net_backward(b->net, NULL, n, err);
	const lh_ns end = lh_clock_ns();
	times[0] = (double)(middle - begin) / (double)LH_NS_PER_S;
	times[1] = (double)(end - middle) / (double)LH_NS_PER_S;
	if (rc)
		return rc;
	if (!isfinite(result.loss_sum))
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM, "model %s: the loss is not a finite number", b->g->name);
	lh_adamw_begin(o); /* the cpu backend's memory is ours */
	lh_adamw_apply(o, 1e-4, 0, 1.0 / (double)n, b->g->parameters, b->net->params, b->net->grads, b->m, b->v);
	rc = lh_net_zero_grads(b->net, err);
	times[2] = seconds_since(end);
	return rc;
}

static void sum_nodes(const struct bench *b, struct figures *f)
{
	for (size_t i = 0; i < b->g->nnodes; i++) {
		const struct lh_node *node = &b->g->nodes[i];
		const double s = (double)(b->spent[2 * i] + b->spent[2 * i + 1]) / (double)LH_NS_PER_S;
		const double flop = lh_graph_node_flop(b->g, node) * (double)(f->microbatch * f->rounds);
		if (node->op == LH_OP_LINEAR || node->op == LH_OP_CONV2D) {
			f->product_s += s;
			f->product_flop += flop;
		} else if (node->op == LH_OP_ATTENTION) {
			f->attention_s += s;
			f->attention_flop += flop;
		}
	}
}

/* The share of the peak that linear and conv2d nodes reached since the last call, which `before` remembers. */
static double product_share(const struct bench *b, const struct figures *f, double peak, struct figures *before)
{
	struct figures all = { .microbatch = f->microbatch, .rounds = 1 };
	sum_nodes(b, &all);
	const double s = all.product_s - before->product_s;
	before->product_s = all.product_s;
	return s > 0 ? all.product_flop / s / peak : 0;
}

static int measure(struct bench *b, double seconds, struct figures *f, struct lh_err *err)
{
	struct lh_adamw o = LH_ADAMW_INIT;
	struct figures before = { 0 };
	double *times[5] = { NULL }, t[5], peak = 0;
	for (unsigned k = 0; k < 5; k++)
		times[k] = calloc(ROUNDS_MAX, sizeof *times[k]);
	int rc = times[0] && times[1] && times[2] && times[3] && times[4] ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "bench-train");
	if (!rc)
		rc = one_round(b, &o, f->microbatch, t, err); /* warm-up: pages, caches */
	memset(b->spent, 0, 2 * b->g->nnodes * sizeof *b->spent);
	for (const lh_ns begin = lh_clock_ns(); !rc && f->rounds < ROUNDS_MAX && (f->rounds < 3 || seconds_since(begin) < seconds);
	     f->rounds++) {
		rc = one_round(b, &o, f->microbatch, t, err);
		if (!rc)
			rc = measure_peak(&peak, &f->peak, err);
		t[3] = product_share(b, f, peak, &before);
		t[4] = (double)f->microbatch * f->flop / (t[0] + t[1]) / peak;
		for (unsigned k = 0; k < 5; k++)
			times[k][f->rounds] = t[k];
	}
	if (!rc) {
		f->forward_s = median(times[0], f->rounds);
		f->backward_s = median(times[1], f->rounds);
		f->update_s = median(times[2], f->rounds);
		f->product_share = median(times[3], f->rounds);
		f->share = median(times[4], f->rounds);
		sum_nodes(b, f);
	}
	for (unsigned k = 0; k < 5; k++)
		free(times[k]);
	return rc;
}

static double rate(double flop, double s) { return s > 0 ? flop / s : 0; }

static int print_json(const char *spec, const struct figures *f)
{
	const double step = f->forward_s + f->backward_s, n = (double)f->microbatch;
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "model", spec,
		"engine", "cpu", "precision", "fp32", "products", lh_blas_open(), "parameters", (json_int_t)f->parameters,
		"microbatch", (json_int_t)f->microbatch, "rounds", (json_int_t)f->rounds, "samples_per_s", n / step,
		"forward_s", f->forward_s, "backward_s", f->backward_s, "update_s", f->update_s, "flop_per_s",
		n * f->flop / step, "peak_flop_per_s", f->peak, "product_flop_per_s", rate(f->product_flop, f->product_s),
		"product_share", f->product_share, "share", f->share,
		"memory_bytes", (json_int_t)f->memory);
	const int rc = j ? json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : -1;
	putchar('\n');
	json_decref(j);
	return rc;
}

static void print_text(const char *spec, const struct figures *f)
{
	const double step = f->forward_s + f->backward_s, n = (double)f->microbatch;
	const double product = rate(f->product_flop, f->product_s);
	printf("%s: %zu parameters, microbatch %zu, %zu rounds, %.1f MB, %s\n", spec, f->parameters, f->microbatch, f->rounds,
	       (double)f->memory / 1e6, lh_blas_open());
	printf("  %.2f samples/s: forward %.2f ms, backward %.2f ms; update %.2f ms\n", n / step, f->forward_s * 1e3,
	       f->backward_s * 1e3, f->update_s * 1e3);
	printf("  %.1f GFLOP/s, %.0f %% of a large product's (at most %.1f)\n", n * f->flop / step / 1e9, 100 * f->share,
	       f->peak / 1e9);
	printf("  linear and convolution %.1f GFLOP/s, %.0f %%, in %.0f %% of the time", product / 1e9, 100 * f->product_share,
	       100 * f->product_s / (double)f->rounds / step);
	if (f->attention_s > 0)
		printf("; attention %.1f GFLOP/s, in %.0f %%", rate(f->attention_flop, f->attention_s) / 1e9,
		       100 * f->attention_s / (double)f->rounds / step);
	putchar('\n');
}

static int run_bench(const char *spec, size_t microbatch, double seconds, bool json, struct lh_err *err)
{
	struct bench b = { 0 };
	struct figures f = { .microbatch = microbatch };
	lh_blas_open();
	int rc = open_bench(spec, microbatch, &b, err);
	if (!rc) {
		const struct lh_plan *p = b.net->plan;
		f.parameters = b.g->parameters;
		f.flop = lh_graph_flop(b.g);
		f.memory = 4 * p->weights + p->buffers + p->activations; /* weights, gradients, two moments */
		rc = measure(&b, seconds, &f, err);
	}
	if (!rc && json && print_json(spec, &f))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -EIO, "bench-train: write");
	else if (!rc && !json)
		print_text(spec, &f);
	close_bench(&b);
	return rc;
}

static int parse(const char *what, const char *text, double most, double *ret, struct lh_err *err)
{
	char *end;
	const double v = strtod(text, &end);
	if (end == text || *end || !(v > 0 && v <= most))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s: \"%s\" is not a number to %g", what, text, most);
	*ret = v;
	return 0;
}

int lh_bench_train_main(int argc, char **argv)
{
	static const struct option table[] = {
		{ "model", required_argument, NULL, 'm' },   { "microbatch", required_argument, NULL, 'b' },
		{ "seconds", required_argument, NULL, 's' }, { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
	};
	struct lh_err err = LH_ERR_INIT;
	const char *model = NULL;
	double microbatch = 1, seconds = 2;
	bool json = false;
	int rc = 0;
	for (int c; !rc && (c = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
		switch (c) {
		case 'm': model = optarg; break;
		case 'b': rc = parse("microbatch", optarg, 65536, &microbatch, &err); break;
		case 's': rc = parse("seconds", optarg, 3600, &seconds, &err); break;
		case 'j': json = true; break;
		case 'h': fputs(help, stdout); return 0;
		default: rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "try longhaul-peer bench-train --help");
		}
	}
	if (!rc && (!model || optind != argc || microbatch != floor(microbatch)))
		rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "--model is needed, and a whole --microbatch");
	if (!rc)
		rc = run_bench(model, (size_t)microbatch, seconds, json, &err);
	if (!rc)
		return LH_EXIT_OK;
	fprintf(stderr, "longhaul-peer bench-train: %s\n", err.text);
	return (int)err.exit;
}
