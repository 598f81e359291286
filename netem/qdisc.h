/* qdisc.h - queueing disciplines as plain data, and their two independent codecs.
 *
 * Pure values -> netlink message with libnl (fill), netlink message -> values with libmnl (parse), and
 * asked-against-got field by field (compare): an encoding mistake in one library is seen by the other, without
 * a kernel in the golden tests and with one when a network is verified. One file per kind: qdisc_netem.c,
 * qdisc_tbf.c; the table of kinds is in qdisc.c.
 */
#ifndef NETEM_QDISC_H
#define NETEM_QDISC_H

#include <stdio.h>

#include "longhaul/network.h"

struct nl_msg;
struct nlattr;

/* Room that lh_qdisc_fill() needs in a message (a delay table is 8 KiB); nlmsg_alloc_size() with this. */
#define LH_QDISC_MSG_BYTES 16384

/* Limit of a netem without a rate, in packets: never binds, see docs/MEASUREMENT.md. */
#define LH_LIMIT_FREE 262144

enum lh_qdisc_kind { LH_QDISC_NONE, LH_QDISC_NETEM, LH_QDISC_TBF };

struct lh_tbf {
	lh_bps rate_bps;
	uint32_t burst_bytes, limit_bytes;
};

/* A root qdisc. For netem the impairment is complete (every field is sent, zero where unused) and
 * limit_packets is what the kernel holds in flight plus queue. */
struct lh_qdisc {
	enum lh_qdisc_kind kind;
	uint32_t limit_packets;        /* netem */
	struct lh_impairment imp;      /* netem; order-preserving jitter is made by the fill (it sets a rate) */
	struct lh_tbf tbf;
};

/* From one link's impairment and the RTT of its path to its qdisc (pure): nothing asked gives LH_QDISC_NONE, a
 * rate alone LH_QDISC_TBF, all else LH_QDISC_NETEM. Queue limit: in flight (rate x longest delay) + queue; see
 * docs/MEASUREMENT.md. `cut`: loses everything that comes, lets go what it holds, also where there is no netem. */
void lh_qdisc_for_link(const struct lh_impairment *imp, lh_ns rtt_ns, enum lh_link_mode mode, bool cut,
		       struct lh_qdisc *ret);
/* A plain bottleneck (NIC limit, access link): rate and queue only. tbf where netem is not wanted. */
void lh_qdisc_for_rate(lh_bps rate_bps, lh_bytes queue_bytes, struct lh_qdisc *ret);

/* Append TCA_KIND and TCA_OPTIONS to an RTM_NEWQDISC message. -EMSGSIZE when it does not fit. */
int lh_qdisc_fill(struct nl_msg *msg, const struct lh_qdisc *q, struct lh_err *err);

/* What a dump said. has_* / known: a field that this kernel does not return stays unknown. */
struct lh_qdisc_seen {
	char kind[16];
	uint32_t handle, parent;
	int ifindex;
	struct lh_qdisc q;
	bool seed_known, dist_known; /* dist: never (the kernel does not dump delay tables) */
	uint32_t tbf_buffer_ticks;   /* tbf: the bucket as the kernel returns it, 64 ns each */
	struct lh_link_counters counters;
	bool has_counters;
};
/* `nlh` is a struct nlmsghdr of RTM_NEWQDISC (libmnl side). */
int lh_qdisc_parse(const void *nlh, struct lh_qdisc_seen *ret, struct lh_err *err);

/* One call of `each` per field of the kind, in the plan's units, with the kernel's rounding known (loss is a
 * 32-bit fraction, delays are kept in ns, rates in bytes per second). Returns the number of differences. */
int lh_qdisc_compare(const char *object, const struct lh_qdisc *asked, const struct lh_qdisc_seen *got,
		     lh_verify_fn *each, void *ctx);

/* The arguments that follow `tc qdisc replace dev X root` ("netem limit 5000 delay 50ms ..."). */
void lh_qdisc_print_tc(const struct lh_qdisc *q, FILE *out);

#endif
