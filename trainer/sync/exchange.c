#include "exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "powersgd.h"

enum { TENSORS_MAX = 4096 };

struct lh_exchange {
	struct lh_allreduce_config c; /* as it was made; elastic: to be made again */
	struct lh_codec codec;
	struct lh_allreduce *a;
	struct lh_powersgd *factors;  /* instead of it */
	struct lh_feedback *feedback; /* NULL: none */
	float *before;                /* what was held back before the exchange under way, then the factors; NULL: not
				       * remembered */
};

/* What is kept from one exchange to the next. */
struct kept { float *held, *factors; uint64_t nheld, nfactors; };

static struct kept kept_of(const struct lh_exchange *x)
{
	struct kept k = { .held = NULL };
	if (x->feedback) {
		k.held = lh_feedback_residual(x->feedback);
		k.nheld = x->c.n;
	}
	if (x->factors)
		lh_powersgd_kept(x->factors, &k.held, &k.nheld, &k.factors, &k.nfactors);
	return k;
}

/* fp16 holds sums over 256 samples well; larger batches are brought to that size for the wire. Differences of
 * parameters are some learning rates: times 2^10 they stay clear of fp16's subnormals, and up to 64 of its end. */
static float scale_of(const struct lh_peer_config *c, enum lh_vector kind)
{
	if (c->wire != LH_WIRE_FP16 || c->engine == LH_ENGINE_PACED || kind == LH_VECTOR_CONTROL)
		return 1;
	if (kind == LH_VECTOR_DIFFERENCE)
		return 1024;
	float scale = 1;
	for (uint64_t b = 256; b < c->target_batch; b *= 2)
		scale /= 2;
	return scale;
}

/* Of topk the larger part stays behind each time: without feedback it would never arrive. */
static bool wants_feedback(const struct lh_peer_config *c)
{
	if (c->size < 2)
		return false;
	return c->wire == LH_WIRE_TOPK ||
	       (c->codec.error_feedback && c->wire != LH_WIRE_FP32 && c->wire != LH_WIRE_POWERSGD);
}

static int open_factors(struct lh_exchange *x, struct lh_worker *w, const struct lh_group *group, uint64_t n,
			const struct lh_exchange_io *io, struct lh_err *err)
{
	if (!w->ops->tensors || !w->ops->tensors(w->engine, NULL, 0))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP,
				  "wire powersgd: engine %s does not know the shapes of its tensors", w->ops->name);
	if (n != w->ops->parameters(w->engine))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "wire powersgd: not for a part of the model");
	if (w->c->membership == LH_MEMBERSHIP_ELASTIC)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "wire powersgd: not with elastic membership; whoever "
				  "joins would need the factors of the exchange before");
	struct lh_tensor *tensors = calloc(TENSORS_MAX, sizeof *tensors);
	if (!tensors)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "tensors");
	struct lh_powersgd_config c = {
		.pattern = lh_pattern_find(w->c->algorithm), .group = group, .rank = w->c->rank,
		.part_bytes = w->c->part_bytes,
		.columns = w->c->codec.powersgd_rank, .tensors = tensors,
		.ntensors = w->ops->tensors(w->engine, tensors, TENSORS_MAX), .n = n, .seed = w->c->seed,
		.read = io->read, .write = io->write, .ctx = io->ctx,
	};
	int rc = c.ntensors <= TENSORS_MAX ? lh_powersgd_new(&c, w->t, &x->factors, err) :
		lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "wire powersgd: more than %d tensors", TENSORS_MAX);
	free(tensors);
	return rc;
}

static int open_exchange(struct lh_exchange *x, struct lh_worker *w, const struct lh_exchange_port *port,
			 enum lh_vector kind, uint64_t n, const struct lh_exchange_io *io, struct lh_err *err)
{
	const bool control = kind == LH_VECTOR_CONTROL;
	struct lh_transport *t = port ? lh_mux_port(port->mux, port->number) : w->t;
	struct lh_group group;
	struct lh_codec codec;
	t->trace = w->t->trace;
	if (w->c->wire == LH_WIRE_POWERSGD && port && !control)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "wire powersgd: not with strategy %s",
				  lh_strategy_names[w->c->sync.strategy]);
	int rc = lh_codec_init(&codec, control ? LH_WIRE_FP32 : w->c->wire, &w->c->codec, err);
	if (!rc && !control && wants_feedback(w->c))
		rc = lh_feedback_new(n, w->c->membership == LH_MEMBERSHIP_ELASTIC, &x->feedback, err);
	if (!rc)
		rc = lh_group_of(w->c, &group, err);
	if (rc)
		return rc;
	struct lh_allreduce_config c = {
		.pattern = lh_pattern_find(control ? LH_ALGORITHM_BUTTERFLY : w->c->algorithm), .group = &group,
		.codec = &codec,
		.feedback = x->feedback, .scale = scale_of(w->c, kind), .rank = w->c->rank, .n = n,
		.first = port ? port->number + 1 : 0, .stride = port ? port->of : 0,
		.part_bytes = w->c->part_bytes, .window_bytes = w->c->window_bytes,
		.read = io->read, .write = io->write, .peek = io->peek, .ctx = io->ctx,
	};
	x->codec = codec;
	x->c = c;
	if (w->c->wire == LH_WIRE_POWERSGD && w->c->size > 1 && !control)
		rc = open_factors(x, w, &group, n, io, err);
	else
		rc = lh_allreduce_new(&c, t, &x->a, err);
	lh_group_done(&group);
	return rc;
}

