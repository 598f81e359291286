#include "loopback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

struct message {
	struct message *next;
	struct lh_frame frame;
	uint8_t payload[];
};

struct pipe_end { /* one direction of a pair */
	struct message *head, **tail;
	unsigned count;
	bool woken;
};

struct endpoint {
	struct lh_transport t;
	struct lh_loopback *hub;
	unsigned rank;
};

struct lh_loopback {
	unsigned npeers, depth;
	uint64_t seed, draws;
	struct endpoint *ends;  /* [npeers] */
	struct pipe_end *pipes; /* [from * npeers + to] */
};

static struct endpoint *endpoint_of(struct lh_transport *t)
{
	return (struct endpoint *)t;
}

static struct pipe_end *pipe_of(struct lh_loopback *l, unsigned from, unsigned to)
{
	return &l->pipes[(size_t)from * l->npeers + to];
}

static unsigned draw(struct lh_loopback *l, unsigned below)
{
	return (unsigned)(lh_mix64(l->seed + ++l->draws * LH_MIX64_STEP) % below);
}

/* Deliver one waiting frame, of a peer drawn at random. */
static int deliver(struct endpoint *e, struct lh_err *err)
{
	struct lh_loopback *l = e->hub;
	unsigned start = draw(l, l->npeers);
	for (unsigned i = 0; i < l->npeers; i++) {
		unsigned from = (start + i) % l->npeers;
		struct pipe_end *p = pipe_of(l, from, e->rank);
		struct message *m = p->head;
		if (!m)
			continue;
		p->head = m->next;
		if (!p->head)
			p->tail = &p->head;
		p->count--;
		void *buffer = NULL;
		int rc = e->t.user->receive_begin(e->t.user_ctx, from, &m->frame, &buffer, err);
		if (!rc) {
			memcpy(buffer, m->payload, m->frame.length);
			rc = e->t.user->receive_end(e->t.user_ctx, from, &m->frame, buffer, err);
		}
		e->t.bytes_received += LH_FRAME_HEADER + m->frame.length;
		free(m);
		if (rc)
			e->t.culprit = (int)from;
		return rc;
	}
	return 0;
}

/* Take frames for one peer until there are none or the pipe is full. */
static int collect(struct endpoint *e, unsigned to, struct lh_err *err)
{
	struct pipe_end *p = pipe_of(e->hub, e->rank, to);
	while (p->woken && p->count < e->hub->depth) {
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
		m->next = NULL;
		m->frame = f;
		memcpy(m->payload, payload, f.length);
		*p->tail = m;
		p->tail = &m->next;
		p->count++;
		e->t.bytes_sent += LH_FRAME_HEADER + f.length;
		e->t.user->sent(e->t.user_ctx, to, &f);
	}
	return 0;
}

static int progress(struct lh_transport *t, struct lh_err *err)
{
	struct endpoint *e = endpoint_of(t);
	int rc = deliver(e, err);
	unsigned start = draw(e->hub, e->hub->npeers);
	for (unsigned i = 0; !rc && i < e->hub->npeers; i++)
		rc = collect(e, (start + i) % e->hub->npeers, err);
	return rc;
}

static void wake(struct lh_transport *t, unsigned peer)
{
	pipe_of(endpoint_of(t)->hub, endpoint_of(t)->rank, peer)->woken = true;
}

static void expect(struct lh_transport *t, unsigned peer, bool on) { }
static int no_fd(const struct lh_transport *t) { return -1; }
static lh_ns no_timer(const struct lh_transport *t) { return INT64_MAX; }
static void leave(struct lh_transport *t, uint32_t epoch) { }
static bool left(const struct lh_transport *t) { return true; }
static void abort_all(struct lh_transport *t, int culprit, const char *reason) { }
static void close_end(struct lh_transport *t) { }

static const struct lh_transport_ops ops = {
	.progress = progress, .wake = wake, .expect = expect, .fd = no_fd, .timer = no_timer, .leave = leave,
	.left = left, .abort = abort_all, .close = close_end,
};

int lh_loopback_new(unsigned npeers, unsigned depth, uint64_t seed, struct lh_loopback **ret, struct lh_err *err)
{
	struct lh_loopback *l = calloc(1, sizeof *l);
	if (l) {
		*l = (struct lh_loopback){ .npeers = npeers, .depth = depth, .seed = seed };
		l->ends = calloc(npeers, sizeof *l->ends);
		l->pipes = calloc((size_t)npeers * npeers, sizeof *l->pipes);
	}
	if (!l || !l->ends || !l->pipes) {
		lh_loopback_free(l);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "loopback");
	}
	for (unsigned i = 0; i < npeers; i++)
		l->ends[i] = (struct endpoint){ .t = { .ops = &ops, .culprit = -1 }, .hub = l, .rank = i };
	for (size_t i = 0; i < (size_t)npeers * npeers; i++)
		l->pipes[i].tail = &l->pipes[i].head;
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
	for (size_t i = 0; l->pipes && i < (size_t)l->npeers * l->npeers; i++)
		while (l->pipes[i].head) {
			struct message *m = l->pipes[i].head;
			l->pipes[i].head = m->next;
			free(m);
		}
	free(l->pipes);
	free(l->ends);
	free(l);
}
