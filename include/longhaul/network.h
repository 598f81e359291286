/* network.h - a topology made real: plan, apply, verify, observe, undo.
 *
 * Shape of the emulated network (netem/README.md has the theory of operation):
 *
 *   peer --- gateway of its site ===(one veth pair per pair of sites)=== gateway --- peer
 *
 * Every ordered pair of sites, a site's own LAN included, is one interface in
 * the source's gateway with its own root qdisc, so a link's impairment, its
 * counters and its live change concern no other link. Peers' own interfaces
 * carry no qdisc. A NIC limit or a shared access bottleneck is one more router
 * namespace in the path ("box") whose egress queue is the bottleneck.
 *
 * Everything lives in namespaces held by file descriptors of the calling
 * process; when it dies, the kernel removes all of it. The caller must be the
 * single-threaded process of a cell (cell.h).
 */
#ifndef LONGHAUL_NETWORK_H
#define LONGHAUL_NETWORK_H

#include <stdio.h>
#include <sys/types.h>

#include "longhaul/topology.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lh_plan; /* pure: an ordered list of operations */
struct lh_net;  /* a plan applied */

struct lh_plan_options {
	bool zero_delay;      /* every delay 0 and nothing else impaired: to measure the path's own delay; NIC and
			       * access rates stay, an echo fits into their bucket */
	const lh_ns *floor_ns; /* NULL, or nsites x nsites measured RTT floors; half of floor(from,to) is
			        * taken off the delay of from->to, never below 0 */
};

enum lh_plan_format { LH_PLAN_TEXT, LH_PLAN_COMMANDS /* ip, tc, sysctl lines */, LH_PLAN_JSON };

int lh_plan_new(const struct lh_topology *t, const struct lh_plan_options *opt,
		struct lh_plan **ret_plan, struct lh_err *err);
void lh_plan_free(struct lh_plan *plan);
int lh_plan_print(const struct lh_plan *plan, enum lh_plan_format format, FILE *out, struct lh_err *err);
size_t lh_plan_count(const struct lh_plan *plan); /* operations */
bool lh_plan_needs_netem(const struct lh_plan *plan);
/* Kernel memory that bytes in flight and full queues can take, in bytes (skb truesize counted). */
lh_bytes lh_plan_memory_bytes(const struct lh_plan *plan);
/* Queue limit in packets of a link, as planned (for the manifest). */
uint32_t lh_plan_link_limit(const struct lh_plan *plan, unsigned from, unsigned to);

/* Called before each operation; a non-zero return stops as if the operation had failed with it. */
typedef int lh_net_progress_fn(void *ctx, size_t done, size_t total, const char *what);

/* Apply the plan. On failure what was done is undone; err names the user's object and carries the
 * kernel's errno and extended-ack text; LH_EXIT_MACHINE. The topology must outlive the net. */
int lh_net_up(const struct lh_topology *t, const struct lh_plan *plan, lh_net_progress_fn *progress, void *ctx,
	      struct lh_net **ret_net, struct lh_err *err);
/* Undo the journal in reverse; goes on past failures and reports the first. Frees net. */
int lh_net_down(struct lh_net *net, struct lh_err *err);

enum lh_verify_verdict { LH_VERIFY_SAME, LH_VERIFY_DIFFERENT, LH_VERIFY_UNVERIFIABLE };
struct lh_verify_field {
	char object[96];  /* "link us->eu qdisc netem", "peer eu-0 interface eth0" */
	char field[32];   /* "delay_ns", "loss_ppb", "gso" */
	char asked[48], got[48];
	enum lh_verify_verdict verdict;
};
typedef void lh_verify_fn(void *ctx, const struct lh_verify_field *field);
/* Read everything back through libmnl (and ethtool, /proc/sys) and compare field by field with what is
 * asked now. `each` (may be NULL) sees every field. Returns 0 when nothing differs, -EBADE with the first
 * differing field in err (LH_EXIT_MACHINE) otherwise. */
int lh_net_verify(struct lh_net *net, lh_verify_fn *each, void *ctx, struct lh_err *err);

/* Give a running link its complete new state, atomically (one replace message; no field keeps an old value).
 * -EINVAL for loss, reorder, duplicate or corrupt on a link that is in gso mode. */
