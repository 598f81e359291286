/* What `longhaul run` makes of peers that come and go, with peers that only tell (fake_peer.py): the processes, the
 * schedule and the result are the harness's own.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhcli.h"
#include "lhtest.h"
#include "longhaul/cell.h"

static const char file[] =
	"longhaul: 1\n"
	"name: here\n"
	"sites: {us: {peers: 2, lan: {rtt: 0ms}}, eu: {peers: 2, lan: {rtt: 0ms}}}\n"
	"matrix: {rtt: 0ms}\n"
	"training: {engine: cpu, model: digits, target-batch: 120, microbatch: 8, epochs: 15, warmup: 1, pace: 150/s,\n"
	"  deadline: 3s, membership: elastic, checkpoint: 1h}\n"
	"probe: {pings: 3, goodput: 0s}\n"
	"schedule: [{at: 500ms, notice: us-1}, {at: 700ms, kill: us-1}, {at: 1500ms, add: us-1}]\n";

static void open_here(struct lh_cli *c)
{
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;

	if (lh_cell_probe(&caps, &err) < 0 || !caps.net_ns || !caps.pid_ns)
		lh_test_skip("netns", "%s", err.code ? err.text : caps.why);
	if (system("python3 -c pass >/dev/null 2>&1"))
		lh_test_skip("python3", "no python3");
	setenv("LONGHAUL_PEER_PROGRAM", lh_test_path("netns/fake_peer.py"), 1);
	lh_cli_open(c);
	lh_cli_write(c, "here.yaml", file);
}

/* The script, and what becomes of it. */
static json_t *play(struct lh_cli *c, const char *script, const char *more, int status)
{
	char seed[40];
	snprintf(seed, sizeof seed, "training.seed=%s", script);
	const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", "--set", seed, "--set", more, NULL };

	lh_cli_run(c, args, NULL, 0, 0);
	json_t *doc = lh_cli_result(c);
	CU_ASSERT_EQUAL(c->status, status);
	if (c->status != status)
		printf("# status %d\n# out: %s\n# err: %s\n", c->status, c->out, c->err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	return doc;
}

static double number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	CU_ASSERT_TRUE(json_is_number(v));
	if (!json_is_number(v))
		printf("# %s is no number\n", key);
	return json_number_value(v);
}

static void killed_and_added(void)
{
	struct lh_cli c;
	open_here(&c);
	/* what these say that they sent crossed no link: the one thing that is wrong with the run */
	json_t *doc = play(&c, "1", "name=one", 3);
	const json_t *group = json_object_get(doc, "group"), *sum = json_object_get(doc, "summary");
	const json_t *epochs = json_object_get(doc, "epochs"), *i = json_array_get(json_object_get(group, "interruptions"), 0);
	static const unsigned peers[] = { 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4 };
	CU_ASSERT_TRUE(json_is_true(json_object_get(doc, "complete")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "replicas_identical")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "samples_each_once")));
	CU_ASSERT_EQUAL_FATAL(json_array_size(epochs), 15);
	for (size_t k = 0; k < 15; k++)
		CU_ASSERT_EQUAL(number(json_array_get(epochs, k), "peers"), peers[k]);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(group, "interruptions")), 1);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(i, "peer")), "us-1");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(i, "why")), "killed");
	CU_ASSERT_EQUAL(number(i, "epoch"), 4);
	CU_ASSERT_EQUAL(number(i, "view"), 2);
	CU_ASSERT_DOUBLE_EQUAL(number(i, "t_s"), 0.7, 0.1);
	CU_ASSERT_DOUBLE_EQUAL(number(i, "notice_s"), 0.2, 0.1);
	CU_ASSERT_DOUBLE_EQUAL(number(i, "detect_s"), 0.095, 0.1);
	CU_ASSERT_DOUBLE_EQUAL(number(i, "restart_s"), 0.8, 0.1);
	CU_ASSERT_DOUBLE_EQUAL(number(i, "back_s"), 0.5, 0.2); /* from 1.5 s to epoch 11 */
	CU_ASSERT_EQUAL(number(i, "sync_bytes"), 5000);
	CU_ASSERT_EQUAL(number(group, "views"), 3);
	CU_ASSERT_EQUAL(number(group, "rounds_aborted"), 1);
	CU_ASSERT_EQUAL(number(group, "samples_redealt"), 30);
	CU_ASSERT_DOUBLE_EQUAL(number(group, "undisturbed_sps"), 600, 30);
	CU_ASSERT_DOUBLE_EQUAL(number(group, "throughput_lost"), 0, 0.1);
	CU_ASSERT_PTR_NOT_NULL(strstr(c.out, "us-1             killed "));
	CU_ASSERT_PTR_NOT_NULL(strstr(c.err, "view 2: us-1 gone (lost); 3 peers; the round is done again"));
	json_decref(doc);
	lh_cli_close(&c);
}

