/* result.json, epochs.csv and the text of a run, made from events and probe figures that are written down here, against
 * the files of golden/result/. LONGHAUL_UPDATE_GOLDEN=1 writes them anew.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "result.h"
#include "result_row.h"

#define MS LH_NS_PER_MS
#define GO (1000 * LH_NS_PER_S)

static const char file[] =
    "longhaul: 1\n"
    "name: pair\n"
    "sites:\n"
    "  us: {peers: 1}\n"
    "  eu: {peers: 1}\n"
    "matrix: {rtt: {us: {eu: 100ms}}}\n"
    "training: {engine: cpu, model: digits, target-batch: 100, microbatch: 10, epochs: 2, warmup: 1, pace: 100/s}\n";

struct scene {
	struct lh_experiment exp;
	struct lh_probe_report probe;
	struct lh_link_traffic traffic[4];
	struct lh_series series;
	struct lh_metrics metrics;
	struct lh_result r;
};

static void fill_probe(struct scene *c)
{
	c->probe.nlinks = 4;
	c->probe.links = calloc(4, sizeof *c->probe.links);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c->probe.links);
	for (unsigned i = 0; i < 4; i++) {
		struct lh_link_result *l = &c->probe.links[i];
		bool wan = i == 1 || i == 2;
		*l = (struct lh_link_result){
		    .from = i / 2,
		    .to = i % 2,
		    .mode = LH_MODE_GSO,
		    .rtt_spec_ns = wan ? 100 * MS : 0,
		    .floor_ns = wan ? 40000 : -1,
		    .rtt_min_ns = wan ? 100 * MS : -1,
		    .rtt_median_ns = wan ? 100 * MS + 20000 * i : -1,
		    .rtt_p99_ns = wan ? 101 * MS : -1,
		    .pings_sent = wan ? 20 : 0,
		    .goodput_1_bit_per_s = i == 1 ? 2.1e8 : NAN,
		    .steady_1_bit_per_s = i == 1 ? 2.3e8 : NAN,
		    .goodput_k_bit_per_s = NAN,
		    .steady_k_bit_per_s = NAN,
		    .verdict = wan ? LH_LINK_OK : LH_LINK_NOT_MEASURED,
		};
		c->traffic[i] = (struct lh_link_traffic){
			.known = true, .packets = wan ? 20 : 0, .bytes = wan ? 2100 : 0, .drops = i == 2 ? 3 : 0,
			.drops_by[LH_DROP_QUEUE] = i == 2 ? 3 : 0,
			.backlog_packets_max = 7, .pings = wan ? 2 : 0, .rtt_median_s = 0.1, .rtt_max_s = 0.102,
		};
	}
}

static void add(struct scene *c, struct lh_event e)
{
	struct lh_err err = LH_ERR_INIT;

	CU_ASSERT_EQUAL(lh_series_add(&c->series, &e, &err), 0);
}

/* One peer codes for 20 ms after its share, the other for 40; the rest it waits. */
static void add_spans(struct scene *c, uint32_t epoch, unsigned rank)
{
	lh_ns begin = GO + (epoch - 1) * 1000 * MS, coding = (rank ? 40 : 20) * MS;
	struct lh_spans s = {
		.rank = rank, .epoch = epoch, .begin_ns = begin, .end_ns = begin + 1000 * MS,
		.total_ns = { [LH_SPAN_CALCULATE] = 500 * MS, [LH_SPAN_WAIT] = 480 * MS - coding,
			      [LH_SPAN_ENCODE] = coding, [LH_SPAN_OPTIMISE] = 20 * MS },
		.comm_ns = { [LH_SPAN_WAIT] = 480 * MS - coding, [LH_SPAN_ENCODE] = coding,
			     [LH_SPAN_OPTIMISE] = 20 * MS },
		.has_tcp = true, .tcp_busy_ns = 400 * MS, .tcp_window_ns = (rank ? 300 : 100) * MS,
		.tcp_buffer_ns = 10 * MS, .tcp_retransmits = 2 + rank,
	};
	struct lh_err err = LH_ERR_INIT;

	CU_ASSERT_EQUAL(lh_series_add_spans(&c->series, &s, &err), 0);
}

static bool split; /* the second round is of two groups */

