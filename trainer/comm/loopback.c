#include "loopback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

struct message {
	struct message *next;
	struct lh_frame frame;
	const void *payload; /* the sender's, until it is sent */
	void *buffer;        /* the receiver's, since it began */
	bool sent, begun;
	uint8_t bytes[];
};

struct stream { /* of one direction of a pair */
	struct message *head, **tail;
};

struct pair { /* one direction */
	unsigned count;
	bool woken;
};

struct endpoint {
	struct lh_transport t;
	struct lh_loopback *hub;
	unsigned rank;
};

struct lh_loopback {
	unsigned npeers, depth, nstreams;
	uint64_t seed, draws;
	struct endpoint *ends;  /* [npeers] */
	struct pair *pairs;     /* [from * npeers + to] */
	struct stream *streams; /* [(from * npeers + to) * nstreams + stream] */
};

static struct endpoint *endpoint_of(struct lh_transport *t)
{
	return (struct endpoint *)t;
}

static struct pair *pair_of(struct lh_loopback *l, unsigned from, unsigned to)
{
	return &l->pairs[(size_t)from * l->npeers + to];
}

static struct stream *stream_of(struct lh_loopback *l, unsigned from, unsigned to, unsigned stream)
{
	return &l->streams[((size_t)from * l->npeers + to) * l->nstreams + stream];
}

static unsigned draw(struct lh_loopback *l, unsigned below)
{
	return (unsigned)(lh_mix64(l->seed + ++l->draws * LH_MIX64_STEP) % below);
}

static void pop(struct lh_loopback *l, unsigned from, unsigned to, struct stream *s)
{
	struct message *m = s->head;
	s->head = m->next;
	if (!s->head)
		s->tail = &s->head;
	pair_of(l, from, to)->count--;
	free(m);
}

/* The first frame of a stream arrives, or, where there are several streams, begins to. */
static int arrive(struct endpoint *e, unsigned from, struct stream *s, struct lh_err *err)
{
	struct message *m = s->head;
	int rc = 0;
	if (!m->begun) {
		m->begun = true;
		rc = e->t.user->receive_begin(e->t.user_ctx, from, &m->frame, &m->buffer, err);
		if (!rc && e->hub->nstreams > 1 && draw(e->hub, 2))
			return 0;
	}
	if (!rc) {
		memcpy(m->buffer, m->bytes, m->frame.length);
		rc = e->t.user->receive_end(e->t.user_ctx, from, &m->frame, m->buffer, err);
	}
	e->t.bytes_received += LH_FRAME_HEADER + m->frame.length;
	pop(e->hub, from, e->rank, s);
	if (rc)
		e->t.culprit = (int)from;
	return rc;
}

/* Something of one waiting frame, of a peer and stream drawn at random. */
static int deliver(struct endpoint *e, struct lh_err *err)
{
	struct lh_loopback *l = e->hub;
	unsigned all = l->npeers * l->nstreams, start = draw(l, all);
	for (unsigned i = 0; i < all; i++) {
		unsigned at = (start + i) % all, from = at / l->nstreams;
		struct stream *s = stream_of(l, from, e->rank, at % l->nstreams);
		if (s->head && s->head->sent)
			return arrive(e, from, s, err);
	}
	return 0;
}

/* The first frame of a stream that is not sent yet is. */
static void transmit(struct endpoint *e, unsigned to, unsigned stream)
{
	struct message *m = stream_of(e->hub, e->rank, to, stream)->head;
	while (m && m->sent)
		m = m->next;
	if (!m)
		return;
	memcpy(m->bytes, m->payload, m->frame.length);
	m->sent = true;
	e->t.bytes_sent += LH_FRAME_HEADER + m->frame.length;
	e->t.user->sent(e->t.user_ctx, to, &m->frame, m->payload);
}

