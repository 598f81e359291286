/* What one peer needs, and how large a microbatch may be; see memory.h. */
#include "memory.h"

#include "codec/codec.h"
#include "comm/allreduce.h"
#include "model/own.h"
#include "data/source.h"
#include "engine.h"
#include "model/model.h"
#include "model/plan.h"
#include "model/zoo.h"
#include "optim/optimizer.h"

/* fp32 vectors as long as the model that a strategy and a codec keep beside the model. */
static unsigned vectors(const struct lh_peer_config *c)
{
	const bool elastic = c->membership == LH_MEMBERSHIP_ELASTIC;
	const struct lh_optim optim = lh_optim_of(c);
	unsigned n = 0;
	switch (c->sync.strategy) {
	case LH_STRATEGY_EXACT: n = elastic; break;
	case LH_STRATEGY_ETA: break;
	case LH_STRATEGY_DELAYED: n = 2; break;
	default: /* anchor, momentum, what is under way, what came; the engine's state as of the last commit */
		n = 4 + (elastic ? 1 + lh_optim_slots(&optim) : 0);
		break;
	}
	return n + (c->codec.error_feedback ? elastic ? 2 : 1 : 0) + (c->wire == LH_WIRE_POWERSGD);
}

static uint64_t exchange_bytes(const struct lh_peer_config *c, uint64_t parameters)
{
	const uint64_t vector = parameters * sizeof(float);
	/* Of each part one place a child: all children together have no more than the vector on its way up, and as much down. */
	const uint64_t parts = 2 * vector < LH_ALLREDUCE_BUFFER_MAX ? 2 * vector : LH_ALLREDUCE_BUFFER_MAX;
	return vectors(c) * vector + (c->size > 1 ? parts : 0);
}

static int of_own_model(const struct lh_peer_config *c, struct lh_memory_need *n, uint64_t *ret_parameters, struct lh_err *err)
{
	struct lh_model *m = NULL;
	int rc = lh_own_new(c->model, &m, err);
	if (rc)
		return rc;
	*ret_parameters = m->parameters;
	n->activations = LH_OWN_ACTIVATIONS;
	n->data = c->microbatch * (m->input_bytes + m->target_bytes);
	n->weights = n->gradients = m->parameters * sizeof(float);
	lh_model_free(m);
	return 0;
}

static int of_table(const struct lh_peer_config *c, const struct lh_backend_ops *backend,
		    size_t microbatch, struct lh_memory_need *n, uint64_t *ret_parameters, struct lh_err *err)
{
	struct lh_graph *g = NULL;
	struct lh_plan *p = NULL;
	int rc = lh_zoo_build(c->model, &g, err);
	if (!rc)
		rc = lh_plan_new(g, backend, microbatch, true, &p, err);
	if (!rc) {
		*ret_parameters = g->parameters;
		n->weights = p->weights + p->buffers + p->copies;
		n->gradients = p->gradients;
		n->activations = p->activations;
		for (size_t t = 0; t < g->ntensors; t++)
			if (g->tensors[t].producer < 0) /* as a sample comes, and gathered by inputs */
				n->data += 2 * microbatch * lh_shape_count(g->tensors[t].shape) * sizeof(float);
	}
	lh_plan_free(p);
	lh_graph_free(g);
	return rc;
}

/* What is read ahead of a store and kept of it. A set that is not here to be asked is left out. */
static void add_store(const struct lh_peer_config *c, size_t microbatch, struct lh_memory_need *n)
{
	const struct lh_store_config *s = &c->store;
	const struct lh_engine_ops *ops = lh_engine_of(c);
	struct lh_source *source;
	if (!*s->host || !ops->open_source || ops->open_source(c, &source, NULL))
		return;
	n->stored = source->stored_bytes;
	const uint64_t sample = s->sample_bytes ? s->sample_bytes : n->stored;
	const uint64_t all = source->items ? source->items : c->target_batch * c->epochs; /* at most so many come */
	uint64_t cached = s->cache_bytes / sample;
	lh_source_close(source);
	if (sample < n->stored) /* its content is made here */
		return;
	cached = cached < all ? cached : all;
	n->data += ((s->prefetch + 1) * microbatch + cached) * n->stored;
}

int lh_memory_need(const struct lh_peer_config *c, const struct lh_backend_ops *backend,
		   size_t microbatch, struct lh_memory_need *ret, struct lh_err *err)
{
	struct lh_memory_need n = { .program = LH_MEMORY_PROGRAM };
	uint64_t parameters = c->parameters;
	int rc = 0;
	if (backend && lh_own_is(c->model))
		rc = of_own_model(c, &n, &parameters, err);
	else if (backend)
		rc = of_table(c, backend, microbatch, &n, &parameters, err);
	if (rc)
		return rc;
	if (backend) {
		const struct lh_optim o = lh_optim_of(c);
		n.optimizer = lh_optim_slots(&o) * parameters * sizeof(float);
	}
	add_store(c, microbatch, &n);
	n.fixed = backend ? backend->fixed_bytes : 0;
	n.device = n.weights + n.gradients + n.optimizer + n.activations + n.fixed;
	n.exchange = exchange_bytes(c, parameters);
	n.host = n.data + n.exchange + n.program + (backend && !backend->host_memory ? 0 : n.device);
	*ret = n;
	return 0;
}

bool lh_memory_fits(const struct lh_peer_config *c, const struct lh_memory_need *need, uint64_t have_host,
		    uint64_t have_device, bool host_memory)
{
	const double n = c->size;
	return n * (double)need->host <= LH_MEMORY_FILL * (double)have_host &&
	       (host_memory || !have_device || n * (double)need->device <= LH_MEMORY_FILL * (double)have_device);
}

int lh_memory_microbatch(const struct lh_peer_config *c, const struct lh_backend_ops *backend,
			 uint64_t have_host, uint64_t have_device, size_t *ret_microbatch, struct lh_memory_need *ret_need,
			 struct lh_err *err)
{
	double sum = 0, most = 0;
	for (unsigned i = 0; i < c->size; i++) {
		sum += c->peers[i].samples_per_s;
		most = c->peers[i].samples_per_s > most ? c->peers[i].samples_per_s : most;
	}
	const double share = sum > 0 ? (double)c->target_batch * most / sum : (double)c->target_batch;
	size_t n = LH_MEMORY_MICROBATCH_MAX;
	while (n > 1 && (double)n > share)
		n /= 2;
	for (;; n /= 2) {
		int rc = lh_memory_need(c, backend, n, ret_need, err);
		if (rc)
			return rc;
		if (n == 1 || lh_memory_fits(c, ret_need, have_host, have_device, !backend || backend->host_memory))
			break;
	}
	*ret_microbatch = n;
	return 0;
}
