/* Loss scaling: the state machine by tables, and what an updater makes of it. */
#include <math.h>
#include <string.h>

#include "lhtest.h"
#include "longhaul/peer.h"
#include "optim/updater.h"

/* Each letter one sum: f finite, n not. After each: the scale and the verdict. */
struct row { char sum; enum lh_verdict verdict; double scale; };

static void follow(const struct lh_loss_scale_settings *s, const struct row *rows, size_t n)
{
	struct lh_loss_scale l = lh_loss_scale_begin(s);
	uint64_t skipped = 0, in_a_row = 0;
	for (size_t i = 0; i < n; i++) {
		enum lh_verdict v = lh_loss_scale_next(s, &l, rows[i].sum == 'f');
		skipped += v == LH_VERDICT_SKIP;
		in_a_row = v == LH_VERDICT_SKIP ? in_a_row + 1 : v == LH_VERDICT_APPLY ? 0 : in_a_row;
		CU_ASSERT_EQUAL(v, rows[i].verdict);
		CU_ASSERT_EQUAL(l.scale, rows[i].scale);
		CU_ASSERT_EQUAL(l.skipped, skipped);
		CU_ASSERT_EQUAL(l.in_a_row, in_a_row);
	}
}

#define A LH_VERDICT_APPLY
#define S LH_VERDICT_SKIP
#define STOP LH_VERDICT_STOP

static void by_tables(void)
{
	static const struct lh_loss_scale_settings s = {
		.initial = 8, .minimum = 2, .maximum = 24, .growth = 2, .backoff = 0.5, .interval = 3,
	};
	static const struct row grows[] = { /* at the third in a row; then up to the maximum, where it stays */
		{ 'f', A, 8 }, { 'f', A, 8 }, { 'f', A, 16 }, { 'f', A, 16 }, { 'f', A, 16 }, { 'f', A, 24 },
		{ 'f', A, 24 }, { 'f', A, 24 }, { 'f', A, 24 }, { 'f', A, 24 },
	};
	static const struct row shrinks[] = { /* a skip begins the count anew */
		{ 'f', A, 8 }, { 'f', A, 8 }, { 'n', S, 4 }, { 'f', A, 4 }, { 'f', A, 4 }, { 'f', A, 8 },
		{ 'n', S, 4 }, { 'n', S, 2 }, { 'f', A, 2 }, { 'n', STOP, 2 }, { 'n', STOP, 2 },
	};
	static const struct row comes_back[] = {
		{ 'n', S, 4 }, { 'n', S, 2 }, { 'f', A, 2 }, { 'f', A, 2 }, { 'f', A, 4 }, { 'n', S, 2 }, { 'n', STOP, 2 },
	};
	follow(&s, grows, sizeof grows / sizeof *grows);
	follow(&s, shrinks, sizeof shrinks / sizeof *shrinks);
	follow(&s, comes_back, sizeof comes_back / sizeof *comes_back);
}

static void fp16_gives_up_after_sixteen(void)
{
	static const struct lh_loss_scale_settings on = LH_LOSS_SCALE_FP16, off = LH_LOSS_SCALE_OFF;
	struct lh_loss_scale l = lh_loss_scale_begin(&on);
	for (int i = 0; i < 16; i++)
		CU_ASSERT_EQUAL(lh_loss_scale_next(&on, &l, false), LH_VERDICT_SKIP);
	CU_ASSERT_EQUAL(lh_loss_scale_next(&on, &l, false), LH_VERDICT_STOP);
	l = lh_loss_scale_begin(&on);
	for (int i = 0; i < 20000; i++)
		CU_ASSERT_EQUAL(lh_loss_scale_next(&on, &l, true), LH_VERDICT_APPLY);
	CU_ASSERT_EQUAL(l.scale, 16777216);
	l = lh_loss_scale_begin(&off);
	for (int i = 0; i < 5000; i++)
		CU_ASSERT_EQUAL(lh_loss_scale_next(&off, &l, true), LH_VERDICT_APPLY);
	CU_ASSERT_EQUAL(l.scale, 1);
	CU_ASSERT_EQUAL(lh_loss_scale_next(&off, &l, false), LH_VERDICT_STOP);
}

