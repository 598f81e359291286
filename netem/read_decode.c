/* read_decode.c - one message of the kernel to one value; pure, fuzzed. */
#include "read_internal.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static int bad(const char *what, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "a malformed %s from the kernel", what);
}

/* The kernel pads what it sends; libmnl counts on it and would read up to 3 bytes past the end of anything else. */
static bool has_header(const struct nlmsghdr *nlh, size_t size)
{
	return nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + size && nlh->nlmsg_len % MNL_ALIGNTO == 0;
}

static bool take(const struct nlattr *a, void *into, size_t size)
{
	if (mnl_attr_get_payload_len(a) < size)
		return false;
	memcpy(into, mnl_attr_get_payload(a), size);
	return true;
}

/* A string with or without its NUL; one that does not fit is refused. */
static bool take_string(const struct nlattr *a, char *into, size_t size)
{
	const char *text = mnl_attr_get_payload(a);
	size_t len = strnlen(text, mnl_attr_get_payload_len(a));
	if (len >= size)
		return false;
	memcpy(into, text, len);
	into[len] = 0;
	return true;
}

/* An address of the message's family. */
static bool take_address(const struct nlattr *a, uint8_t family, uint8_t into[16])
{
	size_t len = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
	return len && mnl_attr_get_payload_len(a) == len && take(a, into, len);
}

static bool is_inet(uint8_t family)
{
	return family == AF_INET || family == AF_INET6;
}

static bool link_stats(const struct nlattr *a, struct lh_peer_counters *c)
{
	struct rtnl_link_stats64 s;
	const size_t need = offsetof(struct rtnl_link_stats64, multicast); /* the start, which never changed */
	if (mnl_attr_get_payload_len(a) < need)
		return false;
	memcpy(&s, mnl_attr_get_payload(a), need);
	*c = (struct lh_peer_counters){ .tx_packets = s.tx_packets, .tx_bytes = s.tx_bytes, .rx_packets = s.rx_packets,
		.rx_bytes = s.rx_bytes, .tx_dropped = s.tx_dropped, .rx_dropped = s.rx_dropped };
	return true;
}

static bool link_kind(const struct nlattr *nest, struct lh_seen_link *l)
{
	const struct nlattr *a;
	mnl_attr_for_each_nested(a, nest) {
		if (mnl_attr_get_type(a) == IFLA_INFO_KIND && !take_string(a, l->kind, sizeof l->kind))
			return false;
	}
	return true;
}

static bool link_attribute(const struct nlattr *a, struct lh_seen_link *l)
{
	switch (mnl_attr_get_type(a)) {
	case IFLA_IFNAME:
		return take_string(a, l->name, sizeof l->name);
	case IFLA_ADDRESS: /* tunnels have shorter ones, which are of no interest */
		return mnl_attr_get_payload_len(a) != sizeof l->mac || take(a, l->mac, sizeof l->mac);
	case IFLA_MTU:
		return take(a, &l->mtu, sizeof l->mtu);
	case IFLA_OPERSTATE:
		return take(a, &l->operstate, sizeof l->operstate);
	case IFLA_GSO_MAX_SEGS:
		return take(a, &l->gso_max_segs, sizeof l->gso_max_segs);
	case IFLA_GSO_MAX_SIZE:
		return take(a, &l->gso_max_bytes, sizeof l->gso_max_bytes);
	case IFLA_STATS64:
		return link_stats(a, &l->counters);
	case IFLA_LINKINFO:
		return link_kind(a, l);
	default:
		return true;
	}
}

int lh_decode_link(const struct nlmsghdr *nlh, void *item, struct lh_err *err)
{
	struct lh_seen_link l = { 0 };
	const struct nlattr *a;
	if (nlh->nlmsg_type != RTM_NEWLINK || !has_header(nlh, sizeof(struct ifinfomsg)))
		return bad("interface", err);
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	l.ifindex = ifi->ifi_index;
	l.flags = ifi->ifi_flags;
	mnl_attr_for_each(a, nlh, sizeof *ifi) {
		if (!link_attribute(a, &l))
			return bad("interface", err);
	}
	memcpy(item, &l, sizeof l);
	return 0;
}

int lh_decode_qdisc(const struct nlmsghdr *nlh, void *item, struct lh_err *err)
{
	return lh_qdisc_parse(nlh, item, err);
}

int lh_decode_address(const struct nlmsghdr *nlh, void *item, struct lh_err *err)
{
	struct lh_seen_address s = { 0 };
	const struct nlattr *a;
	bool local = false;
	if (nlh->nlmsg_type != RTM_NEWADDR || !has_header(nlh, sizeof(struct ifaddrmsg)))
		return bad("address", err);
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	if (!is_inet(ifa->ifa_family))
		return 1;
	s.family = ifa->ifa_family;
	s.prefix = ifa->ifa_prefixlen;
	s.ifindex = (int)ifa->ifa_index;
	mnl_attr_for_each(a, nlh, sizeof *ifa) {
		uint16_t type = mnl_attr_get_type(a);
		/* IPv4 has both, IFA_LOCAL being ours; IPv6 only IFA_ADDRESS. */
		if (type != IFA_LOCAL && (type != IFA_ADDRESS || local))
			continue;
		if (!take_address(a, s.family, s.bytes))
			return bad("address", err);
		local = type == IFA_LOCAL;
	}
	memcpy(item, &s, sizeof s);
	return 0;
}

