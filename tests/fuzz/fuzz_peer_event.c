/* The reader of event lines: what is accepted prints and reads back the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "longhaul/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int try_spans(const char *data, size_t size)
{
	static struct lh_spans s, again;
	struct lh_err err = LH_ERR_INIT;
	char line[LH_EVENT_LINE_MAX], line2[LH_EVENT_LINE_MAX];
	if (lh_spans_parse(data, size, &s, &err)) {
		if (!err.code || !err.text[0])
			abort();
		return 0;
	}
	int len = lh_spans_print(&s, line, sizeof line);
	if (len == -ENOSPC && s.nspans > LH_SPANS_SURE)
		return 0;
	if (len <= 0 || lh_spans_parse(line, (size_t)len - 1, &again, &err) ||
	    lh_spans_print(&again, line2, sizeof line2) != len || strcmp(line, line2))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (lh_spans_is_line((const char *)data, size))
		return try_spans((const char *)data, size);
	struct lh_event e, again;
	struct lh_err err = LH_ERR_INIT;
	char line[LH_EVENT_LINE_MAX], line2[LH_EVENT_LINE_MAX];
	if (lh_event_parse((const char *)data, size, &e, &err)) {
		if (!err.code || !err.text[0])
			abort();
		return 0;
	}
	int len = lh_event_print(&e, line, sizeof line);
	if (len <= 0 || lh_event_parse(line, (size_t)len - 1, &again, &err) ||
	    lh_event_print(&again, line2, sizeof line2) != len || strcmp(line, line2))
		abort();
	return 0;
}
