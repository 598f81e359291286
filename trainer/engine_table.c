/* A model of the zoo on a backend: engine `cpu` for these models, and engine `cuda`. Joins a table and its interpreter
 * (model/net.h), made-up data and an optimiser behind trainer/engine.h; the loop above knows none of them.
 *
 * Parameters and gradients are the backend's memory. Where that is the process's own the optimiser works in place;
 * else the device updates itself or, with `offload`, the host does, tensor by tensor, with the moments here. A microbatch
 * runs at once, since batch norm looks across it. Everything random comes from config->seed through separate streams. */
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/blas.h"
#include "backend/plugin.h"
#include "data/source.h"
#include "hash.h"
#include "model/net.h"
#include "model/zoo.h"
#include "optim/updater.h"
#include "state_map.h"

/* Elements that cross between host and device at a time where nobody wants more. */
enum { BLOCK = 1 << 20, PIECE = 16384 };

enum { STREAM_PARAMETERS = 1, STREAM_DROPOUT = 4 }; /* the others are the data's: data/source.c */

struct lh_engine_state {
	char model[LH_MODEL_SPEC_MAX];
	const struct lh_backend_ops *ops;
	struct lh_graph *graph;
	struct lh_net *net;
	struct lh_source *source;
	size_t microbatch;
	struct lh_updater updater;
	struct lh_optim_tensor *tensors;
	unsigned slots;                /* vectors of moments */
	void *moments;                 /* the device's where on_device is, else the host's */
	struct lh_backend_optim *on_device; /* NULL: updates are the host's */
	size_t suspects;               /* fp16: the first microbatch since the last update without a finite loss, */
	uint64_t *suspect_ids;         /* [microbatch] */
	float *block;                  /* parameters, then gradients, of one tensor; NULL where the backend's memory is ours */
	size_t block_elements;         /* of each */
	uint8_t *sample;               /* inputs and targets of one, as they are made; what making it needs */
	void *inputs[LH_NODE_INPUTS_MAX]; /* of a microbatch, tensor by tensor */
	size_t input_bytes[LH_NODE_INPUTS_MAX], ninputs;
};

static uint64_t stream(uint64_t seed, uint64_t which) { return lh_mix64(seed ^ lh_mix64(which)); }

static void table_close(struct lh_engine_state *s)
{
	if (!s)
		return;
	lh_source_close(s->source);
	if (s->on_device) {
		s->ops->optim_close(s->net->backend, s->on_device);
		s->ops->release(s->net->backend, s->moments);
		s->moments = NULL;
	}
	lh_net_free(s->net);
	lh_graph_free(s->graph);
	for (size_t k = 0; k < s->ninputs; k++)
		free(s->inputs[k]);
	free(s->sample);
	free(s->block);
	free(s->moments);
	free(s->tensors);
	free(s->suspect_ids);
	free(s);
}

static int table_open_source(const struct lh_peer_config *c, struct lh_source **ret, struct lh_err *err)
{
	struct lh_zoo_model m;
	bool drop = true;
	int rc = lh_zoo_find(c->model, &m, &drop, err);
	if (rc)
		return rc;
	const struct lh_input_shape shape = lh_zoo_input(&m);
	rc = lh_source_open(&shape, c->data, c->data_dir, c->seed, c->model, ret, err);
	return rc || !c->data_samples ? rc : lh_source_limit(*ret, c->data_samples, err);
}

static struct lh_source *table_source(struct lh_engine_state *s) { return s->source; }

