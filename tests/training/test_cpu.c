/* Engine cpu as the loop sees it: repeatable to the bit, indifferent to how a batch is cut, and it learns. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "hash.h"
#include "lhtest.h"

static const struct lh_engine_ops *E = &lh_engine_cpu;
static const char *const models[] = { "digits", "text" };

static struct lh_engine_state *open_engine(const char *model, double learning_rate, uint64_t seed)
{
	struct lh_peer_config c = { .learning_rate = learning_rate, .microbatch = 8, .seed = seed };
	struct lh_engine_state *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	snprintf(c.model, sizeof c.model, "%s", model);
	snprintf(c.data_dir, sizeof c.data_dir, "%s", lh_test_path("../trainer/data/files"));
	int rc = E->open(&c, &s, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return s;
}

/* Steps over ids first ... first + count - 1 in microbatches; returns the loss sum. */
static double steps(struct lh_engine_state *s, uint64_t first, uint64_t count, size_t microbatch)
{
	double loss = 0;
	uint64_t ids[64];
	for (uint64_t done = 0; done < count;) {
		size_t n = count - done < microbatch ? (size_t)(count - done) : microbatch;
		for (size_t i = 0; i < n; i++)
			ids[i] = first + done + i;
		CU_ASSERT_EQUAL_FATAL(E->step(s, ids, n, &loss, NULL), 0);
		done += n;
	}
	return loss;
}

static uint64_t gradient_hash(struct lh_engine_state *s)
{
	const size_t n = (size_t)E->parameters(s);
	float *g = malloc(n * sizeof *g);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(E->gradient_read(s, 0, n, g, NULL), 0);
	uint64_t hash = lh_hash64(g, n * sizeof *g, 0);
	free(g);
	return hash;
}

static void same_seed_same_bits(void)
{
	for (int m = 0; m < 2; m++) {
		uint64_t hash[3], initial[3];
		for (int run = 0; run < 3; run++) { /* the third with another seed */
			struct lh_engine_state *s = open_engine(models[m], 0.01, run < 2 ? 7 : 8);
			initial[run] = E->state_hash(s);
			for (uint64_t round = 0; round < 3; round++) {
				steps(s, round * 16, 16, 8);
				CU_ASSERT_EQUAL(E->update(s, 16, NULL), 0);
			}
			hash[run] = E->state_hash(s);
			E->close(s);
		}
		CU_ASSERT_EQUAL(initial[0], initial[1]);
		CU_ASSERT_NOT_EQUAL(initial[0], initial[2]);
		CU_ASSERT_EQUAL(hash[0], hash[1]);
		CU_ASSERT_NOT_EQUAL(hash[0], hash[2]);
		CU_ASSERT_NOT_EQUAL(hash[0], initial[0]);
	}
}

/* The bound on how much the microbatch may matter is nothing: sums over samples have one order. */
static void microbatch_changes_no_bit(void)
{
	static const size_t cuts[] = { 1, 3, 7, 8, 21, 64 };
	for (int m = 0; m < 2; m++) {
		uint64_t want = 0;
		double loss = 0;
		for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
			struct lh_engine_state *s = open_engine(models[m], 0.01, 7);
			const double l = steps(s, 100, 21, cuts[k]);
			if (!k) {
				want = gradient_hash(s);
				loss = l;
			}
			CU_ASSERT_EQUAL(gradient_hash(s), want);
			CU_ASSERT_DOUBLE_EQUAL(l, loss, 1e-9 * loss);
			E->close(s);
		}
	}
}

/* Four shards added in peer order against one engine that saw all samples, over the length of the gradient. A sum of
 * text has 64 x 64 terms, each addition is off by at most 6e-8: the square root of 4096 of them is 4e-6. */
