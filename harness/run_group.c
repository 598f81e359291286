/* run_group.c - see run_group.h.
 *
 * With elastic membership a peer's end is an interruption and not a failure. The run fails when no peer is left, or, as
 * ever, by its deadlines: a group without a quorum gives up by itself after training.deadline, and its peers say so.
 */
#include "run_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool elastic(const struct lh_run *r)
{
	return r->exp->training.membership == LH_MEMBERSHIP_ELASTIC;
}

static const char *name_of(const struct lh_run *r, unsigned peer)
{
	return r->exp->topology.peers[peer].name;
}

int lh_run_checkpoints(struct lh_run *r, struct lh_peer_config *config, struct lh_err *err)
{
	const struct lh_training *tr = &r->exp->training;
	char path[sizeof r->dir.path + 16], *real;

	config->checkpoint_rounds = tr->checkpoint_rounds;
	config->checkpoint_keep = tr->checkpoint_keep;
	if (!tr->checkpoint_ns && !tr->young && !tr->checkpoint_rounds)
		return 0;
	config->checkpoint_ns = tr->checkpoint_ns;
	if (tr->young)
		config->interrupted_ns = (lh_ns)(1e9 / lh_experiment_interruptions_per_s(r->exp));
	snprintf(path, sizeof path, "%s/checkpoints", r->dir.path);
	if (mkdir(path, 0777) < 0 || !(real = realpath(path, NULL)))
		return lh_err_sys(err, LH_EXIT_BROKE, -errno, "%s", path);
	int len = snprintf(config->checkpoint_dir, sizeof config->checkpoint_dir, "%s", real);
	free(real);
	if (len >= (int)sizeof config->checkpoint_dir)
		return lh_err_set(err, LH_EXIT_INPUT, -ENAMETOOLONG, "%s: longer than %zu characters, the most for "
				  "checkpoints", path, sizeof config->checkpoint_dir - 1);
	return 0;
}

int lh_run_founders(struct lh_run *r, struct lh_err *err)
{
	lh_ns now = lh_clock_ns();
	int rc = 0;

	if (!elastic(r))
		return 0;
	r->group.npeers = r->series.npeers;
	for (unsigned i = 0; rc == 0 && i < r->series.npeers; i++)
		if (!r->exp->absent[i])
			rc = lh_group_log_start(&r->group, i, now, true, 0, err);
	return rc;
}

/* "view 3: eu-1 gone (lost); 6 peers" */
static void show_view(struct lh_run *r, const struct lh_event *e)
{
	char text[400];
	size_t used = (size_t)snprintf(text, sizeof text, "view %u:", e->view);
	const char *why = e->cause == LH_VIEW_LOST ? " (lost)" : e->cause == LH_VIEW_LEFT ? " (left)" : "";

	for (int side = 0; side < 2; side++) {
		uint64_t mask = side ? e->came : e->gone;
		const char *lead = " ";
		for (unsigned i = 0; i < r->series.npeers && used < sizeof text; i++) {
			if (!(mask >> i & 1))
				continue;
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", lead, name_of(r, i));
			lead = ", ";
		}
		if (mask && used < sizeof text)
			used += (size_t)snprintf(text + used, sizeof text - used, side ? " came;" : " gone%s;", why);
	}
	lh_progress_note(r->opt->progress, "at %.1f s: %s %d peers%s", (double)(e->t_ns - r->series.go_ns) / 1e9, text,
			 __builtin_popcountll(e->members), e->aborted_round ? "; the round is done again" : "");
}

void lh_run_group_told(struct lh_run *r, const struct lh_event *e)
{
	struct lh_err err = LH_ERR_INIT;

	if (!elastic(r))
		return;
	if (lh_group_log_event(&r->group, e, &err) < 0)
		lh_run_fail(r, LH_FAILURE_PEER, (int)e->rank, LH_EXIT_BROKE, "peer %s: %s", name_of(r, e->rank),
			    err.text);
	else if (e->kind == LH_EVENT_VIEW && e->view > r->shown_view && !(e->came >> e->rank & 1)) {
		r->shown_view = e->view;
		show_view(r, e);
	}
}

bool lh_run_group_exited(struct lh_run *r, unsigned peer, const char *how)
{
	struct lh_peer_series *p = &r->series.peers[peer];
	bool over = p->finished && !p->failed;
	const char *reason = strncmp(p->reason, "peer ", 5) ? p->reason : p->reason + strcspn(p->reason, ":") + 1;

	if (!elastic(r) || r->state < LH_RUN_TRAINING)
		return false;
	lh_group_log_exit(&r->group, peer, lh_clock_ns());
	lh_series_gone(&r->series, peer);
	if (over || r->state != LH_RUN_TRAINING)
		return true;
	if (r->peers.running)
		lh_progress_note(r->opt->progress, "at %.1f s: peer %s %s; %u still run",
				 (double)(lh_clock_ns() - r->series.go_ns) / 1e9, name_of(r, peer), how, r->peers.running);
	else
		lh_run_fail(r, LH_FAILURE_PEER_DIED, (int)peer, LH_EXIT_BROKE,
			    "peer %s: %s%s%.200s, and no peer is left", name_of(r, peer), how, p->failed ? ":" : "",
			    p->failed ? reason : "");
	return true;
}

void lh_run_group_changed(struct lh_run *r, enum lh_change_kind kind, unsigned peer)
{
	if (elastic(r))
		lh_group_log_change(&r->group, kind, peer, lh_clock_ns());
}

int lh_run_group_add(struct lh_run *r, unsigned peer, const struct lh_peers_handler *h, struct lh_err *err)
{
	uint32_t incarnation = lh_group_log_lives(&r->group, peer);
	int rc = lh_peers_restart(&r->peers, &r->config, peer, incarnation, h, err);

	if (rc == 0)
		rc = lh_group_log_start(&r->group, peer, lh_clock_ns(), false, incarnation, err);
	if (rc < 0)
		return rc;
	lh_series_started(&r->series, peer);
	lh_peers_tell(&r->peers, peer, LH_CONTROL_GO); /* the others do not wait for it, nor it for them */
	return 0;
}

/* All members of the newest group have finished. */
static bool group_finished(const struct lh_run *r)
{
	for (unsigned i = 0; i < r->series.npeers; i++)
		if (r->series.members >> i & 1 && !r->series.peers[i].away && !r->series.peers[i].finished)
			return false;
	return true;
}

void lh_run_group_drain(struct lh_run *r, lh_ns now)
{
	if (!elastic(r) || r->state != LH_RUN_DRAINING || !group_finished(r))
		return;
	if (!r->drained_ns) {
		r->drained_ns = now;
		lh_peers_command(&r->peers, LH_CONTROL_STOP);
	} else if (now - r->drained_ns > LH_GRACE_NS) {
		for (unsigned i = 0; i < r->series.npeers; i++)
			lh_peers_kill(&r->peers, i);
	}
}
