/* cmd_compare.c - `longhaul compare A B...`: finished runs side by side. */
#include <errno.h>
#include <jansson.h>

#include "cli.h"
#include "compare.h"

int cmd_compare(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_compare c = { .nruns = 0 };
	int rc = 0;

	if (inv->nrest < 2)
		rc = lh_err_set(&err, LH_EXIT_INPUT, -EINVAL, "'longhaul compare' needs two run directories or more");
	for (int i = 0; rc == 0 && i < inv->nrest; i++)
		rc = lh_compare_add(&c, inv->rest[i], &err);
	lh_compare_settle(&c);
	if (rc == 0 && inv->json) {
		json_t *doc = lh_compare_json(&c);
		json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		putchar('\n');
		json_decref(doc);
	} else if (rc == 0) {
		lh_compare_print(&c, stdout);
	}
	lh_compare_done(&c);
	return rc < 0 ? lh_fail(&err) : LH_EXIT_OK;
}
