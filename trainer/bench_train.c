/* `longhaul-peer bench-train`, which is `longhaul bench train`: what bench_device.h measures, as a table or as JSON. */
#include "bench_train.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/blas.h"
#include "backend/plugin.h"
#include "bench_device.h"
#include "model/own.h"

static const char help[] =
	"usage: longhaul bench train --model MODEL [--engine E] [--precision P] [--microbatch N] [--seconds S] [--json]\n"
	"\n"
	"Trains microbatches over and over on one device (engine cpu: one core), made-up ones but for\n"
	"digits and text, and prints\n"
	"samples/s, milliseconds of each phase of a microbatch, TFLOP/s, the share of the rate of a\n"
	"large matrix product that was measured in the same run, and memory. MODEL as for longhaul\n"
	"models, or digits or text.\n";

static double rate(double flop, double s) { return s > 0 ? flop / s : 0; }

struct asked {
	const char *model, *engine, *precision, *data;
	double microbatch, seconds;
	bool json;
};

/* Nodes are not timed one by one where the device works behind the host's back. */
static json_t *known(const struct lh_bench_device *f, double value)
{
	return f->product_s > 0 ? json_real(value) : json_null();
}

static bool on_cpu(const struct asked *a) { return !strcmp(a->engine, "cpu"); }

static const char *products(const struct asked *a)
{
	return !on_cpu(a) ? "cuBLASLt, cuDNN" : lh_own_is(a->model) ? "own" : lh_blas_open();
}

static const char *products_why(const struct asked *a)
{
	return !on_cpu(a) ? "engine cuda" : lh_own_is(a->model) ? "digits and text have their own on every machine" : lh_blas_why();
}

static int print_json(const struct asked *a, const struct lh_bench_device *f)
{
	const double step = f->forward_s + f->backward_s, n = (double)f->microbatch;
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:f, s:I}",
		"model", a->model, "engine", a->engine, "precision", a->precision, "products", products(a),
		"products_why", products_why(a), "parameters", (json_int_t)f->parameters,
		"microbatch", (json_int_t)f->microbatch, "rounds", (json_int_t)f->rounds,
		"samples_per_s", lh_bench_device_rate(f), "data_s", f->data_s, "copy_s", f->copy_s, "forward_s", f->forward_s,
		"backward_s", f->backward_s, "update_s", f->update_s, "flop_per_s", n * f->flop / step,
		"peak_flop_per_s", f->peak, "product_flop_per_s", known(f, rate(f->product_flop, f->product_s)),
		"product_share", known(f, f->product_share), "share", f->share, "memory_bytes", (json_int_t)f->memory);
	const int rc = j ? json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : -1;
	putchar('\n');
	json_decref(j);
	return rc;
}

static void print_text(const struct asked *a, const struct lh_bench_device *f)
{
	const double step = f->forward_s + f->backward_s, n = (double)f->microbatch;
	const double product = rate(f->product_flop, f->product_s);
	const struct { const char *name; double s; } phases[] = { { "data", f->data_s }, { "copy", f->copy_s }, { "forward", f->forward_s },
		{ "backward", f->backward_s }, { "optimise", f->update_s } };
	double all = 0;
	printf("%s on %s, %s, microbatch %zu, %zu rounds: %zu parameters, %.1f MB\n", a->model, a->engine, a->precision,
	       f->microbatch, f->rounds, f->parameters, (double)f->memory / 1e6);
	printf("products: %s (%s)\n\n", products(a), products_why(a));
	for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
		all += phases[i].s;
	printf("%-10s %10s %7s\n", "phase", "ms", "share");
	for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
		printf("%-10s %10.2f %6.1f%%\n", phases[i].name, phases[i].s * 1e3, 100 * phases[i].s / all);
	printf("\n%.4g samples/s (data, forward, backward)\n", lh_bench_device_rate(f));
	printf("%.4g TFLOP/s, %.0f %% of a large product's (%.4g at best)\n", n * f->flop / step / 1e12, 100 * f->share,
	       f->peak / 1e12);
	if (!(f->product_s > 0)) /* a device's nodes are not timed */
		return;
	printf("linear and convolution %.4g TFLOP/s, %.0f %%, in %.0f %% of forward and backward", product / 1e12,
	       100 * f->product_share, 100 * f->product_s / (double)f->rounds / step);
	if (f->attention_s > 0)
		printf("; attention %.4g TFLOP/s, in %.0f %%", rate(f->attention_flop, f->attention_s) / 1e12,
		       100 * f->attention_s / (double)f->rounds / step);
	putchar('\n');
}

