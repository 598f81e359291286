/* From hand-made events to the printed numbers: stats, collect, metrics, judge. Times are chosen so that every
 * expected value can be checked by head.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "cpuwatch.h"
#include "judge.h"
#include "lhtest.h"
#include "metrics.h"
#include "stats.h"

#define MS LH_NS_PER_MS
#define GO (100 * LH_NS_PER_S)

static void near(double got, double want)
{
	CU_ASSERT_TRUE(fabs(got - want) <= 1e-9 * fmax(1, fabs(want)));
	if (!(fabs(got - want) <= 1e-9 * fmax(1, fabs(want))))
		printf("# got %.12g, want %.12g\n", got, want);
}

static void test_stats(void)
{
	const double four[] = { 4, 1, NAN, 3, 2, INFINITY };
	struct lh_stats s;

	CU_ASSERT_EQUAL(lh_stats_compute(four, 6, &s), 0);
	CU_ASSERT_EQUAL(s.n, 4);
	near(s.min, 1);
	near(s.median, 2.5);
	near(s.max, 4);
	near(s.p10, 1.3);
	near(s.p90, 3.7);
	CU_ASSERT_EQUAL(lh_stats_compute(four, 1, &s), 0);
	near(s.p10, 4);
	near(s.median, 4);
	CU_ASSERT_EQUAL(lh_stats_compute(four, 0, &s), 0);
	CU_ASSERT_EQUAL(s.n, 0);
	CU_ASSERT_TRUE(isnan(s.median) && isnan(s.min) && isnan(s.max));
}

static struct lh_event joined(unsigned rank, uint64_t hash)
{
	return (struct lh_event){
	    .kind = LH_EVENT_JOINED, .rank = rank, .t_ns = GO - 1, .parameters = 10, .state_hash = hash};
}

/* Times in ms after the go. */
static struct lh_event epoch(unsigned rank, uint32_t e, int begin, int calc_end, int exchange_end, int commit)
{
	return (struct lh_event){
		.kind = LH_EVENT_EPOCH, .rank = rank, .epoch = e, .begin_ns = GO + begin * MS,
		.calc_end_ns = GO + calc_end * MS, .exchange_end_ns = GO + exchange_end * MS,
		.commit_ns = GO + commit * MS, .t_ns = GO + commit * MS, .samples = 50, .bytes_sent = 1000,
		.bytes_received = 1000, .loss_sum = 100, .state_hash = e,
	};
}

static void add(struct lh_series *s, struct lh_event e)
{
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_series_add(s, &e, &err), 0);
	if (err.code)
		printf("# %s\n", err.text);
}

/* What the two were doing in epoch 2 after their share: peer 0 coded for 40 ms and matched for 10, peer 1 for 60 and
 * 30. */
static void add_sums(struct lh_series *s)
{
	static const struct { unsigned rank; int calc, coding, match, wait, update; } peers[] = {
		{ 0, 700, 40, 10, 230, 10 }, { 1, 700, 60, 30, 190, 20 },
	};
	for (unsigned i = 0; i < 2; i++) {
		const struct lh_event *e = lh_series_at(s, 2, i);
		struct lh_spans p = { .rank = i, .epoch = 2, .begin_ns = e->begin_ns, .end_ns = e->commit_ns };
		struct lh_err err = LH_ERR_INIT;
		p.total_ns[LH_SPAN_CALCULATE] = peers[i].calc * MS;
		p.total_ns[LH_SPAN_ENCODE] = p.comm_ns[LH_SPAN_ENCODE] = peers[i].coding * MS / 2;
		p.total_ns[LH_SPAN_DECODE] = p.comm_ns[LH_SPAN_DECODE] = peers[i].coding * MS / 4;
		p.total_ns[LH_SPAN_REDUCE] = p.comm_ns[LH_SPAN_REDUCE] = peers[i].coding * MS / 4;
		p.total_ns[LH_SPAN_MATCH] = p.comm_ns[LH_SPAN_MATCH] = peers[i].match * MS;
		p.total_ns[LH_SPAN_WAIT] = p.comm_ns[LH_SPAN_WAIT] = peers[i].wait * MS;
		p.total_ns[LH_SPAN_OPTIMISE] = p.comm_ns[LH_SPAN_OPTIMISE] = peers[i].update * MS;
		CU_ASSERT_EQUAL(lh_series_add_spans(s, &p, &err), 0);
		p.begin_ns++; /* it told us another begin */
		CU_ASSERT_TRUE(lh_series_add_spans(s, &p, &err) < 0);
		p.rank = 2;
		CU_ASSERT_TRUE(lh_series_add_spans(s, &p, &err) < 0);
	}
}

