/* training.c - the training section: what is trained, and how the peers average it.
 *
 * A key that the chosen strategy or wire does not use is an error: a run must not look as if it had obeyed it. So
 * the defaults of such keys are filled in only where they count, and canonical.c writes only those.
 */
#include "lang.h"

#include <string.h>

#define STRATEGY(name) (1u << LH_STRATEGY_##name)
#define OUTER (STRATEGY(DILOCO) | STRATEGY(STREAMING_DILOCO))
#define PERIODIC (STRATEGY(LOCAL_SGD) | OUTER)
#define WIRE(name) (1u << LH_WIRE_##name)
#define OPTIMIZER(name) (1u << LH_OPTIMIZER_##name)
#define ADAM (OPTIMIZER(ADAMW) | OPTIMIZER(LAMB))

/* Keys with a meaning for some strategies, wires or optimisers alone. */
static const struct { const char *key; unsigned strategies, wires, optimizers; } narrow[] = {
	{ "every", PERIODIC, 0 },
	{ "outer-learning-rate", OUTER, 0 },
	{ "outer-momentum", OUTER, 0 },
	{ "fragments", STRATEGY(STREAMING_DILOCO), 0 },
	{ "overlap", STRATEGY(STREAMING_DILOCO), 0 },
	{ "blend", STRATEGY(STREAMING_DILOCO), 0 },
	{ "staleness", STRATEGY(ASYNC), 0 },
	{ "topk", 0, WIRE(TOPK) },
	{ "powersgd-rank", 0, WIRE(POWERSGD) },
	{ "momentum", 0, 0, OPTIMIZER(SGD) },
	{ "nesterov", 0, 0, OPTIMIZER(SGD) },
	{ "beta1", 0, 0, ADAM },
	{ "beta2", 0, 0, ADAM },
	{ "epsilon", 0, 0, ADAM },
};

/* What `profile: hivemind` stands for. */
static const struct { const char *key, *value; } hivemind[] = {
	{ "strategy", "eta" }, { "wire", "fp16" }, { "algorithm", "butterfly" }, { "streams", "1" },
	{ "sockets", "study" }, { "match-floor", "5s" },
};

bool lang_strategy_uses(enum lh_strategy_kind strategy, const char *key)
{
	for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
		if (narrow[i].strategies && !strcmp(narrow[i].key, key))
			return narrow[i].strategies >> strategy & 1;
	return true;
}

static const struct lang_node *key(struct lang *l, const struct lang_node *map, const char *name)
{
	return lang_get(l, map, S_TRAINING, name);
}

/* --- building --- */

static void build_sync(struct lang *l, const struct lang_node *map, struct lh_sync_options *s)
{
	const struct lang_node *n;
	unsigned bit = 1u << s->strategy;
	s->optimizer = (enum lh_optimizer)key(l, map, "optimizer")->v.choice;
	s->every = bit & PERIODIC ? (uint32_t)key(l, map, "every")->v.count : 1;
	s->outer_learning_rate = bit & OUTER ? key(l, map, "outer-learning-rate")->v.real : 1;
	s->outer_momentum = bit & OUTER ? key(l, map, "outer-momentum")->v.real : 0;
	s->fragments = s->staleness = 1;
	if (s->strategy == LH_STRATEGY_STREAMING_DILOCO) {
		n = lang_good(map, "fragments");
		s->fragments = n ? (uint32_t)n->v.count : s->every < 4 ? s->every : 4;
		n = lang_good(map, "overlap");
		s->overlap = n ? (uint32_t)n->v.count : s->every > 1;
		s->blend = key(l, map, "blend")->v.real;
	}
	if (s->strategy == LH_STRATEGY_ASYNC)
		s->staleness = (uint32_t)key(l, map, "staleness")->v.count;
}

static double real_of(const struct lang_node *map, const char *name, double otherwise)
{
	const struct lang_node *n = lang_good(map, name);
	return n ? n->v.real : otherwise;
}

static void build_optim(struct lang *l, const struct lang_node *map, struct lh_training *t)
{
	struct lh_optim_options *o = &t->optim;
	const struct lang_node *warmup = lang_good(map, "learning-rate-warmup");
	*o = lh_optim_defaults(t->sync.optimizer);
	if (t->sync.optimizer == LH_OPTIMIZER_SGD) {
		o->momentum = key(l, map, "momentum")->v.real;
		o->nesterov = key(l, map, "nesterov")->v.yes;
	} else {
		o->beta1 = real_of(map, "beta1", o->beta1);
		o->beta2 = real_of(map, "beta2", o->beta2);
		o->epsilon = real_of(map, "epsilon", o->epsilon);
	}
	o->weight_decay = real_of(map, "weight-decay", o->weight_decay);
	o->clip_norm = key(l, map, "clip-norm")->v.real;
	if (warmup)
		o->warmup_updates = (uint32_t)warmup->v.count;
	o->schedule = (enum lh_schedule)key(l, map, "learning-rate-schedule")->v.choice;
	if (o->schedule == LH_SCHEDULE_COSINE)
		o->floor = (double)key(l, map, "learning-rate-floor")->v.ppb / 1e9;
}

