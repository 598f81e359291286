/* bench train of digits and text. Their forward and backward are one call, so each round runs a forward pass alone first:
 * backward is what the whole took longer. Samples are the shipped ones, made as a peer makes them, and a microbatch goes
 * through in the engine's chunks. */
#include "bench_device.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_peak.h"
#include "longhaul/units.h"
#include "model/own.h"
#include "optim/optimizer.h"

enum { ROUNDS_MAX = 1000, ROUNDS_MIN = 3 };
enum { DATA, FORWARD, BACKWARD, UPDATE, SHARE, COLUMNS };

struct bench {
	const struct lh_bench_device_options *o;
	struct lh_model *model;
	struct lh_source *source;
	struct lh_backend *backend; /* the large product's */
	struct lh_bench_peak peak;
	struct lh_optim optim;
	struct lh_optim_tensor *tensors;
	float *params, *grads, *moments; /* one allocation, at params */
	uint8_t *inputs, *targets, *scratch; /* of a microbatch; one allocation, at inputs */
	uint64_t next_id, updates;
};

static double seconds_since(lh_ns begin) { return (double)(lh_clock_ns() - begin) / (double)LH_NS_PER_S; }

static void close_bench(struct bench *b)
{
	lh_bench_peak_close(&b->peak);
	if (b->backend)
		b->o->backend->close(b->backend);
	lh_source_close(b->source);
	lh_model_free(b->model);
	free(b->tensors);
	free(b->params);
	free(b->inputs);
}

static int open_model(struct bench *b, struct lh_err *err)
{
	struct lh_input_shape input;
	int rc = lh_own_input(b->o->model, &input, err);
	if (!rc)
		rc = lh_own_new(b->o->model, &b->model, err);
	if (rc)
		return rc;
	if (!b->o->data_dir)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: learns from a shipped set, and --data does not say where "
				  "those are", b->o->model);
	rc = lh_source_open(&input, LH_DATA_AUTO, b->o->data_dir, 1, b->o->model, &b->source, err);
	if (rc)
		return rc;
	const struct lh_model *m = b->model;
	b->optim = (struct lh_optim){ LH_OPTIMIZER_ADAMW, 1e-4, lh_optim_defaults(LH_OPTIMIZER_ADAMW) };
	b->params = calloc((2 + lh_optim_slots(&b->optim)) * m->parameters, sizeof *b->params);
	b->tensors = calloc(m->nparams, sizeof *b->tensors);
	b->inputs = malloc(b->o->microbatch * (m->input_bytes + m->target_bytes) + b->source->scratch_bytes);
	if (!b->params || !b->tensors || !b->inputs)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s: microbatch %zu", b->o->model, b->o->microbatch);
	b->grads = b->params + m->parameters;
	b->moments = b->grads + m->parameters;
	b->targets = b->inputs + b->o->microbatch * m->input_bytes;
	b->scratch = b->targets + b->o->microbatch * m->target_bytes;
	for (size_t i = 0; i < m->nparams; i++)
		b->tensors[i] = (struct lh_optim_tensor){ m->params[i].offset, m->params[i].count, m->params[i].decay, false };
	lh_model_init(m, 1, b->params);
	return 0;
}

static double make_data(struct bench *b)
{
	const struct lh_model *m = b->model;
	const lh_ns begin = lh_clock_ns();
	for (size_t i = 0; i < b->o->microbatch; i++)
		lh_source_sample(b->source, false, b->next_id++, b->inputs + i * m->input_bytes, b->targets + i * m->target_bytes,
				 b->scratch);
	return seconds_since(begin);
}

static double run(struct bench *b, float *grads, struct lh_model_result *result)
{
	struct lh_model *m = b->model;
	const lh_ns begin = lh_clock_ns();
	for (size_t i = 0; i < b->o->microbatch; i += m->batch)
		m->run(m, b->params, b->inputs + i * m->input_bytes, b->targets + i * m->target_bytes,
		       b->o->microbatch - i < m->batch ? b->o->microbatch - i : m->batch, grads, result);
	return seconds_since(begin);
}

static int one_round(struct bench *b, double times[COLUMNS], double *ret_loss, struct lh_err *err)
{
	struct lh_model_result alone = { 0 }, result = { 0 };
	const size_t n = b->model->parameters;
	times[DATA] = make_data(b);
	times[FORWARD] = run(b, NULL, &alone);
	const double whole = run(b, b->grads, &result);
	times[BACKWARD] = whole > times[FORWARD] ? whole - times[FORWARD] : 0;
	if (!isfinite(result.loss_sum))
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM, "model %s: the loss is not a finite number", b->o->model);
	const lh_ns begin = lh_clock_ns();
	lh_optim_run(&b->optim, ++b->updates, 1.0 / (double)b->o->microbatch, b->tensors, b->model->nparams, n, b->params, b->grads,
		     b->moments, NULL);
	memset(b->grads, 0, n * sizeof *b->grads);
	times[UPDATE] = seconds_since(begin);
	*ret_loss = result.loss_sum / (double)b->o->microbatch;
	return 0;
}

static int measure(struct bench *b, double *columns[COLUMNS], struct lh_bench_device *f, struct lh_err *err)
{
	double t[COLUMNS], peak = 0;
	int rc = one_round(b, t, &f->loss, err); /* warm-up: pages, caches */
	for (const lh_ns begin = lh_clock_ns();
	     !rc && f->rounds < ROUNDS_MAX && (f->rounds < ROUNDS_MIN || seconds_since(begin) < b->o->seconds); f->rounds++) {
		rc = one_round(b, t, &f->loss, err);
		if (!rc)
			rc = lh_bench_peak_measure(&b->peak, &peak, err);
		t[SHARE] = (double)b->o->microbatch * f->flop / (t[FORWARD] + t[BACKWARD]) / peak;
		for (unsigned k = 0; k < COLUMNS; k++)
			columns[k][f->rounds] = t[k];
	}
	f->peak = b->peak.best;
	return rc;
}

static int measure_all(struct bench *b, struct lh_bench_device *f, struct lh_err *err)
{
	double *columns[COLUMNS], *block = calloc(COLUMNS * ROUNDS_MAX, sizeof *block);
	if (!block)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "bench-train");
	for (unsigned k = 0; k < COLUMNS; k++)
		columns[k] = block + k * ROUNDS_MAX;
	int rc = measure(b, columns, f, err);
	if (!rc) {
		f->data_s = lh_bench_median(columns[DATA], f->rounds);
		f->forward_s = lh_bench_median(columns[FORWARD], f->rounds);
		f->backward_s = lh_bench_median(columns[BACKWARD], f->rounds);
		f->update_s = lh_bench_median(columns[UPDATE], f->rounds);
		f->share = lh_bench_median(columns[SHARE], f->rounds);
	}
	free(block);
	return rc;
}

int lh_bench_own(const struct lh_bench_device_options *o, struct lh_bench_device *ret, struct lh_err *err)
{
	struct bench b = { .o = o };
	struct lh_bench_device f = { .microbatch = o->microbatch };
	int rc = open_model(&b, err);
	if (!rc)
		rc = o->backend->open(NULL, &b.backend, err);
	if (!rc)
		rc = lh_bench_peak_open(o->backend, b.backend, &b.peak, err);
	if (!rc) {
		f.parameters = b.model->parameters;
		f.flop = b.model->flop;
		f.memory = (2 + lh_optim_slots(&b.optim)) * b.model->parameters * sizeof(float) + LH_OWN_ACTIVATIONS;
		rc = measure_all(&b, &f, err);
	}
	close_bench(&b);
	if (!rc)
		*ret = f;
	return rc;
}
