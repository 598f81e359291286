/* Groups that change while their peers train alone from one exchange to the next: local-sgd and diloco. What is lost with a
 * peer is its work since the last exchange; its samples are dealt again, and whoever comes has what the others had after
 * it. */
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint.h"
#include "elastic_group.h"
#include "hash.h"
#include "lhtest.h"

static struct lhpeers fixed;

static void init_outer(unsigned n, uint32_t rounds, enum lh_strategy_kind strategy, uint32_t every)
{
	init(n, rounds);
	g.config.sync = (struct lh_sync_options){
		.strategy = strategy, .every = every, .outer_learning_rate = 0.7, .outer_momentum = 0.6,
	};
}

/* Undisturbed, it is the group that cannot change: the same bits of every loss and every state, and the same samples. */
static void test_calm_is_fixed(void)
{
	static const struct { enum lh_strategy_kind strategy; enum lh_wire wire; uint32_t every, rounds; } cases[] = {
		{ LH_STRATEGY_LOCAL_SGD, LH_WIRE_FP32, 3, 8 }, { LH_STRATEGY_LOCAL_SGD, LH_WIRE_INT8, 2, 6 },
		{ LH_STRATEGY_DILOCO, LH_WIRE_FP32, 3, 7 }, { LH_STRATEGY_DILOCO, LH_WIRE_FP16, 1, 4 },
	};
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		init_outer(3, cases[k].rounds, cases[k].strategy, cases[k].every);
		g.config.wire = cases[k].wire;
		g.config.codec.error_feedback = cases[k].wire == LH_WIRE_INT8;
		for (unsigned i = 0; i < 3; i++)
			g.endpoints[i].samples_per_s = 2000 + 700 * i;
		fixed = g;
		fixed.config.peers = fixed.endpoints;
		fixed.config.membership = LH_MEMBERSHIP_FIXED;
		start();
		lhpeers_wait_all(&g);
		check_finished(7);
		CU_ASSERT_EQUAL(check_rounds(), 0);
		lhpeers_start_all(&fixed);
		lhpeers_go(&fixed);
		lhpeers_wait_all(&fixed);
		for (unsigned i = 0; i < 3; i++) {
			CU_ASSERT_EQUAL_FATAL(fixed.peer[i].nepochs, cases[k].rounds);
			CU_ASSERT_EQUAL_FATAL(g.peer[i].nepochs, cases[k].rounds);
			for (unsigned e = 0; e < cases[k].rounds; e++) {
				const struct lh_event *a = &g.peer[i].epochs[e], *b = &fixed.peer[i].epochs[e];
				CU_ASSERT_EQUAL(a->state_hash, b->state_hash);
				CU_ASSERT_EQUAL(memcmp(&a->loss_sum, &b->loss_sum, sizeof a->loss_sum), 0);
				CU_ASSERT_STRING_EQUAL(a->ranges, b->ranges);
				CU_ASSERT_TRUE(a->shared == b->shared && a->uses == b->uses && a->samples == b->samples);
			}
		}
		CU_ASSERT_EQUAL(g.peer[0].eval.value, fixed.peer[0].eval.value);
		lhpeers_done(&fixed);
		lhpeers_done(&g);
	}
}

/* Three of eight are killed amid their own rounds, two come back. */
static void three_of_eight(enum lh_strategy_kind strategy)
{
	init_outer(8, 16, strategy, 2);
	start();
	until_round(1, 2);
	kill_peer(2);
	kill_peer(5);
	until_round(1, 6);
	kill_peer(0);
	bring_back(5, 1);
	until_round(1, 8);
	bring_back(0, 1);
	lhpeers_wait_all(&g);
	check_finished(0xfb);
	check_rounds();
	CU_ASSERT_TRUE(g.peer[0].has_synced && g.peer[5].has_synced);
	/* What the joiner has is what the others had after that exchange. */
	const struct lh_event *was = epoch_of(1, g.peer[5].synced.version);
	CU_ASSERT_PTR_NOT_NULL_FATAL(was);
	CU_ASSERT_EQUAL(g.peer[5].synced.state_hash, was->state_hash);
	CU_ASSERT_EQUAL(g.peer[5].synced.version % 2, 0);
	CU_ASSERT_TRUE(epoch_of(0, 16) && epoch_of(5, 16) && !epoch_of(2, 16));
	uint64_t gone = 0, came = 0, redealt = 0;
	for (unsigned v = 1; v < g.peer[1].nviews; v++) {
		const struct lh_event *e = &g.peer[1].views[v];
		gone |= e->gone;
		came |= e->came;
		redealt += e->samples_redealt;
		CU_ASSERT_EQUAL(e->version % 2, 0);
	}
	CU_ASSERT_TRUE(gone == 0x25 && came == 0x21 && redealt > 0);
	CU_ASSERT_TRUE(g.peer[0].has_eval && g.peer[0].eval.value > 5 * g.peer[0].eval.reference);
	lhpeers_done(&g);
}