/* Room for everything that lies on the host's side. */
static int open_room(struct lh_engine_state *s, struct lh_err *err)
{
	const struct lh_graph *g = s->graph;
	bool ok = (s->tensors = calloc(g->nparams, sizeof *s->tensors)) != NULL;
	ok = ok && (s->suspect_ids = calloc(s->microbatch, sizeof *s->suspect_ids));
	ok = ok && (s->sample = malloc(s->source->input_bytes + s->source->target_bytes + s->source->scratch_bytes));
	for (size_t i = 0; i < g->ntensors && ok; i++) {
		if (g->tensors[i].producer >= 0)
			continue;
		s->input_bytes[s->ninputs] = lh_shape_count(g->tensors[i].shape) * sizeof(float);
		s->inputs[s->ninputs] = malloc(s->microbatch * s->input_bytes[s->ninputs]);
		ok = s->inputs[s->ninputs++] != NULL;
	}
	s->block_elements = BLOCK;
	for (size_t i = 0; i < g->nparams; i++)
		s->block_elements = g->params[i].count > s->block_elements ? g->params[i].count : s->block_elements;
	if (ok && !s->ops->host_memory)
		ok = (s->block = malloc(2 * s->block_elements * sizeof *s->block)) != NULL;
	if (!ok)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s: %zu parameters", s->model, g->parameters);
	for (size_t i = 0; i < g->nparams; i++)
		s->tensors[i] = (struct lh_optim_tensor){ g->params[i].offset, g->params[i].count, g->params[i].decay,
							  g->params[i].frozen };
	return 0;
}

static int open_parameters(struct lh_engine_state *s, uint64_t seed, struct lh_err *err)
{
	float *initial = s->ops->host_memory ? s->net->params : malloc(s->graph->parameters * sizeof *initial);
	if (!initial)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s: %zu parameters", s->model, s->graph->parameters);
	lh_graph_init(s->graph, seed, initial);
	s->net->stale = true;
	if (s->ops->host_memory)
		return 0;
	int rc = lh_net_put_params(s->net, initial, err);
	free(initial);
	return rc;
}

/* Moments lie where updates are made: on the device, if it can and nobody wants its memory for more (`offload`). */
static int open_updates(struct lh_engine_state *s, bool offload, struct lh_err *err)
{
	const size_t bytes = (s->slots * s->graph->parameters + 1) * sizeof(float);
	void *moments = NULL;
	if (offload || !s->ops->optim_open) {
		s->moments = calloc(1, bytes);
		return s->moments ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s: its optimiser's state", s->model);
	}
	int rc = s->ops->alloc(s->net->backend, bytes, &moments, err);
	if (!rc)
		rc = s->ops->optim_open(s->net->backend, &s->updater.optim, s->tensors, s->graph->nparams, &s->on_device, err);
	if (rc && moments)
		s->ops->release(s->net->backend, moments);
	if (rc)
		lh_err_wrap(err, "model %s: its optimiser", s->model);
	else
		s->moments = moments;
	return rc;
}

static int open_model(struct lh_engine_state *s, const struct lh_peer_config *c, struct lh_err *err)
{
	_Static_assert(sizeof(int32_t) == sizeof(float), "one size for all inputs");
	const struct lh_backend_config config = { .device = c->gpu, .deterministic = c->deterministic };
	if (s->ops->element_bytes != sizeof(float))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "backend %s: parameters are not floats", s->ops->name);
	int rc = lh_zoo_build(c->model, &s->graph, err);
	if (!rc)
		rc = lh_net_open(s->graph, s->ops, &config, c->microbatch, LH_NET_SHARE, &s->net, err);
	if (!rc)
		rc = open_room(s, err);
	if (!rc)
		rc = open_updates(s, c->offload, err);
	if (!rc)
		rc = open_parameters(s, stream(c->seed, STREAM_PARAMETERS), err);
	if (!rc)
		s->net->seed = stream(c->seed, STREAM_DROPOUT);
	return rc;
}

static int table_open(const struct lh_peer_config *c, struct lh_engine_state **ret, struct lh_err *err)
{
	if (!(c->learning_rate > 0 && c->learning_rate <= 1))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "learning rate %g: not in 0 ... 1", c->learning_rate);
	struct lh_engine_state *s = calloc(1, sizeof *s);
	if (!s)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", c->model);
	s->microbatch = c->microbatch;
	snprintf(s->model, sizeof s->model, "%s", c->model);
	int rc = lh_backend_find(lh_engine_names[c->engine], c->precision, &s->ops, err);
	if (!rc) {
		s->updater = lh_updater_begin(c, s->ops->precision == LH_PRECISION_FP16);
		s->slots = lh_optim_slots(&s->updater.optim);
	}
	if (!rc && s->ops == &lh_backend_cpu)
		lh_blas_open();
	if (!rc)
		rc = table_open_source(c, &s->source, err);
	if (!rc)
		rc = open_model(s, c, err);
	if (rc) {
		table_close(s);
		return rc;
	}
	*ret = s;
	return 0;
}

