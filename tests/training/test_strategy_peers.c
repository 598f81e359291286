/* Every strategy in real processes over TCP: what test_strategies.c proves in simulated time, as it runs. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lhpeers.h"
#include "lhtest.h"

enum { ALL = LH_STRATEGY_ASYNC + 1, N = 3, ROUNDS = 7 };

static struct lhpeers group;

static void init(int k)
{
	lhpeers_init(&group, N);
	group.config.sync = (struct lh_sync_options){
		.strategy = (enum lh_strategy_kind)k, .every = 3, .outer_learning_rate = 0.7, .outer_momentum = 0.5,
		.fragments = 2, .overlap = 1, .blend = 0.5, .staleness = 2,
	};
	group.config.epochs = ROUNDS;
	for (unsigned i = 0; i < N; i++)
		group.endpoints[i].samples_per_s = 150 + 100 * i;
}

/* Where the peers are meant to be alike they are, and where one is to differ from the others it does. */
static void check_epoch(int k, unsigned e)
{
	const bool exchanges_each = k <= LH_STRATEGY_DELAYED, last = e + 1 == ROUNDS;
	const struct lh_event *first = &group.peer[0].epochs[e];
	uint64_t samples = 0;
	for (unsigned i = 0; i < N; i++) {
		const struct lh_event *x = &group.peer[i].epochs[e];
		CU_ASSERT_EQUAL(x->shared, first->shared);
		if (x->shared == LH_SHARED_YES)
			CU_ASSERT_EQUAL(x->state_hash, first->state_hash);
		samples += x->samples;
	}
	bool shared = exchanges_each || last || (e % 3 == 2 && (k == LH_STRATEGY_LOCAL_SGD || k == LH_STRATEGY_DILOCO));
	CU_ASSERT_EQUAL(first->shared, k == LH_STRATEGY_ASYNC ? LH_SHARED_NEVER : shared ? LH_SHARED_YES : LH_SHARED_NO);
	if (!shared)
		CU_ASSERT_NOT_EQUAL(group.peer[1].epochs[e].state_hash, first->state_hash);
	CU_ASSERT_EQUAL(samples, first->total_samples);
	if (k != LH_STRATEGY_ETA)
		CU_ASSERT_EQUAL(samples, 64);
	/* Nothing is waited for where nothing is exchanged. */
	if ((k == LH_STRATEGY_LOCAL_SGD || k == LH_STRATEGY_DILOCO) && !shared)
		CU_ASSERT_EQUAL(first->commit_ns, first->calc_end_ns);
	if (k == LH_STRATEGY_DELAYED)
		CU_ASSERT_EQUAL(first->uses, last ? e + 1 : e);
}

static void test_all(void)
{
	for (int k = 0; k < ALL; k++) {
		init(k);
		lhpeers_start_all(&group);
		lhpeers_go(&group);
		lhpeers_wait_all(&group);
		for (unsigned i = 0; i < N; i++) {
			CU_ASSERT_EQUAL(group.peer[i].status, 0);
			CU_ASSERT_EQUAL_FATAL(group.peer[i].nepochs, ROUNDS);
		}
		for (unsigned e = 0; e < ROUNDS; e++)
			check_epoch(k, e);
		/* After the last round there is one model, whatever the way. */
		for (unsigned i = 1; i < N; i++)
			CU_ASSERT_EQUAL(group.peer[i].epochs[ROUNDS - 1].state_hash,
					group.peer[0].epochs[ROUNDS - 1].state_hash);
		lhpeers_done(&group);
	}
}

/* One is told to stop, in whatever is under way: all end, none fails. */
static void test_stop(void)
{
	for (int k = 0; k < ALL; k++) {
		init(k);
		group.config.epochs = 100000;
		lhpeers_start_all(&group);
		lhpeers_go(&group);
		for (unsigned e = 0; e < 5; e++)
			CU_ASSERT_TRUE(lhpeers_read_until(&group, 2, LH_EVENT_EPOCH));
		lhpeers_command(&group, 2, LH_CONTROL_STOP);
		lhpeers_wait_all(&group);
		for (unsigned i = 0; i < N; i++) {
			CU_ASSERT_EQUAL(group.peer[i].status, 0);
			CU_ASSERT_TRUE(group.peer[i].has_finished);
			CU_ASSERT_TRUE(group.peer[i].nepochs >= 5);
		}
		lhpeers_done(&group);
	}
}

/* One dies, in whatever is under way: the others name it at once, also where nothing is waited for just then. */
static void test_killed(void)
{
	for (int k = 0; k < ALL; k++) {
		init(k);
		group.config.epochs = 100000;
		lhpeers_start_all(&group);
		lhpeers_go(&group);
		for (unsigned e = 0; e < 4; e++)
			CU_ASSERT_TRUE(lhpeers_read_until(&group, 1, LH_EVENT_EPOCH));
		lh_ns begin = lh_clock_ns();
		CU_ASSERT_EQUAL(kill(group.peer[1].pid, SIGKILL), 0);
		for (unsigned i = 0; i < N; i += 2) {
			lhpeers_wait(&group, i);
			CU_ASSERT_TRUE(lh_clock_ns() - begin < 2 * LH_NS_PER_S);
			CU_ASSERT_EQUAL(group.peer[i].status, 4);
			CU_ASSERT_EQUAL(group.peer[i].failed.culprit, 1);
		}
		lhpeers_done(&group);
	}
}

/* What a codec rounds, it rounds for all. */
static void test_codecs(void)
{
	static const enum lh_wire wires[] = { LH_WIRE_FP16, LH_WIRE_INT8, LH_WIRE_TOPK, LH_WIRE_POWERSGD };
	for (int k = LH_STRATEGY_DELAYED; k <= LH_STRATEGY_STREAMING_DILOCO; k++)
		for (unsigned w = 0; w < 4; w++) {
			if (k == LH_STRATEGY_STREAMING_DILOCO && wires[w] == LH_WIRE_POWERSGD)
				continue; /* refused: factors are of the whole model */
			init(k);
			group.config.wire = wires[w];
			group.config.codec = (struct lh_codec_options){ .topk_fraction = 0.1, .powersgd_rank = 2 };
			lhpeers_start_all(&group);
			lhpeers_go(&group);
			lhpeers_wait_all(&group);
			CU_ASSERT_EQUAL_FATAL(group.peer[0].nepochs, ROUNDS);
			for (unsigned e = 0; e < ROUNDS; e++)
				check_epoch(k, e);
			lhpeers_done(&group);
		}
}

static const struct lh_test tests[] = {
	{ "all", test_all, LH_TEST_FORK },
	{ "stop", test_stop, LH_TEST_FORK },
	{ "killed", test_killed, LH_TEST_FORK },
	{ "codecs", test_codecs, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "strategy_peers", tests, sizeof tests / sizeof *tests);
}
