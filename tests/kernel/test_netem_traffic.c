/* What packets meet: delay, order, loss models, duplicates, damage, rate, queue, cut; measured with frames across one
 * link. Statistical bounds are wide enough (5 sigma of the model's own variance) to fail once in a million runs. */
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist.h"
#include "lhkernel.h"
#include "pair.h"

#define MS LH_NS_PER_MS
#define PERCENT(x) ((lh_ppb)((x) * 1e7))
#define SIGMAS 5

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

/* Delays of what arrived, sorted; to be freed. */
static int64_t *delays(const struct pair_traffic *t)
{
	int64_t *d = calloc(t->ngot + 1, sizeof *d);
	for (uint32_t i = 0; i < t->ngot; i++)
		d[i] = t->got[i].got_ns - t->got[i].sent_ns;
	qsort(d, t->ngot, sizeof *d, by_value);
	return d;
}

/* Times are of a machine that does other things too: a wrong qdisc stays wrong, a hiccup does not come five times. */
static int patiently(int (*measure)(void))
{
	enum { TRIES = 5 };
	for (int i = 0; i < TRIES; i++)
		if (!measure())
			return 0;
	return 1;
}

static uint32_t inversions(const struct pair_traffic *t)
{
	uint32_t n = 0, newest = 0;
	for (uint32_t i = 0; i < t->ngot; i++) {
		if (t->got[i].seq < newest)
			n++;
		else
			newest = t->got[i].seq;
	}
	return n;
}

/* Asked delays come out: the median within 0.3 ms and nothing earlier than asked. */
static int measure_delay(void)
{
	static const lh_ns asked[] = { 0, 500000, 5 * MS, 50 * MS, 150 * MS };
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		CHECK(!pair_netem(&(struct lh_impairment){ .delay_ns = asked[i] }));
		struct pair_traffic t = { .frames = 100, .bytes = 100, .gap_ns = 2 * MS,
			.linger_ns = asked[i] + 50 * MS };
		CHECK(!pair_run(&t));
		CHECK(t.ngot == 100 && inversions(&t) == 0);
		int64_t *d = delays(&t);
		printf("# delay %.1f ms: median %.3f ms\n", asked[i] / 1e6, d[50] / 1e6);
		CHECK(d[0] >= asked[i] && d[50] - asked[i] < 300000);
		free(d);
		pair_done(&t);
	}
	return 0;
}

/* Jitter keeps order unless told not to. */
static int measure_order(void)
{
	enum { N = 2000 };
	CHECK(!pair_netem(&(struct lh_impairment){ .delay_ns = 40 * MS, .jitter_ns = 5 * MS }));
	struct pair_traffic t = { .frames = N, .bytes = 60, .gap_ns = 200000, .linger_ns = 100 * MS };
	CHECK(!pair_run(&t));
	int64_t *d = delays(&t);
	printf("# in order: %u inversions, delay %.2f ... %.2f ms\n", inversions(&t), d[0] / 1e6, d[t.ngot - 1] / 1e6);
	CHECK(t.ngot == N && inversions(&t) == 0 && d[t.ngot - 1] - d[0] > 3 * MS /* it does vary */);
	free(d);
	pair_done(&t);
	return 0;
}

static int by_entry(const void *a, const void *b)
{
	return *(const int16_t *)a - *(const int16_t *)b;
}

/* Quantiles of what was measured against those of the table, also after another law was in force. */
static int measure_law(enum lh_dist law)
{
	enum { N = 2000 };
	static const double at[] = { 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95 };
	/* Large, so that what a loaded machine adds is small beside it. */
	const struct lh_impairment imp = { .delay_ns = 120 * MS, .jitter_ns = 20 * MS, .jitter_reorders = true,
		.dist = law };
	int16_t table[LH_DIST_ENTRIES];
	memcpy(table, lh_dist_table(law), sizeof table);
	qsort(table, LH_DIST_ENTRIES, sizeof *table, by_entry);
	CHECK(!pair_netem(&imp));
	struct pair_traffic t = { .frames = N, .bytes = 60, .gap_ns = 500000, .linger_ns = 250 * MS };
	CHECK(!pair_run(&t));
	int64_t *d = delays(&t);
	double worst = 0;
	for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
		double got = (double)(d[(size_t)(at[i] * t.ngot)] - imp.delay_ns) / (double)imp.jitter_ns;
		double want = (double)table[(size_t)(at[i] * LH_DIST_ENTRIES)] / LH_DIST_SCALE;
		worst = fmax(worst, fabs(got - want));
	}
	printf("# %s: %u inversions, quantiles off by %.3f jitters at most\n", lh_dist_name(law), inversions(&t),
		worst);
	/* At 95 % of 2000 a quantile of the widest law has a deviation of 0.05 jitters. */
	CHECK(t.ngot == N && inversions(&t) > N / 10 && worst < 0.25);
	free(d);
	pair_done(&t);
	return 0;
}

