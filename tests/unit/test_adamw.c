#include "lhtest.h"
#include "optim/adamw.h"

/* Three parameters, three steps of lr 0.1 with gradients at scale 0.5; the parameters after each step, from the formula
 * in adamw.c evaluated in double by an independent ten-line script. Step 1 can be seen by eye: p - 0.1 sign(g) - 0.001 p. */
static const float gradients[3][3] = { { 4, -2, 0 }, { 2, 2, 1 }, { -6, 0.5F, -1 } };
static const double table[3][3] = {
	{ 0.899000000, -1.898000001, 0.499500000 },
	{ 0.804756201, -1.901365159, 0.424754523 },
	{ 0.812135860, -1.914629729, 0.428837829 },
};

static void against_table(void)
{
	struct lh_adamw o = LH_ADAMW_INIT;
	float p[3] = { 1, -2, 0.5F }, m[3] = { 0 }, v[3] = { 0 };
	for (int t = 0; t < 3; t++) {
		lh_adamw_begin(&o);
		/* In two runs, as tensors are: begin counts the step, apply does not. */
		lh_adamw_apply(&o, 0.1, 1, 0.5, 2, p, gradients[t], m, v);
		lh_adamw_apply(&o, 0.1, 1, 0.5, 1, p + 2, gradients[t] + 2, m + 2, v + 2);
		for (int i = 0; i < 3; i++)
			CU_ASSERT_DOUBLE_EQUAL(p[i], table[t][i], 5e-7);
	}
}

static void decay_is_apart_from_the_gradient(void)
{
	struct lh_adamw o = LH_ADAMW_INIT;
	float p[2] = { 2, 2 }, zero[2] = { 0 }, m[2] = { 0 }, v[2] = { 0 };
	lh_adamw_begin(&o);
	lh_adamw_apply(&o, 0.1, 1, 1, 1, p, zero, m, v);
	lh_adamw_apply(&o, 0.1, 0, 1, 1, p + 1, zero, m + 1, v + 1);
	CU_ASSERT_DOUBLE_EQUAL(p[0], 2 * (1 - 0.1 * 0.01), 1e-6);
	CU_ASSERT_EQUAL(p[1], 2);
	CU_ASSERT_EQUAL(m[0], 0);
}

/* Adam divides by the gradient's size: the step does not know its scale. */
static void scale_does_not_matter(void)
{
	float after[2];
	for (int k = 0; k < 2; k++) {
		struct lh_adamw o = LH_ADAMW_INIT;
		float p = 0, g = k ? 3e3F : 3e-2F, m = 0, v = 0;
		lh_adamw_begin(&o);
		lh_adamw_apply(&o, 0.01, 0, 1, 1, &p, &g, &m, &v);
		after[k] = p;
	}
	CU_ASSERT_DOUBLE_EQUAL(after[0], -0.01, 1e-7);
	CU_ASSERT_DOUBLE_EQUAL(after[0], after[1], 1e-8);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "against_table", against_table, 0 },
		{ "decay_is_apart_from_the_gradient", decay_is_apart_from_the_gradient, 0 },
		{ "scale_does_not_matter", scale_does_not_matter, 0 },
	};
	return lh_test_main(argc, argv, "adamw", tests, sizeof tests / sizeof *tests);
}
