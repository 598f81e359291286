/* `longhaul run` across a real emulated ocean: the kernel is the host's where it has sch_netem, else User-Mode Linux,
 * as the command decides by itself.
 */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "lhcli.h"
#include "lhtest.h"
#include "lhtrace.h"

static char topology[512];

/* Skip where the machine has no such kernel; anything else is for the test to judge. */
static void run(struct lh_cli *c, const char *const *args, const char *faults, int signal, int signal_ms)
{
	if (signal)
		lh_cli_run(c, args, faults, signal, signal_ms);
	else
		lh_cli_run_patiently(c, args, faults);
	if (c->status == 3 && strstr(c->err, "cannot stand in")) {
		char why[256];
		snprintf(why, sizeof why, "%.*s", (int)strcspn(c->err, "\n"), c->err);
		lh_cli_close(c);
		lh_test_skip("kernel", "%s", why);
	}
}

static void expect(const struct lh_cli *c, int status, const char *says)
{
	CU_ASSERT_EQUAL(c->status, status);
	if (says)
		CU_ASSERT_PTR_NOT_NULL(strstr(c->err, says));
	if (c->status != status || (says && !strstr(c->err, says)))
		printf("# status %d, wanted %d\n# out: %s\n# err: %s\n", c->status, status, c->out, c->err);
}

static const json_t *at(const json_t *doc, const char *section, const char *key)
{
	return json_object_get(json_object_get(doc, section), key);
}

static double number(const json_t *v)
{
	return json_is_number(v) ? json_number_value(v) : NAN;
}

static void check_links(const json_t *links)
{
	const json_t *link;
	size_t i, wan = 0;

	json_array_foreach(links, i, link) {
		double asked = number(json_object_get(link, "rtt_spec_s")),
		       got = number(json_object_get(link, "rtt_measured_s"));
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(link, "verdict")), "ok");
		CU_ASSERT_TRUE(json_is_null(json_object_get(link, "goodput_1_bit_per_s")));
		CU_ASSERT_TRUE(fabs(got - asked) <= fmax(0.0005, 0.005 * asked));
		wan += asked > 0.1;
		if (asked > 0.1)
			CU_ASSERT_TRUE(number(json_object_get(link, "train_bytes")) > 1e6);
		CU_ASSERT_EQUAL(number(json_object_get(link, "train_drops")), 0);
	}
	CU_ASSERT_EQUAL(wan, 2);
	CU_ASSERT_EQUAL(i, 4);
}

static void check_parts(const json_t *epoch)
{
	static const char *const parts[] = { "comm_latency_s", "comm_bandwidth_s", "comm_wait_s", "comm_coding_s",
					     "comm_update_s" };
	double sum = 0;

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		double part = number(json_object_get(epoch, parts[i]));
		CU_ASSERT_TRUE(part >= 0);
		sum += part;
	}
	CU_ASSERT_DOUBLE_EQUAL(sum, number(json_object_get(epoch, "comm_s")), 1e-9);
}

/* In the guest, too, the counter that divides rounds does so, and the timeline is one. */
static void check_trace(const struct lh_cli *c, const json_t *shares)
{
	const char *kind;
	double sum = 0;
	char path[128];
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)shares, kind, v)
		sum += number(v);
	CU_ASSERT_DOUBLE_EQUAL(sum, 1, 1e-9);
	/* Of a round of 0.32 + 0.11 s or a bit more, the peers calculate for the first part and wait in the other. */
	CU_ASSERT_TRUE(number(json_object_get(shares, "calculate")) > 0.5);
	CU_ASSERT_TRUE(number(json_object_get(shares, "wait")) + number(json_object_get(shares, "window")) > 0.15);
	snprintf(path, sizeof path, "%s/run/trace.json", c->dir);
	json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	lhtrace_check(doc);
	json_decref(doc);
}