static int measure_laws(void)
{
	static const enum lh_dist laws[] = { LH_DIST_NORMAL, LH_DIST_UNIFORM, LH_DIST_PARETO, LH_DIST_UNIFORM,
		LH_DIST_PARETONORMAL };
	for (size_t i = 0; i < sizeof laws / sizeof *laws; i++)
		CHECK(!measure_law(laws[i]));
	return 0;
}

static int body_jitter(void)
{
	return patiently(measure_order) || patiently(measure_laws);
}

/* A chain of states that loses with e[i] in state i: its mean loss, and the variance of the loss rate over n steps. */
struct chain { int states; double p[4][4], e[4]; };

static void chain_statistics(const struct chain *c, unsigned n, double *ret_mean, double *ret_sigma)
{
	double pi[4] = { 1 }, next[4], f[4];
	for (int round = 0; round < 100000; round++) {
		memset(next, 0, sizeof next);
		for (int i = 0; i < c->states; i++)
			for (int k = 0; k < c->states; k++)
				next[k] += pi[i] * c->p[i][k];
		memcpy(pi, next, sizeof pi);
	}
	double mean = 0, sum = 0;
	for (int i = 0; i < c->states; i++)
		mean += pi[i] * c->e[i];
	memcpy(f, c->e, sizeof f);
	for (int lag = 1; lag < 5000; lag++) { /* f = P^lag e */
		memset(next, 0, sizeof next);
		for (int i = 0; i < c->states; i++)
			for (int k = 0; k < c->states; k++)
				next[i] += c->p[i][k] * f[k];
		memcpy(f, next, sizeof f);
		double both = 0;
		for (int i = 0; i < c->states; i++)
			both += pi[i] * c->e[i] * f[i];
		sum += both - mean * mean;
	}
	*ret_mean = mean;
	*ret_sigma = sqrt((mean * (1 - mean) + 2 * sum) / n);
}

static int check_loss(const char *name, const struct lh_impairment *imp, const struct chain *c)
{
	enum { N = 40000 };
	double mean, sigma;
	struct lh_qdisc_seen seen;
	chain_statistics(c, N, &mean, &sigma);
	CHECK(!pair_shell("tc qdisc del dev " PAIR_OUT " root 2>/dev/null; true") && !pair_netem(imp));
	struct pair_traffic t = { .frames = N, .bytes = 60, .linger_ns = 20 * MS };
	CHECK(!pair_run(&t));
	double loss = 1 - t.ngot / (double)N;
	printf("# %s: asked %.5f, got %.5f, sigma %.5f\n", name, mean, loss, sigma);
	CHECK(fabs(loss - mean) <= SIGMAS * sigma);
	/* And the counter that drops are reported from agrees with what did not arrive. */
	CHECK(!pair_get(&seen) && seen.counters.drops == N - t.ngot && seen.counters.packets == t.ngot);
	pair_done(&t);
	return 0;
}

