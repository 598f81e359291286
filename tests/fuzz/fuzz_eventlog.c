/* events.jsonl: whatever is in it, the reader refuses it or hands over events that the collector can judge. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "collect.h"
#include "eventlog.h"
#include "timeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int collect(void *ctx, const struct lh_event *e, struct lh_err *err)
{
	lh_series_add(ctx, e, err); /* refusing is fine, crashing is not */
	return 0;
}

/* The same as a timeline: JSON, or an error. */
static void draw(const uint8_t *data, size_t size)
{
	static struct lh_site sites[] = { { .name = "us" }, { .name = "eu" } };
	static struct lh_peer peers[] = { { .name = "us-0" }, { .name = "us-1" }, { .name = "eu-0", .site = 1 } };
	const struct lh_topology t = { .name = "t", .nsites = 2, .sites = sites, .npeers = 3, .peers = peers };
	struct lh_err err = LH_ERR_INIT;
	char *text = NULL;
	size_t len;
	FILE *in = fmemopen((void *)(uintptr_t)data, size, "r"), *out = open_memstream(&text, &len);

	if (in && out && lh_timeline_write(&t, in, 20, out, &err) == 0) {
		fflush(out);
		json_t *doc = json_loads(text, 0, NULL);
		if (!doc)
			abort();
		json_decref(doc);
	}
	if (in)
		fclose(in);
	if (out)
		fclose(out);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lh_series series;
	struct lh_err err = LH_ERR_INIT;
	const struct lh_eventlog_handler h = { .peer = collect, .ctx = &series };
	uint32_t epoch;
	unsigned peer;

	if (size == 0 || lh_series_init(&series, 3, 4, &err) < 0)
		return 0;
	series.go_ns = 1;
	FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
	if (in) {
		lh_eventlog_read(in, &h, NULL, &err);
		fclose(in);
	}
	draw(data, size);
	lh_series_identical(&series, lh_series_committed(&series), &epoch, &peer);
	lh_series_done(&series);
	return 0;
}
