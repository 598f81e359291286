/* The two formats between harness and peer: everything comes back as it went, and nothing else comes in. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "lhtrees.h"
#include "longhaul/peer.h"

static struct lh_peer_endpoint endpoints[3] = {
	{ "us-0", "10.0.0.1", 7000, 40 }, { "eu-0", "fd00::1", 65535, 0.5 }, { "asia-0", "10.0.0.3", 1, 1e6, .absent = 1 },
};

static const struct lh_peer_config sample = {
	.protocol = LH_PEER_PROTOCOL, .rank = 2, .size = 3, .peers = endpoints, .secret = "0123456789abcdef",
	.engine = LH_ENGINE_PACED, .model = "RXLM", .parameters = 560142482, .wire = LH_WIRE_FP16,
	.target_batch = 32768, .microbatch = 32, .epochs = 6, .learning_rate = 0.002, .seed = UINT64_MAX,
	.deadline_ns = 20 * LH_NS_PER_S, .data_dir = "/usr/share/longhaul", .flip_rank = 1, .flip_epoch = 3,
	.starve_ns = 5, .streams = 1,
};

/* Of what averaging is told: every member has a value of its own. */
static struct lh_peer_config averaging(void)
{
	struct lh_peer_config c = sample;
	c.codec = (struct lh_codec_options){ .topk_fraction = 0.015, .powersgd_rank = 3, .error_feedback = true };
	c.sync = (struct lh_sync_options){
		.strategy = LH_STRATEGY_STREAMING_DILOCO, .optimizer = LH_OPTIMIZER_SGD, .every = 9,
		.outer_learning_rate = 0.7, .outer_momentum = 0.9, .fragments = 4, .overlap = 2, .blend = 0.25,
		.staleness = 5, .match_floor_ns = 6,
	};
	c.optim = (struct lh_optim_options){
		.given = true, .momentum = 0.9, .nesterov = true, .beta1 = 0.5, .beta2 = 0.6, .epsilon = 1e-9,
		.weight_decay = 0.125, .warmup_updates = 11, .schedule = LH_SCHEDULE_COSINE, .total_updates = 99, .floor = 0.05,
		.clip_norm = 1.5,
	};
	memset(c.model, 'm', sizeof c.model - 1);
	c.wire = LH_WIRE_TOPK;
	c.streams = 7;
	c.sockets = LH_SOCKETS_TUNED;
	return c;
}

static void test_config_round_trip(void)
{
	struct lh_err err = LH_ERR_INIT;
	char *text = NULL, *again = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&sample, &text, &err), 0);
	struct lh_peer_config c;
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_read(text, strlen(text), &c, &err), 0);
	CU_ASSERT_EQUAL(c.rank, 2);
	CU_ASSERT_EQUAL(c.size, 3);
	CU_ASSERT_STRING_EQUAL(c.peers[1].host, "fd00::1");
	CU_ASSERT_EQUAL(c.peers[1].port, 65535);
	CU_ASSERT_EQUAL(c.peers[1].samples_per_s, 0.5);
	CU_ASSERT_EQUAL(c.peers[1].absent, 0);
	CU_ASSERT_EQUAL(c.peers[2].absent, 1);
	CU_ASSERT_EQUAL(c.seed, UINT64_MAX);
	CU_ASSERT_EQUAL(c.engine, LH_ENGINE_PACED);
	CU_ASSERT_EQUAL(c.wire, LH_WIRE_FP16);
	CU_ASSERT_EQUAL(c.learning_rate, 0.002);
	CU_ASSERT_EQUAL(c.flip_rank, 1);
	CU_ASSERT_EQUAL(c.flip_epoch, 3);
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&c, &again, &err), 0);
	CU_ASSERT_STRING_EQUAL(text, again);
	lh_peer_config_done(&c);
	free(text);
	free(again);
}

/* The sample with one piece of its text replaced. */
static int read_edited(const char *from, const char *to, struct lh_err *err)
{
	char *text = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&sample, &text, err), 0);
	char *at = strstr(text, from);
	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	char *edited = malloc(strlen(text) + strlen(to) + 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(edited);
	*at = 0;
	strcpy(edited, text);
	strcat(edited, to);
	strcat(edited, at + strlen(from));
	struct lh_peer_config c;
	int rc = lh_peer_config_read(edited, strlen(edited), &c, err);
	if (!rc)
		lh_peer_config_done(&c);
	free(edited);
	free(text);
	return rc;
}

