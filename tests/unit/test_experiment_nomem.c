/* Memory that ends: each allocation of a load fails in turn. Nothing crashes, nothing leaks (asan's leak check sees
 * it), and the error says so. The linker sends the loader's calls of calloc, realloc and strdup here. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);

static unsigned long countdown; /* 0: never fail */

static bool fails(void)
{
	return countdown && --countdown == 0;
}

void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t size) { return fails() ? NULL : __real_realloc(p, size); }
char *__wrap_strdup(const char *text) { return fails() ? NULL : __real_strdup(text); }

static const char text[] =
	"longhaul: 1\n"
	"description: what is kept by itself\n"
	"sites: {us: {peers: 1000}, eu: {peers: [{count: 1}, {name: big, pace: 80/s, tcp: {congestion: reno}}]}}\n"
	"matrix: {rtt: {us: {eu: 103ms}}}\n"
	"training: {model: digits, pace: 40/s}\n"
	"schedule: [{at: 1s, kill: big}, {at: 2s, between: [us, eu], set: {loss: 1%}}]\n";

static void every_allocation_fails_once(void)
{
	struct lh_override set = { "matrix.rtt.us.eu=200ms" };
	unsigned long failed = 0;
	for (unsigned long n = 1; n < 100000; n++) {
		struct lh_experiment e;
		struct lh_err err = LH_ERR_INIT;
		countdown = n;
		int rc = lh_experiment_load_text("t", text, sizeof text - 1, &set, 1, NULL, &e, &err);
		bool used = countdown == 0;
		countdown = 0;
		if (rc == 0) {
			lh_experiment_done(&e);
			if (!used)
				break; /* fewer than n allocations: all were tried */
			continue;      /* one that may fail: shrinking the table of peers */
		}
		failed++;
		CU_ASSERT_EQUAL(rc, -ENOMEM);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_MACHINE);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Cannot allocate memory"));
	}
	CU_ASSERT(failed >= 8);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = { { "every_allocation_fails_once", every_allocation_fails_once } };
	return lh_test_main(argc, argv, "experiment-nomem", tests, sizeof tests / sizeof *tests);
}
