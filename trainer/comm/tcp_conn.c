/* Bytes of one connection: frames in, frames out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tcp_internal.h"

struct tcp_conn *tcp_conn_new(struct tcp *t, enum tcp_state state, int fd)
{
	struct tcp_conn *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->state = state;
	c->fd = fd;
	c->since_ns = c->last_tx_ns = lh_clock_ns();
	return c;
}

void tcp_conn_close(struct tcp *t, struct tcp_conn *c)
{
	if (c->fd >= 0)
		close(c->fd); /* leaves the epoll by itself: the descriptor is nowhere else */
	c->fd = -1;
	c->state = TCP_GONE;
}

/* Freed later: its pointer may stand in a batch of events that is being worked on. */
void tcp_conn_discard(struct tcp *t, struct tcp_conn *c)
{
	tcp_conn_close(t, c);
	c->pair = NULL;
	c->next = t->dead;
	t->dead = c;
}

void tcp_conn_bury(struct tcp *t)
{
	while (t->dead) {
		struct tcp_conn *c = t->dead;
		t->dead = c->next;
		free(c->big);
		free(c->out_own);
		free(c);
	}
}

int tcp_conn_poll(struct tcp *t, struct tcp_conn *c, bool in, bool out, bool add)
{
	struct epoll_event ev = { .events = (in ? EPOLLIN : EPOLLRDHUP) | (out ? EPOLLOUT : 0), .data.ptr = c };
	if (!add && c->polls_in == in && c->polls_out == out)
		return 0;
	c->polls_in = in;
	c->polls_out = out;
	return epoll_ctl(t->epoll_fd, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &ev) ? -errno : 0;
}

static int poll_out(struct tcp *t, struct tcp_conn *c, bool out)
{
	return tcp_conn_poll(t, c, c->polls_in, out, false);
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
	ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
	c->last_tx_ns = t->now_ns;
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
	if (c->out_off == total)
		tcp_pair_sent(t, c);
	return n;
}

/* 1: there is something to send; 0: nothing. */
static int prepare(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	if (c->broken)
		return 0;
	if (c->out_active || c->control_len)
		return 1;
	int rc = c->state == TCP_OPEN && c->pair ? tcp_pair_next(t, c, err) : 0;
	if (rc <= 0)
		return rc;
	c->out_active = true;
	c->out_off = 0;
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
	c->held = false;
	return tcp_conn_poll(t, c, true, false, false);
}

static bool is_amid(const struct tcp_conn *c)
{
	return c->control_off || (c->out_active && c->out_off);
}

static int write_all(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	size_t budget = LH_TCP_PASS_BYTES;
	int rc;
	while ((rc = prepare(t, c, err)) > 0) {
		bool boundary = !c->out_active || c->out_off == 0;
		ssize_t n = c->control_off || (c->control_len && boundary) ? write_control(t, c) : write_frame(t, c);
		if (n < 0)
			return lost(t, c);
		if (n == 0 || is_amid(c) || (size_t)n >= budget) /* it took a part: it is full, no need to ask again */
			return poll_out(t, c, true);
		budget -= (size_t)n;
	}
	return rc < 0 ? rc : poll_out(t, c, false);
}

int tcp_conn_write(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	enum lh_span_kind was = lh_trace_enter(t->base.trace, LH_SPAN_SEND);
	int rc = write_all(t, c, err);
	lh_trace_enter(t->base.trace, was);
	return rc;
}

/* ---- receiving ---- */

static int big(struct tcp_conn *c, void **ret, struct lh_err *err)
{
	if (!c->big)
		c->big = malloc(LH_FRAME_PAYLOAD_MAX);
	*ret = c->big;
	return c->big ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "received frames");
}

static bool is_data(const struct lh_frame *f)
{
	return f->type == LH_FRAME_CONTRIBUTION || f->type == LH_FRAME_RESULT;
}

static bool is_early(const struct tcp *t, const struct lh_frame *f)
{
	return t->elastic && (f->view > t->base.view || (f->view == t->base.view && !t->base.user));
}

/* Data of a view before this one is read and thrown away; of one to come, it waits in the kernel. */
static int begin_data(struct tcp *t, struct tcp_conn *c, void **ret, struct lh_err *err)
{
	const struct lh_frame *f = &c->reader.frame;
	if (c->state != TCP_OPEN || !c->pair || (t->elastic && !c->stream))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "data out of place");
	if (is_early(t, f)) {
		c->held = t->has_held = true;
		return tcp_conn_poll(t, c, false, c->polls_out, false);
	}
	if (t->elastic && f->view < t->base.view) {
		c->unwanted = true;
		return big(c, ret, err);
	}
	if (f->view != t->base.view || !t->base.user)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "data out of place (view %u)", f->view);
	return t->base.user->receive_begin(t->base.user_ctx, c->pair->rank, f, ret, err);
}

