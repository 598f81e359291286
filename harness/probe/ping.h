/* ping.h - ICMP echo from inside peers: many pairs at once, never two packets of ours at the same moment.
 *
 * One forked child per sending peer; children share a timetable (slot i of S belongs to one pair), so that pairs
 * measured together do not queue behind each other. Used by the floors, the RTT gate and the background probe.
 */
#ifndef HARNESS_PROBE_PING_H
#define HARNESS_PROBE_PING_H

#include "longhaul/network.h"

/* Bytes of one echo on the wire, for the time that a rate takes to send it. */
#define LH_PING_PAYLOAD 16
#define LH_PING_FRAME_BYTES(ipv6) (14 + ((ipv6) ? 40 : 20) + 8 + LH_PING_PAYLOAD)

struct lh_ping_pair {
	unsigned from, to;  /* peers; pairs with the same `from` must be neighbours in the array */
	lh_ns *rtt_ns;      /* out, [count]: -1 where no answer came */
};

struct lh_ping_plan {
	unsigned count;     /* echoes of each pair */
	lh_ns spacing_ns;   /* between any two echoes of all pairs */
	lh_ns wait_ns;      /* for the last answer */
};

/* -EINTR (LH_EXIT_BROKE) when a blocked SIGINT, SIGTERM or SIGHUP is pending. */
int lh_ping_run(struct lh_net *net, const struct lh_topology *t, const struct lh_ping_plan *plan,
		struct lh_ping_pair *pairs, size_t npairs, struct lh_err *err);

/* The socket part, also for the background probe. */
struct lh_ping_socket { int fd; bool ipv6; uint64_t cookie; };
int lh_ping_open(struct lh_ping_socket *s, bool ipv6);
int lh_ping_send(const struct lh_ping_socket *s, const char *address, uint32_t target, uint32_t seq);
/* One answer to us: 1, none waiting: 0, else -errno. */
int lh_ping_receive(const struct lh_ping_socket *s, uint32_t *ret_target, uint32_t *ret_seq);

/* Is a signal pending that wants the command to end? Returns it, or 0. */
int lh_probe_interrupted(void);
/* Wait for children by pidfd; on a deadline, a signal or a failing child the rest is killed and reaped.
 * err names nothing: the caller wraps. */
int lh_probe_wait(pid_t *pids, int *pidfds, size_t n, lh_ns deadline_ns, struct lh_err *err);

#endif
