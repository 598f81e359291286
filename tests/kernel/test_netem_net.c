/* A whole network with netem: verified as it is up and after every live change, altered behind our back, measured by
 * echoes between its peers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lhkernel.h"
#include "lhnet.h"
#include "net.h"

#define MS LH_NS_PER_MS
#define PERCENT(x) ((lh_ppb)((x) * 1e7))

struct fields { unsigned same, different, unverifiable; char names[512]; };

static void take_field(void *ctx, const struct lh_verify_field *f)
{
	struct fields *x = ctx;
	size_t used = strlen(x->names);
	x->same += f->verdict == LH_VERIFY_SAME;
	x->different += f->verdict == LH_VERIFY_DIFFERENT;
	x->unverifiable += f->verdict == LH_VERIFY_UNVERIFIABLE;
	if (f->verdict == LH_VERIFY_DIFFERENT)
		snprintf(x->names + used, sizeof x->names - used, "%s: %s; ", f->object, f->field);
	/* Nothing may be called unverifiable but what no kernel, or not this one, returns. */
	if (f->verdict == LH_VERIFY_UNVERIFIABLE && strcmp(f->field, "distribution") && strcmp(f->field, "seed"))
		snprintf(x->names + used, sizeof x->names - used, "unverifiable %s; ", f->field);
}

static struct lh_topology *topology(void)
{
	struct lh_topology *t = lh_test_topology(3, 2);
	if (!t)
		return NULL;
	for (unsigned from = 0; from < 3; from++)
		for (unsigned to = 0; to < 3; to++)
			lh_topology_link(t, from, to)->imp.delay_ns = from == to
				? MS / 4 : (10 + 5 * (lh_ns)(from + to)) * MS;
	struct lh_impairment *ab = &lh_topology_link(t, 0, 1)->imp, *ba = &lh_topology_link(t, 1, 0)->imp;
	ab->jitter_ns = MS, ab->dist = LH_DIST_NORMAL, ab->jitter_corr_ppb = PERCENT(20);
	ba->rate_bps = 100000000, ba->loss_model = LH_LOSS_GEMODEL, ba->ge_r_ppb = LH_PPB_ONE;
	t->sites[2].access = (struct lh_access){ .up_bps = 200000000, .down_bps = 200000000 };
	lh_topology_link(t, 0, 2)->mode = LH_MODE_PACKET; /* as a schedule with loss would have it */
	lh_topology_derive(t);
	return t;
}

/* Verify now; prints what differs. */
static int verify(struct lh_net *net, struct fields *x)
{
	struct lh_err err = LH_ERR_INIT;
	memset(x, 0, sizeof *x);
	int rc = lh_net_verify(net, take_field, x, &err);
	if (x->names[0])
		printf("# %s\n", x->names);
	return rc;
}

static int shell(struct lh_net *net, uint32_t netns, const char *command)
{
	char line[512];
	snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; %s", command);
	if (lh_net_enter(net, netns, NULL))
		return -1;
	fflush(NULL);
	int rc = system(line);
	return lh_net_enter(net, LH_PLAN_NOT, NULL) ? -1 : rc;
}

/* Median of echoes from the first peer of a site to that of another, in ns; by arrival of single echoes. */
static lh_ns round_trip(struct lh_net *net, const struct lh_topology *t, unsigned from, unsigned to)
{
	lh_ns best = INT64_MAX;
	for (int i = 0; i < 10; i++) {
		unsigned peer = 2 * to;
		struct lh_test_echo_job job = { t, &peer, 1, AF_INET, 1, 0, 1000 };
		lh_ns begin = lh_clock_ns();
		if (lh_test_echo_from(net, 2 * from, &job) != 1)
			return -1;
		lh_ns took = lh_clock_ns() - begin;
		best = took < best ? took : best;
	}
	return best;
}