static uint64_t table_skipped(const struct lh_engine_state *s) { return s->updater.now.scale.skipped; }

static uint64_t table_parameters(const struct lh_engine_state *s) { return s->graph->parameters; }

static size_t table_tensors(const struct lh_engine_state *s, struct lh_tensor *ret, size_t cap)
{
	for (size_t i = 0; i < s->graph->nparams && i < cap; i++) {
		const struct lh_graph_param *p = &s->graph->params[i];
		size_t cols = p->ndim > 1 ? p->shape[p->ndim - 1] : 1;
		ret[i] = (struct lh_tensor){ .name = p->name, .offset = p->offset, .rows = p->count / cols, .cols = cols };
	}
	return s->graph->nparams;
}

/* ---- samples ---- */

static void make_sample(struct lh_engine_state *s, bool held_out, uint64_t id, size_t place)
{
	const uint8_t *from = s->sample;
	uint8_t *targets = s->sample + s->source->input_bytes;
	lh_source_sample(s->source, held_out, id, s->sample, targets, targets + s->source->target_bytes);
	for (size_t k = 0; k < s->ninputs; k++) {
		memcpy((uint8_t *)s->inputs[k] + place * s->input_bytes[k], from, s->input_bytes[k]);
		from += s->input_bytes[k];
	}
}

/* The given ids of the training set, or samples first ... of the held-out set. */
static int run(struct lh_engine_state *s, const uint64_t *ids, uint64_t first, size_t n, struct lh_net_result *result,
	       struct lh_err *err)
{
	for (size_t i = 0; i < n; i++)
		make_sample(s, !ids, ids ? ids[i] : first + i, i);
	s->net->training = ids != NULL;
	s->net->loss_scale = s->updater.now.scale.scale;
	if (ids)
		return lh_net_step(s->net, (const void *const *)s->inputs, ids, n, result, err);
	return lh_net_forward(s->net, (const void *const *)s->inputs, ids, n, result, err);
}

/* The loss of these samples is no number: which layer makes it so? */
static int stop_at_layer(struct lh_engine_state *s, const uint64_t *ids, size_t n, struct lh_err *err)
{
	char layer[LH_NET_BLAME_MAX];
	for (size_t i = 0; i < n; i++)
		make_sample(s, false, ids[i], i);
	s->net->training = true;
	int rc = lh_net_blame(s->net, (const void *const *)s->inputs, ids, n, layer, err);
	return rc ? rc : lh_updater_no_loss(s->model, layer, err);
}

/* In fp16 a loss that is no number has a gradient that is none, and the update decides. Elsewhere it is the end. */
static int table_step(struct lh_engine_state *s, const uint64_t *sample_ids, size_t n, double *loss_sum,
		      struct lh_err *err)
{
	struct lh_net_result result = { 0 };
	for (size_t i = 0, chunk; i < n; i += chunk) {
		chunk = n - i < s->microbatch ? n - i : s->microbatch;
		int rc = run(s, sample_ids + i, 0, chunk, &result, err);
		if (rc)
			return rc;
		if (isfinite(result.loss_sum) || s->suspects)
			continue;
		if (s->ops->precision != LH_PRECISION_FP16)
			return stop_at_layer(s, sample_ids + i, chunk, err);
		s->suspects = chunk;
		memcpy(s->suspect_ids, sample_ids + i, chunk * sizeof *sample_ids);
	}
	*loss_sum += result.loss_sum;
	return 0;
}

static int table_evaluate(struct lh_engine_state *s, char metric[32], double *ret_value, double *ret_reference,
			  struct lh_err *err)
{
	struct lh_net_result result = { 0 };
	const size_t n = s->source->held_out;
	for (size_t i = 0; i < n; i += s->microbatch) {
		int rc = run(s, NULL, i, n - i < s->microbatch ? n - i : s->microbatch, &result, err);
		if (rc)
			return rc;
	}
	if (!isfinite(result.loss_sum))
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM, "model %s: the held-out loss is not a finite number", s->model);
	snprintf(metric, 32, "%s", s->source->accuracy ? "held_out_accuracy" : "held_out_loss_nats");
	*ret_value = s->source->accuracy ? (double)result.hits / (double)n : result.loss_sum / (double)n;
	*ret_reference = s->source->reference;
	return 0;
}