int lh_net_set_link(struct lh_net *net, unsigned from, unsigned to, const struct lh_impairment *imp, struct lh_err *err);
/* Cut: nothing passes any more, what is in flight still arrives. Heal: the state last set. */
int lh_net_cut_link(struct lh_net *net, unsigned from, unsigned to, bool cut, struct lh_err *err);
/* Floors for set_link to compensate with; copied. Applied to every link at once (replaces all delays). */
int lh_net_set_floors(struct lh_net *net, const lh_ns *floor_ns, struct lh_err *err);

/* Kernels keep one counter of drops. The cause follows from what was in force when they happened; with a loss model and
 * a rate it is one of two. */
enum lh_drop_cause { LH_DROP_QUEUE, LH_DROP_LOSS, LH_DROP_LOSS_OR_QUEUE, LH_DROP_CUT, LH_DROP_CAUSES };

/* Counted since the network came up, across live changes. */
struct lh_link_counters {
	uint64_t packets, bytes;   /* left the link's qdisc (packets counts segments) */
	uint64_t drops;            /* of the qdisc: loss model and full queue together */
	uint64_t drops_by[LH_DROP_CAUSES]; /* the same, apart */
	uint64_t overlimits, requeues;
	uint64_t backlog_packets, backlog_bytes;
};
int lh_net_observe(struct lh_net *net, unsigned from, unsigned to, struct lh_link_counters *ret, struct lh_err *err);
/* Counters of a peer's own interface, bytes as the peer sent and received them. */
struct lh_peer_counters { uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes, tx_dropped, rx_dropped; };
int lh_net_observe_peer(struct lh_net *net, unsigned peer, struct lh_peer_counters *ret, struct lh_err *err);

/* Of a peer's established connections to or from this port, by NETLINK_SOCK_DIAG in its namespace. -ENOTSUP (the text
 * says so) where the kernel has no inet_diag. */
struct lh_tcp_counters {
	unsigned connections;
	uint64_t bytes_sent;       /* payload, with what was sent again */
	uint64_t retransmits;      /* segments */
};
int lh_net_observe_tcp(struct lh_net *net, unsigned peer, uint16_t port, struct lh_tcp_counters *ret, struct lh_err *err);

/* A peer's address as text, v4 or v6. Pure function of the topology. */
int lh_net_peer_address(const struct lh_topology *t, unsigned peer, bool ipv6, char *buf, size_t size);

#define LH_IFNAME_PEER "eth0" /* the one interface of every peer */

struct lh_spawn {
	char *const *argv;       /* argv[0] is the path */
	char *const *envp;       /* NULL: a short known environment */
	int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null, except stderr: inherited */
	const int *pass_fds;     /* further fds: become 3, 4, ... in the child */
	size_t npass_fds;
	const char *cwd;         /* NULL: inherited */
	bool own_sysfs;          /* /sys shows the peer's interfaces, where this kernel allows a mount; else it is the caller's */
};
/* Start a program inside the peer: its network and uts (hostname = peer's name) namespace, signal mask and
 * dispositions reset, no other fd open, killed when the caller dies. Returns the pid and a pidfd. */
int lh_net_spawn(struct lh_net *net, unsigned peer, const struct lh_spawn *spawn,
		 pid_t *ret_pid, int *ret_pidfd, struct lh_err *err);
/* fork() a child that runs fn(ctx) inside the peer's namespaces and exits with its return value (0 ... 255);
 * for probes, which need no other program. Passed fds stay as they are. */
int lh_net_fork(struct lh_net *net, unsigned peer, int (*fn)(void *ctx), void *ctx,
		pid_t *ret_pid, int *ret_pidfd, struct lh_err *err);

/* What the running kernel can do, found by really trying in a scratch namespace (call inside a cell). */
struct lh_caps {
	bool veth, tbf, netem, netem_seed, ipv6;
	bool tcp_cubic;
	char kernel_release[65];
	char netem_why[160]; /* the kernel's words where netem is false */
};
int lh_caps_probe(struct lh_caps *ret_caps, struct lh_err *err);

#ifdef __cplusplus
}
#endif
#endif
