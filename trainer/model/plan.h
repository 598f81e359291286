/* plan.h - where everything of a model lies before it starts: how many bytes, and which at what time.
 *
 * A microbatch is 2 N steps, N the number of nodes: step i runs node i forward, step 2 N - 1 - i backward. From the
 * table alone follow the first and the last step that touches each tensor, each gradient of one, and what a node keeps;
 * two that are never alive together may share memory. Parameters, their gradients and the optimiser's numbers live
 * always.
 */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "model/graph.h"

enum { LH_PLAN_ALIGN = 64 };
#define LH_PLAN_NONE SIZE_MAX

struct lh_plan {
	size_t microbatch;
	/* Offsets in the arena of activations; LH_PLAN_NONE where there is none. */
	size_t *value;     /* of tensors */
	size_t *gradient;  /* of tensors */
	size_t *state;     /* of nodes */
	size_t scratch;    /* one for all, at the arena's end */
	size_t *copy;      /* of parameters, in a block of its own: the copies that products read; LH_PLAN_NONE: none */
	bool *adds;        /* [node][LH_NODE_INPUTS_MAX]: its gradient is added to what is there */
	/* Bytes. activations: the arena, with gradients of activations, kept state and scratch. live: the most that any
	 * step needs at once (below it no arrangement could go). */
	size_t weights, gradients, buffers, copies, activations, live, scratch_bytes;
	size_t activation_bytes, element_bytes; /* of an activation; of parameters, gradients and buffers */
};

/* share: false gives every block memory of its own, which tests compare with. */
int lh_plan_new(const struct lh_graph *g, const struct lh_backend_ops *backend, size_t microbatch, bool share,
		struct lh_plan **ret, struct lh_err *err);
/* Bytes of an element of a tensor. */
size_t lh_plan_element(const struct lh_plan *p, const struct lh_graph *g, int tensor);
void lh_plan_free(struct lh_plan *p); /* NULL is fine */

#endif
