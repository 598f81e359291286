/* What every strategy promises, over the loopback transport with drawn orders of arrival, in simulated time. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "lhsim.h"
#include "lhtest.h"
#include "sync/fragment.h"

enum { ALL = LH_STRATEGY_ASYNC + 1 };

static struct lhsim sim, other;

/* ---- an engine of whole numbers ----
 *
 * A sample's gradient is a vector of small integers, whatever the parameters are; an update subtracts the sum itself. So
 * all that is added up, averaged over 2^k peers or taken apart again is exact, and the end is known in advance. */

enum { TOY = 37 };

struct lh_engine_state {
	float params[TOY], grads[TOY];
	uint64_t updates, updates_at_step;
};

static float toy_value(uint64_t sample, unsigned i)
{
	return (float)((int)(lh_mix64(sample * 64 + i) % 9) - 4);
}

static int toy_open(const struct lh_peer_config *c, struct lh_engine_state **ret, struct lh_err *err)
{
	*ret = calloc(1, sizeof **ret);
	return *ret ? 0 : -ENOMEM;
}

static uint64_t toy_parameters(const struct lh_engine_state *s) { return TOY; }

static int toy_step(struct lh_engine_state *s, const uint64_t *ids, size_t n, double *loss, struct lh_err *err)
{
	for (size_t k = 0; k < n; k++)
		for (unsigned i = 0; i < TOY; i++)
			s->grads[i] += toy_value(ids[k], i);
	s->updates_at_step = s->updates;
	*loss += (double)s->params[0] * (double)n;
	return 0;
}

static int toy_gradient_read(struct lh_engine_state *s, uint64_t at, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, s->grads + at, n * sizeof *dst);
	return 0;
}

static int toy_gradient_write(struct lh_engine_state *s, uint64_t at, size_t n, const float *src, struct lh_err *err)
{
	memcpy(s->grads + at, src, n * sizeof *src);
	return 0;
}

static int toy_parameters_read(struct lh_engine_state *s, uint64_t at, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, s->params + at, n * sizeof *dst);
	return 0;
}

static int toy_parameters_write(struct lh_engine_state *s, uint64_t at, size_t n, const float *src, struct lh_err *err)
{
	memcpy(s->params + at, src, n * sizeof *src);
	return 0;
}

static int toy_update(struct lh_engine_state *s, uint64_t total, struct lh_err *err)
{
	for (unsigned i = 0; i < TOY; i++)
		s->params[i] -= s->grads[i];
	memset(s->grads, 0, sizeof s->grads);
	s->updates++;
	return 0;
}

static uint64_t toy_hash(const struct lh_engine_state *s) { return lh_hash64(s->params, sizeof s->params, 0); }
static void toy_close(struct lh_engine_state *s) { free(s); }

static const struct lh_engine_ops toy = {
	.name = "toy", .open = toy_open, .parameters = toy_parameters, .step = toy_step,
	.gradient_read = toy_gradient_read, .gradient_write = toy_gradient_write,
	.parameters_read = toy_parameters_read, .parameters_write = toy_parameters_write, .update = toy_update,
	.state_hash = toy_hash, .close = toy_close,
};

/* ---- fragments ---- */

static void check_fragments(uint64_t parameters, uint32_t n)
{
	struct lh_fragments f = lh_fragments_of(parameters, n);
	uint8_t *seen = calloc(parameters + 1, 1);
	uint64_t all = 0, least = UINT64_MAX, most = 0;
	for (uint32_t p = 0; p < n; p++) {
		uint64_t length = lh_fragment_length(&f, p), run;
		all += length;
		least = length < least ? length : least;
		most = length > most ? length : most;
		for (uint64_t k = 0; k < length; k += run) {
			uint64_t at = lh_fragment_at(&f, p, k, &run);
			CU_ASSERT_TRUE_FATAL(run > 0 && at + run <= parameters);
			for (uint64_t i = 0; i < run; i++)
				seen[at + i]++;
		}
	}
	CU_ASSERT_EQUAL(all, parameters);
	CU_ASSERT_TRUE(most - least <= f.page);
	CU_ASSERT_TRUE(n == 1 || f.page == 1 || f.page * 8 * n <= parameters);
	for (uint64_t i = 0; i < parameters; i++)
		CU_ASSERT_EQUAL(seen[i], 1);
	free(seen);
}

