/* eventlog.h - event lines: cut out of a byte stream (a peer's pipe), or read back from events.jsonl.
 *
 * events.jsonl holds the peers' own lines exactly as they came and, between them, the harness's: JSON objects
 * with "event" and "t_ns" too, whose kinds are listed in docs/MEASUREMENT.md.
 */
#ifndef HARNESS_EVENTLOG_H
#define HARNESS_EVENTLOG_H

#include <stdio.h>

#include "longhaul/peer.h"

/* Bytes of a line of events.jsonl, a power of two; the harness's own name many links. */
#define LH_EVENTLOG_LINE_MAX (1u << 20)

struct lh_lines {
	size_t len;
	char buf[LH_EVENT_LINE_MAX];
};

/* One complete line, without its newline. A negative return stops the feeding and is handed on. */
typedef int lh_line_fn(void *ctx, const char *line, size_t len, struct lh_err *err);

/* More bytes of the stream. -EMSGSIZE (LH_EXIT_BROKE) for a line longer than LH_EVENT_LINE_MAX. */
int lh_lines_feed(struct lh_lines *l, const char *data, size_t n, lh_line_fn *fn, void *ctx, struct lh_err *err);

struct json_t;
struct lh_eventlog_handler {
	/* Each may be NULL. A negative return stops the reading. */
	int (*peer)(void *ctx, const struct lh_event *e, struct lh_err *err);
	int (*harness)(void *ctx, const char *kind, const struct json_t *line, struct lh_err *err);
	void *ctx;
	int (*spans)(void *ctx, const struct lh_spans *s, struct lh_err *err);
};

/* A whole events.jsonl. A last line without newline (the writer was killed) is left out, anything else that is
 * not an event is refused with its line number. *ret_lines (may be NULL): complete lines read. */
int lh_eventlog_read(FILE *in, const struct lh_eventlog_handler *h, size_t *ret_lines, struct lh_err *err);

#endif
