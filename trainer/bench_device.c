/* The measurement, for the zoo's models (bench_own.c has the other two): data, forward, backward and update of one microbatch, again and again, each node timed, and after each
 * round a large product of its own, so that other work on the machine slows both. Products and convolutions are compared
 * with it: their arithmetic as lh_op_multiply_adds counts it over the time that their nodes took, unfolding, biases and
 * all. The product is a linear layer on the same backend: nothing here knows a library. Medians of the rounds are told. */
#include "bench_device.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_peak.h"
#include "data/source.h"
#include "longhaul/units.h"
#include "model/own.h"
#include "model/net.h"
#include "model/zoo.h"
#include "optim/optimizer.h"

enum { ROUNDS_MAX = 1000, ROUNDS_MIN = 3 };

enum phase { DATA, COPY, FORWARD, BACKWARD, UPDATE, PHASES };
enum { PRODUCT_SHARE = PHASES, SHARE, COLUMNS };

struct bench {
	const struct lh_bench_device_options *o;
	struct lh_graph *g;
	struct lh_net *net;
	struct lh_source *source;
	void *inputs[LH_NODE_INPUTS_MAX]; /* one array an input */
	size_t bytes[LH_NODE_INPUTS_MAX];
	unsigned ninputs;
	uint8_t *sample;
	uint64_t *ids, next_id;
	float *params;
	struct lh_optim optim;
	struct lh_optim_tensor *tensors;
	void *moments;                      /* the device's where on_device is */
	struct lh_backend_optim *on_device; /* NULL: updates are the host's, in place */
	uint64_t updates;
	uint64_t *spent; /* [nodes][2] */
	struct lh_bench_peak peak;
};

static double seconds_since(lh_ns begin) { return (double)(lh_clock_ns() - begin) / (double)LH_NS_PER_S; }

/* ---- the model and its data ---- */

static void close_bench(struct bench *b)
{
	for (unsigned k = 0; k < b->ninputs; k++)
		free(b->inputs[k]);
	lh_bench_peak_close(&b->peak);
	free(b->sample);
	lh_source_close(b->source);
	free(b->ids);
	if (b->on_device) {
		b->o->backend->optim_close(b->net->backend, b->on_device);
		b->o->backend->release(b->net->backend, b->moments);
	} else {
		free(b->moments);
	}
	free(b->tensors);
	free(b->params);
	free(b->spent);
	lh_net_free(b->net);
	lh_graph_free(b->g);
}

static int open_data(struct bench *b, struct lh_err *err)
{
	struct lh_zoo_model m;
	bool drop;
	int rc = lh_zoo_find(b->o->model, &m, &drop, err);
	if (rc)
		return rc;
	const struct lh_input_shape shape = lh_zoo_input(&m);
	rc = lh_source_open(&shape, LH_DATA_SYNTHETIC, "", 1, b->o->model, &b->source, err);
	if (rc)
		return rc;
	for (size_t t = 0; t < b->g->ntensors; t++) {
		if (b->g->tensors[t].producer >= 0)
			continue;
		b->bytes[b->ninputs] = lh_shape_count(b->g->tensors[t].shape) * sizeof(float);
		b->inputs[b->ninputs] = malloc(b->o->microbatch * b->bytes[b->ninputs]);
		if (!b->inputs[b->ninputs++])
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", b->o->model);
	}
	size_t sum = 0;
	for (unsigned k = 0; k < b->ninputs; k++)
		sum += b->bytes[k];
	if (sum != b->source->input_bytes + b->source->target_bytes)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "model %s: its data are not of the shape of its inputs", b->o->model);
	b->sample = malloc(sum);
	b->ids = malloc(b->o->microbatch * sizeof *b->ids);
	return b->sample && b->ids ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", b->o->model);
}

/* Samples that nobody has seen, gathered into one array an input. */
static void make_data(struct bench *b)
{
	const size_t inputs = b->source->input_bytes;
	for (size_t i = 0; i < b->o->microbatch; i++) {
		b->ids[i] = b->next_id++;
		lh_source_sample(b->source, false, b->ids[i], b->sample, b->sample + inputs, NULL);
		const uint8_t *from = b->sample;
		for (unsigned k = 0; k < b->ninputs; from += b->bytes[k++])
			memcpy((char *)b->inputs[k] + i * b->bytes[k], from, b->bytes[k]);
	}
}