static void test_fragments(void)
{
	static const uint64_t sizes[] = { 0, 1, 7, 37, 1000, 84544, 300001 };
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (uint32_t n = 1; n <= 9; n++)
			check_fragments(sizes[i], n);
	for (uint32_t every = 1; every <= 12; every++)
		for (uint32_t n = 1; n <= every; n++) {
			uint32_t next = 0;
			for (uint32_t epoch = 1; epoch <= 3 * every; epoch++) {
				uint32_t p = lh_fragment_due(n, every, epoch);
				if (p == n)
					continue;
				CU_ASSERT_EQUAL(p, next); /* in turn */
				next = (next + 1) % n;
				CU_ASSERT_TRUE(p + 1 < n || epoch % every == 0); /* the last one ends the period */
			}
			CU_ASSERT_EQUAL(next, 0);
		}
}

/* ---- every sample counts once ---- */

static float last_params[LHSIM_PEERS][TOY];
static unsigned late_landings, worst_staleness;

static void note_toy(void *ctx, struct lh_worker *w, const struct lh_event *e)
{
	memcpy(last_params[w->c->rank], w->engine->params, sizeof w->engine->params);
	if (!e->uses)
		return;
	late_landings += e->uses < e->epoch;
	worst_staleness = e->epoch - e->uses > worst_staleness ? e->epoch - e->uses : worst_staleness;
}

/* After the last round all peers hold -(sum over all samples) / divisor, exactly: nothing was lost on the way, nothing
 * counted twice, and averaging did not move the mean. */
static void check_counted(double divisor)
{
	const struct lh_peer_config *c = &sim.config;
	for (unsigned i = 0; i < TOY; i++) {
		double sum = 0;
		for (uint64_t id = 0; id < c->target_batch * c->epochs; id++)
			sum += toy_value(id, i);
		for (unsigned r = 0; r < c->size; r++)
			CU_ASSERT_EQUAL((double)last_params[r][i], -sum / divisor);
	}
}

static void init_toy(unsigned n, enum lh_strategy_kind strategy)
{
	lhsim_done(&sim);
	lhsim_init(&sim, n);
	sim.engine = &toy;
	sim.config.epochs = 7;
	sim.config.sync.strategy = strategy;
	sim.committed = note_toy;
	late_landings = worst_staleness = 0;
}

static void test_counted_once(void)
{
	for (unsigned n = 1; n <= 4; n *= 2)
		for (uint32_t every = 1; every <= 4; every++)
			for (int k = 0; k < ALL; k++) {
				if (k == LH_STRATEGY_ETA)
					continue;
				init_toy(n, (enum lh_strategy_kind)k);
				sim.config.sync.every = every;
				sim.config.sync.fragments = every > 1 ? every - 1 : 1;
				sim.config.sync.staleness = every;
				CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
				bool gradients = k == LH_STRATEGY_EXACT || k == LH_STRATEGY_DELAYED;
				check_counted(gradients ? 1 : n);
			}
	lhsim_done(&sim);
}

/* With an exchange that takes longer than a round: landings are late, never later than allowed, and the mean stays. */
static void test_async_staleness(void)
{
	for (uint32_t staleness = 1; staleness <= 3; staleness++) {
		init_toy(4, LH_STRATEGY_ASYNC);
		sim.config.epochs = 12;
		sim.config.sync.staleness = staleness;
		sim.tick_ns = 100 * LH_NS_PER_MS; /* a round calculates 80 ms */
		CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
		check_counted(4);
		CU_ASSERT_TRUE(late_landings > 0);
		CU_ASSERT_TRUE(worst_staleness <= staleness);
		for (unsigned r = 0; r < 4; r++)
			CU_ASSERT_EQUAL(lhsim_event(&sim, 12, r)->shared, LH_SHARED_NEVER);
	}
	lhsim_done(&sim);
}

/* ---- delayed ---- */

