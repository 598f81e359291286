/* Engine `cpu` for the two built-in models, digits and text (the zoo's are engine_table.c's). Joins a data set, a model
 * and an optimiser behind trainer/engine.h; the loop above knows none of them.
 *
 * The gradient is a sum over samples in the order in which they come: neither the microbatch nor the chunks that the
 * model runs in change a bit of it. Everything random comes from config->seed through separate streams: initial
 * parameters, the order of the samples, and the shifts of training images. */
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/source.h"
#include "hash.h"
#include "model/own.h"
#include "optim/updater.h"
#include "state_map.h"

enum { STREAM_PARAMETERS = 1 }; /* 2, 3: the data's, data/source.c */

struct lh_engine_state {
	struct lh_model *model;
	struct lh_source *source;
	struct lh_updater updater;
	struct lh_optim_tensor *tensors;
	unsigned slots;                 /* vectors of moments */
	float *params, *grads, *moments; /* one allocation, at params */
	uint8_t *inputs, *targets, *scratch; /* one chunk; one allocation, at inputs */
};

static uint64_t stream(uint64_t seed, uint64_t which) { return lh_mix64(seed ^ lh_mix64(which)); }

static void cpu_close(struct lh_engine_state *s)
{
	if (!s)
		return;
	lh_model_free(s->model);
	lh_source_close(s->source);
	free(s->tensors);
	free(s->params);
	free(s->inputs);
	free(s);
}

static int cpu_open_source(const struct lh_peer_config *c, struct lh_source **ret, struct lh_err *err)
{
	struct lh_input_shape input;
	int rc = lh_own_input(c->model, &input, err);
	if (!rc)
		rc = lh_source_open(&input, c->data, c->data_dir, c->seed, c->model, ret, err);
	return rc || !c->data_samples ? rc : lh_source_limit(*ret, c->data_samples, err);
}

static struct lh_source *cpu_source(struct lh_engine_state *s) { return s->source; }

static int open_model(struct lh_engine_state *s, const struct lh_peer_config *c, struct lh_err *err)
{
	int rc = cpu_open_source(c, &s->source, err);
	return rc ? rc : lh_own_new(c->model, &s->model, err);
}

static int cpu_open(const struct lh_peer_config *c, struct lh_engine_state **ret, struct lh_err *err)
{
	if (!(c->learning_rate > 0 && c->learning_rate <= 1))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "learning rate %g: not in 0 ... 1", c->learning_rate);
	struct lh_engine_state *s = calloc(1, sizeof *s);
	if (!s)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cpu");
	int rc = open_model(s, c, err);
	if (rc) {
		cpu_close(s);
		return rc;
	}
	const size_t n = s->model->parameters;
	s->updater = lh_updater_begin(c, false);
	s->slots = lh_optim_slots(&s->updater.optim);
	s->params = calloc((2 + s->slots) * n, sizeof *s->params);
	s->tensors = calloc(s->model->nparams, sizeof *s->tensors);
	s->inputs = malloc(s->model->batch * (s->model->input_bytes + s->model->target_bytes) + s->source->scratch_bytes);
	if (!s->params || !s->tensors || !s->inputs) {
		cpu_close(s);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s: %zu parameters", c->model, n);
	}
	s->grads = s->params + n;
	s->moments = s->grads + n;
	for (size_t i = 0; i < s->model->nparams; i++)
		s->tensors[i] = (struct lh_optim_tensor){ .offset = s->model->params[i].offset,
							  .count = s->model->params[i].count, .decay = s->model->params[i].decay };
	s->targets = s->inputs + s->model->batch * s->model->input_bytes;
	s->scratch = s->targets + s->model->batch * s->model->target_bytes;
	lh_model_init(s->model, stream(c->seed, STREAM_PARAMETERS), s->params);
	*ret = s;
	return 0;
}

static uint64_t cpu_parameters(const struct lh_engine_state *s) { return s->model->parameters; }

static size_t cpu_tensors(const struct lh_engine_state *s, struct lh_tensor *ret, size_t cap)
{
	for (size_t i = 0; i < s->model->nparams && i < cap; i++) {
		const struct lh_param *p = &s->model->params[i];
		size_t cols = p->ndim > 1 ? p->shape[p->ndim - 1] : 1;
		ret[i] = (struct lh_tensor){ .name = p->name, .offset = p->offset, .rows = p->count / cols, .cols = cols };
	}
	return s->model->nparams;
}

