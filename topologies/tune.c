/* What follows from `sockets` and `streams`: windows for the paths as the file describes them.
 *
 * A stream carries window / RTT. So all streams of a pair together get a window of the path's rate times its RTT and a
 * half more, in buffers that the kernel grows as it needs them: half of a receive buffer is window before Linux 6.6,
 * and a send buffer holds what is in flight with its overhead and what is not sent yet. They begin wide open and stay so
 * in silence.
 */
#include <math.h>

#include "longhaul/experiment.h"

#define MIB (1024.0 * 1024)
#define WINDOW_MAX (32 * MIB)       /* of one stream: larger ones take more memory than more streams do */
#define WINDOW_MIN (1 * MIB)
#define BUFFER_PER_WINDOW 2.5
#define HEADROOM 1.5
#define STREAMS_AUTO_MAX 16
#define FIRST_WINDOW_MAX (8 * MIB)
#define MSS 1448.0
#define INITIAL_SEGMENTS 10         /* the kernel's own */
#define RATE_UNLIMITED 1.25e9       /* bytes/s of a path that nothing limits: about what one machine's veth carries */
#define PART_NS (5 * LH_NS_PER_MS)  /* a part takes its path at least so long, where that leaves it small enough */
#define SUPERPACKET_NS (2 * LH_NS_PER_MS)
#define TSO_SEGMENTS_MIN 2          /* the kernel's own */
#define TSO_SEGMENTS_MAX 44         /* what 64 KiB hold */
#define PART_MIN 65536.0
#define PART_MAX 524288.0
#define PART_CACHED 131072.0        /* where nothing limits the path but the machine: what its caches keep between steps */
#define PART_STEP 4096.0
#define PARTS_CACHED 524288.0       /* of a block under way between two peers: what more is, comes back from memory */
#define PARTS_MAX (1024 * MIB)

static double least(double rate, lh_bps limit)
{
	return limit && (double)limit / 8 < rate ? (double)limit / 8 : rate;
}

/* Bytes a second that one peer can send another, at most. */
static double path_rate(const struct lh_topology *t, unsigned from, unsigned to)
{
	const struct lh_peer *a = &t->peers[from], *b = &t->peers[to];
	double rate = least(least(INFINITY, a->nic_bps), b->nic_bps);
	rate = least(rate, lh_topology_link(t, a->site, b->site)->imp.rate_bps);
	if (a->site != b->site)
		rate = least(least(rate, t->sites[a->site].access.up_bps), t->sites[b->site].access.down_bps);
	return isinf(rate) ? RATE_UNLIMITED : rate;
}

static lh_ns path_rtt(const struct lh_topology *t, unsigned from, unsigned to)
{
	return lh_topology_link(t, t->peers[from].site, t->peers[to].site)->rtt_spec_ns;
}

/* Bytes in flight that fill the path between two peers. */
static double path_bytes(const struct lh_topology *t, unsigned from, unsigned to)
{
	return path_rate(t, from, to) * (double)path_rtt(t, from, to) / 1e9 * HEADROOM;
}

/* The most that this peer needs to have in flight to or from any other. */
static double peer_bytes(const struct lh_topology *t, unsigned peer)
{
	double most = 0;
	for (unsigned i = 0; i < t->npeers; i++)
		if (i != peer)
			most = fmax(most, fmax(path_bytes(t, peer, i), path_bytes(t, i, peer)));
	return most;
}

/* Where all peers talk to each other at once, a stream's part of what its path holds. A window that opens from ten
 * segments needs many round trips for it, and by some segments a second once CUBIC has stopped doubling. */
static uint32_t first_window(const struct lh_topology *t, double window)
{
	double bytes = fmin(window / HEADROOM / (t->npeers > 2 ? t->npeers - 1 : 1), FIRST_WINDOW_MAX);
	return (uint32_t)fmax(ceil(bytes / MSS), INITIAL_SEGMENTS);
}

/* A paced stream sends what a millisecond has room for at a time: few segments where many peers share a card, and each
 * costs as much of the machine's time as a large one. As much as the whole path carries in SUPERPACKET_NS delays nobody. */
