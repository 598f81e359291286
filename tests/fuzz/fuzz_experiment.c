/* The experiment file: what comes in is refused with a place and a reason, or its canonical form is a fixed point. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "longhaul/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void see(void *ctx, const char *path, const char *value)
{
	size_t *n = ctx;
	*n += strlen(path) + strlen(value);
}

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
	size_t chars = 0;
	struct lh_err flat = LH_ERR_INIT;
	if (lh_experiment_flatten("fuzz.yaml", (const char *)data, size, see, &chars, &flat) && !flat.code)
		abort();
	if (!rc) {
		lh_experiment_done(&e);
		lh_experiment_done(&again);
	}
	free(printed);
	return 0;
}
