/* `longhaul-peer models`: what the eleven models are and need, from their tables alone; nothing is calculated. */
#include "models_cmd.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/plan.h"
#include "model/zoo.h"

static const char help[] =
	"usage: longhaul models [--json] [--microbatch N] [MODEL...]\n"
	"       longhaul models --tensors MODEL\n"
	"\n"
	"The models that can be trained: parameters, bytes of a gradient, arithmetic of a sample,\n"
	"and what one peer needs in memory in fp32. MODEL is a name, or NAME:key=value,... with\n"
	"width=1/N, depth=, image=, tokens=, frames=, symbols=, drop=0 for a smaller one:\n"
	"    longhaul models resnet18:width=1/8,image=64,symbols=10\n"
	"Short names of small ones: resnet-lab, convnext-lab, roberta-lab, whisper-lab.\n"
	"\n"
	"      --json            one JSON object, sizes in bytes\n"
	"      --microbatch N    samples whose activations are held at once (default 1)\n"
	"      --tensors         each tensor's name and shape, as in the reference's state dict\n"
	"  -h, --help            this text\n";

enum { MOMENTS = 2 }; /* AdamW */

struct row {
	const char *spec;
	size_t parameters, microbatch;
	double flop;
	size_t gradient, weights, optimizer, activations, total;
};

static int fill_row(const char *spec, size_t microbatch, struct row *row, struct lh_err *err)
{
	struct lh_graph *g = NULL;
	struct lh_plan *plan = NULL;
	int rc = lh_zoo_build(spec, &g, err);
	if (!rc)
		rc = lh_plan_new(g, &lh_backend_cpu, microbatch, true, &plan, err);
	if (!rc) {
		*row = (struct row){ .spec = spec, .parameters = g->parameters, .microbatch = microbatch,
				     .flop = lh_graph_flop(g), .gradient = plan->gradients,
				     .weights = plan->weights + plan->buffers, .optimizer = MOMENTS * plan->weights,
				     .activations = plan->activations };
		row->total = row->weights + row->gradient + row->optimizer + row->activations;
	}
	lh_plan_free(plan);
	lh_graph_free(g);
	return rc;
}

static void print_text(const struct row *rows, size_t n)
{
	size_t width = 17;
	for (size_t i = 0; i < n; i++)
		width = strlen(rows[i].spec) > width ? strlen(rows[i].spec) : width;
	printf("%-*s %11s %8s %8s %8s  memory in MB at microbatch %zu\n", (int)width, "", "", "gradient", "MB", "GFLOP",
	       rows->microbatch);
	printf("%-*s %11s %8s %8s %8s %8s %8s %9s %11s %8s\n", (int)width, "model", "parameters", "fp32", "fp16",
	       "a sample", "weights", "gradient", "optimizer", "activations", "all");
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &rows[i];
		printf("%-*s %11zu %8.1f %8.1f %8.*f %8.1f %8.1f %9.1f %11.1f %8.1f\n", (int)width, r->spec,
		       r->parameters, (double)r->gradient / 1e6, (double)r->gradient / 2e6,
		       r->flop < 1e8 ? 4 : 1, r->flop / 1e9,
		       (double)r->weights / 1e6, (double)r->gradient / 1e6, (double)r->optimizer / 1e6,
		       (double)r->activations / 1e6, (double)r->total / 1e6);
	}
}

static int print_json(const struct row *rows, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &rows[i];
		json_array_append_new(
		    list,
		    json_pack("{s:s, s:I, s:I, s:I, s:f, s:{s:I, s:I, s:I, s:I, s:I, s:I}}", "name", r->spec,
			      "parameters", (json_int_t)r->parameters, "gradient_fp32_bytes", (json_int_t)r->gradient,
			      "gradient_fp16_bytes", (json_int_t)(r->gradient / 2), "sample_flop", r->flop, "memory",
			      "microbatch", (json_int_t)r->microbatch, "weights_bytes", (json_int_t)r->weights,
			      "gradient_bytes", (json_int_t)r->gradient, "optimizer_bytes", (json_int_t)r->optimizer,
			      "activations_bytes", (json_int_t)r->activations, "total_bytes", (json_int_t)r->total));
	}
	json_t *root = json_pack("{s:o}", "models", list);
	const int rc = root ? json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : -1;
	putchar('\n');
	json_decref(root);
	return rc;
}

static int print_tensors(const char *spec, struct lh_err *err)
{
	struct lh_graph *g = NULL;
	int rc = lh_zoo_build(spec, &g, err);
	for (size_t i = 0; !rc && i < g->nparams; i++) {
		printf("%s ", g->params[i].name);
		for (unsigned d = 0; d < g->params[i].ndim; d++)
			printf("%s%zu", d ? "x" : "", g->params[i].shape[d]);
		puts(g->params[i].frozen ? " frozen" : "");
	}
	for (size_t i = 0; !rc && i < g->nbuffers; i++)
		printf("%s %zu buffer\n", g->buffers[i].name, g->buffers[i].count);
	lh_graph_free(g);
	return rc;
}

static int parse_microbatch(const char *text, size_t *ret, struct lh_err *err)
{
	char *end;
	errno = 0;
	const long v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < 1 || v > 65536)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--microbatch: \"%s\" is not a number from 1 to 65536",
				  text);
	*ret = (size_t)v;
	return 0;
}

static int print_rows(char **specs, size_t n, size_t microbatch, bool json, struct lh_err *err)
{
	const size_t count = n ? n : lh_zoo_count();
	struct row *rows = calloc(count, sizeof *rows);
	int rc = rows ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "models");
	for (size_t i = 0; i < count && !rc; i++)
		rc = fill_row(n ? specs[i] : lh_zoo_model(i)->name, microbatch, &rows[i], err);
	if (!rc && json && print_json(rows, count))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -EIO, "models: write");
	else if (!rc && !json)
		print_text(rows, count);
	free(rows);
	return rc;
}

int lh_models_main(int argc, char **argv)
{
	static const struct option table[] = {
		{ "json", no_argument, NULL, 'j' },    { "microbatch", required_argument, NULL, 'm' },
		{ "tensors", no_argument, NULL, 't' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct lh_err err = LH_ERR_INIT;
	size_t microbatch = 1;
	bool json = false, tensors = false;
	int rc = 0;
	for (int c; !rc && (c = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
		switch (c) {
		case 'j': json = true; break;
		case 't': tensors = true; break;
		case 'm': rc = parse_microbatch(optarg, &microbatch, &err); break;
		case 'h': fputs(help, stdout); return 0;
		default: rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "try longhaul models --help");
		}
	}
	if (!rc && tensors && (json || argc - optind != 1))
		rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "models: --tensors wants one model and no --json");
	if (!rc)
		rc = tensors ? print_tensors(argv[optind], &err) :
			       print_rows(argv + optind, (size_t)(argc - optind), microbatch, json, &err);
	if (!rc)
		return LH_EXIT_OK;
	fprintf(stderr, "longhaul models: %s\n", err.text);
	return (int)err.exit;
}
