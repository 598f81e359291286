#include "tcpcheck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "peers.h"

#define PEERS_PER_TICK 16
#define READINGS_MAX 65536

static bool add(struct lh_tcpcheck *c, const struct lh_tcp_reading *r)
{
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		struct lh_tcp_reading *more = room > READINGS_MAX ? NULL : realloc(c->list, room * sizeof *more);
		if (!more)
			return false;
		c->list = more;
		c->room = room;
	}
	c->list[c->n++] = *r;
	return true;
}

void lh_tcpcheck_tick(struct lh_tcpcheck *c, struct lh_net *net, unsigned npeers)
{
	for (unsigned k = 0; k < npeers && k < PEERS_PER_TICK && !*c->why_not; k++, c->next = (c->next + 1) % npeers) {
		struct lh_err err = LH_ERR_INIT;
		struct lh_tcp_reading r = { .peer = c->next, .before_ns = lh_clock_ns() };
		int rc = lh_net_observe_tcp(net, c->next, LH_PEER_PORT, &r.counters, &err);
		r.after_ns = lh_clock_ns();
		if (rc)
			snprintf(c->why_not, sizeof c->why_not, "%s", err.text);
		else if (!add(c, &r))
			return;
	}
}

struct told {
	uint64_t bytes, retransmits;
};

/* What the peer had told for certain when the reading began, and the least that it tells for certain after it. */
static bool bracket(const struct lh_series *s, const struct lh_tcp_reading *r, struct told *ret_low, struct told *ret_high)
{
	struct told sum = { 0 };
	*ret_low = sum;
	for (uint32_t epoch = 1; epoch <= s->nepochs; epoch++) {
		const struct lh_event *e = lh_series_at(s, epoch, r->peer);
		const struct lh_span_sums *t = lh_series_sums(s, epoch, r->peer);
		if (!e || !t || !t->has_tcp)
			return false;
		sum.bytes += t->tcp_bytes_sent;
		sum.retransmits += t->tcp_retransmits;
		if (t->told_ns <= r->before_ns)
			*ret_low = sum;
		*ret_high = sum;
		if (e->commit_ns >= r->after_ns)
			return true;
	}
	return false;
}

static bool fits(uint64_t low, uint64_t got, uint64_t high)
{
	return low <= got && got <= high;
}

void lh_tcpcheck_judge(const struct lh_tcpcheck *c, const struct lh_series *s, unsigned connections,
		       struct lh_tcp_verdict *ret)
{
	bool *seen = calloc(s->npeers ? s->npeers : 1, sizeof *seen);
	unsigned peers = 0;
	*ret = (struct lh_tcp_verdict){ 0 };
	for (size_t i = 0; seen && i < c->n && !*ret->reason; i++) {
		const struct lh_tcp_reading *r = &c->list[i];
		struct told low, high;
		if (r->counters.connections != connections || !bracket(s, r, &low, &high))
			continue;
		ret->readings++;
		peers += !seen[r->peer];
		seen[r->peer] = true;
		if (!fits(low.bytes, r->counters.bytes_sent, high.bytes) ||
		    !fits(low.retransmits, r->counters.retransmits, high.retransmits))
			snprintf(ret->reason, sizeof ret->reason,
				 "peer number %u told %llu to %llu bytes sent and %llu to %llu segments sent again, inet_diag "
				 "says %llu and %llu", r->peer, (unsigned long long)low.bytes, (unsigned long long)high.bytes,
				 (unsigned long long)low.retransmits, (unsigned long long)high.retransmits,
				 (unsigned long long)r->counters.bytes_sent, (unsigned long long)r->counters.retransmits);
	}
	if (!*ret->reason && *c->why_not)
		snprintf(ret->reason, sizeof ret->reason, "%s", c->why_not);
	else if (!*ret->reason && (!seen || peers < s->npeers))
		snprintf(ret->reason, sizeof ret->reason, "inet_diag was read between two rounds for %u of %u peers", peers,
			 s->npeers);
	ret->checked = !*ret->reason;
	free(seen);
}

void lh_tcpcheck_done(struct lh_tcpcheck *c)
{
	free(c->list);
	*c = (struct lh_tcpcheck){ 0 };
}