static void fill_series(struct scene *c)
{
	struct lh_err err = LH_ERR_INIT;

	CU_ASSERT_EQUAL_FATAL(lh_series_init(&c->series, 2, 2, &err), 0);
	for (unsigned i = 0; i < 2; i++)
		add(c, (struct lh_event){ .kind = LH_EVENT_JOINED, .rank = i, .t_ns = GO, .state_hash = 1 });
	c->series.go_ns = GO;
	for (uint32_t e = 1; e <= 2; e++)
		for (unsigned i = 0; i < 2; i++) {
			lh_ns begin = GO + (e - 1) * 1000 * MS;
			add(c, (struct lh_event){
				   .kind = LH_EVENT_EPOCH,
				   .rank = i,
				   .epoch = e,
				   .begin_ns = begin,
				   .calc_end_ns = begin + 500 * MS,
				   .exchange_end_ns = begin + 980 * MS,
				   .commit_ns = begin + 1000 * MS,
				   .t_ns = begin + 1000 * MS,
				   .samples = 50,
				   .bytes_sent = 1000,
				   .bytes_received = 1000,
				   .loss_sum = 75.0 + i,
				   .busy_ns = 100 * MS,
				   .groups = !split ? 0 : e,
				   .group = e == 2 ? i : 0,
				   .group_size = !split ? 0 : 3 - e,
				   .shared = split && e == 2 ? LH_SHARED_NO : LH_SHARED_YES,
				   .state_hash = 0xabcdef + e + (split && e == 2 ? i : 0),
			       });
			add_spans(c, e, i);
		}
	add(c, (struct lh_event){.kind = LH_EVENT_EVAL,
				 .t_ns = GO + 3000 * MS,
				 .metric = "held_out_accuracy",
				 .value = 0.75,
				 .reference = 0.1});
	const struct lh_metrics_input in = {
		.warmup = 1, .target_batch = 100, .latency_ns = 100 * MS, .cpus = 1, .calculates = true,
	};
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&c->series, &in, &c->metrics, &err), 0);
}

static void scene_open(struct scene *c, bool trained)
{
	struct lh_err err = LH_ERR_INIT;

	memset(c, 0, sizeof *c);
	CU_ASSERT_EQUAL_FATAL(lh_experiment_load_text("pair.yaml", file, strlen(file), NULL, 0, stderr, &c->exp, &err),
			      0);
	fill_probe(c);
	if (trained)
		fill_series(c);
	c->r = (struct lh_result){
	    .exp = &c->exp,
	    .netem = LH_NETEM_UML,
	    .kernel_release = "6.1.999",
	    .cpus = 1,
	    .probe = &c->probe, .trips = 2,
	    .traffic = trained ? c->traffic : NULL,
	    .series = trained ? &c->series : NULL,
	    .metrics = trained ? &c->metrics : NULL,
	    .comm_cpu_busy = trained ? 0.25 : NAN,
	    .dir = "longhaul-runs/x",
	    .failure = {.peer = -1},
	};
}

static void judge(struct scene *c)
{
	const struct lh_judge_input in = {
	    .topology = &c->exp.topology,
	    .metrics = c->r.metrics,
	    .failure = &c->r.failure,
	    .traffic = c->r.traffic,
	    .cpus = 1,
	};

	lh_judge(&in, &c->r.verdict);
}

static void scene_close(struct scene *c)
{
	if (c->r.metrics)
		lh_metrics_done(&c->metrics);
	lh_series_done(&c->series);
	free(c->probe.links);
	lh_experiment_done(&c->exp);
}

static json_t *compare_json(struct scene *c, const char *name)
{
	json_t *doc = lh_result_json(&c->r);
	json_object_set_new(json_object_get(doc, "environment"), "longhaul_version", json_string("any"));
	char *text = json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(12)), relative[128];

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	snprintf(relative, sizeof relative, "golden/result/%s", name);
	lh_test_golden(relative, text);
	free(text);
	return doc;
}

/* The keys that are promised, with their types; n: null is allowed. */
static void check_keys(const json_t *o, const char *const *keys)
{
	for (; *keys; keys++) {
		const char *key = *keys + 2;
		const json_t *v = json_object_get(o, key);
		bool fits =
		    v && (((*keys)[1] == 'n' && json_is_null(v)) || ((*keys)[0] == 's' && json_is_string(v)) ||
			  ((*keys)[0] == 'd' && json_is_number(v)) || ((*keys)[0] == 'b' && json_is_boolean(v)) ||
			  ((*keys)[0] == 'a' && json_is_array(v)) || ((*keys)[0] == 'o' && json_is_object(v)));
		CU_ASSERT_TRUE(fits);
		if (!fits)
			printf("# key %s is missing or of a wrong type\n", key);
	}
}

