/* How a connection becomes open: listen, connect, accept, greet, refuse. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hash.h"
#include "tcp_internal.h"

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t address_of(const struct lh_peer_endpoint *e, union address *ret)
{
	memset(ret, 0, sizeof *ret);
	if (inet_pton(AF_INET, e->host, &ret->in.sin_addr) == 1) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons(e->port);
		return sizeof ret->in;
	}
	inet_pton(AF_INET6, e->host, &ret->in6.sin6_addr); /* the configuration's reader has checked it */
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(e->port);
	return sizeof ret->in6;
}

/* What all peers must agree on; where they are and what is tested on them may differ. */
static uint64_t fingerprint(const struct lh_peer_config *c)
{
	struct lh_hash64_state h;
	const struct lh_sync_options *s = &c->sync;
	uint64_t numbers[] = {
		c->size, c->engine, c->parameters, c->wire, c->algorithm, c->target_batch, c->epochs, c->seed,
		c->codec.powersgd_rank, c->codec.error_feedback, s->strategy, s->optimizer, s->every, s->fragments,
		s->overlap, s->staleness, (uint64_t)s->match_floor_ns, c->streams, c->sockets, c->membership,
	};
	double reals[] = {
		c->learning_rate, c->codec.topk_fraction, s->outer_learning_rate, s->outer_momentum, s->blend,
	};
	lh_hash64_init(&h, LH_PEER_PROTOCOL);
	lh_hash64_update(&h, numbers, sizeof numbers);
	lh_hash64_update(&h, c->model, strlen(c->model));
	lh_hash64_update(&h, reals, sizeof reals);
	for (unsigned i = 0; i < c->size; i++) {
		uint32_t group[] = { c->peers[i].site, c->peers[i].share, c->peers[i].absent };
		lh_hash64_update(&h, &c->peers[i].samples_per_s, sizeof c->peers[i].samples_per_s);
		lh_hash64_update(&h, group, sizeof group);
	}
	return lh_hash64_final(&h);
}

static void set_options(struct tcp *t, int fd)
{
	int one = 1;
	lh_ns ms = t->c->deadline_ns / LH_NS_PER_MS;
	unsigned timeout = ms > INT32_MAX ? INT32_MAX : (unsigned)ms;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
}

/* ---- listening ---- */

static int open_listener(struct tcp *t, struct lh_err *err)
{
	const struct lh_peer_endpoint *self = &t->c->peers[t->c->rank];
	union address a;
	socklen_t len = address_of(self, &a);
	int one = 1;
	t->listen_fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (t->listen_fd >= 0)
		setsockopt(t->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	if (t->listen_fd < 0 || bind(t->listen_fd, &a.sa, len) || listen(t->listen_fd, 1024) ||
	    epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, t->listen_fd, &ev))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "peer %s: listen on %s port %u", self->name, self->host,
				  self->port);
	return 0;
}

int lh_tcp_listen(const struct lh_peer_config *config, struct lh_transport **ret, struct lh_err *err)
{
	struct tcp *t = calloc(1, sizeof *t);
	if (!t)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "transport");
	t->base.ops = &lh_tcp_ops;
	t->base.culprit = -1;
	t->c = config;
	t->listen_fd = -1;
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	t->conns = calloc(config->size, sizeof(struct tcp_conn *));
	t->hello = (struct lh_hello){ .rank = config->rank, .size = config->size, .fingerprint = fingerprint(config) };
	memcpy(t->hello.secret, config->secret, sizeof t->hello.secret);
	int rc = 0;
	if (!t->conns || t->epoll_fd < 0)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, t->conns ? -errno : -ENOMEM, "transport");
	if (!rc)
		rc = open_listener(t, err);
	if (rc) {
		t->base.ops->close(&t->base);
		return rc;
	}
	*ret = &t->base;
	return 0;
}

