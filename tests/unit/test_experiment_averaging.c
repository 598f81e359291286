/* The keys that say how peers average: what each becomes, what goes into the canonical form, what is refused. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

static const char file[] =
	"longhaul: 1\n"
	"sites: {us: {peers: 2}, eu: {peers: 2}}\n"
	"matrix: {rtt: 50ms}\n"
	"training: {model: digits, pace: 40/s, epochs: 20}\n";

enum { SETS_MAX = 12 };

/* `sets`: overrides without their "training.", separated by spaces. */
static int load(const char *sets, struct lh_experiment *ret, struct lh_err *err)
{
	struct lh_override set[SETS_MAX];
	char text[SETS_MAX][256], copy[600], *save;
	size_t n = 0;
	snprintf(copy, sizeof copy, "%s", sets);
	for (char *one = strtok_r(copy, " ", &save); one && n < SETS_MAX; one = strtok_r(NULL, " ", &save)) {
		snprintf(text[n], sizeof text[n], "training.%s", one);
		set[n].text = text[n];
		n++;
	}
	return lh_experiment_load_text("test.yaml", file, sizeof file - 1, set, n, NULL, ret, err);
}

static bool same_optim(const struct lh_optim_options *a, const struct lh_optim_options *b)
{
	return a->given && b->given && a->momentum == b->momentum && a->nesterov == b->nesterov && a->beta1 == b->beta1 &&
	       a->beta2 == b->beta2 && a->epsilon == b->epsilon && a->weight_decay == b->weight_decay &&
	       a->warmup_updates == b->warmup_updates && a->schedule == b->schedule &&
	       a->total_updates == b->total_updates && a->floor == b->floor && a->clip_norm == b->clip_norm;
}

/* Every number of the two trainings is the same. */
static bool same(const struct lh_training *a, const struct lh_training *b)
{
	const struct lh_sync_options *s = &a->sync, *u = &b->sync;
	return a->wire == b->wire && a->algorithm == b->algorithm && a->codec.topk_fraction == b->codec.topk_fraction &&
	       a->codec.powersgd_rank == b->codec.powersgd_rank && a->codec.error_feedback == b->codec.error_feedback &&
	       s->strategy == u->strategy && s->optimizer == u->optimizer && s->every == u->every &&
	       s->outer_learning_rate == u->outer_learning_rate && s->outer_momentum == u->outer_momentum &&
	       s->fragments == u->fragments && s->overlap == u->overlap && s->blend == u->blend &&
	       s->staleness == u->staleness && s->match_floor_ns == u->match_floor_ns && a->streams == b->streams &&
	       a->sockets == b->sockets && a->membership == b->membership && a->young == b->young &&
	       a->checkpoint_ns == b->checkpoint_ns && a->hivemind == b->hivemind && !strcmp(a->model, b->model) &&
	       a->learning_rate == b->learning_rate && a->precision == b->precision && a->engine == b->engine &&
	       a->deterministic == b->deterministic && same_optim(&a->optim, &b->optim);
}