static void test_transatlantic(void)
{
	const char *const args[] = { "run", topology, "-o", "run", "--json", NULL };
	struct lh_cli c;
	const json_t *epoch;
	size_t i;

	lh_cli_open(&c);
	run(&c, args, NULL, 0, 0);
	expect(&c, 0, "epoch 24/24");
	json_t *doc = json_loads(c.out, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(doc, "schema")), "longhaul-result/1");
	const char *netem = json_string_value(at(doc, "environment", "netem"));
	CU_ASSERT_TRUE(netem && (!strcmp(netem, "uml") || !strcmp(netem, "host")));
	CU_ASSERT_TRUE(json_is_string(at(doc, "environment", "kernel_release")));
	check_links(json_object_get(doc, "links"));
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "valid")));
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "replicas_identical")));
	double calc = number(at(doc, "summary", "calc_s")), comm = number(at(doc, "summary", "comm_s"));
	CU_ASSERT_DOUBLE_EQUAL(number(at(doc, "summary", "granularity")), calc / comm, 1e-9);
	/* 23 epochs of 256 samples at 4 x 200 a second; each exchange is two trips of at least 51 ms. */
	CU_ASSERT_TRUE(calc >= 23 * 0.32 && calc < 23 * 0.352);
	CU_ASSERT_TRUE(comm > 23 * 0.103 && comm < 23 * 3 * 0.103);
	/* It learnt something real on the way; tests/training/test_cpu.c says how much one process would have. */
	CU_ASSERT_STRING_EQUAL(json_string_value(at(doc, "evaluation", "metric")), "held_out_accuracy");
	CU_ASSERT_TRUE(number(at(doc, "evaluation", "value")) >= 0.9);
	json_array_foreach(json_object_get(doc, "epochs"), i, epoch) {
		CU_ASSERT_DOUBLE_EQUAL(
		    number(json_object_get(epoch, "wall_s")),
		    number(json_object_get(epoch, "calc_s")) + number(json_object_get(epoch, "comm_s")), 1e-9);
		CU_ASSERT_EQUAL(number(json_object_get(epoch, "samples")), 256);
		CU_ASSERT_TRUE(number(json_object_get(epoch, "comm_latency_s")) >= 0.103);
		check_parts(epoch);
	}
	CU_ASSERT_EQUAL(i, 24);
	json_array_foreach(json_object_get(doc, "peers"), i, epoch) {
		CU_ASSERT_TRUE(number(json_object_get(epoch, "lateness")) < 0.02);
		CU_ASSERT_TRUE(number(json_object_get(epoch, "tcp_busy_s")) > 0);
	}
	CU_ASSERT_EQUAL(i, 4);
	check_trace(&c, at(doc, "summary", "time_share"));
	json_decref(doc);
	lh_cli_close(&c);
}

static void test_cut(void)
{
	const char *const args[] = { "run", topology, "-o", "run", "--set", "training.deadline=3s", "--set",
				     "schedule=[{at: 1s, cut: [us, eu]}]", NULL };
	struct lh_cli c;

	lh_cli_open(&c);
	run(&c, args, NULL, 0, 0);
	expect(&c, 4, "after link");
	json_t *doc = lh_cli_result(&c);
	CU_ASSERT_STRING_EQUAL(json_string_value(at(doc, "failure", "kind")), "stalled");
	CU_ASSERT_TRUE(json_is_string(at(doc, "failure", "peer")));
	/* The exchange that it stops begins an epoch later at most; then the deadline, then the grace. */
	double t = number(at(doc, "failure", "t_s"));
	CU_ASSERT_TRUE(t >= 1 && t < 1 + 1 + 3 + 1);
	json_decref(doc);
	lh_cli_close(&c);
}

static void test_interrupted(void)
{
	const char *const args[] = { "run", topology, "-o", "run", "--set", "training.epochs=500", NULL };
	struct lh_cli c;

	lh_cli_open(&c);
	run(&c, args, NULL, SIGINT, 9000);
	expect(&c, 130, "interrupted by signal 2");
	json_t *doc = lh_cli_result(&c);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	CU_ASSERT_TRUE(json_is_false(json_object_get(doc, "complete")));
	json_decref(doc);
	lh_cli_close(&c);
}

static void test_flipped_bit(void)
{
	const char *const args[] = { "run", topology, "-o", "run", "-q", "--set", "training.epochs=3", NULL };
	struct lh_cli c;

	lh_cli_open(&c);
	run(&c, args, "flip=1:2", 0, 0); /* the hook finds its way into the guest */
	expect(&c, 4, "peer us-1: its parameters differ from the others' after epoch 2");
	lh_cli_close(&c);
}

