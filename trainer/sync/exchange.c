#include "exchange.h"

#include <errno.h>

/* fp16 holds sums over 256 samples well; larger batches are brought to that size for the wire. Differences of
 * parameters are some learning rates: times 2^10 they stay clear of fp16's subnormals, and up to 64 of its end. */
static float scale_of(const struct lh_peer_config *c, enum lh_vector kind)
{
	if (c->wire != LH_WIRE_FP16 || c->engine == LH_ENGINE_PACED)
		return 1;
	if (kind == LH_VECTOR_DIFFERENCE)
		return 1024;
	float scale = 1;
	for (uint64_t b = 256; b < c->target_batch; b *= 2)
		scale /= 2;
	return scale;
}

int lh_exchange_new(struct lh_worker *w, enum lh_vector kind, uint64_t n, const struct lh_exchange_io *io,
		    struct lh_allreduce **ret, struct lh_err *err)
{
	struct lh_group group;
	struct lh_codec codec;
	if (w->c->wire == LH_WIRE_POWERSGD)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "wire powersgd: not with this strategy");
	int rc = lh_codec_init(&codec, w->c->wire, &w->c->codec, err);
	if (!rc)
		rc = lh_group_of(w->c, &group, err);
	if (rc)
		return rc;
	struct lh_allreduce_config x = {
		.pattern = lh_pattern_find(w->c->algorithm), .group = &group, .codec = &codec,
		.scale = scale_of(w->c, kind), .rank = w->c->rank, .n = n, .read = io->read, .write = io->write,
		.ctx = io->ctx,
	};
	rc = lh_allreduce_new(&x, w->t, ret, err);
	lh_group_done(&group);
	return rc;
}
