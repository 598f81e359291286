/* `longhaul run` and `sweep` end to end on the host's kernel, across links without delay: what a run does and says when
 * all goes well, and each way in which it may end otherwise.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lhcli.h"
#include "lhtest.h"
#include "lhtrace.h"
#include "longhaul/cell.h"

/* 4 peers, 6 epochs of 0.2 s. */
static const char file[] = "longhaul: 1\n"
			   "name: here\n"
			   "sites:\n"
			   "  us: {peers: 2, lan: {rtt: 0ms}}\n"
			   "  eu: {peers: 2, lan: {rtt: 0ms}}\n"
			   "matrix: {rtt: {us: {eu: 0ms}}}\n"
			   "training: {engine: cpu, model: digits, target-batch: 32, microbatch: 8, epochs: 6, warmup: "
			   "1, pace: 40/s, deadline: 3s}\n"
			   "probe: {pings: 5}\n";

static void open_here(struct lh_cli *c)
{
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;

	if (lh_cell_probe(&caps, &err) < 0 || !caps.net_ns || !caps.pid_ns)
		lh_test_skip("netns", "%s", err.code ? err.text : caps.why);
	lh_cli_open(c);
	lh_cli_write(c, "here.yaml", file);
}

static void expect(const struct lh_cli *c, int status, const char *says)
{
	CU_ASSERT_EQUAL(c->status, status);
	if (c->status != status)
		printf("# status %d, wanted %d\n# out: %s\n# err: %s\n", c->status, status, c->out, c->err);
	if (!says)
		return;
	CU_ASSERT_PTR_NOT_NULL(strstr(c->err, says));
	if (!strstr(c->err, says))
		printf("# \"%s\" is not in: %s\n", says, c->err);
}

static const json_t *at(const json_t *doc, const char *section, const char *key)
{
	return json_object_get(json_object_get(doc, section), key);
}

static bool has(const struct lh_cli *c, const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", c->dir, name);
	return access(path, F_OK) == 0;
}

/* The timeline is one, and says of each round what events.jsonl says. */
static void check_trace(const struct lh_cli *c)
{
	char path[256];
	unsigned rounds = 0, counters = 0;
	const json_t *e;
	size_t i;

	snprintf(path, sizeof path, "%s/run/trace.json", c->dir);
	json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	lhtrace_check(doc);
	json_array_foreach(json_object_get(doc, "traceEvents"), i, e) {
		const char *cat = json_string_value(json_object_get(e, "cat"));
		counters += !strcmp(json_string_value(json_object_get(e, "ph")), "C");
		if (!cat || strcmp(cat, "round"))
			continue;
		double sum = 0;
		const char *key;
		json_t *v;
		rounds++;
		json_object_foreach(json_object_get(e, "args"), key, v)
			if (strncmp(key, "tcp_", 4) != 0)
				sum += json_number_value(v);
		CU_ASSERT_DOUBLE_EQUAL(sum, json_number_value(json_object_get(e, "dur")) / 1e6, 1e-6);
	}
	CU_ASSERT_EQUAL(rounds, 4 * 6);
	CU_ASSERT_TRUE(counters > 0);
	json_decref(doc);
}

static void test_valid(void)
{
	static const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", "--json", "-q", NULL };
	static const char *const report[] = { "report", "run", NULL };
	struct lh_cli c;

	open_here(&c);
	lh_cli_run_patiently(&c, args, NULL);
	expect(&c, 0, NULL);
	CU_ASSERT_STRING_EQUAL(c.err, "");
	json_t *doc = lh_cli_result(&c), *printed = json_loads(c.out, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	CU_ASSERT_TRUE(json_equal(doc, printed));
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "valid")));
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "replicas_identical")));
	CU_ASSERT_TRUE(json_is_null(at(doc, "summary", "reason")));
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "tcp_info_checked")));
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "epochs")), 6);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "peers")), 4);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "links")), 4);
	/* 32 samples at 4 x 40 a second are 0.2 s; five such epochs count. */
	double calc = json_number_value(at(doc, "summary", "calc_s")),
	       eff = json_number_value(at(doc, "summary", "efficiency"));
	CU_ASSERT_TRUE(calc > 0.999 && calc < 1.1);
	CU_ASSERT_TRUE(eff > 0.8 && eff <= 1);
	static const char *const files[] = {"run/manifest.json", "run/events.jsonl", "run/links.csv", "run/epochs.csv",
					     "run/trace.json"};
	for (size_t i = 0; i < 5; i++)
		CU_ASSERT_TRUE(has(&c, files[i]));
	CU_ASSERT_FALSE(has(&c, "run/peers.log") || has(&c, "run/.reserve"));
	check_trace(&c);
	json_decref(doc);
	json_decref(printed);
	lh_cli_run(&c, report, NULL, 0, 0);
	expect(&c, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(c.out, "  valid, held_out_accuracy "));
	lh_cli_run(&c, args, NULL, 0, 0); /* the directory exists now */
	expect(&c, 2, "run");
	lh_cli_close(&c);
}

