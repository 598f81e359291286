/* Groups that change, as they run: processes that are killed, stopped, brought back, told to leave, added. */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/tcp.h"
#include "elastic_group.h"
#include "hash.h"
#include "lhtest.h"
#include "lhtrees.h"
#include "member/message.h"

static struct lhpeers calm;

/* The same rounds by one peer that nothing happens to: losing or repeating samples would show in every later loss. */
static void compare_with_calm(void)
{
	lhpeers_init(&calm, 1);
	calm.config.target_batch = g.config.target_batch;
	calm.config.epochs = g.config.epochs;
	calm.endpoints[0].samples_per_s = 3000;
	lhpeers_start_all(&calm);
	lhpeers_go(&calm);
	lhpeers_wait_all(&calm);
	double worst = 0;
	for (uint32_t round = 1; round <= g.config.epochs; round++) {
		double loss = 0;
		uint64_t samples = 0;
		for (unsigned i = 0; i < g.config.size; i++) {
			const struct lh_event *e = epoch_of(i, round);
			loss += e ? e->loss_sum : 0;
			samples += e ? e->samples : 0;
		}
		CU_ASSERT_TRUE(isfinite(loss));
		double off = fabs(loss / calm.peer[0].epochs[round - 1].loss_sum - 1);
		if (samples == g.config.target_batch && off > worst)
			worst = off;
	}
	printf("# largest difference of a round's loss from a calm run's: %.2g\n", worst);
	CU_ASSERT_TRUE(worst < 1e-5);
	lhpeers_done(&calm);
}

/* The issue's own case: three of eight are killed, two come back. */
static void test_three_of_eight(void)
{
	init(8, 14);
	start();
	until_round(1, 3);
	kill_peer(2);
	kill_peer(5);
	until_round(1, 5);
	kill_peer(0);
	bring_back(5, 1);
	until_round(1, 6);
	bring_back(0, 1);
	lhpeers_wait_all(&g);
	check_finished(0xfb); /* all but 2 */
	check_rounds();
	CU_ASSERT_TRUE(g.peer[0].has_synced && g.peer[5].has_synced);
	CU_ASSERT_TRUE(epoch_of(0, 14) && epoch_of(5, 14) && !epoch_of(2, 14));
	CU_ASSERT_TRUE(g.peer[0].has_eval); /* the lowest rank, though it came late */
	CU_ASSERT_TRUE(g.peer[0].eval.value > 5 * g.peer[0].eval.reference);
	uint64_t gone = 0, came = 0, redealt = 0;
	for (unsigned v = 1; v < g.peer[1].nviews; v++) {
		const struct lh_event *e = &g.peer[1].views[v];
		gone |= e->gone;
		came |= e->came;
		redealt += e->samples_redealt;
		CU_ASSERT_EQUAL(e->cause, e->came ? LH_VIEW_JOINED : LH_VIEW_LOST);
		if (e->cause == LH_VIEW_LOST) /* a closed connection is noticed and settled at once */
			CU_ASSERT_TRUE(e->t_ns - e->noticed_ns < g.config.deadline_ns / 2);
	}
	CU_ASSERT_EQUAL(gone, 0x25);
	CU_ASSERT_EQUAL(came, 0x21);
	CU_ASSERT_TRUE(redealt > 0);
	compare_with_calm();
	lhpeers_done(&g);
}

