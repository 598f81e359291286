/* Time dilation: every time times D, every rate by D, nothing else; what is printed stays the user's, and numbers are
 * divided back exactly. */
#include <math.h>
#include <string.h>

#include "lhtest.h"
#include "metrics.h"
#include "longhaul/experiment.h"

static const char text[] =
	"longhaul: 1\nname: d\ndilation: 4\n"
	"sites:\n  us: {peers: 2, nic: 1gbit, access: {up: 400mbit, down: 800mbit}}\n  eu: {peers: 1, pace: 12/s}\n"
	"links:\n  - {between: [us, eu], rtt: 100ms, jitter: 2ms, rate: 100mbit, queue: 50packets}\n"
	"probe: {goodput: 2s}\n"
	"training: {model: digits, pace: 40/s, match-floor: 5s, deadline: 20s, membership: elastic, checkpoint: 30s}\n"
	"schedule:\n  - {at: 10s, between: [us, eu], set: {rtt: 200ms}}\n";

static void load(struct lh_experiment *exp, bool with)
{
	struct lh_err err = LH_ERR_INIT;
	const struct lh_override one = { "dilation=1" };
	int rc = lh_experiment_load_text("d.yaml", text, strlen(text), &one, !with, NULL, exp, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void test_numbers(void)
{
	struct lh_experiment a, b, again;
	struct lh_err err = LH_ERR_INIT;
	load(&a, false);
	load(&b, true);
	CU_ASSERT_EQUAL(lh_experiment_scale(&b), 1); /* not yet */
	b.topology.peers[1].nic_bps = 1; /* as slow as it gets: none would be no limit at all */
	lh_experiment_dilate(&a); /* by 1: nothing */
	lh_experiment_dilate(&b);
	lh_experiment_dilate(&b); /* once is all */
	CU_ASSERT_EQUAL(lh_experiment_scale(&a), 1);
	CU_ASSERT_EQUAL(lh_experiment_scale(&b), 4);
	for (unsigned i = 0; i < 4; i++) {
		const struct lh_link *x = &a.topology.links[i], *y = &b.topology.links[i];
		CU_ASSERT_EQUAL(y->imp.delay_ns, 4 * x->imp.delay_ns);
		CU_ASSERT_EQUAL(y->imp.jitter_ns, 4 * x->imp.jitter_ns);
		CU_ASSERT_EQUAL(y->rtt_spec_ns, 4 * x->rtt_spec_ns);
		CU_ASSERT_EQUAL(4 * y->imp.rate_bps, x->imp.rate_bps);
		CU_ASSERT_EQUAL(y->imp.queue_packets, x->imp.queue_packets);
	}
	CU_ASSERT_EQUAL(lh_topology_link(&b.topology, 0, 1)->rtt_spec_ns, 400 * LH_NS_PER_MS);
	CU_ASSERT_EQUAL(4 * b.topology.sites[0].access.up_bps, a.topology.sites[0].access.up_bps);
	CU_ASSERT_EQUAL(4 * b.topology.sites[0].access.down_bps, a.topology.sites[0].access.down_bps);
	CU_ASSERT_EQUAL(4 * b.topology.peers[0].nic_bps, a.topology.peers[0].nic_bps);
	CU_ASSERT_EQUAL(b.topology.peers[1].nic_bps, 1);
	CU_ASSERT_EQUAL(b.topology.peers[2].samples_per_s, 3);
	CU_ASSERT_EQUAL(b.training.samples_per_s, 10);
	CU_ASSERT_EQUAL(b.training.sync.match_floor_ns, 20 * LH_NS_PER_S);
	CU_ASSERT_EQUAL(b.training.deadline_ns, 80 * LH_NS_PER_S);
	CU_ASSERT_EQUAL(b.training.checkpoint_ns, 120 * LH_NS_PER_S);
	CU_ASSERT_EQUAL(b.changes[0].at_ns, 40 * LH_NS_PER_S);
	CU_ASSERT_EQUAL(b.changes[0].imp.delay_ns, 4 * a.changes[0].imp.delay_ns);
	CU_ASSERT_EQUAL(b.probe.goodput_ns, 8 * LH_NS_PER_S);
	/* Windows and buffers are bytes; of TCP's timers a route can set this one. */
	CU_ASSERT_EQUAL(b.topology.peers[2].tcp.rto_min_ms, 800);
	b.topology.peers[0].tcp.rto_min_ms = 0;
	CU_ASSERT(!memcmp(&a.topology.peers[0].tcp, &b.topology.peers[0].tcp, sizeof a.topology.peers[0].tcp));
	/* What was asked is told as it was asked, and comes to the same again. */
	CU_ASSERT_PTR_NOT_NULL(strstr(b.canonical, "dilation: 4\n"));
	CU_ASSERT_PTR_NULL(strstr(a.canonical, "dilation"));
	CU_ASSERT_EQUAL_FATAL(lh_experiment_load_text("c", b.canonical, strlen(b.canonical), NULL, 0, NULL, &again, &err), 0);
	lh_experiment_dilate(&again);
	CU_ASSERT_EQUAL(lh_topology_link(&again.topology, 0, 1)->rtt_spec_ns, 400 * LH_NS_PER_MS);
	CU_ASSERT_STRING_EQUAL(again.canonical, b.canonical);
	lh_experiment_done(&again);
	lh_experiment_done(&a);
	lh_experiment_done(&b);
}

static void test_back(void)
{
	struct lh_epoch_metrics e = { .wall_s = 8, .calc_s = 6, .comm_s = 2, .latency_s = 1, .bandwidth_s = 1, .wait_s = 0.5,
				      .coding_s = NAN, .update_s = 0.25, .samples = 100 };
	struct lh_peer_metrics p = { .calc_s = 6, .busy_s = 3, .late_s = 0.5, .lateness = 0.0625, .solo_sps = 10, .samples = 100,
				     .held_s = 2 };
	struct lh_metrics m = { .nepochs = 1, .epochs = &e, .npeers = 1, .peers = &p,
				.summary = { .wall_s = 8, .calc_s = 6, .comm_s = 2, .throughput_sps = 12.5, .granularity = 3,
					     .efficiency = 0.75, .solo_sps = 16, .cpus_needed = 0.5, .lateness = 0.0625 } };
	lh_metrics_undilate(&m, 4);
	CU_ASSERT_EQUAL(m.summary.wall_s, 2);
	CU_ASSERT_EQUAL(m.summary.comm_s, 0.5);
	CU_ASSERT_EQUAL(m.summary.throughput_sps, 50);
	CU_ASSERT_EQUAL(m.summary.solo_sps, 64);
	CU_ASSERT_EQUAL(m.summary.granularity, 3); /* ratios are what they were */
	CU_ASSERT_EQUAL(m.summary.efficiency, 0.75);
	CU_ASSERT_EQUAL(m.summary.cpus_needed, 0.5); /* and so is what the machine did */
	CU_ASSERT_EQUAL(e.wall_s, 2);
	CU_ASSERT_EQUAL(e.update_s, 0.0625);
	CU_ASSERT(isnan(e.coding_s));
	CU_ASSERT_EQUAL(e.samples, 100);
	CU_ASSERT_EQUAL(p.calc_s, 1.5);
	CU_ASSERT_EQUAL(p.late_s, 0.125);
	CU_ASSERT_EQUAL(p.lateness, 0.0625);
	CU_ASSERT_EQUAL(p.busy_s, 3);
	CU_ASSERT_EQUAL(p.held_s, 2);
	CU_ASSERT_EQUAL(p.solo_sps, 40);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "every time and every rate", test_numbers, 0 },
		{ "divided back", test_back, 0 },
	};
	return lh_test_main(argc, argv, "dilate", tests, sizeof tests / sizeof *tests);
}