/* ---- vectors of the backend's memory ---- */

static int vector_read(struct lh_engine_state *s, const void *vector, uint64_t offset, size_t n, float *dst,
		       struct lh_err *err)
{
	if (offset > s->graph->parameters || n > s->graph->parameters - offset)
		return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "block %llu + %zu of %zu", (unsigned long long)offset, n,
				  s->graph->parameters);
	return n ? s->ops->get(s->net->backend, dst, (const float *)vector + offset, n * sizeof *dst, err) : 0;
}

static int vector_write(struct lh_engine_state *s, void *vector, uint64_t offset, size_t n, const float *src,
			struct lh_err *err)
{
	if (offset > s->graph->parameters || n > s->graph->parameters - offset)
		return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "block %llu + %zu of %zu", (unsigned long long)offset, n,
				  s->graph->parameters);
	return n ? s->ops->put(s->net->backend, (float *)vector + offset, src, n * sizeof *src, err) : 0;
}

static int table_gradient_read(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	int rc = vector_read(s, s->net->grads, offset, n, dst, err);
	if (!rc)
		lh_updater_export(&s->updater, n, dst, dst);
	return rc;
}

static int table_gradient_write(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src,
				struct lh_err *err)
{
	int rc = 0;
	if (s->updater.now.scale.scale == 1)
		return vector_write(s, s->net->grads, offset, n, src, err);
	for (size_t at = 0, run; at < n && !rc; at += run) { /* a loss scale: by pieces through the stack */
		float piece[PIECE];
		run = n - at < PIECE ? n - at : PIECE;
		lh_updater_import(&s->updater, run, src + at, piece);
		rc = vector_write(s, s->net->grads, offset + at, run, piece, err);
	}
	return rc;
}

static int table_parameters_read(struct lh_engine_state *s, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	return vector_read(s, s->net->params, offset, n, dst, err);
}

static int table_parameters_write(struct lh_engine_state *s, uint64_t offset, size_t n, const float *src,
				  struct lh_err *err)
{
	s->net->stale = true;
	return vector_write(s, s->net->params, offset, n, src, err);
}

/* ---- the update ---- */

/* A tensor's part of a vector, where the host can read it: in place, or in `block`. */
static int at_hand(struct lh_engine_state *s, void *vector, const struct lh_optim_tensor *t, float *block, float **ret,
		   struct lh_err *err)
{
	*ret = s->ops->host_memory ? (float *)vector + t->offset : block;
	return s->ops->host_memory ? 0 : vector_read(s, vector, t->offset, t->count, block, err);
}

static int square_sum(struct lh_engine_state *s, double *ret, struct lh_err *err)
{
	int rc = 0;
	*ret = 0;
	if (s->on_device)
		return s->ops->optim_square_sum(s->net->backend, s->net->grads, s->graph->parameters, ret, err);
	for (size_t i = 0; i < s->graph->nparams && !rc; i++) {
		float *grads;
		rc = at_hand(s, s->net->grads, &s->tensors[i], s->block, &grads, err);
		if (!rc)
			*ret += lh_optim_square_sum(s->tensors[i].count, grads);
	}
	return rc;
}

static int stop_at_tensor(struct lh_engine_state *s, struct lh_err *err)
{
	for (size_t i = 0; i < s->graph->nparams; i++) {
		float *grads;
		int rc = at_hand(s, s->net->grads, &s->tensors[i], s->block, &grads, err);
		if (rc)
			return rc;
		if (!isfinite(lh_optim_square_sum(s->tensors[i].count, grads)))
			return lh_updater_no_gradient(&s->updater, s->model, s->graph->params[i].name, err);
	}
	return lh_updater_no_gradient(&s->updater, s->model, "no tensor", err);
}