static int body_loss(void)
{
	const struct lh_impairment random = { .loss_model = LH_LOSS_RANDOM, .loss_ppb = PERCENT(1) };
	const struct lh_impairment ge = { .loss_model = LH_LOSS_GEMODEL, .ge_p_ppb = PERCENT(1),
		.ge_r_ppb = PERCENT(10),
		.ge_1h_ppb = PERCENT(70), .ge_1k_ppb = PERCENT(0.1) };
	const struct lh_impairment four = { .loss_model = LH_LOSS_4STATE, .p13_ppb = PERCENT(1), .p31_ppb = PERCENT(20),
		.p32_ppb = PERCENT(5), .p23_ppb = PERCENT(10), .p14_ppb = PERCENT(0.5) };
	CHECK(!check_loss("random 1 %", &random, &(struct chain){ 1, { { 1 } }, { 0.01 } }));
	CHECK(!check_loss("Gilbert-Elliott", &ge, &(struct chain){ 2, { { 0.99, 0.01 }, { 0.1, 0.9 } }, { 0.001,
		0.7 } }));
	/* States: in a gap, in a burst, lost in a burst, lost alone. */
	CHECK(!check_loss("4-state", &four, &(struct chain){ 4, {
		{ 1 - 0.01 - 0.005, 0, 0.01, 0.005 }, { 0, 0.9, 0.1, 0 }, { 0.2, 0.05, 0.75, 0 }, { 1, 0, 0, 0 } },
		  { 0, 0, 1, 1 } }));
	return 0;
}

static int check_share(const char *name, double got, double asked, double n)
{
	double sigma = sqrt(asked * (1 - asked) / n);
	printf("# %s: asked %.4f, got %.4f, sigma %.4f\n", name, asked, got, sigma);
	CHECK(fabs(got - asked) <= SIGMAS * sigma);
	return 0;
}

static int measure_duplicate_corrupt_reorder(void)
{
	enum { N = 10000 };
	struct pair_traffic t = { .frames = N, .bytes = 200, .linger_ns = 50 * MS };
	CHECK(!pair_netem(&(struct lh_impairment){ .duplicate_ppb = PERCENT(10) }) && !pair_run(&t));
	CHECK(t.ngot > N && !check_share("duplicate", t.ngot / (double)N - 1, 0.1, N));
	pair_done(&t);

	uint32_t damaged = 0;
	CHECK(!pair_netem(&(struct lh_impairment){ .corrupt_ppb = PERCENT(5) }) && !pair_run(&t));
	for (uint32_t i = 0; i < t.ngot; i++)
		damaged += t.got[i].damaged;
	/* A flipped bit in the time of sending is not recognised as damage: 8 of 200 bytes. */
	CHECK(t.ngot == N && !check_share("corrupt", damaged / (double)N, 0.05 * 192 / 200, N));
	pair_done(&t);

	/* One in four leaves at once, the others 10 ms later; 1 ms apart, so each of them overtakes. */
	t = (struct pair_traffic){ .frames = 1000, .bytes = 60, .gap_ns = MS, .linger_ns = 50 * MS };
	uint32_t early = 0;
	CHECK(!pair_netem(&(struct lh_impairment){ .delay_ns = 10 * MS, .reorder_ppb = PERCENT(25) }) && !pair_run(&t));
	for (uint32_t i = 0; i < t.ngot; i++)
		early += t.got[i].got_ns - t.got[i].sent_ns < 5 * MS;
	CHECK(t.ngot == 1000 && inversions(&t) > 300 && !check_share("reorder", early / 1000.0, 0.25, 1000));
	pair_done(&t);
	return 0;
}

/* Time between first and last arrival of a burst is the bytes over the rate. */
static int measure_rate(void)
{
	static const lh_bps rates[] = { 1000000, 10000000,
		100000000 }; /* what one sender of frames can fill in a guest */
	for (int overhead = 0; overhead <= 24; overhead += 24) {
		for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
			/* A fifth of a second of the rate, all of it given to the qdisc before the first leaves: how
			 * evenly the sender got on does not matter. */
			uint32_t n = (uint32_t)(rates[i] / 8 / 5 / 1514) + 2;
			CHECK(!pair_netem(&(struct lh_impairment){ .delay_ns = 500 * MS, .rate_bps = rates[i],
				.rate_overhead_bytes = overhead }));
			struct pair_traffic t = { .frames = n, .bytes = 1514, .linger_ns = 800 * MS };
			CHECK(!pair_run(&t));
			CHECK(t.ngot == n && inversions(&t) == 0);
			double s = (t.got[n - 1].got_ns - t.got[0].got_ns) / 1e9;
			double got = (n - 1) * (1514.0 + overhead) * 8 / s;
			printf("# rate %.0f Mbit/s, overhead %d: got %.3f Mbit/s\n", rates[i] / 1e6, overhead,
				got / 1e6);
			CHECK(fabs(got / rates[i] - 1) < 0.02);
			pair_done(&t);
		}
	}
	return 0;
}

