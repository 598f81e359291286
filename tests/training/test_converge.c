/* Training with every codec against fp32, same seed, same samples: four engines that exchange gradients over the
 * loopback transport reach the same held-out accuracy or loss within a margin, and stay identical.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "comm/loopback.h"
#include "lhtest.h"
#include "sync/deal.h"
#include "sync/exchange.h"

enum { N = 4, MICROBATCH = 8 };

/* By how much the held-out figure may be worse than that of fp32 (better it may be): accuracy of digits, nats of text.
 * In few rounds, while feedback still holds back most of what there was, a codec that sends a tenth is behind. */
struct margin { double digits, digits_long, text, text_long; };

static const struct kind {
	const char *name;
	enum lh_wire wire;
	double fraction;
	uint32_t rank;
	bool feedback;
	struct margin margin;
} kinds[] = {
	{ "fp32", LH_WIRE_FP32, 0, 0, false, { 0, 0, 0, 0 } },
	{ "fp16", LH_WIRE_FP16, 0, 0, false, { 0.02, 0.02, 0.01, 0.02 } },
	{ "bf16", LH_WIRE_BF16, 0, 0, false, { 0.02, 0.02, 0.01, 0.02 } },
	{ "int8", LH_WIRE_INT8, 0, 0, false, { 0.03, 0.02, 0.02, 0.02 } },
	{ "int8 with feedback", LH_WIRE_INT8, 0, 0, true, { 0.02, 0.02, 0.02, 0.02 } },
	{ "topk 10 %", LH_WIRE_TOPK, 0.1, 0, true, { 0.05, 0.03, 0.3, 0.4 } },
	{ "powersgd 4", LH_WIRE_POWERSGD, 0, 4, true, { 0.12, 0.03, 0.2, 0.4 } },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

struct training { const char *model; uint64_t batch; uint32_t rounds; double learning_rate; uint64_t seed; };
struct outcome { double held_out; uint64_t bytes; double held_back; };

static struct lh_peer_endpoint endpoints[N];

static int read_gradient(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	return lh_engine_cpu.gradient_read(ctx, offset, n, dst, err);
}

static int write_gradient(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	return lh_engine_cpu.gradient_write(ctx, offset, n, src, err);
}

static void calculate(struct lh_engine_state *s, const struct lh_share *share)
{
	double loss = 0;
	for (uint64_t done = 0; done < share->count;) {
		uint64_t ids[MICROBATCH];
		size_t n = share->count - done < MICROBATCH ? (size_t)(share->count - done) : MICROBATCH;
		for (size_t i = 0; i < n; i++)
			ids[i] = share->first + done + i;
		CU_ASSERT_EQUAL_FATAL(lh_engine_cpu.step(s, ids, n, &loss, NULL), 0);
		done += n;
	}
}

static void exchange(struct lh_loopback *hub, struct lh_exchange **x, uint32_t round)
{
	for (unsigned i = 0; i < N; i++)
		CU_ASSERT_EQUAL_FATAL(lh_exchange_start(x[i], round, NULL), 0);
	for (bool all = false; !all;) {
		all = true;
		for (unsigned i = 0; i < N; i++) {
			struct lh_transport *t = lh_loopback_endpoint(hub, i);
			CU_ASSERT_EQUAL_FATAL(t->ops->progress(t, NULL), 0);
			all &= lh_exchange_done(x[i]);
		}
	}
}

static void run_round(struct lh_worker *w, struct lh_exchange **x, struct lh_loopback *hub, uint64_t batch,
		      uint32_t round)
{
	struct lh_share shares[N];
	lh_deal(batch, round, (const double[]){ 10, 20, 20, 33 }, N, shares);
	for (unsigned i = 0; i < N; i++)
		calculate(w[i].engine, &shares[i]);
	exchange(hub, x, round);
	for (unsigned i = 0; i < N; i++) {
		lh_exchange_keep(x[i]);
		CU_ASSERT_EQUAL_FATAL(lh_engine_cpu.update(w[i].engine, batch, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(lh_engine_cpu.state_hash(w[i].engine), lh_engine_cpu.state_hash(w[0].engine));
	}
}

static struct outcome train(const struct training *tr, const struct kind *k)
{
	struct lh_peer_config config[N];
	struct lh_worker w[N];
	struct lh_exchange *x[N];
	struct lh_loopback *hub;
	struct lh_err err = LH_ERR_INIT;
	struct outcome out;
	char metric[32];
	double l1, reference;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(N, 2, lh_test_seed(), &hub, &err), 0);
	for (unsigned i = 0; i < N; i++) {
		config[i] = (struct lh_peer_config){
			.protocol = LH_PEER_PROTOCOL, .size = N, .rank = i, .peers = endpoints, .engine = LH_ENGINE_CPU,
			.wire = k->wire, .target_batch = tr->batch, .microbatch = MICROBATCH, .epochs = tr->rounds,
			.learning_rate = tr->learning_rate, .seed = tr->seed,
			.codec = { .topk_fraction = k->fraction, .powersgd_rank = k->rank,
				   .error_feedback = k->feedback },
		};
		snprintf(config[i].model, sizeof config[i].model, "%s", tr->model);
		snprintf(config[i].data_dir, sizeof config[i].data_dir, "%s", lh_test_path("../trainer/data/files"));
		w[i] = (struct lh_worker){ .c = &config[i], .ops = &lh_engine_cpu, .t = lh_loopback_endpoint(hub, i) };
		CU_ASSERT_EQUAL_FATAL(lh_engine_cpu.open(&config[i], &w[i].engine, &err), 0);
		const struct lh_exchange_io io = { .read = read_gradient, .write = write_gradient,
						   .ctx = w[i].engine };
		uint64_t n = lh_engine_cpu.parameters(w[i].engine);
		CU_ASSERT_EQUAL_FATAL(lh_exchange_new(&w[i], LH_VECTOR_GRADIENT, n, &io, &x[i], &err), 0);
	}
	for (uint32_t round = 1; round <= tr->rounds; round++)
		run_round(w, x, hub, tr->batch, round);
	CU_ASSERT_EQUAL(lh_engine_cpu.evaluate(w[0].engine, metric, &out.held_out, &reference, &err), 0);
	out.bytes = lh_loopback_endpoint(hub, 0)->bytes_sent;
	CU_ASSERT_EQUAL(out.bytes, tr->rounds * lh_exchange_bytes(x[0]));
	lh_exchange_held_back(x[0], &l1, &out.held_back);
	CU_ASSERT_EQUAL(l1 > 0, k->feedback);
	for (unsigned i = 0; i < N; i++) {
		lh_exchange_free(x[i]);
		lh_engine_cpu.close(w[i].engine);
	}
	lh_loopback_free(hub);
	return out;
}

static void compare(const struct training *tr, size_t margin)
{
	bool higher_is_better = !strcmp(tr->model, "digits");
	struct outcome reference = { 0 };
	for (unsigned k = 0; k < KINDS; k++) {
		struct outcome o = train(tr, &kinds[k]);
		if (!k)
			reference = o;
		double worse = higher_is_better ? reference.held_out - o.held_out : o.held_out - reference.held_out;
		printf("# %s, %u rounds of %llu, seed %llu, %s: held out %.4f (worse by %+.4f), bytes %.3f of fp32's\n",
		       tr->model, tr->rounds, (unsigned long long)tr->batch, (unsigned long long)tr->seed,
		       kinds[k].name, o.held_out, worse, (double)o.bytes / (double)reference.bytes);
		CU_ASSERT_TRUE(worse <= *(const double *)((const char *)&kinds[k].margin + margin));
	}
}

static void test_digits(void)
{
	compare(&(struct training){ "digits", 256, 24, 0.01, 1 }, offsetof(struct margin, digits));
}

static void test_text(void)
{
	compare(&(struct training){ "text", 32, 10, 0.008, 1 }, offsetof(struct margin, text));
}

static void test_digits_long(void)
{
	for (uint64_t seed = 1; seed <= 2; seed++)
		compare(&(struct training){ "digits", 256, 100, 0.01, seed }, offsetof(struct margin, digits_long));
}

static void test_text_long(void)
{
	compare(&(struct training){ "text", 32, 200, 0.008, 1 }, offsetof(struct margin, text_long));
}

static const struct lh_test tests[] = {
	{ "digits", test_digits, 0 },
	{ "text", test_text, 0 },
	{ "digits_long", test_digits_long, LH_TEST_LONG },
	{ "text_long", test_text_long, LH_TEST_LONG },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "converge", tests, sizeof tests / sizeof *tests);
}
