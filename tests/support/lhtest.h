/* lhtest.h - the one runner of every test program, on CUnit.
 *
 * Output is TAP. The exit status is 0 only when every registered test ran and passed or was skipped; 77 when
 * all were skipped. A test that made no assertion fails. A test with LH_TEST_FORK runs in a child process of
 * its own, so that file descriptors, namespaces and crashes of one test cannot reach the next.
 * Assertions are CUnit's (CU_ASSERT_EQUAL, CU_ASSERT_STRING_EQUAL, CU_ASSERT_PTR_NOT_NULL_FATAL, ...).
 *
 *     ./test_units        all        ./test_units -l   list       ./test_units -t NAME   one
 */
#ifndef LHTEST_H
#define LHTEST_H

#include <CUnit/CUnit.h>
#include <stddef.h>

enum lh_test_flags {
	LH_TEST_FORK = 1,  /* run in a child; 120 s limit, 480 s under a sanitizer */
	LH_TEST_LONG = 2,  /* only when LONGHAUL_LONG=1; skipped (with that reason) otherwise */
};

struct lh_test {
	const char *name;
	void (*fn)(void);
	unsigned flags;
};

int lh_test_main(int argc, char **argv, const char *suite, const struct lh_test *tests, size_t ntests);

/* Leave the running test as skipped. `capability` is the word that LONGHAUL_MUST_RUN (comma-separated) may
 * contain, which turns the skip into a failure: netns, kernel, long. */
void lh_test_skip(const char *capability, const char *why_fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* The seed of this run (LONGHAUL_SEED or random), printed in the TAP header; for randomised tests. */
unsigned long long lh_test_seed(void);

/* Path of a file under tests/ in the source tree, in a static ring of 4 buffers. */
const char *lh_test_path(const char *relative);

/* The file at lh_test_path(relative) holds exactly this text; LONGHAUL_UPDATE_GOLDEN=1 writes it anew. Read the difference
 * that git shows then. */
void lh_test_golden(const char *relative, const char *got);

#endif
