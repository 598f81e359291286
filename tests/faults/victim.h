/* victim.h - one `longhaul` that something bad happens to, and what is left of it.
 *
 * A victim lives in a directory of its own, which becomes the current directory of the (forked) test; its run directory
 * is run/ there. Whatever happens, victim_close() asserts that no process, namespace, mount, interface or file is left
 * but that directory, and that every file in it is whole.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "lhleft.h"

struct victim {
	char mark[LH_MARK_SIZE], dir[32];
	char interfaces[4096]; /* of the test's own network, before */
	pid_t pid;             /* 0: not running */
	int out_fd, err_fd;
	int status;     /* exit status, or 128 + signal */
	double seconds; /* that it ran */
	char out[65536], err[8192];
};

/* 4 peers on two sites, no delay, 40 samples a second each, 6 epochs of 0.2 s, deadline 2 s. */
extern const char victim_topology[];

/* A test program's main() goes here when its first argument is --victim: it becomes longhaul, as the user with the
 * number VICTIM_USER when there is such a variable. */
int victim_main(char **argv);
/* Skips where the machine has no namespaces. Writes `topology` as here.yaml. */
void victim_open(struct victim *v, const char *topology);
/* Arguments are NULL-terminated. */
void victim_start(struct victim *v, const char *const *args);
/* Collect it; kills it (and fails) when it still runs after so long. */
void victim_wait(struct victim *v, int limit_ms);
/* Start and wait for up to 60 s. */
void victim_run(struct victim *v, const char *const *args);
/* Assert status and that stderr contains `says` (NULL: anything). */
void victim_expect(const struct victim *v, int status, const char *says);
/* Wait until events.jsonl of the run directory has the go and this many reports of epochs. */
bool victim_trains(const struct victim *v, unsigned reports);
/* The training process with this rank; 0: none. */
pid_t victim_peer(const struct victim *v, unsigned rank);
/* pid 1 of its cell; 0: none. */
pid_t victim_cell(const struct victim *v);
/* A JSON file below the directory; NULL when it is not there or not whole. */
json_t *victim_json(const struct victim *v, const char *path);
/* CU_ASSERT that nothing is left; true when so. May be called before victim_close(). */
bool victim_left_nothing(struct victim *v);
/* CU_ASSERT that every file of a run directory (or a sweep's) is whole; true when so. `torn`: the last line of
 * events.jsonl may be cut (User-Mode Linux writes page by page). */
bool victim_files_whole(const char *dir, bool torn);
void victim_close(struct victim *v);

#endif
