/* main.c - the process `longhaul`: what it is (a command, or pid 1 of a guest), the environment it reads, and the
 * last word on standard output. Everything else is in the commands.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "longhaul/cell.h"
#include "progress.h"

extern char **environ;

/* Where the XDG base directory specification has a user's configuration; a relative path there counts as unset. */
static const char *catalogue_path(char *ret, size_t size)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n = -1;
	if (config && config[0] == '/')
		n = snprintf(ret, size, "%s/longhaul/catalogue.json", config);
	else if (home && home[0] == '/')
		n = snprintf(ret, size, "%s/.config/longhaul/catalogue.json", home);
	return n > 0 && (size_t)n < size ? ret : NULL;
}

int main(int argc, char **argv)
{
	struct lh_invocation preset = { 0 };
	char catalogue[PATH_MAX];
	/* A container may start us as its pid 1 too; only a guest that lh_uml_run() booted is ours to set up. */
	if (getpid() == 1 && lh_uml_inside())
		lh_uml_init_main();
	preset.peer_program = getenv("LONGHAUL_PEER_PROGRAM");
	preset.data_dir = getenv("LONGHAUL_DATA");
	preset.faults = getenv("LONGHAUL_FAULTS");
	preset.catalogue = catalogue_path(catalogue, sizeof catalogue);
	preset.animate = lh_progress_animates(isatty(STDERR_FILENO), environ);
	preset.envp = environ;
	int status = lh_cli_main(argc, argv, &preset);
	if ((fflush(stdout) || ferror(stdout)) && status == LH_EXIT_OK) {
		struct lh_err err = LH_ERR_INIT;
		lh_err_sys(&err, LH_EXIT_MACHINE, errno ? -errno : -EIO, "standard output");
		status = lh_fail(&err);
	}
	return status;
}
