/* run_train.c - the middle of a run: peers join, train and end; this file decides when they have failed.
 *
 * What ends a run early, and how soon it is noticed:
 *   a peer's death             its pidfd, at once
 *   a cut, a partition         the peers' own deadline (training.deadline: no byte from a peer for so long while
 *                              waiting for it) makes one of them give up and name the other
 *   peers that do not join     LH_JOIN_DEADLINE_NS
 *   everybody is silent        twice the deadline beyond the time that the epoch's calculation should take
 * After that LH_GRACE_NS for the others' last words; then all are killed.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include "run_group.h"

/* With more changes in the schedule, those of links are not shown one by one. */
#define CHANGES_SHOWN 32
/* Counters are read, and the progress line drawn, this often. */
#define TICK_NS LH_NS_PER_S
/* The CPUs are looked at this often: communication of less than half a second is to be told from calculation. */
#define CPU_TICK_NS (LH_NS_PER_S / 10)
/* Less than this on all links together within a tick is not training (probes and keep-alives). */
#define MOVING_BYTES 20000
/* Nor is less CPU time than this of all peers together. */
#define WORKING_NS (LH_NS_PER_S / 10)

void lh_run_fail(struct lh_run *r, enum lh_failure_kind kind, int peer, int exit_status, const char *fmt, ...)
{
	struct lh_failure *f = &r->failure;
	va_list ap;

	if (f->kind != LH_FAILURE_NONE && kind != LH_FAILURE_INTERRUPTED &&
	    !(kind == LH_FAILURE_PEER_DIED && (f->kind == LH_FAILURE_STALLED || f->kind == LH_FAILURE_PEER)))
		return; /* a death explains what the others saw of it, so it may come second */
	f->kind = kind;
	f->peer = peer;
	f->t_ns = lh_clock_ns();
	f->epoch = r->state >= LH_RUN_TRAINING && r->committed < r->series.nepochs ? r->committed + 1 : r->committed;
	f->exit_status = exit_status;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof f->text, fmt, ap);
	va_end(ap);
}

static void enter(struct lh_run *r, enum lh_run_state state)
{
	r->state = state;
	r->state_since_ns = r->last_event_ns = lh_clock_ns();
}

static const char *peer_name(const struct lh_run *r, int peer)
{
	return r->exp->topology.peers[peer].name;
}

static const char *slowest_name(const struct lh_run *r, char *buf, size_t size, double *ret_rtt_s)
{
	const struct lh_topology *t = &r->exp->topology;

	if (r->slowest >= r->probe.nlinks)
		return NULL;
	const struct lh_link_result *l = &r->probe.links[r->slowest];
	snprintf(buf, size, "%s->%s", t->sites[l->from].name, t->sites[l->to].name);
	*ret_rtt_s = (double)l->rtt_median_ns / 1e9 / lh_experiment_scale(r->exp);
	return buf;
}

static void check_tcp(struct lh_run *r)
{
	if (r->state >= LH_RUN_TRAINING && !r->series.elastic)
		lh_tcpcheck_tick(&r->tcpcheck, r->net, r->series.npeers);
}

static void committed(struct lh_run *r)
{
	uint32_t done = lh_series_committed(&r->series);

	while (r->committed < done) {
		struct lh_epoch_metrics e;
		char text[200], link[80];
		double rtt_s = NAN;
		lh_metrics_epoch(&r->series, &r->measure, ++r->committed, &e);
		lh_metrics_epoch_undilate(&e, lh_experiment_scale(r->exp));
		lh_ns calc_end = r->series.go_ns, end = calc_end;
		lh_metrics_bounds(&r->series, r->committed, &calc_end, &end);
		lh_cpuwatch_sample(&r->cpu, lh_clock_ns());
		lh_cpuwatch_window(&r->cpu, calc_end, end, !e.warmup);
		const char *slowest = slowest_name(r, link, sizeof link, &rtt_s);
		lh_progress_epoch_text(&e, r->series.nepochs, slowest, rtt_s, text, sizeof text);
		if (r->opt->progress->animate)
			lh_progress_draw(r->opt->progress, "%s", text);
		else if (!r->opt->progress->terse)
			lh_progress_note(r->opt->progress, "%s", text);
		if (r->committed != r->series.first + 1)
			continue;
		check_tcp(r); /* so that a run of two short rounds has its reading, too */
		double need = lh_metrics_cpus_needed(&r->series, &r->measure, 1);
		if (need > r->measure.cpus)
			lh_progress_note(r->opt->progress,
					 "warning: the peers' paces together need %.2f CPUs; this kernel has "
					 "%u: steps may be late, and then the run is not valid",
					 need, r->measure.cpus);
	}
	if (r->committed == r->series.nepochs && r->state == LH_RUN_TRAINING)
		enter(r, LH_RUN_DRAINING);
}