static void note_delay(void *ctx, struct lh_worker *w, const struct lh_event *e)
{
	/* Round e was calculated on parameters that lack the update of round e - 1 and no other. */
	uint64_t expected = e->epoch < 2 ? 0 : e->epoch - 2;
	CU_ASSERT_EQUAL(w->engine->updates_at_step, expected);
	uint32_t uses = e->epoch == w->c->epochs ? e->epoch : e->epoch - 1;
	CU_ASSERT_EQUAL(e->uses, uses);
	CU_ASSERT_EQUAL(e->shared, LH_SHARED_YES);
}

static void test_delay_is_one(void)
{
	init_toy(4, LH_STRATEGY_DELAYED);
	sim.committed = note_delay;
	CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
	lhsim_done(&sim);
}

/* One peer, the algorithm by hand: the same bits. */
static void test_delayed_by_hand(void)
{
	enum { ROUNDS = 5, BATCH = 24 };
	struct lh_engine_state *s;
	lhsim_init(&sim, 1);
	sim.config.epochs = ROUNDS;
	sim.config.target_batch = BATCH;
	sim.config.sync.strategy = LH_STRATEGY_DELAYED;
	CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
	CU_ASSERT_EQUAL_FATAL(lh_engine_cpu.open(&sim.config, &s, NULL), 0);
	const size_t n = (size_t)lh_engine_cpu.parameters(s);
	float *flight = calloc(n, sizeof *flight), *own = calloc(n, sizeof *own), *zero = calloc(n, sizeof *zero);
	for (uint32_t e = 1; e <= ROUNDS; e++) {
		double loss = 0;
		for (uint64_t k = 0; k < BATCH; k++)
			lh_engine_cpu.step(s, &(uint64_t){ (e - 1) * BATCH + k }, 1, &loss, NULL);
		lh_engine_cpu.gradient_read(s, 0, n, own, NULL);
		lh_engine_cpu.gradient_write(s, 0, n, e > 1 ? flight : zero, NULL);
		if (e > 1)
			lh_engine_cpu.update(s, BATCH, NULL);
		memcpy(flight, own, n * sizeof *own);
		if (e == ROUNDS) {
			lh_engine_cpu.gradient_write(s, 0, n, flight, NULL);
			lh_engine_cpu.update(s, BATCH, NULL);
		}
		CU_ASSERT_EQUAL(lhsim_event(&sim, e, 0)->state_hash, lh_engine_cpu.state_hash(s));
	}
	free(flight);
	free(own);
	free(zero);
	lh_engine_cpu.close(s);
	lhsim_done(&sim);
}

/* ---- what is the same as what ---- */

static void run_both(void)
{
	CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
	CU_ASSERT_EQUAL_FATAL(lhsim_run(&other), 0);
}

static unsigned differing(void)
{
	unsigned n = 0;
	for (uint32_t e = 1; e <= sim.config.epochs; e++)
		for (unsigned r = 0; r < sim.config.size; r++) {
			const struct lh_event *a = lhsim_event(&sim, e, r), *b = lhsim_event(&other, e, r);
			n += a->state_hash != b->state_hash || a->loss_sum != b->loss_sum;
		}
	return n;
}

/* Where there is no next round there is no delay: the blocking step, bit by bit. */
static void test_no_delay_is_blocking(void)
{
	for (unsigned n = 1; n <= 4; n *= 2) {
		lhsim_init(&sim, n);
		lhsim_init(&other, n);
		sim.config.sync.strategy = LH_STRATEGY_DELAYED;
		sim.config.epochs = other.config.epochs = 1;
		run_both();
		CU_ASSERT_EQUAL(differing(), 0);
		lhsim_done(&sim);
		lhsim_done(&other);
	}
}