static const char *const plain[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", "-q", NULL };

static void test_flipped_bit(void)
{
	struct lh_cli c;

	open_here(&c);
	lh_cli_run(&c, plain, "flip=2:3", 0, 0);
	expect(&c, 4, "peer eu-0: its parameters differ from the others' after epoch 3");
	json_t *doc = lh_cli_result(&c);
	CU_ASSERT_TRUE(json_is_false(at(doc, "summary", "replicas_identical")));
	CU_ASSERT_TRUE(json_is_false(at(doc, "summary", "valid")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(doc, "complete")));
	json_decref(doc);
	lh_cli_close(&c);
}

static void test_starved(void)
{
	struct lh_cli c;

	open_here(&c);
	lh_cli_run(&c, plain, "starve=400ms", 0, 0);
	expect(&c, 5, "the peers' paces together need");
	CU_ASSERT_PTR_NOT_NULL(strstr(c.out, "behind its declared pace"));
	json_t *doc = lh_cli_result(&c);
	CU_ASSERT_TRUE(json_is_false(at(doc, "summary", "valid")));
	CU_ASSERT_TRUE(json_number_value(at(doc, "summary", "lateness")) > 0.02);
	json_decref(doc);
	lh_cli_close(&c);
}

static void test_killed_peer(void)
{
	static const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", "--set",
					    "schedule=[{at: 500ms, kill: eu-1}]", NULL };
	struct lh_cli c;

	open_here(&c);
	lh_cli_run(&c, args, NULL, 0, 0);
	expect(&c, 4, "peer eu-1: was killed by signal 9");
	json_t *doc = lh_cli_result(&c);
	CU_ASSERT_STRING_EQUAL(json_string_value(at(doc, "failure", "kind")), "peer-died");
	CU_ASSERT_STRING_EQUAL(json_string_value(at(doc, "failure", "peer")), "eu-1");
	double t = json_number_value(at(doc, "failure", "t_s"));
	CU_ASSERT_TRUE(t >= 0.5 && t < 0.8); /* noticed at once */
	CU_ASSERT_TRUE(json_is_false(json_object_get(doc, "complete")));
	CU_ASSERT_TRUE(json_array_size(json_object_get(doc, "epochs")) >= 1); /* results so far */
	CU_ASSERT_TRUE(c.seconds < 0.5 + 2 + 5); /* the grace, and the set-up of a busy machine */
	json_decref(doc);
	lh_cli_close(&c);
}

static void interrupted(int signal, int status)
{
	static const char *const args[] = {"run",   "here.yaml",           "--kernel", "host", "-o", "run",
					   "--set", "training.epochs=600", NULL};
	struct lh_cli c;

	open_here(&c);
	lh_cli_run(&c, args, NULL, signal, 2500);
	expect(&c, status, "interrupted by signal");
	json_t *doc = lh_cli_result(&c);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	CU_ASSERT_TRUE(json_is_false(json_object_get(doc, "complete")));
	CU_ASSERT_STRING_EQUAL(json_string_value(at(doc, "failure", "kind")), "interrupted");
	CU_ASSERT_TRUE(json_array_size(json_object_get(doc, "epochs")) > 0);
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "replicas_identical")));
	CU_ASSERT_TRUE(json_is_false(at(doc, "summary", "valid")));
	CU_ASSERT_TRUE(has(&c, "run/epochs.csv"));
	json_decref(doc);
	lh_cli_close(&c);
}

static void test_sigint(void)
{
	interrupted(SIGINT, 130);
}

static void test_sigterm(void)
{
	interrupted(SIGTERM, 143);
}

