/* cmd_sweep.c - `longhaul sweep FILE -L key=v1,v2,...`: a grid of runs inside one kernel.
 *
 * The sweep's directory holds plan.json (what is swept), runs/c<cell>-r<run>/ (one run directory each, w for
 * warm-up), and sweep.json and sweep.csv, renewed after every run. A run is done when its result says that it is
 * complete; --resume does the others. The network is built, verified and probed anew for every run, so that no run
 * inherits anything of the one before.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"
#include "sweep.h"

#define DEFAULT_RUNS 3
#define DEFAULT_SEED 1

struct sweeping {
	struct lh_session *s;
	struct lh_sweep sweep;
	struct lh_sweep_step *order;
	bool *skip;                   /* [nsteps]: an earlier process completed it */
	size_t nsteps, at, left;      /* left: to run, this one included */
	struct lh_result_row *rows;   /* [ncells][runs] */
	bool *done;                   /* the same */
	struct lh_sweep_cell *cells;
	struct lh_rundir dir;
	struct lh_progress progress;
	size_t executed;              /* steps run by this process */
	lh_ns began_ns;
	int worst;                    /* exit status of the worst run */
	bool stop;
	struct lh_err why;            /* of the stop */
};

static int sweep_init(const struct lh_invocation *inv, struct lh_sweep *ret, struct lh_err *err)
{
	return lh_sweep_init(ret, inv->lists, inv->nlists, inv->warmup == ~0u ? 0 : inv->warmup,
			     inv->runs == ~0u ? DEFAULT_RUNS : inv->runs, inv->has_seed ? inv->seed : DEFAULT_SEED,
			     err);
}

static bool counts(const struct sweeping *w, const struct lh_sweep_step *step)
{
	return step->pass >= w->sweep.warmup;
}

static size_t row_of(const struct sweeping *w, const struct lh_sweep_step *step)
{
	return (size_t)step->cell * w->sweep.runs + (step->pass - w->sweep.warmup);
}

static void step_dir(const struct sweeping *w, const struct lh_sweep_step *step, char *buf, size_t size)
{
	bool counted = counts(w, step);

	snprintf(buf, size, "%s/runs/c%03u-%c%u", w->s->out_dir, step->cell, counted ? 'r' : 'w',
		 counted ? step->pass - w->sweep.warmup : step->pass);
}

static int open_sweep(struct sweeping *w, struct lh_err *err)
{
	size_t rows;
	int rc = sweep_init(w->s->inv, &w->sweep, err);

	if (rc < 0)
		return rc;
	rows = (size_t)w->sweep.ncells * w->sweep.runs;
	w->nsteps = (size_t)w->sweep.ncells * (w->sweep.runs + w->sweep.warmup);
	w->order = calloc(w->nsteps, sizeof *w->order);
	w->skip = calloc(w->nsteps, sizeof *w->skip);
	w->rows = calloc(rows, sizeof *w->rows);
	w->done = calloc(rows, sizeof *w->done);
	w->cells = calloc(w->sweep.ncells, sizeof *w->cells);
	if (!w->order || !w->skip || !w->rows || !w->done || !w->cells)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "a sweep of %u cells", w->sweep.ncells);
	lh_sweep_order(&w->sweep, w->order);
	w->left = w->nsteps;
	return lh_rundir_attach(w->s->out_dir, &w->dir, err);
}

/* A fresh directory gets the plan; one that is resumed must have the same. */
static int settle_plan(struct sweeping *w, struct lh_err *err)
{
	json_t *plan = lh_sweep_plan_json(&w->sweep, w->s->exp.canonical), *old = NULL;
	int fd = openat(w->dir.fd, "plan.json", O_RDONLY | O_CLOEXEC), rc = 0;

	if (!plan)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "sweep");
	else if (fd >= 0 && !(old = json_loadfd(fd, 0, NULL)))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--resume %s: plan.json cannot be read",
				w->s->inv->resume_dir);
	else if (old && !json_equal(old, plan))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				"--resume %s: that sweep had another file, axes, runs, warm-up or "
				"seed (its plan.json)",
				w->s->inv->resume_dir);
	else if (!old && w->s->inv->resume_dir)
		rc = lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "--resume %s: no sweep began there (it has no plan.json)",
				w->s->inv->resume_dir);
	else if (!old)
		rc = lh_rundir_write_json(&w->dir, "plan.json", plan, err);
	if (fd >= 0)
		close(fd);
	json_decref(plan);
	json_decref(old);
	if (rc == 0 && mkdirat(w->dir.fd, "runs", 0777) < 0 && errno != EEXIST)
		rc = lh_err_sys(err, LH_EXIT_BROKE, -errno, "run directory %s: runs", w->dir.path);
	return rc;
}

