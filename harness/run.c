/* run.c - the phases of a run; see run.h. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "result_row.h"
#include "timeline.h"

static unsigned count_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* Room for the files that are written last. */
static lh_bytes result_size(const struct lh_experiment *exp)
{
	const struct lh_topology *t = &exp->topology;

	return 16384 + (lh_bytes)exp->training.epochs * 1280 + (lh_bytes)t->npeers * 1024 +
	       (lh_bytes)t->nsites * t->nsites * 1280;
}

static void show_probe(void *ctx, const char *what, size_t done, size_t total)
{
	struct lh_run *r = ctx;

	lh_progress_draw(r->opt->progress, "%s %zu/%zu", what, done, total);
}

/* Index of the measured link with the largest RTT between two peers. */
static void find_slowest(struct lh_run *r)
{
	const struct lh_topology *t = &r->exp->topology;
	lh_ns most = -1;

	r->slowest = ~0u;
	for (unsigned i = 0; i < r->probe.nlinks; i++) {
		const struct lh_link_result *l = &r->probe.links[i];
		if (l->rtt_median_ns <= most || !t->sites[l->from].npeers || !t->sites[l->to].npeers)
			continue;
		most = l->rtt_median_ns;
		r->slowest = i;
	}
}

static int write_links(void *ctx, FILE *out)
{
	struct lh_run *r = ctx;

	return lh_probe_write_csv(&r->exp->topology, &r->probe, out);
}

static int write_epochs(void *ctx, FILE *out)
{
	return lh_result_write_epochs_csv(ctx, out);
}

/* From events.jsonl, whatever ended the run. */
static int write_timeline(void *ctx, FILE *out)
{
	struct lh_run *r = ctx;
	int fd = openat(r->dir.fd, "events.jsonl", O_RDONLY | O_CLOEXEC);
	FILE *events = fd < 0 ? NULL : fdopen(fd, "r");

	if (!events) {
		int rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	int rc = lh_timeline_write(&r->exp->topology, events, LH_TIMELINE_EVENTS_MAX, out, NULL);
	fclose(events);
	return rc;
}

static int write_manifest(struct lh_run *r, struct lh_err *err)
{
	json_t *m = lh_manifest_json(r);
	int rc = m ? lh_rundir_write_json(&r->dir, "manifest.json", m, err)
		   : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "manifest");

	json_decref(m);
	return rc;
}

static bool was_interrupted(struct lh_run *r)
{
	int status = lh_session_interrupted(r->session);

	if (status)
		lh_run_fail(r, LH_FAILURE_INTERRUPTED, -1, status, "interrupted by signal %d (%s)", status - 128,
			    strsignal(status - 128));
	return status != 0;
}

int lh_run_baseline(const char *dir, const struct lh_experiment *exp, double *ret_sps, struct lh_err *err)
{
	const struct lh_training *tr = &exp->training;
	struct lh_result_row row;
	int rc = lh_result_row_read(dir, &row, err);

	if (rc < 0)
		return rc;
	if (!row.valid || !(row.throughput_sps > 0))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a baseline: that run is not valid", dir);
	if (strcmp(row.model, tr->model) || row.target_batch != (long long)tr->target_batch ||
	    row.peers != (long long)exp->topology.npeers)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a baseline of this: it trained %s with batches of "
				  "%lld on %lld peers", dir, row.model, row.target_batch, row.peers);
	*ret_sps = row.throughput_sps;
	return 0;
}

static int read_baseline(struct lh_run *r, struct lh_err *err)
{
	if (!r->opt->baseline_dir)
		return 0;
	int rc = lh_run_baseline(r->opt->baseline_dir, r->exp, &r->result.baseline_sps, err);
	if (rc == 0)
		r->result.baseline_dir = r->opt->baseline_dir;
	return rc;
}

/* Its warm-up is this run's own: all connections are new. */
static int read_checkpoints(struct lh_run *r, struct lh_err *err)
{
	if (!r->opt->resume_dir)
		return 0;
	int rc = lh_resume_find(r->opt->resume_dir, r->exp, false, &r->resume, err);
	if (rc < 0)
		return rc;
	r->measure.warmup += r->resume.round;
	r->committed = r->resume.round;
	r->result.resumed_dir = r->opt->resume_dir;
	r->result.resumed = r->resume.round;
	r->result.resumed_samples = r->resume.samples;
	r->result.resumed_changes = &r->resume.changed;
	return 0;
}

