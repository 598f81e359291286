/* A group that ends and goes on from its checkpoints, as processes: bit by bit what it would have been. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint.h"
#include "lhpeers.h"
#include "lhtest.h"

enum { PEERS = 3, ROUNDS = 8, HALF = 4 };

static struct lhpeers whole, part;
static struct lh_resume files[2 * LHPEERS_MAX];
static char dir[200];

struct recipe {
	const char *name;
	enum lh_strategy_kind strategy;
	enum lh_wire wire;
	bool feedback;
	uint32_t every, fragments, overlap;
	const char *model;
};

static const struct recipe recipes[] = {
	{ "exact", LH_STRATEGY_EXACT, LH_WIRE_FP32, false, 1, 1, 0 },
	{ "exact int8 feedback", LH_STRATEGY_EXACT, LH_WIRE_INT8, true, 1, 1, 0 },
	{ "exact powersgd", LH_STRATEGY_EXACT, LH_WIRE_POWERSGD, true, 1, 1, 0 },
	{ "delayed", LH_STRATEGY_DELAYED, LH_WIRE_FP16, false, 1, 1, 0 },
	{ "delayed topk", LH_STRATEGY_DELAYED, LH_WIRE_TOPK, true, 1, 1, 0 },
	{ "delayed powersgd", LH_STRATEGY_DELAYED, LH_WIRE_POWERSGD, true, 1, 1, 0 },
	{ "local-sgd, between", LH_STRATEGY_LOCAL_SGD, LH_WIRE_FP32, false, 3, 1, 0 },
	{ "local-sgd", LH_STRATEGY_LOCAL_SGD, LH_WIRE_INT8, true, 2, 1, 0 },
	{ "diloco, between", LH_STRATEGY_DILOCO, LH_WIRE_FP16, false, 3, 1, 0 },
	{ "streaming", LH_STRATEGY_STREAMING_DILOCO, LH_WIRE_FP32, false, 2, 2, 1 },
	{ "exact resnet", LH_STRATEGY_EXACT, LH_WIRE_FP16, false, 1, 1, 0, "resnet-lab" },
	{ "streaming int8", LH_STRATEGY_STREAMING_DILOCO, LH_WIRE_INT8, true, 3, 3, 2 },
};

static void setup(struct lhpeers *g, unsigned n, const struct recipe *r)
{
	lhpeers_init(g, n);
	g->config.epochs = ROUNDS;
	g->config.target_batch = 48;
	g->config.wire = r->wire;
	if (r->model)
		snprintf(g->config.model, sizeof g->config.model, "%s", r->model);
	g->config.codec = (struct lh_codec_options){ .topk_fraction = 0.1, .powersgd_rank = 2, .error_feedback = r->feedback };
	g->config.sync = (struct lh_sync_options){
		.strategy = r->strategy, .every = r->every, .outer_learning_rate = 0.7, .outer_momentum = 0.6,
		.fragments = r->fragments, .overlap = r->overlap, .blend = 0.5, .staleness = 1,
	};
	for (unsigned i = 0; i < n; i++) {
		g->endpoints[i].samples_per_s = 4000 + 500 * i;
		snprintf(g->endpoints[i].name, sizeof g->endpoints[i].name, "p%u", i);
	}
}

static void checkpoint_of(unsigned rank, uint32_t round, char *ret, size_t size)
{
	snprintf(ret, size, "%s/p%u/" LH_STATE_FILE_NAME, dir, rank, rank, round);
}

/* Each peer has a directory and files of its own. */
static void start(struct lhpeers *g)
{
	for (unsigned i = 0; i < g->config.size; i++) {
		snprintf(g->config.checkpoint_dir, sizeof g->config.checkpoint_dir, "%s/p%u", dir, i);
		mkdir(g->config.checkpoint_dir, 0777);
		g->config.resume = files;
		lhpeers_start(g, i);
	}
	g->config.resume = NULL;
}

