/* The experiment file: what comes in is refused with a place and a reason, or its canonical form is a fixed point. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "longhaul/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lh_experiment e, again;
	struct lh_err err = LH_ERR_INIT;
	char *printed = NULL;
	size_t len = 0;
	FILE *diag = open_memstream(&printed, &len);
	int rc = lh_experiment_load_text("fuzz.yaml", (const char *)data, size, NULL, 0, diag, &e, &err);
	fclose(diag);
	if (rc && (err.code != rc || err.exit != LH_EXIT_INPUT || !strstr(printed, ": error: ")))
		abort();
	if (!rc && (len || lh_experiment_load_text("again.yaml", e.canonical, strlen(e.canonical), NULL, 0, NULL,
						   &again, &err)))
		abort();
	if (!rc && strcmp(e.canonical, again.canonical))
		abort();
	if (!rc) {
		lh_experiment_done(&e);
		lh_experiment_done(&again);
	}
	free(printed);
	return 0;
}
