/* op.c - the table of operations, and what each asks of the kernel.
 *
 * An operation either queues a request on its namespace's writer (the usual case) or acts at once; who acts at once
 * flushes first, so that effects happen in the order of the plan. Few have an undo of their own: addresses, neighbours,
 * routes, qdiscs and offloads fall with their interface, settings and lo with their namespace.
 */
#include "op.h"

#include <errno.h>
#include <linux/if.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <unistd.h>

#include "ethtool.h"
#include "link.h"
#include "netns.h"
#include "read.h"
#include "route.h"
#include "write.h"

enum { LOOPBACK_IFINDEX = 1 };

static int queue(struct lh_net *net, const struct lh_op *op, struct nl_msg *msg, size_t at, struct lh_err *err)
{
	struct lh_writer *w;
	int rc = 0;
	if (!net->pending || net->pending != net->netns[op->netns].writer)
		rc = lh_net_flush(net, err);
	if (!rc)
		rc = lh_net_writer(net, op->netns, &w, err);
	if (rc) {
		if (msg)
			nlmsg_free(msg);
		return rc;
	}
	net->pending = w;
	return lh_net_queue(net, msg, at, err);
}

static int apply_netns(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	int rc = lh_net_flush(net, err);
	if (rc)
		return rc;
	rc = lh_netns_make(&net->netns[op->netns].fd, err);
	if (!rc)
		net->here = op->netns;
	return rc;
}

static int undo_netns(struct lh_net *net, const struct lh_op *op, struct lh_err *err)
{
	struct lh_netns *n = &net->netns[op->netns];
	lh_writer_close(n->writer);
	n->writer = NULL;
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	return 0;
}

static int apply_sysctl(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	int rc = lh_net_flush(net, err);
	if (!rc)
		rc = lh_net_enter(net, op->netns, err);
	return rc ? rc : lh_sysctl_write(op->sysctl.key, op->sysctl.value, err);
}

static int apply_loopback(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	return queue(net, op, lh_msg_link_up(LOOPBACK_IFINDEX), at, err);
}

static int apply_veth(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	const struct lh_plan_if *a = &net->plan->ifs[op->iface], *far = &net->plan->ifs[a->far];
	return queue(net, op, lh_msg_veth(a, net->netns[a->netns].fd, far, net->netns[far->netns].fd), at, err);
}

/* One end of a pair is always in a router, and goes with all of that router (teardown.c has usually done that by now): the
 * whole plan is undone or nothing. What a NIC box has towards its peer falls with the two namespaces. */
static int undo_veth(struct lh_net *net, const struct lh_op *op, struct lh_err *err)
{
	uint32_t router = net->plan->ifs[op->iface].netns;
	struct lh_netns *n = &net->netns[router];
	struct lh_writer *w;
	if (n->links_gone || n->fd < 0 || net->plan->netns[router].kind == LH_NETNS_NIC)
		return 0;
	n->links_gone = true;
	int rc = lh_net_writer(net, router, &w, err);
	if (!rc)
		rc = lh_writer_do(w, lh_msg_delete_group(), err);
	return rc == -ENODEV ? 0 : rc;
}

static int apply_up(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	return queue(net, op, lh_msg_link_up(net->plan->ifs[op->iface].ifindex), at, err);
}

static int apply_offloads(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	const struct lh_plan_if *i = &net->plan->ifs[op->iface];
	struct lh_writer *w;
	int rc = lh_net_flush(net, err);
	if (!rc)
		rc = lh_net_writer(net, op->netns, &w, err);
	return rc ? rc : lh_offloads_off(lh_writer_fd(w), i->name, i->offloads_off, i->gro_off, err);
}

static int apply_qdisc(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	struct nl_msg *msg;
	int rc = lh_msg_qdisc(net->plan->ifs[op->iface].ifindex, &net->qdisc[op->iface], &msg, err);
	return rc ? rc : queue(net, op, msg, at, err);
}

static int apply_neighbour(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	const struct lh_plan_if *i = &net->plan->ifs[op->iface];
	return queue(net, op, lh_msg_neighbour(i->ifindex, &op->address, net->plan->ifs[i->far].mac), at, err);
}

static int apply_address(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	int ifindex = op->iface == LH_PLAN_NOT ? LOOPBACK_IFINDEX : net->plan->ifs[op->iface].ifindex;
	return queue(net, op, lh_msg_address(ifindex, &op->address), at, err);
}

