/* Settings, rates and the arithmetic of one update by hand; many steps against PyTorch: tests/training/test_optimizers.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "lhtest.h"
#include "longhaul/peer.h"
#include "optim/optimizer.h"

static struct lh_optim optim(enum lh_optimizer kind, double rate)
{
	return (struct lh_optim){ .kind = kind, .rate = rate, .o = lh_optim_defaults(kind) };
}

/* One tensor, one update of number t. */
static void update(const struct lh_optim *o, uint64_t t, double scale, bool decay, size_t n, float *p, const float *g,
		   float *state)
{
	const struct lh_optim_tensor tensor = { 0, n, decay, false };
	lh_optim_run(o, t, scale, &tensor, 1, n, p, g, state, NULL);
}

/* Three parameters, three steps of rate 0.1 with gradients at scale 0.5; the parameters after each step, from the formula
 * evaluated in double by an independent ten-line script. Step 1 can be seen by eye: p - 0.1 sign(g) - 0.001 p. */
static void adamw_by_hand(void)
{
	static const float gradients[3][3] = { { 4, -2, 0 }, { 2, 2, 1 }, { -6, 0.5F, -1 } };
	static const double table[3][3] = {
		{ 0.899000000, -1.898000001, 0.499500000 },
		{ 0.804756201, -1.901365159, 0.424754523 },
		{ 0.812135860, -1.914629729, 0.428837829 },
	};
	struct lh_optim o = optim(LH_OPTIMIZER_ADAMW, 0.1);
	float p[3] = { 1, -2, 0.5F }, state[6] = { 0 };
	o.o.warmup_updates = 0;
	for (int t = 0; t < 3; t++) {
		update(&o, (uint64_t)t + 1, 0.5, true, 3, p, gradients[t], state);
		for (int i = 0; i < 3; i++)
			CU_ASSERT_DOUBLE_EQUAL(p[i], table[t][i], 5e-7);
	}
}

static void decay_is_apart_from_the_gradient(void)
{
	struct lh_optim o = optim(LH_OPTIMIZER_ADAMW, 0.1);
	float p[2] = { 2, 2 }, zero[2] = { 0 }, state[4] = { 0 };
	const struct lh_optim_tensor tensors[] = { { 0, 1, true, false }, { 1, 1, false, false } };
	o.o.warmup_updates = 0;
	lh_optim_run(&o, 1, 1, tensors, 2, 2, p, zero, state, NULL);
	CU_ASSERT_DOUBLE_EQUAL(p[0], 2 * (1 - 0.1 * 0.01), 1e-6);
	CU_ASSERT_EQUAL(p[1], 2);
	CU_ASSERT_EQUAL(state[0], 0);
}

/* Adam divides by the gradient's size: the step does not know its scale. */
static void scale_does_not_matter(void)
{
	float after[2];
	for (int k = 0; k < 2; k++) {
		struct lh_optim o = optim(LH_OPTIMIZER_ADAMW, 0.01);
		float p = 0, g = k ? 3e3F : 3e-2F, state[2] = { 0 };
		o.o.warmup_updates = 0;
		update(&o, 1, 1, false, 1, &p, &g, state);
		after[k] = p;
	}
	CU_ASSERT_DOUBLE_EQUAL(after[0], -0.01, 1e-7);
	CU_ASSERT_DOUBLE_EQUAL(after[0], after[1], 1e-8);
}

