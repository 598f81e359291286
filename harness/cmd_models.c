/* cmd_models.c - `longhaul models`: longhaul-peer's table of models. The trainer knows them, this program does not, so it
 * becomes that one. */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "session.h"

int cmd_models(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	char peer[PATH_MAX];
	if (lh_session_peer_program(inv, peer, sizeof peer, &err))
		return lh_fail(&err);
	if (!peer[0]) {
		lh_err_set(&err, LH_EXIT_MACHINE, -ENOENT,
			   "longhaul-peer: neither beside this program nor in %s; install it there, or name it with "
			   "LONGHAUL_PEER_PROGRAM",
			   LH_LIBEXECDIR);
		return lh_fail(&err);
	}
	char **argv = calloc((size_t)inv->nrest + 5, sizeof *argv);
	if (!argv) {
		lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "models");
		return lh_fail(&err);
	}
	static char models[] = "models", json[] = "--json", end[] = "--"; /* execv() wants them writable */
	int n = 0;
	argv[n++] = peer;
	argv[n++] = models;
	if (inv->json)
		argv[n++] = json;
	argv[n++] = end;
	for (int i = 0; i < inv->nrest; i++)
		argv[n++] = inv->rest[i];
	execv(peer, argv);
	lh_err_sys(&err, LH_EXIT_MACHINE, -errno, "%s", peer);
	free(argv);
	return lh_fail(&err);
}
