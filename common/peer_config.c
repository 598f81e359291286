/* The configuration of a peer as JSON. One table a struct; see json_fields.h. */
#include "longhaul/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json_fields.h"
#include "peer_trees.h"

#define NANOSECONDS_MAX (INT64_C(7) * 24 * 3600 * LH_NS_PER_S)

const char *const lh_engine_names[] = { "cpu", "paced", "cuda", NULL };
const char *const lh_algorithm_names[] = { "butterfly", "ring", "halving-doubling", "two-level", "central",
					  "weighted-butterfly", "packed-trees", NULL };
const char *const lh_wire_names[] = { "fp32", "fp16", "bf16", "int8", "topk", "powersgd", NULL };
const char *const lh_strategy_names[] = {
	"exact", "eta", "delayed", "local-sgd", "diloco", "streaming-diloco", "async", NULL,
};
const char *const lh_data_names[] = { "auto", "digits", "text", "tones", "synthetic", NULL };
const char *const lh_data_texts[] = {
	"the model's own", "handwritten digits, shipped", "a play of Shakespeare's, shipped",
	"notes and their log-mel spectra, synthesised by a seeded generator: no speech",
	"made up by a seeded generator in the model's shapes", NULL,
};
const char *const lh_sockets_names[] = { "study", "tuned", NULL };
const char *const lh_take_names[] = { "all", "shared", "held", NULL };
const char *lh_strategy_not_elastic(enum lh_strategy_kind kind)
{
	switch (kind) {
	case LH_STRATEGY_EXACT:
	case LH_STRATEGY_LOCAL_SGD:
	case LH_STRATEGY_DILOCO:
		return NULL;
	case LH_STRATEGY_ETA:
		return "its rounds end when all peers' reports say so, and whose samples they have is dealt by nobody";
	case LH_STRATEGY_DELAYED:
		return "a sum is always under way from one round to the next, and a lost peer's samples are in it";
	case LH_STRATEGY_STREAMING_DILOCO:
		return "fragments are always under way, each with a peer's samples of other rounds";
	case LH_STRATEGY_ASYNC:
		return "it has no rounds that all members commit";
	}
	return "not known";
}

const char *const lh_membership_names[] = { "fixed", "elastic", NULL };

static const struct lh_field endpoint_fields[] = {
	LH_FIELD(lh_peer_endpoint, name, LH_FIELD_TEXT),
	LH_FIELD(lh_peer_endpoint, host, LH_FIELD_TEXT),
	LH_FIELD(lh_peer_endpoint, port, LH_FIELD_UINT, .umin = 1),
	LH_FIELD(lh_peer_endpoint, samples_per_s, LH_FIELD_REAL, .imin = 0, .imax = 1000000000),
	LH_FIELD(lh_peer_endpoint, site, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_endpoint, share, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_endpoint, absent, LH_FIELD_UINT, .umax = 1, .optional = true),
};

