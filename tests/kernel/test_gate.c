/* The gate is shut when the network is not what was asked: +3 ms behind our back, a link that loses all, traffic that
 * goes around the shaped interface, a peer that answers nobody; and the background probe sees what the gate saw. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lhkernel.h"
#include "lhnet.h"
#include "net.h"
#include "probe/background.h"
#include "probe/probe.h"

#define MS LH_NS_PER_MS

static const char text[] =
	"longhaul: 1\nname: gate\nsites:\n"
	"  us: {peers: 3, lan: {rtt: 1ms}}\n  eu: {peers: 1}\n  asia: {peers: 1}\n"
	"matrix:\n  rtt:\n    us: {eu: 10ms, asia: 20ms}\n    eu: {asia: 30ms}\n"
	"tcp: default\n";
enum { US, EU, ASIA };

struct rig { struct lh_experiment exp; struct lh_net *net; struct lh_probe_report rep; struct lh_err err; };

static int rig_up(struct rig *r)
{
	memset(r, 0, sizeof *r);
	LH_CHECK_OK(lh_experiment_load_text("gate.yaml", text, strlen(text), NULL, 0, stdout, &r->exp, &r->err), &r->err);
	LH_CHECK_OK(lh_probe_network_up(&r->exp, NULL, NULL, &r->net, &r->rep, &r->err), &r->err);
	return 0;
}

static int rig_down(struct rig *r)
{
	lh_probe_report_done(&r->rep);
	LH_CHECK_OK(lh_net_down(r->net, &r->err), &r->err);
	lh_experiment_done(&r->exp);
	return 0;
}

/* Once more past the gate. */
static int gate(struct rig *r)
{
	size_t n = r->rep.nlinks;
	lh_ns *floors = calloc(n, sizeof *floors);
	for (size_t i = 0; floors && i < n; i++)
		floors[i] = r->rep.links[i].floor_ns;
	lh_probe_report_done(&r->rep);
	r->err = (struct lh_err)LH_ERR_INIT;
	int rc = lh_probe_rtt(r->net, &r->exp, floors, NULL, NULL, &r->rep, &r->err);
	free(floors);
	printf("# gate: %d %s\n", rc, r->err.text);
	return rc;
}

/* As somebody else would, with tc or ip in the gateway of a site: `before`, the name of the link's interface, `after`. */
static int meddle(struct rig *r, unsigned from, unsigned to, const char *before, const char *after)
{
	const struct lh_plan_if *i = &r->net->plan->ifs[r->net->plan->link_if[from * r->exp.topology.nsites + to]];
	char line[640];
	snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; %s%s%s", before, i->name, after);
	if (lh_net_enter(r->net, i->netns, NULL))
		return -1;
	fflush(NULL);
	int rc = system(line);
	return lh_net_enter(r->net, LH_PLAN_NOT, NULL) ? -1 : rc;
}

static struct lh_link_result *link_of(struct rig *r, unsigned from, unsigned to)
{
	return &r->rep.links[from * r->exp.topology.nsites + to];
}

static int body_three_ms(void *ctx)
{
	struct rig r;
	LH_CHECK(!rig_up(&r));
	LH_CHECK(link_of(&r, US, EU)->verdict == LH_LINK_OK && r.rep.peer_rtt_ns[0] > 0);
	LH_CHECK(!gate(&r)); /* nothing changed: open again */
	LH_CHECK(!meddle(&r, US, EU, "tc qdisc replace dev ", " root netem delay 8ms limit 1000"));
	LH_CHECK(gate(&r) == -EBADE && r.err.exit == LH_EXIT_MACHINE);
	LH_CHECK(!strncmp(r.err.text, "link us->eu: RTT asked 10.000 ms, got 13.", 41));
	LH_CHECK(link_of(&r, US, EU)->verdict == LH_LINK_OUT_OF_TOLERANCE);
	LH_CHECK(link_of(&r, EU, US)->verdict == LH_LINK_OUT_OF_TOLERANCE); /* an RTT goes both ways */
	LH_CHECK(link_of(&r, US, ASIA)->verdict == LH_LINK_OK && link_of(&r, US, US)->verdict == LH_LINK_OK);
	LH_CHECK(lh_net_verify(r.net, NULL, NULL, &r.err) == -EBADE); /* the other guard sees it too */
	return rig_down(&r);
}

static int body_unreachable(void *ctx)
{
	struct rig r;
	LH_CHECK(!rig_up(&r));
	LH_CHECK(!lh_net_cut_link(r.net, ASIA, EU, true, &r.err));
	LH_CHECK(gate(&r) == -EBADE);
	LH_CHECK(link_of(&r, EU, ASIA)->verdict == LH_LINK_UNREACHABLE && link_of(&r, EU, ASIA)->pings_lost == 20);
	LH_CHECK(strstr(r.err.text, "link eu->asia: RTT asked 30.000 ms, got no answer to 20 echoes"));
	LH_CHECK(!lh_net_cut_link(r.net, ASIA, EU, false, &r.err) && !gate(&r));
	return rig_down(&r);
}

