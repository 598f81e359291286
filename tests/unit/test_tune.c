/* Tuned sockets: windows, streams and parts follow from the paths of the file. */
#include <string.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

static const char file[] =
	"longhaul: 1\n"
	"name: t\n"
	"tcp: {rmem: [4096, 131072, 393216], wmem: [4096, 16384, 262144]}\n"
	"sites:\n"
	"  us: {peers: 2, nic: 500mbit, lan: {rtt: 1ms}}\n"
	"  eu: {peers: 1, nic: 400mbit}\n"
	"links:\n"
	"  - {between: [us, eu], rtt: 100ms}\n"
	"training: {model: digits, pace: 100/s}\n";

static void load(struct lh_experiment *exp, const char *a, const char *b)
{
	struct lh_override set[] = { { a }, { b } };
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_experiment_load_text("t.yaml", file, strlen(file), set, b ? 2 : a ? 1 : 0, stdout, exp, &err);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void test_study(void)
{
	struct lh_experiment exp;
	load(&exp, NULL, NULL);
	CU_ASSERT_EQUAL(exp.topology.peers[0].tcp.rmem[2], 393216);
	CU_ASSERT_TRUE(exp.topology.peers[0].tcp.slow_start_after_idle);
	CU_ASSERT_EQUAL(lh_experiment_streams(&exp), 1);
	CU_ASSERT_EQUAL(lh_experiment_part_bytes(&exp), 512 * 1024);
	CU_ASSERT_EQUAL(lh_experiment_window_bytes(&exp), 0); /* only by memory */
	lh_experiment_done(&exp);
	load(&exp, "training.streams=auto", NULL);
	/* 400 Mbit/s x 100 ms = 5 MB, through windows of 196608 bytes: 25.4 streams, and no more than 16 */
	CU_ASSERT_EQUAL(lh_experiment_streams(&exp), 16);
	lh_experiment_done(&exp);
	load(&exp, "training.streams=auto", "links.us-eu.rtt=20ms"); /* 1 MB: 5.1 */
	CU_ASSERT_EQUAL(lh_experiment_streams(&exp), 6);
	lh_experiment_done(&exp);
}

static void test_tuned(void)
{
	struct lh_experiment exp, again;
	struct lh_err err = LH_ERR_INIT;
	load(&exp, "training.sockets=tuned", NULL);
	for (unsigned i = 0; i < 3; i++) {
		const struct lh_tcp *tcp = &exp.topology.peers[i].tcp;
		CU_ASSERT_EQUAL(tcp->rmem[2], 18750000); /* 5 MB x 1.5 x 2.5 */
		CU_ASSERT_EQUAL(tcp->wmem[2], 18750000);
		CU_ASSERT_EQUAL(tcp->rmem[1], 18750000);
		CU_ASSERT_EQUAL(tcp->initcwnd, 1727); /* half of 5 MB: three peers */
		CU_ASSERT_FALSE(tcp->slow_start_after_idle);
		CU_ASSERT_EQUAL(tcp->tso_segments, 44); /* 2 ms of 400 Mbit/s are 69 segments */
	}
	CU_ASSERT_EQUAL(lh_experiment_streams(&exp), 1); /* one is wide enough now */
	CU_ASSERT_EQUAL(lh_experiment_part_bytes(&exp), 311296); /* 5 ms of 500 Mbit/s on the LAN, whole pages */
	CU_ASSERT_EQUAL(lh_experiment_window_bytes(&exp), 524288 + 3 * 6250000); /* 100 ms of that, three peers */
	/* The canonical text says it all, and reads back as the same. */
	CU_ASSERT_PTR_NOT_NULL(strstr(exp.canonical, "18750000"));
	CU_ASSERT_EQUAL_FATAL(lh_experiment_load_text("c.yaml", exp.canonical, strlen(exp.canonical), NULL, 0, stdout,
						      &again, &err), 0);
	CU_ASSERT_STRING_EQUAL(again.canonical, exp.canonical);
	lh_experiment_done(&again);
	/* A longer way after loading, as a sweep sets it: more window, then more streams. */
	lh_topology_link(&exp.topology, 0, 1)->rtt_spec_ns = 2000 * LH_NS_PER_MS;
	CU_ASSERT_EQUAL(lh_experiment_renew_canonical(&exp, &err), 0);
	CU_ASSERT_EQUAL(exp.topology.peers[2].tcp.rmem[2], 80 * 1024 * 1024);
	CU_ASSERT_EQUAL(lh_experiment_streams(&exp), 3); /* 100 MB by windows of 40 MiB */
	/* No way at all: what caches hold. */
	for (unsigned i = 0; i < 4; i++)
		lh_topology_link(&exp.topology, i / 2, i % 2)->rtt_spec_ns = 0;
	CU_ASSERT_EQUAL(lh_experiment_window_bytes(&exp), 524288);
	lh_experiment_done(&exp);
	load(&exp, "training.sockets=tuned", "training.streams=4");
	CU_ASSERT_EQUAL(exp.topology.peers[0].tcp.rmem[2], 6291456); /* a quarter each; never below the kernel's own */
	CU_ASSERT_EQUAL(lh_experiment_streams(&exp), 4);
	CU_ASSERT_EQUAL(lh_experiment_part_bytes(&exp), 77824);
	lh_experiment_done(&exp);
}

static const struct lh_test tests[] = {
	{ "study", test_study, 0 },
	{ "tuned", test_tuned, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "tune", tests, sizeof tests / sizeof *tests);
}