/* What engine and precision mean. LH_EXIT_INPUT: there is no such thing; LH_EXIT_MACHINE: not here. */
static int find_backend(const struct asked *a, const struct lh_backend_ops **ret, struct lh_err *err)
{
	for (unsigned p = 0; p < LH_PRECISIONS; p++)
		if (!strcmp(a->precision, lh_precision_names[p]))
			return lh_backend_find(a->engine, (enum lh_precision)p, ret, err);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "precision %s: there are fp32, bf16 and fp16", a->precision);
}

static int run_bench(const struct asked *a, struct lh_err *err)
{
	struct lh_bench_device f;
	struct lh_bench_device_options o = { .model = a->model, .microbatch = (size_t)a->microbatch, .seconds = a->seconds,
					     .data_dir = a->data };
	int rc = 0;
	if (lh_own_is(a->model) && (!on_cpu(a) || strcmp(a->precision, "fp32")))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: has no table of layers that another engine could run, nor in "
				"another precision: engine cpu and fp32 alone", a->model);
	if (!rc)
		rc = find_backend(a, &o.backend, err);
	if (rc)
		return rc;
	lh_blas_open();
	rc = lh_bench_device(&o, &f, err);
	if (!rc && a->json && print_json(a, &f))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -EIO, "bench-train: write");
	else if (!rc && !a->json)
		print_text(a, &f);
	return rc;
}

static int parse(const char *what, const char *text, double most, double *ret, struct lh_err *err)
{
	char *end;
	const double v = strtod(text, &end);
	if (end == text || *end || !(v > 0 && v <= most))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s: \"%s\" is not a number above 0 and up to %g", what, text, most);
	*ret = v;
	return 0;
}

int lh_bench_train_main(int argc, char **argv)
{
	static const struct option table[] = {
		{ "model", required_argument, NULL, 'm' },   { "microbatch", required_argument, NULL, 'b' },
		{ "seconds", required_argument, NULL, 's' }, { "json", no_argument, NULL, 'j' },
		{ "engine", required_argument, NULL, 'e' },  { "precision", required_argument, NULL, 'p' },
		{ "data", required_argument, NULL, 'd' },     { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct lh_err err = LH_ERR_INIT;
	struct asked a = { .engine = "cpu", .precision = "fp32", .microbatch = 1, .seconds = 2 };
	int rc = 0;
	for (int c; !rc && (c = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
		switch (c) {
		case 'm': a.model = optarg; break;
		case 'e': a.engine = optarg; break;
		case 'p': a.precision = optarg; break;
		case 'b': rc = parse("microbatch", optarg, 65536, &a.microbatch, &err); break;
		case 's': rc = parse("seconds", optarg, 3600, &a.seconds, &err); break;
		case 'd': a.data = optarg; break;
		case 'j': a.json = true; break;
		case 'h': fputs(help, stdout); return 0;
		default: rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "try longhaul help bench");
		}
	}
	if (!rc && !a.model)
		rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "needs --model; 'longhaul models' lists them");
	else if (!rc && optind != argc)
		rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "has no use for '%s'", argv[optind]);
	else if (!rc && a.microbatch != floor(a.microbatch))
		rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "--microbatch: %g is not a whole number", a.microbatch);
	if (!rc)
		rc = run_bench(&a, &err);
	if (!rc)
		return LH_EXIT_OK;
	fprintf(stderr, "longhaul bench train: %s\n", err.text);
	return (int)err.exit;
}
