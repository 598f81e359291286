/* apply.c - lh_net_up, lh_net_down: walk the plan's operations forwards with a journal, and backwards.
 *
 * Should: raise the limit of open files before the first namespace; be back in the caller's namespace at every return.
 * Mustn't: let a queued request cross into the next namespace unsent (lh_net_flush at every change).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netns.h"
#include "op.h"
#include "write.h"

int lh_net_enter(struct lh_net *net, uint32_t netns, struct lh_err *err)
{
	if (net->here == netns)
		return 0;
	int rc = lh_netns_enter(netns == LH_PLAN_NOT ? net->home_fd : net->netns[netns].fd,
				netns == LH_PLAN_NOT ? "network" : net->plan->netns[netns].object, err);
	if (!rc)
		net->here = netns;
	return rc;
}

int lh_net_writer(struct lh_net *net, uint32_t netns, struct lh_writer **ret, struct lh_err *err)
{
	struct lh_netns *n = &net->netns[netns];
	if (!n->writer) {
		int rc = lh_net_enter(net, netns, err);
		if (!rc)
			rc = lh_writer_open(&n->writer, err);
		if (rc)
			return rc;
	}
	*ret = n->writer;
	return 0;
}

/* What a refusal means and what helps, where that is known. */
static const char *remedy(const struct lh_net *net, const struct lh_op *op, int code)
{
	bool absent = code == -ENOENT || code == -EOPNOTSUPP;
	switch (op->kind) {
	case LH_OP_QDISC:
		if (absent && net->qdisc[op->iface].kind == LH_QDISC_NETEM)
			return "this kernel has no sch_netem: load it or use --kernel uml";
		return absent ? "this kernel has no sch_tbf: load it or use --kernel uml" : NULL;
	case LH_OP_VETH:
		return absent ? "this kernel has no veth: load it or use --kernel uml" : NULL;
	case LH_OP_RULE:
		return absent || code == -EAFNOSUPPORT ? "this kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES):"
							 " use --kernel uml" : NULL;
	case LH_OP_SYSCTL:
		if (code == -ENOENT && !strncmp(op->sysctl.key, "net/ipv6/", 9))
			return "IPv6 is off in this kernel (ipv6.disable=1): turn it on or use --kernel uml";
		return code == -EROFS ? "/proc/sys is read-only in this container: use --kernel uml" : NULL;
	case LH_OP_ROUTE:
		return code == -EINVAL && op->route.congestion[0] ? "see net.ipv4.tcp_available_congestion_control" : NULL;
	default:
		return NULL;
	}
}

/* A failure of operation `at`: its object and what it was about go before the kernel's words, what helps behind. */
static int blame(struct lh_net *net, size_t at, struct lh_err *err)
{
	char what[256], text[sizeof err->text];
	const struct lh_op *op = &net->plan->ops[at];
	const char *helps = err ? remedy(net, op, err->code) : NULL;
	if (helps) {
		memcpy(text, err->text, sizeof text);
		lh_err_set(err, err->exit, err->code, "%s (%s)", text, helps);
	}
	return lh_err_wrap(err, "%s", lh_op_print(net->plan, op, what, sizeof what));
}

static bool keeps_writer(enum lh_netns_kind kind)
{
	return kind == LH_NETNS_GATEWAY || kind == LH_NETNS_ACCESS; /* live changes go there */
}

int lh_net_queue(struct lh_net *net, struct nl_msg *msg, size_t at, struct lh_err *err)
{
	size_t failed = at;
	int rc = lh_writer_queue(net->pending, msg, at, &failed, err);
	if (rc) {
		net->pending = NULL;
		net->blamed = true;
		blame(net, failed, err);
	}
	return rc;
}

int lh_net_flush(struct lh_net *net, struct lh_err *err)
{
	size_t failed = 0;
	if (!net->pending)
		return 0;
	int rc = lh_writer_flush(net->pending, &failed, err);
	net->pending = NULL;
	if (rc) {
		net->blamed = true;
		blame(net, failed, err);
	}
	return rc;
}

static void close_writer_of(struct lh_net *net, uint32_t netns)
{
	if (netns == LH_PLAN_NOT || keeps_writer(net->plan->netns[netns].kind))
		return;
	lh_writer_close(net->netns[netns].writer);
	net->netns[netns].writer = NULL;
}

static int stopped(struct lh_net *net, size_t at, int code, struct lh_err *err)
{
	/* What was queued before counts as done: it happens first, as it would have without the batch. */
	int rc = lh_net_flush(net, err);
	if (rc)
		return rc;
	net->blamed = true;
	code = code < 0 ? code : -ECANCELED;
	lh_err_sys(err, LH_EXIT_MACHINE, code, "stopped");
	return blame(net, at, err);
}