/* The header is here: where does the payload go? */
static int begin_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	const struct lh_frame *f = &c->reader.frame;
	void *to = c->small;
	int rc = 0;
	c->unwanted = false;
	if (is_data(f)) {
		rc = begin_data(t, c, &to, err);
	} else if (f->type == LH_FRAME_WARM) {
		if (c->state != TCP_OPEN || !c->pair)
			return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "bytes without meaning before the greeting");
		rc = big(c, &to, err);
	} else if (f->type == LH_FRAME_MEMBER || f->type == LH_FRAME_STATE) {
		if (c->state != TCP_OPEN || !c->pair || !t->base.member || (f->type == LH_FRAME_MEMBER) != !c->stream)
			return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "members' frame out of place");
		rc = big(c, &to, err);
	}
	if (!rc)
		c->reader.payload = to;
	return rc;
}

static int aborted(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	int32_t culprit;
	char text[LH_FRAME_TEXT_MAX + 1];
	struct tcp_pair *p = c->pair;
	if (lh_abort_parse(c->small, c->reader.frame.length, &culprit, text))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "malformed abort");
	if (t->elastic)
		return tcp_pair_fail(t, p, err, -ECONNABORTED, "it gave up: %s", text);
	if (culprit < 0 || (unsigned)culprit >= t->c->size)
		culprit = (int32_t)p->rank;
	t->base.culprit = (unsigned)culprit == t->c->rank ? -1 : culprit;
	if (strstr(text, "(told by ")) /* passed on more than once: the first teller counts */
		return lh_err_set(err, LH_EXIT_BROKE, -ECONNABORTED, "%s", text);
	return lh_err_set(err, LH_EXIT_BROKE, -ECONNABORTED, "%s (told by peer %s)", text,
			  t->c->peers[p->rank].name);
}

static int left(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	/* With elastic membership its rank may be started again, and waits to be connected to. */
	c->pair->gone = !t->elastic || t->leaving;
	if (t->elastic && !t->leaving)
		return tcp_pair_fail(t, c->pair, err, -ECONNRESET, "it has left");
	c->state = TCP_LEFT;
	if (!t->base.bye_seen || c->reader.frame.exchange < t->base.bye_exchange)
		t->base.bye_exchange = c->reader.frame.exchange;
	t->base.bye_seen = true;
	return 0;
}

static int end_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	const struct lh_frame *f = &c->reader.frame;
	if (c->unwanted && is_data(f))
		return 0;
	if (c->state != TCP_OPEN)
		return tcp_join_frame(t, c, err);
	switch (f->type) {
	case LH_FRAME_PING:
		return 0;
	case LH_FRAME_BYE:
		return left(t, c, err);
	case LH_FRAME_ABORT:
		return aborted(t, c, err);
	case LH_FRAME_CONTRIBUTION:
	case LH_FRAME_RESULT:
		return t->base.user->receive_end(t->base.user_ctx, c->pair->rank, f, c->reader.payload, err);
	case LH_FRAME_MEMBER:
	case LH_FRAME_STATE:
		return t->base.member->message(t->base.member_ctx, c->pair->rank, f, c->reader.payload, err);
	case LH_FRAME_REFUSE:
		return tcp_join_frame(t, c, err);
	case LH_FRAME_WARM:
	case LH_FRAME_WARMED:
		return tcp_warm_came(t, c, err);
	default:
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of type %d out of place", (int)f->type);
	}
}

/* The connection ended (code 0: end of file). What that means depends on how far it had come. */
static int ended(struct tcp *t, struct tcp_conn *c, int code, struct lh_err *err)
{
	struct tcp_pair *p = c->pair;
	switch (c->state) {
	case TCP_ACCEPTED:
	case TCP_CHALLENGED:
	case TCP_REFUSED:
		tcp_forget_unknown(t, c);
		return 0;
	case TCP_LEFT:
		tcp_conn_close(t, c);
		return 0;
	case TCP_OPEN:
		if (t->leaving) {
			tcp_conn_close(t, c);
			return 0;
		}
		if (p->open)
			return tcp_pair_fail(t, p, err, code ? code : -ECONNRESET, "connection lost: %s",
					     code ? strerror(-code) : "closed by the other side");
		return tcp_retry(t, p);
	case TCP_GONE:
		return 0;
	default:
		return tcp_retry(t, p);
	}
}