static void open_dir(void)
{
	snprintf(dir, sizeof dir, "%s/longhaul-resume-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
}

static void close_dir(void)
{
	for (unsigned i = 0; i < LHPEERS_MAX; i++) {
		char path[300];
		snprintf(path, sizeof path, "%s/p%u", dir, i);
		DIR *d = opendir(path);
		for (const struct dirent *e; d && (e = readdir(d));)
			unlinkat(dirfd(d), e->d_name, 0);
		if (d)
			closedir(d);
		rmdir(path);
	}
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

static void run(struct lhpeers *g)
{
	start(g);
	lhpeers_go(g);
	lhpeers_wait_all(g);
	for (unsigned i = 0; i < g->config.size; i++)
		CU_ASSERT_TRUE(g->peer[i].has_finished);
}

/* Rounds 1 ... ROUNDS with a checkpoint of each multiple of HALF; what is left on disk is that of HALF. */
static void run_whole(const struct recipe *r)
{
	setup(&whole, PEERS, r);
	whole.config.checkpoint_rounds = HALF;
	run(&whole);
	for (unsigned i = 0; i < PEERS; i++) {
		CU_ASSERT_EQUAL(whole.peer[i].nepochs, ROUNDS);
		CU_ASSERT_EQUAL(whole.peer[i].ncheckpoints, 2);
	}
	lhpeers_done(&whole);
}

static void add_file(struct lhpeers *g, unsigned rank, unsigned of, enum lh_take take)
{
	struct lh_resume *r = &files[g->config.nresume++];
	*r = (struct lh_resume){ .rank = rank, .take = take };
	checkpoint_of(of, HALF, r->path, sizeof r->path);
}

static void resume_all(struct lhpeers *g)
{
	g->config.resume_round = HALF;
	g->config.nresume = 0;
	for (unsigned i = 0; i < g->config.size; i++)
		add_file(g, i, i, LH_TAKE_ALL);
}

/* The bits of every loss and every state, from HALF on; held-out too, which looks at running statistics. */
static void check_bits(const char *name)
{
	CU_ASSERT_TRUE(part.peer[0].has_eval && whole.peer[0].has_eval);
	CU_ASSERT_EQUAL(memcmp(&part.peer[0].eval.value, &whole.peer[0].eval.value, sizeof(double)), 0);
	for (unsigned i = 0; i < PEERS; i++) {
		const struct lhpeer *a = &whole.peer[i], *b = &part.peer[i];
		CU_ASSERT_EQUAL_FATAL(b->nepochs, ROUNDS - HALF);
		CU_ASSERT_EQUAL(b->joined.state_hash, a->epochs[HALF - 1].state_hash);
		for (unsigned e = 0; e < b->nepochs; e++) {
			const struct lh_event *x = &a->epochs[HALF + e], *y = &b->epochs[e];
			bool same = x->epoch == y->epoch && !memcmp(&x->loss_sum, &y->loss_sum, sizeof x->loss_sum) &&
				    x->state_hash == y->state_hash && !strcmp(x->ranges, y->ranges) && x->uses == y->uses &&
				    x->shared == y->shared;
			CU_ASSERT_TRUE(same);
			if (!same)
				printf("# %s: peer %u, round %u: loss %.17g, %.17g; state %016llx, %016llx\n", name, i, x->epoch,
				       x->loss_sum, y->loss_sum, (unsigned long long)x->state_hash,
				       (unsigned long long)y->state_hash);
		}
	}
}

static void test_bits(void)
{
	for (unsigned k = 0; k < sizeof recipes / sizeof *recipes; k++) {
		open_dir();
		run_whole(&recipes[k]);
		setup(&part, PEERS, &recipes[k]);
		resume_all(&part);
		part.config.checkpoint_rounds = HALF; /* of ROUNDS again */
		run(&part);
		check_bits(recipes[k].name);
		lhpeers_done(&part);
		close_dir();
	}
}

/* Of round `e` each sample once, over all peers, by the ranges that they told. */
static void check_dealt(const struct lhpeers *g, unsigned e, uint32_t round)
{
	uint8_t seen[48] = { 0 };
	unsigned n = 0;
	for (unsigned i = 0; i < g->config.size; i++) {
		const char *text = g->peer[i].epochs[e].ranges;
		CU_ASSERT_EQUAL(g->peer[i].epochs[e].epoch, round);
		for (unsigned long long first, count; sscanf(text, "%llu+%llu", &first, &count) == 2;) {
			for (uint64_t id = first; id < first + count; id++, n++) {
				CU_ASSERT_TRUE_FATAL(id >= (round - 1) * 48 && id < round * 48);
				CU_ASSERT_EQUAL(seen[id % 48]++, 0);
			}
			text += strcspn(text, ",");
			text += *text == ',';
		}
	}
	CU_ASSERT_EQUAL(n, 48);
}

static double loss(const struct lhpeers *g, unsigned e)
{
	double sum = 0;
	for (unsigned i = 0; i < g->config.size; i++)
		sum += g->peer[i].epochs[e].loss_sum;
	return sum / 48;
}

/* Three become two or four. What was under way or held back is given by others, so the loss stays near the whole run's. */
static void test_other_numbers(void)
{
	static const struct recipe some[] = {
		{ "exact int8 feedback", LH_STRATEGY_EXACT, LH_WIRE_INT8, true, 1, 1, 0 },
		{ "delayed", LH_STRATEGY_DELAYED, LH_WIRE_FP32, false, 1, 1, 0 },
		{ "delayed topk", LH_STRATEGY_DELAYED, LH_WIRE_TOPK, true, 1, 1, 0 },
		{ "diloco", LH_STRATEGY_DILOCO, LH_WIRE_FP32, false, 2, 1, 0 },
	};
	for (unsigned k = 0; k < 2 * sizeof some / sizeof *some; k++) {
		const unsigned n = k % 2 ? 4 : 2;
		double off = 0;
		open_dir();
		run_whole(&some[k / 2]);
		setup(&part, n, &some[k / 2]);
		part.config.resume_round = HALF;
		for (unsigned i = 0; i < n; i++) {
			add_file(&part, i, i % PEERS, i < PEERS ? LH_TAKE_ALL : LH_TAKE_SHARED);
			for (unsigned old = i + n; old < PEERS; old += n)
				add_file(&part, i, old, LH_TAKE_HELD);
		}
		run(&part);
		for (unsigned e = 0; e < ROUNDS - HALF; e++) {
			check_dealt(&part, e, HALF + e + 1);
			double d = fabs(loss(&part, e) - loss(&whole, HALF + e));
			off = d > off ? d : off;
		}
		for (unsigned i = 1; i < n; i++)
			CU_ASSERT_EQUAL(part.peer[i].epochs[ROUNDS - HALF - 1].state_hash,
					part.peer[0].epochs[ROUNDS - HALF - 1].state_hash);
		printf("# %s, %u to %u peers: a round's loss is off by at most %.2g\n", some[k / 2].name, PEERS, n, off);
		CU_ASSERT_TRUE(off < 0.1);
		lhpeers_done(&part);
		close_dir();
	}
}

/* An elastic group all of which died: it goes on where it was, and is the undisturbed one again. */
static void test_elastic_group(void)
{
	static const struct recipe exact = { "elastic", LH_STRATEGY_EXACT, LH_WIRE_FP32, false, 1, 1, 0 };
	open_dir();
	setup(&whole, PEERS, &exact);
	whole.config.membership = LH_MEMBERSHIP_ELASTIC;
	whole.config.streams = 1;
	whole.config.checkpoint_rounds = HALF;
	run(&whole);
	lhpeers_done(&whole);
	setup(&part, PEERS, &exact);
	part.config.membership = LH_MEMBERSHIP_ELASTIC;
	part.config.streams = 1;
	resume_all(&part);
	files[1].take = LH_TAKE_SHARED; /* peer 1's own is lost: it takes another's, which is the same */
	checkpoint_of(0, HALF, files[1].path, sizeof files[1].path);
	run(&part);
	check_bits("elastic");
	for (unsigned e = 0; e < ROUNDS - HALF; e++)
		check_dealt(&part, e, HALF + e + 1);
	lhpeers_done(&part);
	close_dir();
}

static const struct lh_test tests[] = {
	{ "bits", test_bits, 0 },
	{ "other_numbers", test_other_numbers, 0 },
	{ "elastic_group", test_elastic_group, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "resume", tests, sizeof tests / sizeof *tests);
}