static void test_three_of_eight(void)
{
	three_of_eight(LH_STRATEGY_DILOCO);
}

/* Deaths at any moment, by seed: both strategies, all algorithms, both engines, codecs that hold back. */
static void test_any_moment(void)
{
	uint64_t seed = lh_test_seed();
	for (unsigned k = 0; k < 6; k++) {
		unsigned n = 3 + k % 3;
		init_outer(n, 9, k & 1 ? LH_STRATEGY_LOCAL_SGD : LH_STRATEGY_DILOCO, 1 + k % 3);
		g.config.algorithm = (enum lh_algorithm)(k % (LH_ALGORITHM_CENTRAL + 1));
		g.config.wire = k == 2 ? LH_WIRE_TOPK : k == 3 ? LH_WIRE_INT8 : LH_WIRE_FP16;
		g.config.codec = (struct lh_codec_options){ .topk_fraction = 0.1, .error_feedback = k < 4 };
		if (k >= 4) {
			g.config.engine = LH_ENGINE_PACED;
			g.config.wire = LH_WIRE_FP16;
			g.config.parameters = 1000003;
		}
		start();
		unsigned victim = (unsigned)(lh_mix64(seed + k) % n), watch = victim ? 0 : 1;
		until_round(watch, 2);
		usleep((unsigned)(lh_mix64(seed ^ k << 8) % 200000));
		kill_peer(victim);
		until_round(watch, 4);
		bring_back(victim, 1);
		lhpeers_wait_all(&g);
		check_finished((UINT64_C(1) << n) - 1);
		check_rounds();
		lhpeers_done(&g);
	}
}

/* Left out for standing still, it goes on with parameters of its own, which count nothing: it takes the group's. */
static void test_stall(void)
{
	init_outer(3, 24, LH_STRATEGY_DILOCO, 3);
	g.config.deadline_ns = 2 * LH_NS_PER_S;
	g.config.target_batch = 3 * SHARE * 3;
	start();
	until_round(0, 3);
	usleep(150000);
	kill(g.peer[2].pid, SIGSTOP);
	while (g.peer[0].nviews < 2)
		CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, 0, LH_EVENT_VIEW));
	CU_ASSERT_EQUAL(g.peer[0].views[1].gone, 4);
	kill(g.peer[2].pid, SIGCONT);
	lhpeers_wait_all(&g);
	check_finished(7);
	check_rounds();
	CU_ASSERT_TRUE(g.peer[2].has_synced);
	CU_ASSERT_PTR_NOT_NULL(epoch_of(2, 24));
	lhpeers_done(&g);
}

