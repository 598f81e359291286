/* See elastic.h. The machine (member/) decides; here its outputs are carried out, at once and from within its inputs:
 *
 *     send     a message by the transport
 *     commit   the strategy applies the result, the round is told
 *     install  the transport changes its view, the exchange begins again among the members
 *     fetch, serve   elastic_state.c
 *
 * and elastic_round.c calculates what the table gives this peer.
 *
 * An output cannot fail to its caller: the first error is kept and ends the loop. The loop does one thing after the
 * other: calculates what the table gives this peer and is not done, then exchanges, then waits. A change of the group
 * leaves what is calculated; a peer that stays finds more samples at the end of its list, or none.
 *
 * What the machine calls a round, and numbers by versions, is what its members commit together: one round of the run, or,
 * of a strategy that exchanges now and then, all rounds from one exchange to the next, `span` of them. The table then
 * deals the first of these, and the others alike. The peer updates itself after each share of a round; what it takes over
 * from a lost one comes behind its own, in updates of the same size. Events of those rounds are kept until the commit: what
 * is never committed was never told.
 */
#include "elastic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "comm/subset.h"
#include "comm/tcp.h"
#include "comm/trace.h"
#include "elastic_round.h"
#include "elastic_state.h"
#include "member/member.h"

/* Rounds from one commit to the next: what is told of each is kept. */
#define SPAN_MAX 1024

/* The first error is the one that ends it. */
static void keep(struct lh_elastic *x, int rc, const struct lh_err *err)
{
	if (!rc || x->rc)
		return;
	x->rc = rc;
	x->err = *err;
}

static int exchange(struct lh_elastic *x, struct lh_err *err)
{
	lh_trace_enter(x->w->t->trace, LH_SPAN_WAIT);
	x->round.samples = x->done;
	lh_elastic_step(x);
	int rc = x->h->strategy->ops->begin(x->h->strategy, &x->round, err);
	x->exchanging = true;
	lh_member_exchange(&x->m);
	return rc;
}

/* The result is here, all of it: vote. */
static void vote(struct lh_elastic *x)
{
	if (!x->exchanging || x->told || !x->h->strategy->ops->ready(x->h->strategy, &x->round))
		return;
	lh_elastic_step(x);
	x->told = true;
	lh_member_result(&x->m, x->h->strategy->ops->result_hash(x->h->strategy), lh_elastic_now(x));
}

/* ---- checkpoints ---- */

static int checkpoint(struct lh_elastic *x, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_CHECKPOINT, .version = lh_elastic_rounds_of(x, x->m.version),
			      .begin_ns = lh_elastic_now(x) };
	enum lh_span_kind was = lh_trace_enter(x->w->t->trace, LH_SPAN_CHECKPOINT);
	const struct lh_checkpoint_of of = { x->c, x->w->ops, x->w->engine, x->h->strategy };
	struct lh_checkpoint where = { .round = e.version, .samples = e.version * x->c->target_batch, .shared = true };
	int rc = lh_checkpoint_write(&of, &where, err);
	e.bytes = where.bytes;
	lh_trace_enter(x->w->t->trace, was);
	x->checkpointed_ns = lh_elastic_now(x);
	x->has_checkpoint = true;
	x->checkpoint_version = x->m.version;
	e.state_hash = lh_state_hash(&x->of);
	return rc ? rc : x->h->tell(x->h->ctx, &e, err);
}

/* Between two commits the state stands still, so any moment will do. */
static int checkpoint_if_due(struct lh_elastic *x, struct lh_err *err)
{
	bool first = x->c->interrupted_ns && !x->has_checkpoint;
	const uint32_t every = x->c->checkpoint_rounds;
	bool due = (x->checkpoint_ns && lh_elastic_now(x) - x->checkpointed_ns >= x->checkpoint_ns) ||
		   (every && x->m.version && lh_elastic_rounds_of(x, x->m.version) / every > lh_elastic_rounds_of(x, x->m.version - 1) / every);
	if (!x->m.in_view || !x->m.synced || (!first && (!due || x->checkpoint_version == x->m.version)))
		return 0;
	lh_ns begin = lh_elastic_now(x);
	int rc = checkpoint(x, err);
	if (first)
		x->checkpoint_ns = lh_young_ns(lh_elastic_now(x) - begin, x->c->interrupted_ns);
	return rc;
}

