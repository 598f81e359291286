/* `longhaul compare`: three runs made from golden/result/valid.json, as text and as JSON, against golden/compare/; and
 * what is refused. LONGHAUL_UPDATE_GOLDEN=1 writes the files anew.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compare.h"
#include "lhtest.h"

static json_t *result(void)
{
	json_t *doc = json_load_file(lh_test_path("golden/result/valid.json"), 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(doc);
	return doc;
}

static json_t *manifest(const char *training)
{
	char text[1024];
	snprintf(text, sizeof text,
		 "longhaul: 1\nname: \"%s\"\nsites:\n  us:\n    peers:\n      - {name: us-0, nic: none}\n"
		 "      - {name: us-1, nic: none}\n  eu:\n    peers:\n      - {name: eu-0, nic: none}\n"
		 "links:\n  - {from: us, to: eu, delay: 50ms}\n  - {from: eu, to: us, delay: 50ms}\ntraining: {%s}\n",
		 training, training);
	return json_pack("{s:s, s:s}", "schema", "longhaul-manifest/1", "experiment", text);
}

static void set(json_t *doc, const char *section, const char *key, json_t *value)
{
	json_object_set_new(section ? json_object_get(doc, section) : doc, key, value);
}

/* The plain one; one twice as fast that went on for an epoch more, with other settings and on three sites; one that is
 * not valid and whose manifest is missing. */
static void three_runs(struct lh_compare *c)
{
	struct lh_err err = LH_ERR_INIT;
	json_t *a = result(), *b = result(), *z = result(), *ma = manifest("algorithm: ring, wire: fp16"),
	       *mb = manifest("algorithm: auto, wire: fp16, streams: 4");
	CU_ASSERT_EQUAL_FATAL(lh_compare_add_docs(c, "runs/plain/", a, ma, &err), 0);
	set(b, "summary", "throughput_sps", json_real(200));
	set(b, "summary", "comm_s", json_real(0.05));
	set(b, "summary", "granularity", json_real(10));
	set(b, "experiment", "algorithm", json_string("two-level"));
	set(b, NULL, "exchange", json_pack("{s:f}", "bound_fraction", 0.875));
	json_t *more = json_deep_copy(json_array_get(json_object_get(b, "epochs"), 1));
	json_object_set_new(more, "loss", json_real(1.25));
	json_array_append_new(json_object_get(b, "epochs"), more);
	json_array_append_new(json_object_get(b, "links"),
			      json_pack("{s:s, s:s, s:i}", "from", "eu", "to", "asia", "train_bytes", 800000));
	json_array_append_new(json_object_get(b, "links"),
			      json_pack("{s:s, s:s, s:i}", "from", "us", "to", "us", "train_bytes", 5000));
	char *twice = strdup(json_string_value(json_object_get(mb, "experiment")));
	for (char *at; (at = strstr(twice, "nic: none"));)
		memcpy(at, "nic: 1bit", 9);
	set(mb, NULL, "experiment", json_string(twice));
	free(twice);
	CU_ASSERT_EQUAL_FATAL(lh_compare_add_docs(c, "runs/auto/result.json", b, mb, &err), 0);
	set(z, "summary", "valid", json_false());
	set(z, "summary", "reason", json_string("peer us-0: 5 % behind its declared pace"));
	set(z, "summary", "host_limited", json_true());
	set(z, NULL, "links", json_array());
	CU_ASSERT_EQUAL_FATAL(lh_compare_add_docs(c, "late", z, NULL, &err), 0);
	lh_compare_settle(c);
	json_decref(a);
	json_decref(b);
	json_decref(z);
	json_decref(ma);
	json_decref(mb);
}

