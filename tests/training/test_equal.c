/* Four engines that average are one engine with their batch: the summed gradient of every round, all of it, against
 * the one engine's, while both train on. In one process, over the loopback transport; test_peers.c has the losses of
 * real processes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/allreduce.h"
#include "comm/loopback.h"
#include "engine.h"
#include "lhtest.h"
#include "sync/deal.h"

enum { N = 4, BATCH = 50, EVEN = 64, MICROBATCH = 8 };
static const struct lh_engine_ops *E;

static struct lh_peer_config config = {
	.protocol = LH_PEER_PROTOCOL, .size = 1, .secret = "0011223344556677", .engine = LH_ENGINE_CPU,
	.target_batch = BATCH, .microbatch = MICROBATCH, .epochs = 1, .learning_rate = 0.002, .seed = 3,
};

static int read_gradient(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	return E->gradient_read(ctx, offset, n, dst, err);
}

static int write_gradient(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	return E->gradient_write(ctx, offset, n, src, err);
}

static double calculate(struct lh_engine_state *s, uint64_t first, uint64_t count)
{
	double loss = 0;
	for (uint64_t done = 0; done < count;) {
		uint64_t ids[MICROBATCH];
		size_t n = count - done < MICROBATCH ? (size_t)(count - done) : MICROBATCH;
		for (size_t i = 0; i < n; i++)
			ids[i] = first + done + i;
		CU_ASSERT_EQUAL_FATAL(E->step(s, ids, n, &loss, NULL), 0);
		done += n;
	}
	return loss;
}

static void exchange(struct lh_loopback *hub, struct lh_allreduce **a, uint32_t round)
{
	bool all = false;
	for (unsigned i = 0; i < N; i++)
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(a[i], round, NULL), 0);
	while (!all) {
		all = true;
		for (unsigned i = 0; i < N; i++) {
			struct lh_transport *t = lh_loopback_endpoint(hub, i);
			CU_ASSERT_EQUAL_FATAL(t->ops->progress(t, NULL), 0);
			all &= lh_allreduce_done(a[i]);
		}
	}
}

/* |a - b| / |b| of the gradients of two engines. */
static double distance(struct lh_engine_state *a, struct lh_engine_state *b, size_t n)
{
	float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
	double d2 = 0, y2 = 0;
	CU_ASSERT_TRUE_FATAL(x && y);
	CU_ASSERT_EQUAL(E->gradient_read(a, 0, n, x, NULL), 0);
	CU_ASSERT_EQUAL(E->gradient_read(b, 0, n, y, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		d2 += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
		y2 += (double)y[i] * y[i];
	}
	free(x);
	free(y);
	CU_ASSERT_TRUE(y2 > 0);
	return sqrt(d2 / y2);
}

/* `first` bounds round 1, where parameters are still equal: what the wire costs, half an ulp of fp16 (2^-11) a
 * contribution and one for the sum. `later` bounds the rest: AdamW divides each element by its own size, so an
 * element near 0 that was rounded to the other side moves its parameter the other way. */
struct run {
	const char *model;
	enum lh_data data;
	enum lh_wire wire;
	uint32_t rounds;
	uint64_t batch; /* EVEN: dealt in whole microbatches, the ones that a single engine makes */
	double first, later, loss; /* of gradients in round 1 and after, as a part of their length; of the losses */
};

static void check(struct run r)
{
	static const double uneven[N] = { 10, 20, 20, 33 }, even[N] = { 1, 1, 1, 1 };
	struct lh_engine_state *one = NULL, *many[N] = { NULL };
	struct lh_allreduce *a[N];
	struct lh_group group;
	struct lh_loopback *hub;
	struct lh_err err = LH_ERR_INIT;
	double worst_first = 0, worst = 0, worst_loss = 0;
	strcpy(config.model, r.model);
	config.data = r.data;
	config.target_batch = r.batch;
	E = lh_engine_of(&config);
	snprintf(config.data_dir, sizeof config.data_dir, "%s", lh_test_path("../trainer/data/files"));
	CU_ASSERT_EQUAL_FATAL(E->open(&config, &one, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(N, 2, lh_test_seed(), &hub, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, N, NULL, NULL, &err), 0);
	size_t n = (size_t)E->parameters(one);
	for (unsigned i = 0; i < N; i++) {
		CU_ASSERT_EQUAL_FATAL(E->open(&config, &many[i], &err), 0);
		struct lh_allreduce_config c = {
			.pattern = &lh_pattern_butterfly, .group = &group, .codec = lh_codec_find(r.wire), .scale = 1,
			.rank = i, .n = n, .part_bytes = 8192, .read = read_gradient, .write = write_gradient,
			.ctx = many[i],
		};
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, lh_loopback_endpoint(hub, i), &a[i], &err), 0);
	}
	for (uint32_t round = 1; round <= r.rounds; round++) {
		struct lh_share shares[N];
		double loss = 0, loss_one = calculate(one, (round - 1) * r.batch, r.batch);
		lh_deal(r.batch, round, r.batch == EVEN ? even : uneven, N, shares);
		for (unsigned i = 0; i < N; i++)
			loss += calculate(many[i], shares[i].first, shares[i].count);
		exchange(hub, a, round);
		for (unsigned i = 0; i < N; i++) {
			double d = distance(many[i], one, n);
			worst = d > worst ? d : worst;
			worst_first = round == 1 ? worst : worst_first;
			CU_ASSERT_TRUE(d < (round == 1 ? r.first : r.later));
			CU_ASSERT_EQUAL(E->update(many[i], r.batch, &err), 0);
			CU_ASSERT_EQUAL(E->state_hash(many[i]), E->state_hash(many[0]));
		}
		CU_ASSERT_TRUE(fabs(loss / loss_one - 1) < r.loss);
		worst_loss = fmax(worst_loss, fabs(loss / loss_one - 1));
		CU_ASSERT_EQUAL(E->update(one, r.batch, &err), 0);
	}
	printf("# %s, %s: gradients of 4 engines and of 1 differ by %.2g of their length in round 1 (bound %g), by %.2g "
	       "until round %u (%g), losses by %.2g\n", r.model, lh_codec_find(r.wire)->name, worst_first, r.first, worst, r.rounds, r.later,
	       worst_loss);
	for (unsigned i = 0; i < N; i++) {
		lh_allreduce_free(a[i]);
		E->close(many[i]);
	}
	E->close(one);
	lh_group_done(&group);
	lh_loopback_free(hub);
}

