/* cell_internal.h - what cell.c, reaper.c and uml.c share. */
#ifndef NETEM_CELL_INTERNAL_H
#define NETEM_CELL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "longhaul/cell.h"

/* Everything that the processes of one cell are started with; lives on the caller's stack and is copied by fork. */
struct lh_cell_start {
	const struct lh_cell_options *opt;
	int (*fn)(void *ctx);
	void *ctx;
	int clone_flags;  /* CLONE_NEW* */
	bool reaper;      /* no pid namespace: the worker is the child of a reaper */
	pid_t caller, reaper_pid;
	uid_t uid;        /* taken before: in an unmapped user namespace everybody is 65534 */
	gid_t gid;
	int life[2];      /* caller -> worker or reaper: signal numbers as bytes; end of file: the caller is dead */
	int report[2];    /* worker or reaper -> caller: one struct lh_cell_report */
	int scratch[2];   /* worker -> reaper: paths to remove at the end, one a packet */
};

#define LH_SCRATCH_MAX 512 /* bytes of a scratch directory's path */

struct lh_cell_report {
	int code; /* 0: the worker runs */
	char text[256];
};

/* clone() with namespace flags that returns twice, like fork(). -errno on failure. */
pid_t lh_cell_clone(int flags);
/* In the new process: set the namespaces up, report, run fn, exit with fn's value. */
void lh_cell_worker(struct lh_cell_start *start) __attribute__((noreturn));
/* Tell the caller how the start went: 0, or -errno and what was refused. */
void lh_cell_tell(const struct lh_cell_start *start, int code, const char *what);

/* Body of the reaper process: starts the worker, waits for it or for the caller's death, ends every descendant,
 * removes scratch. Returns the worker's status (128 + signal when it was killed). */
int lh_reaper_main(struct lh_cell_start *start);

/* One way to make a cell. Returns the pid of the worker, or of the reaper; -errno with the reason in err. */
pid_t lh_cell_attempt(struct lh_cell_start *start, struct lh_err *err);
/* Wait for it and close what is open. 0: exit status 0. */
int lh_cell_end(struct lh_cell_start *start, pid_t pid);

/* Inside a cell's worker: is there a private tmpfs on opt->tmpfs_dir? */
bool lh_cell_has_tmpfs(void);
/* Inside a cell's worker: make a directory below `parent` that goes with the cell, whenever and however that ends. */
int lh_cell_scratch_make(const char *parent, char *ret_path, size_t size, struct lh_err *err);

/* exit status as a shell counts it */
int lh_wait_status(int status);
/* Why are namespaces refused here, and what helps? An empty text where nothing is known. */
const char *lh_cell_remedy(void);

#endif