/* Run samples `first` ... of the held-out set, or the given ids of the training set, chunk by chunk. */
static void run_chunk(struct lh_engine_state *s, const uint64_t *ids, uint64_t first, size_t n,
		      struct lh_model_result *result)
{
	const struct lh_model *m = s->model;
	for (size_t i = 0; i < n; i++)
		lh_source_sample(s->source, !ids, ids ? ids[i] : first + i, s->inputs + i * m->input_bytes,
				 s->targets + i * m->target_bytes, s->scratch);
	s->model->run(s->model, s->params, s->inputs, s->targets, n, ids ? s->grads : NULL, result);
}

static int cpu_step(struct lh_engine_state *s, const uint64_t *sample_ids, size_t n, double *loss_sum,
		    struct lh_err *err)
{
	struct lh_model_result result = { 0 };
	for (size_t i = 0; i < n; i += s->model->batch) {
		size_t chunk = n - i < s->model->batch ? n - i : s->model->batch;
		run_chunk(s, sample_ids + i, 0, chunk, &result);
		if (!isfinite(result.loss_sum))
			return lh_updater_no_loss(s->model->name, s->model->blame(s->model, s->params, s->inputs, chunk), err);
	}
	*loss_sum += result.loss_sum;
	return 0;
}

static int check_block(const struct lh_engine_state *s, uint64_t offset, size_t n, struct lh_err *err)
{
	const uint64_t all = s->model->parameters;
	if (offset > all || n > all - offset)
		return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "block %llu + %zu of %llu",
				  (unsigned long long)offset, n, (unsigned long long)all);
	return 0;
}

static int cpu_gradient_read(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	int rc = check_block(s, offset, n, err);
	if (!rc && n)
		lh_updater_export(&s->updater, n, s->grads + offset, dst);
	return rc;
}

static const float *cpu_gradient_peek(const struct lh_engine_state *s, uint64_t offset, size_t n)
{
	return check_block(s, offset, n, NULL) ? NULL : s->grads + offset;
}

static int cpu_gradient_write(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src,
			      struct lh_err *err)
{
	int rc = check_block(s, offset, n, err);
	if (!rc && n)
		lh_updater_import(&s->updater, n, src, s->grads + offset);
	return rc;
}

static int cpu_parameters_read(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	int rc = check_block(s, offset, n, err);
	if (!rc && n)
		memcpy(dst, s->params + offset, n * sizeof *dst);
	return rc;
}

static int cpu_parameters_write(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src,
				struct lh_err *err)
{
	int rc = check_block(s, offset, n, err);
	if (!rc && n)
		memcpy(s->params + offset, src, n * sizeof *src);
	return rc;
}

static int cpu_update(struct lh_engine_state *s, uint64_t total_samples, struct lh_err *err)
{
	if (!total_samples)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "model %s: an update over no samples", s->model->name);
	struct lh_optim_step step;
	const size_t all = s->model->parameters, n = s->model->nparams;
	if (lh_updater_next(&s->updater, lh_optim_square_sum(all, s->grads), total_samples, &step) != LH_VERDICT_APPLY) {
		const size_t i = lh_updater_blame(s->tensors, n, s->grads);
		return lh_updater_no_gradient(&s->updater, s->model->name, i < n ? s->model->params[i].name : "no tensor", err);
	}
	for (size_t i = 0; i < n; i++) {
		const struct lh_optim_tensor *t = &s->tensors[i];
		lh_optim_apply(&step, t->decay, t->count, s->params + t->offset, s->grads + t->offset, s->moments + t->offset, all);
	}
	memset(s->grads, 0, s->model->parameters * sizeof *s->grads);
	return 0;
}

static uint64_t cpu_state_hash(const struct lh_engine_state *s)
{
	return lh_hash64(s->params, s->model->parameters * sizeof *s->params, 0);
}

