/* The loop, and what the owner of a transport calls. */
#include "tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_internal.h"

enum { EVENTS = 64, ABORT_MS = 200 };

static struct tcp *tcp_of(struct lh_transport *t)
{
	return (struct tcp *)t;
}

/* ---- the loop ---- */

static int handle(struct tcp *t, struct tcp_conn *c, uint32_t events, struct lh_err *err)
{
	int rc = 0;
	if (c->state == TCP_GONE)
		return 0;
	if (c->state == TCP_CONNECTING) {
		rc = tcp_connected(t, c, err);
		if (rc || c->state == TCP_GONE)
			return rc;
	}
	/* Reading first: a broken connection may still hold the words of who broke it. */
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		rc = c->polls_in ? tcp_conn_read(t, c, err) : tcp_conn_hung_up(t, c, err);
	if (!rc && events & EPOLLOUT && c->state != TCP_GONE && c->state != TCP_REFUSED)
		rc = tcp_conn_write(t, c, err);
	return rc;
}

static int timers(struct tcp *t, struct lh_err *err)
{
	lh_ns now = t->now_ns, step = t->c->deadline_ns / 16;
	if (now < t->timer_ns)
		return 0;
	step = step > LH_NS_PER_S / 4 ? LH_NS_PER_S / 4 : step;
	t->timer_ns = now + ((t->joining || t->elastic) && step > LH_TCP_RETRY_NS ? LH_TCP_RETRY_NS : step);
	int rc = tcp_join_timer(t, now, err);
	for (unsigned i = 0; !rc && i < t->c->size; i++)
		rc = tcp_pair_timer(t, &t->pairs[i], now, err);
	return rc;
}

/* Data that came too early: the view may have changed since. */
static int resume(struct tcp *t, struct lh_err *err)
{
	int rc = 0;
	t->has_held = false;
	for (unsigned i = 0; !rc && i < t->c->size; i++)
		for (unsigned k = 0; !rc && t->pairs[i].open && k < t->pairs[i].nstreams; k++)
			if (t->pairs[i].conns[k]->held) {
				rc = tcp_conn_resume(t, t->pairs[i].conns[k], err);
				t->has_held = true;
			}
	return rc;
}

static void count_blocked(struct tcp *t)
{
	t->base.blocked = 0;
	for (unsigned i = 0; i < t->c->size; i++)
		for (unsigned k = 0; t->pairs[i].open && k < t->pairs[i].nstreams; k++) {
			const struct tcp_conn *c = t->pairs[i].conns[k];
			t->base.blocked += c->state == TCP_OPEN && c->polls_out;
		}
}

static int handle_all(struct tcp *t, const struct epoll_event *events, int n, struct lh_err *err)
{
	int rc = 0;
	for (int i = 0; !rc && i < n; i++) {
		if (events[i].data.ptr == t)
			t->base.called = true;
		else if (events[i].data.ptr)
			rc = handle(t, events[i].data.ptr, events[i].events, err);
		else
			tcp_accept(t);
	}
	for (unsigned i = 0; !rc && i < t->c->size; i++)
		if (tcp_pair_has_work(t, &t->pairs[i]))
			rc = tcp_pair_write(t, &t->pairs[i], err);
	tcp_conn_bury(t);
	return rc;
}

/* Up to `ms` without anything to do are spent in the caller's state; all that is not sending or the user's counts as
 * receiving. Reading the clock is a system call in some kernels: one reading serves a pass. */
static int pass(struct tcp *t, int ms, struct lh_err *err)
{
	struct lh_trace *tr = t->base.trace;
	struct epoll_event events[EVENTS];
	int n = 0, rc = t->has_held ? resume(t, err) : 0;
	const enum lh_span_kind was = lh_trace_sleep(tr, ms ? t->base.blocked : 0);
	if (!rc)
		n = epoll_wait(t->epoll_fd, events, EVENTS, ms);
	lh_trace_enter(tr, LH_SPAN_RECEIVE);
	t->now_ns = lh_clock_ns();
	if (!rc)
		rc = handle_all(t, events, n, err);
	while (!rc && n == EVENTS) {
		n = epoll_wait(t->epoll_fd, events, EVENTS, 0);
		rc = handle_all(t, events, n, err);
	}
	if (!rc)
		rc = timers(t, err);
	tcp_conn_bury(t);
	count_blocked(t);
	lh_trace_enter(tr, was);
	return rc;
}