static void test_config_trees(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_config a = sample, c;
	char *text = NULL;
	a.algorithm = LH_ALGORITHM_PACKED_TREES;
	a.trees = lhtrees_random(a.size, 5, 3);
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&a, &text, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_read(text, strlen(text), &c, &err), 0);
	CU_ASSERT_EQUAL_FATAL(c.trees.n, 5);
	CU_ASSERT_EQUAL(c.trees.npeers, a.size);
	for (unsigned b = 0; b < 5; b++)
		CU_ASSERT(c.trees.weight[b] == a.trees.weight[b] && c.trees.root[b] == a.trees.root[b]);
	CU_ASSERT_EQUAL(memcmp(c.trees.up, a.trees.up, 5 * a.size * sizeof *c.trees.up), 0);
	CU_ASSERT_EQUAL(memcmp(c.trees.down, a.trees.down, 5 * a.size * sizeof *c.trees.down), 0);
	/* A root that is nobody, a tree that is none. */
	char *at = strstr(text, "\"root\": ");
	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	at[8] = '9';
	struct lh_peer_config bad;
	CU_ASSERT_TRUE(lh_peer_config_read(text, strlen(text), &bad, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "trees[0]"));
	lh_peer_config_done(&c);
	lh_trees_done(&a.trees);
	free(text);
}

static void test_config_averaging(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_config a = averaging(), c;
	char *text = NULL;
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&a, &text, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_read(text, strlen(text), &c, &err), 0);
	CU_ASSERT(c.codec.topk_fraction == 0.015 && c.codec.powersgd_rank == 3 && c.codec.error_feedback);
	CU_ASSERT(c.sync.strategy == LH_STRATEGY_STREAMING_DILOCO && c.sync.optimizer == LH_OPTIMIZER_SGD);
	CU_ASSERT(c.sync.every == 9 && c.sync.outer_learning_rate == 0.7 && c.sync.outer_momentum == 0.9);
	CU_ASSERT(c.sync.fragments == 4 && c.sync.overlap == 2 && c.sync.blend == 0.25 && c.sync.staleness == 5);
	CU_ASSERT(c.sync.match_floor_ns == 6 && c.wire == LH_WIRE_TOPK && c.streams == 7);
	CU_ASSERT_EQUAL(c.sockets, LH_SOCKETS_TUNED);
	CU_ASSERT(c.optim.given && c.optim.momentum == 0.9 && c.optim.nesterov && c.optim.beta1 == 0.5 && c.optim.beta2 == 0.6);
	CU_ASSERT(c.optim.epsilon == 1e-9 && c.optim.weight_decay == 0.125 && c.optim.warmup_updates == 11);
	CU_ASSERT(c.optim.schedule == LH_SCHEDULE_COSINE && c.optim.total_updates == 99 && c.optim.floor == 0.05);
	CU_ASSERT(c.optim.clip_norm == 1.5 && strlen(c.model) == LH_MODEL_SPEC_MAX - 1);
	lh_peer_config_done(&c);
	free(text);
	a = sample;
	a.membership = LH_MEMBERSHIP_ELASTIC;
	a.absent = true;
	a.incarnation = 3;
	a.checkpoint_ns = 8;
	a.interrupted_ns = 10;
	snprintf(a.checkpoint_dir, sizeof a.checkpoint_dir, "/tmp/peer");
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_print(&a, &text, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_read(text, strlen(text), &c, &err), 0);
	CU_ASSERT(c.membership == LH_MEMBERSHIP_ELASTIC && c.absent && c.incarnation == 3);
	CU_ASSERT(c.checkpoint_ns == 8 && c.interrupted_ns == 10);
	CU_ASSERT_STRING_EQUAL(c.checkpoint_dir, "/tmp/peer");
	lh_peer_config_done(&c);
	free(text);
	/* a configuration of before has one stream and averages as then */
	static const char old[] =
	    "{\"protocol\": 1, \"rank\": 0, \"size\": 1, \"peers\": [{\"name\": \"a\", \"host\": \"10.0.0.1\", "
	    "\"port\": 1, \"samples_per_s\": 1}], \"secret\": \"0123456789abcdef\", \"engine\": \"cpu\", \"model\": "
	    "\"digits\", \"parameters\": 0, \"wire\": \"fp16\", \"target_batch\": 1, \"microbatch\": 1, \"epochs\": 1, "
	    "\"learning_rate\": 0.1, \"seed\": 1, \"deadline_ns\": 1000000000, \"data_dir\": \"/\"}";
	CU_ASSERT_EQUAL_FATAL(lh_peer_config_read(old, sizeof old - 1, &c, &err), 0);
	CU_ASSERT(c.streams == 1 && c.sync.strategy == LH_STRATEGY_EXACT && c.membership == LH_MEMBERSHIP_FIXED);
	lh_peer_config_done(&c);
}