int lh_exchange_regroup(struct lh_exchange *x, const struct lh_group *group, unsigned rank, struct lh_transport *t,
			struct lh_err *err)
{
	struct lh_allreduce_config c = x->c;
	c.group = group;
	c.rank = rank;
	c.codec = &x->codec;
	lh_allreduce_free(x->a);
	x->a = NULL;
	return lh_allreduce_new(&c, t, &x->a, err);
}

int lh_exchange_new_port(struct lh_worker *w, const struct lh_exchange_port *port, enum lh_vector kind, uint64_t n,
			 const struct lh_exchange_io *io, struct lh_exchange **ret, struct lh_err *err)
{
	struct lh_exchange *x = calloc(1, sizeof *x);
	if (!x)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exchange");
	int rc = open_exchange(x, w, port, kind, n, io, err);
	if (rc) {
		lh_exchange_free(x);
		return rc;
	}
	*ret = x;
	return 0;
}

int lh_exchange_new(struct lh_worker *w, enum lh_vector kind, uint64_t n, const struct lh_exchange_io *io,
		    struct lh_exchange **ret, struct lh_err *err)
{
	return lh_exchange_new_port(w, NULL, kind, n, io, ret, err);
}

int lh_exchange_start(struct lh_exchange *x, uint32_t number, struct lh_err *err)
{
	if (x->before) {
		struct kept k = kept_of(x);
		memcpy(x->before, k.held, k.nheld * sizeof *k.held);
		memcpy(x->before + k.nheld, k.factors ? k.factors : k.held, k.nfactors * sizeof *k.held);
	}
	return x->factors ? lh_powersgd_start(x->factors, number, err) : lh_allreduce_start(x->a, number, err);
}

bool lh_exchange_done(const struct lh_exchange *x)
{
	return x->factors ? lh_powersgd_done(x->factors) : lh_allreduce_done(x->a);
}

void lh_exchange_keep(struct lh_exchange *x)
{
	if (x->feedback)
		lh_feedback_keep(x->feedback);
}

int lh_exchange_remember(struct lh_exchange *x, struct lh_err *err)
{
	struct kept k = kept_of(x);
	if (!k.nheld || x->before)
		return 0;
	x->before = calloc(k.nheld + k.nfactors, sizeof *x->before);
	return x->before ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exchange");
}

int lh_exchange_state(struct lh_exchange *x, const char *name, bool under_way, struct lh_parts *p, struct lh_err *err)
{
	struct kept k = kept_of(x);
	char text[LH_STATE_NAME_MAX];
	if (under_way && x->before) {
		k.held = x->before;
		k.factors = x->before + k.nheld;
	}
	snprintf(text, sizeof text, "%.90s.residual", name);
	int rc = lh_parts_add(p, LH_STATE_HELD, LH_STATE_F32, text, k.held, k.nheld, err);
	snprintf(text, sizeof text, "%.90s.factors", name);
	return rc ? rc : lh_parts_add(p, LH_STATE_SHARED, LH_STATE_F32, text, k.factors, k.nfactors, err);
}

void lh_exchange_skip(struct lh_exchange *x, uint32_t number)
{
	if (x->factors)
		lh_powersgd_skip(x->factors, number);
	else
		lh_allreduce_skip(x->a, number);
}

uint64_t lh_exchange_bytes(const struct lh_exchange *x)
{
	return x->factors ? lh_powersgd_bytes(x->factors) : lh_allreduce_bytes(x->a);
}

void lh_exchange_held_back(const struct lh_exchange *x, double *ret_l1, double *ret_l2)
{
	*ret_l1 = *ret_l2 = 0;
	if (x->feedback)
		lh_feedback_mass(x->feedback, ret_l1, ret_l2);
	if (x->factors)
		lh_powersgd_mass(x->factors, ret_l1, ret_l2);
}

void lh_exchange_free(struct lh_exchange *x)
{
	if (!x)
		return;
	lh_allreduce_free(x->a);
	lh_powersgd_free(x->factors);
	lh_feedback_free(x->feedback);
	free(x->before);
	free(x);
}