static const struct lh_field config_fields[] = {
	LH_FIELD(lh_peer_config, protocol, LH_FIELD_INT, .imin = LH_PEER_PROTOCOL, .imax = LH_PEER_PROTOCOL),
	LH_FIELD(lh_peer_config, rank, LH_FIELD_UINT),
	LH_FIELD(lh_peer_config, size, LH_FIELD_UINT, .umin = 1, .umax = LH_PEER_SIZE_MAX),
	LH_FIELD(lh_peer_config, secret, LH_FIELD_TEXT),
	LH_FIELD(lh_peer_config, engine, LH_FIELD_WORD, .words = lh_engine_names),
	LH_FIELD(lh_peer_config, model, LH_FIELD_TEXT),
	LH_FIELD(lh_peer_config, parameters, LH_FIELD_UINT, .umax = LH_PEER_PARAMETERS_MAX),
	LH_FIELD(lh_peer_config, wire, LH_FIELD_WORD, .words = lh_wire_names),
	LH_FIELD(lh_peer_config, algorithm, LH_FIELD_WORD, .words = lh_algorithm_names, .optional = true),
	LH_FIELD_AS(lh_peer_config, codec.topk_fraction, "topk_fraction", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, codec.powersgd_rank, "powersgd_rank", LH_FIELD_UINT, .umax = 256,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, codec.error_feedback, "error_feedback", LH_FIELD_BOOL, .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.strategy, "strategy", LH_FIELD_WORD, .words = lh_strategy_names,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.optimizer, "optimizer", LH_FIELD_WORD, .words = lh_optimizer_names,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.every, "every", LH_FIELD_UINT, .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.outer_learning_rate, "outer_learning_rate", LH_FIELD_REAL, .imax = 1000,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.outer_momentum, "outer_momentum", LH_FIELD_REAL, .imax = 1,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.fragments, "fragments", LH_FIELD_UINT, .umax = 1u << 20, .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.overlap, "overlap", LH_FIELD_UINT, .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.blend, "blend", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.staleness, "staleness", LH_FIELD_UINT, .optional = true),
	LH_FIELD_AS(lh_peer_config, sync.match_floor_ns, "match_floor_ns", LH_FIELD_INT, .imax = NANOSECONDS_MAX,
		    .optional = true),
	LH_FIELD(lh_peer_config, streams, LH_FIELD_UINT, .umax = LH_STREAMS_MAX, .optional = true),
	LH_FIELD(lh_peer_config, sockets, LH_FIELD_WORD, .words = lh_sockets_names, .optional = true),
	LH_FIELD(lh_peer_config, pace_byte_per_s, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, vector_bytes, LH_FIELD_UINT, .umax = LH_PEER_PARAMETERS_MAX * 8, .optional = true),
	LH_FIELD(lh_peer_config, part_bytes, LH_FIELD_UINT, .umax = LH_PEER_PART_MAX, .optional = true),
	LH_FIELD(lh_peer_config, window_bytes, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, membership, LH_FIELD_WORD, .words = lh_membership_names, .optional = true),
	LH_FIELD(lh_peer_config, absent, LH_FIELD_BOOL, .optional = true),
	LH_FIELD(lh_peer_config, incarnation, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, checkpoint_ns, LH_FIELD_INT, .imax = NANOSECONDS_MAX, .optional = true),
	LH_FIELD(lh_peer_config, interrupted_ns, LH_FIELD_INT, .imax = NANOSECONDS_MAX, .optional = true),
	LH_FIELD(lh_peer_config, checkpoint_rounds, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, checkpoint_keep, LH_FIELD_UINT, .umax = 1000000, .optional = true),
	LH_FIELD(lh_peer_config, resume_round, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, checkpoint_dir, LH_FIELD_TEXT, .optional = true, .empty = true),
	LH_FIELD(lh_peer_config, bench_elements, LH_FIELD_UINT, .umax = LH_PEER_PARAMETERS_MAX, .optional = true),
	LH_FIELD(lh_peer_config, target_batch, LH_FIELD_UINT, .umin = 1, .umax = LH_PEER_BATCH_MAX),
	LH_FIELD(lh_peer_config, microbatch, LH_FIELD_UINT, .umin = 1, .umax = 1u << 20),
	LH_FIELD(lh_peer_config, epochs, LH_FIELD_UINT, .umin = 1),
	LH_FIELD(lh_peer_config, precision, LH_FIELD_WORD, .words = lh_precision_names, .optional = true),
	LH_FIELD(lh_peer_config, gpu, LH_FIELD_UINT, .umax = 1024, .optional = true),
	LH_FIELD(lh_peer_config, offload, LH_FIELD_BOOL, .optional = true),
	LH_FIELD(lh_peer_config, deterministic, LH_FIELD_BOOL, .optional = true),
	LH_FIELD(lh_peer_config, learning_rate, LH_FIELD_REAL, .imin = 0, .imax = 1000),
	LH_FIELD_AS(lh_peer_config, optim.momentum, "momentum", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.nesterov, "nesterov", LH_FIELD_BOOL, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.beta1, "beta1", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.beta2, "beta2", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.epsilon, "epsilon", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.weight_decay, "weight_decay", LH_FIELD_REAL, .imax = 10, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.warmup_updates, "warmup_updates", LH_FIELD_UINT, .umax = 1000000000,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.schedule, "schedule", LH_FIELD_WORD, .words = lh_schedule_names, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.total_updates, "total_updates", LH_FIELD_UINT, .umax = 1000000000,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.floor, "rate_floor", LH_FIELD_REAL, .imax = 1, .optional = true),
	LH_FIELD_AS(lh_peer_config, optim.clip_norm, "clip_norm", LH_FIELD_REAL, .imax = 1000000000, .optional = true),
	LH_FIELD(lh_peer_config, seed, LH_FIELD_UINT),
	LH_FIELD(lh_peer_config, deadline_ns, LH_FIELD_INT, .imin = LH_NS_PER_MS, .imax = NANOSECONDS_MAX),
	LH_FIELD(lh_peer_config, data, LH_FIELD_WORD, .words = lh_data_names, .optional = true),
	LH_FIELD(lh_peer_config, data_samples, LH_FIELD_UINT, .umax = LH_DATA_SAMPLES_MAX, .optional = true),
	LH_FIELD_AS(lh_peer_config, store.name, "store_name", LH_FIELD_TEXT, .optional = true, .empty = true),
	LH_FIELD_AS(lh_peer_config, store.host, "store_host", LH_FIELD_TEXT, .optional = true, .empty = true),
	LH_FIELD_AS(lh_peer_config, store.port, "store_port", LH_FIELD_UINT, .optional = true),
	LH_FIELD_AS(lh_peer_config, store.sample_bytes, "sample_bytes", LH_FIELD_UINT, .umax = LH_SAMPLE_BYTES_MAX,
		    .optional = true),
	LH_FIELD_AS(lh_peer_config, store.cache_bytes, "cache_bytes", LH_FIELD_UINT, .optional = true),
	LH_FIELD_AS(lh_peer_config, store.prefetch, "prefetch", LH_FIELD_UINT, .umax = LH_PREFETCH_MAX, .optional = true),
	LH_FIELD(lh_peer_config, takes_turns, LH_FIELD_BOOL, .optional = true),
	LH_FIELD(lh_peer_config, data_dir, LH_FIELD_TEXT),
	LH_FIELD(lh_peer_config, flip_rank, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, flip_epoch, LH_FIELD_UINT, .optional = true),
	LH_FIELD(lh_peer_config, starve_ns, LH_FIELD_INT, .imin = 0, .imax = NANOSECONDS_MAX, .optional = true),
	LH_FIELD(lh_peer_config, die_step, LH_FIELD_UINT, .optional = true),
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is_address(const char *host)
{
	unsigned char addr[sizeof(struct in6_addr)];
	return inet_pton(AF_INET, host, addr) == 1 || inet_pton(AF_INET6, host, addr) == 1;
}

static int check_endpoint(const struct lh_peer_endpoint *p, struct lh_err *err)
{
	if (!is_address(p->host))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"host\": \"%s\" is not a numeric address",
				  p->host);
	if (!(p->samples_per_s > 0))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"samples_per_s\": must be more than 0");
	return 0;
}

