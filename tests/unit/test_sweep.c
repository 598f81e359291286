/* A sweep's grid, order, experiments and tables, without running anything. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"
#include "sweep.h"

static const char file_text[] =
	"longhaul: 1\n"
	"name: pair\n"
	"sites:\n"
	"  us: {peers: 1, lan: {rtt: 1ms}}\n"
	"  eu: {peers: 2, lan: {rtt: 1ms}}\n"
	"matrix: {rtt: {us: {eu: 100ms}}}\n"
	"training: {engine: cpu, model: digits, target-batch: 64, microbatch: 8, epochs: 2, warmup: 1, pace: 40/s}\n";

static int init(struct lh_sweep *s, const char *a, const char *b, unsigned warmup, unsigned runs, uint64_t seed)
{
	const char *lists[] = { a, b };

	return lh_sweep_init(s, lists, b ? 2 : 1, warmup, runs, seed, NULL);
}

static void test_grid(void)
{
	struct lh_sweep s;
	char text[80];

	CU_ASSERT_EQUAL_FATAL(init(&s, "rtt=1ms,50ms,100ms", "target-batch=64,256", 0, 3, 1), 0);
	CU_ASSERT_EQUAL(s.ncells, 6);
	CU_ASSERT_STRING_EQUAL(lh_sweep_cell_text(&s, 0, text, sizeof text), "rtt=1ms, target-batch=64");
	CU_ASSERT_STRING_EQUAL(lh_sweep_cell_text(&s, 1, text, sizeof text), "rtt=1ms, target-batch=256");
	CU_ASSERT_STRING_EQUAL(lh_sweep_cell_text(&s, 5, text, sizeof text), "rtt=100ms, target-batch=256");
	lh_sweep_done(&s);
}

static void test_wrong_axes(void)
{
	static const struct {
		const char *a, *b, *says;
	} bad[] = {
	    {"rtt", NULL, "needs key=value"},
	    {"=1", NULL, "needs key=value"},
	    {"rtt=", NULL, "needs key=value"},
	    {"rtt=1ms,,2ms", NULL, "empty value"},
	    {"rtt=1ms,", NULL, "empty value"},
	    {"rtt=1ms,2ms,1ms", NULL, "1ms is given twice"},
	    {"rtt=1ms", "rtt=2ms", "rtt is given twice"},
	};
	struct lh_sweep s;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *lists[] = { bad[i].a, bad[i].b };
		struct lh_err err = LH_ERR_INIT;
		CU_ASSERT_TRUE(lh_sweep_init(&s, lists, bad[i].b ? 2 : 1, 0, 1, 1, &err) < 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, bad[i].says));
	}
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_TRUE(lh_sweep_init(&s, NULL, 0, 0, 1, 1, &err) < 0);
	const char *one[] = { "rtt=1ms" };
	CU_ASSERT_TRUE(lh_sweep_init(&s, one, 1, 0, 0, 1, &err) < 0);
}

static void test_order(void)
{
	struct lh_sweep s;
	struct lh_sweep_step a[12 * 4], b[12 * 4];
	bool same_everywhere = true, differs_from_sorted = false;

	CU_ASSERT_EQUAL_FATAL(init(&s, "x=1,2,3,4,5,6", "y=1,2", 1, 3, 42), 0);
	lh_sweep_order(&s, a);
	lh_sweep_order(&s, b);
	CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0); /* the seed decides */
	for (unsigned pass = 0; pass < 4; pass++) {
		unsigned seen = 0;
		for (unsigned i = 0; i < 12; i++) {
			CU_ASSERT_EQUAL(a[pass * 12 + i].pass, pass);
			seen |= 1u << a[pass * 12 + i].cell;
			same_everywhere = same_everywhere && a[i].cell == a[pass * 12 + i].cell;
			differs_from_sorted = differs_from_sorted || a[pass * 12 + i].cell != i;
		}
		CU_ASSERT_EQUAL(seen, 0xfff); /* each cell once a pass */
	}
	CU_ASSERT_FALSE(same_everywhere);
	CU_ASSERT_TRUE(differs_from_sorted);
	s.seed = 43;
	lh_sweep_order(&s, b);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof a), 0);
	lh_sweep_done(&s);
}