static void four_shards_are_one(void)
{
	enum { SHARD = 16 };
	for (int m = 0; m < 2; m++) {
		struct lh_engine_state *one = open_engine(models[m], 0.01, 7), *part = open_engine(models[m], 0.01, 7);
		const size_t n = (size_t)E->parameters(one);
		float *sum = calloc(n, sizeof *sum), *g = malloc(n * sizeof *g);
		CU_ASSERT_TRUE_FATAL(sum && g);
		double loss = 0, off = 0, length = 0;
		const double loss_one = steps(one, 0, 4 * SHARD, 8);
		for (uint64_t p = 0; p < 4; p++) {
			memset(g, 0, n * sizeof *g);
			CU_ASSERT_EQUAL(E->gradient_write(part, 0, n, g, NULL), 0);
			loss += steps(part, p * SHARD, SHARD, 8);
			CU_ASSERT_EQUAL(E->gradient_read(part, 0, n, g, NULL), 0);
			for (size_t i = 0; i < n; i++)
				sum[i] += g[i];
		}
		CU_ASSERT_EQUAL(E->gradient_read(one, 0, n, g, NULL), 0);
		for (size_t i = 0; i < n; i++) {
			off += ((double)sum[i] - g[i]) * ((double)sum[i] - g[i]);
			length += (double)g[i] * g[i];
		}
		printf("# %s: %.2g of the gradient's length\n", models[m], sqrt(off / length));
		CU_ASSERT_TRUE(length > 0 && sqrt(off / length) < 1e-5);
		CU_ASSERT_DOUBLE_EQUAL(loss, loss_one, 1e-9 * loss_one);
		free(sum);
		free(g);
		E->close(one);
		E->close(part);
	}
}

/* One small step lowers the loss of the very samples that it came from. */
static void one_step_goes_downhill(void)
{
	for (int m = 0; m < 2; m++) {
		struct lh_engine_state *s = open_engine(models[m], 1e-4, 7);
		const double before = steps(s, 0, 32, 8);
		CU_ASSERT_EQUAL(E->update(s, 32, NULL), 0);
		CU_ASSERT_TRUE(steps(s, 0, 32, 8) < before);
		E->close(s);
	}
}

static double train(const char *model, double lr, uint64_t batch, unsigned rounds, uint64_t seed, double *ret_reference)
{
	struct lh_engine_state *s = open_engine(model, lr, seed);
	char metric[32] = "";
	double value = 0;
	for (uint64_t round = 0; round < rounds; round++) {
		steps(s, round * batch, batch, 8);
		CU_ASSERT_EQUAL_FATAL(E->update(s, batch, NULL), 0);
	}
	const uint64_t hash = E->state_hash(s);
	CU_ASSERT_EQUAL(E->evaluate(s, metric, &value, ret_reference, NULL), 0);
	CU_ASSERT_STRING_EQUAL(metric, !strcmp(model, "text") ? "held_out_loss_nats" : "held_out_accuracy");
	CU_ASSERT_EQUAL(E->state_hash(s), hash); /* evaluation learns nothing */
	printf("# %s, %u rounds of %llu, lr %g, seed %llu: %s %.4f (reference %.4f)\n", model, rounds,
	       (unsigned long long)batch, lr, (unsigned long long)seed, metric, value, *ret_reference);
	E->close(s);
	return value;
}

/* What the presets ask for. */
static void digits_learn_in_a_short_run(void)
{
	double reference;
	CU_ASSERT_TRUE(train("digits", 0.01, 256, 24, 1, &reference) >= 0.9);
	CU_ASSERT_EQUAL(reference, 0.1);
}

static void digits_learn_well_in_a_longer_one(void)
{
	double reference;
	CU_ASSERT_TRUE(train("digits", 0.01, 256, 100, 2, &reference) >= 0.95);
}

static void text_goes_below_its_unigram_entropy(void)
{
	double reference, value = train("text", 0.008, 32, 20, 1, &reference);
	CU_ASSERT_TRUE(value < reference - 0.2);
	CU_ASSERT_TRUE(value > 1); /* below that it would have seen the held-out part */
}

static void untrained_models_know_nothing(void)
{
	double reference;
	CU_ASSERT_TRUE(train("digits", 0.01, 256, 0, 1, &reference) < 0.3);
	double loss = train("text", 0.008, 32, 0, 1, &reference);
	CU_ASSERT_TRUE(loss > log(256) - 0.3 && loss < log(256) + 0.3);
}