/* What an earlier process completed; what it only began is put aside. */
static bool take_done(struct sweeping *w, const struct lh_sweep_step *step)
{
	char dir[4200], aside[4220];
	struct lh_result_row row;

	step_dir(w, step, dir, sizeof dir);
	if (lh_result_row_read(dir, &row, NULL) == 0 && row.complete) {
		if (counts(w, step)) {
			w->rows[row_of(w, step)] = row;
			w->done[row_of(w, step)] = true;
		}
		return true;
	}
	for (int i = 1; i < 1000; i++) {
		snprintf(aside, sizeof aside, "%s.partial-%d", dir, i);
		if (access(aside, F_OK) != 0)
			break;
	}
	rename(dir, aside); /* ENOENT: it was not even begun */
	return false;
}

static int write_csv(void *ctx, FILE *out)
{
	struct sweeping *w = ctx;

	return lh_sweep_write_csv(&w->sweep, w->cells, out);
}

static int renew_tables(struct sweeping *w, struct lh_err *err)
{
	struct lh_result_row *rows = calloc(w->sweep.runs, sizeof *rows);
	int rc = rows ? 0 : -ENOMEM;

	for (unsigned c = 0; rc == 0 && c < w->sweep.ncells; c++) {
		size_t n = 0;
		for (unsigned k = 0; k < w->sweep.runs; k++)
			if (w->done[(size_t)c * w->sweep.runs + k])
				rows[n++] = w->rows[(size_t)c * w->sweep.runs + k];
		rc = lh_sweep_cell_compute(rows, n, &w->cells[c]);
	}
	free(rows);
	if (rc < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, rc, "sweep");
	json_t *doc = lh_sweep_json(&w->sweep, w->cells);
	rc = doc ? lh_rundir_write_json(&w->dir, "sweep.json", doc, err)
		 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "sweep");
	json_decref(doc);
	return rc < 0 ? rc : lh_rundir_write(&w->dir, "sweep.csv", write_csv, w, err);
}

static void set_prefix(struct sweeping *w, const char *cell)
{
	char left[32] = "?";

	if (w->executed)
		lh_progress_duration_text((double)(lh_clock_ns() - w->began_ns) / 1e9 / (double)w->executed *
					  (double)w->left, left, sizeof left);
	snprintf(w->progress.prefix, sizeof w->progress.prefix, "[%zu/%zu, %s left] %.30s: ", w->at + 1, w->nsteps,
		 left, cell);
}

static void take_result(struct sweeping *w, const struct lh_sweep_step *step, const struct lh_run *r, const char *dir)
{
	json_t *doc = lh_result_json(&r->result);
	struct lh_result_row row;

	if (doc && lh_result_row_parse(doc, &row, NULL) == 0) {
		snprintf(row.dir, sizeof row.dir, "%s", dir);
		const char *pass = counts(w, step) ? "" : "(warm-up) ";
		if (row.valid)
			lh_progress_note(&w->progress, "%s%.4g samples/s, granularity %.3g, efficiency %.3g", pass,
					 row.throughput_sps, row.granularity, row.efficiency);
		else
			lh_progress_note(&w->progress, "%sNOT VALID: %s", pass, row.reason);
		if (counts(w, step)) {
			w->rows[row_of(w, step)] = row;
			w->done[row_of(w, step)] = true;
		}
	}
	json_decref(doc);
}

static int run_step(struct sweeping *w, const struct lh_sweep_step *step, struct lh_err *err)
{
	const struct lh_invocation *inv = w->s->inv;
	struct lh_run_options opt = { .progress = &w->progress, .probe_dir = inv->probe_dir };
	struct lh_experiment exp;
	struct lh_run *r = calloc(1, sizeof *r);
	char dir[4200], cell[256];
	int rc = r ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "sweep");

	if (rc == 0)
		rc = lh_sweep_load(&w->sweep, step->cell, inv->file, inv->overrides, inv->noverrides, NULL, &exp, err);
	if (rc < 0) {
		free(r);
		return rc;
	}
	step_dir(w, step, dir, sizeof dir);
	opt.dir = dir;
	lh_sweep_cell_text(&w->sweep, step->cell, cell, sizeof cell);
	opt.cell = cell;
	set_prefix(w, cell);
	if (mkdir(dir, 0777) < 0) {
		rc = lh_err_sys(err, LH_EXIT_BROKE, -errno, "run directory %s", dir);
	} else {
		int status = lh_run_execute(r, w->s, &exp, &opt);
		w->executed++;
		take_result(w, step, r, dir);
		/* 4 before 3 before 5; an interruption or a full disk ends the sweep. */
		static const int rank[] = {
		    [LH_EXIT_INCONCLUSIVE] = 1, [LH_EXIT_GATE] = 2, [LH_EXIT_MACHINE] = 3, [LH_EXIT_BROKE] = 4};
		enum lh_failure_kind kind = r->failure.kind;
		w->stop = kind == LH_FAILURE_INTERRUPTED || kind == LH_FAILURE_OUTPUT;
		if (w->stop)
			lh_err_set(&w->why, LH_EXIT_BROKE, -ECANCELED, "%s: %.400s", cell, r->failure.text);
		if (w->stop || (status < 6 && w->worst < 6 && rank[status] > rank[w->worst]))
			w->worst = status;
		lh_run_done(r);
	}
	lh_experiment_done(&exp);
	free(r);
	return rc;
}

