/* All connections with one peer: what goes by which, and what it means that one is lost. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcp_internal.h"

/* ---- coming and going ---- */

static void forget_messages(struct tcp_pair *p)
{
	while (p->messages) {
		struct message *m = p->messages;
		p->messages = m->next;
		free(m);
	}
	p->messages_end = &p->messages;
	p->message_bytes = 0;
}

int tcp_pair_reset(struct tcp *t, struct tcp_pair *p, unsigned nstreams)
{
	for (unsigned i = 0; i < p->nstreams; i++)
		if (p->conns[i])
			tcp_conn_discard(t, p->conns[i]);
	free(p->conns);
	p->conns = nstreams ? calloc(nstreams, sizeof(struct tcp_conn *)) : NULL;
	p->nstreams = p->conns ? nstreams : 0;
	p->open = p->woken = false;
	p->nopen = p->cold = p->turn = 0;
	p->id = 0;
	forget_messages(p);
	return nstreams && !p->conns ? -ENOMEM : 0;
}

void tcp_pair_done(struct tcp *t, struct tcp_pair *p)
{
	tcp_pair_reset(t, p, 0);
}

int tcp_pair_opened(struct tcp *t, struct tcp_pair *p, struct lh_err *err)
{
	p->open = true;
	p->backoff_ns = 0;
	p->last_rx_ns = t->progress_ns = lh_clock_ns();
	p->rtt_ns = tcp_option_rtt(p->conns[0]->fd);
	tcp_pace_pair(t, p);
	tcp_warm_pair(t, p);
	p->wakes_most = tcp_option_wakes(t, p);
	if (t->base.member)
		t->base.member->found(t->base.member_ctx, p->rank, p->incarnation);
	int rc = 0;
	/* What came before all streams were there waited in the kernel. */
	for (unsigned i = 0; !rc && p->open && i < p->nstreams; i++)
		if (!p->conns[i]->held)
			rc = tcp_conn_poll(t, p->conns[i], true, p->conns[i]->polls_out, false);
	p->woken = true;
	return rc ? lh_err_sys(err, LH_EXIT_MACHINE, rc, "epoll") : 0;
}

int tcp_pair_fail(struct tcp *t, struct tcp_pair *p, struct lh_err *err, int code, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!t->elastic) {
		t->base.culprit = (int)p->rank;
		return lh_err_set(err, LH_EXIT_BROKE, code, "peer %s: %s", t->c->peers[p->rank].name, text);
	}
	bool was_open = p->open;
	tcp_pair_reset(t, p, 0);
	p->retry_ns = lh_clock_ns() + LH_TCP_RETRY_NS;
	if (was_open && t->base.member)
		t->base.member->lost(t->base.member_ctx, p->rank, text);
	return 0;
}

/* ---- sending ---- */

/* With changing members, the first stream is theirs alone: it is never held up by data. */
static bool carries_data(const struct tcp *t, const struct tcp_conn *c)
{
	return !t->elastic || c->stream;
}

static int next_message(struct tcp_conn *c)
{
	struct tcp_pair *p = c->pair;
	struct message *m = p->messages;
	if (!m)
		return 0;
	p->messages = m->next;
	if (!p->messages)
		p->messages_end = &p->messages;
	p->message_bytes -= m->len;
	c->out_frame = (struct lh_frame){ .type = LH_FRAME_MEMBER, .length = (uint32_t)m->len };
	c->out_own = (uint8_t *)m; /* its payload is sent from within */
	c->out_payload = m->payload;
	c->out_bulk = true;
	return 1;
}

int tcp_pair_next(struct tcp *t, struct tcp_conn *c, struct lh_err *err)
{
	struct tcp_pair *p = c->pair;
	const void *payload = NULL;
	if (!carries_data(t, c))
		return next_message(c);
	if (p->open && !t->quiet && tcp_warm_next(c))
		return 1;
	if (!p->open || !p->woken || t->quiet)
		return p->woken = false; /* or the timer would ask for it at once, for ever */
	int rc = t->base.user ? t->base.user->send_next(t->base.user_ctx, p->rank, &c->out_frame, &payload, err) : 0;
	c->out_bulk = false;
	if (!rc && t->base.member && t->base.member->state_next) {
		rc = t->base.member->state_next(t->base.member_ctx, p->rank, &c->out_frame, &payload, err);
		c->out_bulk = true;
	}
	c->out_frame.view = t->base.view;
	c->out_payload = payload;
	p->woken = rc > 0;
	return rc;
}

void tcp_pair_sent(struct tcp *t, struct tcp_conn *c)
{
	struct lh_frame f = c->out_frame;
	c->out_active = false;
	if (c->out_own) {
		free(c->out_own);
		c->out_own = NULL;
	} else if (f.type == LH_FRAME_WARM) {
		return;
	} else if (c->out_bulk) {
		t->base.member->state_sent(t->base.member_ctx, c->pair->rank, &f, c->out_payload);
	} else {
		t->base.user->sent(t->base.user_ctx, c->pair->rank, &f, c->out_payload);
	}
}

/* Could one of its streams take something that is there? */
bool tcp_pair_has_work(const struct tcp *t, const struct tcp_pair *p)
{
	if (!p->open)
		return false;
	if (p->messages && !p->conns[0]->polls_out)
		return true;
	for (unsigned i = 0; p->woken && i < p->nstreams; i++)
		if (p->conns[i]->state == TCP_OPEN && !p->conns[i]->polls_out && carries_data(t, p->conns[i]))
			return true;
	return false;
}

/* Each stream that takes bytes gets what there is, in turns. */
int tcp_pair_write(struct tcp *t, struct tcp_pair *p, struct lh_err *err)
{
	int rc = 0;
	unsigned first = p->turn++;
	for (unsigned i = 0; !rc && p->open && i < p->nstreams; i++) {
		struct tcp_conn *c = p->conns[(first + i) % p->nstreams];
		if (c->state == TCP_OPEN && !c->polls_out)
			rc = tcp_conn_write(t, c, err);
	}
	return rc;
}

/* Pings, and the deadlines of those that we wait for. */
int tcp_pair_timer(struct tcp *t, struct tcp_pair *p, lh_ns now_ns, struct lh_err *err)
{
	if (!p->open || p->conns[0]->state != TCP_OPEN)
		return 0;
	lh_ns since = p->expected && p->expected_ns > p->last_rx_ns ? p->expected_ns : p->last_rx_ns;
	if ((p->expected || t->elastic) && now_ns - since > t->c->deadline_ns) {
		char limit[32];
		return tcp_pair_fail(t, p, err, -ETIMEDOUT, "no byte for %s (deadline)",
				     lh_ns_print(t->c->deadline_ns, limit, sizeof limit));
	}
	struct tcp_conn *c = p->conns[0];
	for (unsigned i = 0; i < p->nstreams; i++)
		if (now_ns - p->conns[i]->last_tx_ns < t->c->deadline_ns / 4)
			return 0;
	if (c->control_len || c->out_active)
		return 0;
	tcp_conn_queue(c, &(struct lh_frame){ .type = LH_FRAME_PING }, NULL);
	return tcp_conn_write(t, c, err);
}