static void check_failure(const char *script, int status, const char *says, bool complete)
{
	struct lh_cli c;
	open_here(&c);
	json_t *doc = play(&c, script, "name=two", status);
	CU_ASSERT_EQUAL(json_is_true(json_object_get(doc, "complete")), complete);
	CU_ASSERT_TRUE(json_is_false(json_object_get(json_object_get(doc, "summary"), "valid")));
	CU_ASSERT_PTR_NOT_NULL(strstr(c.err, says));
	if (!strstr(c.err, says))
		printf("# \"%s\" is not in %s\n", says, c.err);
	json_decref(doc);
	lh_cli_close(&c);
}

static void two_groups(void)
{
	check_failure("2", 4, "tells of another view 2 than the others: there are two groups", false);
}

static void one_gives_up(void)
{
	check_failure("3", 4, "peer eu-0: too few members of the group are in reach", true);
}

static void nobody_is_left(void)
{
	check_failure("4", 4, "and no peer is left", false);
}

static void a_sample_twice(void)
{
	check_failure("5", 4, "epoch 4: a sample counted twice", true);
}

/* What was not said to be elastic is not. */
static void fixed_ends_at_the_first_death(void)
{
	struct lh_cli c;
	open_here(&c);
	json_t *doc = play(&c, "3", "schedule=[]", 4);
	json_decref(doc);
	const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "run2", "--set", "training.seed=3", "--set",
				     "schedule=[]", "--set", "training.membership=fixed", "--set",
				     "training.checkpoint=none", NULL };
	lh_cli_run(&c, args, NULL, 0, 0);
	CU_ASSERT_EQUAL(c.status, 4);
	CU_ASSERT_PTR_NULL(strstr(c.err, "still run"));
	CU_ASSERT_PTR_NOT_NULL(strstr(c.err, "peer eu-0: too few members"));
	lh_cli_close(&c);
}

/* ---- with peers that train ---- */

static const char spot_file[] =
	"longhaul: 1\n"
	"name: here\n"
	"sites: {us: {peers: 4, lan: {rtt: 0ms}}, eu: {peers: 4, lan: {rtt: 0ms}}}\n"
	"matrix: {rtt: 0ms}\n"
	"spot: {trace: spot.csv}\n"
	"training: {engine: cpu, model: digits, target-batch: 64, microbatch: 8, epochs: 14, warmup: 1, pace: 20/s,\n"
	"  deadline: 5s, membership: elastic, checkpoint: 1s%s}\n"
	"probe: {pings: 3, goodput: 0s}\n";
static const char trace_file[] =
	"time, peer, what\n"
	"1200ms, us-1, notice\n"
	"2100ms, us-1, kill\n"
	"2300ms, eu-0, kill\n"
	"3500ms, us-1, add\n"
	"4000ms, us-0, kill\n"
	"4600ms, eu-0, add\n";

/* Three of eight are taken away, one of them told before, two come back. The run's result; parameters are shared after every
 * `span` rounds. */