/* ---- outputs of the machine ---- */

static void on_send(void *ctx, uint64_t to, const struct lh_member_message *msg)
{
	struct lh_elastic *x = ctx;
	uint8_t bytes[LH_MEMBER_MESSAGE_MAX];
	size_t len = lh_member_print(msg, bytes);
	lh_elastic_step(x);
	for (unsigned i = 0; i < x->c->size; i++)
		if (to >> i & 1 && x->w->t->ops->tell(x->w->t, i, bytes, len) == -ENOBUFS)
			x->deaf |= UINT64_C(1) << i;
}

static void on_commit(void *ctx, uint32_t version, uint64_t hash)
{
	struct lh_elastic *x = ctx;
	struct lh_err err = LH_ERR_INIT;
	struct lh_trace *tr = x->w->t->trace;
	struct lh_event *e = &x->e[x->at];
	lh_elastic_step(x);
	e->exchange_end_ns = lh_elastic_now(x); /* with everybody's word on it: waiting for that is not updating */
	lh_trace_enter(tr, LH_SPAN_OPTIMISE);
	keep(x, x->h->strategy->ops->commit(x->h->strategy, &x->round, &err), &err);
	lh_trace_enter(tr, LH_SPAN_OTHER);
	lh_elastic_step(x);
	if (x->c->flip_epoch > x->first && x->c->flip_epoch <= x->first + x->n && x->c->flip_rank == x->c->rank)
		x->w->ops->flip_bit(x->w->engine);
	for (unsigned i = 0; i < x->c->size; i++)
		x->out[i].active = false;
	e->commit_ns = lh_elastic_now(x);
	e->uses = x->round.uses;
	lh_ns commit = e->commit_ns;
	if (!x->rc)
		keep(x, lh_elastic_tell_rounds(x, &err), &err);
	lh_elastic_step(x);
	lh_elastic_new_round(x, commit);
}

/* The members in ascending order, as numbers 0, 1, ... of the exchange. */
static int regroup(struct lh_elastic *x, struct lh_err *err)
{
	unsigned ranks[LH_MEMBER_CAP], n = 0, own = 0;
	uint32_t site[LH_MEMBER_CAP], share[LH_MEMBER_CAP];
	struct lh_group group;
	struct lh_trees trees = { 0 };
	struct lh_pattern_chain chain = { 0 };
	for (unsigned i = 0; i < x->c->size; i++) {
		if (!(x->m.view.members >> i & 1))
			continue;
		own = i == x->c->rank ? n : own;
		site[n] = x->c->peers[i].site;
		share[n] = x->c->peers[i].share;
		ranks[n++] = i;
	}
	int rc = x->w->t->ops->view(x->w->t, x->m.view.number, err);
	if (!rc)
		rc = lh_group_init(&group, n, site, share, err);
	if (rc)
		return rc;
	if (x->c->trees.n) { /* chosen for all; fewer keep what is left of them */
		rc = lh_trees_among(&x->c->trees, ranks, n, &trees, err);
		group.trees = &trees;
	}
	lh_subset_set(x->subset, ranks, n);
	if (!rc)
		rc = x->h->strategy->ops->regroup(x->h->strategy, &group, own, lh_subset_transport(x->subset), err);
	if (!rc)
		rc = lh_pattern_chain(lh_pattern_find(x->c->algorithm), &group, x->w->ops->parameters(x->w->engine),
				      NULL, NULL, &chain, err);
	lh_group_done(&group);
	lh_trees_done(&trees);
	if (!rc && x->w->ops->among)
		rc = x->w->ops->among(x->w->engine, x->m.version + 1, ranks, n, chain.up ? chain.up - 1 : 0, err);
	return rc;
}