static void bring_up(struct lh_run *r)
{
	struct lh_err err = LH_ERR_INIT;

	r->state = LH_RUN_NETWORK;
	int rc = lh_probe_network_up(r->exp, show_probe, r, &r->net, &r->probe, &err);
	lh_progress_clear(r->opt->progress);
	find_slowest(r);
	if (rc == 0 && r->opt->probe_dir)
		rc = lh_probe_reuse(r->opt->probe_dir, r->exp, r->session->caps.kernel_release, &r->probe, &err);
	for (size_t i = 0; rc == 0 && r->opt->probe_dir && i < r->probe.nlinks; i++) /* was told divided back */
		lh_probe_dilate_goodput(&r->probe.links[i], lh_experiment_scale(r->exp));
	if (rc == 0)
		rc = lh_run_plan_exchange(r, &err);
	if (!was_interrupted(r) && rc < 0)
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
	if (write_manifest(r, &err) < 0)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, err.exit, "%s", err.text);
}

static void check_tcp(struct lh_run *r)
{
	struct lh_tcp_verdict *v = &r->result.tcp;

	if (r->series.elastic)
		snprintf(v->reason, sizeof v->reason, "peers come and go, and the counters of their connections with them");
	else if (r->series.npeers < 2)
		snprintf(v->reason, sizeof v->reason, "one peer has no connections");
	else
		lh_tcpcheck_judge(&r->tcpcheck, &r->series, (r->series.npeers - 1) * lh_experiment_streams(r->exp), v);
}

static void train(struct lh_run *r)
{
	const struct lh_topology *t = &r->exp->topology;
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_series_init(&r->series, t->npeers, r->exp->training.epochs, &err);

	if (rc == 0 && r->exp->training.membership == LH_MEMBERSHIP_ELASTIC)
		lh_series_elastic(&r->series, r->exp->absent);
	if (rc == 0 && r->resume.round)
		lh_series_resumed(&r->series, r->resume.round, !r->resume.shared);
	if (rc == 0)
		rc = lh_watch_init(&r->watch, t, &err);
	if (rc < 0) {
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
		return;
	}
	r->result.series = &r->series;
	lh_cpuwatch_init(&r->cpu);
	lh_run_train(r);
	r->result.comm_cpu_busy = lh_cpuwatch_busiest(&r->cpu);
	check_tcp(r);
	struct lh_link_traffic *traffic = calloc((size_t)t->nsites * t->nsites, sizeof *traffic);
	if (traffic)
		lh_watch_end(&r->watch, r->net, traffic);
	r->result.traffic = traffic;
	/* Somebody may have touched a qdisc while we looked away; then the numbers are of another network. */
	if (r->failure.kind == LH_FAILURE_NONE && lh_net_verify(r->net, NULL, NULL, &r->verify_after) == 0)
		r->verify_after = (struct lh_err)LH_ERR_INIT;
}

/* What was measured and predicted at dilated values, as it would be at the user's. */
static void undilate(struct lh_run *r)
{
	const struct lh_topology *t = &r->exp->topology;
	const unsigned scale = lh_experiment_scale(r->exp);
	struct lh_link_traffic *traffic = (struct lh_link_traffic *)(uintptr_t)r->result.traffic;

	lh_probe_undilate(&r->probe, scale);
	if (r->has_exchange)
		lh_exchange_undilate(&r->exchange, scale);
	for (unsigned i = 0; traffic && i < t->nsites * t->nsites; i++) {
		traffic[i].rtt_median_s /= scale;
		traffic[i].rtt_max_s /= scale;
	}
}

static void judge(struct lh_run *r)
{
	struct lh_err err = LH_ERR_INIT;

	if (r->state < LH_RUN_JUDGING) /* once */
		undilate(r);
	r->state = LH_RUN_JUDGING;
	if (r->has_metrics || !r->result.series) {
		;
	} else if (lh_metrics_compute(&r->series, &r->measure, &r->metrics, &err) == 0) {
		lh_metrics_undilate(&r->metrics, lh_experiment_scale(r->exp));
		r->has_metrics = true;
		r->result.metrics = &r->metrics;
	} else {
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
	}
	if (r->result.series && !r->interruptions) {
		lh_group_log_interruptions(&r->group, &r->interruptions, &r->result.ninterruptions, NULL);
		r->result.interruptions = r->interruptions;
		r->result.group = &r->group;
	}
	const struct lh_judge_input in = {
		.gave_up = !r->cut_off && *r->gave_up ? r->gave_up : NULL,
		.topology = &r->exp->topology, .metrics = r->result.metrics, .failure = &r->failure,
		.traffic = r->result.traffic, .verify_after = r->verify_after.code ? &r->verify_after : NULL,
		.cpus = r->measure.cpus,
	};
	lh_judge(&in, &r->result.verdict);
	r->result.failure = r->failure;
}

