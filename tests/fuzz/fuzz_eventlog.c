/* events.jsonl: whatever is in it, the reader refuses it or hands over events that the collector can judge. */
#include <stdint.h>
#include <stdio.h>

#include "collect.h"
#include "eventlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int collect(void *ctx, const struct lh_event *e, struct lh_err *err)
{
	lh_series_add(ctx, e, err); /* refusing is fine, crashing is not */
	return 0;
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
	lh_series_identical(&series, lh_series_committed(&series), &epoch, &peer);
	lh_series_done(&series);
	return 0;
}
