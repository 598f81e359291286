#include "tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tcp_internal.h"

enum { EVENTS = 64, ABORT_MS = 200 };

static struct tcp *tcp_of(struct lh_transport *t)
{
	return (struct tcp *)t;
}

/* ---- connections ---- */

struct tcp_conn *tcp_conn_new(struct tcp *t, enum tcp_state state, int fd, unsigned rank)
{
	struct tcp_conn *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->state = state;
	c->fd = fd;
	c->rank = rank;
	c->since_ns = c->last_rx_ns = c->last_tx_ns = lh_clock_ns();
	return c;
}

void tcp_conn_hang_up(struct tcp *t, struct tcp_conn *c)
{
	if (c->state == TCP_OPEN || c->state == TCP_LEFT)
		t->nopen--;
	if (c->fd >= 0)
		close(c->fd); /* leaves the epoll by itself: the descriptor is nowhere else */
	c->fd = -1;
	c->state = TCP_GONE;
}

int tcp_conn_poll(struct tcp *t, struct tcp_conn *c, bool out, bool add)
{
	struct epoll_event ev = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };
	if (!add && c->polls_out == out)
		return 0;
	c->polls_out = out;
	return epoll_ctl(t->epoll_fd, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &ev) ? -errno : 0;
}

/* The connection of a peer that we need is no good any more: name the peer. */
int tcp_conn_fail(struct tcp *t, struct tcp_conn *c, struct lh_err *err, int code, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	t->base.culprit = (int)c->rank;
	return lh_err_set(err, LH_EXIT_BROKE, code, "peer %s: %s", t->c->peers[c->rank].name, text);
}

/* ---- sending ---- */

/* False when there is no room: then so much is unsent that one more frame of ours says nothing new. */
bool tcp_conn_queue(struct tcp_conn *c, const struct lh_frame *f, const void *payload)
{
	if (c->control_len + LH_FRAME_HEADER + f->length > sizeof c->control)
		return false;
	lh_frame_print(f, c->control + c->control_len);
	if (payload)
		memcpy(c->control + c->control_len + LH_FRAME_HEADER, payload, f->length);
	c->control_len += LH_FRAME_HEADER + f->length;
	return true;
}

/* Bytes that left, 0 for "not now", or a negative errno. */
static ssize_t transmit(struct tcp *t, struct tcp_conn *c, struct iovec *iov, size_t niov)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = niov };
	enum lh_span_kind was = lh_trace_enter(t->base.trace, LH_SPAN_SEND);
	ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	lh_trace_enter(t->base.trace, was);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
	c->last_tx_ns = lh_clock_ns();
	t->base.bytes_sent += (uint64_t)n;
	return n;
}

static ssize_t write_control(struct tcp *t, struct tcp_conn *c)
{
	struct iovec iov = { c->control + c->control_off, c->control_len - c->control_off };
	ssize_t n = transmit(t, c, &iov, 1);
	if (n > 0)
		c->control_off += (size_t)n;
	if (c->control_off == c->control_len)
		c->control_off = c->control_len = 0;
	return n;
}

static ssize_t write_frame(struct tcp *t, struct tcp_conn *c)
{
	size_t total = LH_FRAME_HEADER + c->out_frame.length, off = c->out_off;
	struct iovec iov[2];
	size_t niov = 0;
	if (off < LH_FRAME_HEADER)
		iov[niov++] = (struct iovec){ c->out_header + off, LH_FRAME_HEADER - off };
	size_t at = off > LH_FRAME_HEADER ? off - LH_FRAME_HEADER : 0;
	if (at < c->out_frame.length)
		iov[niov++] = (struct iovec){ (void *)(uintptr_t)(c->out_payload + at), c->out_frame.length - at };
	ssize_t n = transmit(t, c, iov, niov);
	if (n > 0)
		c->out_off += (size_t)n;
	if (c->out_off == total) {
		c->out_active = false;
		t->base.user->sent(t->base.user_ctx, c->rank, &c->out_frame, c->out_payload);
	}
	return n;
}

/* 1: there is something to send; 0: nothing. */
static int prepare(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	if (c->broken)
		return c->woken = false;
	if (c->out_active || c->control_len)
		return 1;
	if (!c->woken || c->state != TCP_OPEN || t->quiet || !t->base.user)
		return c->woken = false; /* or the timer would ask for it at once, for ever */
	const void *payload;
	int rc = t->base.user->send_next(t->base.user_ctx, c->rank, &c->out_frame, &payload, err);
	if (rc <= 0) {
		c->woken = false;
		return rc;
	}
	c->out_active = true;
	c->out_off = 0;
	c->out_payload = payload;
	lh_frame_print(&c->out_frame, c->out_header);
	return 1;
}