static void build_codec(struct lang *l, const struct lang_node *map, struct lh_training *t)
{
	const struct lang_node *n = lang_good(map, "error-feedback");
	t->codec.topk_fraction = t->wire == LH_WIRE_TOPK ? key(l, map, "topk")->v.ppb / 1e9 : 0;
	t->codec.powersgd_rank = t->wire == LH_WIRE_POWERSGD ? (uint32_t)key(l, map, "powersgd-rank")->v.count : 0;
	t->codec.error_feedback = n ? n->v.yes : t->wire == LH_WIRE_TOPK || t->wire == LH_WIRE_POWERSGD;
}

static void build_transport(struct lang *l, const struct lang_node *map, struct lh_training *t)
{
	const struct lang_node *n = lang_good(map, "streams");
	t->sockets = (enum lh_sockets)key(l, map, "sockets")->v.choice;
	t->streams = n ? (uint32_t)n->v.or_word.count : t->sockets == LH_SOCKETS_TUNED ? 0 : 1;
	t->membership = (enum lh_membership)key(l, map, "membership")->v.choice;
	n = key(l, map, "checkpoint");
	t->young = !n->bad && n->v.or_word.word == 1;
	t->checkpoint_ns = n->v.or_word.ns;
	t->checkpoint_rounds = (uint32_t)key(l, map, "checkpoint-rounds")->v.or_word.count;
	t->checkpoint_keep = (uint32_t)key(l, map, "checkpoint-keep")->v.count;
}

static void build_profile(struct lh_training *t)
{
	t->wire = LH_WIRE_FP16;
	t->algorithm = LH_ALGORITHM_BUTTERFLY;
	t->choose = false;
	t->sync.strategy = LH_STRATEGY_ETA;
	t->sync.match_floor_ns = 5 * LH_NS_PER_S;
	t->sockets = LH_SOCKETS_STUDY;
	t->streams = 1;
}

void lang_training(struct lang *l)
{
	struct lh_training *t = &l->exp.training;
	struct lang_entry *e = lang_find(l->root, "training");
	const struct lang_node *map = e && e->value->kind == LANG_MAP ? e->value : NULL, *n;
	t->given = map != NULL;
	unsigned engine = (unsigned)key(l, map, "engine")->v.choice;
	t->engine_auto = engine > LH_ENGINE_CUDA; /* auto stands last */
	t->engine = t->engine_auto ? LH_ENGINE_CUDA : (enum lh_engine)engine;
	t->precision = (enum lh_precision)key(l, map, "precision")->v.choice;
	t->offload = key(l, map, "offload")->v.yes;
	t->deterministic = key(l, map, "deterministic")->v.yes;
	if ((n = lang_good(map, "model")))
		snprintf(t->model, sizeof t->model, "%s", n->text);
	t->data = (enum lh_data)key(l, map, "data")->v.choice;
	t->wire = (enum lh_wire)key(l, map, "wire")->v.choice;
	unsigned algorithm = (unsigned)key(l, map, "algorithm")->v.choice;
	t->choose = algorithm == LH_ALGORITHMS; /* auto stands last */
	t->algorithm = t->choose ? LH_ALGORITHM_BUTTERFLY : (enum lh_algorithm)algorithm;
	t->sync.strategy = (enum lh_strategy_kind)key(l, map, "strategy")->v.choice;
	t->sync.match_floor_ns = key(l, map, "match-floor")->v.ns;
	build_transport(l, map, t);
	t->hivemind = key(l, map, "profile")->v.choice == 1;
	if (t->hivemind)
		build_profile(t);
	build_sync(l, map, &t->sync);
	build_optim(l, map, t);
	build_codec(l, map, t);
	t->target_batch = key(l, map, "target-batch")->v.count;
	n = key(l, map, "microbatch");
	t->microbatch_auto = !n->bad && n->v.or_word.word == 0;
	t->microbatch = t->microbatch_auto ? 1 : (uint32_t)n->v.or_word.count;
	n = lang_good(map, "device-turns");
	t->device_turns_given = n != NULL;
	t->device_turns = n && n->v.yes;
	t->epochs = (uint32_t)key(l, map, "epochs")->v.count;
	t->warmup = (uint32_t)key(l, map, "warmup")->v.count;
	if ((n = lang_good(map, "pace")))
		t->samples_per_s = n->v.real;
	t->learning_rate = key(l, map, "learning-rate")->v.real;
	t->seed = key(l, map, "seed")->v.count;
	t->deadline_ns = key(l, map, "deadline")->v.ns;
}

