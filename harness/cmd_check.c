/* cmd_check.c - `longhaul check FILE`: everything that can be said about a file without touching the machine. The
 * plan is made too, since some things are only impossible together. */
#include "cli.h"

#include "longhaul/network.h"

int cmd_check(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_experiment exp;
	struct lh_plan *plan = NULL;
	if (lh_experiment_load(inv->file, inv->overrides, inv->noverrides, stderr, &exp, &err))
		return lh_fail(&err);
	int rc = lh_plan_new(&exp.topology, NULL, &plan, &err);
	if (rc) {
		lh_err_wrap(&err, "%s", inv->file);
		err.exit = LH_EXIT_INPUT;
		lh_fail(&err);
	} else {
		printf("%s: ok: %u sites, %u peers, %zu operations%s\n", inv->file, exp.topology.nsites,
		       exp.topology.npeers, lh_plan_count(plan), lh_plan_needs_netem(plan) ? ", needs sch_netem" : "");
	}
	lh_plan_free(plan);
	lh_experiment_done(&exp);
	return rc ? LH_EXIT_INPUT : LH_EXIT_OK;
}