static void test_experiments(void)
{
	char path[] = "/tmp/lh-sweep-XXXXXX.yaml";
	int fd = mkstemps(path, 5);
	struct lh_err err = LH_ERR_INIT;
	struct lh_experiment exp;
	struct lh_sweep s;

	CU_ASSERT_TRUE_FATAL(fd >= 0 && write(fd, file_text, strlen(file_text)) == (ssize_t)strlen(file_text));
	close(fd);
	CU_ASSERT_EQUAL_FATAL(init(&s, "rtt=7ms,30ms", "target-batch=128", 0, 1, 1), 0);
	CU_ASSERT_EQUAL_FATAL(lh_sweep_load(&s, 1, path, NULL, 0, stderr, &exp, &err), 0);
	CU_ASSERT_EQUAL(exp.training.target_batch, 128);
	CU_ASSERT_EQUAL(lh_topology_link(&exp.topology, 0, 1)->rtt_spec_ns, 30 * LH_NS_PER_MS);
	CU_ASSERT_EQUAL(lh_topology_link(&exp.topology, 1, 0)->imp.delay_ns, 15 * LH_NS_PER_MS);
	CU_ASSERT_EQUAL(lh_topology_link(&exp.topology, 0, 0)->rtt_spec_ns, LH_NS_PER_MS); /* a LAN keeps its own */
	/* What the manifest keeps loads to the same experiment. */
	struct lh_experiment again;
	CU_ASSERT_EQUAL_FATAL(
	    lh_experiment_load_text("canonical", exp.canonical, strlen(exp.canonical), NULL, 0, stderr, &again, &err),
	    0);
	CU_ASSERT_EQUAL(lh_topology_link(&again.topology, 0, 1)->rtt_spec_ns, 30 * LH_NS_PER_MS);
	CU_ASSERT_EQUAL(again.training.target_batch, 128);
	lh_experiment_done(&again);
	lh_experiment_done(&exp);
	lh_sweep_done(&s);

	CU_ASSERT_EQUAL_FATAL(init(&s, "algorithm=ring,two-level", "wire=fp32", 0, 1, 1), 0);
	CU_ASSERT_EQUAL_FATAL(lh_sweep_load(&s, 1, path, NULL, 0, stderr, &exp, &err), 0);
	CU_ASSERT_EQUAL(exp.training.algorithm, LH_ALGORITHM_TWO_LEVEL);
	CU_ASSERT_EQUAL(exp.training.wire, LH_WIRE_FP32);
	lh_experiment_done(&exp);
	lh_sweep_done(&s);

	CU_ASSERT_EQUAL_FATAL(init(&s, "strategy=exact,async", "streams=4,auto", 0, 1, 1), 0);
	CU_ASSERT_EQUAL_FATAL(lh_sweep_load(&s, 3, path, NULL, 0, stderr, &exp, &err), 0);
	CU_ASSERT_EQUAL(exp.training.sync.strategy, LH_STRATEGY_ASYNC);
	CU_ASSERT_EQUAL(exp.training.streams, 0);
	lh_experiment_done(&exp);
	CU_ASSERT_EQUAL_FATAL(lh_sweep_load(&s, 0, path, NULL, 0, stderr, &exp, &err), 0);
	CU_ASSERT_EQUAL(exp.training.sync.strategy, LH_STRATEGY_EXACT);
	CU_ASSERT_EQUAL(exp.training.streams, 4);
	lh_experiment_done(&exp);
	lh_sweep_done(&s);

	CU_ASSERT_EQUAL_FATAL(init(&s, "peers=1,3", "training.seed=9", 0, 1, 1), 0);
	CU_ASSERT_EQUAL_FATAL(lh_sweep_load(&s, 1, path, NULL, 0, stderr, &exp, &err), 0);
	CU_ASSERT_EQUAL(exp.topology.npeers, 6);
	CU_ASSERT_EQUAL(exp.training.seed, 9);
	lh_experiment_done(&exp);
	lh_sweep_done(&s);

	static const char *const bad[] = { "rtt=5", "target-batch=none", "no-such-key=1", "peers=-1" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CU_ASSERT_EQUAL_FATAL(init(&s, bad[i], NULL, 0, 1, 1), 0);
		err = (struct lh_err)LH_ERR_INIT;
		CU_ASSERT_TRUE(lh_sweep_load(&s, 0, path, NULL, 0, NULL, &exp, &err) < 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		lh_sweep_done(&s);
	}
	unlink(path);
}

static void test_cells_and_tables(void)
{
	const struct lh_result_row rows[] = {
	    {.valid = true,
	     .complete = true,
	     .epochs = 2,
	     .calc_s = 2,
	     .comm_s = 1,
	     .granularity = 2,
	     .latency_s = 0.2,
	     .coding_s = NAN,
	     .throughput_sps = 30,
	     .efficiency = 0.5,
	     .rtt_measured_s = 0.1},
	    {.valid = false,
	     .complete = true,
	     .epochs = 2,
	     .calc_s = 200,
	     .comm_s = 1,
	     .granularity = 200,
	     .efficiency = 9},
	    {.valid = true,
	     .complete = true,
	     .host_limited = true,
	     .epochs = 2,
	     .calc_s = 4,
	     .comm_s = 1,
	     .granularity = 4,
	     .latency_s = 0.6,
	     .coding_s = NAN,
	     .throughput_sps = 10,
	     .efficiency = 0.7,
	     .rtt_measured_s = 0.1},
	};
	struct lh_sweep_cell cells[2];
	struct lh_sweep s;
	char *text;
	size_t len;

	CU_ASSERT_EQUAL_FATAL(init(&s, "a=1,\"2\"", NULL, 0, 3, 1), 0);
	CU_ASSERT_EQUAL(lh_sweep_cell_compute(rows, 3, &cells[0]), 0);
	CU_ASSERT_EQUAL(lh_sweep_cell_compute(rows, 0, &cells[1]), 0);
	CU_ASSERT_EQUAL(cells[0].done, 3);
	CU_ASSERT_EQUAL(cells[0].valid, 2); /* a run that is not valid is counted and not used */
	CU_ASSERT_DOUBLE_EQUAL(cells[0].metrics[LH_SWEEP_GRANULARITY].median, 3, 1e-12);
	CU_ASSERT_DOUBLE_EQUAL(cells[0].metrics[LH_SWEEP_GRANULARITY].max, 4, 1e-12);
	CU_ASSERT_DOUBLE_EQUAL(cells[0].metrics[LH_SWEEP_CALC].median, 1.5, 1e-12);
	CU_ASSERT_TRUE(isnan(cells[1].metrics[LH_SWEEP_CALC].median));
	FILE *out = open_memstream(&text, &len);
	CU_ASSERT_EQUAL(lh_sweep_write_csv(&s, cells, out), 0);
	fclose(out);
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(text, "a,runs,valid,host_limited,paced,throughput_sps_median,throughput_sps_min,"));
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(text, "\n1,3,2,1,0,20,10,30,1.5,1,2,0.5,0.5,0.5,3,2,4,0.6,0.5,0.7,0.1,0.1,0.1,0.2,0.1,0.3,0,0,0,0,0,0,,,,0,0,0\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n\"\"\"2\"\"\",0,0,0,0,,,,,,,"));
	free(text);
	json_t *doc = lh_sweep_json(&s, cells);
	json_t *second = json_array_get(json_object_get(doc, "cells"), 1);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(doc, "schema")), "longhaul-sweep/1");
	CU_ASSERT_TRUE(json_is_null(json_object_get(json_object_get(second, "efficiency"), "median")));
	json_decref(doc);
	out = open_memstream(&text, &len);
	lh_sweep_print(&s, cells, out);
	fclose(out);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "3 [2, 4]"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "2/3"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "host-limited 1/2"));
	free(text);
	/* The plan tells two sweeps apart. */
	json_t *plan = lh_sweep_plan_json(&s, "x"), *other = lh_sweep_plan_json(&s, "y");
	CU_ASSERT_FALSE(json_equal(plan, other));
	json_decref(other);
	s.runs = 4;
	other = lh_sweep_plan_json(&s, "x");
	CU_ASSERT_FALSE(json_equal(plan, other));
	json_decref(other);
	json_decref(plan);
	lh_sweep_done(&s);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "grid", test_grid },
		{ "wrong_axes", test_wrong_axes },
		{ "order", test_order },
		{ "experiments", test_experiments },
		{ "cells_and_tables", test_cells_and_tables },
	};

	return lh_test_main(argc, argv, "sweep", tests, sizeof tests / sizeof *tests);
}