static int cpu_evaluate(struct lh_engine_state *s, char metric[32], double *ret_value, double *ret_reference,
			struct lh_err *err)
{
	struct lh_model_result result = { 0 };
	const uint64_t n = s->source->held_out;
	for (uint64_t i = 0; i < n; i += s->model->batch)
		run_chunk(s, NULL, i, n - i < s->model->batch ? (size_t)(n - i) : s->model->batch, &result);
	if (!isfinite(result.loss_sum))
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM, "model %s: the held-out loss is not a finite number",
				  s->model->name);
	snprintf(metric, 32, "%s", s->source->accuracy ? "held_out_accuracy" : "held_out_loss_nats");
	*ret_value = s->source->accuracy ? (double)result.correct / (double)n : result.loss_sum / (double)n;
	*ret_reference = s->source->reference;
	return 0;
}

/* ---- the state as bytes: what the updater keeps, parameters, moments ---- */

static uint64_t cpu_state_bytes(const struct lh_engine_state *s)
{
	return sizeof s->updater.now + (1 + s->slots) * s->model->parameters * sizeof(float);
}

/* Move n bytes from `offset` on between the state and `bytes`. */
static int move_state(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *bytes, bool in, struct lh_err *err)
{
	const size_t vector = s->model->parameters * sizeof(float);
	const struct { void *at; size_t len; } pieces[] = {
		{ &s->updater.now, sizeof s->updater.now }, { s->params, vector }, { s->moments, s->slots * vector },
	};
	if (offset > cpu_state_bytes(s) || n > cpu_state_bytes(s) - offset)
		return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "state: bytes %llu + %zu of %llu",
				  (unsigned long long)offset, n, (unsigned long long)cpu_state_bytes(s));
	for (size_t i = 0; n && i < sizeof pieces / sizeof *pieces; i++) {
		if (offset >= pieces[i].len) {
			offset -= pieces[i].len;
			continue;
		}
		size_t run = pieces[i].len - offset < n ? pieces[i].len - (size_t)offset : n;
		uint8_t *at = (uint8_t *)pieces[i].at + offset;
		memcpy(in ? at : bytes, in ? bytes : at, run);
		bytes += run;
		n -= run;
		offset = 0;
	}
	return 0;
}

static int cpu_state_read(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err)
{
	return move_state(s, offset, n, dst, false, err);
}

static int cpu_state_write(struct lh_engine_state *s, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err)
{
	return move_state(s, offset, n, (uint8_t *)(uintptr_t)src, true, err);
}

static void param_shape(const void *ctx, size_t i, const char **ret_name, unsigned *ret_ndim, uint64_t *ret_shape)
{
	const struct lh_param *p = &((const struct lh_model *)ctx)->params[i];
	*ret_name = p->name;
	*ret_ndim = p->ndim;
	for (unsigned k = 0; k < p->ndim; k++)
		ret_shape[k] = p->shape[k];
}

static size_t cpu_state_map(const struct lh_engine_state *s, struct lh_state_tensor *ret, size_t cap)
{
	return lh_state_map_model(cpu_state_bytes(s), s->model->parameters, s->model->nparams, param_shape, s->model, ret, cap);
}

static void cpu_clear(struct lh_engine_state *s)
{
	memset(s->grads, 0, s->model->parameters * sizeof *s->grads);
}

static void cpu_flip_bit(struct lh_engine_state *s)
{
	uint32_t bits;
	float *p = s->params + s->model->parameters / 2;
	memcpy(&bits, p, sizeof bits);
	bits ^= 1;
	memcpy(p, &bits, sizeof bits);
}

const struct lh_engine_ops lh_engine_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.parameters = cpu_parameters,
	.tensors = cpu_tensors,
	.step = cpu_step,
	.gradient_read = cpu_gradient_read,
	.gradient_peek = cpu_gradient_peek,
	.gradient_write = cpu_gradient_write,
	.parameters_read = cpu_parameters_read,
	.parameters_write = cpu_parameters_write,
	.update = cpu_update,
	.state_hash = cpu_state_hash,
	.evaluate = cpu_evaluate,
	.state_bytes = cpu_state_bytes,
	.state_map = cpu_state_map,
	.state_read = cpu_state_read,
	.state_write = cpu_state_write,
	.clear = cpu_clear,
	.source = cpu_source,
	.open_source = cpu_open_source,
	.flip_bit = cpu_flip_bit,
	.close = cpu_close,
};