/* --- checking --- */

static const struct lang_node *given(const struct lang_node *map, const char *name)
{
	struct lang_entry *e = lang_find(map, name);
	return e ? e->value : NULL;
}

static bool bad(const struct lang_node *map, const char *name)
{
	const struct lang_node *n = given(map, name);
	return n && n->bad;
}

/* Where to point at: the first of two keys that is there. A default alone is never wrong. */
static const struct lang_span *at(const struct lang_node *map, const char *a, const char *b)
{
	return given(map, a) ? &given(map, a)->at : &given(map, b)->at;
}

static void check_profile(struct lang *l, const struct lang_node *map)
{
	const struct lang_span *profile = &given(map, "profile")->at;
	for (size_t i = 0; i < sizeof hivemind / sizeof *hivemind; i++) {
		const struct lang_node *n = lang_good(map, hivemind[i].key);
		if (!n || !strcmp(n->text, hivemind[i].value))
			continue;
		if (!strcmp(hivemind[i].key, "match-floor") && n->v.ns == 5 * LH_NS_PER_S)
			continue;
		lang_error(l, &n->at, "%s: %s contradicts profile: hivemind (line %zu), which has %s", hivemind[i].key,
			   n->text, profile->line + 1, hivemind[i].value);
	}
}

/* "diloco, streaming-diloco" */
static const char *names(struct lang *l, const char *const *all, unsigned mask)
{
	const char *list = "";
	for (unsigned i = 0; all[i]; i++)
		if (mask >> i & 1)
			list = lang_printf(l, "%s%s%s", list, *list ? ", " : "", all[i]);
	return list;
}

static void check_narrow(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) {
		const struct lang_node *n = lang_good(map, narrow[i].key);
		const char *what = narrow[i].wires ? "wire" : narrow[i].optimizers ? "optimizer" : "strategy";
		const char *const *all = narrow[i].wires ? lh_wire_names :
					 narrow[i].optimizers ? lh_optimizer_names : lh_strategy_names;
		const unsigned mask = narrow[i].wires | narrow[i].optimizers | narrow[i].strategies; /* one of them */
		const unsigned has = narrow[i].wires ? t->wire : narrow[i].optimizers ? t->sync.optimizer : t->sync.strategy;
		if (n && !bad(map, what) && !bad(map, "profile") && !(mask >> has & 1))
			lang_error(l, &n->at, "%s: %s %s does not use it; it belongs to %s %s", narrow[i].key, what, all[has], what,
				   names(l, all, mask));
	}
}

static void check_optim(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *nesterov = lang_good(map, "nesterov"), *floor = lang_good(map, "learning-rate-floor");
	const bool cosine = t->optim.schedule == LH_SCHEDULE_COSINE;
	if (nesterov && nesterov->v.yes && t->sync.optimizer == LH_OPTIMIZER_SGD && t->optim.momentum <= 0 &&
	    !bad(map, "momentum") && !bad(map, "optimizer"))
		lang_error(l, &nesterov->at, "nesterov: needs momentum");
	if (floor && !cosine && !bad(map, "learning-rate-schedule"))
		lang_error(l, &floor->at, "learning-rate-floor: learning-rate-schedule constant does not use it; it belongs to "
			   "cosine");
	if (cosine && t->optim.warmup_updates >= t->epochs && !bad(map, "learning-rate-warmup") && !bad(map, "epochs"))
		lang_error(l, at(map, "learning-rate-warmup", "learning-rate-schedule"),
			   "learning-rate-warmup (%u) leaves nothing of %u epochs for the cosine", t->optim.warmup_updates,
			   t->epochs);
}

/* A GPU's matters, and one that no wire may keep from being forgotten. */
static void check_precision(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *n = lang_good(map, "precision");
	if (!n || t->precision == LH_PRECISION_FP32 || bad(map, "engine"))
		return;
	if (t->engine != LH_ENGINE_CUDA && !t->engine_auto)
		lang_error(l, &n->at, "precision: engine %s knows fp32 only; %s is for engine cuda", lh_engine_names[t->engine],
			   lh_precision_names[t->precision]);
	else if (t->precision == LH_PRECISION_FP16 && t->codec.error_feedback && !bad(map, "wire") &&
		 !bad(map, "error-feedback") && !bad(map, "profile"))
		lang_error(l, &n->at, "precision: fp16 does not go with error feedback%s: what overflowed once would be added "
			   "to every later round",
			   lang_good(map, "error-feedback") ? "" : lang_printf(l, ", which wire %s has", lh_wire_names[t->wire]));
}