static int body_live(void *ctx)
{
	struct lh_topology *t = topology();
	struct lh_net *net;
	struct fields x;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	LH_CHECK(!verify(net, &x) && !x.names[0] && x.unverifiable >= 1 && x.same > 400);
	lh_ns rtt = round_trip(net, t, 0, 2); /* 20 + 20 ms and the fork of the pinging process */
	printf("# a to c and back: %.2f ms\n", rtt / 1e6);
	LH_CHECK(rtt >= 40 * MS && rtt < 60 * MS);

	/* One complete state after another on the same link: each verifies, so none leaves a field behind. */
	static const struct lh_impairment states[] = {
		{ .delay_ns = 30 * MS, .jitter_ns = 2 * MS, .dist = LH_DIST_PARETO, .jitter_corr_ppb = PERCENT(30),
		  .rate_bps = 50000000,
		  .rate_overhead_bytes = 24, .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(1),
		    .loss_corr_ppb = PERCENT(10), .ecn = true },
		{ .delay_ns = 20 * MS },
		{ .delay_ns = 20 * MS, .reorder_ppb = PERCENT(5), .reorder_corr_ppb = PERCENT(6), .reorder_gap = 7,
		  .duplicate_ppb = PERCENT(1), .duplicate_corr_ppb = PERCENT(2), .corrupt_ppb = PERCENT(1),
		    .corrupt_corr_ppb = PERCENT(3) },
		{ .delay_ns = MS, .loss_model = LH_LOSS_4STATE, .p13_ppb = PERCENT(1), .p31_ppb = PERCENT(50),
		  .p23_ppb = PERCENT(100) },
		{ .slot_min_ns = MS, .slot_max_ns = 2 * MS, .slot_packets = 20, .slot_bytes = 32768 },
		{ .rate_bps = 100000000 }, /* a tbf */
		{ .delay_ns = 0 },         /* no qdisc */
		{ .delay_ns = 60 * MS, .seed = 5 },
	};
	for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
		LH_CHECK_OK(lh_net_set_link(net, 0, 2, &states[i], &err), &err);
		LH_CHECK(!verify(net, &x) && !x.names[0]);
		LH_CHECK_OK(lh_net_cut_link(net, 0, 2, true, &err), &err);
		LH_CHECK(!verify(net, &x) && !x.names[0]);
		LH_CHECK_OK(lh_net_cut_link(net, 0, 2, false, &err), &err);
		LH_CHECK(!verify(net, &x) && !x.names[0]);
	}
	rtt = round_trip(net, t, 0, 2);
	printf("# after the changes: %.2f ms\n", rtt / 1e6);
	LH_CHECK(rtt >= 80 * MS && rtt < 100 * MS);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

