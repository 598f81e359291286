/* What happens to peers and to the network under them while they train: each ends the run with exit status 4 within a
 * stated time, the result says who and when and keeps what was trained so far, and nothing is left.
 * tests/netns/test_run.c has a peer that the schedule kills; here the killer comes from outside. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhtest.h"
#include "victim.h"

/* deadline of the topology, run_train.c's grace, and what a busy machine of two cores may add */
enum { DEADLINE_S = 2, GRACE_S = 2, BUSY_S = 5, REPORTS = 9 };

static const char *const names[] = {"us-0", "us-1", "eu-0", "eu-1"};
static const char *const endless[] = {"run",   "here.yaml",           "--kernel", "host", "-o", "run", "-q",
				      "--set", "training.epochs=600", NULL};

static const json_t *at(const json_t *doc, const char *section, const char *key)
{
	return json_object_get(json_object_get(doc, section), key);
}

/* A failed run's result: of this kind, this peer's fault (NULL: anybody's) and noticed between these times after the
 * go. */
static void expect_failure(struct victim *v, const char *kind, const char *peer, double from_s, double to_s)
{
	json_t *doc = victim_json(v, "run/result.json");
	const char *got = json_string_value(at(doc, "failure", "kind")),
		   *who = json_string_value(at(doc, "failure", "peer"));
	double t = json_number_value(at(doc, "failure", "t_s"));

	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	CU_ASSERT_TRUE(got && !strcmp(got, kind));
	CU_ASSERT_TRUE(who && (!peer || !strcmp(who, peer)));
	CU_ASSERT_TRUE(t >= from_s && t <= to_s);
	CU_ASSERT_TRUE(json_is_false(json_object_get(doc, "complete")));
	CU_ASSERT_TRUE(json_is_false(at(doc, "summary", "valid")));
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(doc, "exit_status")), 4);
	CU_ASSERT_TRUE(json_array_size(json_object_get(doc, "epochs")) >= 1);
	printf("# %s, peer %s, at %.2f s: %.*s\n", got ? got : "?", who ? who : "?", t, (int)strcspn(v->err, "\n"),
	       v->err);
	json_decref(doc);
}

static void one_killed(unsigned rank)
{
	struct victim v;
	char says[64];

	victim_open(&v, victim_topology);
	victim_start(&v, endless);
	victim_trains(&v, REPORTS);
	lh_left_note(v.mark);
	pid_t peer = victim_peer(&v, rank);
	CU_ASSERT_TRUE_FATAL(peer > 0);
	CU_ASSERT_EQUAL(kill(peer, SIGKILL), 0);
	victim_wait(&v, (GRACE_S + BUSY_S) * 1000);
	snprintf(says, sizeof says, "longhaul: peer %s: was killed by signal 9", names[rank]);
	victim_expect(&v, 4, says);
	expect_failure(&v, "peer-died", names[rank], 0.4, v.seconds);
	victim_close(&v);
}

static void test_killed_0(void) { one_killed(0); }
static void test_killed_1(void) { one_killed(1); }
static void test_killed_2(void) { one_killed(2); }
static void test_killed_3(void) { one_killed(3); }

/* A stopped process keeps its connections, and its kernel goes on acknowledging: only the deadline finds it. */
static void test_stopped(void)
{
	struct victim v;

	victim_open(&v, victim_topology);
	victim_start(&v, endless);
	victim_trains(&v, REPORTS);
	lh_left_note(v.mark);
	pid_t peer = victim_peer(&v, 2);
	CU_ASSERT_TRUE_FATAL(peer > 0);
	CU_ASSERT_EQUAL(kill(peer, SIGSTOP), 0);
	victim_wait(&v, (DEADLINE_S + GRACE_S + BUSY_S) * 1000);
	victim_expect(&v, 4, "longhaul: peer eu-0: ");
	expect_failure(&v, "stalled", "eu-0", 0.4 + DEADLINE_S, v.seconds);
	victim_close(&v);
}

/* The exchange that it stops begins an epoch (0.2 s) later at most, then the deadline passes. */
static void unreachable(const char *schedule, const char *says)
{
	const char *args[] = {"run",   "here.yaml",           "--kernel", "host",   "-o", "run", "-q",
			      "--set", "training.epochs=600", "--set",    schedule, NULL};
	struct victim v;

	victim_open(&v, victim_topology);
	victim_run(&v, args);
	victim_expect(&v, 4, says);
	expect_failure(&v, "stalled", NULL, 1, 1 + 0.3 + DEADLINE_S + BUSY_S);
	victim_close(&v);
}