static json_t *run_spot(struct lh_cli *c, const char *const *args, unsigned span)
{
	lh_cli_run_patiently(c, args, NULL);
	if (c->status)
		printf("# status %d\n# out: %s\n# err: %s\n", c->status, c->out, c->err);
	CU_ASSERT_EQUAL(c->status, 0);
	json_t *doc = lh_cli_result(c);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	const json_t *group = json_object_get(doc, "group"), *sum = json_object_get(doc, "summary");
	const json_t *list = json_object_get(group, "interruptions"), *epochs = json_object_get(doc, "epochs");
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "valid")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "replicas_identical")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "samples_each_once")));
	CU_ASSERT_EQUAL(json_array_size(epochs), 14);
	for (size_t k = 0; k < json_array_size(epochs); k++) {
		CU_ASSERT_EQUAL(number(json_array_get(epochs, k), "samples"), 64);
		const json_t *same = json_object_get(json_array_get(epochs, k), "replicas_identical");
		CU_ASSERT_TRUE((k + 1) % span ? json_is_null(same) : json_is_true(same));
	}
	CU_ASSERT_EQUAL_FATAL(json_array_size(list), 3);
	static const char *const who[] = { "us-1", "eu-0", "us-0" }, *const why[] = { "left", "killed", "killed" };
	for (size_t k = 0; k < 3; k++) {
		const json_t *i = json_array_get(list, k);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(i, "peer")), who[k]);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(i, "why")), why[k]);
		CU_ASSERT_EQUAL(json_is_number(json_object_get(i, "back_s")), k < 2);
		CU_ASSERT_EQUAL(json_is_number(json_object_get(i, "sync_s")), k < 2);
		if (k)
			CU_ASSERT_TRUE(number(i, "detect_s") >= 0 && number(i, "regroup_s") < 2);
	}
	CU_ASSERT_EQUAL(number(json_array_get(epochs, 0), "peers"), 8);
	CU_ASSERT_EQUAL(number(json_array_get(epochs, 13), "peers"), 7);
	CU_ASSERT_TRUE(number(json_object_get(group, "checkpoints"), "count") > 8);
	CU_ASSERT_TRUE(number(group, "samples_redealt") > 0);
	CU_ASSERT_EQUAL(number(group, "samples_lost"), 0);
	return doc;
}

static void open_spot(struct lh_cli *c, const char *more)
{
	char text[1024];
	open_here(c);
	unsetenv("LONGHAUL_PEER_PROGRAM");
	snprintf(text, sizeof text, spot_file, more);
	lh_cli_write(c, "here.yaml", text);
	lh_cli_write(c, "spot.csv", trace_file);
}

static void a_spot_trace(void)
{
	static const char *const quiet[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", "--set", "spot=none", NULL };
	static const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", "--baseline", "base", NULL };
	static const char *const other[] = { "run", "here.yaml", "--kernel", "host", "-o", "run2", "--baseline", "base", "--set",
					     "training.target-batch=128", NULL };
	struct lh_cli c;
	char run[80], base[80];
	open_spot(&c, "");
	lh_cli_run_patiently(&c, quiet, NULL);
	CU_ASSERT_EQUAL_FATAL(c.status, 0);
	snprintf(run, sizeof run, "%s/run", c.dir);
	snprintf(base, sizeof base, "%s/base", c.dir);
	CU_ASSERT_EQUAL_FATAL(rename(run, base), 0);
	lh_cli_run(&c, other, NULL, 0, 0);
	CU_ASSERT_EQUAL(c.status, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(c.err, "base: not a baseline of this"));
	json_t *doc = run_spot(&c, args, 1);
	const json_t *group = json_object_get(doc, "group"), *sum = json_object_get(doc, "summary");
	double whole = number(json_object_get(group, "baseline"), "throughput_sps");
	CU_ASSERT_DOUBLE_EQUAL(number(group, "throughput_lost"), 1 - number(sum, "throughput_sps") / whole, 1e-9);
	CU_ASSERT_TRUE(number(group, "throughput_lost") > 0);
	json_decref(doc);
	lh_cli_close(&c);
}

/* The same while the peers train alone: only what was calculated since the last exchange is calculated again. */
static void a_spot_trace_of_diloco(void)
{
	static const char *const args[] = { "run", "here.yaml", "--kernel", "host", "-o", "run", NULL };
	struct lh_cli c;
	open_spot(&c, ", strategy: diloco, every: 2");
	json_t *doc = run_spot(&c, args, 2);
	json_decref(doc);
	lh_cli_close(&c);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "killed_and_added", killed_and_added, LH_TEST_FORK },
		{ "two_groups", two_groups, LH_TEST_FORK },
		{ "one_gives_up", one_gives_up, LH_TEST_FORK },
		{ "nobody_is_left", nobody_is_left, LH_TEST_FORK },
		{ "a_sample_twice", a_sample_twice, LH_TEST_FORK },
		{ "fixed_ends_at_the_first_death", fixed_ends_at_the_first_death, LH_TEST_FORK },
		{ "a_spot_trace", a_spot_trace, LH_TEST_FORK },
		{ "a_spot_trace_of_diloco", a_spot_trace_of_diloco, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "elastic", tests, sizeof tests / sizeof *tests);
}