static void blocks_and_bits(void)
{
	struct lh_engine_state *s = open_engine("digits", 0.01, 1);
	const uint64_t n = E->parameters(s), before = E->state_hash(s);
	float block[3] = { 1, 2, 3 }, back[3] = { 0 };
	CU_ASSERT_EQUAL(n, 89546);
	CU_ASSERT_EQUAL(E->gradient_write(s, n - 3, 3, block, NULL), 0);
	CU_ASSERT_EQUAL(E->gradient_read(s, n - 3, 3, back, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(block, back, sizeof block), 0);
	CU_ASSERT_EQUAL(E->gradient_read(s, n - 2, 3, back, NULL), -ERANGE);
	CU_ASSERT_EQUAL(E->gradient_write(s, UINT64_MAX, 3, block, NULL), -ERANGE);
	CU_ASSERT_EQUAL(E->update(s, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(E->state_hash(s), before);
	E->flip_bit(s);
	CU_ASSERT_NOT_EQUAL(E->state_hash(s), before);
	E->flip_bit(s);
	CU_ASSERT_EQUAL(E->state_hash(s), before);
	E->close(s);
	E->close(NULL);
}

static void what_cannot_be_opened(void)
{
	struct lh_engine_state *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_config c = { .learning_rate = 0.01, .model = "resnet" };
	CU_ASSERT_EQUAL(E->open(&c, &s, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "model resnet"));
	strcpy(c.model, "text");
	strcpy(c.data_dir, "/nowhere");
	CU_ASSERT_EQUAL(E->open(&c, &s, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nowhere/text.lhdata"));
	static const double rates[] = { 0, -1, 2, NAN, INFINITY };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		c.learning_rate = rates[i];
		CU_ASSERT_EQUAL(E->open(&c, &s, &err), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "learning rate"));
	}
	CU_ASSERT_PTR_NULL(s);
}

/* A gradient that is no number ends the run and is in no parameter; infinities leave as NaN, which every wire carries. A
 * parameter that is none is found in the first layer that has it. */
static void broken_numbers_are_an_error(void)
{
	static const char *const first[] = { " conv1;", " layer0.qkv;" };
	/* the first element of conv1.weight, and of layer0.norm1.shift, whose sum with x qkv is the first to read */
	static const size_t place[] = { 0, 256 * 48 + 64 * 48 + 48 };
	static const char *const end[] = { " out;", " head;" };
	static const char *const last[] = { " out.bias ", " head.bias " };
	for (int m = 0; m < 2; m++) {
		struct lh_engine_state *s = open_engine(models[m], 1, 1);
		const float bad[2] = { NAN, -INFINITY };
		float out;
		struct lh_err err = LH_ERR_INIT;
		double loss = 0, value, reference;
		char metric[32];
		uint64_t ids[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
		const uint64_t n = E->parameters(s), before = E->state_hash(s);
		for (int k = 0; k < 2; k++) {
			E->clear(s);
			CU_ASSERT_EQUAL(E->gradient_write(s, n - 1, 1, &bad[k], NULL), 0);
			CU_ASSERT_EQUAL(E->gradient_read(s, n - 1, 1, &out, NULL), 0);
			CU_ASSERT(isnan(out));
			CU_ASSERT_EQUAL(E->update(s, 1, &err), -EDOM);
			CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, last[m]));
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "learning rate"));
			CU_ASSERT_EQUAL(E->state_hash(s), before);
		}
		E->clear(s);
		for (int k = 0; k < 2; k++) {
			const size_t at = k ? n - 1 : place[m];
			float was;
			CU_ASSERT_EQUAL(E->parameters_read(s, at, 1, &was, NULL), 0);
			CU_ASSERT_EQUAL(E->parameters_write(s, at, 1, bad, NULL), 0);
			CU_ASSERT_EQUAL(E->step(s, ids, 8, &loss, &err), -EDOM);
			CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, k ? end[m] : first[m]));
			CU_ASSERT_EQUAL(E->evaluate(s, metric, &value, &reference, &err), -EDOM);
			CU_ASSERT_EQUAL(E->parameters_write(s, at, 1, &was, NULL), 0);
		}
		E->close(s);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "same_seed_same_bits", same_seed_same_bits, 0 },
		{ "microbatch_changes_no_bit", microbatch_changes_no_bit, 0 },
		{ "four_shards_are_one", four_shards_are_one, 0 },
		{ "one_step_goes_downhill", one_step_goes_downhill, 0 },
		{ "digits_learn_in_a_short_run", digits_learn_in_a_short_run, 0 },
		{ "digits_learn_well_in_a_longer_one", digits_learn_well_in_a_longer_one, 0 },
		{ "text_goes_below_its_unigram_entropy", text_goes_below_its_unigram_entropy, 0 },
		{ "untrained_models_know_nothing", untrained_models_know_nothing, 0 },
		{ "blocks_and_bits", blocks_and_bits, 0 },
		{ "what_cannot_be_opened", what_cannot_be_opened, 0 },
		{ "broken_numbers_are_an_error", broken_numbers_are_an_error, 0 },
	};
	return lh_test_main(argc, argv, "cpu", tests, sizeof tests / sizeof *tests);
}