/* 20 echoes into a cut link: 20 drops, none through; what was sent before arrives. */
static int body_counters(void *ctx)
{
	struct lh_topology *t = topology();
	struct lh_net *net;
	struct lh_link_counters before, after;
	struct lh_err err = LH_ERR_INIT;
	unsigned peer = 2;
	struct lh_test_echo_job job = { t, &peer, 1, AF_INET, 20, 1, 200 };
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	LH_CHECK_OK(lh_net_observe(net, 0, 1, &before, &err), &err);
	LH_CHECK(lh_test_echo_from(net, 0, &job) == 20);
	LH_CHECK_OK(lh_net_observe(net, 0, 1, &after, &err), &err);
	LH_CHECK(after.packets - before.packets == 20 && after.drops == before.drops && after.bytes > before.bytes);
	LH_CHECK_OK(lh_net_cut_link(net, 0, 1, true, &err), &err);
	LH_CHECK(lh_test_echo_from(net, 0, &job) == 0);
	before = after;
	LH_CHECK_OK(lh_net_observe(net, 0, 1, &after, &err), &err);
	LH_CHECK(after.drops - before.drops == 20 && after.packets == before.packets);
	LH_CHECK(after.drops_by[LH_DROP_CUT] == 20 && after.drops == 20);
	/* Then a loss model, then one beside a rate, then a plain rate: each drop has the cause of its time. */
	struct lh_impairment loss = { .delay_ns = MS, .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(50) };
	LH_CHECK_OK(lh_net_cut_link(net, 0, 1, false, &err), &err);
	LH_CHECK_OK(lh_net_set_link(net, 0, 1, &loss, &err), &err);
	lh_test_echo_from(net, 0, &job);
	LH_CHECK_OK(lh_net_observe(net, 0, 1, &after, &err), &err);
	LH_CHECK(after.drops_by[LH_DROP_LOSS] > 0 && after.drops_by[LH_DROP_LOSS] < 20);
	uint64_t lost = after.drops_by[LH_DROP_LOSS];
	loss.rate_bps = 100000000;
	LH_CHECK_OK(lh_net_set_link(net, 0, 1, &loss, &err), &err);
	lh_test_echo_from(net, 0, &job);
	LH_CHECK_OK(lh_net_set_link(net, 0, 1, &(struct lh_impairment){ .rate_bps = 100000000 }, &err), &err); /* tbf */
	LH_CHECK(lh_test_echo_from(net, 0, &job) == 20);
	LH_CHECK_OK(lh_net_observe(net, 0, 1, &after, &err), &err);
	LH_CHECK(after.drops_by[LH_DROP_CUT] == 20 && after.drops_by[LH_DROP_LOSS] == lost);
	LH_CHECK(after.drops_by[LH_DROP_LOSS_OR_QUEUE] > 0 && after.drops_by[LH_DROP_QUEUE] == 0);
	LH_CHECK(after.drops == 20 + lost + after.drops_by[LH_DROP_LOSS_OR_QUEUE]);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

/* Somebody else changes a link: verify says so, with exit class 3, the link and the field. */
static int body_altered(void *ctx)
{
	static const struct { const char *command, *expected; } cases[] = {
		{ "tc qdisc change dev w2 root netem limit 262144 delay 23ms",
		  "link a->c qdisc netem: delay_ns: asked 20000000, the kernel has 23" },
		{ "tc qdisc change dev w2 root netem limit 262144 delay 20ms loss 0.1%",
		  "link a->c qdisc netem: loss_model" },
		{ "tc qdisc change dev w2 root netem limit 1000 delay 20ms", "link a->c qdisc netem: limit_packets" },
		{ "tc qdisc change dev w2 root netem limit 262144 delay 20ms rate 1gbit",
		  "link a->c qdisc netem: rate_bps" },
		{ "tc qdisc del dev w2 root", "link a->c qdisc netem: kind" },
		{ "tc qdisc replace dev w1 root handle 9: netem limit 262144 delay 15ms 1ms 20%",
		  "link a->b qdisc netem: jitter_reorders" },
	};
	struct lh_err err = LH_ERR_INIT;
	int bad = 0;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_topology *t = topology();
		struct lh_net *net;
		LH_CHECK(t);
		t->sites[2].access = (struct lh_access){ 0 };
		LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
		LH_CHECK_OK(lh_net_verify(net, NULL, NULL, &err), &err);
		LH_CHECK(!shell(net, net->plan->ifs[net->plan->link_if[2]].netns, cases[i].command));
		int rc = lh_net_verify(net, NULL, NULL, &err);
		if (rc != -EBADE || err.exit != LH_EXIT_MACHINE || strncmp(err.text, cases[i].expected,
			strlen(cases[i].expected))) {
			printf("# %s: %s\n", cases[i].command, rc ? err.text : "not seen");
			bad++;
		}
		LH_CHECK_OK(lh_net_down(net, &err), &err);
		lh_test_topology_free(t);
	}
	return bad != 0;
}

static int body_caps(void *ctx)
{
	struct lh_caps caps;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK_OK(lh_caps_probe(&caps, &err), &err);
	printf("# %s: netem %d seed %d\n", caps.kernel_release, caps.netem, caps.netem_seed);
	LH_CHECK(caps.veth && caps.tbf && caps.netem && !caps.netem_why[0]);
	return 0;
}

static void live(void) { lh_test_in_cell(body_live, NULL, false); }
static void live_as_user(void) { lh_test_in_cell(body_live, NULL, true); }
static void counters(void) { lh_test_in_cell(body_counters, NULL, false); }
static void altered(void) { lh_test_in_cell(body_altered, NULL, false); }
static void caps(void) { lh_test_in_cell(body_caps, NULL, false); }

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "live", live, LH_TEST_FORK },
		{ "live_as_user", live_as_user, LH_TEST_FORK },
		{ "counters", counters, LH_TEST_FORK },
		{ "altered", altered, LH_TEST_FORK },
		{ "caps", caps, LH_TEST_FORK },
	};
	return lh_kernel_main(argc, argv, "netem-net", tests, sizeof tests / sizeof *tests);
}
