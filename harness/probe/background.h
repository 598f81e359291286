/* background.h - the background probe: while a training runs, one echo a second on every link.
 *
 * One child per site, in its representative peer, pings the representatives of all others and writes a record for each
 * answer, or for each echo that stayed without one, into a pipe. One echo a second is 58 bytes: it does not load a link
 * that carries a training, and shows when the delay under load leaves what was asked.
 */
#ifndef HARNESS_PROBE_BACKGROUND_H
#define HARNESS_PROBE_BACKGROUND_H

#include "longhaul/network.h"

struct lh_probe_watch;

struct lh_probe_sample {
	unsigned from, to; /* sites */
	lh_ns sent_ns;     /* CLOCK_MONOTONIC */
	lh_ns rtt_ns;      /* -1: no answer within 5 s */
};
typedef void lh_probe_sample_fn(void *ctx, const struct lh_probe_sample *sample);

int lh_probe_watch_start(struct lh_net *net, const struct lh_topology *t, struct lh_probe_watch **ret,
			 struct lh_err *err);
/* Readable when samples wait; for poll(). */
int lh_probe_watch_fd(const struct lh_probe_watch *w);
/* Hand over what waits, without blocking. */
void lh_probe_watch_read(struct lh_probe_watch *w, lh_probe_sample_fn *each, void *ctx);
/* End the children and free w; NULL is fine. */
void lh_probe_watch_stop(struct lh_probe_watch *w);

#endif
