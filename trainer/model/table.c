/* A model of the zoo behind struct lh_model, on the cpu backend. Parameters and gradients are the caller's vectors; inputs
 * and targets come sample by sample as bytes in the table's order and are gathered into one array an input. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "model/model.h"
#include "model/net.h"
#include "model/zoo.h"

struct table {
	struct lh_model model; /* first: the callers' pointer */
	struct lh_graph *graph;
	struct lh_net *net;
	char name[LH_NODE_NAME_MAX];
	unsigned inputs;
	void *gathered[LH_NODE_INPUTS_MAX];
	size_t bytes[LH_NODE_INPUTS_MAX]; /* of one sample; the last input is the targets */
};

static void table_free(struct lh_model *m)
{
	struct table *t = (struct table *)m;
	for (unsigned k = 0; k < t->inputs; k++)
		free(t->gathered[k]);
	lh_net_free(t->net);
	lh_graph_free(t->graph);
	free(t->model.params);
	free(t);
}

static void gather(struct table *t, const uint8_t *inputs, const uint8_t *targets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (unsigned k = 0; k + 1 < t->inputs; k++) {
			memcpy((char *)t->gathered[k] + i * t->bytes[k], inputs, t->bytes[k]);
			inputs += t->bytes[k];
		}
		memcpy((char *)t->gathered[t->inputs - 1] + i * t->bytes[t->inputs - 1], targets, t->bytes[t->inputs - 1]);
		targets += t->bytes[t->inputs - 1];
	}
}

/* What cannot be run (an id beyond the vocabulary) has no loss. */
static void table_run(struct lh_model *m, const real *params, const uint8_t *inputs, const uint8_t *targets, size_t n,
		      real *grads, struct lh_model_result *result)
{
	struct table *t = (struct table *)m;
	struct lh_net_result r = { 0 };
	gather(t, inputs, targets, n);
	lh_net_lend(t->net, (void *)(uintptr_t)params, grads);
	t->net->training = grads != NULL;
	t->net->seed = m->seed;
	int rc = lh_net_forward(t->net, (const void *const *)t->gathered, m->sample_ids, n, &r, NULL);
	if (!rc && grads)
		rc = lh_net_backward(t->net, m->sample_ids, n, NULL);
	result->loss_sum += rc ? (double)NAN : r.loss_sum;
	result->correct += r.hits;
}

static void list_params(struct table *t)
{
	const struct lh_graph *g = t->graph;
	struct lh_model *m = &t->model;
	for (size_t i = 0; i < g->nparams; i++) {
		const struct lh_graph_param *from = &g->params[i];
		struct lh_param *p = &m->params[i];
		*p = (struct lh_param){ .ndim = from->ndim, .offset = from->offset, .count = from->count,
					.centre = (real)from->centre, .spread = (real)from->spread, .decay = from->decay };
		memcpy(p->shape, from->shape, sizeof p->shape);
		snprintf(p->name, sizeof p->name, "%s", from->name);
	}
	m->nparams = g->nparams;
	m->parameters = g->parameters;
}

static int list_inputs(struct table *t, size_t batch)
{
	const struct lh_graph *g = t->graph;
	for (size_t i = 0; i < g->ntensors; i++)
		if (g->tensors[i].producer < 0) {
			t->bytes[t->inputs] = lh_shape_count(g->tensors[i].shape) * sizeof(float);
			t->gathered[t->inputs] = malloc(batch * t->bytes[t->inputs]);
			if (!t->gathered[t->inputs++])
				return -ENOMEM;
		}
	for (unsigned k = 0; k < t->inputs; k++)
		*(k + 1 < t->inputs ? &t->model.input_bytes : &t->model.target_bytes) += t->bytes[k];
	return 0;
}

static void table_init(const struct lh_model *m, uint64_t seed, real *params)
{
	const struct table *t = (const struct table *)m;
	float *initial = (float *)params; /* real is float here: see lh_table_new */
	lh_graph_init(t->graph, seed, initial);
}

int lh_table_new(const char *spec, size_t batch, struct lh_model **ret, struct lh_err *err)
{
	_Static_assert(sizeof(int32_t) == sizeof(float), "one size for all inputs");
	struct table *t = calloc(1, sizeof *t);
	int rc = t && sizeof(real) == sizeof(float) ? lh_zoo_build(spec, &t->graph, err) : -ENOMEM;
	if (!rc) {
		snprintf(t->name, sizeof t->name, "%s", spec);
		t->model = (struct lh_model){ .name = t->name, .batch = batch, .run = table_run, .free = table_free,
					      .init = table_init };
		rc = lh_net_new(t->graph, &lh_backend_cpu, batch, LH_NET_SHARE | LH_NET_LENT, &t->net, err);
	}
	if (!rc && (!(t->model.params = calloc(t->graph->nparams, sizeof *t->model.params)) || list_inputs(t, batch)))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", spec);
	if (rc) {
		if (t)
			table_free(&t->model);
		return rc;
	}
	list_params(t);
	*ret = &t->model;
	return 0;
}