/* us reaches eu by way of asia: the counters of us->eu stand still, whatever the RTT says. */
static int body_not_crossing(void *ctx)
{
	struct rig r;
	char command[256];
	LH_CHECK(!rig_up(&r));
	const struct lh_plan_if *there = &r.net->plan->ifs[r.net->plan->link_if[US * 3 + ASIA]];
	snprintf(command, sizeof command,
		 " / dev %s /p' | while read route; do ip route replace $route; done", there->name);
	LH_CHECK(!meddle(&r, US, EU, "ip route | sed -n 's/ dev ", command));
	LH_CHECK(gate(&r) == -EBADE);
	LH_CHECK(link_of(&r, US, EU)->verdict == LH_LINK_NOT_CROSSING && link_of(&r, US, EU)->rtt_median_ns > 0);
	LH_CHECK(strstr(r.err.text, "link us->eu: echoes did not pass the shaped interface"));
	return rig_down(&r);
}

/* The third peer of a site stands for no link: only the echo that its neighbour by rank sends shows it. */
static int body_peer(void *ctx)
{
	struct rig r;
	LH_CHECK(!rig_up(&r));
	struct lh_plan *plan = r.net->plan;
	LH_CHECK(!lh_net_enter(r.net, plan->peer_netns[2], NULL));
	fflush(NULL);
	LH_CHECK(!system("PATH=$PATH:/usr/sbin:/sbin; tc qdisc replace dev eth0 root netem delay 3ms limit 1000"));
	LH_CHECK(!lh_net_enter(r.net, LH_PLAN_NOT, NULL));
	LH_CHECK(gate(&r) == -EBADE);
	LH_CHECK(!strncmp(r.err.text, "peer us-1: RTT to us-2 asked 1.000 ms, got 4.", 45));
	return rig_down(&r);
}

struct seen { unsigned n[9], lost; lh_ns last[9]; };

static void take_sample(void *ctx, const struct lh_probe_sample *s)
{
	struct seen *x = ctx;
	x->n[s->from * 3 + s->to]++;
	x->last[s->from * 3 + s->to] = s->rtt_ns;
	x->lost += s->rtt_ns < 0;
}

static int body_background(void *ctx)
{
	struct rig r;
	struct lh_probe_watch *w;
	struct seen seen = { 0 };
	LH_CHECK(!rig_up(&r));
	LH_CHECK_OK(lh_probe_watch_start(r.net, &r.exp.topology, &w, &r.err), &r.err);
	lh_ns end = lh_clock_ns() + 3 * LH_NS_PER_S;
	while (lh_clock_ns() < end) {
		struct pollfd p = { lh_probe_watch_fd(w), POLLIN, 0 };
		poll(&p, 1, 100);
		lh_probe_watch_read(w, take_sample, &seen);
	}
	lh_probe_watch_stop(w);
	LH_CHECK(seen.lost == 0);
	for (unsigned i = 0; i < 9; i++) {
		bool is_link = i / 3 != i % 3 || i == 0; /* us has a LAN */
		LH_CHECK(is_link ? seen.n[i] >= 2 && seen.n[i] <= 4 : seen.n[i] == 0);
	}
	printf("# background: us->eu %.3f ms, eu->asia %.3f ms\n", seen.last[1] / 1e6, seen.last[5] / 1e6);
	LH_CHECK(seen.last[1] >= 10 * MS - MS / 2 && seen.last[5] >= 30 * MS - MS / 2);
	return rig_down(&r);
}

static void test_three_ms(void) { lh_test_in_cell(body_three_ms, NULL, false); }
static void test_unreachable(void) { lh_test_in_cell(body_unreachable, NULL, false); }
static void test_not_crossing(void) { lh_test_in_cell(body_not_crossing, NULL, false); }
static void test_peer(void) { lh_test_in_cell(body_peer, NULL, false); }
static void test_background(void) { lh_test_in_cell(body_background, NULL, false); }

static const struct lh_test tests[] = {
	{ "three_ms_behind_our_back", test_three_ms, LH_TEST_FORK },
	{ "unreachable", test_unreachable, LH_TEST_FORK },
	{ "not_crossing", test_not_crossing, LH_TEST_FORK },
	{ "a_peer_of_its_own", test_peer, LH_TEST_FORK },
	{ "background", test_background, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_kernel_main(argc, argv, "gate", tests, sizeof tests / sizeof tests[0]);
}
