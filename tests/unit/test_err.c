/* The error record: codes, classes, cutting, wrapping, errno kept. */
#include <errno.h>
#include <string.h>

#include "lhtest.h"
#include "longhaul/err.h"

static void set_fills_every_field(void)
{
	struct lh_err err = LH_ERR_INIT;
	errno = EPIPE;
	CU_ASSERT_EQUAL(lh_err_set(&err, LH_EXIT_GATE, -EBADE, "link %s->%s: off", "us", "eu"), -EBADE);
	CU_ASSERT_EQUAL(errno, EPIPE);
	CU_ASSERT_EQUAL(err.code, -EBADE);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_GATE);
	CU_ASSERT_STRING_EQUAL(err.text, "link us->eu: off");
}

static void sys_ends_with_the_kernels_words(void)
{
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_err_sys(&err, LH_EXIT_MACHINE, -ENOENT, "peer eu-1: open"), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.text, "peer eu-1: open: No such file or directory");
}

static void wrap_adds_context_and_keeps_the_rest(void)
{
	struct lh_err err = LH_ERR_INIT;
	lh_err_sys(&err, LH_EXIT_BROKE, -EIO, "read");
	CU_ASSERT_EQUAL(lh_err_wrap(&err, "peer %d", 3), -EIO);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_BROKE);
	CU_ASSERT_STRING_EQUAL(err.text, "peer 3: read: Input/output error");
}

static void long_texts_are_cut_visibly(void)
{
	struct lh_err err = LH_ERR_INIT;
	char big[3000];
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = 0;
	lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "%s", big);
	CU_ASSERT_EQUAL(strlen(err.text), sizeof err.text - 1);
	CU_ASSERT_STRING_EQUAL(err.text + sizeof err.text - 4, "...");
	lh_err_wrap(&err, "a");
	CU_ASSERT_EQUAL(strncmp(err.text, "a: xxx", 6), 0);
	CU_ASSERT_STRING_EQUAL(err.text + sizeof err.text - 4, "...");
	big[sizeof err.text - 3] = 0; /* the kernel's words do not fit */
	lh_err_sys(&err, LH_EXIT_INPUT, -EIO, "%s", big);
	CU_ASSERT_STRING_EQUAL(err.text + sizeof err.text - 4, "...");
}

static void null_is_allowed(void)
{
	CU_ASSERT_EQUAL(lh_err_set(NULL, LH_EXIT_INPUT, -EINVAL, "x"), -EINVAL);
	CU_ASSERT_EQUAL(lh_err_sys(NULL, LH_EXIT_INPUT, -ENOMEM, "x"), -ENOMEM);
	CU_ASSERT_EQUAL(lh_err_wrap(NULL, "x"), -EIO);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "set_fills_every_field", set_fills_every_field },
		{ "sys_ends_with_the_kernels_words", sys_ends_with_the_kernels_words },
		{ "wrap_adds_context_and_keeps_the_rest", wrap_adds_context_and_keeps_the_rest },
		{ "long_texts_are_cut_visibly", long_texts_are_cut_visibly },
		{ "null_is_allowed", null_is_allowed },
	};
	return lh_test_main(argc, argv, "err", tests, sizeof tests / sizeof *tests);
}