static int apply(struct lh_net *net, lh_net_progress_fn *progress, void *ctx, struct lh_err *err)
{
	const struct lh_plan *plan = net->plan;
	uint32_t last = LH_PLAN_NOT;
	char what[256];
	int rc = 0;
	for (size_t i = 0; !rc && i < plan->nops; i++) {
		const struct lh_op *op = &plan->ops[i];
		if (op->netns != last) {
			rc = lh_net_flush(net, err);
			if (rc)
				break;
			close_writer_of(net, last);
			last = op->netns;
		}
		int stop = progress ? progress(ctx, i, plan->nops, lh_op_print(plan, op, what, sizeof what)) : 0;
		if (stop) {
			rc = stopped(net, i, stop, err);
			break;
		}
		net->done = i + 1;
		rc = lh_op_table[op->kind].apply(net, op, i, err);
		if (rc && !net->blamed)
			blame(net, i, err);
	}
	if (!rc)
		rc = lh_net_flush(net, err);
	close_writer_of(net, last);
	return rc;
}

/* One fd a namespace, what a peer's program takes (its pidfd and up to three pipes), and some to spare; programs started in a
 * peer get the old soft limit back. */
static int allow_files(struct lh_net *net, struct lh_err *err)
{
	enum { SPARE_FILES = 256, PEER_FILES = 4 };
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "limit of open files");
	net->files_soft = limit.rlim_cur;
	rlim_t need = net->plan->nnetns + 2 * net->plan->nsites + PEER_FILES * net->plan->npeers + SPARE_FILES;
	if (limit.rlim_cur >= need)
		return 0;
	if (limit.rlim_max < need)
		return lh_err_set(err, LH_EXIT_MACHINE, -EMFILE, "%u peers: %llu open files are needed and %llu allowed"
				  " (ulimit -Hn)", net->plan->npeers, (unsigned long long)need,
				  (unsigned long long)limit.rlim_max);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "limit of open files");
	return 0;
}

static void net_free(struct lh_net *net)
{
	if (!net)
		return;
	if (net->home_fd >= 0)
		close(net->home_fd);
	lh_plan_free(net->plan);
	free(net->netns);
	free(net->qdisc);
	free(net->links);
	free(net->floor_ns);
	free(net->cut);
	free(net->accounts);
	free(net);
}

static struct lh_net *net_new(const struct lh_topology *t, const struct lh_plan *plan)
{
	size_t nlinks = (size_t)t->nsites * t->nsites;
	struct lh_net *net = calloc(1, sizeof *net);
	if (!net)
		return NULL;
	net->home_fd = -1;
	net->here = LH_PLAN_NOT;
	net->topology = t;
	net->plan = lh_plan_ref((struct lh_plan *)(uintptr_t)plan);
	net->netns = calloc(plan->nnetns, sizeof *net->netns);
	net->qdisc = calloc(plan->nifs, sizeof *net->qdisc);
	net->links = calloc(nlinks, sizeof *net->links);
	net->floor_ns = calloc(nlinks, sizeof *net->floor_ns);
	net->cut = calloc(nlinks, sizeof *net->cut);
	net->accounts = calloc(nlinks, sizeof *net->accounts);
	if (!net->netns || !net->qdisc || !net->links || !net->floor_ns || !net->cut || !net->accounts) {
		net_free(net);
		return NULL;
	}
	for (size_t i = 0; i < plan->nnetns; i++)
		net->netns[i].fd = -1;
	for (size_t i = 0; i < plan->nifs; i++)
		net->qdisc[i] = plan->ifs[i].qdisc;
	memcpy(net->links, t->links, nlinks * sizeof *net->links);
	return net;
}

int lh_net_up(const struct lh_topology *t, const struct lh_plan *plan, lh_net_progress_fn *progress, void *ctx,
	      struct lh_net **ret_net, struct lh_err *err)
{
	if (t->nsites != plan->nsites || lh_topology_nodes(t) != plan->npeers)
		return lh_err_sys(err, LH_EXIT_INPUT, -EINVAL, "the plan of %s is not of this topology", plan->name);
	struct lh_net *net = net_new(t, plan);
	if (!net)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "network of %s", plan->name);
	int rc = allow_files(net, err);
	if (!rc)
		rc = lh_netns_current(&net->home_fd, err);
	if (rc) {
		net_free(net);
		return rc;
	}
	rc = apply(net, progress, ctx, err);
	if (rc) {
		lh_net_undo(net, NULL);
		lh_net_enter(net, LH_PLAN_NOT, NULL);
		net_free(net);
		return rc;
	}
	rc = lh_net_enter(net, LH_PLAN_NOT, err);
	if (rc) {
		lh_net_undo(net, NULL);
		net_free(net);
		return rc;
	}
	*ret_net = net;
	return 0;
}

int lh_net_down(struct lh_net *net, struct lh_err *err)
{
	if (!net)
		return 0;
	int rc = lh_net_undo(net, err);
	int back = lh_net_enter(net, LH_PLAN_NOT, rc ? NULL : err);
	net_free(net);
	return rc ? rc : back;
}