static int refuse(struct lh_err *err, const char *key, const char *what)
{
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%s\": %s", key, what);
}

/* What the strategy, the codec and the membership need; what they do not use may be anything. */
static int check_averaging(const struct lh_peer_config *c, struct lh_err *err)
{
	const struct lh_sync_options *s = &c->sync;
	bool periodic = s->strategy == LH_STRATEGY_LOCAL_SGD || s->strategy == LH_STRATEGY_DILOCO ||
			s->strategy == LH_STRATEGY_STREAMING_DILOCO;
	if (c->wire == LH_WIRE_TOPK && !(c->codec.topk_fraction > 0))
		return refuse(err, "topk_fraction", "must be more than 0 for wire topk");
	if (c->wire == LH_WIRE_POWERSGD && !c->codec.powersgd_rank)
		return refuse(err, "powersgd_rank", "must be at least 1 for wire powersgd");
	if (periodic && !s->every)
		return refuse(err, "every", "must be at least 1 for this strategy");
	if (s->strategy == LH_STRATEGY_STREAMING_DILOCO && (!s->fragments || s->fragments > s->every))
		return refuse(err, "fragments", "is not within 1 ... every");
	if (s->strategy == LH_STRATEGY_STREAMING_DILOCO && s->overlap && s->overlap >= s->every)
		return refuse(err, "overlap", "is not below every");
	if (s->strategy == LH_STRATEGY_ASYNC && !s->staleness)
		return refuse(err, "staleness", "must be at least 1 for strategy async");
	if (c->membership == LH_MEMBERSHIP_ELASTIC && lh_strategy_not_elastic(s->strategy))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"membership\": elastic needs strategy exact, local-sgd or "
				  "diloco; %s: %s", lh_strategy_names[s->strategy], lh_strategy_not_elastic(s->strategy));
	if (c->membership == LH_MEMBERSHIP_FIXED && (c->absent || c->incarnation))
		return refuse(err, c->absent ? "absent" : "incarnation", "needs membership elastic");
	if ((c->checkpoint_ns || c->interrupted_ns) && c->membership == LH_MEMBERSHIP_FIXED)
		return refuse(err, "checkpoint_ns", "needs membership elastic: the peers of a fixed group would save different "
			      "rounds; use checkpoint_rounds");
	if ((c->checkpoint_ns || c->interrupted_ns || c->checkpoint_rounds) && !*c->checkpoint_dir)
		return refuse(err, "checkpoint_dir", "is needed for checkpoints");
	return 0;
}

