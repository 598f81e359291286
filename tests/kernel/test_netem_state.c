/* The state of a real netem: what we set is what tc shows, what we replace leaves nothing behind, what somebody
 * else changes is named. Cases after the kernel's own tests of netem (tdc: qdiscs/netem.json) and the manual page.
 */
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhkernel.h"
#include "pair.h"

#define MS LH_NS_PER_MS
#define PERCENT(x) ((lh_ppb)((x) * 1e7))

/* `tc -j qdisc show`: the options of the root qdisc of PAIR_OUT, to be released with json_decref(). */
static json_t *tc_options(const char *kind)
{
	json_error_t e;
	FILE *f = popen("PATH=$PATH:/usr/sbin:/sbin tc -j qdisc show dev " PAIR_OUT " root", "re");
	/* As reals: a seed needs all 64 bits, and jansson refuses integers above 2^63. */
	json_t *all = f ? json_loadf(f, JSON_DECODE_INT_AS_REAL, &e) : NULL, *options = NULL;
	if (f)
		pclose(f);
	json_t *first = json_array_get(all, 0);
	const char *seen = json_string_value(json_object_get(first, "kind"));
	if (seen && !strcmp(seen, kind))
		options = json_incref(json_object_get(first, "options"));
	json_decref(all);
	return options;
}

static bool same_number(json_t *a, json_t *b)
{
	double x = json_number_value(a), y = json_number_value(b);
	/* tc prints six digits, and times cut to a microsecond. */
	return fabs(x - y) <= 1e-5 * fabs(x) + 1.1e-6;
}

/* Does tc show just this? Keys that are absent in `asked` must be absent or nothing ("ecn": false, "gap": 0). */
static bool same_options(json_t *asked, json_t *got)
{
	const char *key;
	json_t *value;
	json_object_foreach(got, key, value) {
		json_t *a = json_object_get(asked, key);
		if (!strcmp(key, "seed"))
			continue;
		if (!a && !json_is_false(value) && !(json_is_number(value) && json_number_value(value) == 0))
			return false;
		if (a && json_is_object(value) ? !same_options(a, value) :
		    a && json_is_number(value) ? !same_number(a, value) : a && !json_equal(a, value))
			return false;
	}
	json_object_foreach(asked, key, value) {
		if (!json_object_get(got, key))
			return false;
	}
	return true;
}

static int check_tc(const char *name, const struct lh_qdisc *q, const char *expected)
{
	if (!expected)
		return pair_differences(q) != 0;
	json_t *asked = json_loads(expected, 0, NULL), *got = tc_options(q->kind == LH_QDISC_TBF ? "tbf" : "netem");
	bool same = asked && got && same_options(asked, got);
	if (!same) {
		char *text = got ? json_dumps(got, 0) : NULL;
		printf("# %s: expected %s, tc shows %s\n", name, expected, text ? text : "nothing");
		free(text);
	}
	json_decref(asked);
	json_decref(got);
	return same && pair_differences(q) == 0 ? 0 : 1;
}

struct tc_case {
	const char *name;
	uint32_t limit;
	struct lh_impairment imp;
	const char *tc;
};

