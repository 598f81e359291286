/* tcpcheck.h - do the peers tell of TCP what the kernel tells? Their counters grow from round to round, the kernel's are
 * read in between: each reading must lie between what a peer had told before it and what it told next.
 */
#ifndef HARNESS_TCPCHECK_H
#define HARNESS_TCPCHECK_H

#include "collect.h"
#include "longhaul/network.h"

struct lh_tcp_reading {
	unsigned peer;
	lh_ns before_ns, after_ns; /* the reading happened in between */
	struct lh_tcp_counters counters;
};

struct lh_tcpcheck {
	struct lh_tcp_reading *list;
	size_t n, room;
	unsigned next;             /* peer that is read next */
	char why_not[256];         /* nothing can be read, and that is why; "" while it can */
};

struct lh_tcp_verdict {
	bool checked;              /* every peer was, and nothing contradicts */
	unsigned readings;         /* that lay between two rounds */
	char reason[256];          /* why not checked; "" when it was */
};

/* Read some peers, another few each time. */
void lh_tcpcheck_tick(struct lh_tcpcheck *c, struct lh_net *net, unsigned npeers);
/* `connections`: of each peer, while all are open. Readings with another number were taken while some were not. */
void lh_tcpcheck_judge(const struct lh_tcpcheck *c, const struct lh_series *s, unsigned connections,
		       struct lh_tcp_verdict *ret);
void lh_tcpcheck_done(struct lh_tcpcheck *c);

#endif
