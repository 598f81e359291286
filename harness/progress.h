/* progress.h - what a person sees on stderr while a run goes on: one rewritten line on a terminal, plain lines
 * elsewhere (one an epoch). Results never come here.
 */
#ifndef HARNESS_PROGRESS_H
#define HARNESS_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include "longhaul/units.h"
#include "metrics.h"

struct lh_progress {
	FILE *out;        /* NULL: quiet */
	bool animate;     /* rewrite one line */
	bool terse;       /* where lines are plain: no line for an epoch */
	size_t drawn;     /* characters of the line that stands there */
	char prefix[64];  /* before every line; a sweep puts its cell here */
};

/* A terminal that is not dumb, and not a CI job's (CI=true in envp)? */
bool lh_progress_animates(bool is_terminal, char *const *envp);
/* A line that the next one replaces; not shown where lines are plain. */
void lh_progress_draw(struct lh_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line that stays. */
void lh_progress_note(struct lh_progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Take the standing line away. */
void lh_progress_clear(struct lh_progress *p);

/* "epoch 3/6  412 samples/s  calc 1.20 s  comm 0.43 s  granularity 2.8  slowest us->eu 103.2 ms".
 * slowest: NULL when no link was measured. Returns buf. */
char *lh_progress_epoch_text(const struct lh_epoch_metrics *e, uint32_t nepochs, const char *slowest,
			     double slowest_rtt_s, char *buf, size_t size);
/* "1h 02m", "3m 20s", "14s"; for time left. Returns buf. */
char *lh_progress_duration_text(double seconds, char *buf, size_t size);

#endif