/* "peer eu-0: no byte for 3s (deadline) (says peer us-0; after link us->eu: cut at 1.0 s)" */
static void peer_failed(struct lh_run *r, const struct lh_event *e)
{
	char own[LH_NAME_MAX + 8], after[300] = "";
	const char *reason = e->reason;

	snprintf(own, sizeof own, "peer %s: ", peer_name(r, (int)e->rank));
	if (!strncmp(reason, own, strlen(own)))
		reason += strlen(own);
	/* The others go on without it, unless nobody is left. */
	if (r->exp->training.membership == LH_MEMBERSHIP_ELASTIC && r->state >= LH_RUN_TRAINING) {
		if (!*r->gave_up)
			snprintf(r->gave_up, sizeof r->gave_up, "peer %s: %s", peer_name(r, (int)e->rank), reason);
		lh_progress_note(r->opt->progress, "peer %s gives up: %s", peer_name(r, (int)e->rank), reason);
		return;
	}
	/* Nobody but the store is to blame, whoever noticed. */
	if (!strncmp(reason, "store ", 6)) {
		lh_run_fail(r, LH_FAILURE_STALLED, (int)r->exp->training.store, LH_EXIT_BROKE, "%s (says peer %s)", reason,
			    peer_name(r, (int)e->rank));
		return;
	}
	if (e->culprit < 0 || (unsigned)e->culprit >= r->series.npeers || (unsigned)e->culprit == e->rank) {
		lh_run_fail(r, LH_FAILURE_PEER, (int)e->rank, LH_EXIT_BROKE, "peer %s: %s", peer_name(r, (int)e->rank),
			    reason);
		return;
	}
	snprintf(own, sizeof own, "peer %s: ", peer_name(r, e->culprit));
	if (!strncmp(reason, own, strlen(own)))
		reason += strlen(own);
	if (r->last_cut[0])
		snprintf(after, sizeof after, "; after %s", r->last_cut);
	lh_run_fail(r, LH_FAILURE_STALLED, e->culprit, LH_EXIT_BROKE, "%s%s (says peer %s%s)", own, reason,
		    peer_name(r, (int)e->rank), after);
}

/* Take in what a peer says. */
static int take_line(struct lh_run *r, unsigned peer, const char *line, size_t len, struct lh_event *ret,
		     struct lh_err *err)
{
	struct lh_spans spans;
	bool is_spans = lh_spans_is_line(line, len);
	int rc = is_spans ? lh_spans_parse(line, len, &spans, err) : lh_event_parse(line, len, ret, err);
	unsigned rank = rc ? peer : is_spans ? spans.rank : ret->rank;

	if (rank != peer)
		rc = lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "says that it is rank %u, not %u", rank, peer);
	if (rc == 0)
		rc = is_spans ? lh_series_add_spans(&r->series, &spans, err) : lh_series_add(&r->series, ret, err);
	return rc;
}