static int apply_route(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	return queue(net, op, lh_msg_route(op, net->plan->ifs[op->iface].ifindex), at, err);
}

static int apply_rule(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	const char *iif = op->rule.iif ? net->plan->ifs[op->iface].name : NULL;
	return queue(net, op, lh_msg_rule(op, iif), at, err);
}

/* Is every interface of the plan in this namespace operational? 1: yes, 0: not yet. *ret_waits: one that is not. */
static int all_operational(const struct lh_net *net, uint32_t netns, struct lh_reader *r, const struct lh_plan_if **ret_waits,
			   struct lh_err *err)
{
	struct lh_seen_link *links;
	size_t n, up = 0, want = 0;
	int rc = lh_read_links(r, &links, &n, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < net->plan->nifs; i++) {
		const struct lh_plan_if *f = &net->plan->ifs[i];
		size_t k = 0;
		if (f->netns != netns)
			continue;
		want++;
		while (k < n && links[k].ifindex != f->ifindex)
			k++;
		if (k < n && links[k].operstate == IF_OPER_UP)
			up++;
		else
			*ret_waits = f;
	}
	free(links);
	return up == want;
}

/* The kernel activates the queue of an end whose far end came up later in a worker, and until then drops what it is
 * given; in the same step the end becomes operational. Asking for the carrier makes newer kernels do it at once; older
 * ones need waiting for, and have no event that could not be missed. */
static int wait_operational(struct lh_net *net, uint32_t netns, struct lh_err *err)
{
	enum { LIMIT_S = 10, PAUSE_US = 500 };
	const struct lh_plan_if *waits = NULL;
	struct lh_reader *r;
	int rc = lh_net_enter(net, netns, err);
	if (!rc)
		rc = lh_reader_open(&r, err);
	if (rc)
		return rc;
	for (lh_ns end = lh_clock_ns() + LIMIT_S * LH_NS_PER_S; !(rc = all_operational(net, netns, r, &waits, err));) {
		if (lh_clock_ns() > end) {
			rc = lh_err_sys(err, LH_EXIT_MACHINE, -ETIMEDOUT, "%s is not operational", waits->name);
			break;
		}
		usleep(PAUSE_US);
	}
	lh_reader_close(r);
	return rc < 0 ? rc : 0;
}

static int apply_ready(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err)
{
	struct lh_writer *w;
	int rc = lh_net_flush(net, err);
	if (!rc)
		rc = lh_net_writer(net, op->netns, &w, err);
	for (size_t i = 0; !rc && i < net->plan->nifs; i++)
		if (net->plan->ifs[i].netns == op->netns)
			rc = lh_link_settle(lh_writer_fd(w), net->plan->ifs[i].name, err);
	return rc ? rc : wait_operational(net, op->netns, err);
}

#define PRINT(x) .what = lh_op_##x##_what, .command = lh_op_##x##_command

const struct lh_op_ops lh_op_table[LH_OP_KINDS] = {
	[LH_OP_NETNS] = { "netns", PRINT(netns), apply_netns, undo_netns, NULL },
	[LH_OP_SYSCTL] = { "sysctl", PRINT(sysctl), apply_sysctl, NULL, "namespace" },
	[LH_OP_LOOPBACK] = { "loopback", PRINT(loopback), apply_loopback, NULL, "namespace" },
	[LH_OP_VETH] = { "veth", PRINT(veth), apply_veth, undo_veth, NULL },
	[LH_OP_UP] = { "up", PRINT(up), apply_up, NULL, "interface" },
	[LH_OP_OFFLOADS] = { "offloads", PRINT(offloads), apply_offloads, NULL, "interface" },
	[LH_OP_QDISC] = { "qdisc", PRINT(qdisc), apply_qdisc, NULL, "interface" },
	[LH_OP_NEIGHBOUR] = { "neighbour", PRINT(neighbour), apply_neighbour, NULL, "interface" },
	[LH_OP_ADDRESS] = { "address", PRINT(address), apply_address, NULL, "interface" },
	[LH_OP_ROUTE] = { "route", PRINT(route), apply_route, NULL, "interface" },
	[LH_OP_RULE] = { "rule", PRINT(rule), apply_rule, NULL, "namespace" },
	[LH_OP_READY] = { "ready", PRINT(ready), apply_ready, NULL, "nothing" },
};
