/* machine.c - see machine.h. The trial runs in a cell that is thrown away, so nothing of it can stay. */
#include "machine.h"

#include <errno.h>
#include <sys/mman.h>

#include "longhaul/cell.h"

struct trial { /* shared with the cell's worker */
	struct lh_caps caps;
	struct lh_err err;
};

static int trial_in_cell(void *ctx)
{
	struct trial *t = ctx;
	return lh_caps_probe(&t->caps, &t->err) ? 1 : 0;
}

int lh_machine_try_kernel(struct lh_caps *ret_caps, struct lh_err *err)
{
	struct lh_cell_options opt = { .need_net = true, .allow_reaper = true };
	int status = 0;
	struct trial *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "no memory to try this kernel");
	struct lh_err own = LH_ERR_INIT;
	int rc = lh_cell_run(&opt, trial_in_cell, t, &status, &own);
	if (rc)
		lh_err_set(err, LH_EXIT_MACHINE, rc, "this kernel refuses private namespaces (%.400s)", own.text);
	else if (status)
		rc = lh_err_set(err, LH_EXIT_MACHINE, t->err.code ? t->err.code : -ECHILD,
				"this kernel cannot build the network (%.400s)",
				t->err.text[0] ? t->err.text : "the trial was ended");
	else
		*ret_caps = t->caps;
	munmap(t, sizeof *t);
	return rc;
}