/* Only that it failed matters; the peers tell the rest. */
static int on_store_line(struct lh_run *r, const char *line, size_t len)
{
	struct lh_err bad = LH_ERR_INIT;
	const unsigned node = r->exp->training.store;
	const char *name = r->exp->topology.peers[node].name;
	struct lh_event e;

	if (lh_event_parse(line, len, &e, &bad) < 0)
		lh_run_fail(r, LH_FAILURE_PEER, (int)node, LH_EXIT_BROKE, "store %s: %s", name, bad.text);
	else if (e.kind == LH_EVENT_FAILED)
		lh_run_fail(r, LH_FAILURE_PEER, (int)node, LH_EXIT_BROKE, "%s%s%s", strncmp(e.reason, "store ", 6) ? "store " : "",
			    strncmp(e.reason, "store ", 6) ? name : "", e.reason);
	return 0;
}

/* It serves until it is killed. */
static int on_store_exit(struct lh_run *r, int status, struct lh_err *err)
{
	const unsigned node = r->exp->training.store;
	char text[128];

	lh_peer_status_text(status, text, sizeof text);
	if (lh_rundir_event(&r->dir, "exited", lh_clock_ns(), json_pack("{s:s, s:s}", "peer", peer_name(r, (int)node), "status",
			    text), err) < 0)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, LH_EXIT_BROKE, "%s", err->text);
	lh_run_fail(r, LH_FAILURE_PEER_DIED, (int)node, LH_EXIT_BROKE, "store %s: %s", peer_name(r, (int)node), text);
	return 0;
}

static int on_line(void *ctx, unsigned peer, const char *line, size_t len, struct lh_err *err)
{
	struct lh_run *r = ctx;
	struct lh_err bad = LH_ERR_INIT;
	struct lh_event e = { .kind = LH_EVENT_LISTENING }; /* what a spans line leaves it at asks for nothing */
	if (peer == r->peers.n)
		return on_store_line(r, line, len);
	int rc = take_line(r, peer, line, len, &e, &bad);

	if (rc < 0) {
		lh_run_fail(r, LH_FAILURE_PEER, (int)peer, LH_EXIT_BROKE, "peer %s: %s", peer_name(r, (int)peer),
			    bad.text);
		return 0;
	}
	r->last_event_ns = lh_clock_ns();
	lh_run_group_told(r, &e);
	rc = lh_rundir_line(&r->dir, line, len, err);
	if (rc < 0) {
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, LH_EXIT_BROKE, "%s", err->text);
		return 0;
	}
	if (e.kind == LH_EVENT_EPOCH || e.kind == LH_EVENT_VIEW)
		committed(r);
	else if (e.kind == LH_EVENT_FAILED)
		peer_failed(r, &e);
	return 0;
}

static int on_exit_of_peer(void *ctx, unsigned peer, int status, struct lh_err *err)
{
	struct lh_run *r = ctx;
	if (peer == r->peers.n)
		return on_store_exit(r, status, err);
	const struct lh_peer_series *p = &r->series.peers[peer];
	char text[128];
	json_t *fields = json_pack("{s:s, s:s}", "peer", peer_name(r, (int)peer), "status",
				   lh_peer_status_text(status, text, sizeof text));

	if (lh_rundir_event(&r->dir, "exited", lh_clock_ns(), fields, err) < 0)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, LH_EXIT_BROKE, "%s", err->text);
	if (lh_run_group_exited(r, peer, lh_peer_status_text(status, text, sizeof text))) {
		committed(r); /* its word may have been the last one missing */
		return 0;
	}
	if ((p->finished && WIFEXITED(status) && WEXITSTATUS(status) == 0) || p->failed)
		return 0;
	lh_run_fail(r, LH_FAILURE_PEER_DIED, (int)peer, LH_EXIT_BROKE, "peer %s: %s%s", peer_name(r, (int)peer), text,
		    r->killed_by_schedule == (int)peer ? ", as the schedule asks" : "");
	return 0;
}