static void check_rounds(struct lang *l, const struct lang_node *map)
{
	const struct lh_sync_options *s = &l->exp.training.sync;
	bool streaming = s->strategy == LH_STRATEGY_STREAMING_DILOCO;
	if (bad(map, "every") || bad(map, "strategy"))
		return;
	if (1u << s->strategy & PERIODIC && s->every > l->exp.training.epochs && !bad(map, "epochs"))
		lang_error(l, at(map, given(map, "every") ? "every" : "epochs", "strategy"),
			   "every (%u) leaves no exchange in %u epochs", s->every, l->exp.training.epochs);
	if (streaming && s->fragments > s->every && lang_good(map, "fragments"))
		lang_error(l, at(map, "fragments", "every"),
			   "fragments (%u) are more than the rounds in which each is exchanged once (every: %u)",
			   s->fragments, s->every);
	if (streaming && s->overlap >= s->every && lang_good(map, "overlap"))
		lang_error(l, at(map, "overlap", "every"),
			   "overlap (%u) must be below every (%u): a fragment is used before it is exchanged again",
			   s->overlap, s->every);
}

/* Factors travel in two all-reduces, and the peers must have those of the exchange before. */
static void check_factors(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *n = lang_good(map, "wire");
	if (t->wire != LH_WIRE_POWERSGD || !n)
		return;
	if (!bad(map, "strategy") && (t->sync.strategy == LH_STRATEGY_ETA ||
				      (t->sync.strategy == LH_STRATEGY_STREAMING_DILOCO && t->sync.fragments > 1)))
		lang_error(l, &n->at, "wire: powersgd is not for strategy %s, which exchanges several vectors in turn",
			   lh_strategy_names[t->sync.strategy]);
}

static void check_codec(struct lang *l, const struct lang_node *map)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *n = lang_good(map, "error-feedback");
	if (!n || bad(map, "wire"))
		return;
	if (!n->v.yes && (t->wire == LH_WIRE_TOPK || t->wire == LH_WIRE_POWERSGD))
		lang_error(l, &n->at, "error-feedback: wire %s does not converge without it", lh_wire_names[t->wire]);
	if (n->v.yes && t->wire == LH_WIRE_FP32)
		lang_error(l, &n->at, "error-feedback: wire fp32 takes nothing away that could be added later");
}

void lang_training_check(struct lang *l)
{
	const struct lh_training *t = &l->exp.training;
	const struct lang_node *map = lang_find(l->root, "training")->value, *n;
	if (t->hivemind)
		check_profile(l, map);
	check_narrow(l, map);
	check_optim(l, map);
	check_precision(l, map);
	check_rounds(l, map);
	check_codec(l, map);
	check_factors(l, map);
	n = lang_good(map, "membership");
	if (n && t->membership == LH_MEMBERSHIP_ELASTIC && lh_strategy_not_elastic(t->sync.strategy) &&
	    !bad(map, "strategy") && !bad(map, "profile"))
		lang_error(l, &n->at, "membership: elastic needs strategy exact, local-sgd or diloco; %s: %s",
			   lh_strategy_names[t->sync.strategy], lh_strategy_not_elastic(t->sync.strategy));
	if (n && t->membership == LH_MEMBERSHIP_ELASTIC && t->wire == LH_WIRE_POWERSGD && !bad(map, "wire"))
		lang_error(l, &n->at, "membership: elastic does not go with wire powersgd: whoever joins would need the "
			   "factors of the exchange before");
	if (n && t->membership == LH_MEMBERSHIP_ELASTIC && l->exp.topology.npeers > LH_MEMBERS_MAX)
		lang_error(l, &n->at, "membership: elastic is for at most %d peers; these are %u", LH_MEMBERS_MAX,
			   l->exp.topology.npeers);
	n = lang_good(map, "checkpoint");
	if (n && (t->young || t->checkpoint_ns) && t->membership == LH_MEMBERSHIP_FIXED && !bad(map, "membership"))
		lang_error(l, &n->at, "checkpoint: needs membership: elastic; by the clock, the peers of a fixed group would "
			   "save different rounds: use checkpoint-rounds");
	else if (n && t->young && !(lh_experiment_interruptions_per_s(&l->exp) > 0))
		lang_error(l, &n->at, "checkpoint: young needs to know how often peers are taken away: give them spot:, "
			   "or kill some in the schedule");
}
