/* cmd_check.c - `longhaul check FILE`: everything that can be said about a file without touching the machine. The
 * plan is made too, since some things are only impossible together. */
#include "changes.h"
#include "cli.h"

#include "longhaul/network.h"

/* So many comings and goings of peers are shown. */
#define SHOWN 24

/* With elastic membership some of the schedule was drawn: what it came to. */
static void print_spot(const struct lh_experiment *exp)
{
	size_t n = 0;
	for (size_t i = 0; i < exp->nchanges && exp->training.membership == LH_MEMBERSHIP_ELASTIC; i++) {
		const struct lh_change *c = &exp->changes[i];
		char text[200], at[32];
		if (c->kind != LH_CHANGE_KILL && c->kind != LH_CHANGE_NOTICE && c->kind != LH_CHANGE_ADD)
			continue;
		if (n++ < SHOWN)
			printf("  at %s: %s\n", lh_ns_print(c->at_ns, at, sizeof at),
			       lh_change_text(&exp->topology, c, text, sizeof text));
	}
	if (n > SHOWN)
		printf("  ... and %zu more\n", n - SHOWN);
}

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
		print_spot(&exp);
	}
	lh_plan_free(plan);
	lh_experiment_done(&exp);
	return rc ? LH_EXIT_INPUT : LH_EXIT_OK;
}