enum { ROUNDS = 9 };

/* The losses of all rounds, as bits, of a strategy across a link of this delay. */
static void losses(const char *strategy, const char *rtt, uint64_t ret[ROUNDS])
{
	char set_strategy[64], set_rtt[64];
	const char *const args[] = { "run", topology, "-o", "run", "-q", "--json", "--set", set_strategy, "--set", set_rtt,
				     "--set", "training.epochs=9", NULL };
	struct lh_cli c;
	const json_t *epoch;
	size_t i;

	snprintf(set_strategy, sizeof set_strategy, "training.strategy=%s", strategy);
	snprintf(set_rtt, sizeof set_rtt, "matrix.rtt={us: {eu: %s}}", rtt);
	lh_cli_open(&c);
	run(&c, args, NULL, 0, 0);
	expect(&c, 0, NULL);
	json_t *doc = json_loads(c.out, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	json_array_foreach(json_object_get(doc, "epochs"), i, epoch) {
		double loss = number(json_object_get(epoch, "loss"));
		CU_ASSERT_TRUE(isfinite(loss));
		if (i < ROUNDS)
			memcpy(&ret[i], &loss, sizeof loss);
	}
	CU_ASSERT_EQUAL(i, ROUNDS);
	CU_ASSERT_TRUE(json_is_true(at(doc, "summary", "replicas_identical")));
	json_decref(doc);
	lh_cli_close(&c);
}

/* The network decides when, not what: five times the delay, the same bits. tests/training/test_strategies.c has
 * every strategy in simulated time; these leave exchanges under way while they calculate. */
static void test_delay_changes_no_bit(void)
{
	static const char *const strategies[] = { "delayed", "streaming-diloco" };
	for (size_t s = 0; s < 2; s++) {
		uint64_t near[ROUNDS] = { 0 }, far[ROUNDS] = { 0 };
		losses(strategies[s], "40ms", near);
		losses(strategies[s], "200ms", far);
		CU_ASSERT_EQUAL(memcmp(near, far, sizeof near), 0);
		CU_ASSERT_NOT_EQUAL(near[0], near[ROUNDS - 1]);
	}
}

static void test_sweep_over_delay(void)
{
	const char *const args[] = {"sweep",
				    topology,
				    "-o",
				    "run",
				    "--json",
				    "-L",
				    "rtt=10ms,150ms",
				    "--runs",
				    "1",
				    "--set",
				    "training.epochs=3",
				    NULL};
	struct lh_cli c;

	lh_cli_open(&c);
	run(&c, args, NULL, 0, 0);
	expect(&c, 0, "[2/2, ");
	json_t *doc = json_loads(c.out, 0, NULL), *cells = json_object_get(doc, "cells");
	double g[2], rtt[2];
	for (size_t i = 0; i < 2; i++) {
		g[i] = number(json_object_get(json_object_get(json_array_get(cells, i), "granularity"), "median"));
		rtt[i] = number(json_object_get(json_object_get(json_array_get(cells, i), "rtt_measured_s"), "median"));
	}
	CU_ASSERT_TRUE(fabs(rtt[0] - 0.010) < 0.0005 && fabs(rtt[1] - 0.150) < 0.00075);
	CU_ASSERT_TRUE(g[0] > 3 * g[1]); /* more delay, less granularity */
	json_decref(doc);
	lh_cli_close(&c);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "transatlantic", test_transatlantic, LH_TEST_FORK },
		{ "cut", test_cut, LH_TEST_FORK },
		{ "interrupted", test_interrupted, LH_TEST_FORK },
		{ "flipped_bit", test_flipped_bit, LH_TEST_FORK },
		{ "delay_changes_no_bit", test_delay_changes_no_bit, LH_TEST_FORK },
		{ "sweep_over_delay", test_sweep_over_delay, LH_TEST_FORK },
	};

	snprintf(topology, sizeof topology, "%s", lh_test_path("../topologies/transatlantic.yaml"));
	return lh_test_main(argc, argv, "training", tests, sizeof tests / sizeof *tests);
}