int lh_decode_neighbour(const struct nlmsghdr *nlh, void *item, struct lh_err *err)
{
	struct lh_seen_neighbour s = { 0 };
	const struct nlattr *a;
	if (nlh->nlmsg_type != RTM_NEWNEIGH || !has_header(nlh, sizeof(struct ndmsg)))
		return bad("neighbour", err);
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	if (!is_inet(ndm->ndm_family))
		return 1;
	s.family = ndm->ndm_family;
	s.ifindex = ndm->ndm_ifindex;
	s.state = ndm->ndm_state;
	mnl_attr_for_each(a, nlh, sizeof *ndm) {
		uint16_t type = mnl_attr_get_type(a);
		if (type == NDA_DST && !take_address(a, s.family, s.bytes))
			return bad("neighbour", err);
		if (type == NDA_LLADDR && mnl_attr_get_payload_len(a) == sizeof s.mac)
			take(a, s.mac, sizeof s.mac);
	}
	memcpy(item, &s, sizeof s);
	return 0;
}

static bool route_metrics(const struct nlattr *nest, struct lh_seen_route *s)
{
	const struct nlattr *a;
	uint32_t lock = 0;
	mnl_attr_for_each_nested(a, nest) {
		uint16_t type = mnl_attr_get_type(a);
		if (type == RTAX_LOCK && !take(a, &lock, sizeof lock))
			return false;
		if (type == RTAX_RTO_MIN && !take(a, &s->rto_min_ms, sizeof s->rto_min_ms))
			return false;
		if (type == RTAX_INITCWND && !take(a, &s->initcwnd, sizeof s->initcwnd))
			return false;
		if (type == RTAX_CC_ALGO && !take_string(a, s->congestion, sizeof s->congestion))
			return false;
	}
	if (!(lock & 1U << RTAX_RTO_MIN))
		s->rto_min_ms = 0;
	return true;
}

int lh_decode_route(const struct nlmsghdr *nlh, void *item, struct lh_err *err)
{
	struct lh_seen_route s = { 0 };
	const struct nlattr *a;
	if (nlh->nlmsg_type != RTM_NEWROUTE || !has_header(nlh, sizeof(struct rtmsg)))
		return bad("route", err);
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	if (!is_inet(rtm->rtm_family) || rtm->rtm_flags & RTM_F_CLONED)
		return 1;
	s.family = rtm->rtm_family;
	s.prefix = rtm->rtm_dst_len;
	s.type = rtm->rtm_type;
	s.table = rtm->rtm_table;
	mnl_attr_for_each(a, nlh, sizeof *rtm) {
		bool good = true;
		switch (mnl_attr_get_type(a)) {
		case RTA_DST:
			good = take_address(a, s.family, s.to);
			break;
		case RTA_OIF:
			good = take(a, &s.ifindex, sizeof s.ifindex);
			break;
		case RTA_TABLE:
			good = take(a, &s.table, sizeof s.table);
			break;
		case RTA_METRICS:
			good = route_metrics(a, &s);
			break;
		}
		if (!good)
			return bad("route", err);
	}
	memcpy(item, &s, sizeof s);
	return 0;
}

int lh_decode_rule(const struct nlmsghdr *nlh, void *item, struct lh_err *err)
{
	struct lh_seen_rule s = { 0 };
	const struct nlattr *a;
	if (nlh->nlmsg_type != RTM_NEWRULE || !has_header(nlh, sizeof(struct fib_rule_hdr)))
		return bad("rule", err);
	const struct fib_rule_hdr *frh = mnl_nlmsg_get_payload(nlh);
	if (!is_inet(frh->family))
		return 1;
	s.family = frh->family;
	s.prefix = frh->src_len;
	s.table = frh->table;
	mnl_attr_for_each(a, nlh, sizeof *frh) {
		bool good = true;
		switch (mnl_attr_get_type(a)) {
		case FRA_SRC:
			good = take_address(a, s.family, s.from);
			break;
		case FRA_PRIORITY:
			good = take(a, &s.priority, sizeof s.priority);
			break;
		case FRA_TABLE:
			good = take(a, &s.table, sizeof s.table);
			break;
		case FRA_IIFNAME:
			good = take_string(a, s.iif, sizeof s.iif);
			break;
		}
		if (!good)
			return bad("rule", err);
	}
	memcpy(item, &s, sizeof s);
	return 0;
}