/* All but one die amid their own rounds: the last has more ranges than a line holds, and tells all of them. */
static void test_many_ranges(void)
{
	enum { PEERS = 8, EVERY = 100, BATCH = 800000 };
	static uint8_t seen[BATCH];
	init_outer(PEERS, EVERY, LH_STRATEGY_LOCAL_SGD, EVERY);
	g.config.engine = LH_ENGINE_PACED;
	g.config.parameters = 1000;
	g.config.target_batch = BATCH;
	g.config.microbatch = BATCH / PEERS;
	for (unsigned i = 0; i < PEERS; i++)
		g.endpoints[i].samples_per_s = 2e7; /* half a second until the exchange */
	start();
	for (unsigned victim = PEERS - 1; victim; victim--) {
		kill_peer(victim);
		while (g.peer[0].nviews < (unsigned)PEERS + 1 - victim)
			CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, 0, LH_EVENT_VIEW));
	}
	for (uint32_t round = 1; round <= EVERY; round++) {
		CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, 0, LH_EVENT_EPOCH));
		uint64_t n = 0;
		memset(seen, 0, sizeof seen);
		for (const char *text = g.peer[0].told; *text; text += *text == ',') {
			char *end;
			uint64_t first = strtoull(text, &end, 10) - (uint64_t)(round - 1) * BATCH;
			uint64_t count = strtoull(end + 1, &end, 10);
			CU_ASSERT_TRUE_FATAL(count && first < BATCH && count <= BATCH - first);
			for (uint64_t i = first; i < first + count; i++, n++)
				CU_ASSERT_EQUAL_FATAL(seen[i]++, 0);
			text = end;
		}
		CU_ASSERT_EQUAL(n, BATCH);
		CU_ASSERT_EQUAL(g.peer[0].epochs[round - 1].samples, BATCH);
	}
	CU_ASSERT_TRUE(g.peer[0].nmore >= EVERY); /* else this shows nothing */
	lhpeers_wait(&g, 0);
	check_finished(1);
	lhpeers_done(&g);
}

/* ---- checkpoints ---- */

static char dir[200];