/* Deaths at any moment, by seed; all algorithms, both engines. */
static void test_any_moment(void)
{
	uint64_t seed = lh_test_seed();
	for (unsigned k = 0; k < 8; k++) {
		unsigned n = 3 + k % 3;
		init(n, 8);
		g.config.algorithm = (enum lh_algorithm)(k % (LH_ALGORITHM_CENTRAL + 1));
		if (k % 2) {
			g.config.engine = LH_ENGINE_PACED;
			g.config.wire = LH_WIRE_FP16;
			g.config.parameters = k < 4 ? 1000003 : 6000011; /* the larger: most of a round is exchange */
			for (unsigned i = 0; i < n && k >= 4; i++)
				g.endpoints[i].samples_per_s = 1000;
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

/* On trees that were planned for all: the others go on with what is left of them, and have them whole again. */
static void test_planned_trees(void)
{
	for (unsigned k = 0; k < 3; k++) {
		init(5, 10);
		g.config.algorithm = LH_ALGORITHM_PACKED_TREES;
		g.config.trees = lhtrees_random(5, 7, lh_test_seed() + k);
		start();
		until_round(1, 2);
		unsigned root = g.config.trees.root[0]; /* 1 is watched, 4 goes anyway */
		kill_peer(root == 1 || root == 4 ? 2 : root);
		kill_peer(4);
		until_round(1, 5);
		bring_back(4, 1);
		until_round(1, 6);
		lhpeers_wait_all(&g);
		check_rounds();
		CU_ASSERT_TRUE(epoch_of(1, 10) && epoch_of(4, 10));
		if (!k)
			compare_with_calm();
		lh_trees_done(&g.config.trees);
		lhpeers_done(&g);
	}
}

/* With error feedback: replicas stay identical through a death and a return, survivors keep what they hold back, and
 * everybody says with each round how much would be lost with it. */
static void test_held_back(void)
{
	static const struct { enum lh_wire wire; double fraction; } cases[] = { { LH_WIRE_TOPK, 0.1 }, { LH_WIRE_INT8, 0 } };
	for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
		init(4, 9);
		g.config.wire = cases[k].wire;
		g.config.codec = (struct lh_codec_options){ .topk_fraction = cases[k].fraction, .error_feedback = true };
		start();
		until_round(1, 3);
		kill_peer(2);
		until_round(1, 5);
		bring_back(2, 1);
		lhpeers_wait_all(&g);
		check_finished(0xf);
		check_rounds();
		for (unsigned i = 0; i < 4; i++)
			for (unsigned e = 0; e < g.peer[i].nepochs; e++)
				CU_ASSERT_TRUE(g.peer[i].epochs[e].held_back_l1 > 0);
		CU_ASSERT_PTR_NOT_NULL(epoch_of(2, 9));
		lhpeers_done(&g);
	}
}

/* A peer that stands still is left out after the deadline; when it goes on it hears of that, and joins again. */
static void test_stall(void)
{
	init(4, 16);
	g.config.deadline_ns = 2 * LH_NS_PER_S;
	g.config.target_batch = 8 * SHARE * 4;
	start();
	until_round(0, 1);
	kill(g.peer[3].pid, SIGSTOP);
	lh_ns stopped = lh_clock_ns();
	while (g.peer[0].nviews < 2)
		CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, 0, LH_EVENT_VIEW));
	lh_ns noticed = g.peer[0].views[1].noticed_ns - stopped;
	printf("# a stall is noticed after %.2f of the deadline\n", (double)noticed / (double)g.config.deadline_ns);
	CU_ASSERT_TRUE(noticed > g.config.deadline_ns / 2 && noticed < g.config.deadline_ns * 3 / 2);
	CU_ASSERT_EQUAL(g.peer[0].views[1].gone, 8);
	kill(g.peer[3].pid, SIGCONT);
	lhpeers_wait_all(&g);
	check_finished(0xf);
	check_rounds();
	CU_ASSERT_TRUE(g.peer[3].has_synced);
	CU_ASSERT_PTR_NOT_NULL(epoch_of(3, 16));
	lhpeers_done(&g);
}

static void temporary(char path[256])
{
	snprintf(path, 256, "%s/longhaul-elastic-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
}

static void remove_files(const char *path)
{
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));)
		if (*e->d_name != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(path);
}

/* A notice: checkpoint, then gone between two rounds, and nobody had to find out. And one that was not there comes. */
static void test_leave_and_add(void)
{
	init(4, 12);
	temporary(g.config.checkpoint_dir);
	g.endpoints[2].absent = 1;
	here = 0xb;
	start();
	until_round(0, 2);
	lhpeers_command(&g, 1, LH_CONTROL_NOTICE);
	until_round(0, 5);
	g.config.absent = true;
	lhpeers_start(&g, 2);
	g.config.absent = false;
	lhpeers_wait_all(&g);
	check_finished(0xf);
	CU_ASSERT_EQUAL(check_rounds(), 0);
	CU_ASSERT_TRUE(g.peer[1].has_left && g.peer[1].ncheckpoints == 1);
	CU_ASSERT_TRUE(!epoch_of(1, 12) && epoch_of(2, 12));
	CU_ASSERT_EQUAL(g.peer[0].nviews, 3);
	CU_ASSERT_EQUAL(g.peer[0].views[0].members, 0xb);
	CU_ASSERT_EQUAL(g.peer[0].views[1].cause, LH_VIEW_LEFT);
	CU_ASSERT_EQUAL(g.peer[0].views[1].gone, 0x2);
	CU_ASSERT_EQUAL(g.peer[0].views[2].cause, LH_VIEW_JOINED);
	CU_ASSERT_EQUAL(g.peer[0].views[2].came, 0x4);
	compare_with_calm();
	remove_files(g.config.checkpoint_dir);
	lhpeers_done(&g);
}