/* The limit counts what is in flight and what waits; what comes beyond it is lost, from the end. */
static int measure_limit(void)
{
	struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .limit_packets = 10, .imp = { .delay_ns = 100 * MS } };
	struct lh_qdisc_seen seen;
	CHECK(!pair_shell("tc qdisc del dev " PAIR_OUT " root 2>/dev/null; true") &&
		!pair_put(&q)); /* counters from 0 */
	struct pair_traffic t = { .frames = 50, .bytes = 60, .linger_ns = 200 * MS };
	CHECK(!pair_run(&t) && t.ngot == 10 && t.got[9].seq == 9);
	CHECK(!pair_get(&seen) && seen.counters.drops == 40);
	pair_done(&t);
	/* As sized for a link: in flight and the queue asked for, no more. 10 Mbit/s x 20 ms = 17 packets, and 30. */
	struct lh_impairment imp = { .delay_ns = 20 * MS, .rate_bps = 10000000, .queue_kind = LH_QUEUE_PACKETS,
		.queue_packets = 30 };
	lh_qdisc_for_link(&imp, 40 * MS, LH_MODE_PACKET, false, &q);
	CHECK(q.limit_packets == 47 && !pair_put(&q));
	t = (struct pair_traffic){ .frames = 200, .bytes = 1514, .linger_ns = 400 * MS };
	CHECK(!pair_run(&t));
	printf("# limit 47: %u of 200 arrived\n", t.ngot);
	CHECK(t.ngot >= 47 && t.ngot <= 60);
	pair_done(&t);
	return 0;
}

/* The timed change between two halves of a stream; `then` is put when half was sent. */
struct halves { struct pair_traffic first, second; };

static int run_halves(const struct lh_qdisc *before, const struct lh_qdisc *then, uint32_t n, struct halves *h)
{
	*h = (struct halves){ .first = { .frames = n, .bytes = 60, .linger_ns = 0 },
			      .second = { .frames = n, .bytes = 60, .linger_ns = 300 * MS } };
	CHECK(!pair_put(before) && !pair_run(&h->first) && !pair_put(then) && !pair_run(&h->second));
	return 0;
}