/* u = 0.9 u + g: with g = 1, 1, then 1.9; Nesterov looks one step ahead: 1.9, then 2.71. */
static void momentum_by_hand(void)
{
	struct lh_optim o = optim(LH_OPTIMIZER_SGD, 0.1);
	float p = 1, g = 1, u = 0;
	update(&o, 1, 1, true, 1, &p, &g, NULL);
	CU_ASSERT_DOUBLE_EQUAL(p, 0.9, 1e-7);
	o.o.momentum = 0.9;
	p = 1;
	update(&o, 1, 1, true, 1, &p, &g, &u);
	update(&o, 2, 1, true, 1, &p, &g, &u);
	CU_ASSERT_DOUBLE_EQUAL(p, 1 - 0.1 - 0.19, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(u, 1.9, 1e-6);
	o.o.nesterov = true;
	p = 1, u = 0;
	update(&o, 1, 1, true, 1, &p, &g, &u);
	update(&o, 2, 1, true, 1, &p, &g, &u);
	CU_ASSERT_DOUBLE_EQUAL(p, 1 - 0.19 - 0.271, 1e-6);
	o.o = lh_optim_defaults(LH_OPTIMIZER_SGD);
	o.o.weight_decay = 0.5;
	p = 2;
	update(&o, 1, 1, true, 1, &p, &g, NULL);
	CU_ASSERT_DOUBLE_EQUAL(p, 2 - 0.1 * (1 + 0.5 * 2), 1e-6);
}

/* The first step of LAMB is as long as rate times the tensor, whatever the gradient; without decay as Adam's. */
static void lamb_by_hand(void)
{
	struct lh_optim o = optim(LH_OPTIMIZER_LAMB, 0.01);
	const struct lh_optim_tensor tensors[] = { { 0, 2, true, false }, { 2, 2, false, false }, { 4, 2, true, false } };
	float p[6] = { 3, 4, 3, 4, 0, 0 }, g[6] = { 1e-2F, -7, 1e-2F, -7, 5, -5 }, state[12] = { 0 };
	o.o.weight_decay = 0;
	o.o.warmup_updates = 0;
	lh_optim_run(&o, 1, 1, tensors, 3, 6, p, g, state, NULL);
	CU_ASSERT_DOUBLE_EQUAL(hypot((double)p[0] - 3, (double)p[1] - 4), 0.01 * 5, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(p[2], 3 - 0.01, 2e-6);
	CU_ASSERT_DOUBLE_EQUAL(p[4], -0.01, 1e-7); /* a tensor of zeros: trust 1 */
}

static void warmup_and_cosine(void)
{
	struct lh_optim o = optim(LH_OPTIMIZER_ADAMW, 0.3);
	CU_ASSERT_EQUAL(lh_optim_rate(&o, 1), 0.3 * (1.0 / 3));
	CU_ASSERT_EQUAL(lh_optim_rate(&o, 2), 0.3 * (2.0 / 3));
	CU_ASSERT_EQUAL(lh_optim_rate(&o, 3), 0.3);
	CU_ASSERT_EQUAL(lh_optim_rate(&o, UINT64_MAX), 0.3);
	o.o.schedule = LH_SCHEDULE_COSINE;
	for (unsigned warmup = 0; warmup < 50; warmup += 7)
		for (unsigned total = warmup + 1; total < 300; total += 13) {
			o.o.warmup_updates = warmup;
			o.o.total_updates = total;
			o.o.floor = total % 3 * 0.25;
			for (unsigned t = warmup + 1; t < total + 3; t++) {
				double x = t > total ? 1 : (double)(t - 1 - warmup) / (total - warmup);
				double want = 0.3 * (o.o.floor + (1 - o.o.floor) * (1 + cos(3.14159265358979324 * x)) / 2);
				CU_ASSERT_DOUBLE_EQUAL(lh_optim_rate(&o, t), want, 3e-16);
			}
		}
	o.o.total_updates = o.o.warmup_updates; /* a cosine of no length: no division by it */
	CU_ASSERT_EQUAL(lh_optim_rate(&o, o.o.warmup_updates + 1), 0.3 * o.o.floor);
}

static void clipping_keeps_the_direction(void)
{
	struct lh_optim o = optim(LH_OPTIMIZER_SGD, 1);
	const struct lh_optim_tensor tensors[] = { { 0, 1, true, false }, { 1, 1, false, true }, { 2, 1, true, false } };
	float p[3] = { 0 }, g[3] = { 6, 24, 8 }; /* averaged over 2: 3, 12, 4, of length 13 */
	double norm;
	lh_optim_run(&o, 1, 0.5, tensors, 3, 3, p, g, NULL, &norm);
	CU_ASSERT(isnan(norm) && p[0] == -3 && p[2] == -4);
	CU_ASSERT_EQUAL(p[1], 0); /* frozen */
	memset(p, 0, sizeof p);
	o.o.clip_norm = 1.3;
	lh_optim_run(&o, 1, 0.5, tensors, 3, 3, p, g, NULL, &norm);
	CU_ASSERT_DOUBLE_EQUAL(norm, 13, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(p[0], -0.3, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(p[2], -0.4, 1e-6);
	memset(p, 0, sizeof p);
	o.o.clip_norm = 14;
	lh_optim_run(&o, 1, 0.5, tensors, 3, 3, p, g, NULL, &norm);
	CU_ASSERT(p[0] == -3 && p[2] == -4);
}

static void settings_that_are_refused(void)
{
	static const struct { enum lh_optimizer kind; struct lh_optim_options o; const char *key; } bad[] = {
		{ LH_OPTIMIZER_SGD, { .momentum = 1 }, "momentum" },
		{ LH_OPTIMIZER_SGD, { .momentum = -0.1 }, "momentum" },
		{ LH_OPTIMIZER_SGD, { .nesterov = true }, "nesterov" },
		{ LH_OPTIMIZER_SGD, { .weight_decay = NAN }, "weight_decay" },
		{ LH_OPTIMIZER_SGD, { .clip_norm = -1 }, "clip_norm" },
		{ LH_OPTIMIZER_SGD, { .floor = 1.5 }, "rate_floor" },
		{ LH_OPTIMIZER_SGD, { .schedule = LH_SCHEDULE_COSINE, .warmup_updates = 5, .total_updates = 5 }, "total_updates" },
		{ LH_OPTIMIZER_ADAMW, { .beta1 = 1, .beta2 = 0.9, .epsilon = 1e-8 }, "beta1" },
		{ LH_OPTIMIZER_ADAMW, { .beta1 = 0.9, .beta2 = 1, .epsilon = 1e-8 }, "beta2" },
		{ LH_OPTIMIZER_LAMB, { .beta1 = 0.9, .beta2 = 0.9 }, "epsilon" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct lh_optim_options o = bad[i].o;
		struct lh_err err = LH_ERR_INIT;
		char want[64];
		snprintf(want, sizeof want, "key \"%s\": ", bad[i].key);
		o.given = true;
		CU_ASSERT_EQUAL(lh_optim_check(bad[i].kind, &o, &err), -EINVAL);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, want));
	}
	for (int kind = 0; lh_optimizer_names[kind]; kind++) {
		struct lh_optim_options o = lh_optim_defaults((enum lh_optimizer)kind);
		CU_ASSERT_EQUAL(lh_optim_check((enum lh_optimizer)kind, &o, NULL), 0);
		CU_ASSERT(o.given);
	}
}

/* What a tensor becomes depends neither on where it lies nor on what is beside it; nor does the sum of squares on vectors. */
static void tensors_are_alone(void)
{
	enum { N = 101 };
	for (int kind = 0; lh_optimizer_names[kind]; kind++) {
		struct lh_optim o = optim((enum lh_optimizer)kind, 0.05);
		float a[3 * N], b[N], g[3 * N], sa[6 * N] = { 0 }, sb[2 * N] = { 0 };
		const struct lh_optim_tensor three[] = { { 0, N, true, false }, { N, N, true, false }, { 2 * N, N, true, false } };
		if (kind == LH_OPTIMIZER_SGD)
			o.o.momentum = 0.9;
		for (size_t i = 0; i < 3 * N; i++)
			a[i] = (float)(lh_mix64(i) % 1000) * 1e-3F;
		memcpy(b, a + N, sizeof b);
		for (uint64_t t = 1; t <= 5; t++) {
			for (size_t i = 0; i < 3 * N; i++)
				g[i] = (float)(lh_mix64(t * 1000 + i) % 1000) * 1e-3F - 0.5F;
			lh_optim_run(&o, t, 0.25, three, 3, 3 * N, a, g, sa, NULL);
			update(&o, t, 0.25, true, N, b, g + N, sb);
			CU_ASSERT_EQUAL(memcmp(b, a + N, sizeof b), 0);
		}
	}
	float v[19];
	double sum = 0;
	for (int i = 0; i < 19; i++) {
		v[i] = (float)i;
		sum += (double)i * i;
	}
	CU_ASSERT_EQUAL(lh_optim_square_sum(19, v), sum);
	CU_ASSERT_EQUAL(lh_optim_square_sum(3, v), 5);
	CU_ASSERT_EQUAL(lh_optim_square_sum(0, v), 0);
}

static void from_the_configuration(void)
{
	struct lh_peer_config c = { .learning_rate = 0.02, .epochs = 40 };
	struct lh_optim o = lh_optim_of(&c);
	CU_ASSERT(o.kind == LH_OPTIMIZER_ADAMW && o.rate == 0.02 && o.o.warmup_updates == 2 && o.o.beta2 == 0.99);
	CU_ASSERT(o.o.total_updates == 40 && lh_optim_slots(&o) == 2);
	c.sync.optimizer = LH_OPTIMIZER_SGD;
	o = lh_optim_of(&c);
	CU_ASSERT(lh_optim_slots(&o) == 0 && o.o.warmup_updates == 0 && o.o.weight_decay == 0);
	c.optim = (struct lh_optim_options){ .given = true, .momentum = 0.5, .total_updates = 7 };
	o = lh_optim_of(&c);
	CU_ASSERT(lh_optim_slots(&o) == 1 && o.o.total_updates == 7);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "adamw_by_hand", adamw_by_hand, 0 },
		{ "decay_is_apart_from_the_gradient", decay_is_apart_from_the_gradient, 0 },
		{ "scale_does_not_matter", scale_does_not_matter, 0 },
		{ "momentum_by_hand", momentum_by_hand, 0 },
		{ "lamb_by_hand", lamb_by_hand, 0 },
		{ "warmup_and_cosine", warmup_and_cosine, 0 },
		{ "clipping_keeps_the_direction", clipping_keeps_the_direction, 0 },
		{ "settings_that_are_refused", settings_that_are_refused, 0 },
		{ "tensors_are_alone", tensors_are_alone, 0 },
		{ "from_the_configuration", from_the_configuration, 0 },
	};
	return lh_test_main(argc, argv, "optim", tests, sizeof tests / sizeof *tests);
}
