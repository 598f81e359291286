/* Requests as libnl builds them, decoded by libmnl's side: without a kernel, and independent of the order and the
 * further attributes in which versions of libnl differ. */
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <libmnl/libmnl.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/socket.h>

#include "lhtest.h"
#include "link.h"
#include "read_internal.h"
#include "route.h"

static const struct nlmsghdr *header(struct nl_msg *msg)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(msg);
	return (const struct nlmsghdr *)nlmsg_hdr(msg);
}

static void address(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct lh_address a;
		struct lh_seen_address seen;
		lh_address_peer(3, 300, v6, &a);
		struct nl_msg *msg = lh_msg_address(7, &a);
		const struct nlmsghdr *nlh = header(msg);
		CU_ASSERT_EQUAL(nlh->nlmsg_type, RTM_NEWADDR);
		CU_ASSERT_EQUAL(nlh->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL), NLM_F_CREATE | NLM_F_EXCL);
		CU_ASSERT_EQUAL_FATAL(lh_decode_address(nlh, &seen, NULL), 0);
		CU_ASSERT_TRUE(seen.ifindex == 7 && seen.family == a.family && seen.prefix == (v6 ? 128 : 32));
		CU_ASSERT_EQUAL(memcmp(seen.bytes, a.bytes, lh_address_len(&a)), 0);
		nlmsg_free(msg);
	}
}

static void neighbour(void)
{
	static const uint8_t mac[6] = { 2, 3, 4, 5, 6, 7 };
	for (int v6 = 0; v6 < 2; v6++) {
		struct lh_address a;
		struct lh_seen_neighbour seen;
		lh_address_far_end(v6, &a);
		struct nl_msg *msg = lh_msg_neighbour(9, &a, mac);
		const struct nlmsghdr *nlh = header(msg);
		CU_ASSERT_EQUAL(nlh->nlmsg_type, RTM_NEWNEIGH);
		CU_ASSERT_EQUAL_FATAL(lh_decode_neighbour(nlh, &seen, NULL), 0);
		CU_ASSERT_TRUE(seen.ifindex == 9 && seen.state == NUD_PERMANENT && seen.family == a.family);
		CU_ASSERT_EQUAL(memcmp(seen.bytes, a.bytes, lh_address_len(&a)), 0);
		CU_ASSERT_EQUAL(memcmp(seen.mac, mac, 6), 0);
		nlmsg_free(msg);
	}
}

/* Attribute of a route's message; NULL where it is not there. */
static const struct nlattr *route_attr(const struct nlmsghdr *nlh, int type)
{
	const struct nlattr *a;
	mnl_attr_for_each(a, nlh, sizeof(struct rtmsg))
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

static void route(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct lh_op op = { .kind = LH_OP_ROUTE, .route = { .table = LH_TABLE_LAN, .initcwnd = 30, .rto_min_ms = 800,
							     .congestion = "cubic" } };
		struct lh_address far;
		struct lh_seen_route seen;
		lh_address_site(5, v6, &op.route.to);
		lh_address_far_end(v6, &far);
		struct nl_msg *msg = lh_msg_route(&op, 11);
		const struct nlmsghdr *nlh = header(msg);
		const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
		CU_ASSERT_EQUAL(nlh->nlmsg_type, RTM_NEWROUTE);
		CU_ASSERT_EQUAL(nlh->nlmsg_flags & (NLM_F_CREATE | NLM_F_REPLACE), NLM_F_CREATE | NLM_F_REPLACE);
		CU_ASSERT_EQUAL(rtm->rtm_flags, RTNH_F_ONLINK);
		CU_ASSERT_EQUAL_FATAL(lh_decode_route(nlh, &seen, NULL), 0);
		CU_ASSERT_TRUE(seen.family == far.family && seen.prefix == (v6 ? 64 : 16) && seen.type == RTN_UNICAST);
		CU_ASSERT_EQUAL(memcmp(seen.to, op.route.to.bytes, lh_address_len(&far)), 0);
		CU_ASSERT_TRUE(seen.table == LH_TABLE_LAN && seen.ifindex == 11 && seen.initcwnd == 30 && seen.rto_min_ms == 800);
		CU_ASSERT_STRING_EQUAL(seen.congestion, "cubic");
		const struct nlattr *via = route_attr(nlh, RTA_GATEWAY);
		CU_ASSERT_PTR_NOT_NULL_FATAL(via);
		CU_ASSERT_EQUAL(mnl_attr_get_payload_len(via), lh_address_len(&far));
		CU_ASSERT_EQUAL(memcmp(mnl_attr_get_payload(via), far.bytes, lh_address_len(&far)), 0);
		nlmsg_free(msg);
	}
}