/* Private mounts for this forked test; as root, or as root of a user namespace. */
static bool own_mounts(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(CLONE_NEWNS) == 0)
		return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	const char *const files[] = { "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map" };
	for (int i = 0; i < 3; i++) {
		int fd = open(files[i], O_WRONLY | O_CLOEXEC);
		snprintf(map, sizeof map, i == 0 ? "deny" : "0 %u 1", i == 1 ? uid : gid);
		if (fd < 0 || write(fd, map, strlen(map)) < 0)
			return false;
		close(fd);
	}
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* The disk fills while the peers train: the result is there all the same, thanks to the reserve. */
static void test_full_disk(void)
{
	static const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "small/run", "--set",
					    "training.epochs=60", "--set", "training.pace=4000/s", NULL };
	struct lh_cli c;
	char path[256];

	open_here(&c);
	if (!own_mounts())
		lh_test_skip("netns", "no mount namespace");
	snprintf(path, sizeof path, "%s/small", c.dir);
	CU_ASSERT_EQUAL_FATAL(mkdir(path, 0777), 0);
	/* 88 KiB are promised to the result, 20 or so to the manifest: some 100 KiB of events have no room. */
	CU_ASSERT_EQUAL_FATAL(mount("none", path, "tmpfs", 0, "size=160k"), 0);
	lh_cli_run(&c, args, NULL, 0, 0);
	expect(&c, 4, "small/run: events.jsonl: No space left on device");
	CU_ASSERT_TRUE(has(&c, "small/run/result.json"));
	CU_ASSERT_TRUE(has(&c, "small/run/epochs.csv"));
	snprintf(path, sizeof path, "%s/small/run/result.json", c.dir);
	json_t *doc = json_load_file(path, 0, NULL);
	CU_ASSERT_STRING_EQUAL(json_string_value(at(doc, "failure", "kind")), "output");
	CU_ASSERT_TRUE(json_array_size(json_object_get(doc, "epochs")) > 3);
	json_decref(doc);
	/* Every line of the log is whole. */
	snprintf(path, sizeof path, "%s/small/run/events.jsonl", c.dir);
	FILE *in = fopen(path, "re");
	char line[8192];
	unsigned lines = 0;
	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	while (fgets(line, sizeof line, in)) {
		json_t *event = json_loads(line, 0, NULL);
		CU_ASSERT_PTR_NOT_NULL(event);
		json_decref(event);
		lines++;
	}
	fclose(in);
	CU_ASSERT_TRUE(lines > 20);
	/* No room even for the reserve: it says so before anything is trained. */
	static const char *const tiny[] = { "run", "here.yaml", "--kernel", "host", "-o", "small/run2", "--set",
					    "training.epochs=600", NULL };
	lh_cli_run(&c, tiny, NULL, 0, 0);
	expect(&c, 4, "no room for a result");
	snprintf(path, sizeof path, "%s/small", c.dir);
	umount2(path, MNT_DETACH);
	lh_cli_close(&c);
}

static void test_sweep_and_resume(void)
{
	static const char *const args[] = {
	    "sweep", "here.yaml", "--kernel",          "host", "-o", "run", "-L", "target-batch=16,32", "--runs",
	    "1",     "--set",     "training.epochs=2", NULL};
	static const char *const resume[] = {"sweep",    "here.yaml", "--kernel", "host",
					     "--resume", "run",       "-L",       "target-batch=16,32",
					     "--runs",   "1",         "--set",    "training.epochs=2",
					     "--json",   NULL};
	static const char *const other[] = {
	    "sweep", "here.yaml", "--kernel",          "host", "--resume", "run", "-L", "target-batch=16,64", "--runs",
	    "1",     "--set",     "training.epochs=2", NULL};
	char path[256];
	struct stat kept, after;
	struct lh_cli c;

	open_here(&c);
	lh_cli_run_patiently(&c, args, NULL);
	expect(&c, 0, "[2/2, ");
	CU_ASSERT_PTR_NOT_NULL(strstr(c.out, "1/1"));
	CU_ASSERT_TRUE(has(&c, "run/sweep.csv") && has(&c, "run/sweep.json"));
	/* As if the second had been killed before its result was written. */
	snprintf(path, sizeof path, "%s/run/runs/c001-r0/result.json", c.dir);
	CU_ASSERT_EQUAL(unlink(path), 0);
	snprintf(path, sizeof path, "%s/run/runs/c000-r0/result.json", c.dir);
	CU_ASSERT_EQUAL(stat(path, &kept), 0);
	lh_cli_run(&c, resume, NULL, 0, 0);
	if (c.status != 5) /* a busy machine */
		expect(&c, 0, NULL);
	CU_ASSERT_TRUE(has(&c, "run/runs/c001-r0/result.json"));
	CU_ASSERT_TRUE(has(&c, "run/runs/c001-r0.partial-1"));
	CU_ASSERT_EQUAL(stat(path, &after), 0);
	CU_ASSERT_EQUAL(kept.st_ino, after.st_ino); /* not run again */
	json_t *doc = json_loads(c.out, 0, NULL);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "cells")), 2);
	json_decref(doc);
	static const char *const report[] = { "report", "run", "--json", NULL };
	lh_cli_run(&c, report, NULL, 0, 0);
	expect(&c, 0, NULL);
	doc = json_loads(c.out, 0, NULL);
	CU_ASSERT_EQUAL(json_array_size(doc), 2); /* the one put aside is not among them */
	json_decref(doc);
	lh_cli_run(&c, other, NULL, 0, 0);
	expect(&c, 2, "that sweep had another file, axes");
	lh_cli_close(&c);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "valid", test_valid, LH_TEST_FORK },
		{ "flipped_bit", test_flipped_bit, LH_TEST_FORK },
		{ "starved", test_starved, LH_TEST_FORK },
		{ "killed_peer", test_killed_peer, LH_TEST_FORK },
		{ "sigint", test_sigint, LH_TEST_FORK },
		{ "sigterm", test_sigterm, LH_TEST_FORK },
		{ "full_disk", test_full_disk, LH_TEST_FORK },
		{ "sweep_and_resume", test_sweep_and_resume, LH_TEST_FORK },
	};

	return lh_test_main(argc, argv, "run", tests, sizeof tests / sizeof *tests);
}
