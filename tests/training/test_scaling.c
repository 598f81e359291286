/* The engine of tables in fp16 as far as it can be had without a GPU: the cpu backend, which calls itself fp16 here, so that
 * loss scaling, skipping and stopping run for real; and what every optimiser keeps, over the engine's state. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/plugin.h"
#include "engine.h"
#include "lhtest.h"

#define E (&lh_engine_table)

static enum lh_precision precision; /* of the next engine */

static int cast(struct lh_backend *b, void *copy, const void *param, size_t count, struct lh_err *err)
{
	memcpy(copy, param, count * sizeof(float));
	return 0;
}

int __wrap_lh_backend_find(const char *engine, enum lh_precision asked, const struct lh_backend_ops **ret,
			   struct lh_err *err);
int __wrap_lh_backend_find(const char *engine, enum lh_precision asked, const struct lh_backend_ops **ret,
			   struct lh_err *err)
{
	static struct lh_backend_ops ops;
	ops = lh_backend_cpu;
	ops.precision = precision;
	ops.cast = cast;
	*ret = &ops;
	return 0;
}

static struct lh_engine_state *open_engine(enum lh_precision p, const struct lh_peer_config *like)
{
	struct lh_peer_config c = *like;
	struct lh_engine_state *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	c.microbatch = 8;
	c.seed = 1;
	c.epochs = 20;
	strcpy(c.model, "resnet-lab");
	precision = p;
	if (E->open(&c, &s, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	return s;
}

/* One round of 16 samples; 0, or the update's error. */
static int one_round(struct lh_engine_state *s, uint64_t round, bool overflows, struct lh_err *err)
{
	uint64_t ids[8];
	double loss = 0;
	for (uint64_t at = 0; at < 16; at += 8) {
		for (uint64_t i = 0; i < 8; i++)
			ids[i] = round * 16 + at + i;
		CU_ASSERT_EQUAL_FATAL(E->step(s, ids, 8, &loss, err), 0);
	}
	const float inf = INFINITY;
	if (overflows)
		CU_ASSERT_EQUAL(E->gradient_write(s, 100, 1, &inf, err), 0);
	return E->update(s, 16, err);
}

/* A scale that is a power of two rounds nothing: the same bits as without. */
static void scaling_changes_no_bit(void)
{
	const struct lh_peer_config c = { .learning_rate = 0.01 };
	struct lh_engine_state *plain = open_engine(LH_PRECISION_FP32, &c), *scaled = open_engine(LH_PRECISION_FP16, &c);
	float a[64], b[64];
	for (uint64_t r = 0; r < 4; r++) {
		uint64_t ids[8] = { 9, 8, 7, 6, 5, 4, 3, r };
		double loss[2] = { 0, 0 };
		CU_ASSERT_EQUAL(E->step(plain, ids, 8, &loss[0], NULL), 0);
		CU_ASSERT_EQUAL(E->step(scaled, ids, 8, &loss[1], NULL), 0);
		CU_ASSERT_EQUAL(loss[0], loss[1]);
		/* What travels is the gradient, not what lies there, and it comes back as it went. */
		CU_ASSERT_EQUAL(E->gradient_read(plain, 1000, 64, a, NULL), 0);
		CU_ASSERT_EQUAL(E->gradient_read(scaled, 1000, 64, b, NULL), 0);
		CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
		CU_ASSERT_EQUAL(E->gradient_write(scaled, 1000, 64, a, NULL), 0);
		CU_ASSERT_EQUAL(E->update(plain, 8, NULL), 0);
		CU_ASSERT_EQUAL(E->update(scaled, 8, NULL), 0);
		CU_ASSERT_EQUAL(E->state_hash(plain), E->state_hash(scaled));
	}
	CU_ASSERT_EQUAL(E->skipped(scaled), 0);
	E->close(plain);
	E->close(scaled);
}

/* An update that is skipped leaves parameters, moments and the number of updates; whoever takes over the state goes on alike. */
static void overflow_is_skipped(void)
{
	const struct lh_peer_config c = { .learning_rate = 0.01 };
	struct lh_engine_state *s = open_engine(LH_PRECISION_FP16, &c), *joiner = open_engine(LH_PRECISION_FP16, &c);
	const uint64_t bytes = E->state_bytes(s);
	uint8_t *state = malloc(bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	CU_ASSERT_EQUAL(one_round(s, 0, false, NULL), 0);
	const uint64_t before = E->state_hash(s);
	for (uint64_t r = 1; r <= 3; r++) {
		CU_ASSERT_EQUAL(one_round(s, r, true, NULL), 0);
		CU_ASSERT_EQUAL(E->state_hash(s), before);
		CU_ASSERT_EQUAL(E->skipped(s), r);
	}
	CU_ASSERT_EQUAL(E->state_read(s, 0, bytes, state, NULL), 0);
	CU_ASSERT_EQUAL(E->state_write(joiner, 0, bytes, state, NULL), 0);
	CU_ASSERT_EQUAL(E->skipped(joiner), 3);
	for (uint64_t r = 4; r < 6; r++) {
		CU_ASSERT_EQUAL(one_round(s, r, false, NULL), 0);
		CU_ASSERT_EQUAL(one_round(joiner, r, false, NULL), 0);
		CU_ASSERT_NOT_EQUAL(E->state_hash(s), before);
		CU_ASSERT_EQUAL(E->state_hash(s), E->state_hash(joiner));
	}
	E->close(s);
	E->close(joiner);
	free(state);
}

static void a_run_of_them_stops(void)
{
	const struct lh_peer_config c = { .learning_rate = 0.01 };
	struct lh_engine_state *s = open_engine(LH_PRECISION_FP16, &c);
	struct lh_err err = LH_ERR_INIT;
	const uint64_t before = E->state_hash(s);
	for (uint64_t r = 0; r < 16; r++)
		CU_ASSERT_EQUAL(one_round(s, r, true, &err), 0);
	CU_ASSERT_EQUAL(one_round(s, 16, true, &err), -EDOM);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the gradient of conv1.weight is not finite in update 1, after 16 that were "
					       "skipped for it, down to loss scale 1"));
	CU_ASSERT_EQUAL(E->state_hash(s), before);
	E->close(s);
}

/* Not a matter of range: a layer makes it. fp16 finds out after a run, fp32 at once; both name the first layer. */
static void the_layer_is_named(void)
{
	const struct lh_peer_config c = { .learning_rate = 0.01 };
	struct lh_tensor tensors[256];
	for (int fp16 = 0; fp16 < 2; fp16++) {
		struct lh_engine_state *s = open_engine(fp16 ? LH_PRECISION_FP16 : LH_PRECISION_FP32, &c);
		struct lh_err err = LH_ERR_INIT;
		const size_t n = E->tensors(s, tensors, 256);
		const float nan = NAN;
		uint64_t ids[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
		double loss = 0;
		int rc = 0;
		size_t i = 0;
		while (i < n && strcmp(tensors[i].name, "layer2.0.conv1.weight"))
			i++;
		CU_ASSERT_FATAL(i < n);
		CU_ASSERT_EQUAL(E->parameters_write(s, tensors[i].offset, 1, &nan, NULL), 0);
		for (int r = 0; r < 20 && !rc; r++) {
			rc = E->step(s, ids, 8, &loss, &err);
			CU_ASSERT_EQUAL(rc, fp16 ? 0 : -EDOM);
			rc = rc ? rc : E->update(s, 8, &err);
		}
		CU_ASSERT_EQUAL(rc, -EDOM);
		CU_ASSERT_EQUAL(E->skipped(s), fp16 ? 16 : 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the first layer with such an output is layer2.0.conv1 (conv2d)"));
		E->close(s);
	}
}

/* What travels to a joiner is all of it, for each optimiser. */
static void state_is_complete(void)
{
	struct lh_peer_config configs[4] = { { .learning_rate = 0.02 } };
	for (int k = 1; k < 4; k++) {
		configs[k] = configs[0];
		configs[k].sync.optimizer = k < 3 ? LH_OPTIMIZER_SGD : LH_OPTIMIZER_LAMB;
		configs[k].optim = lh_optim_defaults(configs[k].sync.optimizer);
	}
	configs[2].optim.momentum = 0.9;
	configs[2].optim.clip_norm = 0.5;
	configs[3].optim.schedule = LH_SCHEDULE_COSINE;
	static const unsigned vectors[] = { 3, 1, 2, 3 };
	for (int k = 0; k < 4; k++) {
		struct lh_engine_state *s = open_engine(LH_PRECISION_FP32, &configs[k]);
		struct lh_engine_state *joiner = open_engine(LH_PRECISION_FP32, &configs[k]);
		const uint64_t bytes = E->state_bytes(s);
		uint8_t *state = malloc(bytes);
		CU_ASSERT_PTR_NOT_NULL_FATAL(state);
		CU_ASSERT_EQUAL(bytes / (E->parameters(s) * sizeof(float)), vectors[k]);
		for (uint64_t r = 0; r < 3; r++)
			CU_ASSERT_EQUAL(one_round(s, r, false, NULL), 0);
		CU_ASSERT_EQUAL(E->state_read(s, 0, bytes, state, NULL), 0);
		CU_ASSERT_EQUAL(E->state_write(joiner, 0, bytes, state, NULL), 0);
		for (uint64_t r = 3; r < 5; r++) {
			CU_ASSERT_EQUAL(one_round(s, r, false, NULL), 0);
			CU_ASSERT_EQUAL(one_round(joiner, r, false, NULL), 0);
			CU_ASSERT_EQUAL(E->state_hash(s), E->state_hash(joiner));
		}
		E->close(s);
		E->close(joiner);
		free(state);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "scaling_changes_no_bit", scaling_changes_no_bit, 0 },
		{ "overflow_is_skipped", overflow_is_skipped, 0 },
		{ "a_run_of_them_stops", a_run_of_them_stops, 0 },
		{ "the_layer_is_named", the_layer_is_named, 0 },
		{ "state_is_complete", state_is_complete, 0 },
	};
	return lh_test_main(argc, argv, "scaling", tests, sizeof tests / sizeof *tests);
}
