/* `longhaul run --resume`: a group that was killed goes on from its checkpoints, with as many peers or another number. */
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
	"training: {engine: cpu, model: digits, target-batch: 64, microbatch: 8, epochs: 12, warmup: 1, pace: 100/s,\n"
	"  wire: fp32, deadline: 3s, checkpoint-rounds: 4}\n"
	"probe: {pings: 3, goodput: 0s}\n";

static struct lh_cli c;

static void open_here(void)
{
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;

	if (lh_cell_probe(&caps, &err) < 0 || !caps.net_ns || !caps.pid_ns)
		lh_test_skip("netns", "%s", err.code ? err.text : caps.why);
	lh_cli_open(&c);
	lh_cli_write(&c, "here.yaml", file);
}

static json_t *result_of(const char *dir)
{
	char path[400];
	snprintf(path, sizeof path, "%s/%s/result.json", c.dir, dir);
	json_t *doc = json_load_file(path, 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	return doc;
}

/* --set more and, where there is one, --resume from. */
static void run(const char *dir, const char *more, const char *from, int status)
{
	const char *args[] = { "run", "here.yaml", "--kernel", "host", "-q", "-o", dir, "--set", more, from ? "--resume" : NULL,
			       from, NULL };
	lh_cli_run(&c, args, NULL, 0, 0);
	/* A busy machine may keep peers behind their pace; that changes no bit. */
	bool fine = c.status == status || (!status && c.status == LH_EXIT_INCONCLUSIVE);
	CU_ASSERT_TRUE(fine);
	if (!fine)
		printf("# status %d\n# out: %s\n# err: %s\n", c.status, c.out, c.err);
}

static const char *hash_of(const json_t *doc, size_t epoch)
{
	const json_t *e = json_array_get(json_object_get(doc, "epochs"), epoch);
	return json_string_value(json_object_get(e, "state_hash"));
}

static double loss_of(const json_t *doc, size_t epoch)
{
	return json_number_value(json_object_get(json_array_get(json_object_get(doc, "epochs"), epoch), "loss"));
}

/* Killed after round 8 of 12, and gone on with: the whole run's bits. */
static void goes_on(void)
{
	open_here();
	run("whole", "name=whole", NULL, 0);
	run("killed", "schedule=[{at: 1650ms, kill: us-1}]", NULL, 4); /* in round 11 */
	run("rest", "name=rest", "killed", 0);
	json_t *whole = result_of("whole"), *rest = result_of("rest"), *killed = result_of("killed");
	const json_t *sum = json_object_get(rest, "summary"), *resumed = json_object_get(rest, "resumed");
	const size_t done = (size_t)json_integer_value(json_object_get(resumed, "rounds"));
	CU_ASSERT_TRUE_FATAL(done == 8 || done == 4); /* 4: on a machine that was too busy */
	CU_ASSERT_TRUE(json_array_size(json_object_get(killed, "epochs")) >= done); /* what there was is kept */
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(resumed, "samples")), (json_int_t)done * 64);
	CU_ASSERT_EQUAL_FATAL(json_array_size(json_object_get(rest, "epochs")), 12 - done);
	for (size_t i = 0; i < 12 - done; i++) {
		CU_ASSERT_STRING_EQUAL(hash_of(rest, i), hash_of(whole, done + i));
		CU_ASSERT_EQUAL(loss_of(rest, i), loss_of(whole, done + i));
	}
	CU_ASSERT_TRUE(json_is_true(json_object_get(rest, "complete")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "replicas_identical")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "samples_each_once")));
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(sum, "epochs")), 11 - (json_int_t)done); /* one of them is warm-up */
	json_decref(whole);
	json_decref(rest);
	json_decref(killed);
	lh_cli_close(&c);
}