/* Cut: what is in flight arrives, nothing that comes later does. Heal: as before. */
static int body_cut(void)
{
	struct lh_impairment cases[] = {
		{ .delay_ns = 100 * MS },
		{ .delay_ns = 100 * MS, .jitter_ns = 5 * MS, .duplicate_ppb = PERCENT(50),
		  .loss_model = LH_LOSS_GEMODEL, .ge_1k_ppb = 1,
		  .ge_r_ppb = LH_PPB_ONE },
		{ .delay_ns = 100 * MS, .rate_bps = 100000000 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_qdisc open, cut;
		struct halves h;
		lh_qdisc_for_link(&cases[i], 200 * MS, LH_MODE_PACKET, false, &open);
		lh_qdisc_for_link(&cases[i], 200 * MS, LH_MODE_PACKET, true, &cut);
		/* The first half is still in flight when its receiver closes, so the second one's sees it. */
		CHECK(!run_halves(&open, &cut, 100, &h));
		printf("# cut %zu: %u in flight arrived\n", i, h.second.ngot);
		CHECK(h.first.ngot == 0 && h.second.ngot >= 100);
		for (uint32_t k = 0; k < h.second.ngot; k++)
			CHECK(h.second.got[k].sent_ns < h.second.got[0].got_ns - 50 * MS);
		if (i != 1)
			CHECK(h.second.ngot == 100);
		pair_done(&h.first);
		pair_done(&h.second);
		struct pair_traffic t = { .frames = 50, .bytes = 60, .linger_ns = 200 * MS };
		CHECK(!pair_run(&t) && t.ngot == 0);
		pair_done(&t);
		CHECK(!pair_put(&open) && !pair_run(&t) && t.ngot >= 50);
		pair_done(&t);
	}
	return 0;
}

/* A live change takes packets in flight neither away nor along: they arrive when their time was set to. */
static int measure_live_change(void)
{
	struct lh_qdisc slow = { .kind = LH_QDISC_NETEM, .limit_packets = 1000, .imp = { .delay_ns = 150 * MS } },
		fast = slow;
	struct halves h;
	fast.imp.delay_ns = 20 * MS;
	CHECK(!run_halves(&slow, &fast, 50, &h));
	uint32_t old = 0, new = 0;
	for (uint32_t i = 0; i < h.second.ngot; i++) {
		int64_t d = h.second.got[i].got_ns - h.second.got[i].sent_ns;
		old += d >= 150 * MS && d < 160 * MS;
		new += d >= 20 * MS && d < 30 * MS;
	}
	printf("# live change: %u with the old delay, %u with the new\n", old, new);
	CHECK(h.first.ngot == 0 && old == 50 && new == 50);
	pair_done(&h.first);
	pair_done(&h.second);
	return 0;
}

/* With ecn the loss model marks what can be marked instead of dropping it. */
static int body_ecn(void)
{
	uint32_t arrived, marked;
	struct lh_impairment imp = { .loss_model = LH_LOSS_RANDOM, .loss_ppb = LH_PPB_ONE };
	CHECK(!pair_netem(&imp) && !pair_run_ecn(100, &arrived, &marked) && arrived == 0);
	imp.ecn = true;
	CHECK(!pair_netem(&imp) && !pair_run_ecn(100, &arrived, &marked));
	printf("# ecn: %u of 100 arrived, %u marked\n", arrived, marked);
	CHECK(arrived == 100 && marked == 100);
	imp.loss_ppb = 0; /* and nothing of it is left */
	CHECK(!pair_netem(&imp) && !pair_run_ecn(100, &arrived, &marked) && arrived == 100 && marked == 0);
	return 0;
}

/* Slots: packets that come evenly leave in clumps. */
static int measure_slot(void)
{
	CHECK(!pair_netem(&(struct lh_impairment){ .slot_min_ns = 20 * MS, .slot_max_ns = 20 * MS }));
	struct pair_traffic t = { .frames = 400, .bytes = 60, .gap_ns = MS, .linger_ns = 100 * MS };
	CHECK(!pair_run(&t) && t.ngot == 400);
	uint32_t clumps = 1;
	for (uint32_t i = 1; i < t.ngot; i++)
		clumps += t.got[i].got_ns - t.got[i - 1].got_ns > 10 * MS;
	printf("# slots of 20 ms: %u clumps in 400 ms\n", clumps);
	CHECK(clumps >= 15 && clumps <= 22);
	pair_done(&t);
	return 0;
}

static int body_delay(void) { return patiently(measure_delay); }
static int body_rate(void) { return patiently(measure_rate); }
static int body_limit(void) { return patiently(measure_limit); }
static int body_live_change(void) { return patiently(measure_live_change); }
static int body_duplicate_corrupt_reorder(void) { return patiently(measure_duplicate_corrupt_reorder); }
static int body_slot(void) { return patiently(measure_slot); }

#define TEST(name) static void name(void) { pair_test(body_##name); }
TEST(delay) TEST(jitter) TEST(loss) TEST(duplicate_corrupt_reorder) TEST(rate) TEST(limit) TEST(cut) TEST(live_change)
TEST(slot) TEST(ecn)

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "delay", delay, LH_TEST_FORK },
		{ "jitter", jitter, LH_TEST_FORK },
		{ "loss", loss, LH_TEST_FORK },
		{ "duplicate_corrupt_reorder", duplicate_corrupt_reorder, LH_TEST_FORK },
		{ "rate", rate, LH_TEST_FORK },
		{ "limit", limit, LH_TEST_FORK },
		{ "cut", cut, LH_TEST_FORK },
		{ "live_change", live_change, LH_TEST_FORK },
		{ "slot", slot, LH_TEST_FORK },
		{ "ecn", ecn, LH_TEST_FORK },
	};
	return lh_kernel_main(argc, argv, "netem-traffic", tests, sizeof tests / sizeof *tests);
}