/* Two peers, two epochs. Epoch 1: 0 ... 500 ms, calc until 310; epoch 2: 500 ... 1500, calc until 1200. */
static void two_peers(struct lh_series *s)
{
	struct lh_err err = LH_ERR_INIT;

	CU_ASSERT_EQUAL_FATAL(lh_series_init(s, 2, 2, &err), 0);
	add(s, joined(0, 7));
	add(s, joined(1, 7));
	s->go_ns = GO;
	add(s, epoch(0, 1, 10, 310, 480, 490));
	add(s, epoch(1, 1, 0, 300, 470, 500));
	add(s, epoch(0, 2, 490, 1190, 1470, 1480));
	add(s, epoch(1, 2, 500, 1200, 1480, 1500));
}

static const struct lh_metrics_input input = {
	.warmup = 1, .target_batch = 100, .latency_ns = 100 * MS, .cpus = 1, .calculates = true,
};

static void test_epoch_adds_up(void)
{
	struct lh_series s;
	struct lh_epoch_metrics m;

	two_peers(&s);
	lh_metrics_epoch(&s, &input, 1, &m);
	CU_ASSERT_TRUE(m.warmup);
	near(m.wall_s, 0.5);
	near(m.calc_s, 0.31);
	near(m.comm_s, 0.19);
	lh_metrics_epoch(&s, &input, 2, &m);
	CU_ASSERT_FALSE(m.warmup);
	near(m.wall_s, 1.0);
	near(m.calc_s, 0.7);
	near(m.comm_s, 0.3);
	near(m.update_s, 0.02);           /* last exchange 1480, last commit 1500 */
	near(m.calc_wait_s, 0.005);       /* one had its share at 1190, the other at 1200 */
	CU_ASSERT_TRUE(isnan(m.latency_s) && isnan(m.bandwidth_s) && isnan(m.wait_s) && isnan(m.coding_s));
	add_sums(&s);
	lh_metrics_epoch(&s, &input, 2, &m);
	near(m.coding_s, 0.05);           /* the mean of 40 and 60 ms */
	near(m.wait_s, 0.005 + 0.02);     /* exchanges complete at 1470 and 1480; matching 10 and 30 ms */
	near(m.latency_s, 0.1);           /* 2 trips of 50 ms */
	near(m.bandwidth_s, 0.105);       /* what is left of 275 */
	near(m.latency_s + m.bandwidth_s + m.wait_s + m.coding_s + m.update_s, m.comm_s);
	CU_ASSERT_EQUAL(m.samples, 100);
	CU_ASSERT_EQUAL(m.bytes_sent, 2000);
	near(m.loss, 2);
	CU_ASSERT_TRUE(m.identical);
	lh_series_done(&s);
}

static void test_latency_part_is_capped(void)
{
	struct lh_metrics_input in = input;
	struct lh_epoch_metrics m;
	struct lh_series s;

	two_peers(&s);
	add_sums(&s);
	in.latency_ns = 1000 * MS;
	lh_metrics_epoch(&s, &in, 2, &m);
	near(m.latency_s, 0.205);
	near(m.bandwidth_s, 0);
	near(m.latency_s + m.bandwidth_s + m.wait_s + m.coding_s + m.update_s, m.comm_s);
	in.latency_ns = -1;
	lh_metrics_epoch(&s, &in, 2, &m);
	CU_ASSERT_TRUE(isnan(m.latency_s) && isnan(m.bandwidth_s));
	near(m.coding_s, 0.05);
	near(m.update_s, 0.02);
	lh_series_done(&s);
}

static void test_summary(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_metrics m;
	struct lh_series s;

	two_peers(&s);
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &input, &m, &err), 0);
	CU_ASSERT_EQUAL(m.nepochs, 2);
	CU_ASSERT_EQUAL(m.summary.epochs, 1);
	near(m.summary.throughput_sps, 100);
	near(m.summary.calc_s, 0.7);
	near(m.summary.comm_s, 0.3);
	near(m.summary.granularity, 7.0 / 3);
	/* Peer 0 alone: 50 samples in 700 + 10 ms; peer 1: in 700 + 20 ms. */
	near(m.summary.solo_sps, 50 / 0.71 + 50 / 0.72);
	near(m.summary.efficiency, 100 / (50 / 0.71 + 50 / 0.72));
	CU_ASSERT_TRUE(m.summary.replicas_identical);
	CU_ASSERT_EQUAL(m.summary.short_epoch, 0);
	near(m.summary.lateness, 0);
	CU_ASSERT_EQUAL(m.peers[1].bytes_sent, 2000); /* warm-up included */
	CU_ASSERT_EQUAL(m.peers[1].samples, 50);
	lh_metrics_done(&m);
	lh_series_done(&s);
}

