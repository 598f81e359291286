#include "route.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/msg.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>

static struct nl_addr *to_libnl(const struct lh_address *a)
{
	struct nl_addr *n = nl_addr_build(a->family, a->bytes, lh_address_len(a));
	if (n)
		nl_addr_set_prefixlen(n, a->prefix);
	return n;
}

/* libnl's metrics are numbers only; the congestion control is a name, so the whole nest is ours. It is a route's
 * metric because the sysctl of a namespace takes only what the host's first namespace allows to everyone. The least
 * timeout has a sysctl since Linux 6.11 only; as a metric it counts where it is locked. */
static int put_metrics(struct nl_msg *msg, const struct lh_op *op)
{
	if (!op->route.initcwnd && !op->route.rto_min_ms && !op->route.congestion[0])
		return 0;
	struct nlattr *metrics = nla_nest_start(msg, RTA_METRICS);
	if (!metrics)
		return -1;
	if (op->route.initcwnd && nla_put_u32(msg, RTAX_INITCWND, op->route.initcwnd) < 0)
		return -1;
	if (op->route.rto_min_ms && (nla_put_u32(msg, RTAX_LOCK, 1U << RTAX_RTO_MIN) < 0 ||
				     nla_put_u32(msg, RTAX_RTO_MIN, op->route.rto_min_ms) < 0))
		return -1;
	if (op->route.congestion[0] && nla_put_string(msg, RTAX_CC_ALGO, op->route.congestion) < 0)
		return -1;
	nla_nest_end(msg, metrics);
	return 0;
}

static int set_nexthop(struct rtnl_route *route, const struct lh_op *op, int ifindex)
{
	struct lh_address far;
	lh_address_far_end(op->route.to.family == AF_INET6, &far);
	struct rtnl_nexthop *nh = rtnl_route_nh_alloc();
	struct nl_addr *via = op->route.local ? NULL : to_libnl(&far);
	if (!nh || (!via && !op->route.local)) {
		if (nh)
			rtnl_route_nh_free(nh);
		nl_addr_put(via);
		return -1;
	}
	rtnl_route_nh_set_ifindex(nh, ifindex);
	rtnl_route_add_nexthop(route, nh);
	if (op->route.local)
		return 0;
	rtnl_route_nh_set_gateway(nh, via);
	/* The far end is there though no address of ours is in its prefix. */
	rtnl_route_set_flags(route, RTNH_F_ONLINK);
	nl_addr_put(via);
	return 0;
}

struct nl_msg *lh_msg_route(const struct lh_op *op, int ifindex)
{
	struct nl_msg *msg = NULL;
	struct rtnl_route *route = rtnl_route_alloc();
	struct nl_addr *to = to_libnl(&op->route.to);
	if (!route || !to)
		goto out;
	rtnl_route_set_family(route, op->route.to.family);
	rtnl_route_set_table(route, op->route.table);
	rtnl_route_set_protocol(route, RTPROT_STATIC);
	rtnl_route_set_scope(route, RT_SCOPE_UNIVERSE);
	rtnl_route_set_type(route, op->route.local ? RTN_LOCAL : RTN_UNICAST);
	if (rtnl_route_set_dst(route, to) < 0 || set_nexthop(route, op, ifindex))
		goto out;
	if (rtnl_route_build_add_request(route, NLM_F_CREATE | NLM_F_REPLACE, &msg) < 0) {
		msg = NULL;
	} else if (put_metrics(msg, op)) {
		nlmsg_free(msg);
		msg = NULL;
	}
out:
	nl_addr_put(to);
	rtnl_route_put(route);
	return msg;
}

struct nl_msg *lh_msg_rule(const struct lh_op *op, const char *iif_name)
{
	struct nl_msg *msg = NULL;
	struct rtnl_rule *rule = rtnl_rule_alloc();
	struct nl_addr *from = NULL;
	if (!rule)
		return NULL;
	rtnl_rule_set_family(rule, op->rule.from.family);
	rtnl_rule_set_action(rule, FR_ACT_TO_TBL);
	rtnl_rule_set_table(rule, op->rule.table);
	rtnl_rule_set_prio(rule, op->rule.priority);
	if (op->rule.iif) {
		if (rtnl_rule_set_iif(rule, iif_name) < 0)
			goto out;
	} else {
		from = to_libnl(&op->rule.from);
		if (!from || rtnl_rule_set_src(rule, from) < 0)
			goto out;
	}
	if (rtnl_rule_build_add_request(rule, NLM_F_CREATE | NLM_F_EXCL, &msg) < 0)
		msg = NULL;
out:
	nl_addr_put(from);
	rtnl_rule_put(rule);
	return msg;
}