static int open_updates(struct bench *b, struct lh_err *err)
{
	const struct lh_backend_ops *ops = b->o->backend;
	void *moments = NULL;
	b->optim = (struct lh_optim){ LH_OPTIMIZER_ADAMW, 1e-4, lh_optim_defaults(LH_OPTIMIZER_ADAMW) };
	const size_t bytes = lh_optim_slots(&b->optim) * b->g->parameters * sizeof(float);
	for (size_t i = 0; i < b->g->nparams; i++)
		b->tensors[i] = (struct lh_optim_tensor){ b->g->params[i].offset, b->g->params[i].count, b->g->params[i].decay,
							  b->g->params[i].frozen };
	if (ops->host_memory) {
		b->moments = calloc(1, bytes);
		return b->moments ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", b->o->model);
	}
	int rc = ops->alloc(b->net->backend, bytes, &moments, err);
	if (!rc)
		rc = ops->optim_open(b->net->backend, &b->optim, b->tensors, b->g->nparams, &b->on_device, err);
	if (rc && moments)
		ops->release(b->net->backend, moments);
	b->moments = rc ? NULL : moments;
	return rc;
}

static int wait_for(struct bench *b, struct lh_err *err)
{
	return b->o->backend->wait ? b->o->backend->wait(b->net->backend, err) : 0;
}

static int update(struct bench *b, double scale, struct lh_err *err)
{
	struct lh_optim_step step;
	if (!b->on_device) {
		lh_optim_run(&b->optim, ++b->updates, scale, b->tensors, b->g->nparams, b->g->parameters, b->net->params,
			     b->net->grads, b->moments, NULL);
		b->net->stale = true;
		return 0;
	}
	lh_optim_begin(&b->optim, ++b->updates, scale, 0, &step);
	b->net->stale = true;
	return b->o->backend->optim_step(b->net->backend, b->on_device, &step, b->net->params, b->net->grads, b->moments,
					 b->g->parameters, err);
}

static int open_bench(struct bench *b, struct lh_err *err)
{
	int rc = lh_zoo_build(b->o->model, &b->g, err);
	if (!rc)
		rc = lh_net_new(b->g, b->o->backend, b->o->microbatch, LH_NET_SHARE, &b->net, err);
	if (!rc)
		rc = open_data(b, err);
	if (!rc)
		rc = lh_bench_peak_open(b->o->backend, b->net->backend, &b->peak, err);
	if (rc)
		return rc;
	const size_t count = b->g->parameters;
	b->params = malloc(count * sizeof *b->params);
	b->spent = calloc(2 * b->g->nnodes, sizeof *b->spent);
	b->tensors = calloc(b->g->nparams, sizeof *b->tensors);
	if (!b->params || !b->tensors || !b->spent)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", b->o->model);
	if (b->o->backend->host_memory) /* a device works behind our back: a node's time here would be that of asking */
		b->net->spent_ns = b->spent;
	lh_graph_init(b->g, 1, b->params);
	rc = lh_net_put_params(b->net, b->params, err);
	return rc ? rc : open_updates(b, err);
}

/* ---- rounds ---- */

static int one_round(struct bench *b, double times[PHASES], double *ret_loss, struct lh_err *err)
{
	struct lh_net_result result = { 0 };
	const size_t n = b->o->microbatch;
	lh_ns begin = lh_clock_ns();
	make_data(b);
	times[DATA] = seconds_since(begin);
	begin = lh_clock_ns();
	int rc = lh_net_put_inputs(b->net, (const void *const *)b->inputs, n, err);
	if (!rc)
		rc = wait_for(b, err);
	times[COPY] = seconds_since(begin);
	begin = lh_clock_ns();
	if (!rc)
		rc = lh_net_forward(b->net, NULL, b->ids, n, &result, err); /* ends with reading the loss */
	times[FORWARD] = seconds_since(begin);
	begin = lh_clock_ns();
	if (!rc)
		rc = lh_net_backward(b->net, b->ids, n, err);
	if (!rc)
		rc = wait_for(b, err);
	times[BACKWARD] = seconds_since(begin);
	if (rc)
		return rc;
	if (!isfinite(result.loss_sum))
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM, "model %s: the loss is not a finite number", b->g->name);
	begin = lh_clock_ns();
	rc = update(b, 1.0 / (double)n, err);
	if (!rc)
		rc = lh_net_zero_grads(b->net, err);
	if (!rc)
		rc = wait_for(b, err);
	times[UPDATE] = seconds_since(begin);
	*ret_loss = result.loss_sum / (double)n;
	return rc;
}

