/* trace.json, made from events that are written down in golden/timeline/, against the file there; what Perfetto needs of
 * it (slices of a thread nest, asynchronous ones have both ends, every place has a name); and that its size is bounded.
 * LONGHAUL_UPDATE_GOLDEN=1 writes it anew.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "longhaul/experiment.h"
#include "lhtrace.h"
#include "timeline.h"

static const char file[] = "longhaul: 1\n"
			   "name: \"pair\"\n"
			   "sites:\n"
			   "  us: {peers: 1}\n"
			   "  eu: {peers: 1}\n"
			   "matrix: {rtt: {us: {eu: 100ms}}}\n";

static char *write_trace(const char *text, size_t most, int *ret_rc, struct lh_err *err)
{
	struct lh_experiment exp;
	char *out_text = NULL;
	size_t len;
	FILE *events = text ? fmemopen((void *)(uintptr_t)text, strlen(text), "r")
			    : fopen(lh_test_path("golden/timeline/events.jsonl"), "re");

	CU_ASSERT_PTR_NOT_NULL_FATAL(events);
	CU_ASSERT_EQUAL_FATAL(lh_experiment_load_text("pair.yaml", file, strlen(file), NULL, 0, stderr, &exp, err), 0);
	FILE *out = open_memstream(&out_text, &len);
	*ret_rc = lh_timeline_write(&exp.topology, events, most, out, err);
	fclose(out);
	fclose(events);
	lh_experiment_done(&exp);
	return out_text;
}

static size_t count(const json_t *doc, const char *phase)
{
	const json_t *e;
	size_t i, n = 0;

	json_array_foreach(json_object_get(doc, "traceEvents"), i, e)
		n += !strcmp(json_string_value(json_object_get(e, "ph")), phase);
	return n;
}

static void test_golden(void)
{
	struct lh_err err = LH_ERR_INIT;
	int rc;
	char *got = write_trace(NULL, LH_TIMELINE_EVENTS_MAX, &rc, &err);

	CU_ASSERT_EQUAL(rc, 0);
	lh_test_golden("golden/timeline/trace.json", got);
	json_t *doc = json_loads(got, JSON_REJECT_DUPLICATES, NULL);
	lhtrace_check(doc);
	CU_ASSERT_EQUAL(count(doc, "X"), 2 * 4 * (1 + 3));
	CU_ASSERT_EQUAL(count(doc, "b"), 2 * 3); /* that of round 2 never ended */
	CU_ASSERT_EQUAL(count(doc, "e"), 2 * 3);
	CU_ASSERT_EQUAL(count(doc, "i"), 3);
	json_decref(doc);
	free(got);
}

static void test_bounded(void)
{
	struct lh_err err = LH_ERR_INIT;
	int rc;

	for (size_t most = 1; most < 40; most++) {
		char *got = write_trace(NULL, most, &rc, &err);
		json_t *doc = json_loads(got, JSON_REJECT_DUPLICATES, NULL);
		const char *left_out = json_string_value(json_object_get(json_object_get(doc, "otherData"), "left_out"));
		CU_ASSERT_EQUAL(rc, 0);
		lhtrace_check(doc);
		/* The first round of every peer is always there, whatever is asked. */
		CU_ASSERT_TRUE(count(doc, "X") + count(doc, "b") + count(doc, "e") <= 2 * most + 2 * (1 + 2 + 3));
		CU_ASSERT_TRUE(count(doc, "X") >= 2);
		CU_ASSERT_EQUAL(!strcmp(left_out, "nothing"), most >= 24);
		json_decref(doc);
		free(got);
	}
}

static void test_other_logs(void)
{
	static const struct { const char *text; int rc; } cases[] = {
		{ "{\"event\":\"listening\",\"rank\":0,\"t_ns\":5}\n", 0 }, /* broken off before the go */
		{ "{\"event\":\"go\",\"t_ns\":5}\n{\"event\":\"listening\",\"rank\":2,\"t_ns\":7}\n", -EPROTO },
		{ "{\"event\":\"go\",\"t_ns\":5}\n{\"event\":\"links\",\"t_ns\":7,\"links\":[{\"from\":\"mars\"},7]}\n", 0 },
		{ "{\"event\":\"go\",\"t_ns\":5}\nnonsense\n", -EINVAL },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_err err = LH_ERR_INIT;
		int rc;
		char *got = write_trace(cases[i].text, 100, &rc, &err);
		CU_ASSERT_EQUAL(rc, cases[i].rc);
		if (rc == 0) {
			json_t *doc = json_loads(got, JSON_REJECT_DUPLICATES, NULL);
			lhtrace_check(doc);
			json_decref(doc);
		}
		free(got);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "golden", test_golden }, { "bounded", test_bounded }, { "other_logs", test_other_logs },
	};

	return lh_test_main(argc, argv, "timeline", tests, sizeof tests / sizeof *tests);
}