/* What the strategy, the codec and the membership cannot go with. */
static void test_config_averaging_refusals(void)
{
	for (int i = 0; i < 9; i++) {
		static const char *const says[] = { "topk_fraction", "powersgd_rank", "every", "fragments", "fragments",
						    "overlap", "staleness", "membership", "checkpoint_ns" };
		struct lh_err err = LH_ERR_INIT;
		struct lh_peer_config c = averaging();
		char *text;
		if (i == 0)
			c.codec.topk_fraction = 0;
		else if (i == 1)
			c.wire = LH_WIRE_POWERSGD, c.codec.powersgd_rank = 0;
		else if (i == 2)
			c.sync.every = 0;
		else if (i == 3)
			c.sync.fragments = 0;
		else if (i == 4)
			c.sync.fragments = 10;
		else if (i == 5)
			c.sync.overlap = 9;
		else if (i == 6)
			c.sync.strategy = LH_STRATEGY_ASYNC, c.sync.staleness = 0;
		else if (i == 7)
			c.membership = LH_MEMBERSHIP_ELASTIC;
		else
			c.checkpoint_ns = 8;
		CU_ASSERT_EQUAL(lh_peer_config_print(&c, &text, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says[i]));
	}
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(read_edited("\"absent\": false", "\"absent\": true", &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "\"absent\": needs membership elastic"));
	CU_ASSERT_EQUAL(read_edited("\"absent\": false", "\"absent\": 1", &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "is not true or false"));
	CU_ASSERT_EQUAL(read_edited("\"streams\": 1", "\"streams\": 65", &err), -EINVAL);
	CU_ASSERT_EQUAL(read_edited("\"strategy\": \"exact\"", "\"strategy\": \"exakt\"", &err), -EINVAL);
}

/* sqrt(2 x 2 s x 900 s) = 60 s; never below the time of writing. */
static void test_young(void)
{
	CU_ASSERT_EQUAL(lh_young_ns(2 * LH_NS_PER_S, 900 * LH_NS_PER_S), 60 * LH_NS_PER_S);
	CU_ASSERT_EQUAL(lh_young_ns(50 * LH_NS_PER_S, LH_NS_PER_S), 50 * LH_NS_PER_S);
	CU_ASSERT_EQUAL(lh_young_ns(0, 900 * LH_NS_PER_S), 0);
	CU_ASSERT_EQUAL(lh_young_ns(LH_NS_PER_S, 0), 0);
}