static const struct lh_field resume_fields[] = {
	LH_FIELD(lh_resume, rank, LH_FIELD_UINT),
	LH_FIELD(lh_resume, path, LH_FIELD_TEXT),
	LH_FIELD(lh_resume, take, LH_FIELD_WORD, .words = lh_take_names),
};

static int check_resume(const struct lh_peer_config *c, struct lh_err *err)
{
	if ((c->resume_round != 0) != (c->nresume != 0))
		return refuse(err, "resume", "and resume_round need each other");
	if (c->resume_round && c->resume_round >= c->epochs)
		return refuse(err, "resume_round", "is not below epochs: nothing is left to do");
	uint8_t *has = calloc(c->size, 1);
	if (!has)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"resume\"");
	unsigned ranks = 0;
	bool fine = true;
	for (unsigned i = 0; fine && i < c->nresume; i++) {
		const struct lh_resume *r = &c->resume[i];
		fine = r->rank < c->size && (r->take == LH_TAKE_HELD) == has[r->rank];
		ranks += fine && !has[r->rank];
		if (fine)
			has[r->rank] = 1;
	}
	free(has);
	if (!fine || (c->nresume && ranks < c->size))
		return refuse(err, "resume", "each rank's first file must be taken \"all\" or \"shared\", its others \"held\"");
	return 0;
}

/* What a document that says nothing of the optimiser's numbers stands for depends on the optimiser. */
#define UNSAID ((struct lh_optim_options){ .given = true, .momentum = NAN, .beta1 = NAN, .beta2 = NAN, .epsilon = NAN, \
					   .weight_decay = NAN, .warmup_updates = UINT32_MAX })

static void fill_optim(struct lh_peer_config *c)
{
	const struct lh_optim_options d = lh_optim_defaults(c->sync.optimizer);
	struct lh_optim_options *o = &c->optim;
	o->momentum = isnan(o->momentum) ? d.momentum : o->momentum;
	o->beta1 = isnan(o->beta1) ? d.beta1 : o->beta1;
	o->beta2 = isnan(o->beta2) ? d.beta2 : o->beta2;
	o->epsilon = isnan(o->epsilon) ? d.epsilon : o->epsilon;
	o->weight_decay = isnan(o->weight_decay) ? d.weight_decay : o->weight_decay;
	o->warmup_updates = o->warmup_updates == UINT32_MAX ? d.warmup_updates : o->warmup_updates;
}

