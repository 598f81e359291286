/* Links that are cut and heal under a group that may change, by `longhaul run`: each pair of three sites, a partition, one
 * direction, a cut that nobody notices; and once across an emulated ocean. The majority goes on, the others are left out and
 * come back when they can, each sample counts once.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lhcli.h"
#include "lhtest.h"
#include "longhaul/cell.h"

static const char file[] =
	"longhaul: 1\n"
	"name: here\n"
	"sites: {us: {peers: 2, lan: {rtt: 0ms}}, eu: {peers: 2, lan: {rtt: 0ms}}, asia: {peers: 1}}\n"
	"matrix: {rtt: %s}\n"
	"training: {engine: cpu, model: digits, target-batch: 60, microbatch: 4, epochs: %u, warmup: 1, pace: 40/s,\n"
	"  deadline: 2s, membership: elastic}\n"
	"probe: {pings: 3, goodput: 0s}\n";

static struct lh_cli cli;

static void open_here(const char *rtt, unsigned epochs)
{
	struct lh_cell_caps caps;
	struct lh_err err = LH_ERR_INIT;
	char text[1024];
	if (lh_cell_probe(&caps, &err) < 0 || !caps.net_ns || !caps.pid_ns)
		lh_test_skip("netns", "%s", err.code ? err.text : caps.why);
	lh_cli_open(&cli);
	snprintf(text, sizeof text, file, rtt, epochs);
	lh_cli_write(&cli, "here.yaml", text);
}

static double number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	CU_ASSERT_TRUE(json_is_number(v));
	return json_number_value(v);
}

/* A valid run in which as many peers as said took part in the last epoch, and in the smallest one. */
static void run(const char *kernel, const char *schedule, unsigned least, unsigned last, unsigned views)
{
	char set[256];
	unsigned fewest = 99;
	snprintf(set, sizeof set, "schedule=[%s]", schedule);
	const char *const args[] = { "run", "here.yaml", "--kernel", kernel, "-o", "run", "--set", set, NULL };
	lh_cli_run_patiently(&cli, args, NULL);
	if (cli.status)
		printf("# %s: status %d\n# out: %s\n# err: %s\n", schedule, cli.status, cli.out, cli.err);
	CU_ASSERT_EQUAL(cli.status, 0);
	json_t *doc = lh_cli_result(&cli);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	const json_t *epochs = json_object_get(doc, "epochs"), *sum = json_object_get(doc, "summary");
	const json_t *group = json_object_get(doc, "group");
	size_t n = json_array_size(epochs);
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "valid")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "replicas_identical")));
	CU_ASSERT_TRUE(json_is_true(json_object_get(sum, "samples_each_once")));
	for (size_t k = 0; k < n; k++) {
		unsigned peers = (unsigned)number(json_array_get(epochs, k), "peers");
		fewest = peers < fewest ? peers : fewest;
	}
	printf("# %s: %u views, %u ... %u peers, last %g\n", schedule, (unsigned)number(group, "views"), fewest, 5,
	       number(json_array_get(epochs, n - 1), "peers"));
	CU_ASSERT_EQUAL(fewest, least);
	CU_ASSERT_EQUAL(number(json_array_get(epochs, n - 1), "peers"), last);
	CU_ASSERT_TRUE(number(group, "views") >= views && number(group, "views") <= views + 1);
	json_decref(doc);
	lh_cli_close(&cli);
}

/* deadline 2 s after the cut the far side is lost; it is back after the heal, before it gives up. */
#define HEAL "{at: 3300ms, heal: all}"

static void us_eu(void)
{
	open_here("0ms", 28);
	run("host", "{at: 700ms, cut: [us, eu]}, " HEAL, 3, 5, 3);
}

static void us_asia(void)
{
	open_here("0ms", 28);
	run("host", "{at: 700ms, cut: [us, asia]}, " HEAL, 4, 5, 3);
}

static void eu_asia(void)
{
	open_here("0ms", 28);
	run("host", "{at: 700ms, cut: [eu, asia]}, " HEAL, 4, 5, 3);
}

static void one_way(void)
{
	open_here("0ms", 28);
	run("host", "{at: 700ms, cut: {from: us, to: asia}}, " HEAL, 4, 5, 3);
}

/* The lowest rank is on the smaller side. */
static void partition(void)
{
	open_here("0ms", 28);
	run("host", "{at: 700ms, partition: [[us], [eu, asia]]}, " HEAL, 3, 5, 3);
}

static void unnoticed(void)
{
	open_here("0ms", 12);
	run("host", "{at: 700ms, cut: [us, eu]}, {at: 1500ms, heal: all}", 5, 5, 1);
}

static void ocean(void)
{
	struct lh_uml_caps caps;
	if (lh_uml_probe(&caps, NULL) || !caps.usable)
		lh_test_skip("kernel", "User-Mode Linux: %s", caps.why);
	open_here("100ms", 24);
	run("uml", "{at: 700ms, cut: [us, eu]}, " HEAL, 3, 5, 3);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "us_eu", us_eu, LH_TEST_FORK },
		{ "us_asia", us_asia, LH_TEST_FORK | LH_TEST_LONG },
		{ "eu_asia", eu_asia, LH_TEST_FORK | LH_TEST_LONG },
		{ "one_way", one_way, LH_TEST_FORK },
		{ "partition", partition, LH_TEST_FORK },
		{ "unnoticed", unnoticed, LH_TEST_FORK },
		{ "ocean", ocean, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "links", tests, sizeof tests / sizeof *tests);
}