/* Fewer, then more: the target batch stays, samples go on where they were, and the loss is that of the whole run. */
static void other_numbers(void)
{
	static const char *const peers[] = { "sites.us.peers=1", "sites.us.peers=4" };
	open_here();
	run("whole", "name=whole", NULL, 0);
	run("half", "training.epochs=4", NULL, 0);
	json_t *whole = result_of("whole");
	for (unsigned k = 0; k < 2; k++) {
		run(k ? "more" : "fewer", peers[k], "half", 0);
		json_t *rest = result_of(k ? "more" : "fewer");
		CU_ASSERT_EQUAL_FATAL(json_array_size(json_object_get(rest, "epochs")), 8);
		CU_ASSERT_EQUAL(json_array_size(json_object_get(rest, "peers")), k ? 6 : 3);
		CU_ASSERT_TRUE(json_is_true(json_object_get(json_object_get(rest, "summary"), "samples_each_once")));
		for (size_t i = 0; i < 8; i++) {
			const json_t *e = json_array_get(json_object_get(rest, "epochs"), i);
			CU_ASSERT_EQUAL(json_integer_value(json_object_get(e, "samples")), 64);
			CU_ASSERT_DOUBLE_EQUAL(loss_of(rest, i), loss_of(whole, 4 + i), 1e-3);
		}
		json_decref(rest);
	}
	json_decref(whole);
	lh_cli_close(&c);
}

static void refused(const char *more, const char *from, const char *says)
{
	run("refused", more, from, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(c.err, says));
	if (!strstr(c.err, says))
		printf("# \"%s\" is not in %s\n", says, c.err);
	char path[400];
	snprintf(path, sizeof path, "%s/refused", c.dir);
	CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0); /* nothing was touched */
}

static void shell(const char *command)
{
	char text[600];
	snprintf(text, sizeof text, "cd %s && %s", c.dir, command);
	CU_ASSERT_EQUAL(system(text), 0);
}

/* Another rate is no other run, but it is told. */
static void other_rate(void)
{
	open_here();
	run("half", "training.epochs=4", NULL, 0);
	run("rest", "training.learning-rate=0.01", "half", 0);
	json_t *rest = result_of("rest");
	const json_t *changed = json_object_get(json_object_get(rest, "resumed"), "changed"), *one = json_array_get(changed, 0);
	CU_ASSERT_EQUAL_FATAL(json_array_size(changed), 1);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(one, "setting")), "learning_rate");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(one, "was")), "0.002");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(one, "is")), "0.01");
	CU_ASSERT_PTR_NOT_NULL(strstr(c.out, "  learning_rate: 0.01, was 0.002 there\n"));
	json_decref(rest);
	lh_cli_close(&c);
}

/* Before a network is built: one line, with the file and what is wrong. */
static void refusals(void)
{
	static const char at[] = "half/checkpoints/us-0/peer-0-round-0000000004.checkpoint";
	char command[400];
	open_here();
	run("half", "training.epochs=4", NULL, 0);
	refused("name=a", "nowhere", "--resume nowhere: ");
	refused("training.epochs=4", "half", "it has 4 rounds, and training.epochs is 4");
	refused("training.seed=9", "half", "its seed is 1, this run's is 9");
	refused("training.target-batch=128", "half", "its target_batch is 64, this run's is 128");
	refused("training.model=text", "half", "its model is digits, this run's is text");
	refused("training.strategy=delayed", "half", "its strategy is exact, this run's is delayed");
	refused("training.beta1=0.8", "half", "its betas is 0.9 0.99, this run's is 0.8 0.99");
	refused("training.epsilon=1e-6", "half", "its epsilon is 1e-08, this run's is 1e-06");
	refused("training.weight-decay=0", "half", "its weight_decay is 0.01, this run's is 0");
	snprintf(command, sizeof command, "cp %s kept && printf x | dd of=%s bs=1 seek=300000 conv=notrunc 2>/dev/null", at, at);
	shell(command);
	refused("name=a", "half", "altered: tensor ");
	CU_ASSERT_PTR_NOT_NULL(strstr(c.err, "us-0/peer-0-round-0000000004.checkpoint"));
	snprintf(command, sizeof command, "head -c 5000 kept > %s", at);
	shell(command);
	refused("name=a", "half", "torn: ");
	snprintf(command, sizeof command, "echo hello, this is no checkpoint but a text of some length here > %s", at);
	shell(command);
	refused("name=a", "half", "not a checkpoint");
	snprintf(command, sizeof command, "rm %s", at);
	shell(command);
	refused("name=a", "half", "no round of which all 4 peers have a checkpoint");
	shell("rm -r half/checkpoints/*");
	refused("name=a", "half", "no checkpoint in");
	lh_cli_close(&c);
}

static const struct lh_test tests[] = {
	{ "goes_on", goes_on, LH_TEST_FORK },
	{ "other_numbers", other_numbers, LH_TEST_FORK },
	{ "other_rate", other_rate, LH_TEST_FORK },
	{ "refusals", refusals, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "resume_run", tests, sizeof tests / sizeof *tests);
}
