/* cmd_report.c - `longhaul report DIR...`: finished runs side by side. The directory of a sweep stands for its runs. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "result_row.h"

struct report {
	struct lh_result_row *rows;
	size_t n, room;
};

static int add_run(struct report *r, const char *dir, struct lh_err *err)
{
	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 16;
		struct lh_result_row *more = realloc(r->rows, room * sizeof *more);
		if (!more)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%zu results", room);
		r->rows = more;
		r->room = room;
	}
	int rc = lh_result_row_read(dir, &r->rows[r->n], err);
	r->n += rc == 0;
	return rc;
}

/* Complete runs only: what was broken off or put aside is not the sweep's. */
static int is_run(const struct dirent *e)
{
	return e->d_name[0] != '.' && !strchr(e->d_name, '.');
}

static int add_sweep(struct report *r, const char *dir, struct lh_err *err)
{
	char path[4096];
	struct dirent **names;
	int n, rc = 0;

	snprintf(path, sizeof path, "%.4000s/runs", dir);
	n = scandir(path, &names, is_run, alphasort);
	if (n < 0)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%.3800s/runs/%s/result.json", dir, names[i]->d_name);
		if (rc == 0 && access(path, F_OK) == 0) {
			path[strlen(path) - strlen("/result.json")] = 0;
			rc = add_run(r, path, err);
		}
		free(names[i]);
	}
	free(names);
	return rc;
}

static int add(struct report *r, const char *dir, struct lh_err *err)
{
	char plan[4096];

	snprintf(plan, sizeof plan, "%.4000s/plan.json", dir);
	return access(plan, F_OK) == 0 ? add_sweep(r, dir, err) : add_run(r, dir, err);
}

int cmd_report(const struct lh_invocation *inv)
{
	struct lh_err err = LH_ERR_INIT;
	struct report r = { .n = 0 };
	int rc = 0;

	for (int i = 0; rc == 0 && i < inv->nrest; i++)
		rc = add(&r, inv->rest[i], &err);
	if (rc == 0 && inv->json) {
		json_t *a = json_array();
		for (size_t i = 0; i < r.n; i++)
			json_array_append_new(a, lh_result_row_json(&r.rows[i]));
		json_dumpf(a, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		putchar('\n');
		json_decref(a);
	} else if (rc == 0) {
		lh_result_rows_print(r.rows, r.n, stdout);
	}
	free(r.rows);
	return rc < 0 ? lh_fail(&err) : LH_EXIT_OK;
}