static int tell_view(struct lh_elastic *x, lh_ns noticed_ns, struct lh_err *err)
{
	const struct lh_view *v = &x->m.view;
	uint64_t stayed = x->members & v->members;
	for (unsigned i = 0; i < x->c->size; i++)
		if (stayed >> i & 1 && x->incarnation[i] != v->incarnation[i])
			stayed &= ~(UINT64_C(1) << i);
	struct lh_event e = {
		.kind = LH_EVENT_VIEW, .view = v->number, .members = v->members, .gone = x->members & ~stayed,
		.came = v->members & ~stayed, .cause = v->cause, .noticed_ns = noticed_ns, .version = lh_elastic_rounds_of(x, v->version),
		.aborted_round = v->aborted ? lh_elastic_rounds_of(x, v->version) + 1 : 0, .samples_redealt = v->redealt * x->n,
	};
	x->view = v->number;
	x->members = v->members;
	memcpy(x->incarnation, v->incarnation, sizeof x->incarnation);
	return x->h->tell(x->h->ctx, &e, err);
}

static void on_install(void *ctx, lh_ns noticed_ns)
{
	struct lh_elastic *x = ctx;
	struct lh_err err = LH_ERR_INIT;
	lh_ns at = lh_elastic_now(x);
	lh_elastic_step(x);
	for (unsigned i = 0; i < x->c->size; i++)
		x->out[i].active = false;
	keep(x, regroup(x, &err), &err);
	x->exchanging = x->told = false;
	if (!x->view || x->goal != x->m.version + 1) { /* this peer has just come, or takes the state anew */
		if (!x->m.synced)
			x->h->begin(x->h->ctx, at);
		lh_elastic_new_round(x, at);
	}
	if (x->share_done && x->done < lh_elastic_share(x)) { /* more to do: from now on, at the same pace */
		x->pace.begin_ns = at;
		x->paced_from = x->done;
		x->share_done = false;
	}
	if (!x->rc)
		keep(x, tell_view(x, noticed_ns, &err), &err);
}

static void on_fetch(void *ctx, unsigned donor, uint32_t version)
{
	struct lh_elastic *x = ctx;
	struct lh_err err = LH_ERR_INIT;
	lh_elastic_step(x);
	keep(x, lh_state_fetch(&x->in, &x->of, donor, version, lh_elastic_now(x), &err), &err);
}

static void on_serve(void *ctx, unsigned to, uint32_t version)
{
	struct lh_elastic *x = ctx;
	lh_elastic_step(x);
	lh_state_serve(&x->out[to], version);
	x->w->t->ops->wake(x->w->t, to);
}

/* The group goes on without this peer. What it has calculated and its state are worth nothing there. */
static void on_excluded(void *ctx)
{
	struct lh_elastic *x = ctx;
	struct lh_err err = LH_ERR_INIT;
	x->view = 0;
	x->members = 0;
	x->exchanging = x->told = false;
	x->in.active = false;
	for (unsigned i = 0; i < x->c->size; i++)
		x->out[i].active = false;
	x->h->strategy->ops->abort(x->h->strategy, &x->round);
	x->w->ops->clear(x->w->engine);
	lh_elastic_new_round(x, lh_elastic_now(x));
	keep(x, x->w->t->ops->view(x->w->t, x->m.view.number, &err), &err);
}

static void on_over(void *ctx, enum lh_member_end end)
{
	struct lh_elastic *x = ctx;
	x->over = true;
	x->end = end;
}

static const struct lh_member_ops member_ops = {
	.send = on_send, .commit = on_commit, .install = on_install, .fetch = on_fetch, .serve = on_serve,
	.excluded = on_excluded, .over = on_over,
};

