/* SIGKILL of `longhaul` at random instants of its whole life, in every command that builds a network: nothing is left
 * but the run directory, and each of its files is absent or whole. test_kill.c does it to `run` more often. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/cell.h"
#include "victim.h"

enum { LIFE_LIMIT_MS = 60000, LONGER = 4 };

static unsigned long long seed;
static bool uml;

static unsigned below(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((seed >> 33) % n);
}

/* Its life in milliseconds when nobody kills it; a busy machine may call a run inconclusive. */
static int life_ms(const char *const *args)
{
	struct victim v;

	victim_open(&v, victim_topology);
	victim_run(&v, args);
	CU_ASSERT_TRUE(v.status == 0 || v.status == 5);
	if (v.status)
		printf("# %s", v.err);
	victim_close(&v);
	return (int)(v.seconds * 1000);
}

/* `endless`: the same with no end of its own, so that nothing goes away but by the kill; the instants are those of
 * `args`, whose end and teardown it meets every other time. */
static void kill_at_random(const char *const *args, const char *const *endless, int times)
{
	int life = life_ms(args), outlived = 0, in_vain = 0;

	seed = lh_test_seed();
	if (getenv("LONGHAUL_LONG"))
		times *= LONGER;
	for (int i = 0; i < times; i++) {
		struct victim v;
		int after_ms = (int)below((unsigned)life);
		victim_open(&v, victim_topology);
		victim_start(&v, i % 2 ? endless : args);
		poll(NULL, 0, after_ms);
		lh_left_note(v.mark);
		in_vain += lh_left_count(v.mark, false) == 0; /* it must have been there to be gone */
		kill(v.pid, SIGKILL);
		victim_wait(&v, LIFE_LIMIT_MS);
		outlived += v.status != 128 + SIGKILL;
		bool ok = victim_left_nothing(&v);
		ok &= victim_files_whole(v.dir, uml);
		if (!ok)
			printf("# %s: killed after %d ms\n", args[0], after_ms);
		victim_close(&v);
		if (!ok)
			return;
	}
	printf("# %s lives %d ms; %d killed, %d had ended\n", args[0], life, times - outlived, outlived);
	CU_ASSERT_TRUE(outlived <= times / 3 && in_vain <= outlived);
}

static void test_run(void)
{
	static const char *const args[] = {
		"run",   "here.yaml",          "--kernel", "host", "-o", "run", "-q", "--set", "training.epochs=3",
		"--set", "training.pace=80/s", NULL};
	static const char *const endless[] = {"run",   "here.yaml",           "--kernel", "host", "-o", "run", "-q",
					      "--set", "training.epochs=600", NULL};
	kill_at_random(args, endless, 24);
}

static void test_probe(void)
{
	static const char *const args[] = {"probe", "here.yaml",           "--kernel", "host", "-o", "run", "-q",
					   "--set", "probe.goodput=100ms", NULL};
	static const char *const endless[] = {"probe", "here.yaml", "--kernel",          "host", "-o", "run",
					      "-q",    "--set",     "probe.goodput=60s", NULL};
	kill_at_random(args, endless, 12);
}

static void test_exec(void)
{
	static const char *const args[] = {"exec", "here.yaml", "--kernel", "host", "--all",
					   "--",   "sleep",     "0.3",      NULL};
	static const char *const endless[] = {"exec", "here.yaml", "--kernel", "host", "--all",
					      "--",   "sleep",     "100",      NULL};
	kill_at_random(args, endless, 12);
}

#define SWEEP "here.yaml", "-q", "-L", "epochs=2,3", "--set", "training.pace=160/s", "--runs"

static void test_sweep(void)
{
	static const char *const args[] = {"sweep", SWEEP, "1", "-o", "run", NULL};
	static const char *const endless[] = {"sweep", SWEEP, "100", "-o", "run", NULL};
	kill_at_random(args, endless, 12);
}

static void need_uml(void)
{
	struct lh_uml_caps caps;

	CU_ASSERT_EQUAL_FATAL(lh_uml_probe(&caps, NULL), 0);
	if (!caps.usable)
		lh_test_skip("uml", "%s", caps.why);
	uml = true;
}

/* The guest's kernel keeps written pages for a while: what it said to be on the disk must be there all the same. */
static void test_run_uml(void)
{
	static const char *const args[] = {"run",
					   "here.yaml",
					   "--kernel",
					   "uml",
					   "-o",
					   "run",
					   "-q",
					   "--set",
					   "training.epochs=3",
					   "--set",
					   "links.us-eu.rtt=20ms",
					   NULL};
	static const char *const endless[] = {"run",
					      "here.yaml",
					      "--kernel",
					      "uml",
					      "-o",
					      "run",
					      "-q",
					      "--set",
					      "training.epochs=600",
					      "--set",
					      "links.us-eu.rtt=20ms",
					      NULL};
	need_uml();
	kill_at_random(args, endless, 6);
}

static void test_sweep_uml(void)
{
	static const char *const args[] = {"sweep", SWEEP, "1", "-o", "run", "--kernel", "uml", NULL};
	static const char *const endless[] = {"sweep", SWEEP, "100", "-o", "run", "--kernel", "uml", NULL};
	need_uml();
	kill_at_random(args, endless, 6);
}

/* A sweep that was killed goes on, and only its unfinished run begins anew. */
static void test_resume(void)
{
	static const char *const args[] = {"sweep", SWEEP, "1", "-o", "run", NULL};
	static const char *const resume[] = {"sweep", SWEEP, "1", "--resume", "run", NULL};
	struct victim v;
	json_t *first = NULL;

	victim_open(&v, victim_topology);
	victim_start(&v, args);
	for (int ms = 0; ms < LIFE_LIMIT_MS && !first; ms += 5) {
		for (int cell = 0; cell < 2 && !first; cell++)
			first = victim_json(&v, cell ? "run/runs/c001-r0/result.json" : "run/runs/c000-r0/result.json");
		poll(NULL, 0, 5);
	}
	CU_ASSERT_PTR_NOT_NULL(first);
	lh_left_note(v.mark);
	kill(v.pid, SIGKILL);
	victim_wait(&v, LIFE_LIMIT_MS);
	CU_ASSERT_EQUAL(v.status, 128 + SIGKILL);
	victim_left_nothing(&v);
	victim_run(&v, resume);
	CU_ASSERT_TRUE(v.status == 0 || v.status == 5);
	for (int cell = 0; cell < 2; cell++) {
		json_t *doc = victim_json(&v, cell ? "run/runs/c001-r0/result.json" : "run/runs/c000-r0/result.json");
		CU_ASSERT_TRUE(json_is_true(json_object_get(doc, "complete")));
		json_decref(doc);
	}
	json_t *table = victim_json(&v, "run/sweep.json");
	CU_ASSERT_EQUAL(json_array_size(json_object_get(table, "cells")), 2);
	json_decref(table);
	json_decref(first);
	victim_close(&v);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{"run", test_run, LH_TEST_FORK},
		{"probe", test_probe, LH_TEST_FORK},
		{"exec", test_exec, LH_TEST_FORK},
		{"sweep", test_sweep, LH_TEST_FORK},
		{"run_uml", test_run_uml, LH_TEST_FORK},
		{"sweep_uml", test_sweep_uml, LH_TEST_FORK},
		{"a_killed_sweep_goes_on", test_resume, LH_TEST_FORK},
	};

	if (argc > 1 && !strcmp(argv[1], "--victim"))
		return victim_main(argv);
	return lh_test_main(argc, argv, "kill of every command", tests, sizeof tests / sizeof *tests);
}
