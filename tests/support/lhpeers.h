/* lhpeers.h - real longhaul-peer processes on 127/8, as the harness would start them, for tests.
 *
 * Every group has an address of its own for each peer (from the test's pid), so that tests never meet.
 */
#ifndef LHPEERS_H
#define LHPEERS_H

#include <stdio.h>
#include <sys/types.h>

#include "longhaul/peer.h"

enum { LHPEERS_MAX = 8, LHPEERS_EVENTS = 256, LHPEERS_VIEWS = 32 };

struct lhpeer {
	pid_t pid;      /* 0: not started or reaped */
	int control_fd; /* -1: closed */
	FILE *events;
	int status;     /* exit status, 128 + signal */
	struct lh_event last;
	struct lh_event epochs[LHPEERS_EVENTS];
	unsigned nepochs, nspans;
	struct lh_spans spans; /* the last */
	struct lh_event joined, eval, failed;
	/* Elastic. */
	struct lh_event views[LHPEERS_VIEWS], synced, checkpoint;
	char told[8192]; /* all ranges of the last epoch, and of one that is told next */
	size_t ntold;    /* of an epoch that is told next */
	unsigned nviews, ncheckpoints, nmore; /* nmore: lines with such ranges */
	bool has_synced, has_left;
	bool has_joined, has_eval, has_failed, has_finished;
};

struct lhpeers {
	struct lh_peer_config config; /* shared; rank is filled in for each */
	struct lh_peer_endpoint endpoints[LHPEERS_MAX];
	struct lhpeer peer[LHPEERS_MAX];
};

/* A configuration of n peers with sensible values: engine cpu on digits, fp32, deadline 10 s. */
void lhpeers_init(struct lhpeers *g, unsigned n);
/* Start one; the configuration is the group's as it is now. */
void lhpeers_start(struct lhpeers *g, unsigned rank);
void lhpeers_start_all(struct lhpeers *g);
/* Read events of one peer until one of this kind came (true) or its stream ended (false). */
bool lhpeers_read_until(struct lhpeers *g, unsigned rank, enum lh_event_kind kind);
/* Wait until all have joined, then say go. */
void lhpeers_go(struct lhpeers *g);
void lhpeers_command(struct lhpeers *g, unsigned rank, char command);
/* Read what is left and reap. */
void lhpeers_wait(struct lhpeers *g, unsigned rank);
void lhpeers_wait_all(struct lhpeers *g);
/* Kill what still runs. */
void lhpeers_done(struct lhpeers *g);

#endif