static int check_store(const struct lh_peer_config *c, struct lh_err *err)
{
	const struct lh_store_config *s = &c->store;
	if (!*s->host)
		return 0;
	if (!is_address(s->host))
		return refuse(err, "store_host", "is not a numeric address");
	if (!s->port)
		return refuse(err, "store_port", "is missing");
	if (!*s->name)
		return refuse(err, "store_name", "is missing");
	if (c->engine == LH_ENGINE_PACED && s->sample_bytes < 8)
		return refuse(err, "sample_bytes", "the paced engine has no data: must be at least 8");
	return 0;
}

/* What one key cannot tell. */
static int check(const struct lh_peer_config *c, struct lh_err *err)
{
	if (c->rank >= c->size)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"rank\": %u is not below the size %u", c->rank,
				  c->size);
	size_t len = strlen(c->secret);
	if (len != strspn(c->secret, "0123456789abcdef") || len % 2 || len < 16)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "key \"secret\": is not 16 ... 64 lower-case hex digits");
	if (c->engine == LH_ENGINE_PACED && !c->parameters)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"parameters\": the paced engine needs at least 1");
	if (c->engine != LH_ENGINE_CUDA && c->precision != LH_PRECISION_FP32)
		return refuse(err, "precision", "only engine cuda calculates in another than fp32");
	if (c->precision == LH_PRECISION_FP16 && (c->codec.error_feedback || c->wire == LH_WIRE_TOPK ||
						  c->wire == LH_WIRE_POWERSGD))
		return refuse(err, "precision", "fp16 does not go with error feedback: what overflowed once would be added to "
			      "every later round");
	if (!(c->learning_rate > 0))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"learning_rate\": must be more than 0");
	if (c->flip_epoch && c->flip_rank >= c->size)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"flip_rank\": %u is not below the size %u",
				  c->flip_rank, c->size);
	for (unsigned i = 0; i < c->size; i++) {
		int rc = check_endpoint(&c->peers[i], err);
		if (rc) {
			lh_err_wrap(err, "peers[%u]", i);
			return rc;
		}
	}
	int rc = lh_optim_check(c->sync.optimizer, &c->optim, err);
	rc = rc ? rc : check_averaging(c, err);
	rc = rc ? rc : check_store(c, err);
	return rc ? rc : check_resume(c, err);
}

static int read_resume(const json_t *root, struct lh_peer_config *c, struct lh_err *err)
{
	const json_t *list = json_object_get(root, "resume");
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > 2 * LH_PEER_SIZE_MAX)
		return refuse(err, "resume", "is not a list of files");
	c->resume = calloc(json_array_size(list) + 1, sizeof *c->resume);
	if (!c->resume)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"resume\"");
	for (; c->nresume < json_array_size(list); c->nresume++) {
		int rc = lh_fields_read(json_array_get(list, c->nresume), resume_fields, COUNT(resume_fields), NULL,
					&c->resume[c->nresume], err);
		if (rc) {
			lh_err_wrap(err, "resume[%u]", c->nresume);
			return rc;
		}
	}
	return 0;
}

static int print_resume(const struct lh_peer_config *c, json_t *root, struct lh_err *err)
{
	json_t *list = c->nresume ? json_array() : NULL;
	if (!c->nresume)
		return 0;
	if (!list || json_object_set_new(root, "resume", list))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"resume\"");
	for (unsigned i = 0; i < c->nresume; i++) {
		json_t *o = json_object();
		if (!o || json_array_append_new(list, o))
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"resume\"");
		int rc = lh_fields_print(o, resume_fields, COUNT(resume_fields), &c->resume[i], err);
		if (rc)
			return rc;
	}
	return 0;
}

