/* rundir.h - the files of one run. Events are written as they come, everything else complete or not at all
 * (a temporary name, then a rename), so that whatever ends a run leaves files that can be read.
 *
 * A full disk ends a run. A reserve, given back when the last files are written, keeps its result.
 */
#ifndef HARNESS_RUNDIR_H
#define HARNESS_RUNDIR_H

#include <stdio.h>
#include <sys/types.h>

#include "longhaul/err.h"
#include "longhaul/units.h"

struct json_t;

struct lh_rundir {
	int fd;                   /* the directory */
	int events_fd;            /* events.jsonl */
	off_t events_size;
	int log_fd;               /* peers.log: what peers said on stderr */
	char path[4096];
};

/* In the existing, empty directory `path`. Failures to write are LH_EXIT_BROKE and name the file. */
int lh_rundir_open(const char *path, lh_bytes reserve_bytes, struct lh_rundir *ret, struct lh_err *err);
/* Only to write files into, with lh_rundir_write*(); nothing is made. */
int lh_rundir_attach(const char *path, struct lh_rundir *ret, struct lh_err *err);
/* Close; removes an empty peers.log and the reserve. */
void lh_rundir_close(struct lh_rundir *d);
/* Give the reserve back: the last files are about to be written. */
void lh_rundir_release(struct lh_rundir *d);

/* One line of events.jsonl; `line` has no newline. In the file when this returns 0. */
int lh_rundir_line(struct lh_rundir *d, const char *line, size_t len, struct lh_err *err);
/* A harness event: "event" and "t_ns" are put in front. Steals `fields` (may be NULL). */
int lh_rundir_event(struct lh_rundir *d, const char *kind, lh_ns t_ns, struct json_t *fields, struct lh_err *err);

typedef int lh_write_fn(void *ctx, FILE *out);
int lh_rundir_write(struct lh_rundir *d, const char *name, lh_write_fn *fn, void *ctx, struct lh_err *err);
/* Does not steal `doc`. */
int lh_rundir_write_json(struct lh_rundir *d, const char *name, const struct json_t *doc, struct lh_err *err);

#endif