static void test_digits_fp32(void) { check((struct run){ "digits", 0, LH_WIRE_FP32, 10, BATCH, 1e-5, 1e-4, 1e-6 }); }
static void test_digits_fp16(void) { check((struct run){ "digits", 0, LH_WIRE_FP16, 10, BATCH, 1e-3, 0.1, 0.01 }); }
static void test_text_fp32(void) { check((struct run){ "text", 0, LH_WIRE_FP32, 3, BATCH, 1e-5, 1e-4, 1e-6 }); }
static void test_text_fp16(void) { check((struct run){ "text", 0, LH_WIRE_FP16, 3, BATCH, 1e-3, 0.1, 0.01 }); }

/* The zoo's. Those without batch norm whatever the shares; batch norm takes its statistics from a microbatch, so peers are
 * one peer where the microbatches are the same ones (and ReLU's kinks make more of rounding later). Dropout and stochastic depth are drawn by sample, not by peer. */
static void test_labs(void)
{
	check((struct run){ "convnext-lab", LH_DATA_DIGITS, LH_WIRE_FP32, 6, BATCH, 1e-5, 1e-4, 1e-5 });
	check((struct run){ "roberta-lab", LH_DATA_SYNTHETIC, LH_WIRE_FP32, 6, BATCH, 1e-5, 1e-4, 1e-5 });
	check((struct run){ "whisper-lab", LH_DATA_TONES, LH_WIRE_FP32, 6, BATCH, 1e-5, 1e-4, 1e-5 });
	check((struct run){ "resnet-lab", LH_DATA_DIGITS, LH_WIRE_FP32, 6, EVEN, 1e-5, 0.2, 2e-3 });
}

/* Other microbatches are other statistics and another gradient (by 0.8 of its length here); the curve of losses stays near. */
static void test_batch_norm(void)
{
	check((struct run){ "resnet-lab", LH_DATA_DIGITS, LH_WIRE_FP32, 6, BATCH, INFINITY, INFINITY, 0.1 });
}

static const struct lh_test tests[] = {
	{ "digits_fp32", test_digits_fp32, 0 },
	{ "digits_fp16", test_digits_fp16, 0 },
	{ "text_fp32", test_text_fp32, 0 },
	{ "text_fp16", test_text_fp16, 0 },
	{ "labs", test_labs, 0 },
	{ "batch_norm", test_batch_norm, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "equal", tests, sizeof tests / sizeof *tests);
}
