/* live.c - changes to a network that is up. Each is one RTM_NEWQDISC replace with the complete state, so that no field
 * keeps an old value and no packet sees half a change; what is queued stays queued where the kind stays the same. A
 * change that the kernel refuses leaves the state that was. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"
#include "net.h"
#include "write.h"

static int check_link(const struct lh_net *net, unsigned from, unsigned to, struct lh_err *err)
{
	unsigned nsites = net->topology->nsites;
	if (from >= nsites || to >= nsites)
		return lh_err_sys(err, LH_EXIT_BROKE, -EINVAL, "link %u->%u of %u sites", from, to, nsites);
	return 0;
}

/* Ask the kernel for what `link`, `cut` and the floor make; on success that is the asked state. */
static int put(struct lh_net *net, size_t at, const struct lh_link *link, lh_ns floor_ns, bool cut, struct lh_err *err)
{
	uint32_t iface = net->plan->link_if[at];
	const struct lh_plan_if *i = &net->plan->ifs[iface];
	struct lh_qdisc q;
	struct lh_writer *w;
	struct nl_msg *msg;
	lh_plan_link_qdisc(link, floor_ns, false, cut, &q);
	if (q.kind == LH_QDISC_NONE && net->qdisc[iface].kind == LH_QDISC_NONE)
		return 0;
	/* Counters of a qdisc of another kind start again, and from a change of cause on drops mean something else. */
	struct lh_link_counters counted;
	bool counts_end = q.kind != net->qdisc[iface].kind ||
			  lh_drop_cause_of(&q, cut) != lh_drop_cause_of(&net->qdisc[iface], net->cut[at]);
	int rc = counts_end ? lh_account_close(net, at, &counted, err) : 0;
	if (rc)
		return rc;
	rc = lh_net_writer(net, i->netns, &w, err);
	int back = lh_net_enter(net, LH_PLAN_NOT, rc ? NULL : err);
	if (!rc)
		rc = back;
	if (!rc)
		rc = lh_msg_qdisc(i->ifindex, &q, &msg, err);
	if (!rc)
		rc = lh_writer_do(w, msg, err);
	if (rc)
		return lh_err_wrap(err, "%s: qdisc", i->object);
	net->qdisc[iface] = q;
	net->cut[at] = cut;
	return counts_end ? lh_account_open(net, at, &counted, err) : 0;
}

/* Offloads are set when a network goes up, after what the topology and its schedule ask for. What counts or draws by the
 * packet would be untrue where superpackets travel. */
static int check_mode(const struct lh_net *net, size_t at, const struct lh_impairment *imp, struct lh_err *err)
{
	const struct lh_plan_if *i = &net->plan->ifs[net->plan->link_if[at]];
	bool packets = imp->loss_model != LH_LOSS_NONE || imp->reorder_ppb || imp->duplicate_ppb || imp->corrupt_ppb;
	if (!packets || i->offloads_off)
		return 0;
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: loss, reordering, duplication or corruption of a link that went up"
			  " in gso mode: ask for it in the topology or its schedule", i->object);
}

static void derive_rtt(struct lh_net *net, unsigned from, unsigned to)
{
	unsigned nsites = net->topology->nsites;
	struct lh_link *there = &net->links[(size_t)from * nsites + to], *back = &net->links[(size_t)to * nsites + from];
	there->rtt_spec_ns = back->rtt_spec_ns = there->imp.delay_ns + back->imp.delay_ns;
}

int lh_net_set_link(struct lh_net *net, unsigned from, unsigned to, const struct lh_impairment *imp, struct lh_err *err)
{
	int rc = check_link(net, from, to, err);
	if (rc)
		return rc;
	unsigned nsites = net->topology->nsites;
	size_t at = (size_t)from * nsites + to, mirror = (size_t)to * nsites + from;
	rc = check_mode(net, at, imp, err);
	if (rc)
		return rc;
	struct lh_link link = net->links[at];
	link.imp = *imp;
	link.rtt_spec_ns = imp->delay_ns + (from == to ? imp->delay_ns : net->links[mirror].imp.delay_ns);
	rc = put(net, at, &link, net->floor_ns[at], net->cut[at], err);
	if (rc)
		return rc;
	net->links[at] = link;
	derive_rtt(net, from, to);
	return 0;
}

int lh_net_cut_link(struct lh_net *net, unsigned from, unsigned to, bool cut, struct lh_err *err)
{
	int rc = check_link(net, from, to, err);
	if (rc)
		return rc;
	size_t at = (size_t)from * net->topology->nsites + to;
	return put(net, at, &net->links[at], net->floor_ns[at], cut, err);
}

int lh_net_set_floors(struct lh_net *net, const lh_ns *floor_ns, struct lh_err *err)
{
	size_t nlinks = (size_t)net->topology->nsites * net->topology->nsites;
	for (size_t i = 0; i < nlinks; i++) {
		int rc = put(net, i, &net->links[i], floor_ns[i], net->cut[i], err);
		if (rc)
			return rc;
		net->floor_ns[i] = floor_ns[i];
	}
	return 0;
}
