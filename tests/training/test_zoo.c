/* The zoo's models as the training loop sees them: engine cpu on made-up data. Repeatable to the bit, the same data for
 * any number of peers, and something is learnt that holds for samples never seen. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"
#include "engine.h"
#include "lhtest.h"
#include "model/zoo.h"

static const struct lh_engine_ops *E = &lh_engine_table;

static int try_engine(const char *model, double rate, struct lh_engine_state **ret, struct lh_err *err)
{
	struct lh_peer_config c = { .learning_rate = rate, .microbatch = 8, .seed = 1 };
	snprintf(c.model, sizeof c.model, "%s", model);
	return E->open(&c, ret, err);
}

static struct lh_engine_state *open_engine(const char *model, double rate)
{
	struct lh_engine_state *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	if (try_engine(model, rate, &s, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	return s;
}

static void rounds(struct lh_engine_state *s, unsigned count, unsigned batch)
{
	uint64_t id = 0;
	for (unsigned round = 0; round < count; round++) {
		double loss = 0;
		for (unsigned i = 0; i < batch; i += 8) {
			uint64_t ids[8];
			for (unsigned k = 0; k < 8; k++)
				ids[k] = id++;
			CU_ASSERT_EQUAL_FATAL(E->step(s, ids, 8, &loss, NULL), 0);
		}
		CU_ASSERT_EQUAL_FATAL(E->update(s, batch, NULL), 0);
	}
}

static void test_learns(void)
{
	static const struct {
		const char *model;
		double rate;
		unsigned rounds, batch;
		double at_least, at_most; /* of the held-out metric, as a part of what a guess gets (accuracy: of 1) */
	} runs[] = {
		{ "resnet-lab", 0.01, 16, 64, 0.6, 1 },
		{ "convnext-lab", 0.003, 40, 32, 0.6, 1 },
		{ "roberta-lab", 0.01, 60, 32, 0, 0.85 },
		{ "whisper-lab", 0.005, 80, 32, 0, 0.3 },
	};
	for (unsigned i = 0; i < sizeof runs / sizeof *runs; i++) {
		struct lh_engine_state *s = open_engine(runs[i].model, runs[i].rate);
		char metric[32];
		double before = 0, after = 0, guess = 0;
		CU_ASSERT_EQUAL_FATAL(E->evaluate(s, metric, &before, &guess, NULL), 0);
		rounds(s, runs[i].rounds, runs[i].batch);
		CU_ASSERT_EQUAL_FATAL(E->evaluate(s, metric, &after, &guess, NULL), 0);
		printf("# %s: %s %.3f, after %u rounds %.3f, a guess %.3f\n", runs[i].model, metric, before, runs[i].rounds, after,
		       guess);
		const double unit = strcmp(metric, "held_out_accuracy") ? guess : 1;
		CU_ASSERT_TRUE(after >= runs[i].at_least * unit && after <= runs[i].at_most * unit);
		CU_ASSERT_FALSE(before >= runs[i].at_least * unit && before <= runs[i].at_most * unit);
		E->close(s);
	}
}

static void test_same_seed_same_bits(void)
{
	static const char *const models[] = { "resnet-lab", "convnext-lab", "roberta-lab", "whisper-lab" };
	for (unsigned i = 0; i < 4; i++) {
		uint64_t hash[2];
		for (unsigned k = 0; k < 2; k++) {
			struct lh_engine_state *s = open_engine(models[i], 0.01);
			rounds(s, 2, 16);
			hash[k] = E->state_hash(s);
			E->close(s);
		}
		CU_ASSERT_EQUAL(hash[0], hash[1]);
	}
}

static void test_refused(void)
{
	struct lh_engine_state *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_TRUE(try_engine("resnet19", 0.01, &s, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "model resnet19: not one of"));
	CU_ASSERT_TRUE(try_engine("whisper-lab:symbols=3", 0.01, &s, &err) < 0);
	CU_ASSERT_TRUE(try_engine("whisper-tiny:symbols=3", 0.01, &s, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "5 symbols"));
	CU_ASSERT_PTR_NULL(s);
}

/* What others believe about these models (common/builtin.h). */
static void test_builtin(void)
{
	for (unsigned i = LH_BUILTIN_TABLES; lh_builtin_model(i); i++) {
		struct lh_graph *g = NULL;
		CU_ASSERT_EQUAL_FATAL(lh_zoo_build(lh_builtin_model(i)->name, &g, NULL), 0);
		CU_ASSERT_EQUAL(g->parameters, lh_builtin_model(i)->parameters);
		lh_graph_free(g);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "same_seed_same_bits", test_same_seed_same_bits, 0 },
		{ "learns", test_learns, 0 },
		{ "refused", test_refused, 0 },
		{ "builtin", test_builtin, 0 },
	};
	return lh_test_main(argc, argv, "zoo", tests, sizeof tests / sizeof *tests);
}