/* Of two, the one without rank 0 cannot know whether it is alone; of one alone nothing can be joined. Both say so. */
static void test_no_group(void)
{
	init(2, 30);
	g.config.deadline_ns = 1500 * LH_NS_PER_MS;
	temporary(g.config.checkpoint_dir);
	g.config.checkpoint_ns = 1;
	start();
	until_round(1, 2);
	kill_peer(0);
	lhpeers_wait(&g, 1);
	CU_ASSERT_EQUAL(g.peer[1].status, LH_EXIT_BROKE);
	CU_ASSERT_TRUE(g.peer[1].has_failed);
	CU_ASSERT_PTR_NOT_NULL(strstr(g.peer[1].failed.reason, "peer peer-1: no majority of the last group"));
	CU_ASSERT_TRUE(g.peer[1].ncheckpoints > 0);
	fclose(g.peer[1].events);
	close(g.peer[1].control_fd);
	bring_back(1, 1);
	lhpeers_wait(&g, 1);
	CU_ASSERT_EQUAL(g.peer[1].status, LH_EXIT_BROKE);
	CU_ASSERT_PTR_NOT_NULL(strstr(g.peer[1].failed.reason, "no running group was found"));
	CU_ASSERT_PTR_NOT_NULL(strstr(g.peer[1].failed.reason, "a run resumed from peer-1-round-"));
	remove_files(g.config.checkpoint_dir);
	lhpeers_done(&g);
}

/* A member that talks nonsense, with the secret and all, is left out, and nobody is harmed. */
static unsigned met, lost;

static void on_found(void *ctx, unsigned peer, uint32_t incarnation) { met |= 1u << peer; }
static void on_lost(void *ctx, unsigned peer, const char *reason) { lost |= 1u << peer; }
static int on_message(void *ctx, unsigned peer, const struct lh_frame *f, const uint8_t *payload, struct lh_err *err)
{
	return 0;
}

static void progress(struct lh_transport *t, lh_ns for_ns, unsigned until_lost)
{
	lh_ns until = lh_clock_ns() + for_ns;
	while (lh_clock_ns() < until && (lost & until_lost) != until_lost) {
		CU_ASSERT_EQUAL_FATAL(t->ops->progress(t, NULL), 0);
		usleep(1000);
	}
}

static void test_nonsense(void)
{
	static const struct lh_transport_member member = { .found = on_found, .lost = on_lost, .message = on_message };
	static uint8_t bytes[LH_MEMBER_MESSAGE_MAX];
	for (unsigned what = 0; what < 4; what++) {
		struct lh_transport *t = NULL;
		struct lh_member_message m = { .kind = LH_MEMBER_VIEW, .view = 1 };
		init(3, 6);
		met = lost = 0;
		lhpeers_start(&g, 0);
		lhpeers_start(&g, 1);
		g.config.rank = 2;
		CU_ASSERT_EQUAL_FATAL(lh_tcp_listen(&g.config, &t, NULL), 0);
		t->member = &member;
		lh_tcp_join(t);
		for (unsigned i = 0; met != 3 && i < 5000; i++)
			progress(t, LH_NS_PER_MS, 3);
		CU_ASSERT_EQUAL_FATAL(met, 3);
		for (unsigned i = 0; i < 2; i++) {
			while (!g.peer[i].has_joined)
				CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, i, LH_EVENT_JOINED));
			lhpeers_command(&g, i, LH_CONTROL_GO);
		}
		size_t len;
		switch (what) {
		case 0: /* not a message */
			memset(bytes, 0xff, len = 100);
			break;
		case 1: /* a group in which a round is not dealt once */
			m.group = (struct lh_view){ .number = 2, .members = 4, .synced = 4, .version = 0 };
			m.group.table.n = 1;
			m.group.table.range[0] = (struct lh_member_range){ 0, 59, 2 };
			len = lh_member_print(&m, bytes);
			break;
		case 2: /* an acknowledgement of a round to come */
			m = (struct lh_member_message){ .kind = LH_MEMBER_ACK, .view = 1, .version = 3, .hash = 1 };
			len = lh_member_print(&m, bytes);
			break;
		default: /* a ballot of somebody else */
			m = (struct lh_member_message){ .kind = LH_MEMBER_PREPARE, .view = 1, .ballot = 64 };
			len = lh_member_print(&m, bytes);
			break;
		}
		for (unsigned i = 0; i < 2; i++)
			CU_ASSERT_EQUAL(t->ops->tell(t, i, bytes, len), 0);
		progress(t, 3 * LH_NS_PER_S, 3);
		CU_ASSERT_EQUAL(lost, 3);
		t->ops->close(t);
		for (unsigned i = 0; i < 2; i++)
			lhpeers_wait(&g, i);
		check_finished(3);
		CU_ASSERT_EQUAL(check_rounds(), 0);
		CU_ASSERT_TRUE(g.peer[0].nviews >= 2);
		lhpeers_done(&g);
	}
}

static const struct lh_test tests[] = {
	{ "three_of_eight", test_three_of_eight, LH_TEST_FORK },
	{ "any_moment", test_any_moment, LH_TEST_FORK },
	{ "planned_trees", test_planned_trees, LH_TEST_FORK },
	{ "held_back", test_held_back, LH_TEST_FORK },
	{ "stall", test_stall, LH_TEST_FORK },
	{ "leave_and_add", test_leave_and_add, LH_TEST_FORK },
	{ "no_group", test_no_group, LH_TEST_FORK },
	{ "nonsense", test_nonsense, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	return lh_test_main(argc, argv, "elastic", tests, sizeof tests / sizeof *tests);
}