/* Take frames for one peer until there are none or the pair is full. */
static int collect(struct endpoint *e, unsigned to, struct lh_err *err)
{
	struct lh_loopback *l = e->hub;
	struct pair *p = pair_of(l, e->rank, to);
	while (p->woken && p->count < l->depth) {
		struct lh_frame f;
		const void *payload;
		int rc = e->t.user->send_next(e->t.user_ctx, to, &f, &payload, err);
		if (rc <= 0) {
			p->woken = false;
			return rc;
		}
		struct message *m = malloc(sizeof *m + f.length);
		if (!m)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "loopback");
		unsigned stream = draw(l, l->nstreams);
		struct stream *s = stream_of(l, e->rank, to, stream);
		*m = (struct message){ .frame = f, .payload = payload };
		*s->tail = m;
		s->tail = &m->next;
		p->count++;
		if (l->nstreams == 1)
			transmit(e, to, stream);
	}
	return 0;
}

static int progress(struct lh_transport *t, struct lh_err *err)
{
	struct endpoint *e = endpoint_of(t);
	struct lh_loopback *l = e->hub;
	int rc = deliver(e, err);
	unsigned start = draw(l, l->npeers), all = l->npeers * l->nstreams;
	for (unsigned i = 0; !rc && i < l->npeers; i++)
		rc = collect(e, (start + i) % l->npeers, err);
	start = draw(l, all);
	for (unsigned i = 0; !rc && l->nstreams > 1 && i < all; i++)
		if (draw(l, 2))
			transmit(e, (start + i) % all / l->nstreams, (start + i) % l->nstreams);
	return rc;
}

static void wake(struct lh_transport *t, unsigned peer)
{
	pair_of(endpoint_of(t)->hub, endpoint_of(t)->rank, peer)->woken = true;
}

static void expect(struct lh_transport *t, unsigned peer, bool on) { }
static int no_fd(const struct lh_transport *t) { return -1; }
static lh_ns no_timer(const struct lh_transport *t) { return INT64_MAX; }
static void leave(struct lh_transport *t, uint32_t exchange) { }
static bool left(const struct lh_transport *t) { return true; }
static void abort_all(struct lh_transport *t, int culprit, const char *reason) { }
static void close_end(struct lh_transport *t) { }

static const struct lh_transport_ops ops = {
	.progress = progress, .wake = wake, .expect = expect, .fd = no_fd, .timer = no_timer, .leave = leave,
	.left = left, .abort = abort_all, .close = close_end,
};

static void free_streams(struct lh_loopback *l)
{
	for (size_t i = 0; l->streams && i < (size_t)l->npeers * l->npeers * l->nstreams; i++)
		while (l->streams[i].head) {
			struct message *m = l->streams[i].head;
			l->streams[i].head = m->next;
			free(m);
		}
	free(l->streams);
	l->streams = NULL;
}

int lh_loopback_streams(struct lh_loopback *l, unsigned streams, struct lh_err *err)
{
	size_t n = (size_t)l->npeers * l->npeers * streams;
	free_streams(l);
	l->nstreams = streams;
	l->streams = calloc(n, sizeof *l->streams);
	if (!l->streams)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "loopback");
	for (size_t i = 0; i < n; i++)
		l->streams[i].tail = &l->streams[i].head;
	return 0;
}

int lh_loopback_new(unsigned npeers, unsigned depth, uint64_t seed, struct lh_loopback **ret, struct lh_err *err)
{
	struct lh_loopback *l = calloc(1, sizeof *l);
	int rc = 0;
	if (l) {
		*l = (struct lh_loopback){ .npeers = npeers, .depth = depth, .seed = seed };
		l->ends = calloc(npeers, sizeof *l->ends);
		l->pairs = calloc((size_t)npeers * npeers, sizeof *l->pairs);
	}
	if (!l || !l->ends || !l->pairs)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "loopback");
	if (!rc)
		rc = lh_loopback_streams(l, 1, err);
	if (rc) {
		lh_loopback_free(l);
		return rc;
	}
	for (unsigned i = 0; i < npeers; i++)
		l->ends[i] = (struct endpoint){ .t = { .ops = &ops, .culprit = -1 }, .hub = l, .rank = i };
	*ret = l;
	return 0;
}

struct lh_transport *lh_loopback_endpoint(struct lh_loopback *l, unsigned rank)
{
	return &l->ends[rank].t;
}

void lh_loopback_free(struct lh_loopback *l)
{
	if (!l)
		return;
	free_streams(l);
	free(l->pairs);
	free(l->ends);
	free(l);
}
