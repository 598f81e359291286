/* uml_exec - run a test program inside User-Mode Linux; its output and exit status are the command's.
 *
 *     uml_exec PROGRAM [ARG...]
 *
 * Exit status 77 with a TAP skip where this machine has no User-Mode Linux, unless LONGHAUL_MUST_RUN names `kernel`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "longhaul/cell.h"

static bool must_run(void)
{
	const char *list = getenv("LONGHAUL_MUST_RUN");
	return list && strstr(list, "kernel");
}

int main(int argc, char **argv)
{
	struct lh_uml_options opt = { .argv = argv + 1, .cwd = "/", .cpu = -1, .timeout_ns = 280 * LH_NS_PER_S };
	struct lh_uml_caps caps;
	struct lh_err err = LH_ERR_INIT;
	int status = 1;
	if (getpid() == 1 && lh_uml_inside())
		lh_uml_init_main();
	if (argc < 2)
		return 2;
	if (lh_uml_probe(&caps, &err) || !caps.usable) {
		printf("1..1\n%sok 1 - User-Mode Linux # %s %s\n", must_run() ? "not " : "", must_run() ? "must run:" : "SKIP",
		       caps.usable ? err.text : caps.why);
		return must_run() ? 1 : 77;
	}
	if (!(argv[1] = realpath(argv[1], NULL))) {
		printf("Bail out! no such program\n");
		return 1;
	}
	if (lh_uml_run(&opt, &status, &err)) {
		printf("Bail out! %s\n", err.text);
		return 1;
	}
	return status;
}