void lh_tcp_join(struct lh_transport *base)
{
	struct tcp *t = (struct tcp *)base;
	t->joining = t->c->size > 1;
	t->progress_ns = lh_clock_ns();
	t->timer_ns = 0;
	for (unsigned i = 0; i < t->c->rank; i++)
		if (!t->conns[i])
			t->conns[i] = tcp_conn_new(t, TCP_IDLE, -1, i); /* NULL: the timer tries again */
}

bool lh_tcp_joined(const struct lh_transport *base)
{
	const struct tcp *t = (const struct tcp *)base;
	return t->nopen == t->c->size - 1;
}

static void opened(struct tcp *t, struct tcp_conn *c)
{
	c->state = TCP_OPEN;
	t->nopen++;
	t->progress_ns = lh_clock_ns();
	if (t->nopen < t->c->size - 1)
		return;
	t->joining = false;
	/* Nobody else is awaited. Strangers are dropped by the timer, never amid a batch of events. */
	close(t->listen_fd);
	t->listen_fd = -1;
}

/* ---- connecting ---- */

/* Not there yet, or not any more: its process may be starting. The join deadline bounds the attempts. */
int tcp_retry(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = TCP_IDLE;
	c->retry_ns = lh_clock_ns() + LH_TCP_RETRY_NS;
	c->control_len = c->control_off = 0;
	c->broken = false;
	memset(&c->reader, 0, sizeof c->reader);
	return 0;
}

static int greet(struct tcp *t, struct tcp_conn *c, enum lh_frame_type type, struct lh_err *err)
{
	uint8_t payload[LH_HELLO_BYTES];
	lh_hello_print(&t->hello, payload);
	tcp_conn_queue(c, &(struct lh_frame){ .type = type, .length = LH_HELLO_BYTES }, payload);
	return tcp_conn_write(t, c, err);
}

int tcp_connected(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	int code = 0;
	socklen_t len = sizeof code;
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &code, &len) || code)
		return tcp_retry(t, c, err);
	c->state = TCP_GREETING;
	if (greet(t, c, LH_FRAME_HELLO, NULL)) {
		t->base.culprit = -1;
		return tcp_retry(t, c, err);
	}
	return 0;
}

static int start_connecting(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	union address a;
	socklen_t len = address_of(&t->c->peers[c->rank], &a);
	c->fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "peer %s: socket", t->c->peers[c->rank].name);
	set_options(t, c->fd);
	c->state = TCP_CONNECTING;
	if (connect(c->fd, &a.sa, len) && errno != EINPROGRESS)
		return tcp_retry(t, c, err);
	c->polls_out = false;
	return tcp_conn_poll(t, c, true, true);
}

/* ---- accepting ---- */

void tcp_forget_unknown(struct tcp *t, struct tcp_conn *c)
{
	for (struct tcp_conn **at = &t->unknown; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			t->nunknown--;
			break;
		}
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

void tcp_accept(struct tcp *t)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(t->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct tcp_conn *c = t->nunknown < LH_TCP_PENDING_MAX ? tcp_conn_new(t, TCP_ACCEPTED, fd, 0) : NULL;
		if (!c) {
			close(fd); /* a flood; a true peer comes again */
			continue;
		}
		set_options(t, fd);
		c->next = t->unknown;
		t->unknown = c;
		t->nunknown++;
		if (tcp_conn_poll(t, c, false, true))
			tcp_forget_unknown(t, c);
	}
}

