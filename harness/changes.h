/* changes.h - the experiment's schedule, carried out while it runs: at its time each change is given to the
 * kernel and written into events.jsonl. Times count from the first epoch's beginning.
 */
#ifndef HARNESS_CHANGES_H
#define HARNESS_CHANGES_H

#include "longhaul/experiment.h"
#include "longhaul/network.h"

struct lh_changes {
	const struct lh_experiment *exp;
	size_t next;
};

/* Does no change give a link another delay than it begins with? */
bool lh_changes_keep_delays(const struct lh_experiment *exp);

/* CLOCK_MONOTONIC of the next change; INT64_MAX when none is left. */
lh_ns lh_changes_due_ns(const struct lh_changes *c, lh_ns go_ns);

struct lh_changes_handler {
	/* After each change: its text ("link us->eu: cut") for the log and the event. */
	int (*done)(void *ctx, const struct lh_change *change, const char *text, struct lh_err *err);
	void (*kill)(void *ctx, unsigned peer);
	void (*notice)(void *ctx, unsigned peer);
	int (*add)(void *ctx, unsigned peer, struct lh_err *err);
	void *ctx;
};

/* Carry out what is due at now_ns. */
int lh_changes_apply(struct lh_changes *c, struct lh_net *net, lh_ns go_ns, lh_ns now_ns,
		     const struct lh_changes_handler *h, struct lh_err *err);

/* One line that says what a change is. Returns buf. */
char *lh_change_text(const struct lh_topology *t, const struct lh_change *c, char *buf, size_t size);

#endif