/* Nothing can be sent any more, but what the other side said last may still be there to read, and it may name
 * somebody else. The hang-up wakes the reading side, which tells the end of it. */
static int lost(struct tcp *t, struct tcp_conn *c)
{
	c->broken = true;
	c->out_active = false;
	c->control_len = c->control_off = 0;
	return tcp_conn_poll(t, c, false, false);
}

int tcp_conn_write(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	size_t budget = LH_TCP_PASS_BYTES;
	int rc;
	while ((rc = prepare(t, c, err)) > 0) {
		bool boundary = !c->out_active || c->out_off == 0;
		ssize_t n = c->control_off || (c->control_len && boundary) ? write_control(t, c) : write_frame(t, c);
		if (n < 0)
			return lost(t, c);
		if (n == 0 || (size_t)n >= budget)
			return tcp_conn_poll(t, c, true, false);
		budget -= (size_t)n;
	}
	if (rc < 0)
		return rc;
	return tcp_conn_poll(t, c, false, false);
}

/* ---- receiving ---- */

/* The header is here: where does the payload go? */
static int begin_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	const struct lh_frame *f = &c->reader.frame;
	bool data = f->type == LH_FRAME_CONTRIBUTION || f->type == LH_FRAME_RESULT;
	void *to = c->small;
	if (data) {
		if (c->state != TCP_OPEN || !t->base.user)
			return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "data out of place");
		int rc = t->base.user->receive_begin(t->base.user_ctx, c->rank, f, &to, err);
		if (rc)
			return rc;
	}
	c->reader.payload = to;
	return 0;
}

static int aborted(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	int32_t culprit;
	char text[LH_FRAME_TEXT_MAX + 1];
	if (lh_abort_parse(c->small, c->reader.frame.length, &culprit, text))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "malformed abort");
	if (culprit < 0 || (unsigned)culprit >= t->c->size)
		culprit = (int32_t)c->rank;
	t->base.culprit = (unsigned)culprit == t->c->rank ? -1 : culprit;
	if (strstr(text, "(told by ")) /* passed on more than once: the first teller counts */
		return lh_err_set(err, LH_EXIT_BROKE, -ECONNABORTED, "%s", text);
	return lh_err_set(err, LH_EXIT_BROKE, -ECONNABORTED, "%s (told by peer %s)", text, t->c->peers[c->rank].name);
}

static int end_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	const struct lh_frame *f = &c->reader.frame;
	if (c->state != TCP_OPEN)
		return tcp_join_frame(t, c, err);
	switch (f->type) {
	case LH_FRAME_PING:
		return 0;
	case LH_FRAME_BYE:
		c->state = TCP_LEFT;
		if (!t->base.bye_seen || f->exchange < t->base.bye_exchange)
			t->base.bye_exchange = f->exchange;
		t->base.bye_seen = true;
		return 0;
	case LH_FRAME_ABORT:
		return aborted(t, c, err);
	case LH_FRAME_CONTRIBUTION:
	case LH_FRAME_RESULT:
		return t->base.user->receive_end(t->base.user_ctx, c->rank, f, c->reader.payload, err);
	default:
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of type %d out of place", (int)f->type);
	}
}

/* The connection ended (code 0: end of file). What that means depends on how far it had come. */
static int ended(struct tcp *t, struct tcp_conn *c, int code, struct lh_err *err)
{
	switch (c->state) {
	case TCP_CONNECTING:
	case TCP_GREETING:
		return tcp_retry(t, c, err);
	case TCP_ACCEPTED:
	case TCP_REFUSED:
		tcp_forget_unknown(t, c);
		return 0;
	case TCP_OPEN:
		if (t->leaving)
			break;
		return tcp_conn_fail(t, c, err, code ? code : -ECONNRESET, "connection lost: %s",
				     code ? strerror(-code) : "closed by the other side");
	default:
		break;
	}
	tcp_conn_hang_up(t, c);
	return 0;
}

/* A stranger is refused and forgotten; a peer of the run that talks nonsense ends it. */
static int malformed(struct tcp *t, struct tcp_conn *c, int code, struct lh_err *err)
{
	struct lh_err own = LH_ERR_INIT;
	if (c->state == TCP_ACCEPTED) {
		tcp_refuse(t, c, err ? err->text : "malformed frame");
		return 0;
	}
	if (t->base.culprit >= 0 || (code != -EPROTO && code != -EPROTONOSUPPORT && code != -EMSGSIZE))
		return code; /* named already, or our own trouble */
	if (err)
		own = *err;
	return tcp_conn_fail(t, c, err, code, "%s", own.text);
}