/* Alone, with an outer rate of 1 and no momentum, there is only the inner training. */
static void test_alone_is_plain(void)
{
	static const enum lh_strategy_kind kinds[] = { LH_STRATEGY_LOCAL_SGD, LH_STRATEGY_DILOCO,
		LH_STRATEGY_STREAMING_DILOCO, LH_STRATEGY_ASYNC };
	for (unsigned k = 0; k < 4; k++)
		for (uint32_t every = 1; every <= 4; every++) {
			lhsim_init(&sim, 1);
			lhsim_init(&other, 1);
			sim.config.sync.strategy = kinds[k];
			sim.config.sync.every = sim.config.sync.staleness = every;
			sim.config.sync.fragments = every;
			run_both();
			CU_ASSERT_EQUAL(differing(), 0);
			lhsim_done(&sim);
			lhsim_done(&other);
		}
}

static void init_outer(struct lhsim *s, unsigned n, enum lh_strategy_kind k, double rate, double momentum)
{
	lhsim_init(s, n);
	s->config.sync.strategy = k;
	s->config.sync.every = 3;
	s->config.sync.outer_learning_rate = rate;
	s->config.sync.outer_momentum = momentum;
	s->config.epochs = 8;
	s->config.learning_rate = 0.005;
	for (unsigned i = 0; i < n; i++)
		s->endpoints[i].samples_per_s = 100 + 70 * i;
}

static void test_streaming_is_diloco(void)
{
	init_outer(&sim, 4, LH_STRATEGY_STREAMING_DILOCO, 0.7, 0.9);
	init_outer(&other, 4, LH_STRATEGY_DILOCO, 0.7, 0.9);
	run_both();
	CU_ASSERT_EQUAL(differing(), 0);
	sim.config.sync.outer_momentum = 0.5; /* and it does matter */
	run_both();
	CU_ASSERT_NOT_EQUAL(differing(), 0);
	lhsim_done(&sim);
	lhsim_done(&other);
}

static void test_local_sgd_is_diloco(void)
{
	init_outer(&sim, 4, LH_STRATEGY_LOCAL_SGD, 0.3, 0.3); /* not used */
	init_outer(&other, 4, LH_STRATEGY_DILOCO, 1, 0);
	run_both();
	CU_ASSERT_EQUAL(differing(), 0);
	for (uint32_t e = 1; e <= 8; e++) {
		bool shared = e % 3 == 0 || e == 8;
		for (unsigned r = 0; r < 4; r++)
			CU_ASSERT_EQUAL(lhsim_event(&sim, e, r)->shared, shared ? LH_SHARED_YES : LH_SHARED_NO);
		CU_ASSERT_EQUAL(lhsim_event(&sim, e, 0)->state_hash == lhsim_event(&sim, e, 1)->state_hash, shared);
	}
	lhsim_done(&sim);
	lhsim_done(&other);
}

static float *kept[2];

static void keep_params(void *ctx, struct lh_worker *w, const struct lh_event *e)
{
	size_t n = (size_t)w->ops->parameters(w->engine);
	float **to = ctx;
	if (w->c->rank || e->epoch < w->c->epochs)
		return;
	*to = realloc(*to, n * sizeof **to);
	CU_ASSERT_PTR_NOT_NULL_FATAL(*to);
	w->ops->parameters_read(w->engine, 0, n, *to, NULL);
}

/* DiLoCo after every step of plain gradient descent, rate 1, no momentum, is the synchronous step: the mean of
 * theta - lr g_i / n_i, weighted by n_i, is theta - lr sum(g_i) / sum(n_i). Within rounding: a few half ulps a step. */
