/* net.h - a network that is up, as apply, verify, observe and spawn share it inside netem/.
 *
 * Namespaces are held by fds of this process. One netlink socket (libnl, for writing) is open per gateway and access
 * box for live changes; a socket for reading is opened by its user after lh_netns_enter(), which is the only place
 * that moves this process; whoever enters goes back with lh_netns_enter(net->home_fd) before returning.
 */
#ifndef NETEM_NET_H
#define NETEM_NET_H

#include "plan.h"

struct lh_writer;

struct lh_netns {
	int fd;                   /* -1: not made (yet, or any more) */
	struct lh_writer *writer; /* NULL: none open */
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
	size_t done;               /* the journal: ops[0 ... done) were applied */
};

/* setns(CLONE_NEWNET) with an error that names the object. */
int lh_netns_enter(int fd, const char *object, struct lh_err *err);

#endif