static int on_change(void *ctx, const struct lh_change *change, const char *text, struct lh_err *err)
{
	struct lh_run *r = ctx;
	lh_ns now = lh_clock_ns();

	/* A cut of both ways is two changes; the first names it. */
	bool same = r->last_cut[0] && change->at_ns == r->last_cut_at_ns;
	if (change->kind == LH_CHANGE_CUT || change->kind == LH_CHANGE_PARTITION) {
		r->cut_off = true;
		lh_run_group_changed(r, change->kind, 0);
	}
	if ((change->kind == LH_CHANGE_CUT || change->kind == LH_CHANGE_PARTITION) && !same) {
		r->last_cut_at_ns = change->at_ns;
		snprintf(r->last_cut, sizeof r->last_cut, "%.200s at %.1f s", text, (double)change->at_ns / 1e9);
	}
	/* A trace may have thousands of rows; events.jsonl has them all. */
	if (change->kind != LH_CHANGE_LINK || r->exp->nchanges <= CHANGES_SHOWN)
		lh_progress_note(r->opt->progress, "at %.1f s: %s", (double)(now - r->series.go_ns) / 1e9, text);
	return lh_rundir_event(&r->dir, "change", now, json_pack("{s:I, s:s}", "asked_at_ns",
			       (json_int_t)change->at_ns, "what", text), err);
}

static void on_kill(void *ctx, unsigned peer)
{
	struct lh_run *r = ctx;

	r->killed_by_schedule = (int)peer;
	lh_run_group_changed(r, LH_CHANGE_KILL, peer);
	lh_peers_kill(&r->peers, peer);
}

static void on_notice(void *ctx, unsigned peer)
{
	struct lh_run *r = ctx;

	lh_run_group_changed(r, LH_CHANGE_NOTICE, peer);
	lh_peers_tell(&r->peers, peer, LH_CONTROL_NOTICE);
}

static int on_add(void *ctx, unsigned peer, struct lh_err *err)
{
	const struct lh_peers_handler h = { on_line, on_exit_of_peer, ctx };

	return lh_run_group_add(ctx, peer, &h, err);
}

static void read_signal(struct lh_run *r)
{
	int status = lh_session_interrupted(r->session);

	if (status)
		lh_run_fail(r, LH_FAILURE_INTERRUPTED, -1, status, "interrupted by signal %d (%s)", status - 128,
			    strsignal(status - 128));
}

/* How long all peers may be silent: calculation of an epoch at the declared paces, and the deadline, twice. */
static lh_ns silence_allowed(const struct lh_run *r)
{
	const struct lh_training *tr = &r->exp->training;
	double pace = 0;

	for (unsigned i = 0; i < r->series.npeers; i++)
		if (!r->series.peers[i].away)
			pace += lh_peer_pace(r->exp, i);
	return 2 * ((lh_ns)((double)tr->target_batch / pace * 1e9) + tr->deadline_ns);
}

static void check_deadlines(struct lh_run *r, lh_ns now)
{
	const struct lh_series *s = &r->series;
	lh_ns join = LH_JOIN_DEADLINE_NS + LH_JOIN_DEADLINE_PER_PEER_NS * s->npeers;

	if (r->state == LH_RUN_JOINING && now - r->state_since_ns > join) {
		unsigned who = 0;
		while (who + 1 < s->npeers && (s->peers[who].joined || s->peers[who].away))
			who++;
		lh_run_fail(r, LH_FAILURE_STALLED, (int)who, LH_EXIT_BROKE,
			    "peer %s: had not joined after %.0f s (%u of %u had)", peer_name(r, (int)who),
			    (double)join / 1e9, lh_series_joined(s), lh_series_present(s));
	} else if (r->state == LH_RUN_TRAINING && now - r->last_event_ns > silence_allowed(r)) {
		unsigned who = 0;
		for (unsigned i = 0; i < s->npeers; i++)
			if (s->peers[i].epochs < s->peers[who].epochs)
				who = i;
		lh_run_fail(r, LH_FAILURE_STALLED, (int)who, LH_EXIT_BROKE,
			    "peer %s: no sign of life from any peer for %.0f s", peer_name(r, (int)who),
			    (double)silence_allowed(r) / 1e9);
	} else if (r->state == LH_RUN_DRAINING && now - r->state_since_ns > LH_DRAIN_DEADLINE_NS) {
		unsigned who = 0;
		while (who < s->npeers && r->peers.procs[who].exited)
			who++;
		lh_run_fail(r, LH_FAILURE_STALLED, (int)who, LH_EXIT_BROKE,
			    "peer %s: still running %.0f s after the last epoch", peer_name(r, (int)who),
			    (double)LH_DRAIN_DEADLINE_NS / 1e9);
	}
}