static void special_routes(void)
{
	struct lh_seen_route seen;
	struct lh_op any = { .kind = LH_OP_ROUTE, .route = { .table = LH_TABLE_MAIN } };
	lh_address_any(true, &any.route.to);
	struct nl_msg *msg = lh_msg_route(&any, 2);
	CU_ASSERT_EQUAL_FATAL(lh_decode_route(header(msg), &seen, NULL), 0);
	CU_ASSERT_TRUE(seen.prefix == 0 && seen.initcwnd == 0 && seen.rto_min_ms == 0 && !seen.congestion[0] && seen.table == LH_TABLE_MAIN);
	CU_ASSERT_PTR_NULL(route_attr(header(msg), RTA_METRICS));
	nlmsg_free(msg);

	struct lh_op local = { .kind = LH_OP_ROUTE, .route = { .table = LH_TABLE_LOCAL, .local = true } };
	lh_address_peer(0, 0, true, &local.route.to);
	msg = lh_msg_route(&local, 2);
	CU_ASSERT_EQUAL_FATAL(lh_decode_route(header(msg), &seen, NULL), 0);
	CU_ASSERT_TRUE(seen.type == RTN_LOCAL && seen.prefix == 128 && seen.ifindex == 2);
	CU_ASSERT_PTR_NULL(route_attr(header(msg), RTA_GATEWAY));
	nlmsg_free(msg);
}

static void rule(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct lh_seen_rule seen;
		struct lh_op op = { .kind = LH_OP_RULE, .rule = { .priority = 20, .table = LH_TABLE_LAN } };
		lh_address_site(1, v6, &op.rule.from);
		struct nl_msg *msg = lh_msg_rule(&op, NULL);
		CU_ASSERT_EQUAL(header(msg)->nlmsg_type, RTM_NEWRULE);
		CU_ASSERT_EQUAL_FATAL(lh_decode_rule(header(msg), &seen, NULL), 0);
		CU_ASSERT_TRUE(seen.priority == 20 && seen.table == LH_TABLE_LAN && !seen.iif[0]);
		CU_ASSERT_TRUE(seen.family == op.rule.from.family && seen.prefix == (v6 ? 64 : 16));
		CU_ASSERT_EQUAL(memcmp(seen.from, op.rule.from.bytes, lh_address_len(&op.rule.from)), 0);
		nlmsg_free(msg);
		op.rule.iif = true;
		msg = lh_msg_rule(&op, LH_IFNAME_LAN_IN);
		CU_ASSERT_EQUAL_FATAL(lh_decode_rule(header(msg), &seen, NULL), 0);
		CU_ASSERT_STRING_EQUAL(seen.iif, LH_IFNAME_LAN_IN);
		CU_ASSERT_EQUAL(seen.prefix, 0);
		nlmsg_free(msg);
	}
}

/* --- interfaces --- */

struct end {
	char name[IFNAMSIZ];
	uint8_t mac[6];
	uint32_t netns_fd, group, tx_queues, rx_queues;
	const struct nlattr *info;
};

