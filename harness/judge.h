/* judge.h - may the numbers of a run be believed? Pure: every rule with its reason and its exit class. */
#ifndef HARNESS_JUDGE_H
#define HARNESS_JUDGE_H

#include "longhaul/experiment.h"
#include "longhaul/network.h"
#include "metrics.h"

/* At least this share of the bytes that peers say they sent must have left the shaped interfaces. */
#define LH_CROSSING_LEAST 0.99

enum lh_failure_kind {
	LH_FAILURE_NONE,
	LH_FAILURE_SETUP,       /* the network, the probe gate, a program that did not start */
	LH_FAILURE_PEER_DIED,
	LH_FAILURE_STALLED,     /* no byte within the deadline */
	LH_FAILURE_PEER,        /* a peer gave up by itself, or spoke nonsense */
	LH_FAILURE_OUTPUT,      /* the run directory cannot be written */
	LH_FAILURE_INTERRUPTED,
};
const char *lh_failure_kind_name(enum lh_failure_kind k);

/* What ended a run before its time. */
struct lh_failure {
	enum lh_failure_kind kind;
	int peer;                 /* who; -1: nobody in particular */
	lh_ns t_ns;               /* when it was noticed */
	uint32_t epoch;           /* under way then; 0: before the first */
	int exit_status;          /* enum lh_exit, or 128 + signal */
	char text[1024];
};

/* What one link carried while the peers trained. */
struct lh_link_traffic {
	bool known;
	uint64_t packets, bytes, drops;
	uint64_t drops_by[LH_DROP_CAUSES]; /* drops, apart */
	uint64_t backlog_packets_max; /* largest seen, once a second */
	unsigned pings, pings_lost;   /* of the background probe */
	double rtt_median_s, rtt_max_s; /* under the training's load; NaN without an answer */
};

#define LH_REASONS_MAX 8

struct lh_verdict {
	bool valid;
	int exit_status;
	unsigned nreasons;
	char reasons[LH_REASONS_MAX][512]; /* why not valid; the first decided exit_status */
};

struct lh_judge_input {
	const struct lh_topology *topology;
	const struct lh_metrics *metrics;      /* NULL: nothing was trained */
	const struct lh_failure *failure;
	const struct lh_link_traffic *traffic; /* [nsites * nsites] or NULL: not known */
	const struct lh_err *verify_after;     /* NULL: links were verified after training, or there are none */
	unsigned cpus;
	const char *gave_up;                   /* elastic: a peer that did though nothing cut it off; NULL: none */
};

void lh_judge(const struct lh_judge_input *in, struct lh_verdict *ret);

#endif