static int apply_one(struct lh_engine_state *s, const struct lh_optim_step *step, const struct lh_optim_tensor *t,
		 struct lh_err *err)
{
	float *params, *grads;
	int rc = at_hand(s, s->net->params, t, s->block, &params, err);
	if (!rc)
		rc = at_hand(s, s->net->grads, t, s->block + s->block_elements, &grads, err);
	if (rc)
		return rc;
	lh_optim_apply(step, t->decay, t->count, params, grads, (float *)s->moments + t->offset,
		       s->graph->parameters);
	return s->ops->host_memory ? 0 : vector_write(s, s->net->params, t->offset, t->count, params, err);
}

static int apply(struct lh_engine_state *s, const struct lh_optim_step *step, struct lh_err *err)
{
	int rc = 0;
	if (s->on_device)
		return s->ops->optim_step(s->net->backend, s->on_device, step, s->net->params, s->net->grads, s->moments,
					  s->graph->parameters, err);
	for (size_t i = 0; i < s->graph->nparams && !rc; i++)
		if (!s->tensors[i].frozen)
			rc = apply_one(s, step, &s->tensors[i], err);
	return rc;
}

static int table_update(struct lh_engine_state *s, uint64_t total_samples, struct lh_err *err)
{
	struct lh_optim_step step;
	double squares;
	if (!total_samples)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "model %s: an update over no samples", s->model);
	int rc = square_sum(s, &squares, err);
	if (rc)
		return rc;
	const enum lh_verdict verdict = lh_updater_next(&s->updater, squares, total_samples, &step);
	if (verdict == LH_VERDICT_STOP)
		return s->suspects ? stop_at_layer(s, s->suspect_ids, s->suspects, err) : stop_at_tensor(s, err);
	if (verdict == LH_VERDICT_APPLY)
		rc = apply(s, &step, err);
	s->net->stale = true;
	s->suspects = 0;
	return rc ? rc : lh_net_zero_grads(s->net, err);
}

/* ---- the state as bytes: what the updater keeps, parameters, moments ---- */

/* A device that is gone has no state; whoever asks next for anything that can fail is told so. */
static uint64_t table_state_hash(const struct lh_engine_state *s)
{
	struct lh_hash64_state h;
	if (s->ops->host_memory)
		return lh_hash64(s->net->params, s->graph->parameters * sizeof(float), 0);
	lh_hash64_init(&h, 0);
	for (size_t at = 0, n; at < s->graph->parameters; at += n) {
		n = s->graph->parameters - at < s->block_elements ? s->graph->parameters - at : s->block_elements;
		if (vector_read((struct lh_engine_state *)(uintptr_t)s, s->net->params, at, n, s->block, NULL))
			return 0;
		lh_hash64_update(&h, s->block, n * sizeof *s->block);
	}
	return lh_hash64_final(&h);
}

static uint64_t table_state_bytes(const struct lh_engine_state *s)
{
	return sizeof s->updater.now + (1 + s->slots) * s->graph->parameters * sizeof(float);
}

/* n bytes at `at`, which is memory of the backend's or (`near`) ours. */
static int move_piece(struct lh_engine_state *s, char *at, bool near, size_t n, uint8_t *bytes, bool in,
		      struct lh_err *err)
{
	if (!near)
		return in ? s->ops->put(s->net->backend, at, bytes, n, err) : s->ops->get(s->net->backend, bytes, at, n, err);
	memcpy(in ? (void *)at : bytes, in ? bytes : (void *)at, n);
	return 0;
}

/* Move n bytes from `offset` on between the state and `bytes`. */
static int move_state(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *bytes, bool in, struct lh_err *err)
{
	const size_t vector = s->graph->parameters * sizeof(float);
	const struct { void *at; size_t len; bool near; } pieces[] = {
		{ &s->updater.now, sizeof s->updater.now, true }, { s->net->params, vector, false },
		{ s->moments, s->slots * vector, !s->on_device },
	};
	s->net->stale |= in;
	int rc = 0;
	if (offset > table_state_bytes(s) || n > table_state_bytes(s) - offset)
		return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "state: bytes %llu + %zu of %llu",
				  (unsigned long long)offset, n, (unsigned long long)table_state_bytes(s));
	for (size_t i = 0; n && i < sizeof pieces / sizeof *pieces && !rc; i++) {
		if (offset >= pieces[i].len) {
			offset -= pieces[i].len;
			continue;
		}
		const size_t len = pieces[i].len - offset < n ? pieces[i].len - (size_t)offset : n;
		rc = move_piece(s, (char *)pieces[i].at + offset, pieces[i].near, len, bytes, in, err);
		bytes += len;
		n -= len;
		offset = 0;
	}
	return rc;
}