static int take_end(const struct nlattr *a, void *ctx)
{
	struct end *e = ctx;
	switch (mnl_attr_get_type(a)) {
	case IFLA_IFNAME:
		snprintf(e->name, sizeof e->name, "%s", mnl_attr_get_str(a));
		break;
	case IFLA_ADDRESS:
		memcpy(e->mac, mnl_attr_get_payload(a), sizeof e->mac);
		break;
	case IFLA_NET_NS_FD:
		e->netns_fd = mnl_attr_get_u32(a);
		break;
	case IFLA_GROUP:
		e->group = mnl_attr_get_u32(a);
		break;
	case IFLA_NUM_TX_QUEUES:
		e->tx_queues = mnl_attr_get_u32(a);
		break;
	case IFLA_NUM_RX_QUEUES:
		e->rx_queues = mnl_attr_get_u32(a);
		break;
	case IFLA_LINKINFO:
		e->info = a;
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static const struct nlattr *nested(const struct nlattr *outer, int type)
{
	const struct nlattr *a;
	CU_ASSERT_PTR_NOT_NULL_FATAL(outer);
	mnl_attr_for_each_nested(a, outer)
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

static void check_end(const struct end *e, const struct lh_plan_if *i, uint32_t fd, uint32_t group)
{
	CU_ASSERT_STRING_EQUAL(e->name, i->name);
	CU_ASSERT_EQUAL(memcmp(e->mac, i->mac, 6), 0);
	CU_ASSERT_TRUE(e->netns_fd == fd && e->group == group && e->tx_queues == 1 && e->rx_queues == 1);
}

static void veth(void)
{
	static const struct lh_plan_if a = { .name = "w1", .ifindex = 5, .mac = { 2, 0, 0, 0, 0, 1 } };
	static const struct lh_plan_if z = { .name = "w0", .ifindex = 6, .mac = { 2, 0, 0, 0, 0, 2 } };
	struct end end = { .name = "" }, far = { .name = "" };
	struct nl_msg *msg = lh_msg_veth(&a, 40, &z, 41);
	const struct nlmsghdr *nlh = header(msg);
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	CU_ASSERT_EQUAL(nlh->nlmsg_type, RTM_NEWLINK);
	CU_ASSERT_TRUE(ifi->ifi_index == 5 && ifi->ifi_flags & IFF_UP);
	mnl_attr_parse(nlh, sizeof *ifi, take_end, &end);
	check_end(&end, &a, 40, LH_LINK_GROUP);
	const struct nlattr *kind = nested(end.info, IFLA_INFO_KIND);
	CU_ASSERT_TRUE(kind && !strcmp(mnl_attr_get_str(kind), "veth"));
	const struct nlattr *peer = nested(nested(end.info, IFLA_INFO_DATA), VETH_INFO_PEER);
	CU_ASSERT_PTR_NOT_NULL_FATAL(peer);
	const struct ifinfomsg *far_ifi = mnl_attr_get_payload(peer);
	CU_ASSERT_TRUE(far_ifi->ifi_index == 6 && !(far_ifi->ifi_flags & IFF_UP)); /* it could not be opened yet */
	mnl_attr_parse_payload((const char *)far_ifi + MNL_ALIGN(sizeof *far_ifi),
			       mnl_attr_get_payload_len(peer) - MNL_ALIGN(sizeof *far_ifi), take_end, &far);
	check_end(&far, &z, 41, 0);
	nlmsg_free(msg);
}

static void links(void)
{
	struct nl_msg *msg = lh_msg_link_up(12);
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(header(msg));
	CU_ASSERT_EQUAL(header(msg)->nlmsg_type, RTM_NEWLINK);
	CU_ASSERT_EQUAL(header(msg)->nlmsg_flags & NLM_F_CREATE, 0);
	CU_ASSERT_TRUE(ifi->ifi_index == 12 && ifi->ifi_flags == IFF_UP && ifi->ifi_change == IFF_UP);
	nlmsg_free(msg);
	struct end end = { .name = "" };
	msg = lh_msg_delete_group();
	ifi = mnl_nlmsg_get_payload(header(msg));
	CU_ASSERT_EQUAL(header(msg)->nlmsg_type, RTM_DELLINK);
	mnl_attr_parse(header(msg), sizeof *ifi, take_end, &end);
	CU_ASSERT_TRUE(ifi->ifi_index == 0 && !end.name[0] && end.group == LH_LINK_GROUP);
	nlmsg_free(msg);
}

static void qdisc(void)
{
	struct lh_qdisc_seen seen = { .handle = 0 };
	struct lh_qdisc q = { .kind = LH_QDISC_TBF, .tbf = { 10000000, 5000, 20000 } };
	struct nl_msg *msg;
	CU_ASSERT_EQUAL_FATAL(lh_msg_qdisc(3, &q, &msg, NULL), 0);
	CU_ASSERT_EQUAL(header(msg)->nlmsg_type, RTM_NEWQDISC);
	CU_ASSERT_EQUAL(header(msg)->nlmsg_flags & (NLM_F_CREATE | NLM_F_REPLACE | NLM_F_EXCL), NLM_F_CREATE | NLM_F_REPLACE);
	CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(header(msg), &seen, NULL), 0);
	CU_ASSERT_TRUE(seen.ifindex == 3 && seen.parent == TC_H_ROOT && seen.handle == 0);
	CU_ASSERT_EQUAL(lh_qdisc_compare("x", &q, &seen, NULL, NULL), 0);
	nlmsg_free(msg);
	q = (struct lh_qdisc){ .kind = LH_QDISC_NONE };
	CU_ASSERT_EQUAL_FATAL(lh_msg_qdisc(3, &q, &msg, NULL), 0);
	CU_ASSERT_EQUAL(header(msg)->nlmsg_type, RTM_DELQDISC);
	nlmsg_free(msg);
}

static const struct lh_test tests[] = {
	{ "address", address, 0 },
	{ "neighbour", neighbour, 0 },
	{ "route", route, 0 },
	{ "default and local routes", special_routes, 0 },
	{ "rule", rule, 0 },
	{ "veth pair", veth, 0 },
	{ "links up and away", links, 0 },
	{ "qdisc", qdisc, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "messages", tests, sizeof tests / sizeof *tests);
}