static void test_undefined_is_nan(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_metrics_input in = input;
	struct lh_metrics m;
	struct lh_series s;

	/* Nothing committed. */
	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, 2, 2, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, &err), 0);
	CU_ASSERT_EQUAL(m.nepochs, 0);
	CU_ASSERT_TRUE(isnan(m.summary.throughput_sps) && isnan(m.summary.granularity) && isnan(m.summary.efficiency));
	CU_ASSERT_TRUE(isnan(m.summary.calc_s) && isnan(m.summary.lateness) && isnan(m.summary.cpus_needed));
	CU_ASSERT_FALSE(m.summary.replicas_identical);
	lh_metrics_done(&m);
	lh_series_done(&s);
	/* Only warm-up. */
	two_peers(&s);
	in.warmup = 2;
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, &err), 0);
	CU_ASSERT_TRUE(isnan(m.summary.throughput_sps) && isnan(m.summary.granularity));
	lh_metrics_done(&m);
	lh_series_done(&s);
	/* One peer has nobody to talk to. */
	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, 1, 1, &err), 0);
	add(&s, joined(0, 7));
	s.go_ns = GO;
	struct lh_event e = epoch(0, 1, 0, 90, 90, 100);
	e.samples = 100;
	add(&s, e);
	in.warmup = 0;
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, &err), 0);
	CU_ASSERT_TRUE(isnan(m.summary.granularity));
	near(m.summary.efficiency, 1);
	lh_metrics_done(&m);
	lh_series_done(&s);
}

static void test_loss_without_value(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_epoch_metrics m;
	struct lh_series s;
	struct lh_event e = epoch(0, 1, 0, 90, 90, 100);

	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, 1, 1, &err), 0);
	s.go_ns = GO;
	e.loss_sum = NAN; /* the paced engine has none */
	add(&s, e);
	lh_metrics_epoch(&s, &input, 1, &m);
	CU_ASSERT_TRUE(isnan(m.loss));
	lh_series_done(&s);
}

static void test_lateness_and_cpus(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_metrics m;
	struct lh_series s;

	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, 2, 1, &err), 0);
	add(&s, joined(0, 1));
	add(&s, joined(1, 1));
	s.go_ns = GO;
	for (unsigned i = 0; i < 2; i++) {
		struct lh_event e = epoch(i, 1, 0, 800, 900, 1000);
		e.busy_ns = 600 * MS;
		e.late_ns = i ? 50 * MS : 0; /* pace allows 800 and 750 ms */
		add(&s, e);
	}
	struct lh_metrics_input in = input;
	in.warmup = 0;
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, &err), 0);
	near(m.peers[0].lateness, 0);
	near(m.peers[1].lateness, 0.05);
	CU_ASSERT_EQUAL(m.summary.latest_peer, 1);
	near(m.summary.lateness, 0.05);
	near(m.summary.cpus_needed, 0.6 / 0.8 + 0.6 / 0.75);
	in.calculates = false;
	lh_metrics_done(&m);
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, &err), 0);
	CU_ASSERT_TRUE(isnan(m.summary.cpus_needed));
	lh_metrics_done(&m);
	lh_series_done(&s);
}

static void test_impossible_events_are_refused(void)
{
	const struct {
		struct lh_event e;
		const char *says;
	} bad[] = {
		{ epoch(2, 1, 0, 1, 2, 3), "rank 2" },
		{ epoch(0, 2, 0, 1, 2, 3), "epoch 2 reported after epoch 0" },
		{ epoch(0, 1, -5, 1, 2, 3), "begins before" },
		{ epoch(0, 1, 5, 1, 2, 3), "backwards" },
		{ epoch(0, 1, 0, 1, 3, 2), "backwards" },
	};
	struct lh_err err = LH_ERR_INIT;
	struct lh_series s;

	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, 2, 2, &err), 0);
	s.go_ns = GO;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CU_ASSERT_EQUAL(lh_series_add(&s, &bad[i].e, &err), -EPROTO);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, bad[i].says));
	}
	struct lh_event e = epoch(0, 1, 0, 1, 2, 3);
	add(&s, e);
	CU_ASSERT_EQUAL(lh_series_add(&s, &e, &err), -EPROTO); /* twice */
	e = epoch(0, 2, 2, 3, 4, 5);
	CU_ASSERT_EQUAL(lh_series_add(&s, &e, &err), -EPROTO); /* begins before the commit of epoch 1 */
	CU_ASSERT_PTR_NULL(lh_series_at(&s, 1, 1));
	CU_ASSERT_PTR_NOT_NULL(lh_series_at(&s, 1, 0));
	CU_ASSERT_EQUAL(lh_series_committed(&s), 0);
	lh_series_done(&s);
}