static void check_promised(const json_t *doc)
{
	static const char *const top[] = {"s schema", "o environment", "a links", "a peers",
					  "a epochs", "o summary",     NULL};
	static const char *const env[] = { "s kernel_release", "s netem", NULL };
	static const char *const link[] = { "s from", "s to", "s mode", "d rtt_spec_s", "dnrtt_measured_s",
					    "dngoodput_1_bit_per_s", "s verdict", NULL };
	static const char *const peer[] = { "s name", "s site", "s device", "s engine", "dnlateness", NULL };
	static const char *const epoch[] = {"d epoch",   "d wall_s",     "d calc_s", "d comm_s",
					    "d samples", "d bytes_sent", "dnloss",   NULL};
	static const char *const summary[] = {
	    "dnthroughput_sps",     "dncalc_s", "dncomm_s", "dngranularity", "dnefficiency",
	    "bnreplicas_identical", "b valid",  NULL};
	const json_t *v;
	size_t i;

	check_keys(doc, top);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(doc, "schema")), "longhaul-result/1");
	check_keys(json_object_get(doc, "environment"), env);
	check_keys(json_object_get(doc, "summary"), summary);
	json_array_foreach(json_object_get(doc, "links"), i, v)
		check_keys(v, link);
	json_array_foreach(json_object_get(doc, "peers"), i, v)
		check_keys(v, peer);
	json_array_foreach(json_object_get(doc, "epochs"), i, v)
		check_keys(v, epoch);
}

/* A run that had interruptions beside one that had none: only the first has a line of them. */
static void test_interruptions(void)
{
	struct lh_result_row rows[2];
	struct scene c;
	char *text;
	size_t len;

	scene_open(&c, true);
	judge(&c);
	json_t *doc = lh_result_json(&c.r);
	CU_ASSERT_EQUAL_FATAL(lh_result_row_parse(doc, &rows[0], NULL), 0);
	CU_ASSERT_EQUAL(rows[0].interruptions, 0);
	json_object_set_new(doc, "group", json_pack(
		"{s:i, s:i, s:i, s:f, s:f, s:n, s:f, s:[{}, {}, {}]}", "rounds_aborted", 2, "samples_redealt", 96, "samples_lost", 0,
		"detect_s_max", 0.131, "regroup_s_max", 0.402, "back_s_max", "throughput_lost", 0.112, "interruptions"));
	CU_ASSERT_EQUAL_FATAL(lh_result_row_parse(doc, &rows[1], NULL), 0);
	CU_ASSERT_EQUAL(rows[1].interruptions, 3);
	FILE *out = open_memstream(&text, &len);
	lh_result_rows_print(rows, 2, out);
	fclose(out);
	lh_test_golden("golden/result/report-interruptions.txt", text);
	free(text);
	json_t *row = lh_result_row_json(&rows[1]), *i = json_object_get(row, "interruptions");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(i, "count")), 3);
	CU_ASSERT_TRUE(json_is_null(json_object_get(i, "back_s_max")));
	json_decref(row);
	json_decref(doc);
	scene_close(&c);
}

static void test_valid_run(void)
{
	struct lh_result_row row;
	struct scene c;

	scene_open(&c, true);
	judge(&c);
	json_t *doc = compare_json(&c, "valid.json");
	check_promised(doc);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "links")), 2);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(doc, "epochs")), 2);
	/* What is written can be read back. */
	CU_ASSERT_EQUAL(lh_result_row_parse(doc, &row, NULL), 0);
	CU_ASSERT_TRUE(row.valid && row.complete && row.replicas_identical == 1);
	CU_ASSERT_DOUBLE_EQUAL(row.granularity, 1, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(row.rtt_measured_s, 0.10002, 1e-9);
	CU_ASSERT_STRING_EQUAL(row.widest, "us->eu");
	json_decref(doc);
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	lh_result_print(&c.r, out);
	fclose(out);
	lh_test_golden("golden/result/valid.txt", text);
	free(text);
	out = open_memstream(&text, &len);
	CU_ASSERT_EQUAL(lh_result_write_epochs_csv(&c.r, out), 0);
	fclose(out);
	lh_test_golden("golden/result/epochs.csv", text);
	free(text);
	out = open_memstream(&text, &len);
	lh_result_rows_print(&row, 1, out);
	fclose(out);
	lh_test_golden("golden/result/report.txt", text);
	free(text);
	scene_close(&c);
}