static int table_state_read(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err)
{
	return move_state(s, offset, n, dst, false, err);
}

static int table_state_write(struct lh_engine_state *s, uint64_t offset, size_t n, const uint8_t *src,
			     struct lh_err *err)
{
	return move_state(s, offset, n, (uint8_t *)(uintptr_t)src, true, err);
}

static void param_shape(const void *ctx, size_t i, const char **ret_name, unsigned *ret_ndim, uint64_t *ret_shape)
{
	const struct lh_graph_param *p = &((const struct lh_graph *)ctx)->params[i];
	*ret_name = p->name;
	*ret_ndim = p->ndim;
	for (unsigned k = 0; k < p->ndim; k++)
		ret_shape[k] = p->shape[k];
}

static size_t table_state_map(const struct lh_engine_state *s, struct lh_state_tensor *ret, size_t cap)
{
	return lh_state_map_model(table_state_bytes(s), s->graph->parameters, s->graph->nparams, param_shape, s->graph, ret, cap);
}

/* ---- running statistics: of the samples that this peer has seen ---- */

static size_t table_own_map(const struct lh_engine_state *s, struct lh_state_tensor *ret, size_t cap)
{
	for (size_t i = 0; i < s->graph->nbuffers && i < cap; i++) {
		const struct lh_graph_buffer *b = &s->graph->buffers[i];
		ret[i] = (struct lh_state_tensor){ .kind = LH_STATE_BUFFER, .type = LH_STATE_F32, .ndim = 1,
						   .shape = { b->count } };
		snprintf(ret[i].name, sizeof ret[i].name, "%s", b->name);
	}
	return s->graph->nbuffers;
}

static int check_own(const struct lh_engine_state *s, uint64_t offset, size_t n, struct lh_err *err)
{
	const uint64_t all = s->graph->buffer_elements * sizeof(float);
	if (offset <= all && n <= all - offset)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "running statistics: bytes %llu + %zu of %llu",
			  (unsigned long long)offset, n, (unsigned long long)all);
}

static int table_own_read(struct lh_engine_state *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err)
{
	int rc = check_own(s, offset, n, err);
	return rc ? rc : s->ops->get(s->net->backend, dst, (char *)s->net->buffers + offset, n, err);
}

static int table_own_write(struct lh_engine_state *s, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err)
{
	int rc = check_own(s, offset, n, err);
	return rc ? rc : s->ops->put(s->net->backend, (char *)s->net->buffers + offset, src, n, err);
}

static void table_clear(struct lh_engine_state *s) { lh_net_zero_grads(s->net, NULL); }

static void table_flip_bit(struct lh_engine_state *s)
{
	const size_t at = s->graph->parameters / 2;
	uint32_t bits;
	float p;
	if (vector_read(s, s->net->params, at, 1, &p, NULL))
		return;
	memcpy(&bits, &p, sizeof bits);
	bits ^= 1;
	memcpy(&p, &bits, sizeof p);
	table_parameters_write(s, at, 1, &p, NULL);
}

const struct lh_engine_ops lh_engine_table = {
	.name = "table",
	.open = table_open,
	.parameters = table_parameters,
	.tensors = table_tensors,
	.step = table_step,
	.gradient_read = table_gradient_read,
	.gradient_write = table_gradient_write,
	.parameters_read = table_parameters_read,
	.parameters_write = table_parameters_write,
	.update = table_update,
	.skipped = table_skipped,
	.state_hash = table_state_hash,
	.evaluate = table_evaluate,
	.state_bytes = table_state_bytes,
	.state_map = table_state_map,
	.own_map = table_own_map,
	.own_read = table_own_read,
	.own_write = table_own_write,
	.state_read = table_state_read,
	.state_write = table_state_write,
	.clear = table_clear,
	.source = table_source,
	.open_source = table_open_source,
	.flip_bit = table_flip_bit,
	.close = table_close,
};
