/* A network that is as asked verifies; whatever somebody changes behind our back is named. Counters say what passed. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lhnet.h"
#include "lhtest.h"
#include "net.h"

struct count {
	unsigned same, different, unverifiable;
	const char *object, *field; /* the difference that is looked for; object NULL: any */
	bool found;
};

static void count_field(void *ctx, const struct lh_verify_field *f)
{
	struct count *c = ctx;
	c->same += f->verdict == LH_VERIFY_SAME;
	c->unverifiable += f->verdict == LH_VERIFY_UNVERIFIABLE;
	if (f->verdict != LH_VERIFY_DIFFERENT)
		return;
	c->different++;
	c->found |= c->field && !strcmp(c->field, f->field) && (!c->object || !strcmp(c->object, f->object));
	printf("# %s: %s: asked %s, got %s\n", f->object, f->field, f->asked, f->got);
}

static int run_in(struct lh_net *net, uint32_t netns, const char *command)
{
	char line[512];
	snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; %s", command);
	if (lh_net_enter(net, netns, NULL))
		return -1;
	fflush(NULL);
	int rc = system(line);
	return lh_net_enter(net, LH_PLAN_NOT, NULL) ? -1 : rc;
}

static struct lh_topology *topology(void)
{
	struct lh_topology *t = lh_test_topology(3, 2);
	if (!t)
		return NULL;
	lh_test_rate_all(t, 100000000);
	t->links[1].imp.rate_bps = 0; /* a->b: no qdisc */
	t->sites[1].access = (struct lh_access){ .up_bps = 50000000, .down_bps = 40000000 };
	t->peers[4].nic_bps = 30000000;
	t->links[2 * 3 + 0].mode = LH_MODE_PACKET; /* c's packets one by one */
	t->peers[0].tcp.initcwnd = 30;
	t->peers[0].tcp.rto_min_ms = 800;
	return t;
}

