/* Who averages with whom: the rule by itself, and rounds of whole runs that split or stay together. */
#include <stdio.h>
#include <string.h>

#include "lhsim.h"
#include "lhtest.h"
#include "sync/match.h"

enum { PEERS = 5, ROUNDS = 4, SLOW = PEERS - 1 };

#define S(x) ((lh_ns)((x) * 1e9))

static struct lhsim sim;

static unsigned match(unsigned n, const double *since_s, struct lh_match *m)
{
	lh_ns since[PEERS];
	for (unsigned i = 0; i < n; i++)
		since[i] = S(since_s[i]);
	return lh_match(since, n, S(5), m);
}

static void test_rule(void)
{
	struct lh_match m[PEERS];
	CU_ASSERT_EQUAL(match(1, (double[]){ 3 }, m), 1);
	CU_ASSERT_TRUE(m[0].leader == 0 && m[0].close_ns == S(8));
	/* Whoever has begun within the window of the first is with it, however late its own would end. */
	CU_ASSERT_EQUAL(match(4, (double[]){ 2, 1, 6, 1.5 }, m), 1);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_TRUE(m[i].leader == 1 && m[i].close_ns == S(6));
	/* Later ones are another group, with a window of its own. */
	CU_ASSERT_EQUAL(match(5, (double[]){ 1, 6.1, 2, 9, 11.2 }, m), 3);
	CU_ASSERT_TRUE(m[0].leader == 0 && m[2].leader == 0 && m[2].close_ns == S(6));
	CU_ASSERT_TRUE(m[1].leader == 1 && m[3].leader == 1 && m[3].close_ns == S(11.1));
	CU_ASSERT_TRUE(m[4].leader == 4 && m[4].close_ns == S(16.2));
	/* Alone at the end of its window, a peer declares itself again, until another one looks. */
	CU_ASSERT_EQUAL(match(3, (double[]){ 0, 12, 16 }, m), 2);
	CU_ASSERT_TRUE(m[0].leader == 0 && m[1].leader == 0 && m[1].close_ns == S(15));
	CU_ASSERT_TRUE(m[2].leader == 2 && m[2].close_ns == S(21));
	/* At once: the lowest rank. */
	CU_ASSERT_EQUAL(match(2, (double[]){ 7, 7 }, m), 1);
	CU_ASSERT_TRUE(m[1].leader == 0 && m[1].close_ns == S(12));
}

/* All but the last calculate 200 samples/s in steps of 8; a step of the last takes `slow_step_s`. */
static void run(const struct lh_engine_ops *engine, uint64_t batch, double slow_step_s)
{
	lhsim_init(&sim, PEERS);
	sim.config.sync.strategy = LH_STRATEGY_ETA;
	sim.config.sync.match_floor_ns = S(5);
	sim.config.target_batch = batch;
	sim.config.epochs = ROUNDS;
	sim.config.wire = LH_WIRE_FP16;
	sim.engine = engine;
	sim.tick_ns = 10 * LH_NS_PER_US;
	if (engine == &lh_engine_paced) {
		sim.config.engine = LH_ENGINE_PACED;
		sim.config.parameters = 1001;
	}
	if (slow_step_s > 0)
		sim.endpoints[SLOW].samples_per_s = 8 / slow_step_s;
	CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
}

static double comm_s(const struct lh_event *e) { return (double)(e->commit_ns - e->calc_end_ns) / 1e9; }

/* A batch that takes longer than matchmaking: all look at the time that they predict together. */
static void test_long_rounds(void)
{
	run(&lh_engine_paced, 16000, 0); /* 16 s */
	for (uint32_t e = 1; e <= ROUNDS; e++)
		for (unsigned r = 0; r < PEERS; r++) {
			const struct lh_event *x = lhsim_event(&sim, e, r);
			CU_ASSERT_TRUE(x->groups == 1 && x->group_size == PEERS && x->shared == LH_SHARED_YES);
			CU_ASSERT_EQUAL(x->state_hash, lhsim_event(&sim, e, 0)->state_hash);
			CU_ASSERT_TRUE(e == 1 || comm_s(x) < 0.5);
		}
	lhsim_done(&sim);
}

/* Reached sooner: who comes at the same time is together all the same, and waits for the rest of the window. */
static void test_short_rounds(void)
{
	run(&lh_engine_paced, 2000, 0); /* 2 s */
	for (uint32_t e = 1; e <= ROUNDS; e++)
		for (unsigned r = 0; r < PEERS; r++) {
			const struct lh_event *x = lhsim_event(&sim, e, r);
			CU_ASSERT_TRUE(x->groups == 1 && x->group_size == PEERS && x->shared == LH_SHARED_YES);
			CU_ASSERT_TRUE(e == 1 || (comm_s(x) > 2.8 && comm_s(x) < 3.5));
		}
	lhsim_done(&sim);
}

/* A peer whose first step ends when the window of the others is over averages alone. The pseudo-gradients check that
 * each sum is that of its group, exactly once. */
static void test_split(const struct lh_engine_ops *engine)
{
	run(engine, 1600, 9);
	bool apart = false;
	for (uint32_t e = 1; e <= ROUNDS; e++) {
		uint64_t samples = 0;
		for (unsigned r = 0; r < PEERS; r++) {
			const struct lh_event *x = lhsim_event(&sim, e, r), *first = lhsim_event(&sim, e, 0);
			samples += r == SLOW ? 0 : x->samples;
			CU_ASSERT_EQUAL(x->groups, 2);
			CU_ASSERT_EQUAL(x->group_size, r == SLOW ? 1 : PEERS - 1);
			CU_ASSERT_EQUAL(x->shared, LH_SHARED_NO);
			CU_ASSERT_EQUAL(x->group == first->group, r != SLOW);
			/* Within a group that was always together replicas stay identical; between groups they are not. */
			CU_ASSERT_EQUAL(x->state_hash == first->state_hash, r != SLOW);
		}
		CU_ASSERT_EQUAL(lhsim_event(&sim, e, 0)->total_samples, samples);
		CU_ASSERT_EQUAL(lhsim_event(&sim, e, SLOW)->total_samples, lhsim_event(&sim, e, SLOW)->samples);
		apart |= lhsim_event(&sim, e, SLOW)->commit_ns != lhsim_event(&sim, e, 0)->commit_ns;
	}
	CU_ASSERT_TRUE(apart);
	lhsim_done(&sim);
}

static void test_split_sums(void) { test_split(&lh_engine_paced); }
static void test_split_trains(void) { test_split(&lh_engine_cpu); }

/* The same step in a batch that takes longer than it: all look in time. */
static void test_long_steps(void)
{
	run(&lh_engine_paced, 32000, 9); /* 40 s */
	for (uint32_t e = 1; e <= ROUNDS; e++)
		for (unsigned r = 0; r < PEERS; r++)
			CU_ASSERT_TRUE(lhsim_event(&sim, e, r)->groups == 1 && lhsim_event(&sim, e, r)->shared == LH_SHARED_YES);
	lhsim_done(&sim);
}

static const struct lh_test tests[] = {
	{ "rule", test_rule, LH_TEST_FORK },
	{ "long_rounds", test_long_rounds, LH_TEST_FORK },
	{ "short_rounds", test_short_rounds, LH_TEST_FORK },
	{ "split_sums", test_split_sums, LH_TEST_FORK },
	{ "split_trains", test_split_trains, LH_TEST_FORK },
	{ "long_steps", test_long_steps, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "matching", tests, sizeof tests / sizeof *tests);
}
