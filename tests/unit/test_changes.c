/* The schedule's words and times, and the small parsers around a run; nothing here touches a kernel. */
#include <signal.h>
#include <string.h>

#include "changes.h"
#include "lhtest.h"
#include "peers.h"
#include "run.h"

static const char file[] =
	"longhaul: 1\n"
	"name: three\n"
	"sites: {us: {peers: 1}, eu: {peers: 1}, asia: {peers: 1}}\n"
	"matrix: {rtt: {us: {eu: 100ms, asia: 150ms}, eu: {asia: 250ms}}}\n"
	"schedule:\n"
	"  - {at: 3s, partition: [[us, asia], [eu]]}\n"
	"  - {at: 1s, from: us, to: eu, set: {delay: 80ms, rate: 1gbit, loss: 1%}}\n"
	"  - {at: 2s, cut: [us, eu]}\n"
	"  - {at: 4s, kill: eu-0}\n";

static void open_file(struct lh_experiment *exp)
{
	struct lh_err err = LH_ERR_INIT;

	CU_ASSERT_EQUAL_FATAL(lh_experiment_load_text("three.yaml", file, strlen(file), NULL, 0, stdout, exp, &err), 0);
}

static void test_texts(void)
{
	static const char *const want[] = {
		"link us->eu: delay 80ms, rate 1gbit, random loss 1%", "link us->eu: cut", "link eu->us: cut",
		"partition: [us, asia] | [eu]", "peer eu-0: killed by the schedule",
	};
	struct lh_experiment exp;
	char text[256];

	open_file(&exp);
	CU_ASSERT_EQUAL_FATAL(exp.nchanges, 5);
	for (size_t i = 0; i < 5; i++) {
		CU_ASSERT_STRING_EQUAL(lh_change_text(&exp.topology, &exp.changes[i], text, sizeof text), want[i]);
		if (strcmp(text, want[i]) != 0)
			printf("# %s\n", text);
	}
	/* A text that does not fit is cut. */
	char small[16];
	lh_change_text(&exp.topology, &exp.changes[3], small, sizeof small);
	CU_ASSERT_EQUAL(strnlen(small, sizeof small), sizeof small - 1);
	lh_experiment_done(&exp);
}

static void test_due(void)
{
	struct lh_experiment exp;
	struct lh_changes c = { .exp = &exp };

	open_file(&exp);
	CU_ASSERT_EQUAL(lh_changes_due_ns(&c, 0), INT64_MAX); /* nothing before the go */
	CU_ASSERT_EQUAL(lh_changes_due_ns(&c, 500), 500 + LH_NS_PER_S);
	c.next = 4;
	CU_ASSERT_EQUAL(lh_changes_due_ns(&c, 500), 500 + 4 * LH_NS_PER_S);
	c.next = 5;
	CU_ASSERT_EQUAL(lh_changes_due_ns(&c, 500), INT64_MAX);
	lh_experiment_done(&exp);
}

/* What is derived from the RTT at the beginning holds only where the schedule leaves delays alone. */
static void test_keep_delays(void)
{
	struct lh_experiment exp;

	open_file(&exp);
	CU_ASSERT_FALSE(lh_changes_keep_delays(&exp));
	exp.changes[0].imp.delay_ns = 50 * LH_NS_PER_MS; /* as the matrix says; its rate and loss are new */
	CU_ASSERT_TRUE(lh_changes_keep_delays(&exp));
	exp.changes[0].imp.delay_ns++;
	CU_ASSERT_FALSE(lh_changes_keep_delays(&exp));
	exp.nchanges = 0;
	CU_ASSERT_TRUE(lh_changes_keep_delays(&exp));
	exp.nchanges = 5;
	lh_experiment_done(&exp);
}

static void test_faults(void)
{
	struct lh_run_faults f = { .starve_ns = 9 };
	struct lh_err err = LH_ERR_INIT;

	CU_ASSERT_EQUAL(lh_run_faults_parse(NULL, &f, &err), 0);
	CU_ASSERT_EQUAL(f.starve_ns, 0);
	CU_ASSERT_EQUAL(lh_run_faults_parse("flip=2:7,starve=5ms", &f, &err), 0);
	CU_ASSERT_EQUAL(f.flip_rank, 2);
	CU_ASSERT_EQUAL(f.flip_epoch, 7);
	CU_ASSERT_EQUAL(f.starve_ns, 5 * LH_NS_PER_MS);
	static const char *const bad[] = { "flip=2", "flip=2:7x", "starve=5", "nonsense", "starve=5ms,x" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_TRUE(lh_run_faults_parse(bad[i], &f, &err) < 0);
}

static void test_status_texts(void)
{
	char text[64];

	CU_ASSERT_STRING_EQUAL(lh_peer_status_text(3 << 8, text, sizeof text), "exited with status 3");
	CU_ASSERT_STRING_EQUAL(lh_peer_status_text(SIGKILL, text, sizeof text), "was killed by signal 9 (Killed)");
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "texts", test_texts },
		{ "due", test_due },
		{ "keep_delays", test_keep_delays },
		{ "faults", test_faults },
		{ "status_texts", test_status_texts },
	};

	return lh_test_main(argc, argv, "changes", tests, sizeof tests / sizeof *tests);
}