static void test_config_refusals(void)
{
	static const struct { const char *from, *to, *says; } cases[] = {
		{ "\"protocol\": 1", "\"protocol\": 2", "\"protocol\": 2 is outside" },
		{ "\"rank\": 2", "\"rank\": 3", "rank" },
		{ "\"rank\": 2", "\"rank\": -1", "negative" },
		{ "\"rank\": 2", "\"rank\": 2.0", "not an integer" },
		{ "\"rank\": 2", "\"rank\": \"2\"", "not an integer" },
		{ "\"rank\": 2", "\"rank\": 2, \"rank\": 2", "duplicate" },
		{ "\"rank\": 2", "\"rank\": 2, \"colour\": 1", "\"colour\": is not known" },
		{ "\"rank\": 2,", "", "\"rank\": is missing" },
		{ "\"size\": 3", "\"size\": 4", "peers" },
		{ "\"size\": 3", "\"size\": 4097", "outside" },
		{ "\"paced\"", "\"tpu\"", "engine" },
		{ "\"fp16\"", "\"fp8\"", "wire" },
		{ "10.0.0.1", "example.org", "peers[0]: key \"host\": \"example.org\"" },
		{ "\"port\": 7000", "\"port\": 0", "port" },
		{ "\"port\": 7000", "\"port\": 65536", "outside" },
		{ "\"absent\": 1", "\"absent\": 2", "outside" },
		{ "\"samples_per_s\": 40.0", "\"samples_per_s\": 0", "more than 0" },
		{ "\"samples_per_s\": 40.0", "\"samples_per_s\": -1", "outside" },
		{ "\"name\": \"us-0\"", "\"name\": \"\"", "empty" },
		{ "us-0", "a name that is longer than thirty-one bytes", "longer than 31" },
		{ "us-0", "us\\u0007", "control" },
		{ "0123456789abcdef", "0123456789ABCDEF", "secret" },
		{ "0123456789abcdef", "01", "secret" },
		{ "\"parameters\": 560142482", "\"parameters\": 0", "at least 1" },
		{ "\"deadline_ns\": 20000000000", "\"deadline_ns\": 1", "deadline_ns" },
		{ "18446744073709551615", "18446744073709551616", "not an integer" },
		{ "18446744073709551615", "1", "not an integer" },
		{ "\"learning_rate\": 0.002", "\"learning_rate\": 1e999", "peer configuration:" },
		{ "\"beta1\": 0.90000000000000002", "\"beta1\": 1", "key \"beta1\": 1 is not within" },
		{ "\"epsilon\": 1e-8", "\"epsilon\": 0", "key \"epsilon\": 0 is not above 0" },
		{ "\"momentum\": 0.0", "\"momentum\": 1.5", "outside" },
		{ "\"nesterov\": false", "\"nesterov\": true", "key \"nesterov\": 0 is no momentum" },
		{ "\"constant\"", "\"linear\"", "schedule" },
		{ "\"RXLM\"",
		  "\"resnet18:width=1/8,depth=1,image=48,symbols=10,width=1/8,depth=1,image=48,symbols=10,width=1/8,depth=1,image="
		  "48,symbols=10,drop=000000000\"", "longer than 127" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_err err = LH_ERR_INIT;
		int rc = read_edited(cases[i].from, cases[i].to, &err);
		CU_ASSERT_TRUE(rc < 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		if (rc == 0 || !strstr(err.text, cases[i].says)) {
			printf("# %s -> %s: %s\n", cases[i].from, cases[i].to, err.text);
			CU_FAIL("message");
		}
	}
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(read_edited("10.0.0.1", "10.0.0.9", &err), 0);
	CU_ASSERT_EQUAL(read_edited("\"starve_ns\": 5", "\"flip_rank\": 0", &err), -EINVAL); /* duplicate */
	struct lh_peer_config c;
	CU_ASSERT_EQUAL(lh_peer_config_read("[]", 2, &c, &err), -EINVAL);
	CU_ASSERT_EQUAL(lh_peer_config_read("", 0, &c, &err), -EINVAL);
}

static const struct lh_event epoch_event = {
	.kind = LH_EVENT_EPOCH, .rank = 3, .t_ns = INT64_MAX, .epoch = 2, .begin_ns = 1, .calc_end_ns = 2,
	.exchange_end_ns = 3, .commit_ns = 4, .samples = 5, .total_samples = 20, .ranges = "0+3,9+2", .bytes_sent = 6,
	.bytes_received = UINT64_MAX, .uses = 1, .shared = LH_SHARED_NO,
	.groups = 3, .group = 2, .group_size = 4,
	.loss_sum = 0.1, .busy_ns = 8, .late_ns = 9, .state_hash = 0xfedcba9876543210, .culprit = -1,
};

static void round_trip(const struct lh_event *e, struct lh_event *ret)
{
	char buf[LH_EVENT_LINE_MAX], again[LH_EVENT_LINE_MAX];
	struct lh_err err = LH_ERR_INIT;
	int len = lh_event_print(e, buf, sizeof buf);
	CU_ASSERT_TRUE_FATAL(len > 0);
	CU_ASSERT_EQUAL(strlen(buf), (size_t)len);
	CU_ASSERT_EQUAL(buf[len - 1], '\n');
	CU_ASSERT_PTR_EQUAL(strchr(buf, '\n'), buf + len - 1);
	CU_ASSERT_EQUAL_FATAL(lh_event_parse(buf, (size_t)len - 1, ret, &err), 0);
	CU_ASSERT_EQUAL(lh_event_print(ret, again, sizeof again), len);
	CU_ASSERT_STRING_EQUAL(buf, again);
	CU_ASSERT_EQUAL(lh_event_print(e, buf, (size_t)len), -ENOSPC);
	CU_ASSERT_EQUAL(lh_event_print(e, buf, (size_t)len + 1), len);
}

static void test_event_round_trip(void)
{
	struct lh_event e;
	round_trip(&epoch_event, &e);
	CU_ASSERT_EQUAL(e.state_hash, epoch_event.state_hash);
	CU_ASSERT_EQUAL(e.bytes_received, UINT64_MAX);
	CU_ASSERT_EQUAL(e.loss_sum, 0.1);
	CU_ASSERT_EQUAL(e.late_ns, 9);
	CU_ASSERT_EQUAL(e.total_samples, 20);
	CU_ASSERT_EQUAL(e.uses, 1);
	CU_ASSERT_EQUAL(e.shared, LH_SHARED_NO);
	struct lh_event future = epoch_event;
	char line[LH_EVENT_LINE_MAX];
	future.uses = future.epoch + 1;
	CU_ASSERT_EQUAL(lh_event_print(&future, line, sizeof line), -EINVAL);
	CU_ASSERT_TRUE(e.groups == 3 && e.group == 2 && e.group_size == 4);
	future = epoch_event;
	future.group_size = 0; /* of groups, but in none */
	CU_ASSERT_EQUAL(lh_event_print(&future, line, sizeof line), -EINVAL);
	CU_ASSERT_STRING_EQUAL(e.ranges, "0+3,9+2");

	struct lh_event lossless = epoch_event;
	lossless.loss_sum = NAN;
	round_trip(&lossless, &e);
	CU_ASSERT_TRUE(isnan(e.loss_sum));

	round_trip(&(struct lh_event){ .kind = LH_EVENT_LISTENING, .rank = 1, .t_ns = 7 }, &e);
	CU_ASSERT_EQUAL(e.kind, LH_EVENT_LISTENING);
	CU_ASSERT_EQUAL(e.t_ns, 7);
	round_trip(&(struct lh_event){ .kind = LH_EVENT_JOINED, .parameters = 1234, .state_hash = 1, .bytes_sent = 5,
					  .bytes_received = 6 }, &e);
	CU_ASSERT_TRUE(e.bytes_sent == 5 && e.bytes_received == 6);
	CU_ASSERT_EQUAL(e.parameters, 1234);
	CU_ASSERT_EQUAL(e.state_hash, 1);
	round_trip(&(struct lh_event){ .kind = LH_EVENT_FINISHED }, &e);
	CU_ASSERT_EQUAL(e.kind, LH_EVENT_FINISHED);
	struct lh_event eval = {
		.kind = LH_EVENT_EVAL, .metric = "held_out_accuracy", .value = 0.93, .reference = 0.1,
	};
	round_trip(&eval, &e);
	CU_ASSERT_STRING_EQUAL(e.metric, "held_out_accuracy");
	CU_ASSERT_EQUAL(e.value, 0.93);
	struct lh_event bench = {
		.kind = LH_EVENT_BENCH, .epoch = 2, .t_ns = 9, .begin_ns = 7, .exchange_end_ns = 9, .bytes_sent = 11,
		.bytes_received = 12, .wrong = 3, .busy_ns = 4, .tcp_window_ns = 5, .tcp_retransmits = 6,
	};
	round_trip(&bench, &e);
	CU_ASSERT_TRUE(e.epoch == 2 && e.begin_ns == 7 && e.exchange_end_ns == 9 && e.wrong == 3);
	CU_ASSERT_TRUE(e.bytes_sent == 11 && e.bytes_received == 12);
	CU_ASSERT_TRUE(e.busy_ns == 4 && e.tcp_window_ns == 5 && e.tcp_retransmits == 6);
	char unordered[LH_EVENT_LINE_MAX];
	bench.begin_ns = 10;
	CU_ASSERT_EQUAL(lh_event_print(&bench, unordered, sizeof unordered), -EINVAL);
	struct lh_event failed = { .kind = LH_EVENT_FAILED, .culprit = 4, .reason = "peer \"x\"\n\xff: \\gone" };
	round_trip(&failed, &e);
	CU_ASSERT_EQUAL(e.culprit, 4);
	CU_ASSERT_STRING_EQUAL(e.reason, "peer \"x\"??: \\gone");
	memset(failed.reason, '"', sizeof failed.reason); /* no NUL, and the longest escape there is */
	round_trip(&failed, &e);
	CU_ASSERT_EQUAL(strlen(e.reason), sizeof e.reason - 1);
	failed.reason[0] = 0;
	char buf[LH_EVENT_LINE_MAX];
	CU_ASSERT_TRUE(lh_event_print(&failed, buf, sizeof buf) > 0);
}

static const struct lh_event view_event = {
	.kind = LH_EVENT_VIEW, .rank = 1, .t_ns = 50, .view = 3, .members = 0xb, .gone = 0x5, .came = 0x1,
	.cause = LH_VIEW_LOST, .noticed_ns = 40, .version = 7, .aborted_round = 8, .samples_redealt = 21,
};

/* What only an elastic run tells. */
static void test_member_events(void)
{
	struct lh_event e;
	round_trip(&view_event, &e);
	CU_ASSERT_EQUAL(e.view, 3);
	CU_ASSERT_EQUAL(e.members, 0xb);
	CU_ASSERT_EQUAL(e.gone, 0x5);
	CU_ASSERT_EQUAL(e.came, 0x1);
	CU_ASSERT_EQUAL(e.cause, LH_VIEW_LOST);
	CU_ASSERT_EQUAL(e.noticed_ns, 40);
	CU_ASSERT_EQUAL(e.version, 7);
	CU_ASSERT_EQUAL(e.aborted_round, 8);
	CU_ASSERT_EQUAL(e.samples_redealt, 21);
	struct lh_event synced = {
		.kind = LH_EVENT_SYNCED, .t_ns = 9, .version = 4, .donor = 2, .begin_ns = 3, .bytes_received = 11,
		.state_hash = 12,
	};
	round_trip(&synced, &e);
	CU_ASSERT_EQUAL(e.donor, 2);
	CU_ASSERT_EQUAL(e.begin_ns, 3);
	CU_ASSERT_EQUAL(e.bytes_received, 11);
	CU_ASSERT_EQUAL(e.state_hash, 12);
	round_trip(&(struct lh_event){ .kind = LH_EVENT_SAMPLES, .epoch = 4, .ranges = "3+4,9+1" }, &e);
	CU_ASSERT_TRUE(e.epoch == 4 && !strcmp(e.ranges, "3+4,9+1"));
	struct lh_event checkpoint = {
		.kind = LH_EVENT_CHECKPOINT, .t_ns = 9, .version = 4, .begin_ns = 9, .bytes = 77, .state_hash = 5,
	};
	round_trip(&checkpoint, &e);
	CU_ASSERT_EQUAL(e.bytes, 77);
	round_trip(&(struct lh_event){ .kind = LH_EVENT_LEFT, .version = 6 }, &e);
	CU_ASSERT_EQUAL(e.version, 6);
	struct lh_event epoch = epoch_event;
	epoch.view = 2;
	round_trip(&epoch, &e);
	CU_ASSERT_EQUAL(e.view, 2);
}

static void test_member_event_refusals(void)
{
	char buf[LH_EVENT_LINE_MAX];
	struct lh_event bad[] = { view_event, view_event, view_event, view_event };
	bad[0].noticed_ns = 51;
	bad[1].members = 0;
	bad[2].came = 0x4;
	bad[3].aborted_round = 7;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(lh_event_print(&bad[i], buf, sizeof buf), -EINVAL);
	struct lh_event synced = { .kind = LH_EVENT_SYNCED, .t_ns = 1, .begin_ns = 2 };
	CU_ASSERT_EQUAL(lh_event_print(&synced, buf, sizeof buf), -EINVAL);
	synced.begin_ns = 1;
	synced.donor = LH_MEMBERS_MAX;
	CU_ASSERT_EQUAL(lh_event_print(&synced, buf, sizeof buf), -EINVAL);
}

static void test_event_refusals(void)
{
	static const char *const lines[] = {
		"", "{}", "[]", "null", "{\"event\":\"joined\"}", "{\"event\":7,\"rank\":0,\"t_ns\":1}",
		"{\"event\":\"listening\",\"rank\":0,\"t_ns\":1}x", "{\"event\":\"listening\",\"rank\":0,\"t_ns\":-1}",
		"{\"event\":\"listening\",\"rank\":0,\"t_ns\":1,\"t_ns\":1}",
		"{\"event\":\"listening\",\"rank\":0,\"t_ns\":1,\"epoch\":1}",
		"{\"event\":\"gone\",\"rank\":0,\"t_ns\":1}",
		"{\"event\":\"left\",\"rank\":0,\"t_ns\":1}",
		"{\"event\":\"joined\",\"rank\":0,\"t_ns\":1,\"parameters\":1,\"state_hash\":\"1\"}",
		"{\"event\":\"joined\",\"rank\":0,\"t_ns\":1,\"parameters\":1,\"state_hash\":\"000000000000000G\"}",
		"{\"event\":\"failed\",\"rank\":0,\"t_ns\":1,\"culprit\":-2,\"reason\":\"x\"}",
		"{\"event\":\"failed\",\"rank\":0,\"t_ns\":1,\"culprit\":-1,\"reason\":\"\"}",
	};
	struct lh_event e;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		struct lh_err err = LH_ERR_INIT;
		CU_ASSERT_TRUE(lh_event_parse(lines[i], strlen(lines[i]), &e, &err) < 0);
		CU_ASSERT_EQUAL(strncmp(err.text, "event line: ", 12), 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
	}
	char buf[LH_EVENT_LINE_MAX];
	struct lh_event unordered = epoch_event;
	unordered.calc_end_ns = 100;
	CU_ASSERT_EQUAL(lh_event_print(&unordered, buf, sizeof buf), -EINVAL);
	memset(buf, ' ', sizeof buf);
	CU_ASSERT_EQUAL(lh_event_parse(buf, sizeof buf, &e, NULL), -EMSGSIZE);
}

static const struct lh_spans spans_event = {
	.rank = 3, .t_ns = 2000500, .epoch = 7, .begin_ns = 500, .end_ns = 2000000,
	.total_ns = { [LH_SPAN_OTHER] = 99500, [LH_SPAN_CALCULATE] = 1000000, [LH_SPAN_WINDOW] = 900000 },
	.comm_ns = { [LH_SPAN_OTHER] = 500, [LH_SPAN_WINDOW] = 900000 },
	.nexchanges = 2, .exchanges = { { 4, 400, 1000500 }, { 5, 1500000, 0 } },
	.has_tcp = true, .tcp_busy_ns = 7, .tcp_window_ns = 6, .tcp_buffer_ns = 5, .tcp_retransmits = 4,
	.nspans = 3, .spans = { { LH_SPAN_CALCULATE, 0, 1000, 1 }, { LH_SPAN_OTHER, 1000, 1099, 1 },
				{ LH_SPAN_WINDOW, 1099, 1999, 12 } },
};

static void test_spans_round_trip(void)
{
	char buf[LH_EVENT_LINE_MAX], again[LH_EVENT_LINE_MAX];
	struct lh_err err = LH_ERR_INIT;
	struct lh_spans s;
	int len = lh_spans_print(&spans_event, buf, sizeof buf);
	CU_ASSERT_TRUE_FATAL(len > 0);
	CU_ASSERT_EQUAL(buf[len - 1], '\n');
	CU_ASSERT_TRUE(lh_spans_is_line(buf, (size_t)len - 1));
	CU_ASSERT_EQUAL_FATAL(lh_spans_parse(buf, (size_t)len - 1, &s, &err), 0);
	CU_ASSERT_EQUAL(lh_spans_print(&s, again, sizeof again), len);
	CU_ASSERT_STRING_EQUAL(buf, again);
	CU_ASSERT_EQUAL(s.total_ns[LH_SPAN_WINDOW], 900000);
	CU_ASSERT_EQUAL(s.spans[2].kind, LH_SPAN_WINDOW);
	CU_ASSERT_EQUAL(s.exchanges[0].to_ns, 1000500);
	CU_ASSERT_EQUAL(lh_spans_print(&spans_event, buf, (size_t)len), -ENOSPC);
	/* The reader of the other events does not know it, and this one not them. */
	struct lh_event e;
	CU_ASSERT_TRUE(lh_event_parse(again, (size_t)len - 1, &e, &err) < 0);
	CU_ASSERT_FALSE(lh_spans_is_line("{\"event\":\"epoch\"}", 17));
	CU_ASSERT_TRUE(lh_spans_parse("{}", 2, &s, &err) < 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
}

static void test_spans_longest(void)
{
	char buf[LH_EVENT_LINE_MAX];
	const lh_ns day = 11 * INT64_C(86400) * LH_NS_PER_S;
	struct lh_spans s = {
		.rank = UINT32_MAX, .epoch = UINT32_MAX, .begin_ns = INT64_MAX - day - 1, .end_ns = INT64_MAX - 1,
		.t_ns = INT64_MAX, .has_tcp = true, .tcp_busy_ns = INT64_MAX, .tcp_window_ns = INT64_MAX,
		.tcp_buffer_ns = INT64_MAX, .tcp_retransmits = UINT64_MAX, .nexchanges = LH_SPANS_EXCHANGES_MAX,
		.nspans = LH_SPANS_SURE,
	};
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		s.total_ns[k] = s.comm_ns[k] = day / LH_SPAN_KINDS;
	s.total_ns[0] += day % LH_SPAN_KINDS;
	for (unsigned i = 0; i < LH_SPANS_EXCHANGES_MAX; i++) {
		s.exchanges[i].number = UINT32_MAX;
		s.exchanges[i].from_ns = s.exchanges[i].to_ns = INT64_MAX;
	}
	for (unsigned i = 0; i < LH_SPANS_SURE; i++)
		s.spans[i] = (struct lh_span){ LH_SPAN_KINDS - 1, (uint64_t)day / 1000, (uint64_t)day / 1000, UINT32_MAX };
	int len = lh_spans_print(&s, buf, sizeof buf);
	CU_ASSERT_TRUE(len > 0);
	printf("# the longest spans line that is sure: %d bytes\n", len);
}

static void test_spans_refusals(void)
{
	char line[LH_EVENT_LINE_MAX], edited[LH_EVENT_LINE_MAX];
	static const struct { const char *from, *to; } cases[] = {
		{ "\"calculate\":1000000", "\"calculate\":1000001" }, { "\"calculate\"", "\"sleep\"" },
		{ "\"other\":500", "\"other\":99501" }, { "\"window\":900000", "\"window\":0" },
		{ "[1,0,1000,1]", "[1,0,1000]" }, { "[1,0,1000,1]", "[1,0,1000,0]" }, { "[1,0,1000,1]", "[13,0,1000,1]" },
		{ "[1,0,1000,1]", "[1,0,1001,1]" }, { "[1,0,1000,1]", "[1,1001,1000,1]" }, { "[1,0,1000,1]", "7" },
		{ "[6,1099,1999,12]", "[6,1099,2001,12]" }, { "[4,400,1000500]", "[0,400,1000500]" },
		{ "[4,400,1000500]", "[4,400,399]" }, { "\"tcp\":{", "\"tcq\":{" }, { "\"epoch\":7", "\"epoch\":0" },
		{ "\"t_ns\":2000500", "\"t_ns\":1999999" }, { "\"rank\":3", "\"rank\":3,\"colour\":1" },
	};
	CU_ASSERT_TRUE_FATAL(lh_spans_print(&spans_event, line, sizeof line) > 0);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_err err = LH_ERR_INIT;
		struct lh_spans s;
		char *at = strstr(line, cases[i].from);
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		int len = snprintf(edited, sizeof edited, "%.*s%s%.*s", (int)(at - line), line, cases[i].to,
				   (int)(strlen(at + strlen(cases[i].from)) - 1), at + strlen(cases[i].from));
		int rc = lh_spans_parse(edited, (size_t)len, &s, &err);
		CU_ASSERT_TRUE(rc < 0);
		if (rc >= 0 || strncmp(err.text, "spans line: ", 12))
			printf("# %s -> %s: %s\n", cases[i].from, cases[i].to, err.text);
		CU_ASSERT_EQUAL(strncmp(err.text, "spans line: ", 12), 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
	}
	struct lh_spans unsure = spans_event;
	unsure.total_ns[LH_SPAN_CALCULATE]++;
	CU_ASSERT_EQUAL(lh_spans_print(&unsure, line, sizeof line), -EINVAL);
}

static const struct lh_test tests[] = {
	{ "config_round_trip", test_config_round_trip, 0 },
	{ "config_refusals", test_config_refusals, 0 },
	{ "config_averaging", test_config_averaging },
	{ "config_trees", test_config_trees },
	{ "config_averaging_refusals", test_config_averaging_refusals },
	{ "young", test_young },
	{ "event_round_trip", test_event_round_trip, 0 },
	{ "member_events", test_member_events, 0 },
	{ "member_event_refusals", test_member_event_refusals, 0 },
	{ "event_refusals", test_event_refusals, 0 },
	{ "spans_round_trip", test_spans_round_trip, 0 },
	{ "spans_longest", test_spans_longest, 0 },
	{ "spans_refusals", test_spans_refusals, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "peer-formats", tests, sizeof tests / sizeof *tests);
}