/* A stranger is refused and forgotten; a peer of the run that talks nonsense is lost. */
static int malformed(struct tcp *t, struct tcp_conn *c, int code, struct lh_err *err)
{
	struct lh_err own = LH_ERR_INIT;
	if (c->state == TCP_ACCEPTED || c->state == TCP_CHALLENGED) {
		tcp_refuse(t, c, err ? err->text : "malformed frame");
		return 0;
	}
	if (t->base.culprit >= 0 || (code != -EPROTO && code != -EPROTONOSUPPORT && code != -EMSGSIZE))
		return code; /* named already, or our own trouble */
	if (err)
		own = *err;
	return tcp_pair_fail(t, c->pair, err, code, "%s", own.text);
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

/* What the reader makes of n new bytes. */
static int take(struct tcp *t, struct tcp_conn *c, size_t n, struct lh_err *err)
{
	int rc = lh_frame_reader_advance(&c->reader, n, err);
	if (rc == LH_READ_HEADER) {
		rc = begin_frame(t, c, err);
		if (!rc && !c->reader.frame.length)
			rc = lh_frame_reader_advance(&c->reader, 0, err);
	}
	if (rc == LH_READ_FRAME)
		rc = end_frame(t, c, err);
	return rc < 0 && c->state != TCP_GONE ? malformed(t, c, rc, err) : rc;
}

static bool is_alive(const struct tcp_conn *c)
{
	return c->state != TCP_GONE && c->state != TCP_REFUSED;
}

/* One call takes the rest of a payload and the header after it. Returns bytes, or as recvmsg. */
static ssize_t read_some(struct tcp *t, struct tcp_conn *c, size_t *ret_asked, int *ret_code, struct lh_err *err)
{
	uint8_t *at, ahead[LH_FRAME_HEADER];
	size_t space = lh_frame_reader_space(&c->reader, &at);
	struct iovec iov[] = { { at, space }, { ahead, sizeof ahead } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = c->reader.in_payload ? 2 : 1 };
	ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT);
	*ret_asked = space + (c->reader.in_payload ? sizeof ahead : 0);
	if (n <= 0)
		return n;
	size_t first = (size_t)n < space ? (size_t)n : space, rest = (size_t)n - first;
	t->base.bytes_received += (uint64_t)n;
	if (c->pair)
		c->pair->last_rx_ns = t->now_ns;
	*ret_code = take(t, c, first, err);
	if (*ret_code < 0 || !rest || !is_alive(c))
		return n;
	lh_frame_reader_space(&c->reader, &at);
	memcpy(at, ahead, rest);
	*ret_code = take(t, c, rest, err);
	return n;
}

int tcp_conn_read(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	size_t budget = LH_TCP_PASS_BYTES, asked = 0;
	if (c->state == TCP_REFUSED)
		return drain(t, c);
	enum tcp_state before = c->state;
	while (budget && c->state == before && c->polls_in) {
		int rc = 0;
		ssize_t n = read_some(t, c, &asked, &rc, err);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0)
			return ended(t, c, n < 0 ? -errno : 0, err);
		if (rc < 0)
			return rc;
		if ((size_t)n < asked) /* less than asked: that was all, no need to ask again */
			break;
		budget -= (size_t)n < budget ? (size_t)n : budget;
	}
	if (c->state == TCP_OPEN)
		tcp_option_wake(c);
	return 0;
}

/* Nothing is read from it at the moment, and it is broken. */
int tcp_conn_hung_up(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	return ended(t, c, -ECONNRESET, err);
}

/* ---- the view has changed ---- */

/* What is being sent to the end is no longer the user's; what is being read is no longer wanted. */
int tcp_conn_disown(struct tcp_conn *c, struct lh_err *err)
{
	struct lh_frame_reader *r = &c->reader;
	if (c->out_active && !c->out_bulk && !c->out_own) {
		c->out_own = malloc(c->out_frame.length);
		if (!c->out_own)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "frames under way");
		memcpy(c->out_own, c->out_payload, c->out_frame.length);
		c->out_payload = c->out_own;
	}
	if (r->in_payload && is_data(&r->frame) && !c->unwanted && !c->held) {
		void *to;
		int rc = big(c, &to, err);
		if (rc)
			return rc;
		r->payload = to;
		c->unwanted = true;
	}
	return 0;
}

int tcp_conn_resume(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	if (is_early(t, &c->reader.frame))
		return 0;
	c->held = false;
	int rc = begin_frame(t, c, err);
	if (rc < 0)
		return malformed(t, c, rc, err);
	return tcp_conn_poll(t, c, true, c->polls_out, false);
}
