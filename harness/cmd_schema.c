/* cmd_schema.c - `longhaul schema`: the file format, from the table that also checks the files. */
#include "cli.h"

#include <errno.h>
#include <string.h>

int cmd_schema(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	bool markdown = inv->format && !strcmp(inv->format, "markdown");
	if (inv->format && !markdown && strcmp(inv->format, "json")) {
		lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "--format of schema is json or markdown, not '%s'",
			   inv->format);
		return lh_fail(&err);
	}
	if (markdown ? lh_schema_print_reference(stdout, &err) : lh_schema_print(stdout, &err))
		return lh_fail(&err);
	return LH_EXIT_OK;
}