static uint32_t tso_segments(const struct lh_topology *t, unsigned peer)
{
	double least_rate = INFINITY;
	for (unsigned i = 0; i < t->npeers; i++)
		if (i != peer)
			least_rate = fmin(least_rate, path_rate(t, peer, i));
	double segments = floor(least_rate * SUPERPACKET_NS / 1e9 / MSS);
	return (uint32_t)fmin(fmax(segments, TSO_SEGMENTS_MIN), TSO_SEGMENTS_MAX);
}

/* What one stream between two peers may have in flight, by the settings as they are. */
static double stream_window(const struct lh_topology *t, unsigned from, unsigned to)
{
	return fmin(t->peers[to].tcp.rmem[2] / 2.0, t->peers[from].tcp.wmem[2]);
}

uint32_t lh_experiment_streams(const struct lh_experiment *exp)
{
	const struct lh_topology *t = &exp->topology;
	double most = 1;
	if (exp->training.streams)
		return exp->training.streams;
	for (unsigned i = 0; i < t->npeers; i++)
		for (unsigned k = 0; k < t->npeers; k++)
			if (i != k)
				most = fmax(most, path_bytes(t, i, k) / HEADROOM / stream_window(t, i, k));
	return (uint32_t)fmin(ceil(most), STREAMS_AUTO_MAX);
}

uint32_t lh_experiment_part_bytes(const struct lh_experiment *exp)
{
	const struct lh_topology *t = &exp->topology;
	double part = PART_MAX;
	if (exp->training.sockets != LH_SOCKETS_TUNED)
		return (uint32_t)PART_MAX;
	double streams = lh_experiment_streams(exp);
	for (unsigned i = 0; i < t->npeers; i++)
		for (unsigned k = 0; k < t->npeers; k++)
			if (i != k) {
				double ns = fmax((double)path_rtt(t, i, k), (double)PART_NS * lh_experiment_scale(exp));
				part = fmin(part, path_rate(t, i, k) * ns / 1e9 / streams);
				if (path_rate(t, i, k) >= RATE_UNLIMITED)
					part = fmin(part, PART_CACHED);
			}
	return (uint32_t)(floor(fmax(part, PART_MIN) / PART_STEP) * PART_STEP);
}

/* A part goes up a tree and its result comes down: at most so many paths as there are peers there and as many back. */
uint32_t lh_experiment_window_bytes(const struct lh_experiment *exp)
{
	const struct lh_topology *t = &exp->topology;
	double rate = 0, rtt_s = 0;
	if (exp->training.sockets != LH_SOCKETS_TUNED)
		return 0;
	for (unsigned i = 0; i < t->npeers; i++)
		for (unsigned k = 0; k < t->npeers; k++)
			if (i != k) {
				rate = fmax(rate, path_rate(t, i, k));
				rtt_s = fmax(rtt_s, (double)path_rtt(t, i, k) / 1e9);
			}
	return (uint32_t)fmin(PARTS_CACHED + t->npeers * rtt_s * rate, PARTS_MAX);
}

static uint32_t buffer(double window, uint32_t now)
{
	double bytes = fmin(fmax(window, WINDOW_MIN), WINDOW_MAX) * BUFFER_PER_WINDOW;
	return bytes > now ? (uint32_t)bytes : now;
}

void lh_experiment_tune(struct lh_experiment *exp)
{
	static const struct lh_tcp standard = LH_TCP_DEFAULT;
	struct lh_topology *t = &exp->topology;
	if (!exp->training.given || exp->training.sockets != LH_SOCKETS_TUNED)
		return;
	double streams = exp->training.streams ? exp->training.streams : 1;
	for (unsigned i = 0; i < t->npeers; i++) {
		struct lh_tcp *tcp = &t->peers[i].tcp;
		double window = peer_bytes(t, i) / streams;
		tcp->rmem[2] = buffer(window, standard.rmem[2]);
		tcp->wmem[2] = buffer(window, standard.wmem[2]);
		tcp->rmem[1] = tcp->rmem[2]; /* or it would open as slowly as the other side's window */
		tcp->slow_start_after_idle = false;
		tcp->initcwnd = first_window(t, window);
		tcp->tso_segments = tso_segments(t, i);
	}
}
