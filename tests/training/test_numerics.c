/* Optimisers, determinism and broken numbers in groups of real peers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lhpeers.h"
#include "lhtest.h"

static struct lhpeers group, again;

static void run(struct lhpeers *g)
{
	lhpeers_start_all(g);
	lhpeers_go(g);
	lhpeers_wait_all(g);
}

static void begin(struct lhpeers *g, unsigned n, const char *model, enum lh_optimizer kind)
{
	lhpeers_init(g, n);
	strcpy(g->config.model, model);
	g->config.target_batch = 32;
	g->config.epochs = 3;
	g->config.sync.optimizer = kind;
	g->config.optim = lh_optim_defaults(kind);
	for (unsigned i = 0; i < n; i++)
		g->endpoints[i].samples_per_s = 1000 + 500 * i;
}

static void rounds_are_equal(const struct lhpeers *a, const struct lhpeers *b)
{
	CU_ASSERT_EQUAL(a->peer[0].nepochs, b->peer[0].nepochs);
	for (unsigned i = 0; i < a->config.size; i++)
		for (unsigned e = 0; e < a->peer[i].nepochs && e < b->peer[i].nepochs; e++) {
			CU_ASSERT_EQUAL(a->peer[i].epochs[e].state_hash, b->peer[i].epochs[e].state_hash);
			CU_ASSERT_EQUAL(memcmp(&a->peer[i].epochs[e].loss_sum, &b->peer[i].epochs[e].loss_sum, sizeof(double)), 0);
		}
}

/* Same seed, same members: the same bits of every loss, also where a library makes the products; digits for any microbatch. */
static void twice_is_the_same(void)
{
	static const struct { const char *model; uint32_t microbatch; } runs[] = {
		{ "digits", 3 }, { "resnet-lab", 8 }, { "roberta-lab", 8 },
	};
	for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) {
		begin(&group, 3, runs[k].model, LH_OPTIMIZER_ADAMW);
		begin(&again, 3, runs[k].model, LH_OPTIMIZER_ADAMW);
		again.config.microbatch = runs[k].microbatch;
		run(&group);
		run(&again);
		CU_ASSERT_EQUAL(group.peer[0].nepochs, 3);
		if (again.config.microbatch == group.config.microbatch)
			rounds_are_equal(&group, &again);
		for (unsigned e = 0; e < 3; e++) /* digits, another microbatch: the parameters; a loss is summed by microbatches */
			CU_ASSERT_EQUAL(group.peer[0].epochs[e].state_hash, again.peer[0].epochs[e].state_hash);
		lhpeers_done(&group);
		lhpeers_done(&again);
	}
}

/* Whatever moves the parameters, all peers move them alike, and as one peer would. */
static void each_optimizer_on_peers(void)
{
	for (int kind = 0; lh_optimizer_names[kind]; kind++) {
		for (struct lhpeers *g = &group;; g = &again) {
			begin(g, g == &group ? 3 : 1, "digits", (enum lh_optimizer)kind);
			g->config.epochs = 6;
			g->config.learning_rate = kind == LH_OPTIMIZER_SGD ? 0.05 : 0.005;
			g->config.optim.momentum = kind == LH_OPTIMIZER_SGD ? 0.9 : 0;
			g->config.optim.nesterov = kind == LH_OPTIMIZER_SGD;
			g->config.optim.schedule = LH_SCHEDULE_COSINE;
			g->config.optim.clip_norm = 1;
			run(g);
			for (unsigned i = 0; i < g->config.size; i++) {
				CU_ASSERT_EQUAL(g->peer[i].status, 0);
				for (unsigned e = 0; e < g->peer[i].nepochs; e++)
					CU_ASSERT_EQUAL(g->peer[i].epochs[e].state_hash, g->peer[0].epochs[e].state_hash);
			}
			if (g == &again)
				break;
		}
		for (unsigned e = 0; e < 6; e++) {
			double sum = 0;
			for (unsigned i = 0; i < 3; i++)
				sum += group.peer[i].epochs[e].loss_sum;
			CU_ASSERT_DOUBLE_EQUAL(sum / again.peer[0].epochs[e].loss_sum, 1, 1e-4);
		}
		lhpeers_done(&group);
		lhpeers_done(&again);
	}
}

/* Too high a rate: the run ends with exit 4, by name of a layer or a tensor; the rounds until then are told. */
static void too_high_a_rate_ends_the_run(void)
{
	static const char *const models[] = { "digits", "resnet-lab" };
	for (int m = 0; m < 2; m++) {
		begin(&group, 2, models[m], LH_OPTIMIZER_SGD);
		group.config.epochs = 60;
		group.config.learning_rate = 1;
		group.config.optim.momentum = 0.99;
		group.config.optim.weight_decay = 10; /* p grows by (1 - rate decay) a round: -9, 81, ... */
		run(&group);
		for (unsigned i = 0; i < 2; i++) {
			const struct lhpeer *p = &group.peer[i];
			CU_ASSERT_EQUAL(p->status, LH_EXIT_BROKE);
			CU_ASSERT_TRUE(p->has_failed && !p->has_finished);
			CU_ASSERT_TRUE(p->nepochs > 0 && p->nepochs < 60);
			for (unsigned e = 0; e < p->nepochs; e++)
				CU_ASSERT_TRUE(isfinite(p->epochs[e].loss_sum));
		}
		/* Whoever noticed says where; if only one did, the other says that it went. */
		const char *said[] = { group.peer[0].failed.reason, group.peer[1].failed.reason };
		bool named = false;
		for (int i = 0; i < 2; i++)
			named |= strstr(said[i], "the first layer with such an output is ") || strstr(said[i], "the gradient of ");
		CU_ASSERT_TRUE(named);
		lhpeers_done(&group);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "twice_is_the_same", twice_is_the_same, LH_TEST_FORK },
		{ "each_optimizer_on_peers", each_optimizer_on_peers, LH_TEST_FORK },
		{ "too_high_a_rate_ends_the_run", too_high_a_rate_ends_the_run, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "numerics", tests, sizeof tests / sizeof *tests);
}
