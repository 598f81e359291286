/* cmd_report.c - `longhaul report DIR...`: finished runs side by side. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "cli.h"
#include "result_row.h"

int cmd_report(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	size_t n = (size_t)inv->nrest;
	struct lh_result_row *rows = calloc(n, sizeof *rows);
	int rc = rows ? 0 : lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "%zu results", n);

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = lh_result_row_read(inv->rest[i], &rows[i], &err);
	if (rc == 0 && inv->json) {
		json_t *a = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(a, lh_result_row_json(&rows[i]));
		json_dumpf(a, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		putchar('\n');
		json_decref(a);
	} else if (rc == 0) {
		lh_result_rows_print(rows, n, stdout);
	}
	free(rows);
	return rc < 0 ? lh_fail(&err) : LH_EXIT_OK;
}
