/* Where a thread's time goes: the kinds add up whatever is nested, and what is kept of a round is bounded. */
#include <string.h>

#include "comm/trace.h"
#include "lhtest.h"

static struct lh_spans spans;

static lh_ns sum_of(const lh_ns *ns)
{
	lh_ns sum = 0;
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		sum += ns[k];
	return sum;
}

static void spin(lh_ns ns)
{
	for (lh_ns until = lh_clock_ns() + ns; lh_clock_ns() < until;)
		;
}

/* At least so long. The counter that divides a round is not the clock: 2 %. */
static bool near(lh_ns got, lh_ns least)
{
	if (got < least - least / 50)
		printf("# %lld ns, wanted %lld\n", (long long)got, (long long)least);
	return got >= least - least / 50;
}

/* What the line promises; printing refuses anything else. */
static void check(const struct lh_spans *s)
{
	char line[LH_EVENT_LINE_MAX];
	struct lh_spans copy = *s;
	uint64_t at = 0;
	CU_ASSERT_EQUAL(sum_of(s->total_ns), s->end_ns - s->begin_ns);
	for (uint32_t i = 0; i < s->nspans; i++) {
		CU_ASSERT_TRUE(s->spans[i].from_us >= at && s->spans[i].to_us >= s->spans[i].from_us);
		at = s->spans[i].to_us;
	}
	copy.t_ns = lh_clock_ns();
	CU_ASSERT_TRUE(lh_spans_print(&copy, line, sizeof line) > 0);
}

static void test_nesting(void)
{
	struct lh_trace *tr;
	lh_ns begin = lh_clock_ns();
	CU_ASSERT_EQUAL_FATAL(lh_trace_new(5, 1, &tr, NULL), 0);
	lh_trace_begin(tr, begin = lh_clock_ns());
	lh_trace_enter(tr, LH_SPAN_CALCULATE);
	spin(2 * LH_NS_PER_MS);
	enum lh_span_kind was = lh_trace_enter(tr, LH_SPAN_RECEIVE);
	CU_ASSERT_EQUAL(was, LH_SPAN_CALCULATE);
	spin(LH_NS_PER_MS);
	lh_trace_enter(tr, lh_trace_enter(tr, LH_SPAN_DECODE)); /* in and out */
	lh_trace_enter(tr, was);
	spin(LH_NS_PER_MS);
	lh_trace_enter(tr, LH_SPAN_OTHER);
	lh_ns share = lh_clock_ns();
	lh_trace_share_done(tr, share);
	lh_trace_enter(tr, LH_SPAN_WAIT);
	lh_trace_exchange_begin(tr, 9);
	was = lh_trace_sleep(tr, 0);
	spin(LH_NS_PER_MS);
	lh_trace_enter(tr, was);
	was = lh_trace_sleep(tr, 3);
	spin(LH_NS_PER_MS);
	lh_trace_enter(tr, was);
	lh_trace_exchange_end(tr, 9);
	lh_trace_enter(tr, LH_SPAN_OTHER);
	lh_ns end = lh_clock_ns();
	lh_trace_round(tr, 1, end, &spans);
	check(&spans);
	CU_ASSERT_EQUAL(spans.rank, 5);
	CU_ASSERT_EQUAL(spans.begin_ns, begin);
	CU_ASSERT_EQUAL(spans.end_ns, end);
	CU_ASSERT_EQUAL(sum_of(spans.comm_ns), end - share);
	CU_ASSERT_TRUE(near(spans.total_ns[LH_SPAN_CALCULATE], 3 * LH_NS_PER_MS));
	CU_ASSERT_TRUE(near(spans.total_ns[LH_SPAN_RECEIVE], LH_NS_PER_MS));
	CU_ASSERT_TRUE(near(spans.total_ns[LH_SPAN_WAIT], LH_NS_PER_MS));
	CU_ASSERT_TRUE(near(spans.total_ns[LH_SPAN_WINDOW], LH_NS_PER_MS));
	CU_ASSERT_EQUAL(spans.comm_ns[LH_SPAN_CALCULATE], 0);
	CU_ASSERT_EQUAL(spans.comm_ns[LH_SPAN_WINDOW], spans.total_ns[LH_SPAN_WINDOW]);
	CU_ASSERT_EQUAL(spans.nexchanges, 1);
	CU_ASSERT_EQUAL(spans.exchanges[0].number, 9);
	CU_ASSERT_TRUE(spans.exchanges[0].from_ns >= share && spans.exchanges[0].to_ns <= end);
	/* The next round starts where this one ended, with nothing in it. */
	lh_trace_round(tr, 2, end + 5, &spans);
	CU_ASSERT_EQUAL(spans.begin_ns, end);
	CU_ASSERT_EQUAL(sum_of(spans.total_ns), 5);
	CU_ASSERT_EQUAL(spans.nexchanges, 0);
	lh_trace_free(tr);
}

