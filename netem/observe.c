/* observe.c - counters of links and peers while a network runs. One question and one answer each; the asking process
 * is in the namespace for the length of it. */
#include <errno.h>

#include "net.h"
#include "read.h"

/* A link without a queueing discipline has only its interface's counters. */
static int observe_interface(struct lh_reader *r, int ifindex, struct lh_link_counters *ret, struct lh_err *err)
{
	struct lh_seen_link link;
	int rc = lh_read_link(r, ifindex, &link, err);
	if (rc)
		return rc;
	*ret = (struct lh_link_counters){ .packets = link.counters.tx_packets, .bytes = link.counters.tx_bytes,
		.drops = link.counters.tx_dropped };
	return 0;
}

static int observe_link(struct lh_reader *r, int ifindex, struct lh_link_counters *ret, struct lh_err *err)
{
	struct lh_qdisc_seen seen;
	int rc = lh_read_root_qdisc(r, ifindex, &seen, err);
	if (rc)
		return rc;
	if (seen.q.kind == LH_QDISC_NONE)
		return observe_interface(r, ifindex, ret, err);
	if (!seen.has_counters)
		return lh_err_set(err, LH_EXIT_MACHINE, -ENODATA, "%s: the kernel sent no counters", seen.kind);
	*ret = seen.counters;
	return 0;
}

/* Open a reader in the interface's namespace; the process is home again afterwards. */
static int reader_in(struct lh_net *net, uint32_t netns, struct lh_reader **ret, struct lh_err *err)
{
	int rc = lh_net_enter(net, netns, err);
	if (rc)
		return rc;
	rc = lh_reader_open(ret, err);
	int back = lh_net_enter(net, LH_PLAN_NOT, rc ? NULL : err);
	if (!rc && back)
		lh_reader_close(*ret);
	return rc ? rc : back;
}

enum lh_drop_cause lh_drop_cause_of(const struct lh_qdisc *q, bool cut)
{
	if (cut)
		return LH_DROP_CUT;
	if (q->kind != LH_QDISC_NETEM || q->imp.loss_model == LH_LOSS_NONE ||
	    (q->imp.loss_model == LH_LOSS_RANDOM && !q->imp.loss_ppb))
		return LH_DROP_QUEUE;
	return q->imp.rate_bps ? LH_DROP_LOSS_OR_QUEUE : LH_DROP_LOSS;
}

static int read_kernels(struct lh_net *net, size_t at, struct lh_link_counters *ret, struct lh_err *err)
{
	const struct lh_plan_if *i = &net->plan->ifs[net->plan->link_if[at]];
	struct lh_reader *r;
	int rc = reader_in(net, i->netns, &r, err);
	if (!rc) {
		rc = observe_link(r, i->ifindex, ret, err);
		lh_reader_close(r);
	}
	return rc ? lh_err_wrap(err, "%s", i->object) : 0;
}

/* What the kernel counts now on top of what was counted before; drops since the last change have the present cause. */
static int read_total(struct lh_net *net, size_t at, struct lh_link_counters *ret, struct lh_err *err)
{
	const struct lh_account *a = &net->accounts[at];
	struct lh_link_counters now;
	int rc = read_kernels(net, at, &now, err);
	if (rc)
		return rc;
	*ret = a->base;
	ret->packets += now.packets;
	ret->bytes += now.bytes;
	ret->drops += now.drops;
	ret->overlimits += now.overlimits;
	ret->requeues += now.requeues;
	ret->backlog_packets = now.backlog_packets;
	ret->backlog_bytes = now.backlog_bytes;
	enum lh_drop_cause cause = lh_drop_cause_of(&net->qdisc[net->plan->link_if[at]], net->cut[at]);
	ret->drops_by[cause] += ret->drops - a->attributed;
	return 0;
}

int lh_account_close(struct lh_net *net, size_t at, struct lh_link_counters *ret, struct lh_err *err)
{
	return read_total(net, at, ret, err);
}

int lh_account_open(struct lh_net *net, size_t at, const struct lh_link_counters *closed, struct lh_err *err)
{
	struct lh_account *a = &net->accounts[at];
	struct lh_link_counters now;
	int rc = read_kernels(net, at, &now, err);
	if (rc)
		return rc;
	a->base = *closed;
	a->base.packets -= now.packets;
	a->base.bytes -= now.bytes;
	a->base.drops -= now.drops;
	a->base.overlimits -= now.overlimits;
	a->base.requeues -= now.requeues;
	a->attributed = closed->drops;
	return 0;
}

int lh_net_observe(struct lh_net *net, unsigned from, unsigned to, struct lh_link_counters *ret, struct lh_err *err)
{
	return read_total(net, (size_t)from * net->plan->nsites + to, ret, err);
}

int lh_net_observe_peer(struct lh_net *net, unsigned peer, struct lh_peer_counters *ret, struct lh_err *err)
{
	const struct lh_plan_if *i = &net->plan->ifs[net->plan->peer_if[peer]];
	struct lh_seen_link link;
	struct lh_reader *r;
	int rc = reader_in(net, i->netns, &r, err);
	if (!rc) {
		rc = lh_read_link(r, i->ifindex, &link, err);
		lh_reader_close(r);
	}
	if (rc)
		return lh_err_wrap(err, "%s", i->object);
	*ret = link.counters;
	return 0;
}