void tcp_refuse(struct tcp *t, struct tcp_conn *c, const char *why)
{
	size_t len = strnlen(why, LH_FRAME_TEXT_MAX);
	c->control_len = c->control_off = 0;
	tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_REFUSE, .length = (uint32_t)len }, why);
	/* Best effort, at once: an empty send buffer takes 275 bytes or the connection is no good. */
	if (send(c->fd, c->control, c->control_len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		c->control_len = 0;
	c->control_len = 0;
	shutdown(c->fd, SHUT_WR);
	c->state = TCP_REFUSED;
	c->since_ns = lh_clock_ns();
}

/* A HELLO came in. */
static int admit(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct lh_hello h;
	struct lh_err why = LH_ERR_INIT;
	int rc = lh_hello_parse(c->small, c->reader.frame.length, &h, &why);
	if (!rc)
		rc = lh_hello_check(&h, &t->hello, &why);
	if (!rc && h.rank < t->c->rank)
		rc = lh_err_set(&why, LH_EXIT_BROKE, -EINVAL, "rank %u waits for connections of rank %u", h.rank,
				t->c->rank);
	if (!rc && t->conns[h.rank])
		rc = lh_err_set(&why, LH_EXIT_BROKE, -EEXIST, "rank %u is connected already", h.rank);
	if (rc) {
		tcp_refuse(t, c, why.text);
		return 0;
	}
	for (struct tcp_conn **at = &t->unknown; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			t->nunknown--;
			break;
		}
	c->next = NULL;
	c->rank = h.rank;
	t->conns[h.rank] = c;
	opened(t, c);
	return greet(t, c, LH_FRAME_WELCOME, err);
}

/* WELCOME or REFUSE came back. */
static int welcomed(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct lh_hello h;
	struct lh_err why = LH_ERR_INIT;
	char text[LH_FRAME_TEXT_MAX + 1];
	if (c->reader.frame.type == LH_FRAME_REFUSE) {
		lh_text_parse(c->small, c->reader.frame.length, text);
		return tcp_conn_fail(t, c, err, -ECONNREFUSED, "refused this peer: %s", text);
	}
	int rc = lh_hello_parse(c->small, c->reader.frame.length, &h, &why);
	if (!rc)
		rc = lh_hello_check(&h, &t->hello, &why);
	if (!rc && h.rank != c->rank)
		rc = lh_err_set(&why, LH_EXIT_BROKE, -EINVAL, "rank %u answers at the address of rank %u", h.rank,
				c->rank);
	if (rc)
		return tcp_conn_fail(t, c, err, rc, "%s", why.text);
	opened(t, c);
	return 0;
}

int tcp_join_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	enum lh_frame_type type = c->reader.frame.type;
	if (c->state == TCP_ACCEPTED && type == LH_FRAME_HELLO)
		return admit(t, c, err);
	if (c->state == TCP_GREETING && (type == LH_FRAME_WELCOME || type == LH_FRAME_REFUSE))
		return welcomed(t, c, err);
	if (c->state == TCP_LEFT)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of type %d before the greeting", (int)type);
}

/* ---- time ---- */

static int nobody_new(struct tcp *t, struct lh_err *err)
{
	unsigned missing = 0;
	while (missing == t->c->rank || (t->conns[missing] && t->conns[missing]->state >= TCP_OPEN))
		missing++;
	char limit[32];
	t->base.culprit = (int)missing;
	return lh_err_set(err, LH_EXIT_BROKE, -ETIMEDOUT, "peer %s: not reached at %s port %u within %s",
			  t->c->peers[missing].name, t->c->peers[missing].host, t->c->peers[missing].port,
			  lh_ns_print(t->c->deadline_ns, limit, sizeof limit));
}

int tcp_join_timer(struct tcp *t, lh_ns now_ns, struct lh_err *err)
{
	for (struct tcp_conn *c = t->unknown, *next; c; c = next) {
		next = c->next;
		lh_ns limit = c->state == TCP_REFUSED ? LH_TCP_REFUSED_NS : t->joining ? t->c->deadline_ns : 0;
		if (now_ns - c->since_ns > limit)
			tcp_forget_unknown(t, c);
	}
	if (!t->joining)
		return 0;
	if (now_ns - t->progress_ns > t->c->deadline_ns)
		return nobody_new(t, err);
	for (unsigned i = 0; i < t->c->rank; i++) {
		struct tcp_conn *c = t->conns[i];
		if (!c)
			c = t->conns[i] = tcp_conn_new(t, TCP_IDLE, -1, i);
		int rc = c && c->state == TCP_IDLE && c->retry_ns <= now_ns ? start_connecting(t, c, err) : 0;
		if (rc)
			return rc;
	}
	return 0;
}
