/* A network on the running kernel, links without delay and with a token bucket: who reaches whom, by which interface,
 * live changes, and what is left when any operation fails. Twice: as whoever runs the tests and as an ordinary user. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhnet.h"
#include "lhtest.h"
#include "net.h"
#include "op.h"
#include "read.h"

enum { WAIT_MS = 1000, NO_ANSWER_MS = 150 };

/* --- everybody reaches everybody --- */

static struct lh_topology *mixed_topology(void)
{
	struct lh_topology *t = lh_test_topology(3, 3);
	if (!t)
		return NULL;
	lh_test_rate_all(t, 100000000);
	t->links[1].imp.rate_bps = 0;                 /* a->b: no qdisc */
	t->sites[1].access = (struct lh_access){ .up_bps = 50000000, .down_bps = 40000000 };
	t->peers[4].nic_bps = 30000000;               /* b-1, behind an access box too */
	t->peers[8].nic_bps = 20000000;               /* c-2 */
	t->links[2 * 3 + 0].mode = LH_MODE_PACKET;    /* c's packets one by one */
	return t;
}

static int body_everybody(void *ctx)
{
	struct lh_topology *t = mixed_topology();
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	unsigned all[9];
	for (unsigned i = 0; i < t->npeers; i++)
		all[i] = i;
	struct lh_test_echo_job job = { .t = t, .to = all, .nto = t->npeers, .count = 1, .wait_ms = WAIT_MS };
	for (unsigned from = 0; from < t->npeers; from++)
		LH_CHECK(lh_test_echo_from(net, from, &job) == 18);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void everybody(void) { lh_test_in_cell(body_everybody, NULL, false); }
static void everybody_as_user(void) { lh_test_in_cell(body_everybody, NULL, true); }

/* A site alone, with one peer and with two. */
static int body_one_site(void *ctx)
{
	for (unsigned peers = 0; peers < 3; peers++) {
		struct lh_topology *t = lh_test_topology(1, peers);
		struct lh_net *net;
		struct lh_err err = LH_ERR_INIT;
		LH_CHECK(t);
		LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
		if (peers == 2)
			LH_CHECK(lh_test_reach(net, t, 0, 1, WAIT_MS) == 2);
		LH_CHECK_OK(lh_net_down(net, &err), &err);
		lh_test_topology_free(t);
	}
	return 0;
}

static void one_site(void) { lh_test_in_cell(body_one_site, NULL, false); }

/* The first packet after lh_net_up() arrives, over both families: nothing is left to the kernel's workers. Such a
 * loss is a matter of luck, so this is done often. */
static int body_at_once(void *ctx)
{
	enum { ROUNDS = 80 };
	struct lh_topology *t = lh_test_topology(1, 2);
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	for (int i = 0; i < ROUNDS; i++) {
		struct lh_net *net;
		LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
		LH_CHECK(lh_test_reach(net, t, 0, 1, WAIT_MS) == 2);
		LH_CHECK_OK(lh_net_down(net, &err), &err);
	}
	lh_test_topology_free(t);
	return 0;
}

static void at_once(void) { lh_test_in_cell(body_at_once, NULL, false); }

/* 1000 peers over 32 sites; each pings one of another site. */
static int body_thousand(void *ctx)
{
	struct lh_topology *t = lh_test_topology(32, 32);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	lh_test_rate_all(t, 1000000000);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	for (unsigned p = 0; p < t->npeers; p++)
		LH_CHECK(lh_test_reach(net, t, p, (p * 7 + 37) % t->npeers, WAIT_MS) == 2);
	LH_CHECK_OK(lh_net_verify(net, NULL, NULL, &err), &err);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void thousand(void) { lh_test_in_cell(body_thousand, NULL, true); }

/* --- by which interface --- */

static long link_packets(struct lh_net *net, unsigned from, unsigned to)
{
	const struct lh_plan_if *i = &net->plan->ifs[net->plan->link_if[from * net->plan->nsites + to]];
	if (lh_net_enter(net, i->netns, NULL))
		return -1;
	long n = lh_test_tx_packets(i->name);
	return lh_net_enter(net, LH_PLAN_NOT, NULL) ? -1 : n;
}

/* Echoes from one peer to another cross the links from->to and to->from, exactly, and no other. */
static int check_crossing(struct lh_net *net, const struct lh_topology *t, unsigned p, unsigned q, int family)
{
	enum { COUNT = 20 };
	unsigned n = t->nsites, from = t->peers[p].site, to = t->peers[q].site;
	long before[9];
	for (unsigned i = 0; i < n * n; i++)
		LH_CHECK((before[i] = link_packets(net, i / n, i % n)) >= 0);
	struct lh_test_echo_job job = { t, &q, 1, family, COUNT, 2, WAIT_MS };
	LH_CHECK(lh_test_echo_from(net, p, &job) == COUNT);
	for (unsigned i = 0; i < n * n; i++) {
		long want = i == from * n + to || i == to * n + from ? (from == to ? 2 * COUNT : COUNT) : 0;
		long got = link_packets(net, i / n, i % n) - before[i];
		if (got != want)
			printf("# %s to %s: link %u->%u carried %ld packets, not %ld\n", t->peers[p].name,
			       t->peers[q].name, i / n, i % n, got, want);
		LH_CHECK(got == want);
	}
	return 0;
}

static int body_crossing(void *ctx)
{
	struct lh_topology *t = lh_test_topology(3, 2);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	lh_test_rate_all(t, 100000000);
	t->sites[1].access.up_bps = 50000000;
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	for (unsigned p = 0; p < t->npeers; p++)
		for (unsigned q = 0; q < t->npeers; q++)
			if (p != q)
				LH_CHECK(!check_crossing(net, t, p, q, (p + q) % 2 ? AF_INET : AF_INET6));
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void crossing(void) { lh_test_in_cell(body_crossing, NULL, false); }

/* --- live changes --- */

static int kind_now(struct lh_net *net, unsigned from, unsigned to, struct lh_qdisc_seen *ret)
{
	uint32_t iface = net->plan->link_if[from * net->plan->nsites + to];
	const struct lh_plan_if *i = &net->plan->ifs[iface];
	struct lh_reader *r;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK_OK(lh_net_enter(net, i->netns, &err), &err);
	LH_CHECK_OK(lh_reader_open(&r, &err), &err);
	LH_CHECK_OK(lh_net_enter(net, LH_PLAN_NOT, &err), &err);
	LH_CHECK_OK(lh_read_root_qdisc(r, i->ifindex, ret, &err), &err);
	lh_reader_close(r);
	return 0;
}

static int body_change(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 1);
	struct lh_net *net;
	struct lh_qdisc_seen seen;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	LH_CHECK(!kind_now(net, 0, 1, &seen) && strcmp(seen.kind, "tbf"));
	/* nothing -> rate -> other rate -> nothing -> rate */
	static const lh_bps rates[] = { 10000000, 123456000, 0, 7000000 };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct lh_impairment imp = { .rate_bps = rates[i] };
		LH_CHECK_OK(lh_net_set_link(net, 0, 1, &imp, &err), &err);
		LH_CHECK(!kind_now(net, 0, 1, &seen));
		LH_CHECK(!strcmp(seen.kind, "tbf") == (rates[i] != 0));
		LH_CHECK(!lh_qdisc_compare("link a->b", &net->qdisc[net->plan->link_if[1]], &seen, NULL, NULL));
		LH_CHECK(lh_test_reach(net, t, 0, 1, WAIT_MS) == 2);
	}
	LH_CHECK(!kind_now(net, 1, 0, &seen) && strcmp(seen.kind, "tbf")); /* the other direction was not touched */
	/* what the kernel refuses leaves the old state, and the error names the link */
	struct lh_impairment bad = { .rate_bps = 7000000 };
	int netns = net->plan->ifs[net->plan->link_if[1]].ifindex;
	net->plan->ifs[net->plan->link_if[1]].ifindex = 4711;
	LH_CHECK(lh_net_set_link(net, 0, 1, &bad, &err) == -ENODEV);
	LH_CHECK(!strncmp(err.text, "link a->b: ", 11) && err.exit == LH_EXIT_MACHINE);
	net->plan->ifs[net->plan->link_if[1]].ifindex = netns;
	LH_CHECK(lh_net_set_link(net, 0, 2, &bad, &err) == -EINVAL);
	struct lh_impairment lossy = { .loss_model = LH_LOSS_RANDOM, .loss_ppb = 1000000 };
	LH_CHECK(lh_net_set_link(net, 0, 1, &lossy, &err) == -EINVAL && strstr(err.text, "gso mode"));
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void change(void) { lh_test_in_cell(body_change, NULL, false); }

static int cut_and_heal(struct lh_net *net, const struct lh_topology *t, unsigned p, unsigned q)
{
	unsigned from = t->peers[p].site, to = t->peers[q].site;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(lh_test_reach(net, t, p, q, WAIT_MS) == 2);
	LH_CHECK_OK(lh_net_cut_link(net, from, to, true, &err), &err);
	long there = link_packets(net, from, to), back = link_packets(net, to, from);
	LH_CHECK(lh_test_reach(net, t, p, q, NO_ANSWER_MS) == 0);
	LH_CHECK(link_packets(net, from, to) == there);
	if (from != to) { /* the other direction goes on: requests of q get to p, its answers do not get back */
		LH_CHECK(lh_test_reach(net, t, q, p, NO_ANSWER_MS) == 0);
		LH_CHECK(link_packets(net, to, from) == back + 2);
	}
	LH_CHECK_OK(lh_net_cut_link(net, from, to, false, &err), &err);
	LH_CHECK(lh_test_reach(net, t, p, q, WAIT_MS) == 2);
	return 0;
}

static int body_cut(void *ctx)
{
	struct lh_topology *t = lh_test_topology(3, 2);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	t->links[1].imp.rate_bps = 10000000; /* a->b has a token bucket, a->c nothing */
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	LH_CHECK(!cut_and_heal(net, t, 0, 2));
	LH_CHECK(!cut_and_heal(net, t, 0, 4));
	LH_CHECK(!cut_and_heal(net, t, 0, 1)); /* its own LAN */
	/* a change while cut does not heal, and what healing brings is the state last set */
	struct lh_impairment imp = { .rate_bps = 33000000 };
	struct lh_qdisc_seen seen;
	LH_CHECK_OK(lh_net_cut_link(net, 0, 1, true, &err), &err);
	LH_CHECK_OK(lh_net_set_link(net, 0, 1, &imp, &err), &err);
	LH_CHECK(lh_test_reach(net, t, 0, 2, NO_ANSWER_MS) == 0);
	LH_CHECK_OK(lh_net_cut_link(net, 0, 1, false, &err), &err);
	LH_CHECK(lh_test_reach(net, t, 0, 2, WAIT_MS) == 2);
	LH_CHECK(!kind_now(net, 0, 1, &seen) && seen.q.tbf.rate_bps == 33000000);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void cut(void) { lh_test_in_cell(body_cut, NULL, false); }

/* --- failures --- */

static int stop_at(void *ctx, size_t done, size_t total, const char *what)
{
	return done == *(size_t *)ctx ? -EINTR : 0;
}

static ino_t netns_now(void)
{
	char text[64] = "";
	ssize_t n = readlink("/proc/self/ns/net", text, sizeof text - 1);
	return n > 5 ? strtoul(text + 5, NULL, 10) : 0;
}

/* Nothing may stay behind where any operation fails: no open file (and so no namespace), no interface, and the process is
 * where it was. */
static int body_fail_each(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 1);
	struct lh_plan *plan;
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	lh_test_rate_all(t, 10000000);
	t->sites[0].access.up_bps = 5000000;
	t->peers[1].nic_bps = 4000000;
	t->links[1].mode = LH_MODE_PACKET;
	LH_CHECK_OK(lh_plan_new(t, NULL, &plan, &err), &err);
	ino_t home = netns_now();
	int files = lh_test_open_files();
	size_t n = lh_plan_count(plan);
	for (size_t at = 0; at < n; at++) {
		char want[256];
		err = (struct lh_err)LH_ERR_INIT;
		LH_CHECK(lh_net_up(t, plan, stop_at, &at, &net, &err) == -EINTR);
		LH_CHECK(err.exit == LH_EXIT_MACHINE);
		lh_op_print(plan, &plan->ops[at], want, sizeof want);
		LH_CHECK(!strncmp(err.text, want, strlen(want)));
		LH_CHECK(lh_test_open_files() == files);
		LH_CHECK(home && netns_now() == home);
	}
	LH_CHECK_OK(lh_net_up(t, plan, NULL, NULL, &net, &err), &err);
	LH_CHECK(lh_test_reach(net, t, 0, 1, WAIT_MS) == 2);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	LH_CHECK(lh_test_open_files() == files);
	lh_plan_free(plan);
	lh_test_topology_free(t);
	return 0;
}

static void fail_each(void) { lh_test_in_cell(body_fail_each, NULL, false); }
static void fail_each_as_user(void) { lh_test_in_cell(body_fail_each, NULL, true); }

/* The kernel's own refusal, in a batch and outside one: the right operation is named, with the kernel's words. */
static int body_refused(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	int files = lh_test_open_files();
	LH_CHECK(t);
	strcpy(t->peers[2].tcp.congestion, "nonsense");
	LH_CHECK(lh_test_up(t, &net, &err) < 0);
	printf("# %s\n", err.text);
	LH_CHECK(!strncmp(err.text, "peer b-0: route ", 16) && strstr(err.text, "nonsense"));
	LH_CHECK(strstr(err.text, "Invalid argument (see net.ipv4.tcp_available_congestion_control)"));
	strcpy(t->peers[2].tcp.congestion, "cubic");
	t->peers[3].tcp.rmem[0] = 0; /* the kernel wants at least 1 */
	LH_CHECK(lh_test_up(t, &net, &err) == -EINVAL);
	printf("# %s\n", err.text);
	LH_CHECK(!strncmp(err.text, "peer b-1: sysctl net/ipv4/tcp_rmem = 0 131072 6291456: ", 55));
	LH_CHECK(strstr(err.text, "Invalid argument"));
	LH_CHECK(lh_test_open_files() == files);
	lh_test_topology_free(t);
	return 0;
}

static void refused(void) { lh_test_in_cell(body_refused, NULL, false); }

/* --- several networks --- */

static int body_two(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	struct lh_net *one, *two;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &one, &err), &err);
	LH_CHECK_OK(lh_test_up(t, &two, &err), &err);
	long before = link_packets(two, 0, 1);
	LH_CHECK(lh_test_reach(one, t, 0, 2, WAIT_MS) == 2);
	LH_CHECK(link_packets(two, 0, 1) == before);
	LH_CHECK_OK(lh_net_cut_link(two, 0, 1, true, &err), &err);
	LH_CHECK(lh_test_reach(one, t, 0, 2, WAIT_MS) == 2);
	LH_CHECK(lh_test_reach(two, t, 0, 2, NO_ANSWER_MS) == 0);
	LH_CHECK_OK(lh_net_down(one, &err), &err);
	LH_CHECK(lh_test_reach(two, t, 0, 1, WAIT_MS) == 2);
	LH_CHECK_OK(lh_net_down(two, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void two(void) { lh_test_in_cell(body_two, NULL, false); }

/* --- how packets travel --- */

static int sink(void *ctx)
{
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons(5001) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one;
	static char buf[65536];
	if (bind(fd, (struct sockaddr *)&me, sizeof me) || listen(fd, 1) || write(*(int *)ctx, "r", 1) != 1)
		return 1;
	one = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	while (read(one, buf, sizeof buf) > 0)
		;
	return 0;
}

static int source(void *ctx)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(5001) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char buf[65536];
	if (inet_pton(AF_INET, ctx, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof to))
		return 1;
	for (int i = 0; i < 64; i++)
		if (write(fd, buf, sizeof buf) != sizeof buf)
			return 1;
	return 0;
}

/* Bytes a packet on the way of a stream of 4 MiB from p to q, as the interface of the link counts both. */
static long mean_packet(struct lh_net *net, const struct lh_topology *t, unsigned p, unsigned q)
{
	struct lh_link_counters before, after;
	char address[64], ready;
	int fds[2], status;
	pid_t a, b;
	unsigned from = t->peers[p].site, to = t->peers[q].site;
	if (pipe2(fds, O_CLOEXEC) || lh_net_peer_address(t, q, false, address, sizeof address) ||
	    lh_net_observe(net, from, to, &before, NULL) || lh_net_fork(net, q, sink, &fds[1], &a, NULL, NULL) ||
	    read(fds[0], &ready, 1) != 1 || lh_net_fork(net, p, source, address, &b, NULL, NULL))
		return -1;
	waitpid(b, &status, 0);
	waitpid(a, &status, 0);
	close(fds[0]);
	close(fds[1]);
	if (lh_net_observe(net, from, to, &after, NULL) || after.packets == before.packets)
		return -1;
	return (long)((after.bytes - before.bytes) / (after.packets - before.packets));
}

/* Packet mode: no superpacket on the links of its site. The other site's still travel as they do on any host. */
static int body_modes(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	t->links[0].mode = t->links[1].mode = LH_MODE_PACKET; /* a->a, a->b */
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	LH_CHECK_OK(lh_net_verify(net, NULL, NULL, &err), &err);
	long one = mean_packet(net, t, 0, 2), lan = mean_packet(net, t, 0, 1), super = mean_packet(net, t, 2, 0);
	printf("# bytes a packet: %ld and %ld in packet mode, %ld in gso mode\n", one, lan, super);
	LH_CHECK(one > 1000 && one <= 1514 && lan > 1000 && lan <= 1514);
	LH_CHECK(super > 3000);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void modes(void) { lh_test_in_cell(body_modes, NULL, false); }

/* A quiet network stays quiet: no address resolution, no router solicitation, no group report crosses a link. */
static int body_quiet(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	usleep(1500 * 1000);
	for (unsigned i = 0; i < 4; i++)
		LH_CHECK(link_packets(net, i / 2, i % 2) == 0);
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void quiet(void) { lh_test_in_cell(body_quiet, NULL, false); }

/* --- the printed commands --- */

static int run_commands(const struct lh_plan *plan)
{
	struct lh_err err = LH_ERR_INIT;
	FILE *sh = popen("PATH=$PATH:/usr/sbin:/sbin; exec sh -e >/dev/null", "we");
	LH_CHECK(sh);
	LH_CHECK_OK(lh_plan_print(plan, LH_PLAN_COMMANDS, sh, &err), &err);
	LH_CHECK(pclose(sh) == 0);
	return 0;
}

/* ip, tc and sysctl, told what the plan prints, make a network in which everybody reaches everybody too. */
static int body_commands(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	struct lh_plan *plan;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	lh_test_rate_all(t, 100000000);
	t->sites[0].access.up_bps = 50000000;
	t->peers[3].nic_bps = 20000000;
	t->peers[3].tcp.initcwnd = 4;
	t->peers[3].tcp.rto_min_ms = 800;
	LH_CHECK_OK(lh_plan_new(t, NULL, &plan, &err), &err);
	LH_CHECK(!mount("tmpfs", "/run", "tmpfs", 0, NULL)); /* /run/netns, in our mount namespace only */
	LH_CHECK(!run_commands(plan));
	for (unsigned p = 0; p < t->npeers; p++) {
		char path[96], text[8][64];
		const char *addresses[8];
		snprintf(path, sizeof path, "/run/netns/%s", t->peers[p].name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		LH_CHECK(fd >= 0 && !setns(fd, CLONE_NEWNET));
		for (unsigned i = 0; i < 8; i++) {
			LH_CHECK(!lh_net_peer_address(t, i / 2, i % 2, text[i], sizeof text[i]));
			addresses[i] = text[i];
		}
		LH_CHECK(lh_test_echo(addresses, 8, 1, 0, WAIT_MS) == 8);
		close(fd);
	}
	lh_plan_free(plan);
	lh_test_topology_free(t);
	return 0;
}

static void commands(void)
{
	if (access("/sbin/tc", X_OK) && access("/usr/sbin/tc", X_OK))
		lh_test_skip("iproute2", "no tc");
	lh_test_in_cell(body_commands, NULL, false);
}

static const struct lh_test tests[] = {
	{ "everybody reaches everybody", everybody, LH_TEST_FORK },
	{ "everybody reaches everybody, as an ordinary user", everybody_as_user, LH_TEST_FORK },
	{ "one site, 0 to 2 peers", one_site, LH_TEST_FORK },
	{ "the first packet arrives", at_once, LH_TEST_FORK },
	{ "1024 peers over 32 sites, as an ordinary user", thousand, LH_TEST_FORK | LH_TEST_LONG },
	{ "traffic crosses its link's interface and no other", crossing, LH_TEST_FORK },
	{ "a live change", change, LH_TEST_FORK },
	{ "cut and heal", cut, LH_TEST_FORK },
	{ "each operation fails in turn", fail_each, LH_TEST_FORK },
	{ "each operation fails in turn, as an ordinary user", fail_each_as_user, LH_TEST_FORK },
	{ "what the kernel refuses is named", refused, LH_TEST_FORK },
	{ "two networks do not meet", two, LH_TEST_FORK },
	{ "the printed commands make the same network", commands, LH_TEST_FORK },
	{ "packets and superpackets", modes, LH_TEST_FORK },
	{ "a quiet network", quiet, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "net", tests, sizeof tests / sizeof *tests);
}