static void sum_nodes(const struct bench *b, size_t rounds, struct lh_bench_device *f)
{
	for (size_t i = 0; i < b->g->nnodes; i++) {
		const struct lh_node *node = &b->g->nodes[i];
		const double s = (double)(b->spent[2 * i] + b->spent[2 * i + 1]) / (double)LH_NS_PER_S;
		const double flop = lh_graph_node_flop(b->g, node) * (double)(b->o->microbatch * rounds);
		if (node->op == LH_OP_LINEAR || node->op == LH_OP_CONV2D) {
			f->product_s += s;
			f->product_flop += flop;
		} else if (node->op == LH_OP_ATTENTION) {
			f->attention_s += s;
			f->attention_flop += flop;
		}
	}
}

/* The share of the peak that linear and conv2d nodes reached since the last call, which *before remembers. */
static double product_share(const struct bench *b, double peak, double *before_s)
{
	struct lh_bench_device all = { 0 };
	sum_nodes(b, 1, &all);
	const double s = all.product_s - *before_s;
	*before_s = all.product_s;
	return s > 0 ? all.product_flop / s / peak : 0;
}

static int measure(struct bench *b, double *columns[COLUMNS], struct lh_bench_device *f, struct lh_err *err)
{
	double t[COLUMNS], peak = 0, before_s = 0;
	int rc = one_round(b, t, &f->loss, err); /* warm-up: pages, caches */
	memset(b->spent, 0, 2 * b->g->nnodes * sizeof *b->spent);
	for (const lh_ns begin = lh_clock_ns();
	     !rc && f->rounds < ROUNDS_MAX && (f->rounds < ROUNDS_MIN || seconds_since(begin) < b->o->seconds); f->rounds++) {
		rc = one_round(b, t, &f->loss, err);
		if (!rc)
			rc = lh_bench_peak_measure(&b->peak, &peak, err);
		t[PRODUCT_SHARE] = product_share(b, peak, &before_s);
		t[SHARE] = (double)b->o->microbatch * f->flop / (t[FORWARD] + t[BACKWARD]) / peak;
		for (unsigned k = 0; k < COLUMNS; k++)
			columns[k][f->rounds] = t[k];
	}
	f->peak = b->peak.best;
	return rc;
}

static int measure_all(struct bench *b, struct lh_bench_device *f, struct lh_err *err)
{
	double *columns[COLUMNS];
	double *block = calloc(COLUMNS * ROUNDS_MAX, sizeof *block);
	if (!block)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "bench-train");
	for (unsigned k = 0; k < COLUMNS; k++)
		columns[k] = block + k * ROUNDS_MAX;
	int rc = measure(b, columns, f, err);
	if (!rc) {
		f->data_s = lh_bench_median(columns[DATA], f->rounds);
		f->copy_s = lh_bench_median(columns[COPY], f->rounds);
		f->forward_s = lh_bench_median(columns[FORWARD], f->rounds);
		f->backward_s = lh_bench_median(columns[BACKWARD], f->rounds);
		f->update_s = lh_bench_median(columns[UPDATE], f->rounds);
		f->product_share = lh_bench_median(columns[PRODUCT_SHARE], f->rounds);
		f->share = lh_bench_median(columns[SHARE], f->rounds);
		sum_nodes(b, f->rounds, f);
	}
	free(block);
	return rc;
}

int lh_bench_device(const struct lh_bench_device_options *o, struct lh_bench_device *ret, struct lh_err *err)
{
	if (lh_own_is(o->model))
		return lh_bench_own(o, ret, err);
	struct bench b = { .o = o };
	struct lh_bench_device f = { .microbatch = o->microbatch };
	int rc = open_bench(&b, err);
	if (!rc) {
		const struct lh_plan *p = b.net->plan;
		f.parameters = b.g->parameters;
		f.flop = lh_graph_flop(b.g);
		/* Weights, gradients, two moments. */
		f.memory = 4 * p->weights + p->buffers + p->copies + p->activations + o->backend->fixed_bytes;
		rc = measure_all(&b, &f, err);
	}
	close_bench(&b);
	if (!rc)
		*ret = f;
	return rc;
}