/* ---- inputs from the transport ---- */

static void found(void *ctx, unsigned peer, uint32_t incarnation)
{
	struct lh_elastic *x = ctx;
	lh_member_found(&x->m, peer, incarnation, x->w->t->ops->rtt(x->w->t, peer), lh_elastic_now(x));
}

static void lost(void *ctx, unsigned peer, const char *reason)
{
	struct lh_elastic *x = ctx;
	lh_state_out_lost(&x->out[peer]);
	lh_member_lost(&x->m, peer, lh_elastic_now(x));
}

static int take_state(struct lh_elastic *x, unsigned peer, const struct lh_frame *f, const uint8_t *payload,
		      struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_SYNCED, .donor = peer };
	if (x->of.s->ops->taken && peer != x->in.donor)
		return 0; /* moments of another */
	int rc = lh_state_take(&x->in, &x->of, f, payload, err);
	if (rc <= 0)
		return rc == -EBADMSG ? -EPROTO : rc; /* another donor may do better */
	uint32_t version = x->in.version;
	e.version = lh_elastic_rounds_of(x, version);
	e.begin_ns = x->in.begin_ns;
	e.bytes_received = x->in.bytes;
	e.state_hash = x->w->ops->state_hash(x->w->engine);
	lh_state_in_done(&x->in);
	rc = x->h->tell(x->h->ctx, &e, err);
	if (!rc)
		lh_member_synced(&x->m, version, lh_elastic_now(x));
	return rc;
}

/* What no member sends costs the connection, not the run. */
static int message(void *ctx, unsigned peer, const struct lh_frame *f, const uint8_t *payload, struct lh_err *err)
{
	struct lh_elastic *x = ctx;
	struct lh_member_message msg;
	lh_elastic_step(x);
	if (f->type == LH_FRAME_STATE)
		return take_state(x, peer, f, payload, err);
	int rc = lh_member_parse(payload, f->length, x->c->size, &msg, err);
	return rc ? rc : lh_member_receive(&x->m, peer, &msg, lh_elastic_now(x), err);
}

static int state_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct lh_elastic *x = ctx;
	enum lh_span_kind was = lh_trace_enter(x->w->t->trace, LH_SPAN_CHECKPOINT);
	if (x->out[peer].active)
		lh_elastic_step(x);
	int rc = lh_state_next(&x->out[peer], &x->of, ret, ret_payload, err);
	lh_trace_enter(x->w->t->trace, was);
	return rc;
}

static void state_sent(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload)
{
	struct lh_elastic *x = ctx;
	lh_state_sent(&x->out[peer], payload);
	x->w->t->ops->wake(x->w->t, peer);
}

static const struct lh_transport_member transport_member = {
	.found = found, .lost = lost, .message = message, .state_next = state_next, .state_sent = state_sent,
};

/* ---- the loop ---- */

static int wait(struct lh_elastic *x, struct lh_err *err)
{
	lh_ns until = lh_member_timer(&x->m);
	lh_trace_enter(x->w->t->trace, LH_SPAN_WAIT);
	int rc = x->w->wait(x->w->ctx, until, err);
	if (!rc && lh_elastic_now(x) >= until)
		lh_member_tick(&x->m, lh_elastic_now(x));
	return rc;
}

/* What is said must arrive in order or not at all. */
static void give_up_deaf(struct lh_elastic *x)
{
	for (; x->deaf; x->deaf &= x->deaf - 1) {
		unsigned peer = (unsigned)__builtin_ctzll(x->deaf);
		x->w->t->ops->drop(x->w->t, peer);
		lost(x, peer, "it does not read");
	}
}

static int commands(struct lh_elastic *x, struct lh_err *err)
{
	int rc = 0;
	if (*x->h->notice && !x->m.notice && !x->over) {
		if (x->m.in_view && x->m.synced && *x->c->checkpoint_dir)
			rc = checkpoint(x, err);
		lh_member_notice(&x->m, lh_elastic_now(x));
	}
	return rc;
}