static void test_diloco_is_synchronous_sgd(void)
{
	init_outer(&sim, 4, LH_STRATEGY_DILOCO, 1, 0);
	init_outer(&other, 4, LH_STRATEGY_EXACT, 1, 0);
	for (struct lhsim *s = &sim;; s = &other) {
		s->config.sync.every = 1;
		s->config.sync.optimizer = LH_OPTIMIZER_SGD;
		s->config.learning_rate = 0.1;
		s->config.epochs = 20;
		s->committed = keep_params;
		s->ctx = s == &sim ? &kept[0] : &kept[1];
		if (s == &other)
			break;
	}
	run_both();
	double worst = 0;
	for (uint32_t e = 1; e <= 20; e++)
		worst = fmax(worst, fabs(lhsim_loss(&sim, e) / lhsim_loss(&other, e) - 1));
	double d2 = 0, p2 = 0;
	for (unsigned i = 0; i < 89546; i++) {
		d2 += ((double)kept[0][i] - kept[1][i]) * ((double)kept[0][i] - kept[1][i]);
		p2 += (double)kept[1][i] * kept[1][i];
	}
	printf("# diloco, H = 1 against synchronous: loss within %.2g, parameters within %.2g of their length\n", worst,
	       sqrt(d2 / p2));
	CU_ASSERT_TRUE(worst < 1e-5);
	CU_ASSERT_TRUE(sqrt(d2 / p2) < 1e-6);
	CU_ASSERT_TRUE(lhsim_loss(&sim, 20) < 0.9 * lhsim_loss(&sim, 1)); /* it trains */
	free(kept[0]);
	free(kept[1]);
	lhsim_done(&sim);
	lhsim_done(&other);
}

/* ---- time changes nothing ---- */

static void init_any(struct lhsim *s, unsigned n, enum lh_strategy_kind k)
{
	init_outer(s, n, k, 0.7, 0.9);
	s->config.sync.every = 4;
	s->config.sync.staleness = 2;
	s->config.sync.fragments = 3;
	s->config.sync.overlap = 2;
	s->config.sync.blend = 0.5;
}

static void test_time_changes_nothing(void)
{
	for (int k = 0; k < LH_STRATEGY_ASYNC; k++) {
		if (k == LH_STRATEGY_ETA)
			continue;
		for (unsigned variant = 0; variant < 4; variant++) {
			init_any(&sim, 4, (enum lh_strategy_kind)k);
			init_any(&other, 4, (enum lh_strategy_kind)k);
			other.seed += variant + 1;
			other.depth = 1 + variant;
			other.streams = 1 + variant;
			other.tick_ns = variant % 2 ? 1000 : 300 * LH_NS_PER_MS;
			run_both();
			CU_ASSERT_EQUAL(differing(), 0);
			lhsim_done(&sim);
			lhsim_done(&other);
		}
	}
}

/* The catalogue's engine, whose bytes are real: same lengths, same moments, and hashes agree after every commit. */
static void test_paced(void)
{
	for (int k = 0; k < ALL; k++) {
		init_any(&sim, 3, (enum lh_strategy_kind)k);
		sim.engine = &lh_engine_paced;
		sim.config.engine = LH_ENGINE_PACED;
		sim.config.parameters = 100003;
		sim.config.wire = LH_WIRE_FP16;
		CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
		for (uint32_t e = 1; e <= sim.config.epochs; e++)
			for (unsigned r = 1; r < 3 && k != LH_STRATEGY_ASYNC; r++)
				CU_ASSERT_EQUAL(lhsim_event(&sim, e, r)->state_hash, lhsim_event(&sim, e, 0)->state_hash);
		CU_ASSERT_NOT_EQUAL(lhsim_event(&sim, 8, 0)->state_hash, lhsim_event(&sim, 1, 0)->state_hash);
		lhsim_done(&sim);
	}
}

/* Every fragment departs once a period, in its round, and its result is used just `overlap` rounds later. */
static void test_overlap(void)
{
	enum { EVERY = 4, ROUNDS = 4 * EVERY };
	for (uint32_t fragments = 1; fragments <= EVERY; fragments++)
		for (uint32_t overlap = 0; overlap < EVERY; overlap++) {
			init_toy(2, LH_STRATEGY_STREAMING_DILOCO);
			sim.config.epochs = ROUNDS;
			sim.config.sync.every = EVERY;
			sim.config.sync.fragments = fragments;
			sim.config.sync.overlap = overlap;
			CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
			for (uint32_t e = 1; e < ROUNDS; e++) {
				bool departed = e > overlap && lh_fragment_due(fragments, EVERY, e - overlap) < fragments;
				for (unsigned r = 0; r < 2; r++)
					CU_ASSERT_EQUAL(lhsim_event(&sim, e, r)->uses, departed ? e - overlap : 0);
			}
			for (unsigned r = 0; r < 2; r++) {
				CU_ASSERT_EQUAL(lhsim_event(&sim, ROUNDS, r)->uses, ROUNDS);
				CU_ASSERT_EQUAL(lhsim_event(&sim, ROUNDS, r)->shared, LH_SHARED_YES);
			}
		}
	lhsim_done(&sim);
}