/* Throw away what a refused stranger still sends, and not for ever. */
static int drain(struct tcp *t, struct tcp_conn *c)
{
	char waste[4096];
	ssize_t n = recv(c->fd, waste, sizeof waste, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		tcp_forget_unknown(t, c);
	return 0;
}

static int conn_read(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	size_t budget = LH_TCP_PASS_BYTES;
	if (c->state == TCP_REFUSED)
		return drain(t, c);
	while (budget) {
		uint8_t *at;
		size_t space = lh_frame_reader_space(&c->reader, &at);
		enum lh_span_kind was = lh_trace_enter(t->base.trace, LH_SPAN_RECEIVE);
		ssize_t n = recv(c->fd, at, space, MSG_DONTWAIT);
		lh_trace_enter(t->base.trace, was);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			return ended(t, c, n < 0 ? -errno : 0, err);
		c->last_rx_ns = lh_clock_ns();
		t->base.bytes_received += (uint64_t)n;
		budget -= (size_t)n < budget ? (size_t)n : budget;
		int rc = lh_frame_reader_advance(&c->reader, (size_t)n, err);
		if (rc == LH_READ_HEADER) {
			rc = begin_frame(t, c, err);
			if (!rc && !c->reader.frame.length)
				rc = lh_frame_reader_advance(&c->reader, 0, err);
		}
		enum tcp_state before = c->state;
		if (rc == LH_READ_FRAME)
			rc = end_frame(t, c, err);
		if (rc < 0)
			return malformed(t, c, rc, err);
		if (c->state != before)
			return 0; /* it may be on its way out; the next pass goes on */
	}
	return 0;
}

/* ---- the loop ---- */

static int handle(struct tcp *t, struct tcp_conn *c, uint32_t events, struct lh_err *err)
{
	int rc = 0;
	if (c->state == TCP_CONNECTING) {
		rc = tcp_connected(t, c, err);
		if (rc || c->state == TCP_CONNECTING || c->state == TCP_IDLE)
			return rc;
	}
	/* Reading first: a broken connection may still hold the words of who broke it. */
	bool unknown = c->state == TCP_ACCEPTED || c->state == TCP_REFUSED;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		rc = conn_read(t, c, err);
	if (rc || unknown)
		return rc; /* it may be freed */
	if (events & EPOLLOUT && c->fd >= 0)
		rc = tcp_conn_write(t, c, err);
	return rc;
}

/* Pings, and the deadlines of those that we wait for. */
static int open_timer(struct tcp *t, struct tcp_conn *c, lh_ns now_ns, struct lh_err *err)
{
	if (c->state != TCP_OPEN)
		return 0;
	lh_ns since = c->last_rx_ns > c->expected_ns ? c->last_rx_ns : c->expected_ns;
	if (c->expected && now_ns - since > t->c->deadline_ns) {
		char limit[32];
		return tcp_conn_fail(t, c, err, -ETIMEDOUT, "no byte for %s (deadline)",
				     lh_ns_print(t->c->deadline_ns, limit, sizeof limit));
	}
	if (now_ns - c->last_tx_ns < t->c->deadline_ns / 4 || c->control_len || c->out_active)
		return 0;
	tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_PING }, NULL);
	return tcp_conn_write(t, c, err);
}

static int timers(struct tcp *t, struct lh_err *err)
{
	lh_ns now = lh_clock_ns(), step = t->c->deadline_ns / 16;
	if (now < t->timer_ns)
		return 0;
	step = step > LH_NS_PER_S / 4 ? LH_NS_PER_S / 4 : step;
	t->timer_ns = now + (t->joining && step > LH_TCP_RETRY_NS ? LH_TCP_RETRY_NS : step);
	int rc = tcp_join_timer(t, now, err);
	for (unsigned i = 0; !rc && i < t->c->size; i++)
		if (t->conns[i])
			rc = open_timer(t, t->conns[i], now, err);
	return rc;
}

static int tcp_progress(struct lh_transport *base, struct lh_err *err)
{
	struct tcp *t = tcp_of(base);
	struct epoll_event events[EVENTS];
	int n, rc = 0;
	do {
		n = epoll_wait(t->epoll_fd, events, EVENTS, 0);
		for (int i = 0; !rc && i < n; i++) {
			if (events[i].data.ptr)
				rc = handle(t, events[i].data.ptr, events[i].events, err);
			else
				tcp_accept(t);
		}
		for (unsigned i = 0; !rc && i < t->c->size; i++)
			if (t->conns[i] && t->conns[i]->woken && t->conns[i]->state == TCP_OPEN &&
			    !t->conns[i]->polls_out)
				rc = tcp_conn_write(t, t->conns[i], err);
	} while (!rc && n == EVENTS);
	t->base.blocked = 0;
	for (unsigned i = 0; i < t->c->size; i++)
		t->base.blocked += t->conns[i] && t->conns[i]->state == TCP_OPEN && t->conns[i]->polls_out;
	return rc ? rc : timers(t, err);
}

