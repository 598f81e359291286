/* qdisc_size.c - from what is asked of a link to its queueing discipline: which kind, and how long its queue.
 * The formulas are in docs/MEASUREMENT.md, "Links and queues". */
#include "qdisc.h"

#include "dist.h"

enum {
	FRAME_BYTES = 1514,       /* a full packet as a qdisc counts it: MTU 1500 + Ethernet header */
	QUEUE_FLOOR_PACKETS = 16, /* of a computed queue, so that a burst of a small window fits */
	LIMIT_MAX = 1 << 24,
	TBF_BURST_FLOOR = 2 * FRAME_BYTES,
	TBF_BURST_PER_S = 2000,   /* the bucket holds 1/2000 s = 0.5 ms of the rate */
	TBF_QUEUE_FLOOR = 10 * FRAME_BYTES,
	SUPERPACKET_BYTES = 72 << 10, /* 64 KiB of payload and the headers that it will have as packets */
	TBF_WHOLE_PER_S = 250,    /* a bucket takes one whole where that is at most 1/250 s = 4 ms of the rate */
	TBF_MAX = 1 << 30,
	CLOSED_BPS = 1000000000,  /* of a cut link that had no qdisc: any rate, nothing gets in */
};

/* Does the link need anything that only netem does? A rate alone does not, unless it counts overhead. */
static bool wants_netem(const struct lh_impairment *imp)
{
	return imp->delay_ns || imp->jitter_ns || (imp->loss_model == LH_LOSS_RANDOM ? imp->loss_ppb != 0 :
	       imp->loss_model != LH_LOSS_NONE) || imp->reorder_ppb || imp->duplicate_ppb || imp->corrupt_ppb ||
	       imp->slot_max_ns || imp->slot_min_ns || (imp->rate_bps && imp->rate_overhead_bytes);
}

static uint64_t packets_of(lh_bytes bytes)
{
	return bytes / FRAME_BYTES + (bytes % FRAME_BYTES != 0);
}

/* The longest that a packet stays for the delay alone. */
static lh_ns longest_stay(const struct lh_impairment *imp)
{
	return imp->delay_ns + imp->jitter_ns * lh_dist_reach(imp->dist) +
	       (imp->slot_max_ns > imp->slot_min_ns ? imp->slot_max_ns : imp->slot_min_ns);
}

static lh_bytes queue_bdp_bytes(const struct lh_impairment *imp, lh_ns rtt_ns)
{
	unsigned milli = imp->queue_kind == LH_QUEUE_BDP ? imp->queue_bdp_milli : 1000;
	unsigned __int128 bytes = (unsigned __int128)lh_bdp_bytes(imp->rate_bps, rtt_ns) * milli / 1000;
	return bytes > UINT64_MAX ? UINT64_MAX : (lh_bytes)bytes;
}

static uint64_t queue_packets(const struct lh_impairment *imp, lh_ns rtt_ns)
{
	if (imp->queue_kind == LH_QUEUE_PACKETS)
		return imp->queue_packets ? imp->queue_packets : 1;
	uint64_t packets = packets_of(queue_bdp_bytes(imp, rtt_ns));
	return packets > QUEUE_FLOOR_PACKETS ? packets : QUEUE_FLOOR_PACKETS;
}

static uint32_t netem_limit(const struct lh_impairment *imp, lh_ns rtt_ns)
{
	if (!imp->rate_bps)
		return LH_LIMIT_FREE;
	uint64_t in_flight = packets_of(lh_bdp_bytes(imp->rate_bps, longest_stay(imp)));
	in_flight += (uint64_t)((unsigned __int128)in_flight * imp->duplicate_ppb / LH_PPB_ONE);
	uint64_t queue = queue_packets(imp, rtt_ns);
	/* Each is below 2^60, so the sum does not wrap. */
	return in_flight + queue > LIMIT_MAX ? LIMIT_MAX : (uint32_t)(in_flight + queue);
}

/* Everything that comes is lost. A mark instead of a drop, or a duplicate beside one, would get through. */
static void cut_netem(struct lh_impairment *imp)
{
	imp->loss_model = LH_LOSS_RANDOM;
	imp->loss_ppb = LH_PPB_ONE;
	imp->loss_corr_ppb = 0;
	imp->duplicate_ppb = imp->duplicate_corr_ppb = 0;
	imp->ecn = false;
}

void lh_qdisc_for_rate(lh_bps rate_bps, lh_bytes queue_bytes, struct lh_qdisc *ret)
{
	lh_bytes burst = rate_bps / 8 / TBF_BURST_PER_S;
	/* tbf cuts what is larger than the bucket into packets, and each hop would then cost 45 times the work. */
	if (burst < SUPERPACKET_BYTES && rate_bps / 8 / TBF_WHOLE_PER_S >= SUPERPACKET_BYTES)
		burst = SUPERPACKET_BYTES;
	burst = burst < TBF_BURST_FLOOR ? TBF_BURST_FLOOR : burst > TBF_MAX / 2 ? TBF_MAX / 2 : burst;
	/* At least two buckets, so that a superpacket as large as the bucket finds room behind another. */
	lh_bytes limit = queue_bytes < TBF_QUEUE_FLOOR ? TBF_QUEUE_FLOOR : queue_bytes;
	limit = limit < 2 * burst ? 2 * burst : limit > TBF_MAX ? TBF_MAX : limit;
	*ret = (struct lh_qdisc){
		.kind = LH_QDISC_TBF,
		.tbf = { rate_bps, (uint32_t)burst, (uint32_t)limit },
	};
}

void lh_qdisc_for_link(const struct lh_impairment *imp, lh_ns rtt_ns, enum lh_link_mode mode, bool cut,
		       struct lh_qdisc *ret)
{
	(void)mode; /* the limit counts queue slots in both; docs/MEASUREMENT.md says what that means in gso mode */
	if (wants_netem(imp)) {
		*ret = (struct lh_qdisc){ .kind = LH_QDISC_NETEM, .imp = *imp };
		ret->limit_packets = netem_limit(imp, rtt_ns);
		if (cut)
			cut_netem(&ret->imp);
		return;
	}
	if (imp->rate_bps) {
		lh_bytes queue = imp->queue_kind == LH_QUEUE_PACKETS ? (lh_bytes)imp->queue_packets * FRAME_BYTES :
				 queue_bdp_bytes(imp, rtt_ns);
		lh_qdisc_for_rate(imp->rate_bps, queue, ret);
	} else if (cut) {
		lh_qdisc_for_rate(CLOSED_BPS, 0, ret);
	} else {
		*ret = (struct lh_qdisc){ .kind = LH_QDISC_NONE };
	}
	/* A queue of 0 bytes takes nothing in; what it holds still leaves at the rate. */
	if (cut)
		ret->tbf.limit_bytes = 0;
}