/* ---- eta ---- */

static void test_eta(void)
{
	for (unsigned n = 1; n <= 8; n *= 2) {
		lhsim_init(&sim, n);
		sim.config.sync.strategy = LH_STRATEGY_ETA;
		sim.config.target_batch = 2048;
		sim.config.epochs = 5;
		sim.engine = &toy;
		sim.tick_ns = 10 * LH_NS_PER_US;
		sim.committed = NULL;
		for (unsigned i = 0; i < n; i++)
			sim.endpoints[i].samples_per_s = 100 + 40 * i;
		CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
		for (uint32_t e = 1; e <= 5; e++) {
			uint64_t samples = 0;
			for (unsigned r = 0; r < n; r++) {
				samples += lhsim_event(&sim, e, r)->samples;
				CU_ASSERT_EQUAL(lhsim_event(&sim, e, r)->state_hash, lhsim_event(&sim, e, 0)->state_hash);
				CU_ASSERT_EQUAL(lhsim_event(&sim, e, r)->total_samples,
						lhsim_event(&sim, e, 0)->total_samples);
			}
			CU_ASSERT_EQUAL(samples, lhsim_event(&sim, e, 0)->total_samples);
			CU_ASSERT_TRUE(samples >= 2048 && samples <= 2253); /* 1 ... 1.1 */
				printf("# %u peers, round %u: %llu samples\n", n, e, (unsigned long long)samples);
		}
		lhsim_done(&sim);
	}
}

/* A matchmaking floor holds up an exchange whose batch was reached sooner, and no other. */
static void test_match_floor(void)
{
	for (int slow = 0; slow < 2; slow++) {
		init_toy(3, LH_STRATEGY_EXACT);
		sim.config.sync.match_floor_ns = 5 * LH_NS_PER_S;
		sim.tick_ns = 10 * LH_NS_PER_US;
		sim.config.target_batch = 600;
		sim.config.microbatch = 8;
		for (unsigned i = 0; i < 3; i++)
			sim.endpoints[i].samples_per_s = slow ? 20 : 200; /* 10 s, 1 s */
		CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
		for (uint32_t e = 1; e <= sim.config.epochs; e++)
			for (unsigned r = 0; r < 3; r++) {
				const struct lh_event *x = lhsim_event(&sim, e, r);
				double comm_s = (double)(x->commit_ns - x->calc_end_ns) / 1e9;
				CU_ASSERT_TRUE(slow ? comm_s < 1 : comm_s > 3.9 && comm_s < 5);
			}
	}
	lhsim_done(&sim);
}

static const struct lh_test tests[] = {
	{ "fragments", test_fragments, LH_TEST_FORK },
	{ "counted_once", test_counted_once, LH_TEST_FORK },
	{ "async_staleness", test_async_staleness, LH_TEST_FORK },
	{ "delay_is_one", test_delay_is_one, LH_TEST_FORK },
	{ "delayed_by_hand", test_delayed_by_hand, LH_TEST_FORK },
	{ "no_delay_is_blocking", test_no_delay_is_blocking, LH_TEST_FORK },
	{ "alone_is_plain", test_alone_is_plain, LH_TEST_FORK },
	{ "streaming_is_diloco", test_streaming_is_diloco, LH_TEST_FORK },
	{ "local_sgd_is_diloco", test_local_sgd_is_diloco, LH_TEST_FORK },
	{ "diloco_is_synchronous_sgd", test_diloco_is_synchronous_sgd, LH_TEST_FORK },
	{ "time_changes_nothing", test_time_changes_nothing, LH_TEST_FORK },
	{ "paced", test_paced, LH_TEST_FORK },
	{ "overlap", test_overlap, LH_TEST_FORK },
	{ "eta", test_eta, LH_TEST_FORK },
	{ "match_floor", test_match_floor, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "strategies", tests, sizeof tests / sizeof *tests);
}
