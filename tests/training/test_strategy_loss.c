/* What every strategy learns from the same samples, beside synchronous training: within a stated margin. Four peers over the
 * loopback transport, in simulated time. */
#include <math.h>
#include <string.h>

#include "lhsim.h"
#include "lhtest.h"

enum { ALL = LH_STRATEGY_ASYNC + 1 };

static struct lhsim sim;

struct task { const char *model; unsigned batch; uint32_t epochs; double rate; };

static void evaluate_last(void *ctx, struct lh_worker *w, const struct lh_event *e)
{
	char metric[32];
	double reference;
	if (w->c->rank == 0 && e->epoch == w->c->epochs)
		CU_ASSERT_EQUAL(w->ops->evaluate(w->engine, metric, ctx, &reference, NULL), 0);
}

/* Held-out accuracy or loss after the same samples. */
static double train(const struct task *t, enum lh_strategy_kind k, uint32_t every)
{
	lhsim_done(&sim);
	lhsim_init(&sim, 4);
	struct lh_sync_options *o = &sim.config.sync;
	strcpy(sim.config.model, t->model);
	sim.config.target_batch = t->batch;
	sim.config.epochs = t->epochs;
	sim.config.learning_rate = t->rate;
	o->strategy = k;
	o->every = every;
	o->staleness = 2;
	o->fragments = every < 2 ? 1 : 2;
	o->overlap = 1;
	o->blend = 0.5;
	if (k == LH_STRATEGY_DILOCO || k == LH_STRATEGY_STREAMING_DILOCO) {
		o->outer_learning_rate = 0.7;
		o->outer_momentum = 0.6;
	}
	double value = NAN;
	sim.ctx = &value;
	sim.committed = evaluate_last;
	CU_ASSERT_EQUAL_FATAL(lhsim_run(&sim), 0);
	return value;
}

/* `margin`: how much worse than synchronous the strategy may be: of accuracy; of nats. */
static void check_one(const struct task *t, enum lh_strategy_kind k, uint32_t every, double exact, double margin)
{
	double value = train(t, k, every), worse = strcmp(t->model, "digits") ? value - exact : exact - value;
	printf("# %s, %u rounds of %u, rate %g: %s, every %u: %.4g (exact %.4g, margin %g)\n", t->model, t->epochs, t->batch,
	       t->rate, lh_strategy_names[k], every, value, exact, margin);
	CU_ASSERT_TRUE(worse < margin);
}

static void check_convergence(const struct task *t, uint32_t every, double margin)
{
	double exact = train(t, LH_STRATEGY_EXACT, 1);
	for (int k = LH_STRATEGY_ETA; k < ALL; k++)
		if (k != LH_STRATEGY_DELAYED)
			check_one(t, (enum lh_strategy_kind)k, every, exact, margin);
	lhsim_done(&sim);
}

static void check_delayed(const struct task *t, double margin)
{
	check_one(t, LH_STRATEGY_DELAYED, 1, train(t, LH_STRATEGY_EXACT, 1), margin);
	lhsim_done(&sim);
}

static void test_converges_digits(void)
{
	check_convergence(&(struct task){ "digits", 256, 24, 0.01 }, 4, 0.04);
}

static void test_converges_text(void)
{
	check_convergence(&(struct task){ "text", 32, 20, 0.008 }, 4, 0.2);
}

/* Old gradients want smaller steps, and of some twenty updates the one that is missing counts. */
static void test_converges_delayed(void)
{
	check_delayed(&(struct task){ "digits", 256, 48, 0.004 }, 0.15);
	check_delayed(&(struct task){ "text", 32, 20, 0.004 }, 0.3);
}

static void test_converges_long(void)
{
	check_convergence(&(struct task){ "digits", 256, 100, 0.01 }, 10, 0.02);
	check_convergence(&(struct task){ "text", 32, 100, 0.008 }, 10, 0.1);
	check_delayed(&(struct task){ "digits", 256, 100, 0.004 }, 0.05);
	check_delayed(&(struct task){ "text", 32, 100, 0.004 }, 0.3);
}

static const struct lh_test tests[] = {
	{ "converges_digits", test_converges_digits, LH_TEST_FORK },
	{ "converges_text", test_converges_text, LH_TEST_FORK },
	{ "converges_delayed", test_converges_delayed, LH_TEST_FORK },
	{ "converges_long", test_converges_long, LH_TEST_LONG },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "strategy_loss", tests, sizeof tests / sizeof *tests);
}
