/* watch.h - the links while peers train: counters once a second, drops by cause, who is quiet. */
#ifndef HARNESS_WATCH_H
#define HARNESS_WATCH_H

#include "judge.h"
#include "longhaul/experiment.h"
#include "longhaul/network.h"

/* Links read per tick; with more, they take turns. */
#define LH_WATCH_PER_TICK 64

struct lh_watch_link {
	struct lh_link_counters first, last; /* at the go, and last read */
	bool known;
	uint64_t backlog_packets_max;
	double *rtt_s;            /* answers to the background probe */
	size_t nrtt, rtt_room;
	unsigned pings, pings_lost;
};

struct lh_watch {
	const struct lh_topology *topology;
	struct lh_watch_link *links; /* [nsites * nsites] */
	size_t next;                 /* whose turn it is */
	uint64_t bytes;              /* sum of last seen, for "does anything move?" */
};

int lh_watch_init(struct lh_watch *w, const struct lh_topology *t, struct lh_err *err);
void lh_watch_done(struct lh_watch *w);
/* Read every link; the counters count from here. Links without peers on both ends are left out. */
void lh_watch_begin(struct lh_watch *w, struct lh_net *net);
/* Read the next links; returns what changed as an array for events.jsonl, NULL when nothing did. */
struct json_t *lh_watch_tick(struct lh_watch *w, struct lh_net *net);
/* An answer to the background probe; rtt_ns < 0: none came. */
void lh_watch_ping(struct lh_watch *w, unsigned from, unsigned to, lh_ns rtt_ns);
/* Read every link a last time. ret[nsites * nsites]. */
void lh_watch_end(struct lh_watch *w, struct lh_net *net, struct lh_link_traffic *ret);

/* What the drops came from, in words: "queue", "loss model", "queue, cut", ...; "" without drops. Returns buf. */
char *lh_watch_drop_cause(const struct lh_link_traffic *tr, char *buf, size_t size);

#endif