static const struct tc_case tc_cases[] = {
	{ "nothing", 1000, { 0 }, "{\"limit\": 1000}" },
	{ "limit", 200, { 0 }, "{\"limit\": 200}" },
	{ "delay", 1000, { .delay_ns = 100 * MS }, "{\"limit\": 1000, \"delay\": {\"delay\": 0.1}}" },
	{ "delay of odd ns", 1000, { .delay_ns = 1234567 }, "{\"limit\": 1000, \"delay\": {\"delay\": 0.001234567}}" },
	/* tc 6.1 shows the old field, which ends at 274.877 s. */
	{ "delay beyond 32 bits of ticks", 1000, { .delay_ns = 300 * LH_NS_PER_S }, NULL },
	{ "jitter that may reorder", 1000, { .delay_ns = 100 * MS, .jitter_ns = 10 * MS, .jitter_reorders = true },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01}}" },
	{ "jitter in order, correlated", 1000, { .delay_ns = 100 * MS, .jitter_ns = 10 * MS,
	  .jitter_corr_ppb = PERCENT(25) },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01, \"correlation\": 0.25},"
	  " \"rate\": {\"rate\": 1e18}}" },
	{ "normal and corrupt", 1000,
	  { .delay_ns = 100 * MS, .jitter_ns = 10 * MS, .jitter_reorders = true, .dist = LH_DIST_NORMAL,
	    .corrupt_ppb = PERCENT(1) },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01}, \"corrupt\": {\"corrupt\": 0.01}}" },
	{ "normal and duplicate", 1000,
	  { .delay_ns = 100 * MS, .jitter_ns = 10 * MS, .jitter_reorders = true, .dist = LH_DIST_NORMAL,
	    .duplicate_ppb = PERCENT(1) },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01}, \"duplicate\": {\"duplicate\": 0.01}}" },
	{ "pareto and loss", 1000,
	  { .delay_ns = 100 * MS, .jitter_ns = 10 * MS, .jitter_reorders = true, .dist = LH_DIST_PARETO,
	    .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(1) },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01}, \"loss-random\": {\"loss\": 0.01}}" },
	{ "paretonormal and loss state", 1000,
	  { .delay_ns = 100 * MS, .jitter_ns = 10 * MS, .jitter_reorders = true, .dist = LH_DIST_PARETONORMAL,
	    .loss_model = LH_LOSS_4STATE, .p13_ppb = PERCENT(1), .p31_ppb = PERCENT(99), .p23_ppb = PERCENT(100) },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01},"
	  " \"loss-state\": {\"p13\": 0.01, \"p31\": 0.99, \"p32\": 0, \"p23\": 1, \"p14\": 0}}" },
	{ "loss state, all five", 1000,
	  { .loss_model = LH_LOSS_4STATE, .p13_ppb = PERCENT(1), .p31_ppb = PERCENT(20), .p32_ppb = PERCENT(3),
	    .p23_ppb = PERCENT(40), .p14_ppb = PERCENT(5) },
	  "{\"limit\": 1000,"
	  " \"loss-state\": {\"p13\": 0.01, \"p31\": 0.2, \"p32\": 0.03, \"p23\": 0.4, \"p14\": 0.05}}" },
	{ "Bernoulli as gemodel", 1000,
	  { .loss_model = LH_LOSS_GEMODEL, .ge_p_ppb = PERCENT(1), .ge_r_ppb = PERCENT(99), .ge_1h_ppb = PERCENT(100) },
	  "{\"limit\": 1000, \"loss-gemodel\": {\"p\": 0.01, \"r\": 0.99, \"1-h\": 1, \"1-k\": 0}}" },
	{ "Gilbert-Elliott, all four", 1000,
	  { .loss_model = LH_LOSS_GEMODEL, .ge_p_ppb = PERCENT(1), .ge_r_ppb = PERCENT(10), .ge_1h_ppb = PERCENT(70),
	    .ge_1k_ppb = PERCENT(0.1) },
	  "{\"limit\": 1000, \"loss-gemodel\": {\"p\": 0.01, \"r\": 0.1, \"1-h\": 0.7, \"1-k\": 0.001}}" },
	{ "loss, correlated, with ecn", 1000,
	  { .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(0.5), .loss_corr_ppb = PERCENT(30), .ecn = true },
	  "{\"limit\": 1000, \"loss-random\": {\"loss\": 0.005, \"correlation\": 0.3}, \"ecn\": true}" },
	{ "reorder with gap", 1000,
	  { .delay_ns = 100 * MS, .jitter_ns = 10 * MS, .jitter_reorders = true, .reorder_ppb = PERCENT(2),
	    .reorder_gap = 100 },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.1, \"jitter\": 0.01},"
	  " \"reorder\": {\"reorder\": 0.02}, \"gap\": 100}" },
	{ "reorder without gap", 1000,
	  { .delay_ns = 10 * MS, .reorder_ppb = PERCENT(25), .reorder_corr_ppb = PERCENT(50) },
	  "{\"limit\": 1000, \"delay\": {\"delay\": 0.01},"
	  " \"reorder\": {\"reorder\": 0.25, \"correlation\": 0.5}, \"gap\": 1}" },
	{ "duplicate and corrupt, correlated", 1000,
	  { .duplicate_ppb = PERCENT(2), .duplicate_corr_ppb = PERCENT(10), .corrupt_ppb = PERCENT(3),
	    .corrupt_corr_ppb = PERCENT(20) },
	  "{\"limit\": 1000, \"duplicate\": {\"duplicate\": 0.02, \"correlation\": 0.1},"
	  " \"corrupt\": {\"corrupt\": 0.03, \"correlation\": 0.2}}" },
	{ "rate", 1000, { .rate_bps = 20000 }, "{\"limit\": 1000, \"rate\": {\"rate\": 2500}}" },
	{ "rate with overhead", 1000, { .rate_bps = 200000000, .rate_overhead_bytes = 24 },
	  "{\"limit\": 1000, \"rate\": {\"rate\": 25000000, \"packetoverhead\": 24}}" },
	{ "rate beyond 32 bits", 1000, { .rate_bps = 100000000000, .rate_overhead_bytes = -14 },
	  "{\"limit\": 1000, \"rate\": {\"rate\": 12500000000, \"packetoverhead\": -14}}" },
	{ "slot of nanoseconds", 1000, { .slot_min_ns = 10000, .slot_max_ns = 200000, .slot_packets = 2000,
	  .slot_bytes = 9000 },
	  "{\"limit\": 1000,"
	  " \"slot\": {\"min-delay\": 1e-5, \"max-delay\": 2e-4, \"packets\": 2000, \"bytes\": 9000}}" },
	{ "everything", 77,
	  { .delay_ns = 50 * MS, .jitter_ns = 5 * MS, .jitter_corr_ppb = PERCENT(10), .dist = LH_DIST_NORMAL,
	    .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(1), .loss_corr_ppb = PERCENT(5), .ecn = true,
	    .reorder_ppb = PERCENT(5), .reorder_corr_ppb = PERCENT(6), .reorder_gap = 7, .duplicate_ppb = PERCENT(8),
	    .duplicate_corr_ppb = PERCENT(9), .corrupt_ppb = PERCENT(11), .corrupt_corr_ppb = PERCENT(12),
	    .rate_bps = 8000000, .rate_overhead_bytes = 20, .slot_min_ns = MS, .slot_max_ns = 2 * MS, .slot_packets = 3,
	    .slot_bytes = 4000, .seed = 9 },
	  "{\"limit\": 77, \"delay\": {\"delay\": 0.05, \"jitter\": 0.005, \"correlation\": 0.1},"
	  " \"loss-random\": {\"loss\": 0.01, \"correlation\": 0.05}, \"ecn\": true,"
	  " \"reorder\": {\"reorder\": 0.05, \"correlation\": 0.06}, \"gap\": 7,"
	  " \"duplicate\": {\"duplicate\": 0.08, \"correlation\": 0.09},"
	  " \"corrupt\": {\"corrupt\": 0.11, \"correlation\": 0.12},"
	  " \"rate\": {\"rate\": 1000000, \"packetoverhead\": 20},"
	  " \"slot\": {\"min-delay\": 0.001, \"max-delay\": 0.002, \"packets\": 3, \"bytes\": 4000}}" },
};
enum { TC_CASES = sizeof tc_cases / sizeof *tc_cases };