static void test_different_replica_is_found(void)
{
	struct lh_err err = LH_ERR_INIT;
	uint32_t at = 99;
	unsigned who = 99;
	struct lh_series s;

	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, 3, 2, &err), 0);
	for (unsigned i = 0; i < 3; i++)
		add(&s, joined(i, 5));
	s.go_ns = GO;
	for (unsigned i = 0; i < 3; i++)
		add(&s, epoch(i, 1, 0, 1, 2, 3));
	CU_ASSERT_TRUE(lh_series_identical(&s, 1, &at, &who));
	for (unsigned i = 0; i < 3; i++) {
		struct lh_event e = epoch(i, 2, 3, 4, 5, 6);
		e.state_hash = i == 0 ? 1234 : 2; /* rank 0, whom the others are compared with */
		add(&s, e);
	}
	CU_ASSERT_TRUE(lh_series_identical(&s, 1, &at, &who));
	CU_ASSERT_FALSE(lh_series_identical(&s, 2, &at, &who));
	CU_ASSERT_EQUAL(at, 2);
	CU_ASSERT_EQUAL(who, 0);
	lh_series_done(&s);
}

static void test_busy_cpus(void)
{
	struct lh_cpuwatch w;
	char text[128];

	lh_cpuwatch_init(&w);
	w.ticks_per_s = 100;
	/* CPU 0 idles for 25 ticks a second, CPU 1 for 100. */
	for (int i = 0; i <= 20; i++) {
		snprintf(text, sizeof text, "cpu  1 1 1 1 1 1 1 1\ncpu0 5 5 5 %d %d 0\ncpu1 5 5 5 %d 0 0\nintr 1 2\n",
			 1000 + i, 2000 + i * 3 / 2, 5000 + 10 * i);
		lh_cpuwatch_sample_text(&w, GO + i * 100 * MS, text);
	}
	CU_ASSERT_EQUAL(w.ncpus, 2);
	CU_ASSERT_EQUAL(w.n, 21);
	lh_cpuwatch_window(&w, GO + 200 * MS, GO + 1200 * MS, true);
	CU_ASSERT_DOUBLE_EQUAL(lh_cpuwatch_busiest(&w), 0.75, 1e-9);
	CU_ASSERT_EQUAL(w.n, 1);
	lh_cpuwatch_window(&w, GO + 200 * MS, GO + 1200 * MS, true); /* its samples are gone */
	CU_ASSERT_DOUBLE_EQUAL(w.window_s, 1, 1e-9);
	lh_cpuwatch_done(&w);
	/* Too little to say anything, and nonsense. */
	lh_cpuwatch_init(&w);
	lh_cpuwatch_sample_text(&w, GO, "cpu0 1 1 1 0 0\n");
	lh_cpuwatch_sample_text(&w, GO + 1, "nonsense");
	lh_cpuwatch_sample_text(&w, GO + 1, "cpu0 1 1 1 0 0\ncpu1 1 1 1 0 0\n");
	CU_ASSERT_EQUAL(w.n, 1);
	lh_cpuwatch_sample_text(&w, GO + 400 * MS, "cpu0 1 1 1 0 0\n");
	lh_cpuwatch_window(&w, GO, GO + 400 * MS, true);
	CU_ASSERT_TRUE(isnan(lh_cpuwatch_busiest(&w)));
	lh_cpuwatch_done(&w);
}

/* ---- verdicts ---- */

static struct lh_site sites[] = {{.name = "us", .first_peer = 0, .npeers = 1},
				 {.name = "eu", .first_peer = 1, .npeers = 1}};
static struct lh_peer peers[] = { { .name = "us-0" }, { .name = "eu-0", .site = 1 } };
static const struct lh_topology topology = { .nsites = 2, .npeers = 2, .sites = sites, .peers = peers };

struct scene {
	struct lh_series series;
	struct lh_metrics metrics;
	struct lh_failure failure;
	struct lh_link_traffic traffic[4];
	struct lh_judge_input in;
};