static void test_three_runs(void)
{
	struct lh_compare c = { 0 };
	char *text;
	size_t len;

	three_runs(&c);
	CU_ASSERT_EQUAL(c.loss_samples, 200); /* the second went on to 300 */
	CU_ASSERT_DOUBLE_EQUAL(lh_compare_loss(&c, 1, NULL), 1.51, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(lh_compare_ratio(&c, 1, 200, 100), 2, 1e-12);
	CU_ASSERT_TRUE(isnan(lh_compare_ratio(&c, 2, 200, 100))); /* it is not valid */
	CU_ASSERT_DOUBLE_EQUAL(c.runs[1].wan_bytes, 2 * 2100 + 800000, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(c.runs[1].lan_bytes, 5000, 1e-9);
	CU_ASSERT_TRUE(isnan(c.runs[2].wan_bytes));
	FILE *out = open_memstream(&text, &len);
	lh_compare_print(&c, out);
	fclose(out);
	lh_test_golden("golden/compare/three.txt", text);
	free(text);
	json_t *doc = lh_compare_json(&c);
	text = json_dumps(doc, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
	lh_test_golden("golden/compare/three.json", text);
	free(text);
	json_decref(doc);
	lh_compare_done(&c);
}

/* Cumulative samples that do not meet: each run's last epoch until then, and where that was. */
static void test_no_common_samples(void)
{
	uint64_t at;
	struct lh_err err = LH_ERR_INIT;
	struct lh_compare c = { 0 };
	json_t *a = result(), *b = result(), *epoch;
	size_t i;

	json_array_foreach(json_object_get(b, "epochs"), i, epoch)
		json_object_set_new(epoch, "samples", json_integer(77 + (json_int_t)i));
	CU_ASSERT_EQUAL(lh_compare_add_docs(&c, "a", a, NULL, &err), 0);
	CU_ASSERT_EQUAL(lh_compare_add_docs(&c, "b", b, NULL, &err), 0);
	lh_compare_settle(&c);
	CU_ASSERT_EQUAL(c.loss_samples, 77 + 78);
	CU_ASSERT_DOUBLE_EQUAL(lh_compare_loss(&c, 0, &at), 1.51, 1e-9);
	CU_ASSERT_EQUAL(at, 100);
	CU_ASSERT_DOUBLE_EQUAL(lh_compare_loss(&c, 1, &at), 1.51, 1e-9);
	CU_ASSERT_EQUAL(at, 77 + 78);
	lh_compare_done(&c);
	/* Nothing was trained: no loss, and it holds nobody back. */
	json_object_set_new(b, "epochs", json_array());
	CU_ASSERT_EQUAL(lh_compare_add_docs(&c, "a", a, NULL, &err), 0);
	CU_ASSERT_EQUAL(lh_compare_add_docs(&c, "b", b, NULL, &err), 0);
	lh_compare_settle(&c);
	CU_ASSERT_EQUAL(c.loss_samples, 200);
	CU_ASSERT_TRUE(isnan(lh_compare_loss(&c, 1, &at)));
	CU_ASSERT_EQUAL(at, 0);
	lh_compare_done(&c);
	json_decref(a);
	json_decref(b);
}

static char dir[64];

static void write_file(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *out = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fputs(text, out);
	fclose(out);
}

static void refused(const char *what, const char *says)
{
	struct lh_compare c = { 0 };
	struct lh_err err = LH_ERR_INIT;
	char path[128];

	snprintf(path, sizeof path, "%s%s%s", dir, *what ? "/" : "", what);
	CU_ASSERT_TRUE(lh_compare_add(&c, path, &err) < 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	CU_ASSERT_EQUAL(strncmp(err.text, dir, strlen(dir)), 0); /* the user's object comes first */
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
	if (!strstr(err.text, says))
		printf("# %s\n", err.text);
	lh_compare_done(&c);
}

static void test_files(void)
{
	struct lh_compare c = { 0 };
	struct lh_err err = LH_ERR_INIT;
	json_t *doc = result();
	char *text = json_dumps(doc, 0), command[128];

	strcpy(dir, "/tmp/lh-compare-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	refused("", "no run that came to an end is there");
	refused("none", "no run that came to an end is there");
	write_file("result.json", "{\"schema\": \"nccl\", \"summary\": {\"valid\": true}}");
	refused("", "is not a result of schema longhaul-result/1");
	text[strlen(text) / 2] = 0;
	write_file("result.json", text);
	refused("", "result.json:1:");
	refused("result.json", "result.json:1:");
	free(text);
	text = json_dumps(doc, 0);
	write_file("result.json", text);
	CU_ASSERT_EQUAL(lh_compare_add(&c, dir, &err), 0);
	CU_ASSERT_PTR_NULL(c.runs[0].settings);
	CU_ASSERT_STRING_EQUAL(c.runs[0].settings_missing, "no manifest.json beside it");
	/* A manifest that is torn, foreign, or of an experiment that is no YAML only says nothing about settings. */
	static const char *const manifests[] = { "{\"schema\"", "{}", "[1]",
		"{\"schema\": \"longhaul-manifest/1\", \"experiment\": \"a: [\"}",
		"{\"schema\": \"longhaul-manifest/1\", \"experiment\": 7}" };
	for (size_t i = 0; i < sizeof manifests / sizeof *manifests; i++) {
		write_file("manifest.json", manifests[i]);
		CU_ASSERT_EQUAL(lh_compare_add(&c, dir, &err), 0);
		CU_ASSERT_TRUE(!c.runs[i + 1].settings && c.runs[i + 1].settings_missing[0]);
	}
	json_t *m = manifest("wire: fp16");
	char *mtext = json_dumps(m, 0);
	write_file("manifest.json", mtext);
	char path[128];
	snprintf(path, sizeof path, "%s/result.json", dir);
	CU_ASSERT_EQUAL(lh_compare_add(&c, path, &err), 0); /* the manifest is found beside the file */
	CU_ASSERT_PTR_NOT_NULL(c.runs[c.nruns - 1].settings);
	while (c.nruns < LH_COMPARE_RUNS_MAX)
		CU_ASSERT_EQUAL_FATAL(lh_compare_add(&c, dir, &err), 0);
	CU_ASSERT_EQUAL(lh_compare_add(&c, dir, &err), -E2BIG);
	lh_compare_done(&c);
	write_file("plan.json", "{}");
	refused("", "is the directory of a sweep");
	free(text);
	free(mtext);
	json_decref(m);
	json_decref(doc);
	snprintf(command, sizeof command, "rm -r %s", dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "three_runs", test_three_runs }, { "no_common_samples", test_no_common_samples },
		{ "files", test_files },
	};

	return lh_test_main(argc, argv, "compare", tests, sizeof tests / sizeof *tests);
}