/* A stop ends the run at the next commit; or at once when this peer has nothing to do with one. */
static bool stopped(struct lh_elastic *x, uint32_t *stop_round)
{
	if (!*x->h->stop)
		return false;
	if (!x->stop_seen) {
		x->stop_seen = true;
		*stop_round = x->rounds;
	}
	return x->rounds != *stop_round || !x->m.in_view || !x->m.synced || x->m.need_change;
}

static int turn(struct lh_elastic *x, struct lh_err *err)
{
	bool works = x->m.in_view && x->m.version < x->versions;
	give_up_deaf(x);
	int rc = commands(x, err);
	if (!rc)
		rc = checkpoint_if_due(x, err);
	if (rc || x->over)
		return rc;
	if (works && x->done < lh_elastic_share(x))
		return lh_elastic_calculate(x, err);
	if (works && !x->share_done)
		lh_elastic_end_share(x);
	if (works && !x->exchanging)
		rc = exchange(x, err);
	else
		rc = wait(x, err);
	return rc;
}

/* Founders: until all are there. Then, for the harness, as if everybody were. */
static int begin(struct lh_elastic *x, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_JOINED };
	bool founder = x->m.in_view;
	int rc = 0;
	lh_tcp_join(x->w->t);
	while (!rc && !x->rc && founder && !x->over && !*x->h->stop && !lh_tcp_joined(x->w->t) && x->m.view.number == 1)
		rc = wait(x, err);
	e.parameters = x->w->ops->parameters(x->w->engine);
	e.state_hash = x->w->ops->state_hash(x->w->engine);
	if (!rc)
		rc = x->h->tell(x->h->ctx, &e, err);
	while (!rc && !x->rc && founder && !x->over && !*x->h->go && !*x->h->stop)
		rc = wait(x, err);
	lh_ns at = lh_elastic_now(x);
	x->h->begin(x->h->ctx, at);
	x->checkpointed_ns = at;
	lh_elastic_new_round(x, at);
	if (!rc && x->m.in_view && !x->view)
		rc = tell_view(x, at, err);
	return rc;
}

static int open_elastic(struct lh_elastic *x, struct lh_err *err)
{
	struct lh_member_config c = {
		.rank = x->c->rank, .size = x->c->size, .incarnation = x->c->incarnation, .batch = x->c->target_batch,
		.stride = x->c->target_batch * x->span, .rounds = x->versions, .version = x->c->resume_round / x->span,
		.weights = x->weights, .give_up_ns = x->c->deadline_ns,
		.retry_ns = x->c->deadline_ns / 16 + 1,
	};
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		x->weights[i] = i < x->c->size ? x->c->peers[i].samples_per_s : 1;
	for (unsigned i = 0; i < x->c->size; i++)
		if (!x->c->peers[i].absent)
			c.founders |= UINT64_C(1) << i;
	if (x->c->absent)
		c.founders &= ~(UINT64_C(1) << x->c->rank);
	x->checkpoint_ns = x->c->checkpoint_ns;
	x->checkpoint_version = c.version;
	x->e = calloc(x->span, sizeof *x->e);
	x->spans = calloc(x->span, sizeof *x->spans);
	if (!x->e || !x->spans)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "membership");
	int rc = lh_subset_new(x->w->t, x->c->size, &x->subset, err);
	if (rc)
		return rc;
	x->w->t->member = &transport_member;
	x->w->t->member_ctx = x;
	lh_member_init(&x->m, &c, &member_ops, x, lh_elastic_now(x));
	if (x->m.in_view)
		return regroup(x, err);
	return x->w->t->ops->view(x->w->t, 0, err);
}

