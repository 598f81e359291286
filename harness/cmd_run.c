/* cmd_run.c - `longhaul run FILE`: the experiment end to end. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "run.h"

static void print_json(const struct lh_result *result)
{
	json_t *doc = lh_result_json(result);

	json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(doc);
}

/* A result says why there is none. */
static void print_failed(const struct lh_session *s, const struct lh_err *err)
{
	struct lh_result result = {
		.exp = &s->exp, .netem = LH_NETEM_NONE, .comm_cpu_busy = NAN,
		.failure = { .kind = LH_FAILURE_SETUP, .peer = -1, .exit_status = err->exit },
	};
	const struct lh_judge_input in = { .topology = &s->exp.topology, .failure = &result.failure };
	struct utsname u;

	if (!s->inv->json)
		return;
	if (uname(&u) == 0)
		snprintf(result.kernel_release, sizeof result.kernel_release, "%s", u.release);
	snprintf(result.failure.text, sizeof result.failure.text, "%s", err->text);
	lh_judge(&in, &result.verdict);
	print_json(&result);
}

static int run_body(struct lh_session *s)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_progress progress = { .out = s->inv->quiet ? NULL : stderr, .animate = s->inv->animate };
	struct lh_run_options opt = {
		.dir = s->out_dir, .progress = &progress, .probe_dir = s->inv->probe_dir,
		.baseline_dir = s->inv->baseline_dir, .resume_dir = s->inv->resume_dir,
	};
	struct lh_run *r = calloc(1, sizeof *r);

	if (!r) {
		lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "run");
		return lh_fail(&err);
	}
	if (lh_run_faults_parse(s->inv->faults, &opt.faults, &err) < 0) {
		free(r);
		return lh_fail(&err);
	}
	if (s->memory.known) {
		char text[640];
		lh_progress_note(&progress, "memory: %s", lh_memory_text(&s->memory, &s->exp, text, sizeof text));
	}
	int status = lh_run_execute(r, s, &s->exp, &opt);
	if (s->inv->json)
		print_json(&r->result);
	else
		lh_result_print(&r->result, stdout);
	if (r->result.verdict.nreasons) {
		lh_err_set(&err, LH_EXIT_BROKE, -1, "%s", r->result.verdict.reasons[0]);
		lh_fail(&err);
	}
	lh_run_done(r);
	free(r);
	return status;
}

/* The baseline and every byte of the checkpoints, before anything is touched; inside User-Mode Linux that was done
 * outside. */
static int check(const struct lh_invocation *inv, const struct lh_experiment *exp, struct lh_err *err)
{
	struct lh_resume_plan plan;
	double sps;

	if (inv->inside_uml)
		return 0;
	int rc = inv->baseline_dir ? lh_run_baseline(inv->baseline_dir, exp, &sps, err) : 0;
	if (rc < 0 || !inv->resume_dir)
		return rc;
	rc = lh_resume_find(inv->resume_dir, exp, true, &plan, err);
	if (rc == 0)
		lh_resume_done(&plan);
	return rc;
}

int cmd_run(const struct lh_invocation *inv)
{
	const struct lh_session_options opt = {
		.trains = true, .makes_out_dir = true, .uses_out_dir = true, .resumes_apart = true, .check = check,
		.failed = print_failed,
	};

	return lh_session_main(inv, &opt, run_body);
}
