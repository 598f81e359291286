/* net.h - a model's table run on a backend. */
#ifndef MODEL_NET_H
#define MODEL_NET_H

#include "model/plan.h"

struct lh_net {
	const struct lh_graph *graph;
	const struct lh_backend_ops *ops;
	struct lh_backend *backend;
	struct lh_plan *plan;
	void *params, *grads, *buffers, *arena; /* the backend's memory */
	void *copies;                           /* of parameters, in the activations' precision; NULL in fp32 */
	bool stale;                             /* the copies are not the parameters: made again by the next forward */
	double loss_scale;                      /* backward begins with it: gradients come so much larger; 1 when made */
	bool lent;                              /* params and grads are the caller's */
	bool training;                          /* batch statistics and random choices; true when made */
	uint64_t seed;                          /* of the random choices */
	uint64_t *spent_ns;                     /* [nodes][2], added to: forward, backward; NULL: not measured */
};

struct lh_net_result {
	double loss_sum;                        /* over samples, in nats */
	size_t hits;                            /* targets that the largest logit hit */
};

enum {
	LH_NET_SHARE = 1, /* activations that never live together share memory; else each has its own (tests) */
	LH_NET_LENT = 2,  /* parameters and gradients come by lh_net_lend */
};
/* graph must outlive the net. */
int lh_net_open(const struct lh_graph *graph, const struct lh_backend_ops *ops, const struct lh_backend_config *config,
		size_t microbatch, unsigned flags, struct lh_net **ret, struct lh_err *err);
/* The same on the first device, as fast as it goes. */
int lh_net_new(const struct lh_graph *graph, const struct lh_backend_ops *ops, size_t microbatch, unsigned flags,
	       struct lh_net **ret, struct lh_err *err);
/* LH_NET_LENT: use these vectors of the backend's memory until the next call; grads may be NULL where only forward runs. */
void lh_net_lend(struct lh_net *net, void *params, void *grads);
void lh_net_free(struct lh_net *net); /* NULL is fine */

/* Parameters and gradients of all tensors, in our layout; elements of the backend's size. Who writes net->params by
 * another way sets `stale`. */
int lh_net_put_params(struct lh_net *net, const void *host, struct lh_err *err);
int lh_net_get_grads(struct lh_net *net, void *host, struct lh_err *err);
int lh_net_zero_grads(struct lh_net *net, struct lh_err *err);

/* inputs[i]: input tensors in the order in which the table made them, n samples each: reals of the backend's size, or
 * int32_t, which are checked. They last until a backward. */
int lh_net_put_inputs(struct lh_net *net, const void *const *inputs, size_t n, struct lh_err *err);
/* inputs NULL: those that were put. ids: global sample ids [n] (NULL: 0, 1, ...). Adds to *result. */
int lh_net_forward(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
		   struct lh_net_result *result, struct lh_err *err);
/* After forward of the same samples: adds the gradient of loss_sum. */
int lh_net_backward(struct lh_net *net, const uint64_t *ids, size_t n, struct lh_err *err);
/* Forward and backward; a device is waited for once, at the end. */
int lh_net_step(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
		struct lh_net_result *result, struct lh_err *err);
/* When a loss is no number: forward once more, looking at each node's output. *ret: the first that is not finite, as "conv1
 * (conv2d)", one without a name as "relu after conv1"; "": all are. */
enum { LH_NET_BLAME_MAX = LH_NODE_NAME_MAX + 48 };
int lh_net_blame(struct lh_net *net, const void *const *inputs, const uint64_t *ids, size_t n,
		 char ret[LH_NET_BLAME_MAX], struct lh_err *err);
/* A tensor's value, as far as it is still there; right after forward the logits are. */
int lh_net_get(struct lh_net *net, int tensor, size_t n, void *host, struct lh_err *err);

#endif