/* The canonical form is a fixed point and gives the same training. */
static struct lh_training loaded(const char *sets)
{
	struct lh_experiment e, again;
	struct lh_err err = LH_ERR_INIT;
	int rc = load(sets, &e, &err);
	if (rc)
		printf("# %s: %s\n", sets, err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	rc = lh_experiment_load_text("again", e.canonical, strlen(e.canonical), NULL, 0, stdout, &again, &err);
	if (rc)
		printf("# %s\n%s", err.text, e.canonical);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_STRING_EQUAL(e.canonical, again.canonical);
	CU_ASSERT_TRUE(same(&e.training, &again.training));
	struct lh_training t = e.training;
	lh_experiment_done(&e);
	lh_experiment_done(&again);
	return t;
}

static void defaults(void)
{
	struct lh_training t = loaded("");
	CU_ASSERT(t.wire == LH_WIRE_FP16 && t.sync.strategy == LH_STRATEGY_EXACT &&
		  t.sync.optimizer == LH_OPTIMIZER_ADAMW && t.sync.every == 1 && t.sync.match_floor_ns == 0);
	CU_ASSERT(t.streams == 1 && t.sockets == LH_SOCKETS_STUDY && t.membership == LH_MEMBERSHIP_FIXED);
	CU_ASSERT(!t.young && !t.checkpoint_ns && !t.hivemind && !t.codec.error_feedback);
	t = loaded("sockets=tuned");
	CU_ASSERT(t.sockets == LH_SOCKETS_TUNED && t.streams == 0);
	t = loaded("wire=topk");
	CU_ASSERT(t.codec.topk_fraction == 0.01 && t.codec.error_feedback && t.codec.powersgd_rank == 0);
	t = loaded("wire=powersgd");
	CU_ASSERT(t.codec.powersgd_rank == 2 && t.codec.error_feedback && t.codec.topk_fraction == 0);
	t = loaded("strategy=diloco");
	CU_ASSERT(t.sync.every == 4 && t.sync.outer_learning_rate == 0.7 && t.sync.outer_momentum == 0.9);
	t = loaded("strategy=local-sgd");
	CU_ASSERT(t.sync.every == 4 && t.sync.outer_learning_rate == 1 && t.sync.outer_momentum == 0);
	t = loaded("strategy=streaming-diloco");
	CU_ASSERT(t.sync.fragments == 4 && t.sync.overlap == 1 && t.sync.blend == 0.5);
	t = loaded("strategy=streaming-diloco every=1");
	CU_ASSERT(t.sync.fragments == 1 && t.sync.overlap == 0);
	t = loaded("strategy=async");
	CU_ASSERT(t.sync.staleness == 1 && t.sync.every == 1);
}

static void every_key_arrives(void)
{
	struct lh_training t = loaded("wire=topk topk=0.1% optimizer=sgd strategy=streaming-diloco every=12 fragments=3 "
				      "overlap=2 blend=0.25");
	CU_ASSERT(t.codec.topk_fraction == 0.001 && t.sync.optimizer == LH_OPTIMIZER_SGD && t.sync.every == 12);
	CU_ASSERT(t.sync.fragments == 3 && t.sync.overlap == 2 && t.sync.blend == 0.25);
	t = loaded("wire=int8 error-feedback=yes strategy=diloco outer-learning-rate=0.5 outer-momentum=0 streams=16 "
		   "match-floor=250ms");
	CU_ASSERT(t.wire == LH_WIRE_INT8 && t.codec.error_feedback && t.sync.outer_learning_rate == 0.5);
	CU_ASSERT(t.sync.outer_momentum == 0 && t.streams == 16 && t.sync.match_floor_ns == 250 * LH_NS_PER_MS);
	t = loaded("wire=powersgd powersgd-rank=7 strategy=async staleness=3 streams=auto");
	CU_ASSERT(t.codec.powersgd_rank == 7 && t.sync.staleness == 3 && t.streams == 0);
	t = loaded("membership=elastic checkpoint=90s");
	CU_ASSERT(t.checkpoint_ns == 90 * LH_NS_PER_S);
	t = loaded("membership=elastic checkpoint=none wire=bf16 strategy=exact");
	CU_ASSERT(t.membership == LH_MEMBERSHIP_ELASTIC && t.wire == LH_WIRE_BF16 && !t.checkpoint_ns);
}

/* The words of the key table are those of the enums, in their order. */
static void every_word_is_its_enum(void)
{
	char set[64];
	for (int i = 0; lh_wire_names[i]; i++) {
		snprintf(set, sizeof set, "wire=%s", lh_wire_names[i]);
		CU_ASSERT_EQUAL((int)loaded(set).wire, i);
	}
	for (int i = 0; lh_strategy_names[i]; i++) {
		snprintf(set, sizeof set, "strategy=%s", lh_strategy_names[i]);
		CU_ASSERT_EQUAL((int)loaded(set).sync.strategy, i);
	}
	for (int i = 0; lh_optimizer_names[i]; i++) {
		snprintf(set, sizeof set, "optimizer=%s", lh_optimizer_names[i]);
		CU_ASSERT_EQUAL((int)loaded(set).sync.optimizer, i);
	}
	for (int i = 0; lh_sockets_names[i]; i++) {
		snprintf(set, sizeof set, "sockets=%s", lh_sockets_names[i]);
		CU_ASSERT_EQUAL((int)loaded(set).sockets, i);
	}
	for (int i = 0; lh_membership_names[i]; i++) {
		snprintf(set, sizeof set, "membership=%s", lh_membership_names[i]);
		CU_ASSERT_EQUAL((int)loaded(set).membership, i);
	}
}

static void optimizer_keys(void)
{
	struct lh_optim_options d = lh_optim_defaults(LH_OPTIMIZER_ADAMW);
	struct lh_training t = loaded("");
	CU_ASSERT_TRUE(same_optim(&t.optim, &d));
	t = loaded("optimizer=lamb");
	d = lh_optim_defaults(LH_OPTIMIZER_LAMB);
	CU_ASSERT_TRUE(same_optim(&t.optim, &d));
	t = loaded("optimizer=sgd momentum=0.9 nesterov=yes weight-decay=0.0005 learning-rate=0.1 learning-rate-warmup=5 "
		   "learning-rate-schedule=cosine learning-rate-floor=1.5% clip-norm=2.5");
	CU_ASSERT(t.optim.momentum == 0.9 && t.optim.nesterov && t.optim.weight_decay == 0.0005 && t.learning_rate == 0.1);
	CU_ASSERT(t.optim.warmup_updates == 5 && t.optim.schedule == LH_SCHEDULE_COSINE && t.optim.floor == 0.015);
	CU_ASSERT(t.optim.clip_norm == 2.5 && t.optim.beta1 == 0 && t.optim.total_updates == 0);
	t = loaded("optimizer=lamb beta1=0.8 beta2=0.98 epsilon=1e-12 learning-rate-warmup=0 weight-decay=0");
	CU_ASSERT(t.optim.beta1 == 0.8 && t.optim.beta2 == 0.98 && t.optim.epsilon == 1e-12 && !t.optim.warmup_updates);
	CU_ASSERT(t.optim.weight_decay == 0 && t.optim.momentum == 0);
	for (int i = 0; lh_schedule_names[i]; i++) {
		char set[64];
		snprintf(set, sizeof set, "learning-rate-schedule=%s", lh_schedule_names[i]);
		CU_ASSERT_EQUAL((int)loaded(set).optim.schedule, i);
	}
}

static void precision_and_determinism(void)
{
	struct lh_training t = loaded("engine=cuda model=resnet-lab precision=bf16 deterministic=yes wire=fp16");
	CU_ASSERT(t.engine == LH_ENGINE_CUDA && t.precision == LH_PRECISION_BF16 && t.deterministic);
	t = loaded("engine=cuda model=resnet-lab precision=fp16");
	CU_ASSERT(t.precision == LH_PRECISION_FP16 && !t.deterministic);
}

/* A model may be any that the trainer can make; it is the trainer that knows. */
static void model_by_specification(void)
{
	static const char spec[] = "model=resnet152:width=1/16,depth=1,image=224,symbols=1000,drop=0";
	CU_ASSERT_STRING_EQUAL(loaded(spec).model, spec + 6);
}

static void profile_hivemind(void)
{
	struct lh_training t = loaded("profile=hivemind");
	CU_ASSERT(t.hivemind && t.sync.strategy == LH_STRATEGY_ETA && t.wire == LH_WIRE_FP16 && t.streams == 1);
	CU_ASSERT(t.algorithm == LH_ALGORITHM_BUTTERFLY && t.sockets == LH_SOCKETS_STUDY);
	CU_ASSERT_EQUAL(t.sync.match_floor_ns, 5 * LH_NS_PER_S);
	t = loaded("profile=hivemind wire=fp16 match-floor=5000ms"); /* the same said again */
	CU_ASSERT_TRUE(t.hivemind);
	CU_ASSERT_FALSE(loaded("profile=none wire=fp32").hivemind);
}

static void what_is_refused(void)
{
	static const struct { const char *sets, *says; } cases[] = {
		{ "topk=1%", "topk: wire fp16 does not use it; it belongs to wire topk" },
		{ "wire=topk topk=0%", "is not within" },
		{ "wire=int8 powersgd-rank=2", "powersgd-rank: wire int8 does not use it; it belongs to wire powersgd" },
		{ "wire=topk error-feedback=no", "error-feedback: wire topk does not converge without it" },
		{ "wire=fp32 error-feedback=yes", "error-feedback: wire fp32 takes nothing away" },
		{ "every=4", "every: strategy exact does not use it; it belongs to strategy local-sgd, diloco, streaming-diloco" },
		{ "strategy=local-sgd outer-momentum=0.9", "outer-momentum: strategy local-sgd does not use it" },
		{ "strategy=diloco fragments=2", "fragments: strategy diloco does not use it" },
		{ "strategy=diloco staleness=2", "staleness: strategy diloco does not use it; it belongs to strategy async" },
		{ "strategy=streaming-diloco every=3 fragments=4",
		  "fragments (4) are more than the rounds in which each is exchanged once (every: 3)" },
		{ "strategy=streaming-diloco every=3 overlap=3", "overlap (3) must be below every (3)" },
		{ "strategy=diloco every=21", "every (21) leaves no exchange in 20 epochs" },
		{ "strategy=diloco epochs=3", "every (4) leaves no exchange in 3 epochs" },
		{ "strategy=delayed membership=elastic", "membership: elastic needs strategy exact, local-sgd or diloco; delayed: a sum is always under way" },
		{ "strategy=streaming-diloco every=4 membership=elastic", "streaming-diloco: fragments are always under way" },
		{ "strategy=async membership=elastic", "async: it has no rounds that all members commit" },
		{ "profile=hivemind membership=elastic", "membership: elastic needs strategy exact, local-sgd or diloco; eta: its rounds end when" },
		{ "wire=powersgd membership=elastic", "membership: elastic does not go with wire powersgd" },
		{ "profile=hivemind wire=fp32", "wire: fp32 contradicts profile: hivemind (line 1), which has fp16" },
		{ "profile=hivemind match-floor=0s", "match-floor: 0s contradicts profile: hivemind" },
		{ "profile=hivemind streams=auto", "streams: auto contradicts profile: hivemind" },
		{ "profile=hivemind algorithm=ring", "algorithm: ring contradicts profile: hivemind" },
		{ "profile=hivemind topk=1%", "topk: wire fp16 does not use it" },
		{ "checkpoint=5s", "checkpoint: needs membership: elastic" },
		{ "membership=elastic checkpoint=young", "checkpoint: young needs to know how often peers are taken away" },
		{ "checkpoint=yuong", "\"yuong\" is neither a time nor one of none, young; did you mean \"young\"?" },
		{ "checkpoint=5", "a time needs a unit (ns, us, ms, s, min, h); did you mean 5s?" },
		{ "checkpoint=1ms", "is not within 1s ... 86400s" },
		{ "streams=0", "\"0\" is not within 1 ... 64" },
		{ "streams=many", "\"many\" is neither a whole number nor auto" },
		{ "streams=1.5", "is not a whole number" },
		{ "strategy=dilco", "did you mean \"diloco\"?" },
		{ "strategy=diloco outer-momentum=1", "is not within 0 ... 0.9999" },
		{ "precision=bf16", "precision: engine cpu knows fp32 only; bf16 is for engine cuda" },
		{ "engine=cuda model=resnet-lab precision=fp16 wire=topk",
		  "precision: fp16 does not go with error feedback, which wire topk has" },
		{ "engine=cuda model=resnet-lab precision=fp16 wire=int8 error-feedback=yes",
		  "precision: fp16 does not go with error feedback: what" },
		{ "optimizer=adam", "did you mean \"adamw\"?" },
		{ "momentum=0.9", "momentum: optimizer adamw does not use it; it belongs to optimizer sgd" },
		{ "optimizer=sgd beta2=0.9", "beta2: optimizer sgd does not use it; it belongs to optimizer adamw, lamb" },
		{ "optimizer=sgd momentum=1", "is not within 0 ... 0.9999" },
		{ "optimizer=sgd nesterov=yes", "nesterov: needs momentum" },
		{ "epsilon=0", "is not within 1e-30 ... 1" },
		{ "weight-decay=-1", "is not within 0 ... 10" },
		{ "clip-norm=nan", "clip-norm" },
		{ "learning-rate-floor=10%", "learning-rate-floor: learning-rate-schedule constant does not use it" },
		{ "learning-rate-schedule=cosine learning-rate-floor=101%", "learning-rate-floor" },
		{ "learning-rate-schedule=cosine learning-rate-warmup=20", "learning-rate-warmup (20) leaves nothing of 20 epochs" },
		{ "learning-rate-schedule=linear", "learning-rate-schedule" },
		{ "learning-rate-warmup=2.5", "is not a whole number" },
		{ "model=resnet18:width=1/8,WIDTH=2", "model: engine cpu has no model \"resnet18:width=1/8,WIDTH=2\"" },
		{ "model=:width=1/8", "model: engine cpu has no model" },
		{ "model=resnet18:width=1/8,image=48,image=48,image=48,image=48,image=48,image=48,image=48,image=48,image=48,"
		  "image=48,image=48,image=48,image=48", "model: longer than 127 bytes" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_experiment e;
		struct lh_err err = LH_ERR_INIT;
		int rc = load(cases[i].sets, &e, &err);
		CU_ASSERT_EQUAL(rc, -EINVAL);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		if (rc == 0 || !strstr(err.text, cases[i].says) || !strstr(err.text, "(1 error)")) {
			printf("# %s: %s\n", cases[i].sets, err.text);
			CU_FAIL("message");
		}
		if (rc == 0)
			lh_experiment_done(&e);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "defaults", defaults },
		{ "every_key_arrives", every_key_arrives },
		{ "every_word_is_its_enum", every_word_is_its_enum },
		{ "optimizer_keys", optimizer_keys },
		{ "precision_and_determinism", precision_and_determinism },
		{ "model_by_specification", model_by_specification },
		{ "profile_hivemind", profile_hivemind },
		{ "what_is_refused", what_is_refused },
	};
	return lh_test_main(argc, argv, "experiment_averaging", tests, sizeof tests / sizeof *tests);
}