static int read_peers(const json_t *root, struct lh_peer_config *c, struct lh_err *err)
{
	const json_t *list = json_object_get(root, "peers");
	if (!json_is_array(list) || json_array_size(list) != c->size)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"peers\": is not a list of %u (key \"size\")",
				  c->size);
	c->peers = calloc(c->size, sizeof *c->peers);
	if (!c->peers)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"peers\"");
	for (unsigned i = 0; i < c->size; i++) {
		int rc = lh_fields_read(json_array_get(list, i), endpoint_fields, COUNT(endpoint_fields), NULL,
					&c->peers[i], err);
		if (rc) {
			lh_err_wrap(err, "peers[%u]", i);
			return rc;
		}
	}
	return 0;
}

int lh_peer_config_read(const char *text, size_t len, struct lh_peer_config *ret, struct lh_err *err)
{
	static const char *const others[] = { "peers", "trees", "resume", NULL };
	if (len > LH_PEER_CONFIG_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EMSGSIZE, "peer configuration: longer than %d bytes",
				  LH_PEER_CONFIG_MAX);
	json_error_t je;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "peer configuration:%d:%d: %s", je.line, je.column,
				  je.text);
	struct lh_peer_config c = { .streams = 1, .optim = UNSAID };
	int rc = lh_fields_read(root, config_fields, COUNT(config_fields), others, &c, err);
	fill_optim(&c);
	if (!rc)
		rc = read_peers(root, &c, err);
	if (!rc)
		rc = read_resume(root, &c, err);
	if (!rc)
		rc = lh_peer_trees_read(json_object_get(root, "trees"), c.size, &c.trees, err);
	if (!rc)
		rc = check(&c, err);
	json_decref(root);
	if (rc) {
		lh_peer_config_done(&c);
		lh_err_wrap(err, "peer configuration");
		return rc;
	}
	*ret = c;
	return 0;
}

static int print_peers(const struct lh_peer_config *c, json_t *root, struct lh_err *err)
{
	json_t *list = json_array();
	if (!list || json_object_set_new(root, "peers", list))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"peers\"");
	for (unsigned i = 0; i < c->size; i++) {
		json_t *o = json_object();
		if (!o || json_array_append_new(list, o))
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"peers\"");
		int rc = lh_fields_print(o, endpoint_fields, COUNT(endpoint_fields), &c->peers[i], err);
		if (rc) {
			lh_err_wrap(err, "peers[%u]", i);
			return rc;
		}
	}
	return 0;
}

int lh_peer_config_print(const struct lh_peer_config *c, char **ret_text, struct lh_err *err)
{
	struct lh_peer_config full = *c;
	json_t *root = json_object();
	if (!full.optim.given)
		full.optim = lh_optim_defaults(c->sync.optimizer);
	int rc = root ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "allocate");
	if (!rc)
		rc = lh_fields_print(root, config_fields, COUNT(config_fields), &full, err);
	if (!rc)
		rc = check(c, err);
	if (!rc)
		rc = print_peers(c, root, err);
	if (!rc)
		rc = print_resume(c, root, err);
	if (!rc && c->trees.n && json_object_set_new(root, "trees", lh_peer_trees_print(&c->trees)))
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"trees\"");
	char *text = rc ? NULL : json_dumps(root, JSON_INDENT(1));
	if (!rc && !text)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "print");
	json_decref(root);
	if (rc) {
		lh_err_wrap(err, "peer configuration");
		return rc;
	}
	*ret_text = text;
	return 0;
}

lh_ns lh_young_ns(lh_ns write_ns, lh_ns interrupted_ns)
{
	if (write_ns <= 0 || interrupted_ns <= 0)
		return 0;
	double interval = sqrt(2.0 * (double)write_ns * (double)interrupted_ns);
	return interval < (double)write_ns ? write_ns : (lh_ns)interval;
}

void lh_peer_config_done(struct lh_peer_config *c)
{
	if (!c)
		return;
	free(c->peers);
	free(c->resume);
	lh_trees_done(&c->trees);
	memset(c, 0, sizeof *c);
}