static void test_cut(void) { unreachable("schedule=[{at: 1s, cut: [us, eu]}]", "after link us->eu: cut at 1.0 s"); }

static void test_cut_one_way(void)
{
	unreachable("schedule=[{at: 1s, cut: {from: eu, to: us}}]", "after link eu->us: cut at 1.0 s");
}

static void test_partition(void)
{
	unreachable("schedule=[{at: 1s, partition: [[us], [eu]]}]", "after partition: [us] | [eu] at 1.0 s");
}

/* The same across an ocean, in whichever kernel has sch_netem: from there, too, the result comes out. */
static void far(const char *schedule, const char *kind, const char *says, double to_s)
{
	const char *args[] = {"run",
			      "here.yaml",
			      "-o",
			      "run",
			      "-q",
			      "--set",
			      "training.epochs=600",
			      "--set",
			      "links.us-eu.rtt=50ms",
			      "--set",
			      schedule,
			      NULL};
	struct victim v;

	victim_open(&v, victim_topology);
	victim_run(&v, args);
	if (v.status == 3 && strstr(v.err, "cannot stand in")) {
		victim_close(&v);
		lh_test_skip("kernel", "%.*s", (int)strcspn(v.err, "\n"), v.err);
	}
	victim_expect(&v, 4, says);
	expect_failure(&v, kind, NULL, 1, to_s);
	victim_close(&v);
}

static void test_far_killed(void)
{
	far("schedule=[{at: 1s, kill: eu-1}]", "peer-died", "longhaul: peer eu-1: was killed by signal 9", 1 + BUSY_S);
}

static void test_far_partition(void)
{
	far("schedule=[{at: 1s, partition: [[us], [eu]]}]", "stalled", "after partition: [us] | [eu] at 1.0 s",
	    1 + 0.4 + DEADLINE_S + BUSY_S);
}

/* A cut that heals within the deadline is no failure. */
static void test_healed(void)
{
	static const char *const args[] = {"run",
					   "here.yaml",
					   "--kernel",
					   "host",
					   "-o",
					   "run",
					   "-q",
					   "--set",
					   "training.deadline=10s",
					   "--set",
					   "schedule=[{at: 400ms, cut: [us, eu]}, {at: 700ms, heal: all}]",
					   NULL};
	struct victim v;

	victim_open(&v, victim_topology);
	victim_run(&v, args);
	json_t *doc = victim_json(&v, "run/result.json");
	CU_ASSERT_TRUE(v.status == 0 || v.status == 5); /* 5: a machine too busy to be sure */
	CU_ASSERT_TRUE(json_is_true(json_object_get(doc, "complete")));
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "replicas_identical")));
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "epochs")), 6);
	json_decref(doc);
	victim_close(&v);
}

/* The process that does everything, pid 1 of the cell. Nobody is there to write a result; nothing stays all the same.
 */
static void test_cell_killed(void)
{
	struct victim v;

	victim_open(&v, victim_topology);
	victim_start(&v, endless);
	victim_trains(&v, REPORTS);
	lh_left_note(v.mark);
	pid_t cell = victim_cell(&v);
	CU_ASSERT_TRUE_FATAL(cell > 0);
	CU_ASSERT_EQUAL(kill(cell, SIGKILL), 0);
	victim_wait(&v, BUSY_S * 1000);
	victim_expect(&v, 4, "longhaul: the process that holds the network was killed by signal 9 (Killed)");
	victim_close(&v);
}

/* In each network of the cell's: change the first tbf that there is, and say so. Needs root, as does anybody who would.
 */
static bool meddle(pid_t cell)
{
	static const char command[] =
		"PATH=$PATH:/usr/sbin:/sbin; set -- $(tc qdisc show | grep 'tbf .* root .*rate 500Mbit'); "
		"test -n \"$5\" && tc qdisc change dev $5 root tbf rate 490mbit burst 100kb limit 1mb 2>&1";
	char path[64], link[64];
	bool done = false;

	for (int fd = 0; fd < 256 && !done; fd++) {
		snprintf(path, sizeof path, "/proc/%d/fd/%d", cell, fd);
		ssize_t n = readlink(path, link, sizeof link - 1);
		link[n > 0 ? n : 0] = 0;
		if (strncmp(link, "net:[", 5))
			continue;
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0) {
			int ns = open(path, O_RDONLY | O_CLOEXEC);
			_exit(ns >= 0 && setns(ns, CLONE_NEWNET) == 0 && system(command) == 0 ? 0 : 1);
		}
		int status = -1;
		done = waitpid(pid, &status, 0) == pid && status == 0;
	}
	return done;
}