struct ping_ctx {
	struct lh_run *r;
	json_t **pings;
};

static void on_ping(void *ctx, const struct lh_probe_sample *sample)
{
	const struct ping_ctx *c = ctx;
	const struct lh_topology *t = &c->r->exp->topology;

	if (!*c->pings)
		*c->pings = json_array();
	json_array_append_new(*c->pings, json_pack("{s:s, s:s, s:I, s:o}", "from", t->sites[sample->from].name, "to",
			      t->sites[sample->to].name, "sent_ns", (json_int_t)sample->sent_ns, "rtt_ns",
			      sample->rtt_ns < 0 ? json_null() : json_integer((json_int_t)sample->rtt_ns)));
	lh_watch_ping(&c->r->watch, sample->from, sample->to, sample->rtt_ns);
}

static void tick(struct lh_run *r, lh_ns now)
{
	struct lh_err err = LH_ERR_INIT;
	uint64_t before = r->watch.bytes;
	check_tcp(r);
	json_t *links = r->state >= LH_RUN_TRAINING ? lh_watch_tick(&r->watch, r->net) : NULL, *pings = NULL;

	/* A long exchange is not silence, nor is a calculation that takes longer than its pace allows. */
	lh_ns cpu = lh_peers_cpu_ns(&r->peers);
	if (r->watch.bytes - before > MOVING_BYTES || cpu - r->last_cpu_ns > WORKING_NS)
		r->last_event_ns = now;
	r->last_cpu_ns = cpu;
	if (links && lh_rundir_event(&r->dir, "links", now, json_pack("{s:o}", "links", links), &err) < 0)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, LH_EXIT_BROKE, "%s", err.text);
	if (r->pings)
		lh_probe_watch_read(r->pings, on_ping, &(struct ping_ctx){ r, &pings });
	if (pings && lh_rundir_event(&r->dir, "pings", now, json_pack("{s:o}", "pings", pings), &err) < 0)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, LH_EXIT_BROKE, "%s", err.text);
	if (r->state == LH_RUN_JOINING)
		lh_progress_draw(r->opt->progress, "joined: %u of %u peers", lh_series_joined(&r->series),
				 lh_series_present(&r->series));
	else if (r->state == LH_RUN_TRAINING && r->committed == r->series.first)
		lh_progress_draw(r->opt->progress, "epoch %u/%u under way, %.0f s", r->series.first + 1, r->series.nepochs,
				 (double)(now - r->series.go_ns) / 1e9);
}

static void go(struct lh_run *r)
{
	struct lh_err err = LH_ERR_INIT;

	/* What takes time comes first: nothing of ours may run in the first epoch's way. */
	if (lh_probe_watch_start(r->net, &r->exp->topology, &r->pings, &err) < 0)
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
	lh_watch_begin(&r->watch, r->net);
	enter(r, LH_RUN_TRAINING);
	r->series.go_ns = lh_clock_ns();
	lh_peers_command(&r->peers, LH_CONTROL_GO);
	if (lh_rundir_event(&r->dir, "go", r->series.go_ns, NULL, &err) < 0)
		lh_run_fail(r, LH_FAILURE_OUTPUT, -1, LH_EXIT_BROKE, "%s", err.text);
}