static struct lh_qdisc qdisc_of(const struct tc_case *c)
{
	return (struct lh_qdisc){ .kind = LH_QDISC_NETEM, .limit_packets = c->limit, .imp = c->imp };
}

/* Each case on a fresh interface: add. */
static int body_add(void)
{
	int bad = 0;
	for (size_t i = 0; i < TC_CASES; i++) {
		struct lh_qdisc q = qdisc_of(&tc_cases[i]);
		if (i)
			CHECK(!pair_shell("tc qdisc del dev " PAIR_OUT " root"));
		CHECK(!pair_put(&q));
		bad += check_tc(tc_cases[i].name, &q, tc_cases[i].tc);
	}
	return bad != 0;
}

/* Each case over each other: replace. Nothing of the one may be left in the other; tc is asked about the pairs that
 * differ in most, our own reading about all. */
static int body_replace(void)
{
	int bad = 0;
	for (size_t i = 0; i < TC_CASES; i++) {
		for (size_t k = 0; k < TC_CASES; k++) {
			struct lh_qdisc before = qdisc_of(&tc_cases[i]), q = qdisc_of(&tc_cases[k]);
			CHECK(!pair_put(&before) && !pair_put(&q));
			int wrong = pair_differences(&q);
			if (wrong)
				printf("# after %s: %s\n", tc_cases[i].name, tc_cases[k].name);
			bad += wrong != 0;
			if (i == TC_CASES - 1)
				bad += check_tc(tc_cases[k].name, &q, tc_cases[k].tc);
		}
	}
	return bad != 0;
}