/* All of it is tried; the first failure is told. */
static int write_results(struct lh_run *r, struct lh_err *err)
{
	struct lh_err again;
	int rc;

	lh_rundir_release(&r->dir);
	json_t *doc = lh_result_json(&r->result);
	rc = doc ? lh_rundir_write_json(&r->dir, "result.json", doc, err)
		 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "result");
	json_decref(doc);
	if (lh_rundir_write(&r->dir, "epochs.csv", write_epochs, &r->result, rc ? &again : err) < 0 && rc == 0)
		rc = err->code;
	if (r->probe.nlinks && lh_rundir_write(&r->dir, "links.csv", write_links, r, rc ? &again : err) < 0 && rc == 0)
		rc = err->code;
	if (r->series.go_ns && lh_rundir_write(&r->dir, "trace.json", write_timeline, r, rc ? &again : err) < 0 && rc == 0)
		rc = err->code;
	return rc;
}

int lh_run_execute(struct lh_run *r, struct lh_session *s, const struct lh_experiment *exp,
		   const struct lh_run_options *opt)
{
	struct lh_err err = LH_ERR_INIT;

	*r = (struct lh_run){
		.session = s, .exp = exp, .opt = opt, .dir = { .fd = -1, .events_fd = -1, .log_fd = -1 },
		.peers = { .epoll_fd = -1 }, .changes = { .exp = exp }, .slowest = ~0u,
		.failure = { .peer = -1 }, .killed_by_schedule = -1,
		.measure = {
			.warmup = exp->training.warmup, .target_batch = exp->training.target_batch, .latency_ns = -1,
			.cpus = count_cpus(),
			.estimated = exp->training.sync.strategy == LH_STRATEGY_ETA,
			.calculates = exp->training.engine != LH_ENGINE_PACED,
		},
		.result = { .comm_cpu_busy = NAN, .exp = exp, .memory = &s->memory, .netem = s->where, .probe = &r->probe, .dir = opt->dir },
	};
	r->result.cpus = r->measure.cpus;
	snprintf(r->result.kernel_release, sizeof r->result.kernel_release, "%s", s->caps.kernel_release);
	bool open = lh_rundir_open(opt->dir, result_size(exp), &r->dir, &err) == 0;
	if (!open)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, err.exit, "%s", err.text);
	else if (read_baseline(r, &err) < 0 || read_checkpoints(r, &err) < 0)
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
	else
		bring_up(r);
	if (r->failure.kind == LH_FAILURE_NONE)
		train(r);
	judge(r);
	if (open && write_results(r, &err) < 0 && r->failure.kind != LH_FAILURE_OUTPUT) {
		/* The numbers are true, but they are not where they were asked to be. */
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, err.exit, "%s", err.text);
		judge(r);
	}
	if (r->net) {
		lh_net_down(r->net, NULL);
		r->net = NULL;
	}
	if (open)
		lh_rundir_close(&r->dir);
	r->state = LH_RUN_DONE;
	return r->result.verdict.exit_status;
}

void lh_run_done(struct lh_run *r)
{
	lh_peers_done(&r->peers);
	lh_peer_config_done(&r->config);
	lh_group_log_done(&r->group);
	lh_resume_done(&r->resume);
	free(r->interruptions);
	lh_series_done(&r->series);
	if (r->has_metrics)
		lh_metrics_done(&r->metrics);
	lh_watch_done(&r->watch);
	lh_tcpcheck_done(&r->tcpcheck);
	lh_exchange_plan_done(&r->exchange);
	lh_cpuwatch_done(&r->cpu);
	lh_probe_report_done(&r->probe);
	free((void *)(uintptr_t)r->result.traffic);
	if (r->net)
		lh_net_down(r->net, NULL);
	*r = (struct lh_run){ 0 };
}
