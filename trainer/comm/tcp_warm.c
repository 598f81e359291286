/* tcp_warm.c - receive windows that are open before the first exchange.
 *
 * A kernel offers 64 KiB to a new connection, whatever its buffers are, and opens that by twice what arrives. So each
 * exchange's first use of a stream would wait a round trip for the other side's window, and with several streams that
 * take turns many exchanges in a row would. `tuned` streams therefore begin with bytes that mean nothing, half as many as
 * the window shall be: what is in flight when the pair sends as fast as it is paced, and no more than it carries of a
 * vector. The other side throws them away and says when the last have come; then the pair has joined.
 */
#include <errno.h>

#include "tcp_internal.h"

enum { FRAME_BYTES = 64 * 1024 };
#define HEADROOM 1.5           /* as topologies/tune.c: a window is so many times what is in flight */
#define GROWTH 2               /* what a window opens by for each byte that arrives */

static uint8_t nothing[FRAME_BYTES];

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* What one stream sends at the join. At least a byte: its end is what the other side waits for. */
static uint32_t stream_bytes(const struct tcp *t, const struct tcp_pair *p, unsigned streams)
{
	double carried = t->carries[p->rank] * (double)t->c->vector_bytes, window = carried;
	double part = t->c->part_bytes ? t->c->part_bytes : LH_PEER_PART_MAX;
	if (t->c->pace_byte_per_s)
		window = least(window, t->carries[p->rank] * (double)t->c->pace_byte_per_s * (double)p->rtt_ns / 1e9 * HEADROOM);
	/* Of several streams, one may be given so much more than its share, and of a small vector all. */
	if (streams > 1)
		window = least(carried, window / streams + LH_TCP_UNSENT_BYTES + part);
	return (uint32_t)least(window / GROWTH, LH_TCP_WARM_MAX) + 1;
}

void tcp_warm_pair(struct tcp *t, struct tcp_pair *p)
{
	unsigned first = t->elastic ? 1 : 0; /* that one is the members' and stays small */
	if (!t->carries || !t->c->vector_bytes)
		return;
	uint32_t bytes = stream_bytes(t, p, p->nstreams - first);
	for (unsigned k = first; k < p->nstreams; k++) {
		p->conns[k]->warm_left = bytes;
		p->cold++;
	}
}

bool tcp_warm_next(struct tcp_conn *c)
{
	uint32_t now = c->warm_left < FRAME_BYTES ? c->warm_left : FRAME_BYTES;
	if (!now)
		return false;
	c->warm_left -= now;
	c->out_frame = (struct lh_frame){ .type = LH_FRAME_WARM, .part = c->warm_left, .length = now };
	c->out_payload = nothing;
	c->out_bulk = true; /* not the user's */
	return true;
}

static int out_of_place(struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "bytes without meaning out of place");
}

/* They came. When all have, the other side hears of it, and behind the acknowledgement that opens its window. */
static int came(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	const struct lh_frame *f = &c->reader.frame;
	if (c->warm || f->part > LH_TCP_WARM_MAX)
		return out_of_place(err);
	c->warm = !f->part;
	if (!c->warm)
		return 0;
	tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_WARMED }, NULL);
	return tcp_conn_write(t, c, err);
}

int tcp_warm_came(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	bool were = c->warm && c->warmed;
	int rc = 0;
	if (!c->pair->cold)
		return out_of_place(err);
	t->progress_ns = t->now_ns;
	if (c->reader.frame.type == LH_FRAME_WARM)
		rc = came(t, c, err);
	else if (c->warmed || c->warm_left)
		return out_of_place(err);
	else
		c->warmed = true;
	if (!rc && !were && c->warm && c->warmed) {
		c->pair->cold--;
		tcp_join_look(t);
	}
	return rc;
}
