/* The CSV files beside an experiment: the input is read as the matrix of one and as the trace of another, and as the
 * comings and goings of the peers of a third. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "longhaul/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void load(const char *before, int fd, const char *after)
{
	struct lh_experiment e, again;
	struct lh_err err = LH_ERR_INIT;
	char text[400];
	int len = snprintf(text, sizeof text, "%s/proc/self/fd/%d%s", before, fd, after);
	int rc = lh_experiment_load_text("base.yaml", text, (size_t)len, NULL, 0, NULL, &e, &err);
	if (rc && (err.code != rc || err.exit != LH_EXIT_INPUT || !err.text[0]))
		abort();
	if (rc)
		return;
	if (lh_experiment_load_text("again.yaml", e.canonical, strlen(e.canonical), NULL, 0, NULL, &again, &err) ||
	    strcmp(e.canonical, again.canonical))
		abort();
	lh_experiment_done(&e);
	lh_experiment_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("table.csv", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, data, size) == (ssize_t)size) {
		load("longhaul: 1\nsites: {us: {}, eu: {}, asia: {}}\nmatrix: {rtt: ", fd, "}\n");
		load("longhaul: 1\nsites: {us: {}, eu: {}}\nmatrix: {delay: 50ms}\n"
		     "schedule: [{at: 1s, trace: ", fd, ", between: [us, eu]}, {at: 2s, kill: us-0}]\n");
		load("longhaul: 1\nsites: {us: {peers: 3}, eu: {}}\nmatrix: {delay: 50ms}\nspot: {trace: ", fd, "}\n");
	}
	if (fd >= 0)
		close(fd);
	return 0;
}
