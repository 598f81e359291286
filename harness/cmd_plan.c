/* cmd_plan.c - `longhaul plan FILE`: the operations that would build the network. Pure; needs no privilege. */
#include "cli.h"

#include <errno.h>
#include <string.h>

#include "longhaul/network.h"

static int format_parse(const struct lh_invocation *inv, enum lh_plan_format *ret, struct lh_err *err)
{
	static const char *const names[] = { "text", "commands", "json", NULL };
	if (inv->json && inv->format && strcmp(inv->format, "json"))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--json and --format %s exclude each other",
				  inv->format);
	*ret = inv->json ? LH_PLAN_JSON : LH_PLAN_TEXT;
	if (!inv->format)
		return 0;
	for (unsigned i = 0; names[i]; i++)
		if (!strcmp(inv->format, names[i])) {
			*ret = (enum lh_plan_format)i;
			return 0;
		}
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--format of plan is text, commands or json, not '%s'",
			  inv->format);
}

int cmd_plan(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_experiment exp;
	struct lh_plan *plan = NULL;
	enum lh_plan_format format = LH_PLAN_TEXT;
	if (format_parse(inv, &format, &err))
		return lh_fail(&err);
	if (lh_experiment_load(inv->file, inv->overrides, inv->noverrides, stderr, &exp, &err))
		return lh_fail(&err);
	int rc = lh_plan_new(&exp.topology, NULL, &plan, &err);
	if (!rc)
		rc = lh_plan_print(plan, format, stdout, &err);
	lh_plan_free(plan);
	lh_experiment_done(&exp);
	return rc ? lh_fail(&err) : LH_EXIT_OK;
}