/* Replicas are alike until the round that was split, and then are nothing to be compared. */
static void test_split_round(void)
{
	struct scene c;
	char *text;
	size_t len;

	split = true;
	scene_open(&c, true);
	judge(&c);
	CU_ASSERT_TRUE(c.r.verdict.valid);
	json_t *doc = lh_result_json(&c.r), *sum = json_object_get(doc, "summary"), *epochs = json_object_get(doc, "epochs");
	CU_ASSERT_EQUAL(json_integer_value(json_object_get(sum, "split_rounds")), 1);
	CU_ASSERT_TRUE(json_is_null(json_object_get(sum, "replicas_identical")));
	for (size_t i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_array_get(epochs, i), "groups")), (json_int_t)i + 1);
	CU_ASSERT_TRUE(json_is_true(json_object_get(json_array_get(epochs, 0), "replicas_identical")));
	CU_ASSERT_TRUE(json_is_null(json_object_get(json_array_get(epochs, 1), "replicas_identical")));
	FILE *out = open_memstream(&text, &len);
	lh_result_print(&c.r, out);
	fclose(out);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "1 of all 2: groups averaged each by itself, the smallest of 1 peer\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "until the first round that was split; not compared since\n"));
	free(text);
	json_decref(doc);
	scene_close(&c);
	split = false;
}

static void test_failed_before_training(void)
{
	struct lh_result_row row;
	struct scene c;

	scene_open(&c, false);
	c.r.failure = (struct lh_failure){ .kind = LH_FAILURE_SETUP, .peer = -1, .exit_status = 3,
					   .text = "link us->eu: asked 100ms, got 103ms" };
	c.probe.links[1].verdict = LH_LINK_OUT_OF_TOLERANCE;
	judge(&c);
	json_t *doc = compare_json(&c, "failed.json");
	check_promised(doc);
	CU_ASSERT_TRUE(json_is_null(json_object_get(json_object_get(doc, "summary"), "granularity")));
	CU_ASSERT_EQUAL(lh_result_row_parse(doc, &row, NULL), 0);
	CU_ASSERT_FALSE(row.valid || row.complete);
	CU_ASSERT_TRUE(isnan(row.granularity));
	json_decref(doc);
	scene_close(&c);
}

static void test_broken_documents(void)
{
	static const char *const bad[] = {
	    "{}",
	    "{\"schema\": \"longhaul-result/2\", \"summary\": {\"valid\": true}}",
	    "{\"schema\": 1}",
	    "{\"schema\": \"longhaul-result/1\"}",
	    "{\"schema\": \"longhaul-result/1\", \"summary\": {\"valid\": 1}}",
	};
	struct lh_err err = LH_ERR_INIT;
	struct lh_result_row row;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		json_t *doc = json_loads(bad[i], 0, NULL);
		CU_ASSERT_TRUE(lh_result_row_parse(doc, &row, &err) < 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		json_decref(doc);
	}
	/* Wrong types where a value may be missing are as good as missing. */
	json_t *doc =
	    json_loads("{\"schema\": \"longhaul-result/1\", \"links\": 3, \"environment\": [], \"epochs\": {},"
		       " \"summary\": {\"valid\": true, \"granularity\": \"x\"}}",
		       0, NULL);
	CU_ASSERT_EQUAL(lh_result_row_parse(doc, &row, &err), 0);
	CU_ASSERT_TRUE(isnan(row.granularity) && isnan(row.rtt_spec_s));
	json_decref(doc);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "valid_run", test_valid_run }, { "interruptions", test_interruptions },
		{ "failed_before_training", test_failed_before_training },
		{ "broken_documents", test_broken_documents }, { "split_round", test_split_round },
	};

	return lh_test_main(argc, argv, "result", tests, sizeof tests / sizeof *tests);
}