/* The numbers of a run whose network somebody changed are of another network. */
static void test_altered_qdisc(void)
{
	static const char *const args[] = {"run", "here.yaml", "--kernel",           "host", "-o", "run",
					   "-q",  "--set",     "training.epochs=10", NULL};
	struct victim v;

	if (geteuid())
		lh_test_skip("root", "only root can enter another's network");
	victim_open(&v, victim_topology);
	victim_start(&v, args);
	victim_trains(&v, 4);
	CU_ASSERT_TRUE(meddle(victim_cell(&v)));
	victim_wait(&v, 30000);
	json_t *doc = victim_json(&v, "run/result.json");
	victim_expect(&v, 3, "after the training: link ");
	victim_expect(&v, 3, "rate");
	CU_ASSERT_TRUE(json_is_false(at(doc, "summary", "valid")));
	printf("# %s", v.err);
	json_decref(doc);
	victim_close(&v);
}

/* Two runs of the same file at the same time: each has its own of everything. */
static void test_two_at_once(void)
{
	static const char *const args[] = {"run", "here.yaml", "--kernel",           "host", "-o", "run",
					   "-q",  "--set",     "training.pace=10/s", NULL};
	static const char *const other[] = {"run", "here.yaml", "--kernel",           "host", "-o", "other",
					    "-q",  "--set",     "training.pace=10/s", NULL};
	struct victim a, b;
	json_t *docs[2];

	victim_open(&a, victim_topology);
	b = a; /* same directory, same mark */
	victim_start(&a, args);
	victim_start(&b, other);
	victim_trains(&a, 1);
	CU_ASSERT_TRUE(victim_cell(&a) && victim_cell(&b) && victim_cell(&a) != victim_cell(&b));
	victim_wait(&a, 60000);
	victim_wait(&b, 60000);
	docs[0] = victim_json(&a, "run/result.json");
	docs[1] = victim_json(&a, "other/result.json");
	for (int i = 0; i < 2; i++) {
		const json_t *link, *epoch, *epochs = json_object_get(docs[i], "epochs");
		size_t n;
		CU_ASSERT_TRUE((i ? b : a).status == 0 || (i ? b : a).status == 5);
		CU_ASSERT_TRUE(json_is_true(json_object_get(docs[i], "complete")));
		CU_ASSERT_TRUE(json_is_true(at(docs[i], "summary", "replicas_identical")));
		CU_ASSERT_EQUAL(json_array_size(epochs), 6);
		json_array_foreach(epochs, n, epoch)
			CU_ASSERT_EQUAL(json_integer_value(json_object_get(epoch, "samples")), 32);
		json_array_foreach(json_object_get(docs[i], "links"), n, link)
			CU_ASSERT_STRING_NOT_EQUAL(json_string_value(json_object_get(link, "verdict")), "unreachable");
	}
	/* Same seeds, same data: the same training, bit by bit, whatever went on beside it. */
	for (size_t n = 0; n < 6; n++)
		CU_ASSERT_EQUAL(json_number_value(
					json_object_get(json_array_get(json_object_get(docs[0], "epochs"), n), "loss")),
				json_number_value(json_object_get(json_array_get(json_object_get(docs[1], "epochs"), n),
								  "loss")));
	json_decref(docs[0]);
	json_decref(docs[1]);
	victim_close(&a);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{"rank_0_killed", test_killed_0, LH_TEST_FORK},
		{"rank_1_killed", test_killed_1, LH_TEST_FORK},
		{"rank_2_killed", test_killed_2, LH_TEST_FORK},
		{"rank_3_killed", test_killed_3, LH_TEST_FORK},
		{"stopped", test_stopped, LH_TEST_FORK},
		{"cut", test_cut, LH_TEST_FORK},
		{"cut_one_way", test_cut_one_way, LH_TEST_FORK},
		{"partition", test_partition, LH_TEST_FORK},
		{"far_killed", test_far_killed, LH_TEST_FORK},
		{"far_partition", test_far_partition, LH_TEST_FORK},
		{"healed_in_time", test_healed, LH_TEST_FORK},
		{"cell_killed", test_cell_killed, LH_TEST_FORK},
		{"altered_qdisc", test_altered_qdisc, LH_TEST_FORK},
		{"two_at_once", test_two_at_once, LH_TEST_FORK},
	};

	if (argc > 1 && !strcmp(argv[1], "--victim"))
		return victim_main(argv);
	return lh_test_main(argc, argv, "faults of peers", tests, sizeof tests / sizeof *tests);
}