static void tcp_wake(struct lh_transport *base, unsigned peer)
{
	struct tcp *t = tcp_of(base);
	if (t->conns[peer])
		t->conns[peer]->woken = true;
}

static void tcp_expect(struct lh_transport *base, unsigned peer, bool on)
{
	struct tcp_conn *c = tcp_of(base)->conns[peer];
	if (!c || c->expected == on)
		return;
	c->expected = on;
	c->expected_ns = lh_clock_ns();
}

static int tcp_fd(const struct lh_transport *base)
{
	return ((const struct tcp *)base)->epoll_fd;
}

static lh_ns tcp_timer(const struct lh_transport *base)
{
	const struct tcp *t = (const struct tcp *)base;
	for (unsigned i = 0; i < t->c->size; i++)
		if (t->conns[i] && t->conns[i]->woken && t->conns[i]->state == TCP_OPEN && !t->conns[i]->polls_out)
			return 0;
	return t->timer_ns;
}

static void tcp_leave(struct lh_transport *base, uint32_t exchange)
{
	struct tcp *t = tcp_of(base);
	t->leaving = t->quiet = true;
	for (unsigned i = 0; i < t->c->size; i++) {
		struct tcp_conn *c = t->conns[i];
		if (!c || (c->state != TCP_OPEN && c->state != TCP_LEFT))
			continue;
		tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_BYE, .exchange = exchange }, NULL);
		if (tcp_conn_write(t, c, NULL))
			tcp_conn_hang_up(t, c); /* it left without a word; what it needed it had */
	}
}

static bool tcp_left(const struct lh_transport *base)
{
	const struct tcp *t = (const struct tcp *)base;
	for (unsigned i = 0; i < t->c->size; i++) {
		const struct tcp_conn *c = t->conns[i];
		if (c && (c->state == TCP_OPEN || (c->state == TCP_LEFT && (c->control_len || c->out_active))))
			return false;
	}
	return true;
}

static void tcp_abort(struct lh_transport *base, int culprit, const char *reason)
{
	struct tcp *t = tcp_of(base);
	uint8_t payload[4 + LH_FRAME_TEXT_MAX];
	int32_t whose = culprit < 0 ? (int32_t)t->c->rank : culprit;
	struct lh_frame f = { .type = LH_FRAME_ABORT, .length = (uint32_t)lh_abort_print(whose, reason, payload) };
	t->quiet = t->leaving = true;
	for (unsigned i = 0; i < t->c->size; i++)
		if (t->conns[i] && t->conns[i]->state == TCP_OPEN)
			tcp_conn_queue(t->conns[i], &f, payload);
	lh_ns until = lh_clock_ns() + ABORT_MS * LH_NS_PER_MS;
	for (bool pending = true; pending && lh_clock_ns() < until;) {
		pending = false;
		for (unsigned i = 0; i < t->c->size; i++) {
			struct tcp_conn *c = t->conns[i];
			if (!c || c->state != TCP_OPEN || (!c->control_len && !c->out_active))
				continue;
			if (tcp_conn_write(t, c, NULL))
				tcp_conn_hang_up(t, c);
			else if ((int)i != culprit)
				pending |= c->control_len || c->out_active;
		}
		if (pending)
			poll(NULL, 0, 5);
	}
	for (unsigned i = 0; i < t->c->size; i++)
		if (t->conns[i] && t->conns[i]->state == TCP_OPEN)
			shutdown(t->conns[i]->fd, SHUT_WR);
}

static void tcp_close(struct lh_transport *base)
{
	struct tcp *t = tcp_of(base);
	for (unsigned i = 0; t->conns && i < t->c->size; i++)
		if (t->conns[i]) {
			tcp_conn_hang_up(t, t->conns[i]);
			free(t->conns[i]);
		}
	while (t->unknown)
		tcp_forget_unknown(t, t->unknown);
	if (t->listen_fd >= 0)
		close(t->listen_fd);
	if (t->epoll_fd >= 0)
		close(t->epoll_fd);
	free(t->conns);
	free(t);
}

const struct lh_transport_ops lh_tcp_ops = {
	.progress = tcp_progress, .wake = tcp_wake, .expect = tcp_expect, .fd = tcp_fd, .timer = tcp_timer,
	.leave = tcp_leave, .left = tcp_left, .abort = tcp_abort, .close = tcp_close,
};
