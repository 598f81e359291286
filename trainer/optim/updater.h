/* updater.h - what an engine keeps to decide its updates: settings, how many there were, the loss scale. Both engines that
 * train hold one; where parameters, gradients and moments lie is theirs.
 *
 * Whether an update is applied is decided from the sum over all peers, which has the same bytes on each of them: so all
 * decide alike, without another message (docs/decisions/0028-numerics.md). A gradient that is not finite must therefore
 * not become finite on its way: lh_updater_export makes NaN of infinities, which every wire carries.
 */
#ifndef OPTIM_UPDATER_H
#define OPTIM_UPDATER_H

#include "optim/loss_scale.h"
#include "optim/optimizer.h"

struct lh_updater_state { /* beside parameters and moments all that decides the updates to come; no padding */
	uint64_t updates;
	struct lh_loss_scale scale;
};

struct lh_updater {
	struct lh_optim optim;
	struct lh_loss_scale_settings scaling;
	struct lh_updater_state now;
};

/* fp16: with loss scaling, else without. */
struct lh_updater lh_updater_begin(const struct lh_peer_config *c, bool fp16);

/* The gradient's vector is the sum over `samples`, times now.scale.scale; square_sum of it as it lies. APPLY: *ret_step is
 * this update's; SKIP: leave it out and forget the gradient; STOP: it is not finite and never will be. */
enum lh_verdict lh_updater_next(struct lh_updater *u, double square_sum, uint64_t samples, struct lh_optim_step *ret_step);

/* A block of the gradient as the other peers need it: divided by the loss scale, whatever is not finite as NaN. And back. */
void lh_updater_export(const struct lh_updater *u, size_t n, const float *own, float *ret);
void lh_updater_import(const struct lh_updater *u, size_t n, const float *sum, float *ret);

/* The first tensor with a gradient that is not finite, or `ntensors`. */
size_t lh_updater_blame(const struct lh_optim_tensor *tensors, size_t ntensors, const float *grads);

/* Why training ends, in one line. layer: the first whose output is not finite; NULL, "": none. */
int lh_updater_no_loss(const char *model, const char *layer, struct lh_err *err);
int lh_updater_no_gradient(const struct lh_updater *u, const char *model, const char *tensor, struct lh_err *err);

#endif
