#include "link.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/msg.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>

/* Name, hardware address, index. One queue each way: a veth has by default as many as the host has
 * processors, which costs memory and lets packets of one link overtake each other. */
static int describe(struct rtnl_link *link, const struct lh_plan_if *i, int netns_fd)
{
	struct nl_addr *mac = nl_addr_build(AF_LLC, i->mac, sizeof i->mac);
	if (!mac)
		return -ENOMEM;
	rtnl_link_set_name(link, i->name);
	rtnl_link_set_addr(link, mac);
	rtnl_link_set_ifindex(link, i->ifindex);
	rtnl_link_set_num_tx_queues(link, 1);
	rtnl_link_set_num_rx_queues(link, 1);
	rtnl_link_set_ns_fd(link, netns_fd);
	nl_addr_put(mac);
	return 0;
}

struct nl_msg *lh_msg_veth(const struct lh_plan_if *a, int netns_fd, const struct lh_plan_if *far, int far_netns_fd)
{
	struct nl_msg *msg = NULL;
	struct rtnl_link *link = rtnl_link_veth_alloc();
	if (!link)
		return NULL;
	struct rtnl_link *peer = rtnl_link_veth_get_peer(link);
	if (!describe(link, a, netns_fd) && !describe(peer, far, far_netns_fd)) {
		rtnl_link_set_flags(link, IFF_UP);
		rtnl_link_set_group(link, LH_LINK_GROUP);
		if (rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL, &msg) < 0)
			msg = NULL;
	}
	rtnl_link_put(peer);
	rtnl_link_put(link);
	return msg;
}

static struct nl_msg *link_message(int type, const struct ifinfomsg *ifi)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, 0);
	if (msg && nlmsg_append(msg, (void *)(uintptr_t)ifi, sizeof *ifi, NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return msg;
}

struct nl_msg *lh_msg_link_up(int ifindex)
{
	return link_message(RTM_NEWLINK, &(struct ifinfomsg){
		.ifi_index = ifindex, .ifi_flags = IFF_UP, .ifi_change = IFF_UP });
}

struct nl_msg *lh_msg_delete_group(void)
{
	struct nl_msg *msg = link_message(RTM_DELLINK, &(struct ifinfomsg){ .ifi_index = 0 });
	if (msg && nla_put_u32(msg, IFLA_GROUP, LH_LINK_GROUP) < 0) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return msg;
}

static struct nl_addr *to_libnl(const struct lh_address *a)
{
	struct nl_addr *n = nl_addr_build(a->family, a->bytes, lh_address_len(a));
	if (n)
		nl_addr_set_prefixlen(n, a->prefix);
	return n;
}

struct nl_msg *lh_msg_address(int ifindex, const struct lh_address *a)
{
	struct nl_msg *msg = NULL;
	struct rtnl_addr *addr = rtnl_addr_alloc();
	struct nl_addr *local = to_libnl(a);
	if (addr && local) {
		rtnl_addr_set_ifindex(addr, ifindex);
		if (rtnl_addr_set_local(addr, local) < 0)
			goto out;
		if (a->family == AF_INET6)
			rtnl_addr_set_flags(addr, IFA_F_NODAD);
		if (rtnl_addr_build_add_request(addr, NLM_F_CREATE | NLM_F_EXCL, &msg) < 0)
			msg = NULL;
	}
out:
	nl_addr_put(local);
	rtnl_addr_put(addr);
	return msg;
}

struct nl_msg *lh_msg_neighbour(int ifindex, const struct lh_address *a, const uint8_t mac[6])
{
	struct nl_msg *msg = NULL;
	struct rtnl_neigh *neigh = rtnl_neigh_alloc();
	struct nl_addr *dst = to_libnl(a), *lladdr = nl_addr_build(AF_LLC, mac, 6);
	if (neigh && dst && lladdr) {
		rtnl_neigh_set_ifindex(neigh, ifindex);
		rtnl_neigh_set_state(neigh, NUD_PERMANENT);
		rtnl_neigh_set_lladdr(neigh, lladdr);
		if (rtnl_neigh_set_dst(neigh, dst) < 0 ||
		    rtnl_neigh_build_add_request(neigh, NLM_F_CREATE | NLM_F_REPLACE, &msg) < 0)
			msg = NULL;
	}
	nl_addr_put(lladdr);
	nl_addr_put(dst);
	rtnl_neigh_put(neigh);
	return msg;
}

int lh_msg_qdisc(int ifindex, const struct lh_qdisc *q, struct nl_msg **ret, struct lh_err *err)
{
	/* The largest is netem's with a delay table of 16384 two-byte entries. */
	enum { QDISC_MESSAGE_MAX = 48 * 1024 };
	bool none = q->kind == LH_QDISC_NONE;
	struct nl_msg *msg = nlmsg_alloc_size(QDISC_MESSAGE_MAX);
	if (!msg)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "qdisc");
	struct tcmsg tcm = { .tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = TC_H_ROOT };
	struct nlmsghdr *hdr = nlmsg_put(msg, 0, 0, none ? RTM_DELQDISC : RTM_NEWQDISC, 0,
					 none ? 0 : NLM_F_CREATE | NLM_F_REPLACE);
	int rc = 0;
	if (!hdr || nlmsg_append(msg, &tcm, sizeof tcm, NLMSG_ALIGNTO) < 0)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -EMSGSIZE, "qdisc");
	if (!rc && !none)
		rc = lh_qdisc_fill(msg, q, err);
	if (rc) {
		nlmsg_free(msg);
		return rc;
	}
	*ret = msg;
	return 0;
}