/* One turn: wait for events until the next thing is due, then do what is due. */
static void turn(struct lh_run *r, lh_ns *next_tick, lh_ns until)
{
	const struct lh_peers_handler h = { on_line, on_exit_of_peer, r };
	const struct lh_changes_handler ch = {
		.done = on_change, .kill = on_kill, .notice = on_notice, .add = on_add, .ctx = r,
	};
	/* What the schedule has for later than the last epoch never comes due: it would keep this loop from sleeping. */
	lh_ns due = r->state == LH_RUN_TRAINING ? lh_changes_due_ns(&r->changes, r->series.go_ns) : INT64_MAX;
	struct lh_err err = LH_ERR_INIT;
	bool woken;

	if (*next_tick < until)
		until = *next_tick;
	lh_ns next_cpu = r->state == LH_RUN_TRAINING ? r->last_cpu_sample_ns + CPU_TICK_NS : INT64_MAX;
	if (next_cpu < until)
		until = next_cpu;
	if (due < until && r->failure.kind == LH_FAILURE_NONE)
		until = due;
	if (lh_peers_wait(&r->peers, until, &h, &woken, &err) < 0)
		lh_run_fail(r, LH_FAILURE_PEER, -1, err.exit, "%s", err.text);
	if (woken)
		read_signal(r);
	lh_ns now = lh_clock_ns();
	if (now >= next_cpu) {
		lh_cpuwatch_sample(&r->cpu, now);
		r->last_cpu_sample_ns = now;
	}
	if (now >= *next_tick) {
		tick(r, now);
		*next_tick = now + TICK_NS;
	}
	if (r->failure.kind != LH_FAILURE_NONE)
		return;
	if (r->state == LH_RUN_JOINING && lh_series_joined(&r->series) == lh_series_present(&r->series))
		go(r);
	if (due <= now && r->state == LH_RUN_TRAINING &&
	    lh_changes_apply(&r->changes, r->net, r->series.go_ns, now, &ch, &err) < 0)
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
	lh_run_group_drain(r, now);
	check_deadlines(r, now);
}

/* A schedule that is longer than the training was not carried out, and that should not go unnoticed. */
static void tell_unreached(const struct lh_run *r)
{
	size_t left = 0;

	for (size_t i = r->changes.next; i < r->exp->nchanges; i++)
		left += !r->exp->changes[i].drawn; /* what is drawn is drawn for longer than any run */
	if (r->failure.kind == LH_FAILURE_NONE && left)
		lh_progress_note(r->opt->progress, "the training ended at %.1f s, before %zu of %zu changes of the schedule",
				 (double)(r->state_since_ns - r->series.go_ns) / 1e9, left, r->exp->nchanges);
}

void lh_run_train(struct lh_run *r)
{
	struct lh_err err = LH_ERR_INIT;
	lh_ns next_tick = lh_clock_ns();
	int rc = lh_run_peer_config(r, &r->config, &err);

	if (rc == 0)
		rc = lh_run_checkpoints(r, &r->config, &err);
	if (rc == 0)
		rc = lh_peers_start(&r->peers, r->net, r->session->peer_path, &r->config, r->exp->training.store, r->dir.log_fd,
				    r->session->signal_fd, &err);
	if (rc == 0)
		rc = lh_run_founders(r, &err);
	if (rc < 0) {
		lh_run_fail(r, LH_FAILURE_SETUP, -1, err.exit, "%s", err.text);
		return;
	}
	enter(r, LH_RUN_JOINING);
	while (r->failure.kind == LH_FAILURE_NONE && r->peers.running)
		turn(r, &next_tick, INT64_MAX);
	/* Who ends a run by hand wants it ended; after anything else the others may know more. */
	lh_ns grace = lh_clock_ns() + LH_GRACE_NS;
	while (r->failure.kind != LH_FAILURE_NONE && r->failure.kind != LH_FAILURE_INTERRUPTED && r->peers.running &&
	       lh_clock_ns() < grace)
		turn(r, &next_tick, grace);
	if (r->failure.kind == LH_FAILURE_NONE && r->state < LH_RUN_DRAINING)
		lh_run_fail(r, LH_FAILURE_PEER, -1, LH_EXIT_BROKE, "the peers ended after epoch %u of %u", r->committed,
			    r->series.nepochs);
	lh_progress_clear(r->opt->progress);
	tell_unreached(r);
	lh_peers_done(&r->peers);
	lh_probe_watch_stop(r->pings);
	r->pings = NULL;
}
