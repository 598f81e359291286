#include "optim/updater.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "longhaul/peer.h"

struct lh_updater lh_updater_begin(const struct lh_peer_config *c, bool fp16)
{
	static const struct lh_loss_scale_settings on = LH_LOSS_SCALE_FP16, off = LH_LOSS_SCALE_OFF;
	struct lh_updater u = { .optim = lh_optim_of(c), .scaling = fp16 ? on : off };
	u.now.scale = lh_loss_scale_begin(&u.scaling);
	return u;
}

enum lh_verdict lh_updater_next(struct lh_updater *u, double square_sum, uint64_t samples, struct lh_optim_step *ret_step)
{
	const double scale = 1.0 / (double)samples / u->now.scale.scale;
	enum lh_verdict v = lh_loss_scale_next(&u->scaling, &u->now.scale, isfinite(square_sum));
	if (v == LH_VERDICT_APPLY)
		lh_optim_begin(&u->optim, ++u->now.updates, scale, sqrt(square_sum) * scale, ret_step);
	return v;
}

/* x - x is 0 for a number and NaN for what is none. */
void lh_updater_export(const struct lh_updater *u, size_t n, const float *own, float *ret)
{
	const float by = (float)(1 / u->now.scale.scale), nan = NAN;
	for (size_t i = 0; i < n; i++) {
		const float x = own[i];
		ret[i] = x - x == 0 ? x * by : nan;
	}
}

void lh_updater_import(const struct lh_updater *u, size_t n, const float *sum, float *ret)
{
	const float by = (float)u->now.scale.scale;
	for (size_t i = 0; i < n; i++)
		ret[i] = sum[i] * by;
}

size_t lh_updater_blame(const struct lh_optim_tensor *tensors, size_t ntensors, const float *grads)
{
	size_t i = 0;
	while (i < ntensors && isfinite(lh_optim_square_sum(tensors[i].count, grads + tensors[i].offset)))
		i++;
	return i;
}

int lh_updater_no_loss(const char *model, const char *layer, struct lh_err *err)
{
	if (!layer || !*layer)
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM,
				  "model %s: the loss is not a finite number, though all layers' outputs are; lower the "
				  "learning rate",
				  model);
	return lh_err_set(err, LH_EXIT_BROKE, -EDOM,
			  "model %s: the loss is not a finite number; the first layer with such an output is %s; lower the "
			  "learning rate",
			  model, layer);
}

int lh_updater_no_gradient(const struct lh_updater *u, const char *model, const char *tensor, struct lh_err *err)
{
	const unsigned long long t = u->now.updates + 1, row = u->now.scale.in_a_row;
	if (row)
		return lh_err_set(err, LH_EXIT_BROKE, -EDOM,
				  "model %s: the gradient of %s is not finite in update %llu, after %llu that were skipped for "
				  "it, down to loss scale %g; lower the learning rate",
				  model, tensor, t, row, u->now.scale.scale);
	return lh_err_set(err, LH_EXIT_BROKE, -EDOM,
			  "model %s: the gradient of %s is not finite in update %llu; lower the learning rate", model, tensor, t);
}
