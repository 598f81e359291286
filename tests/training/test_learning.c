/* What the models of the zoo learn, by the data that they learn from: eight samples by heart, and from shipped or
 * synthesised sets what holds for samples never seen. The longer form (LONGHAUL_LONG=1) trains further. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "lhtest.h"

static const struct lh_engine_ops *E = &lh_engine_cpu;
enum { MICROBATCH = 8 };

static struct lh_engine_state *open_engine(const char *model, enum lh_data data, double rate)
{
	struct lh_peer_config c = { .learning_rate = rate, .microbatch = MICROBATCH, .seed = 1, .data = data };
	struct lh_engine_state *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	snprintf(c.model, sizeof c.model, "%s", model);
	snprintf(c.data_dir, sizeof c.data_dir, "%s", lh_test_path("../trainer/data/files"));
	E = lh_engine_of(&c);
	if (E->open(&c, &s, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	return s;
}

static double round_of(struct lh_engine_state *s, uint64_t first, unsigned batch)
{
	double loss = 0;
	for (unsigned i = 0; i < batch; i += MICROBATCH) {
		uint64_t ids[MICROBATCH];
		for (unsigned k = 0; k < MICROBATCH; k++)
			ids[k] = first + i + k;
		CU_ASSERT_EQUAL_FATAL(E->step(s, ids, MICROBATCH, &loss, NULL), 0);
	}
	CU_ASSERT_EQUAL_FATAL(E->update(s, batch, NULL), 0);
	return loss / batch;
}

/* The same eight samples until they are known by heart, whatever they are. */
static void test_eight(void)
{
	static const struct { const char *model; enum lh_data data; double rate; } runs[] = {
		{ "resnet-lab", LH_DATA_DIGITS, 0.01 }, { "convnext-lab", LH_DATA_DIGITS, 0.003 },
		{ "roberta-text-lab", LH_DATA_TEXT, 0.01 }, { "roberta-lab", LH_DATA_SYNTHETIC, 0.01 },
		{ "whisper-lab", LH_DATA_TONES, 0.005 },
	};
	for (unsigned i = 0; i < sizeof runs / sizeof *runs; i++) {
		struct lh_engine_state *s = open_engine(runs[i].model, runs[i].data, runs[i].rate);
		const double before = round_of(s, 0, 8);
		double after = before;
		unsigned n = 0;
		for (; n < 300 && after >= before / 20; n++)
			after = round_of(s, 0, 8);
		printf("# %s, %s: %.3f nats, after %u rounds of the same eight %.3f\n", runs[i].model,
		       lh_data_names[runs[i].data], before, n, after);
		CU_ASSERT_TRUE(after < before / 20);
		E->close(s);
	}
}

static void test_held_out(void)
{
	static const struct {
		const char *model;
		enum lh_data data;
		double rate;
		unsigned rounds, batch;
		double at_least, at_most; /* accuracy; or nats, as a part of the reference */
	} runs[] = {
		{ "resnet-lab", LH_DATA_DIGITS, 0.01, 150, 64, 0.95, 1 },
		{ "convnext-lab", LH_DATA_DIGITS, 0.003, 100, 32, 0.8, 1 },
		{ "roberta-text-lab", LH_DATA_TEXT, 0.003, 220, 32, 0, 1 },
		{ "whisper-lab", LH_DATA_TONES, 0.005, 120, 32, 0, 0.6 },
	};
	for (unsigned i = 0; i < sizeof runs / sizeof *runs; i++) {
		struct lh_engine_state *s = open_engine(runs[i].model, runs[i].data, runs[i].rate);
		const unsigned rounds = runs[i].rounds * (getenv("LONGHAUL_LONG") ? 2 : 1);
		char metric[32];
		double before = 0, after = 0, reference = 0;
		CU_ASSERT_EQUAL_FATAL(E->evaluate(s, metric, &before, &reference, NULL), 0);
		for (unsigned r = 0; r < rounds; r++)
			round_of(s, (uint64_t)r * runs[i].batch, runs[i].batch);
		CU_ASSERT_EQUAL_FATAL(E->evaluate(s, metric, &after, &reference, NULL), 0);
		printf("# %s, %s: %s %.3f, after %u rounds of %u %.3f, reference %.3f\n", runs[i].model,
		       lh_data_names[runs[i].data], metric, before, rounds, runs[i].batch, after, reference);
		const double unit = strcmp(metric, "held_out_accuracy") ? reference : 1;
		CU_ASSERT_TRUE(after >= runs[i].at_least * unit && after < runs[i].at_most * unit + (unit == 1));
		CU_ASSERT_FALSE(before >= runs[i].at_least * unit && before < runs[i].at_most * unit + (unit == 1));
		E->close(s);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "eight", test_eight, 0 },
		{ "held_out", test_held_out, 0 },
	};
	return lh_test_main(argc, argv, "learning", tests, sizeof tests / sizeof *tests);
}