static void remove_dir(void)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));)
		if (*e->d_name != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

/* Told to go amid its own rounds, a peer writes what the last exchange left. A group that begins from that file has that state,
 * whether it may change or not. */
static void test_checkpoint(void)
{
	static struct lh_resume files[3];
	snprintf(dir, sizeof dir, "%s/longhaul-outer-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	init_outer(3, 12, LH_STRATEGY_DILOCO, 3);
	snprintf(g.config.checkpoint_dir, sizeof g.config.checkpoint_dir, "%s", dir);
	start();
	until_round(1, 3);
	usleep(100000); /* of 0.3 s until the next exchange */
	lhpeers_command(&g, 1, LH_CONTROL_NOTICE);
	lhpeers_wait_all(&g);
	check_finished(7);
	CU_ASSERT_EQUAL(check_rounds(), 0);
	CU_ASSERT_TRUE(g.peer[1].has_left && g.peer[1].ncheckpoints == 1);
	uint32_t round = g.peer[1].checkpoint.version;
	const struct lh_event *was = epoch_of(0, round), *last = epoch_of(1, round);
	CU_ASSERT_TRUE_FATAL(was && last && round >= 3 && round % 3 == 0);
	uint64_t hash = was->state_hash;
	CU_ASSERT_EQUAL(g.peer[1].checkpoint.state_hash, hash);
	lhpeers_done(&g);
	for (unsigned k = 0; k < 2; k++) {
		init_outer(3, 12, LH_STRATEGY_DILOCO, 3);
		g.config.membership = k ? LH_MEMBERSHIP_FIXED : LH_MEMBERSHIP_ELASTIC;
		for (unsigned i = 0; i < 3; i++) {
			files[i] = (struct lh_resume){ .rank = i, .take = i == 1 ? LH_TAKE_ALL : LH_TAKE_SHARED };
			snprintf(files[i].path, sizeof files[i].path, "%s/" LH_STATE_FILE_NAME, dir, 1u, round);
		}
		g.config.resume = files;
		g.config.nresume = 3;
		g.config.resume_round = round;
		start();
		lhpeers_wait_all(&g);
		check_finished(7);
		for (unsigned i = 0; i < 3; i++) {
			CU_ASSERT_EQUAL(g.peer[i].joined.state_hash, hash);
			CU_ASSERT_EQUAL(g.peer[i].nepochs, 12 - round);
		}
		lhpeers_done(&g);
	}
	remove_dir();
}

/* ---- every step ---- */

/* The peer is killed at its step `step`: the others end with all rounds. False: it had fewer steps. */
static bool die_at(unsigned n, unsigned victim, unsigned joiner, enum lh_strategy_kind strategy, uint32_t step)
{
	init_outer(n, strategy == LH_STRATEGY_EXACT ? 2 : 4, strategy, 2);
	if (strategy == LH_STRATEGY_EXACT)
		g.config.sync = (struct lh_sync_options){ .strategy = strategy };
	g.config.target_batch = 8 * n;
	for (unsigned i = 0; i < n; i++)
		g.endpoints[i].samples_per_s = 1000;
	if (joiner < n) {
		g.endpoints[joiner].absent = 1;
		here &= ~(UINT64_C(1) << joiner);
		g.config.epochs = strategy == LH_STRATEGY_EXACT ? 8 : 16; /* it comes to the end of some */
	}
	for (unsigned i = 0; i < n; i++) {
		g.config.die_step = i == victim ? step : 0;
		g.config.absent = i == joiner;
		lhpeers_start(&g, i);
		g.config.absent = false;
	}
	bool begun = true; /* until all who begin have met, nobody can go on without one of them */
	for (unsigned i = 0; i < n; i++)
		begun &= !(here >> i & 1) || lhpeers_read_until(&g, i, LH_EVENT_JOINED) || i == victim;
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_TRUE(write(g.peer[i].control_fd, (const char[]){ LH_CONTROL_GO }, 1) == 1 || i == victim);
	signal(SIGPIPE, SIG_DFL); /* who is started next inherits it */
	lhpeers_wait_all(&g);
	bool died = g.peer[victim].status == 128 + SIGKILL;
	CU_ASSERT_TRUE(begun || (died && joiner < n && step < 20));
	if (begun) {
		check_finished(((UINT64_C(1) << n) - 1) & ~(died ? UINT64_C(1) << victim : 0));
		check_rounds();
	}
	lhpeers_done(&g);
	return died;
}

static void each_step(unsigned n, unsigned victim, unsigned joiner, enum lh_strategy_kind strategy, uint32_t from,
		      uint32_t by)
{
	uint32_t step = from;
	lh_ns begin = lh_clock_ns();
	while (step < 2000 && die_at(n, victim, joiner, strategy, step))
		step += by;
	CU_ASSERT_TRUE(step > 20 && step < 2000);
	printf("# %s, %u peers, rank %u%s: killed at steps %u, %u ... below %u, %.1f s\n", lh_strategy_names[strategy], n, victim,
	       joiner < n ? ", one joins" : "", from, from + by, step, (double)(lh_clock_ns() - begin) / 1e9);
}

static void test_each_step(void)
{
	each_step(3, 0, 9, LH_STRATEGY_DILOCO, 1, 1);
	each_step(3, 0, 9, LH_STRATEGY_EXACT, 1, 3);
	each_step(3, 1, 9, LH_STRATEGY_LOCAL_SGD, 1 + (uint32_t)(lh_test_seed() % 2), 2);
}

static void test_each_step_long(void)
{
	static const enum lh_strategy_kind kinds[] = { LH_STRATEGY_EXACT, LH_STRATEGY_DILOCO, LH_STRATEGY_LOCAL_SGD };
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned victim = 0; victim < 3; victim++)
			each_step(3, victim, 9, kinds[k], 1, 1);
		for (unsigned victim = 0; victim < 4; victim += 3) /* who begins changes and may be the donor; who joins */
			each_step(4, victim, 3, kinds[k], 1, 2);
	}
}

static const struct lh_test tests[] = {
	{ "calm_is_fixed", test_calm_is_fixed, LH_TEST_FORK },
	{ "three_of_eight", test_three_of_eight, LH_TEST_FORK },
	{ "any_moment", test_any_moment, LH_TEST_FORK },
	{ "stall", test_stall, LH_TEST_FORK },
	{ "many_ranges", test_many_ranges, LH_TEST_FORK },
	{ "checkpoint", test_checkpoint, LH_TEST_FORK },
	{ "each_step", test_each_step, LH_TEST_FORK },
	{ "each_step_long", test_each_step_long, LH_TEST_LONG },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "elastic_outer", tests, sizeof tests / sizeof *tests);
}
