/* --set: each line of the input is one override of a file that has every kind of thing to override. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "longhaul/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char base[] =
	"longhaul: 1\n"
	"sites: {us: {peers: 2, lan: {rtt: 1ms}}, eu: {peers: [{count: 1}, {name: big, pace: 80/s, tcp: default}]}}\n"
	"matrix: {rtt: {us: {eu: 103ms}}}\n"
	"links: [{between: [us, eu], jitter: 1ms, loss: 0.1%}]\n"
	"tcp: default\n"
	"training: {model: digits, pace: 40/s}\n"
	"schedule: [{at: 1s, kill: big}, {at: 2s, cut: [us, eu]}]\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { SETS = 16 };
	struct lh_override set[SETS];
	struct lh_experiment e, again;
	struct lh_err err = LH_ERR_INIT;
	size_t n = 0;
	char *text = malloc(size + 1), *save;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	for (char *line = strtok_r(text, "\n", &save); line && n < SETS; line = strtok_r(NULL, "\n", &save))
		set[n++].text = line;
	int rc = lh_experiment_load_text("base.yaml", base, sizeof base - 1, set, n, NULL, &e, &err);
	if (rc && (err.code != rc || err.exit != LH_EXIT_INPUT || !err.text[0]))
		abort();
	if (!rc &&
	    (lh_experiment_load_text("again.yaml", e.canonical, strlen(e.canonical), NULL, 0, NULL, &again, &err) ||
	     strcmp(e.canonical, again.canonical)))
		abort();
	if (!rc) {
		lh_experiment_done(&e);
		lh_experiment_done(&again);
	}
	free(text);
	return 0;
}