static void test_many_spans(void)
{
	struct lh_trace *tr;
	uint32_t changes = 0, merged = 0;
	CU_ASSERT_EQUAL_FATAL(lh_trace_new(0, 1, &tr, NULL), 0);
	lh_trace_begin(tr, lh_clock_ns());
	/* Bursts of thousands of short ones between waits that a reader should still see. */
	for (unsigned burst = 0; burst < 5; burst++) {
		lh_trace_enter(tr, LH_SPAN_WAIT);
		spin(5 * LH_NS_PER_MS);
		for (unsigned i = 0; i < 4000; i++, changes += 2) {
			lh_trace_enter(tr, LH_SPAN_RECEIVE);
			lh_trace_enter(tr, LH_SPAN_DECODE);
		}
	}
	lh_trace_enter(tr, LH_SPAN_OTHER);
	lh_trace_share_done(tr, lh_clock_ns());
	lh_trace_round(tr, 1, lh_clock_ns(), &spans);
	check(&spans);
	CU_ASSERT_TRUE(spans.nspans >= 9 && spans.nspans <= LH_SPANS_MAX);
	unsigned waits = 0;
	for (uint32_t i = 0; i < spans.nspans; i++) {
		merged += spans.spans[i].merged;
		waits += spans.spans[i].kind == LH_SPAN_WAIT && spans.spans[i].to_us - spans.spans[i].from_us >= 4900;
	}
	CU_ASSERT_EQUAL(waits, 5);
	CU_ASSERT_TRUE(merged > changes / 2); /* none is lost, but those too short for the clock */
	CU_ASSERT_EQUAL(spans.spans[spans.nspans - 1].to_us, (uint64_t)(spans.end_ns - spans.begin_ns) / 1000);
	lh_trace_shorten(tr, &spans, 10);
	CU_ASSERT_TRUE(spans.nspans <= 10 && spans.nspans > 1);
	check(&spans);
	lh_trace_shorten(tr, &spans, 1);
	CU_ASSERT_EQUAL(spans.nspans, 1);
	check(&spans);
	lh_trace_free(tr);
}

static void test_shown_rounds(void)
{
	struct lh_trace *tr;
	CU_ASSERT_EQUAL_FATAL(lh_trace_new(0, 3, &tr, NULL), 0);
	for (uint32_t epoch = 1; epoch <= 7; epoch++) {
		lh_trace_enter(tr, LH_SPAN_CALCULATE);
		spin(LH_NS_PER_MS / 10);
		lh_trace_enter(tr, LH_SPAN_OTHER);
		lh_trace_round(tr, epoch, lh_clock_ns(), &spans);
		CU_ASSERT_EQUAL(spans.nspans > 0, epoch % 3 == 1);
		CU_ASSERT_TRUE(near(spans.total_ns[LH_SPAN_CALCULATE], LH_NS_PER_MS / 10));
		check(&spans);
	}
	lh_trace_free(tr);
	/* An exchange that goes on into the next rounds stays until it ends. */
	CU_ASSERT_EQUAL_FATAL(lh_trace_new(0, 0, &tr, NULL), 0);
	lh_trace_exchange_begin(tr, 1);
	lh_trace_round(tr, 1, lh_clock_ns(), &spans);
	CU_ASSERT_TRUE(spans.nexchanges == 1 && !spans.exchanges[0].to_ns);
	lh_trace_exchange_end(tr, 1);
	lh_trace_exchange_end(tr, 1);
	for (uint32_t i = 2; i < 12; i++)
		lh_trace_exchange_begin(tr, i); /* more than a line has */
	lh_trace_round(tr, 2, lh_clock_ns(), &spans);
	CU_ASSERT_TRUE(spans.nexchanges == LH_SPANS_EXCHANGES_MAX && spans.exchanges[0].to_ns);
	CU_ASSERT_EQUAL(spans.nspans, 0);
	check(&spans);
	lh_trace_round(tr, 3, lh_clock_ns(), &spans);
	CU_ASSERT_EQUAL(spans.nexchanges, LH_SPANS_EXCHANGES_MAX - 1);
	lh_trace_free(tr);
}

static void test_nobody_traces(void)
{
	CU_ASSERT_EQUAL(lh_trace_enter(NULL, LH_SPAN_SEND), LH_SPAN_SEND);
	lh_trace_sleep(NULL, 1);
	lh_trace_begin(NULL, 1);
	lh_trace_share_done(NULL, 1);
	lh_trace_exchange_begin(NULL, 1);
	lh_trace_exchange_end(NULL, 1);
	lh_trace_round(NULL, 4, 1, &spans);
	CU_ASSERT_TRUE(spans.epoch == 4 && !spans.nspans);
	lh_trace_free(NULL);
}

static void test_cost(void)
{
	struct lh_trace *tr;
	CU_ASSERT_EQUAL_FATAL(lh_trace_new(0, 1, &tr, NULL), 0);
	lh_ns begin = lh_clock_ns();
	for (unsigned i = 0; i < 100000; i++)
		lh_trace_enter(tr, i % 2 ? LH_SPAN_SEND : LH_SPAN_WAIT);
	double cost = (double)(lh_clock_ns() - begin) / 100000;
	printf("# a change of state: %.0f ns\n", cost);
	CU_ASSERT_TRUE(cost < 20000); /* only against something quadratic; the figure is for people */
	lh_trace_free(tr);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "nesting", test_nesting }, { "many_spans", test_many_spans }, { "shown_rounds", test_shown_rounds },
		{ "nobody_traces", test_nobody_traces }, { "cost", test_cost },
	};
	return lh_test_main(argc, argv, "trace", tests, sizeof tests / sizeof *tests);
}