static void scene_open(struct scene *c)
{
	struct lh_err err = LH_ERR_INIT;

	memset(c, 0, sizeof *c);
	two_peers(&c->series);
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&c->series, &input, &c->metrics, &err), 0);
	for (int i = 0; i < 4; i++)
		c->traffic[i] = (struct lh_link_traffic){ .known = true, .bytes = i == 1 || i == 2 ? 2100 : 0 };
	c->in = (struct lh_judge_input){
		.topology = &topology, .metrics = &c->metrics, .failure = &c->failure, .traffic = c->traffic, .cpus = 1,
	};
}

static void scene_close(struct scene *c)
{
	lh_metrics_done(&c->metrics);
	lh_series_done(&c->series);
}

static void judged(struct scene *c, int exit_status, const char *says)
{
	struct lh_verdict v;

	lh_judge(&c->in, &v);
	CU_ASSERT_EQUAL(v.exit_status, exit_status);
	CU_ASSERT_EQUAL(v.valid, exit_status == LH_EXIT_OK);
	CU_ASSERT_EQUAL(v.nreasons > 0, !v.valid);
	if (says) {
		CU_ASSERT_PTR_NOT_NULL(strstr(v.reasons[0], says));
		if (!strstr(v.reasons[0], says))
			printf("# %s\n", v.reasons[0]);
	}
}

static void test_verdicts(void)
{
	struct lh_err altered = { .code = -EBADE, .exit = LH_EXIT_MACHINE, .text = "link us->eu: delay_ns" };
	struct scene c;

	scene_open(&c);
	judged(&c, LH_EXIT_OK, NULL);

	c.metrics.summary.lateness = 0.0199;
	judged(&c, LH_EXIT_OK, NULL);
	c.metrics.summary.lateness = 0.0201;
	c.metrics.summary.latest_peer = 1;
	judged(&c, LH_EXIT_INCONCLUSIVE, "peer eu-0: behind its declared pace");
	c.metrics.summary.cpus_needed = 1.3;
	judged(&c, LH_EXIT_INCONCLUSIVE, "need 1.30 CPUs; this kernel has 1");

	c.traffic[1].bytes = 1979; /* of 2000 that us-0 sent: 98.95 % */
	judged(&c, LH_EXIT_MACHINE, "site us: its peers sent 2000 bytes, of which only 1979");
	c.traffic[0].bytes = 1; /* its LAN counts too: 99 % */
	judged(&c, LH_EXIT_INCONCLUSIVE, NULL);
	c.traffic[0].bytes = 0;
	c.traffic[0].known = false; /* not known is not wrong */
	judged(&c, LH_EXIT_INCONCLUSIVE, NULL);

	c.in.verify_after = &altered;
	judged(&c, LH_EXIT_MACHINE, "after the training: link us->eu: delay_ns");
	c.metrics.summary.short_epoch = 2;
	judged(&c, LH_EXIT_BROKE, "epoch 2: 100 samples");
	c.metrics.summary.differ_epoch = 1;
	judged(&c, LH_EXIT_BROKE, "peers us-0 and eu-0: their parameters differ after epoch 1");
	c.failure = (struct lh_failure){ .kind = LH_FAILURE_INTERRUPTED, .exit_status = 130, .text = "interrupted" };
	judged(&c, 130, "interrupted");
	scene_close(&c);
}

static void test_nothing_trained(void)
{
	struct scene c;

	scene_open(&c);
	c.in.metrics = NULL;
	c.in.traffic = NULL;
	c.failure =
	    (struct lh_failure){.kind = LH_FAILURE_SETUP, .exit_status = 3, .text = "link us->eu: out of tolerance"};
	judged(&c, 3, "out of tolerance");
	scene_close(&c);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "stats", test_stats },
		{ "epoch_adds_up", test_epoch_adds_up },
		{ "latency_part_is_capped", test_latency_part_is_capped },
		{ "summary", test_summary },
		{ "undefined_is_nan", test_undefined_is_nan },
		{ "loss_without_value", test_loss_without_value },
		{ "lateness_and_cpus", test_lateness_and_cpus },
		{ "impossible_events_are_refused", test_impossible_events_are_refused },
		{ "different_replica_is_found", test_different_replica_is_found },
		{ "busy_cpus", test_busy_cpus },
		{ "verdicts", test_verdicts },
		{ "nothing_trained", test_nothing_trained },
	};

	return lh_test_main(argc, argv, "numbers", tests, sizeof tests / sizeof *tests);
}
