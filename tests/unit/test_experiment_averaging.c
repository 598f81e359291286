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

enum { SETS_MAX = 8 };

/* `sets`: overrides without their "training.", separated by spaces. */
static int load(const char *sets, struct lh_experiment *ret, struct lh_err *err)
{
	struct lh_override set[SETS_MAX];
	char text[SETS_MAX][160], copy[600], *save;
	size_t n = 0;
	snprintf(copy, sizeof copy, "%s", sets);
	for (char *one = strtok_r(copy, " ", &save); one && n < SETS_MAX; one = strtok_r(NULL, " ", &save)) {
		snprintf(text[n], sizeof text[n], "training.%s", one);
		set[n].text = text[n];
		n++;
	}
	return lh_experiment_load_text("test.yaml", file, sizeof file - 1, set, n, NULL, ret, err);
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
	       a->checkpoint_ns == b->checkpoint_ns && a->hivemind == b->hivemind;
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
		{ "strategy=delayed membership=elastic", "membership: elastic needs strategy exact; delayed has no" },
		{ "profile=hivemind membership=elastic", "membership: elastic needs strategy exact; eta has no" },
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
		{ "profile_hivemind", profile_hivemind },
		{ "what_is_refused", what_is_refused },
	};
	return lh_test_main(argc, argv, "experiment_averaging", tests, sizeof tests / sizeof *tests);
}