static void print_sweep(struct sweeping *w)
{
	if (w->s->inv->json) {
		json_t *doc = lh_sweep_json(&w->sweep, w->cells);
		json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
		putchar('\n');
		json_decref(doc);
	} else {
		lh_sweep_print(&w->sweep, w->cells, stdout);
		printf("files: %s\n", w->s->out_dir);
	}
}

static int sweep_body(struct lh_session *s)
{
	struct sweeping w = { .s = s, .dir = { .fd = -1, .events_fd = -1, .log_fd = -1 }, .began_ns = lh_clock_ns() };
	struct lh_err err = LH_ERR_INIT;
	int rc = open_sweep(&w, &err);

	if (rc == 0)
		rc = settle_plan(&w, &err);
	w.progress =
	    (struct lh_progress){.out = s->inv->quiet ? NULL : stderr, .animate = s->inv->animate, .terse = true};
	for (size_t i = 0; rc == 0 && s->inv->resume_dir && i < w.nsteps; i++) {
		w.skip[i] = take_done(&w, &w.order[i]);
		w.left -= w.skip[i];
	}
	if (rc == 0)
		rc = renew_tables(&w, &err);
	for (w.at = 0; rc == 0 && !w.stop && w.at < w.nsteps; w.at++) {
		if (w.skip[w.at])
			continue;
		rc = run_step(&w, &w.order[w.at], &err);
		w.left--;
		if (rc == 0)
			rc = renew_tables(&w, &err);
	}
	w.progress.prefix[0] = 0;
	lh_progress_clear(&w.progress);
	if (w.executed || rc == 0)
		print_sweep(&w);
	if (w.dir.fd >= 0)
		close(w.dir.fd);
	lh_sweep_done(&w.sweep);
	free(w.order);
	free(w.skip);
	free(w.rows);
	free(w.done);
	free(w.cells);
	if (w.why.code)
		lh_fail(&w.why);
	return rc < 0 ? lh_fail(&err) : w.worst;
}

/* What the session must know of all cells before it chooses a kernel. */
struct survey {
	struct lh_experiment largest; /* by peers, then by kernel memory */
	lh_bytes memory;
	bool any, needs_netem;
};

static int survey_cell(struct survey *v, struct lh_experiment *exp, struct lh_err *err)
{
	struct lh_plan *plan;
	int rc = lh_plan_new(&exp->topology, NULL, &plan, err);

	if (rc < 0) {
		lh_experiment_done(exp);
		return rc;
	}
	lh_bytes memory = lh_plan_memory_bytes(plan);
	unsigned npeers = exp->topology.npeers, most = v->any ? v->largest.topology.npeers : 0;
	v->needs_netem = v->needs_netem || lh_plan_needs_netem(plan);
	lh_plan_free(plan);
	if (v->any && (npeers < most || (npeers == most && memory <= v->memory))) {
		lh_experiment_done(exp);
		return 0;
	}
	if (v->any)
		lh_experiment_done(&v->largest);
	v->largest = *exp;
	v->memory = memory;
	v->any = true;
	return 0;
}

/* Every cell must load before anything is touched. */
static int check_cells(const struct lh_invocation *inv, struct survey *v, struct lh_err *err)
{
	struct lh_sweep sweep;
	int rc = sweep_init(inv, &sweep, err);

	if (rc < 0)
		return rc;
	for (unsigned c = 0; rc == 0 && c < sweep.ncells; c++) {
		struct lh_experiment exp;
		char cell[256];
		rc = lh_sweep_load(&sweep, c, inv->file, inv->overrides, inv->noverrides, stderr, &exp, err);
		if (rc == 0)
			rc = survey_cell(v, &exp, err);
		if (rc < 0 && c > 0)
			lh_err_wrap(err, "%s", lh_sweep_cell_text(&sweep, c, cell, sizeof cell));
	}
	lh_sweep_done(&sweep);
	return rc;
}

int cmd_sweep(const struct lh_invocation *inv)
{
	struct lh_session_options opt = { .trains = true, .makes_out_dir = true, .uses_out_dir = true };
	struct lh_err err = LH_ERR_INIT;
	struct survey v = { .any = false };
	int rc = check_cells(inv, &v, &err), status;

	if (rc == 0) {
		opt.largest = &v.largest;
		opt.needs_netem = v.needs_netem;
		status = lh_session_main(inv, &opt, sweep_body);
	} else {
		status = lh_fail(&err);
	}
	if (v.any)
		lh_experiment_done(&v.largest);
	return status;
}
