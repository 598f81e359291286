#include "lhkernel.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "longhaul/cell.h"
#include "longhaul/network.h"

enum { TESTS_MAX = 64, GUEST_LIMIT_S = 900, ARGUMENTS_MAX = 16 };

static char why[512];

static void skip(void)
{
	lh_test_skip("kernel", "%s", why);
}

/* In a cell of its own: the answer is the exit status, the reason is left in a pipe. */
static int body_probe(void *ctx)
{
	int fd = *(int *)ctx;
	struct lh_caps caps;
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_caps_probe(&caps, &err);
	if (rc || !caps.netem)
		return dprintf(fd, "no sch_netem: %s", rc ? err.text : caps.netem_why) < 0 ? 2 : 1;
	return 0;
}

/* Has the running kernel netem? Otherwise its reason is in `why`. */
static bool host_has_netem(void)
{
	static const struct lh_cell_options opt = { .need_net = true };
	struct lh_err err = LH_ERR_INIT;
	int fds[2], status = -1;
	if (pipe(fds))
		return false;
	int rc = lh_cell_run(&opt, body_probe, &fds[1], &status, &err);
	close(fds[1]);
	ssize_t n = read(fds[0], why, sizeof why - 1);
	why[n > 0 ? n : 0] = 0;
	close(fds[0]);
	if (rc)
		snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, err.text);
	return !rc && status == 0;
}

/* The same command line in a guest; false where there is none, with the reason added to `why`. */
static bool run_in_guest(int argc, char **argv, int *ret_status)
{
	char self[PATH_MAX], cwd[PATH_MAX], *args[ARGUMENTS_MAX + 1] = { self };
	struct lh_uml_caps caps;
	struct lh_err err = LH_ERR_INIT;
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	size_t used = strlen(why);
	if (n < 0 || argc > ARGUMENTS_MAX || !getcwd(cwd, sizeof cwd))
		return false;
	self[n] = 0;
	for (int i = 1; i < argc; i++)
		args[i] = argv[i];
	if (lh_uml_probe(&caps, &err) || !caps.usable) {
		snprintf(why + used, sizeof why - used, "; no User-Mode Linux: %.200s", err.code ? err.text : caps.why);
		return false;
	}
	struct lh_uml_options opt = {
		.argv = args, .cwd = cwd, .cpu = -1, .timeout_ns = GUEST_LIMIT_S * LH_NS_PER_S,
	};
	fflush(NULL);
	if (lh_uml_run(&opt, ret_status, &err)) {
		printf("Bail out! User-Mode Linux: %s\n", err.text);
		*ret_status = 1;
	}
	return true;
}

int lh_kernel_main(int argc, char **argv, const char *suite, const struct lh_test *tests, size_t ntests)
{
	struct lh_test skips[TESTS_MAX];
	bool list = false;
	int status;
	if (getpid() == 1 && lh_uml_inside()) /* the guest boots with this very program as its init */
		lh_uml_init_main();
	for (int i = 1; i < argc; i++)
		list |= !strcmp(argv[i], "-l");
	if (list || lh_uml_inside() || host_has_netem())
		return lh_test_main(argc, argv, suite, tests, ntests);
	if (run_in_guest(argc, argv, &status))
		return status;
	if (ntests > TESTS_MAX)
		return 1;
	for (size_t i = 0; i < ntests; i++)
		skips[i] = (struct lh_test){ tests[i].name, skip, 0 };
	return lh_test_main(argc, argv, suite, skips, ntests);
}
