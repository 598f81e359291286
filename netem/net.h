/* net.h - a network that is up, as apply, verify, observe and spawn share it inside netem/.
 *
 * Namespaces are held by fds of this process. One netlink socket (libnl, for writing) is open per gateway and access
 * box for live changes; a socket for reading is opened by its user after lh_netns_enter(), which is the only place
 * that moves this process; whoever enters goes back with lh_netns_enter(net->home_fd) before returning.
 */
#ifndef NETEM_NET_H
#define NETEM_NET_H

#include <sys/resource.h>

#include "netns.h"
#include "plan.h"

struct lh_writer;
struct nl_msg;

struct lh_netns {
	int fd;                   /* -1: not made (yet, or any more) */
	struct lh_writer *writer; /* NULL: none open */
	bool links_gone;          /* undone: no interface of ours is left in it */
};

/* What a link's counters were before the qdisc that counts now. */
struct lh_account {
	struct lh_link_counters base; /* to be added to what the kernel says now; wraps where that did not start at 0 */
	uint64_t attributed;          /* drops whose cause is in base.drops_by */
};

struct lh_net {
	const struct lh_topology *topology;
	struct lh_plan *plan;      /* a reference of our own */
	int home_fd;               /* the namespace that we came from */
	struct lh_netns *netns;    /* plan->nnetns */
	struct lh_qdisc *qdisc;    /* plan->nifs: what is asked of each interface now (verify compares with this) */
	struct lh_link *links;     /* nsites x nsites: as last set, before floors */
	lh_ns *floor_ns;           /* nsites x nsites */
	bool *cut;                 /* nsites x nsites */
	struct lh_account *accounts; /* nsites x nsites */
	size_t done;               /* the journal: ops[0 ... done) were applied, or may have been */
	struct lh_writer *pending; /* while it goes up: the one with queued requests */
	bool blamed;               /* *err names the failing operation already */
	uint32_t here;             /* namespace that this process is in; LH_PLAN_NOT: home */
	rlim_t files_soft;         /* the soft RLIMIT_NOFILE that we found and spawned programs get back */
};

/* Enter a namespace of the plan, LH_PLAN_NOT: home. No system call when it is there already. */
int lh_net_enter(struct lh_net *net, uint32_t netns, struct lh_err *err);
/* The namespace's writer, opened where needed. */
int lh_net_writer(struct lh_net *net, uint32_t netns, struct lh_writer **ret, struct lh_err *err);
/* Queue on `pending` for operation `at`; takes the message. */
int lh_net_queue(struct lh_net *net, struct nl_msg *msg, size_t at, struct lh_err *err);
/* Undo what was done, backwards; goes on past failures and reports the first. */
int lh_net_undo(struct lh_net *net, struct lh_err *err);
/* Send what is queued; names the failing operation in *err. */
int lh_net_flush(struct lh_net *net, struct lh_err *err);

/* What a qdisc drops for. */
enum lh_drop_cause lh_drop_cause_of(const struct lh_qdisc *q, bool cut);
/* Around a change of link `at` that ends what its counters mean: before it, with what was counted so far in *ret, and
 * after it, with the same. */
int lh_account_close(struct lh_net *net, size_t at, struct lh_link_counters *ret, struct lh_err *err);
int lh_account_open(struct lh_net *net, size_t at, const struct lh_link_counters *closed, struct lh_err *err);

#endif
