#include "lhtest.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sanitizers make a program several times slower. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FORK_LIMIT_S = 480 };
#else
enum { FORK_LIMIT_S = 120 };
#endif
enum { EXIT_SKIP = 77 };

static jmp_buf skip_jump;
static char skip_why[512];
static bool skipped, skip_is_failure;
static unsigned long long seed;

unsigned long long lh_test_seed(void) { return seed; }

const char *lh_test_path(const char *relative)
{
	static char ring[4][4096];
	static unsigned at;
	char *buf = ring[at++ % 4];
	snprintf(buf, sizeof ring[0], "%s/tests/%s", LH_SOURCE_ROOT, relative);
	return buf;
}

static bool must_run(const char *capability)
{
	const char *list = getenv("LONGHAUL_MUST_RUN");
	size_t len = strlen(capability);
	for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',')
		if (strcspn(p, ",") == len && !strncmp(p, capability, len))
			return true;
	return false;
}

void lh_test_skip(const char *capability, const char *why_fmt, ...)
{
	va_list ap;
	va_start(ap, why_fmt);
	vsnprintf(skip_why, sizeof skip_why, why_fmt, ap);
	va_end(ap);
	skipped = true;
	skip_is_failure = must_run(capability);
	longjmp(skip_jump, 1);
}

/* CUnit calls this; skip jumps out of the test body back to here. */
static void (*current)(void);
static void trampoline(void)
{
	if (!setjmp(skip_jump))
		current();
}

/* Run one test in this process: 0 passed, 1 failed, EXIT_SKIP. Failures are printed as TAP comments. */
static int run_here(CU_pSuite suite, const struct lh_test *t)
{
	CU_pTest test = CU_add_test(suite, t->name, trampoline);
	if (!test)
		return 1;
	current = t->fn;
	skipped = skip_is_failure = false;
	CU_ErrorCode code = CU_run_test(suite, test);
	for (CU_pFailureRecord f = CU_get_failure_list(); f; f = f->pNext)
		printf("# %s: %s:%u: %s\n", t->name, f->strFileName ? f->strFileName : "?", f->uiLineNumber,
		       f->strCondition ? f->strCondition : "?");
	if (skipped)
		return skip_is_failure ? 1 : EXIT_SKIP;
	if (CU_get_number_of_asserts() == 0) {
		printf("# %s: made no assertion\n", t->name);
		return 1;
	}
	return code != CUE_SUCCESS || CU_get_number_of_failure_records() != 0;
}

static int run_forked(CU_pSuite suite, const struct lh_test *t)
{
	int fds[2];
	if (pipe(fds))
		return 1;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[0]);
		alarm(FORK_LIMIT_S);
		int rc = run_here(suite, t);
		if (write(fds[1], skip_why, strlen(skip_why)) < 0)
			rc = 1;
		fflush(NULL);
		_exit(rc);
	}
	close(fds[1]);
	ssize_t n = 0, got;
	while (n < (ssize_t)sizeof skip_why - 1 && (got = read(fds[0], skip_why + n, sizeof skip_why - 1 - (size_t)n)) > 0)
		n += got;
	skip_why[n > 0 ? n : 0] = 0;
	close(fds[0]);
	int status = 0;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	if (WIFSIGNALED(status))
		printf("# %s: killed by signal %d%s\n", t->name, WTERMSIG(status),
		       WTERMSIG(status) == SIGALRM ? " (time limit)" : "");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run_one(CU_pSuite suite, const struct lh_test *t)
{
	skip_why[0] = 0;
	if (t->flags & LH_TEST_LONG && !getenv("LONGHAUL_LONG")) {
		snprintf(skip_why, sizeof skip_why, "long form; set LONGHAUL_LONG=1");
		return must_run("long") ? 1 : EXIT_SKIP;
	}
	return t->flags & LH_TEST_FORK ? run_forked(suite, t) : run_here(suite, t);
}

int lh_test_main(int argc, char **argv, const char *suite_name, const struct lh_test *tests, size_t ntests)
{
	const char *only = NULL;
	for (int c; (c = getopt(argc, argv, "lt:")) != -1;) {
		if (c == 'l') {
			for (size_t i = 0; i < ntests; i++)
				puts(tests[i].name);
			return 0;
		}
		if (c != 't')
			return 2;
		only = optarg;
	}
	/* As meson's test setup does, for a program that is started by hand. */
	if (setenv("XDG_CONFIG_HOME", LH_TEST_CONFIG, 1))
		return 1;
	const char *given = getenv("LONGHAUL_SEED");
	if (given)
		seed = strtoull(given, NULL, 0);
	else if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		seed = 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
	size_t ran = 0, failed = 0, skips = 0;
	printf("TAP version 13\n1..%zu\n# suite %s, LONGHAUL_SEED=%llu\n", only ? (size_t)1 : ntests, suite_name, seed);
	for (size_t i = 0; i < ntests; i++) {
		if (only && strcmp(only, tests[i].name))
			continue;
		int rc = run_one(suite, &tests[i]);
		ran++;
		failed += rc != 0 && rc != EXIT_SKIP;
		skips += rc == EXIT_SKIP;
		printf("%sok %zu - %s%s%s\n", rc == 0 || rc == EXIT_SKIP ? "" : "not ", ran, tests[i].name,
		       rc == EXIT_SKIP ? " # SKIP " : rc && skip_why[0] ? " # must run: " : "", rc ? skip_why : "");
	}
	CU_cleanup_registry();
	if (only && !ran) {
		fprintf(stderr, "no test named %s\n", only);
		return 1;
	}
	return failed ? 1 : skips == ran && ran ? EXIT_SKIP : 0;
}