static int tcp_progress(struct lh_transport *base, struct lh_err *err) { return pass(tcp_of(base), 0, err); }

static lh_ns tcp_timer(const struct lh_transport *base);

/* How long is told from the last reading of the clock: too long by what was done since, once, for timers that tick several
 * times before anything depends on them. */
static int tcp_wait(struct lh_transport *base, struct lh_err *err)
{
	struct tcp *t = tcp_of(base);
	lh_ns left = tcp_timer(base) - t->now_ns;
	if (t->restless_fd >= 0)
		base->called = true;
	return pass(t, left <= 0 || t->restless_fd >= 0 ? 0 : (int)((left + LH_NS_PER_MS - 1) / LH_NS_PER_MS), err);
}

static int tcp_watch(struct lh_transport *base, int fd, bool on)
{
	struct tcp *t = tcp_of(base);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = t };
	if (!on && fd == t->restless_fd) {
		t->restless_fd = -1;
		return 0;
	}
	if (!epoll_ctl(t->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &ev))
		return 0;
	if (errno != EPERM || t->restless_fd >= 0)
		return -errno;
	t->restless_fd = fd; /* a file */
	return 0;
}

static void tcp_wake(struct lh_transport *base, unsigned peer)
{
	tcp_of(base)->pairs[peer].woken = true;
}

static void tcp_expect(struct lh_transport *base, unsigned peer, bool on)
{
	struct tcp_pair *p = &tcp_of(base)->pairs[peer];
	if (p->expected == on)
		return;
	p->expected = on;
	p->expected_ns = lh_clock_ns();
}

static int tcp_fd(const struct lh_transport *base)
{
	return ((const struct tcp *)base)->epoll_fd;
}

static lh_ns tcp_timer(const struct lh_transport *base)
{
	const struct tcp *t = (const struct tcp *)base;
	for (unsigned i = 0; i < t->c->size; i++)
		if (tcp_pair_has_work(t, &t->pairs[i]))
			return 0;
	return t->timer_ns;
}

int lh_tcp_watch_all(struct lh_transport *base, const int *fds, unsigned n, struct lh_err *err)
{
	int rc = 0;
	for (unsigned i = 0; !rc && i < n; i++)
		rc = fds[i] >= 0 ? tcp_watch(base, fds[i], true) : 0;
	return rc ? lh_err_sys(err, LH_EXIT_MACHINE, rc, "watch a descriptor") : 0;
}

/* ---- ending ---- */

static bool has_unsent(const struct tcp_conn *c)
{
	return c->control_len || c->out_active;
}

/* The last word goes by every stream, behind what it still carries. */
static void tcp_leave(struct lh_transport *base, uint32_t exchange)
{
	struct tcp *t = tcp_of(base);
	t->now_ns = lh_clock_ns();
	t->leaving = t->quiet = true;
	for (unsigned i = 0; i < t->c->size; i++)
		for (unsigned k = 0; t->pairs[i].open && k < t->pairs[i].nstreams; k++) {
			struct tcp_conn *c = t->pairs[i].conns[k];
			if (c->state != TCP_OPEN && c->state != TCP_LEFT)
				continue;
			tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_BYE, .exchange = exchange }, NULL);
			if (tcp_conn_write(t, c, NULL))
				tcp_conn_close(t, c); /* it left without a word; what it needed it had */
		}
}

static bool tcp_left(const struct lh_transport *base)
{
	const struct tcp *t = (const struct tcp *)base;
	for (unsigned i = 0; i < t->c->size; i++)
		for (unsigned k = 0; t->pairs[i].open && k < t->pairs[i].nstreams; k++) {
			const struct tcp_conn *c = t->pairs[i].conns[k];
			if (c->state == TCP_OPEN || (c->state == TCP_LEFT && has_unsent(c)))
				return false;
		}
	return true;
}

/* Write what is queued to everybody; true while something is left, but for the culprit's share. */
static bool flush(struct tcp *t, int culprit)
{
	bool pending = false;
	for (unsigned i = 0; i < t->c->size; i++)
		for (unsigned k = 0; t->pairs[i].open && k < t->pairs[i].nstreams; k++) {
			struct tcp_conn *c = t->pairs[i].conns[k];
			if (c->state != TCP_OPEN || !has_unsent(c))
				continue;
			if (tcp_conn_write(t, c, NULL))
				tcp_conn_close(t, c);
			else if ((int)i != culprit)
				pending |= has_unsent(c);
		}
	return pending;
}