/* What print_tc() says does the same when given to tc. */
static int body_printed(void)
{
	int bad = 0;
	for (size_t i = 0; i < TC_CASES; i++) {
		struct lh_qdisc q = qdisc_of(&tc_cases[i]);
		char line[512];
		FILE *f = fmemopen(line, sizeof line, "w");
		lh_qdisc_print_tc(&q, f);
		fclose(f);
		q.imp.delay_ns -= q.imp.delay_ns % 1000; /* this tc's resolution */
		if (q.imp.delay_ns > 274 * LH_NS_PER_S)
			continue; /* more than tc itself can write */
		CHECK(!pair_shell("tc qdisc replace dev " PAIR_OUT " root handle 7: %s", line));
		struct lh_qdisc_seen seen;
		CHECK(!pair_get(&seen));
		seen.q.imp.delay_ns = llabs(seen.q.imp.delay_ns - q.imp.delay_ns) < 1064 ? q.imp.delay_ns : -1;
		seen.q.imp.jitter_ns = llabs(seen.q.imp.jitter_ns - q.imp.jitter_ns) < 1064 ? q.imp.jitter_ns : -1;
		seen.seed_known = false;
		int wrong = lh_qdisc_compare("tc", &q, &seen, NULL, NULL);
		if (wrong)
			printf("# %s: tc made something else of \"%s\"\n", tc_cases[i].name, line);
		bad += wrong != 0;
		CHECK(!pair_shell("tc qdisc del dev " PAIR_OUT " root"));
	}
	return bad != 0;
}

static void name_difference(void *ctx, const struct lh_verify_field *f)
{
	char *names = ctx;
	/* Kernels from 6.6 to 2026 draw a new seed at every change that brings none. */
	if (f->verdict == LH_VERIFY_DIFFERENT && strcmp(f->field, "seed"))
		snprintf(names + strlen(names), 256 - strlen(names), "%s ", f->field);
}

/* Somebody changes the qdisc: the comparison names what he changed and nothing else. */
static int body_altered(void)
{
	static const struct { const char *tc, *fields; } altered[] = {
		{ "limit 900 delay 50ms loss 1%", "limit_packets " },
		{ "limit 1000 delay 53ms loss 1%", "delay_ns " },
		{ "limit 1000 delay 50ms loss 1.5%", "loss_ppb " },
		{ "limit 1000 delay 50ms loss 1% 20%", "loss_corr_ppb " },
		{ "limit 1000 delay 50ms loss 1% ecn", "ecn " },
		{ "limit 1000 delay 50ms loss 1% duplicate 1%", "duplicate_ppb " },
		{ "limit 1000 delay 50ms loss 1% corrupt 1%", "corrupt_ppb " },
		{ "limit 1000 delay 50ms loss 1% reorder 5%", "reorder_ppb reorder_gap " },
		{ "limit 1000 delay 50ms loss 1% rate 1gbit", "rate_bps " },
		{ "limit 1000 delay 50ms loss 1% slot 1ms 2ms", "slot_min_ns slot_max_ns " },
		{ "limit 1000 delay 50ms loss gemodel 1%", "loss_model loss_ppb ge_p_ppb ge_r_ppb ge_1h_ppb " },
	};
	const struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .limit_packets = 1000,
		.imp = { .delay_ns = 50 * MS, .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(1) } };
	int bad = 0;
	for (size_t i = 0; i < sizeof altered / sizeof *altered; i++) {
		char names[256] = "";
		struct lh_qdisc_seen seen;
		CHECK(!pair_put(&q) && pair_differences(&q) == 0);
		CHECK(!pair_shell("tc qdisc change dev " PAIR_OUT " root netem %s", altered[i].tc));
		CHECK(!pair_get(&seen));
		lh_qdisc_compare("x", &q, &seen, name_difference, names);
		if (strcmp(names, altered[i].fields)) {
			printf("# %s: named \"%s\"\n", altered[i].tc, names);
			bad++;
		}
	}
	CHECK(!pair_shell("tc qdisc replace dev " PAIR_OUT " root handle 9: tbf rate 1gbit burst 10000 limit 30000"));
	CHECK(pair_differences(&q) == 1);
	CHECK(!pair_shell("tc qdisc del dev " PAIR_OUT " root"));
	CHECK(pair_differences(&q) == 1);
	return bad != 0;
}