static int body_same(void *ctx)
{
	struct lh_topology *t = topology();
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	struct count c = { 0 };
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	int open_files = lh_test_open_files();
	LH_CHECK_OK(lh_net_verify(net, count_field, &c, &err), &err);
	printf("# %u fields same, %u unverifiable\n", c.same, c.unverifiable);
	LH_CHECK(c.different == 0 && c.same > 400);
	/* Live changes are what is asked from then on. */
	struct lh_impairment slow = { .rate_bps = 20000000 };
	LH_CHECK_OK(lh_net_set_link(net, 0, 2, &slow, &err), &err);
	LH_CHECK_OK(lh_net_cut_link(net, 0, 1, true, &err), &err);
	LH_CHECK_OK(lh_net_cut_link(net, 1, 2, true, &err), &err);
	LH_CHECK_OK(lh_net_verify(net, NULL, NULL, &err), &err);
	LH_CHECK_OK(lh_net_cut_link(net, 0, 1, false, &err), &err);
	LH_CHECK_OK(lh_net_verify(net, NULL, NULL, &err), &err);
	LH_CHECK(lh_test_open_files() == open_files);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

enum where { GATEWAY_A, GATEWAY_C, PEER_A0, NIC_C0 };

static uint32_t netns_of(const struct lh_net *net, enum where w)
{
	const struct lh_plan *p = net->plan;
	switch (w) {
	case GATEWAY_A:
		return p->ifs[p->link_if[2]].netns;
	case GATEWAY_C:
		return p->ifs[p->link_if[6]].netns;
	case PEER_A0:
		return p->peer_netns[0];
	default:
		return p->ifs[p->ifs[p->peer_if[4]].far].netns;
	}
}

static const struct tampering {
	enum where where;
	const char *command, *object, *field;
} tamperings[] = {
	{ GATEWAY_A, "tc qdisc change dev w2 root tbf rate 99mbit burst 6250 limit 15140", "link a->c qdisc tbf",
	  "rate_bps" },
	{ GATEWAY_A, "tc qdisc change dev w2 root tbf rate 100mbit burst 9000 limit 15140", "link a->c qdisc tbf",
	  "burst_bytes" },
	{ GATEWAY_A, "tc qdisc change dev w2 root tbf rate 100mbit burst 6250 limit 99999", "link a->c qdisc tbf",
	  "limit_bytes" },
	{ GATEWAY_A, "tc qdisc del dev w2 root", "link a->c qdisc tbf", "kind" },
	{ GATEWAY_A, "tc qdisc add dev w1 root tbf rate 1mbit burst 2000 limit 9000", "link a->b qdisc none", "kind" },
	{ GATEWAY_A, "tc qdisc add dev w2 ingress", "link a->c", "further qdisc" },
	{ GATEWAY_A, "ip link set w2 mtu 1400", "link a->c", "mtu" },
	{ GATEWAY_A, "ip link set w2 address 02:00:00:00:00:77", "link a->c", "hardware address" },
	{ GATEWAY_A, "ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:77 nud permanent dev w2", "link a->c",
	  "neighbour v4" },
	{ GATEWAY_A, "ip neigh del 169.254.1.1 dev w2", "link a->c", "neighbour v4" },
	{ GATEWAY_A, "ip route del 10.18.0.0/16", "link a->c", "route 10.18.0.0/16" },
	{ GATEWAY_A, "ip route replace blackhole 10.18.0.0/16", "link a->c", "route 10.18.0.0/16" },
	{ GATEWAY_A, "ip rule del prio 20", NULL, "rule 20 v4" },
	{ GATEWAY_A, "ip link add stranger type veth peer name stranger2 && ip link set stranger up", NULL,
	  "further interface" },
	{ GATEWAY_A, "echo 0 >/proc/sys/net/ipv4/ip_forward", NULL, "ipv4/ip_forward" },
	{ GATEWAY_C, "ethtool -K w0 gso on", "link c->a", "gso" },
	{ GATEWAY_C, "ethtool -K w0 tso on", "link c->a", "tso" },
	{ PEER_A0, "echo 4096 131072 9999999 >/proc/sys/net/ipv4/tcp_rmem", "peer a-0", "ipv4/tcp_rmem" },
	{ PEER_A0, "ip addr del 10.16.0.1/32 dev eth0", "peer a-0 interface eth0", "address v4" },
	{ PEER_A0, "ip -6 addr flush dev eth0 scope global", "peer a-0 interface eth0", "address v6" },
	{ PEER_A0, "ip link set eth0 down", "peer a-0 interface eth0", "state" },
	{ PEER_A0, "ip route change default via 169.254.1.1 dev eth0 onlink initcwnd 10 rto_min 800ms congctl cubic",
	  "peer a-0 interface eth0",
	  "route 0.0.0.0/0" },
	{ PEER_A0, "ip route change default via 169.254.1.1 dev eth0 onlink initcwnd 30 congctl cubic",
	  "peer a-0 interface eth0",
	  "route 0.0.0.0/0" },
	{ NIC_C0, "tc qdisc change dev out root tbf rate 31mbit burst 3028 limit 15140", "nic c-0 up qdisc tbf",
	  "rate_bps" },
};

static bool have(const char *tool)
{
	char path[64];
	static const char *const folders[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin" };
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/%s", folders[i], tool);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

static int body_tampered(void *ctx)
{
	int bad = 0;
	for (size_t i = 0; i < sizeof tamperings / sizeof *tamperings; i++) {
		const struct tampering *x = &tamperings[i];
		struct lh_topology *t = topology();
		struct lh_net *net;
		struct lh_err err = LH_ERR_INIT;
		struct count c = { .object = x->object, .field = x->field };
		if (strstr(x->command, "ethtool") && !have("ethtool"))
			continue;
		LH_CHECK(t);
		lh_topology_derive(t);
		LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
		LH_CHECK(!run_in(net, netns_of(net, x->where), x->command));
		int rc = lh_net_verify(net, count_field, &c, &err);
		bool named = rc == -EBADE && c.found && err.exit == LH_EXIT_MACHINE && (c.different > 1 ||
			strstr(err.text, x->field));
		if (!named)
			printf("# \"%s\" was not named: %s\n", x->command, err.text);
		bad += !named;
		LH_CHECK_OK(lh_net_down(net, &err), &err);
		lh_test_topology_free(t);
	}
	return bad != 0;
}

/* Links with a qdisc, links without, peers: what a counter says is what was sent. */
static int body_observe(void *ctx)
{
	enum { COUNT = 20 };
	struct lh_topology *t = topology();
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	struct lh_link_counters there[2], back[2];
	struct lh_peer_counters peer[2];
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	for (unsigned site = 1; site < 3; site++) { /* a->b has no qdisc, a->c has one */
		unsigned to = 2 * site + 1;
		struct lh_test_echo_job job = { t, &to, 1, AF_INET, COUNT, 2, 1000 };
		for (int i = 0; i < 2; i++) {
			if (i)
				LH_CHECK(lh_test_echo_from(net, 0, &job) == COUNT);
			LH_CHECK_OK(lh_net_observe(net, 0, site, &there[i], &err), &err);
			LH_CHECK_OK(lh_net_observe(net, site, 0, &back[i], &err), &err);
			LH_CHECK_OK(lh_net_observe_peer(net, to, &peer[i], &err), &err);
		}
		LH_CHECK(there[1].packets - there[0].packets == COUNT && back[1].packets - back[0].packets == COUNT);
		LH_CHECK(there[1].bytes > there[0].bytes && there[1].drops == there[0].drops);
		/* A peer that has just come up also reports its multicast groups. */
		LH_CHECK(peer[1].rx_packets - peer[0].rx_packets - COUNT <= 4 &&
			peer[1].tx_packets - peer[0].tx_packets - COUNT <= 8);
	}
	/* Cut: what comes is lost, counted, and named. */
	unsigned to = 5;
	struct lh_test_echo_job job = { t, &to, 1, AF_INET, COUNT, 2, 100 };
	LH_CHECK_OK(lh_net_cut_link(net, 0, 2, true, &err), &err);
	LH_CHECK_OK(lh_net_observe(net, 0, 2, &there[0], &err), &err);
	LH_CHECK(lh_test_echo_from(net, 0, &job) == 0);
	LH_CHECK_OK(lh_net_observe(net, 0, 2, &there[1], &err), &err);
	LH_CHECK(there[1].drops - there[0].drops == COUNT && there[1].packets == there[0].packets);
	LH_CHECK(there[1].drops_by[LH_DROP_CUT] == COUNT && there[1].drops_by[LH_DROP_QUEUE] == 0);
	LH_CHECK_OK(lh_net_cut_link(net, 0, 2, false, &err), &err);
	LH_CHECK(lh_test_echo_from(net, 0, &job) == COUNT);
	/* Counters go on across changes of kind, both ways. */
	static const struct lh_impairment none = { 0 }, rate = { .rate_bps = 50000000 };
	for (int i = 0; i < 4; i++) {
		LH_CHECK_OK(lh_net_observe(net, 0, 2, &there[0], &err), &err);
		LH_CHECK_OK(lh_net_set_link(net, 0, 2, i % 2 ? &rate : &none, &err), &err);
		LH_CHECK(lh_test_echo_from(net, 0, &job) == COUNT);
		LH_CHECK_OK(lh_net_observe(net, 0, 2, &there[1], &err), &err);
		LH_CHECK(there[1].packets - there[0].packets == COUNT && there[1].drops == there[0].drops);
		LH_CHECK(there[1].drops_by[LH_DROP_CUT] == COUNT && there[1].bytes - there[0].bytes < COUNT * 200);
	}
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

/* The same namespace before and after, and an answer that agrees with what tc gets. */
static int body_caps(void *ctx)
{
	struct lh_caps caps;
	struct lh_err err = LH_ERR_INIT;
	struct stat before, after;
	LH_CHECK(!stat("/proc/self/ns/net", &before));
	LH_CHECK_OK(lh_caps_probe(&caps, &err), &err);
	LH_CHECK(!stat("/proc/self/ns/net", &after) && before.st_ino == after.st_ino);
	printf("# %s: veth %d tbf %d netem %d seed %d ipv6 %d cubic %d; %s\n", caps.kernel_release, caps.veth,
		caps.tbf, caps.netem,
	       caps.netem_seed, caps.ipv6, caps.tcp_cubic, caps.netem_why);
	LH_CHECK(caps.veth && caps.tbf && caps.ipv6 && caps.kernel_release[0]);
	LH_CHECK(!!caps.netem_why[0] == !caps.netem);
	LH_CHECK(!system("PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; ip link add lh0 type veth peer name lh1"));
	int rc = system("PATH=$PATH:/usr/sbin:/sbin; tc qdisc add dev lh0 root netem delay 1ms 2>/dev/null");
	LH_CHECK((rc == 0) == caps.netem);
	return 0;
}

static void same(void) { lh_test_in_cell(body_same, NULL, false); }
static void same_as_user(void) { lh_test_in_cell(body_same, NULL, true); }
static void tampered(void) { lh_test_in_cell(body_tampered, NULL, false); }
static void observe(void) { lh_test_in_cell(body_observe, NULL, false); }
static void caps(void) { lh_test_in_cell(body_caps, NULL, false); }
static void caps_as_user(void) { lh_test_in_cell(body_caps, NULL, true); }

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "same", same, LH_TEST_FORK },
		{ "same_as_user", same_as_user, LH_TEST_FORK },
		{ "tampered", tampered, LH_TEST_FORK },
		{ "observe", observe, LH_TEST_FORK },
		{ "caps", caps, LH_TEST_FORK },
		{ "caps_as_user", caps_as_user, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "verify", tests, sizeof tests / sizeof *tests);
}