static int finish(struct lh_elastic *x, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_LEFT, .version = lh_elastic_rounds_of(x, x->m.version) };
	struct lh_err why = LH_ERR_INIT;
	char more[160] = "", path[LH_CHECKPOINT_PATH];
	if (!x->over || x->end == LH_MEMBER_FINISHED || x->end == LH_MEMBER_TOO_LATE)
		return x->h->leave(x->h->ctx, x->m.version, true, err);
	if (x->end == LH_MEMBER_LEFT) {
		int rc = x->h->tell(x->h->ctx, &e, err);
		return rc ? rc : x->h->leave(x->h->ctx, x->m.version, false, err);
	}
	if (x->end == LH_MEMBER_NO_GROUP && *x->c->checkpoint_dir) {
		if (!lh_checkpoint_newest(x->c, path, &why))
			snprintf(more, sizeof more, "; a run resumed from %.100s may go on", strrchr(path, '/') + 1);
	}
	return lh_err_set(err, LH_EXIT_BROKE, -ENOTCONN, "peer %s: %s%s", x->c->peers[x->c->rank].name,
			  lh_member_end_text(x->end), more);
}

static void close_elastic(struct lh_elastic *x)
{
	x->w->t->member = NULL;
	for (unsigned i = 0; i < LH_MEMBER_CAP; i++)
		lh_state_out_done(&x->out[i]);
	lh_state_in_done(&x->in);
	free(x->e);
	free(x->spans);
}

int lh_elastic_check(const struct lh_peer_config *c, struct lh_err *err)
{
	if (c->membership == LH_MEMBERSHIP_FIXED && (c->checkpoint_ns || c->interrupted_ns))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP,
				  "checkpoints: only with membership elastic; a fixed group ends with its first loss");
	if (c->membership == LH_MEMBERSHIP_FIXED)
		return 0;
	if (c->size > LH_MEMBERS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP,
				  "membership elastic: %u peers, at most %d can come and go", c->size, LH_MEMBERS_MAX);
	const uint32_t span = lh_strategy_span(&c->sync);
	if (lh_strategy_not_elastic(c->sync.strategy))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "membership elastic: not with strategy %s: %s",
				  lh_strategy_names[c->sync.strategy], lh_strategy_not_elastic(c->sync.strategy));
	if (span > SPAN_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "membership elastic: an exchange every %u rounds, at least one "
				  "every %u is needed", span, SPAN_MAX);
	if (c->resume_round % span)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "membership elastic: begins right after an exchange, which round "
				  "%u does not end with (every %u)", c->resume_round, span);
	return 0;
}

int lh_elastic_run(const struct lh_elastic_host *host, uint32_t *ret_version, bool *ret_evaluates, struct lh_err *err)
{
	struct lh_elastic *x = calloc(1, sizeof *x);
	uint32_t stop_round = 0;
	if (!x)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "membership");
	x->h = host;
	x->w = host->w;
	x->c = host->w->c;
	x->of = (struct lh_state_of){ x->w->ops, x->w->engine, host->strategy };
	x->span = lh_strategy_span(&x->c->sync);
	x->versions = (x->c->epochs + x->span - 1) / x->span;
	int rc = open_elastic(x, err);
	if (!rc)
		rc = begin(x, err);
	while (!rc && !x->rc && !x->over && !stopped(x, &stop_round)) {
		rc = turn(x, err);
		if (!rc && !x->rc)
			vote(x);
	}
	if (!rc && x->rc) {
		rc = x->rc;
		if (err)
			*err = x->err;
	}
	*ret_version = lh_elastic_rounds_of(x, x->m.version);
	*ret_evaluates = x->m.in_view && x->m.version == x->versions && x->m.synced &&
			 (unsigned)__builtin_ctzll(x->m.view.members) == x->c->rank;
	x->m.is_over = true; /* a stop, too: nothing is decided any more */
	if (!rc)
		rc = finish(x, err);
	close_elastic(x);
	/* The strategy's exchange is attached to it, and closes after this. */
	host->strategy->ops->close(host->strategy);
	lh_subset_free(x->subset);
	free(x);
	return rc;
}
