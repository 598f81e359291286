/* timeline.h - events.jsonl as a Chrome trace (https://ui.perfetto.dev, chrome://tracing): what every peer did when, and
 * what the links carried meanwhile.
 *
 * A site is a process and a peer one of its threads. A round is a slice, what the peer did in it are slices below it; an
 * exchange is an asynchronous slice, since it may go on into the next round. Links are counters of the site that sends.
 * Times are microseconds since the go.
 */
#ifndef HARNESS_TIMELINE_H
#define HARNESS_TIMELINE_H

#include <stdio.h>

#include "longhaul/topology.h"

/* Slices and points of each sort; with more events, every k-th round shows its spans, every k-th reading its counters. A
 * trace of that size is some 30 MB. */
#define LH_TIMELINE_EVENTS_MAX 100000

/* A slice of several merged spans has the kind that most of it is, and their number. */
/* `events` is read twice from its beginning. `most`: LH_TIMELINE_EVENTS_MAX, less for tests. What was left out is said in
 * "otherData". */
int lh_timeline_write(const struct lh_topology *t, FILE *events, size_t most, FILE *out, struct lh_err *err);

#endif