/* Two peers, one of whose gradients overflowed, over each wire's idea of a sum: both skip, both shrink, both go on alike. */
static void peers_decide_alike(void)
{
	const struct lh_peer_config c = { .learning_rate = 0.1, .epochs = 9 };
	struct lh_updater u[2] = { lh_updater_begin(&c, true), lh_updater_begin(&c, true) };
	CU_ASSERT_EQUAL(u[0].now.scale.scale, 65536);
	for (int round = 0; round < 6; round++) {
		const bool overflows = round == 1 || round == 2;
		float own[2][2], out[2][2], sum[2], back[2];
		struct lh_optim_step step[2];
		enum lh_verdict v[2];
		for (int k = 0; k < 2; k++) {
			own[k][0] = (float)u[k].now.scale.scale * 0.25F;
			own[k][1] = k && overflows ? INFINITY : own[k][0] * 2;
			lh_updater_export(&u[k], 2, own[k], out[k]);
			CU_ASSERT_EQUAL(out[k][0], 0.25F); /* what travels is the gradient itself */
			CU_ASSERT(k && overflows ? isnan(out[k][1]) : out[k][1] == 0.5F);
		}
		for (int i = 0; i < 2; i++)
			sum[i] = out[0][i] + out[1][i];
		for (int k = 0; k < 2; k++) {
			lh_updater_import(&u[k], 2, sum, back);
			v[k] = lh_updater_next(&u[k], lh_optim_square_sum(2, back), 4, &step[k]);
			CU_ASSERT_EQUAL(v[k], overflows ? LH_VERDICT_SKIP : LH_VERDICT_APPLY);
			if (v[k] == LH_VERDICT_APPLY) /* scale x what lies there: the mean over the samples */
				CU_ASSERT_EQUAL(step[k].scale * back[0], 0.5F / 4);
		}
		CU_ASSERT_EQUAL(memcmp(&u[0].now, &u[1].now, sizeof u[0].now), 0);
	}
	CU_ASSERT_EQUAL(u[0].now.updates, 4);
	CU_ASSERT_EQUAL(u[0].now.scale.skipped, 2);
	CU_ASSERT_EQUAL(u[0].now.scale.scale, 16384);
}

/* Clipping looks at the mean gradient, whatever the loss scale. */
static void clipping_knows_no_scale(void)
{
	struct lh_peer_config c = { .learning_rate = 1, .epochs = 9, .sync.optimizer = LH_OPTIMIZER_SGD };
	c.optim = lh_optim_defaults(LH_OPTIMIZER_SGD);
	c.optim.clip_norm = 1;
	for (int fp16 = 0; fp16 < 2; fp16++) {
		struct lh_updater u = lh_updater_begin(&c, fp16);
		const float scale = (float)u.now.scale.scale, grads[2] = { 6 * scale, 8 * scale };
		struct lh_optim_step step;
		CU_ASSERT_EQUAL(lh_updater_next(&u, lh_optim_square_sum(2, grads), 2, &step), LH_VERDICT_APPLY);
		CU_ASSERT_DOUBLE_EQUAL(step.scale * grads[0], 0.6, 1e-6); /* 3 of a length of 5 */
	}
}

static void what_is_said(void)
{
	const struct lh_peer_config c = { .learning_rate = 0.1, .epochs = 9 };
	struct lh_updater u = lh_updater_begin(&c, false);
	const float grads[4] = { 1, 2, NAN, INFINITY };
	const struct lh_optim_tensor tensors[] = { { 0, 2, true, false }, { 2, 1, true, false }, { 3, 1, true, false } };
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_updater_blame(tensors, 3, grads), 1);
	CU_ASSERT_EQUAL(lh_updater_blame(tensors, 1, grads), 1);
	CU_ASSERT_EQUAL(lh_updater_no_gradient(&u, "m", "a.weight", &err), -EDOM);
	CU_ASSERT_STRING_EQUAL(err.text, "model m: the gradient of a.weight is not finite in update 1; lower the learning rate");
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
	u = lh_updater_begin(&c, true);
	for (int i = 0; i < 3; i++)
		lh_loss_scale_next(&u.scaling, &u.now.scale, false);
	lh_updater_no_gradient(&u, "m", "a.weight", &err);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "in update 1, after 3 that were skipped for it, down to loss scale 8192"));
	CU_ASSERT_EQUAL(lh_updater_no_loss("m", "conv1 (conv2d)", &err), -EDOM);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the first layer with such an output is conv1 (conv2d)"));
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "by_tables", by_tables, 0 },
		{ "fp16_gives_up_after_sixteen", fp16_gives_up_after_sixteen, 0 },
		{ "peers_decide_alike", peers_decide_alike, 0 },
		{ "clipping_knows_no_scale", clipping_knows_no_scale, 0 },
		{ "what_is_said", what_is_said, 0 },
	};
	return lh_test_main(argc, argv, "loss_scale", tests, sizeof tests / sizeof *tests);
}