/* Random states one over another: the property behind the cases. */
static uint64_t state;

static uint64_t draw(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static lh_ppb draw_ppb(void) { return draw() % 3 ? 0 : (lh_ppb)(draw() % LH_PPB_ONE); }

static int body_random(void)
{
	state = lh_test_seed();
	for (int i = 0; i < 400; i++) {
		struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .limit_packets = (uint32_t)(draw() >> 40), .imp = {
			.delay_ns = draw() % 2 ? (lh_ns)(draw() >> 28) : 0, .jitter_ns = draw() % 2
			  ? (lh_ns)(draw() % INT_MAX) : 0,
			.jitter_corr_ppb = draw_ppb(), .dist = (enum lh_dist)(draw() % 4),
			.loss_model = (enum lh_loss_model)(draw() % 4), .loss_ppb = draw_ppb(),
			  .loss_corr_ppb = draw_ppb(),
			.ge_p_ppb = draw_ppb(), .ge_r_ppb = draw_ppb(), .ge_1h_ppb = draw_ppb(),
			  .ge_1k_ppb = draw_ppb(),
			.p13_ppb = draw_ppb(), .p31_ppb = draw_ppb(), .p32_ppb = draw_ppb(), .p23_ppb = draw_ppb(),
			  .p14_ppb = draw_ppb(),
			.reorder_ppb = draw_ppb(), .reorder_corr_ppb = draw_ppb(),
			  .reorder_gap = (uint32_t)(draw() % 9),
			.duplicate_ppb = draw_ppb(), .duplicate_corr_ppb = draw_ppb(),
			.corrupt_ppb = draw_ppb(), .corrupt_corr_ppb = draw_ppb(),
			.rate_bps = draw() % 2 ? draw() >> (draw() % 50) : 0,
			  .rate_overhead_bytes = (int32_t)(draw() % 99) - 40,
			.slot_min_ns = draw() % 2 ? (lh_ns)(draw() >> 34) : 0, .slot_max_ns = draw() % 2
			  ? (lh_ns)(draw() >> 34) : 0,
			.slot_packets = (uint32_t)(draw() >> 36), .slot_bytes = (uint32_t)(draw() >> 36),
			  .seed = draw() } };
		q.imp.jitter_reorders = !q.imp.rate_bps && draw() % 2;
		q.imp.ecn = (q.imp.loss_model == LH_LOSS_GEMODEL || q.imp.loss_model == LH_LOSS_4STATE) && draw() % 2;
		CHECK(!pair_put(&q));
		CHECK(pair_differences(&q) == 0);
	}
	return 0;
}

static int body_tbf(void)
{
	static const struct { lh_bps rate; lh_bytes queue; } cases[] = {
		{ 64000, 0 }, { 10000000, 50000 }, { 1000000000, 12500000 }, { 33333333333, 1000000 }, { 100000000000,
		  200000000 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_qdisc q;
		char text[128];
		lh_qdisc_for_rate(cases[i].rate, cases[i].queue, &q);
		CHECK(!pair_put(&q));
		CHECK(pair_differences(&q) == 0);
		json_t *o = tc_options("tbf");
		snprintf(text, sizeof text, "%.0f", json_number_value(json_object_get(o, "rate")));
		json_decref(o);
		CHECK(strtoull(text, NULL, 10) == (q.tbf.rate_bps + 4) / 8);
	}
	return 0;
}

static void add(void) { pair_test(body_add); }
static void replace(void) { pair_test(body_replace); }
static void printed(void) { pair_test(body_printed); }
static void altered(void) { pair_test(body_altered); }
static void random_states(void) { pair_test(body_random); }
static void tbf(void) { pair_test(body_tbf); }

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "add", add, LH_TEST_FORK },
		{ "replace", replace, LH_TEST_FORK },
		{ "printed", printed, LH_TEST_FORK },
		{ "altered", altered, LH_TEST_FORK },
		{ "random_states", random_states, LH_TEST_FORK },
		{ "tbf", tbf, LH_TEST_FORK },
	};
	return lh_kernel_main(argc, argv, "netem-state", tests, sizeof tests / sizeof *tests);
}
