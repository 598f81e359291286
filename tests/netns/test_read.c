/* What libmnl reads against what `ip`, `tc` and `ethtool` were told: neither of them shares a line with us. */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/cell.h"
#include "offloads.h"
#include "read.h"

static void in_cell(int (*fn)(void *))
{
	static const struct lh_cell_options opt = { .need_net = true };
	struct lh_cell_caps caps;
	CU_ASSERT_EQUAL_FATAL(lh_cell_probe(&caps, NULL), 0);
	if (!caps.net_ns || !caps.pid_ns)
		lh_test_skip("netns", "%s", caps.why);
	if (access("/sbin/tc", X_OK) && access("/usr/sbin/tc", X_OK))
		lh_test_skip("netns", "no tc (package iproute2)");
	int status = -1;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(lh_cell_run(&opt, fn, NULL, &status, &err), 0);
	CU_ASSERT_EQUAL(status, 0);
}

#define CHECK(condition)                                                     \
	do {                                                                 \
		if (!(condition)) {                                          \
			printf("# line %d: %s\n", __LINE__, #condition);     \
			fflush(stdout);                                      \
			return 1;                                            \
		}                                                            \
	} while (0)

static int sh(const char *command)
{
	char line[1024];
	snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; %s", command);
	return system(line);
}

static int body_objects(void *ctx)
{
	struct lh_reader *r;
	struct lh_err err = LH_ERR_INIT;
	CHECK(!sh("ip link add lh0 address 02:00:00:00:00:01 mtu 1400 type veth peer name lh1 && ip link set lh0 up && "
		  "ip link set lh1 up && ip addr add 10.1.2.3/24 dev lh0 && ip addr add fd00::1/64 dev lh0 nodad && "
		  "ip neigh add 10.1.2.9 lladdr 02:00:00:00:00:99 nud permanent dev lh0 && "
		  "ip route add 10.9.0.0/16 via 10.1.2.9 table 100 initcwnd 30 congctl reno && "
		  "ip route add blackhole 10.8.0.0/16 && ip rule add prio 77 from 10.1.0.0/16 iif lh1 table 100"));
	CHECK(!lh_reader_open(&r, &err));

	struct lh_seen_link *links;
	size_t n, i;
	CHECK(!lh_read_links(r, &links, &n, &err) && n >= 3);
	for (i = 0; i < n && strcmp(links[i].name, "lh0"); i++)
		;
	CHECK(i < n && links[i].mtu == 1400 && !memcmp(links[i].mac, "\2\0\0\0\0\1", 6) && links[i].flags & IFF_UP);
	CHECK(!strcmp(links[i].kind, "veth") && links[i].gso_max_segs > 0);
	int ifindex = links[i].ifindex;
	free(links);

	struct lh_seen_link one;
	CHECK(!lh_read_link(r, ifindex, &one, &err) && !strcmp(one.name, "lh0"));
	CHECK(lh_read_link(r, 9999, &one, &err) == -ENODEV);

	struct lh_seen_address *addresses;
	int found = 0;
	CHECK(!lh_read_addresses(r, &addresses, &n, &err));
	for (i = 0; i < n; i++)
		found += addresses[i].ifindex == ifindex &&
			 ((addresses[i].family == AF_INET && addresses[i].prefix == 24 && !memcmp(addresses[i].bytes,
			 	"\12\1\2\3", 4)) ||
			  (addresses[i].family == AF_INET6 && addresses[i].prefix == 64 &&
			    addresses[i].bytes[0] == 0xfd));
	CHECK(found == 2);
	free(addresses);

	struct lh_seen_neighbour *neighbours;
	CHECK(!lh_read_neighbours(r, &neighbours, &n, &err));
	for (i = 0; i < n && memcmp(neighbours[i].bytes, "\12\1\2\11", 4); i++)
		;
	CHECK(i < n && neighbours[i].state == NUD_PERMANENT && neighbours[i].mac[5] == 0x99 &&
		neighbours[i].ifindex == ifindex);
	free(neighbours);

	struct lh_seen_route *routes;
	CHECK(!lh_read_routes(r, &routes, &n, &err));
	for (i = 0, found = 0; i < n; i++) {
		found += routes[i].table == 100 && routes[i].prefix == 16 && routes[i].initcwnd == 30 &&
			 !strcmp(routes[i].congestion, "reno") && routes[i].ifindex == ifindex && routes[i].to[1] == 9;
		found += routes[i].type == RTN_BLACKHOLE && routes[i].to[1] == 8;
	}
	CHECK(found == 2);
	free(routes);

	struct lh_seen_rule *rules;
	CHECK(!lh_read_rules(r, &rules, &n, &err));
	for (i = 0; i < n && rules[i].priority != 77; i++)
		;
	CHECK(i < n && rules[i].table == 100 && rules[i].prefix == 16 && !strcmp(rules[i].iif, "lh1"));
	free(rules);
	lh_reader_close(r);
	return 0;
}

static int body_tbf(void *ctx)
{
	struct lh_reader *r;
	struct lh_qdisc_seen seen, *all;
	struct lh_err err = LH_ERR_INIT;
	struct lh_qdisc asked = { .kind = LH_QDISC_TBF, .tbf = { 40000000, 10000, 30000 } };
	size_t n;
	CHECK(!sh("ip link add lh0 type veth peer name lh1 && ip link set lh0 up && ip link set lh1 up && "
		  "tc qdisc add dev lh0 root tbf rate 40mbit burst 10000 limit 30000"));
	CHECK(!lh_reader_open(&r, &err));
	int ifindex = (int)if_nametoindex("lh0");
	CHECK(!lh_read_root_qdisc(r, ifindex, &seen, &err));
	CHECK(seen.q.kind == LH_QDISC_TBF && seen.parent == TC_H_ROOT && seen.has_counters);
	CHECK(lh_qdisc_compare("x", &asked, &seen, NULL, NULL) == 0);
	asked.tbf.rate_bps += 8;
	CHECK(lh_qdisc_compare("x", &asked, &seen, NULL, NULL) == 1);
	CHECK(!lh_read_qdiscs(r, &all, &n, &err) && n >= 1);
	free(all);
	/* An interface without one is not an error. */
	CHECK(!lh_read_root_qdisc(r, (int)if_nametoindex("lh1"), &seen, &err));
	CHECK(seen.q.kind == LH_QDISC_NONE);
	asked = (struct lh_qdisc){ .kind = LH_QDISC_NONE };
	CHECK(lh_qdisc_compare("x", &asked, &seen, NULL, NULL) == 0);
	lh_reader_close(r);
	return 0;
}

static int body_offloads(void *ctx)
{
	struct lh_offloads o;
	struct lh_err err = LH_ERR_INIT;
	CHECK(!sh("ip link add lh0 type veth peer name lh1"));
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(!lh_offloads_read(fd, "lh0", &o, &err));
	for (enum lh_offload k = 0; k < LH_OFFLOADS; k++)
		CHECK(o.known[k]);
	CHECK(o.on[LH_OFFLOAD_TSO] && o.on[LH_OFFLOAD_GSO]);
	CHECK(lh_offloads_read(fd, "nothere", &o, &err) == -ENODEV);
	return 0;
}

/* Links come and go while they are dumped: every answer is complete. */
static int body_interrupted(void *ctx)
{
	struct lh_reader *r;
	struct lh_err err = LH_ERR_INIT;
	CHECK(!sh("for i in $(seq 60); do echo link add a$i type veth peer name b$i; done | ip -batch -"));
	pid_t churn = fork();
	if (!churn) {
		for (int i = 0; i < 40; i++)
			if (sh("ip link add x0 type veth peer name x1; ip link del x0"))
				_exit(1);
		_exit(0);
	}
	CHECK(!lh_reader_open(&r, &err));
	for (int i = 0; i < 200; i++) {
		struct lh_seen_link *links;
		size_t n;
		int rc = lh_read_links(r, &links, &n, &err), ours = 0;
		if (rc == -EINTR) /* every try was interrupted: said, not hidden */
			continue;
		CHECK(!rc);
		for (size_t k = 0; k < n; k++)
			ours += links[k].name[0] == 'a' || links[k].name[0] == 'b';
		free(links);
		CHECK(ours == 120);
	}
	lh_reader_close(r);
	return 0;
}

static void objects(void) { in_cell(body_objects); }
static void tbf(void) { in_cell(body_tbf); }
static void offloads(void) { in_cell(body_offloads); }
static void interrupted(void) { in_cell(body_interrupted); }

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "objects", objects, LH_TEST_FORK },
		{ "tbf", tbf, LH_TEST_FORK },
		{ "offloads", offloads, LH_TEST_FORK },
		{ "interrupted", interrupted, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "read", tests, sizeof tests / sizeof *tests);
}