static void tcp_abort(struct lh_transport *base, int culprit, const char *reason)
{
	struct tcp *t = tcp_of(base);
	uint8_t payload[4 + LH_FRAME_TEXT_MAX];
	int32_t whose = culprit < 0 ? (int32_t)t->c->rank : culprit;
	struct lh_frame f = { .type = LH_FRAME_ABORT, .length = (uint32_t)lh_abort_print(whose, reason, payload) };
	t->now_ns = lh_clock_ns();
	t->quiet = t->leaving = true;
	for (unsigned i = 0; i < t->c->size; i++)
		for (unsigned k = 0; t->pairs[i].open && k < t->pairs[i].nstreams; k++)
			if (t->pairs[i].conns[k]->state == TCP_OPEN)
				tcp_conn_queue(t->pairs[i].conns[k], &f, payload);
	lh_ns until = lh_clock_ns() + ABORT_MS * LH_NS_PER_MS;
	while (flush(t, culprit) && lh_clock_ns() < until)
		poll(NULL, 0, 5);
	for (unsigned i = 0; i < t->c->size; i++)
		for (unsigned k = 0; t->pairs[i].open && k < t->pairs[i].nstreams; k++)
			if (t->pairs[i].conns[k]->state == TCP_OPEN)
				shutdown(t->pairs[i].conns[k]->fd, SHUT_WR);
}

static void tcp_close(struct lh_transport *base)
{
	struct tcp *t = tcp_of(base);
	for (unsigned i = 0; t->pairs && i < t->c->size; i++)
		tcp_pair_done(t, &t->pairs[i]);
	while (t->unknown)
		tcp_forget_unknown(t, t->unknown);
	tcp_conn_bury(t);
	if (t->listen_fd >= 0)
		close(t->listen_fd);
	if (t->epoll_fd >= 0)
		close(t->epoll_fd);
	free(t->pairs);
	free(t->carries);
	free(t);
}

/* ---- for members ---- */

static int tcp_tell(struct lh_transport *base, unsigned peer, const void *payload, size_t len)
{
	struct tcp_pair *p = &tcp_of(base)->pairs[peer];
	if (!p->open)
		return -ENOTCONN;
	if (!len || len > LH_FRAME_MEMBER_MAX)
		return -EMSGSIZE;
	if (p->message_bytes + len > LH_TCP_MESSAGES_MAX)
		return -ENOBUFS;
	struct message *m = malloc(sizeof *m + len);
	if (!m)
		return -ENOBUFS;
	m->next = NULL;
	m->len = len;
	memcpy(m->payload, payload, len);
	*p->messages_end = m;
	p->messages_end = &m->next;
	p->message_bytes += len;
	return 0;
}

static int tcp_view(struct lh_transport *base, uint32_t view, struct lh_err *err)
{
	struct tcp *t = tcp_of(base);
	int rc = 0;
	base->view = view;
	base->user = NULL;
	for (unsigned i = 0; !rc && i < t->c->size; i++) {
		struct tcp_pair *p = &t->pairs[i];
		for (unsigned k = 0; !rc && k < p->nstreams; k++)
			if (p->conns[k] && p->conns[k]->state == TCP_OPEN)
				rc = tcp_conn_disown(p->conns[k], err);
	}
	return rc;
}

static void tcp_drop(struct lh_transport *base, unsigned peer)
{
	struct tcp *t = tcp_of(base);
	tcp_pair_reset(t, &t->pairs[peer], 0);
	t->pairs[peer].retry_ns = lh_clock_ns() + LH_TCP_RETRY_NS;
}

static lh_ns tcp_rtt(const struct lh_transport *base, unsigned peer)
{
	return ((const struct tcp *)base)->pairs[peer].rtt_ns;
}

const struct lh_transport_ops lh_tcp_ops = {
	.progress = tcp_progress, .wait = tcp_wait, .watch = tcp_watch,
	.wake = tcp_wake, .expect = tcp_expect, .fd = tcp_fd, .timer = tcp_timer,
	.leave = tcp_leave, .left = tcp_left, .abort = tcp_abort, .close = tcp_close,
	.tell = tcp_tell, .view = tcp_view, .drop = tcp_drop, .rtt = tcp_rtt,
};
