#include "train.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint.h"
#include "comm/tcp.h"
#include "data/source.h"
#include "elastic.h"
#include "store/client.h"
#include "sync/strategy.h"

#define GOODBYE_NS (100 * LH_NS_PER_MS)

struct train {
	const struct lh_peer_config *c;
	const struct lh_engine_ops *ops;
	struct lh_train_io io;
	struct lh_transport *t;
	struct lh_worker w;
	struct lh_strategy *strategy;
	bool go, stop, notice;
	int signal;
	lh_ns commit_ns;               /* of the round before, or the go */
	uint64_t samples;              /* in all rounds of the run, those before a restart too */
	uint64_t sent, received;       /* counters of the transport at that time */
	struct lh_trace *trace;
	struct lh_store_client *store; /* where samples come from; NULL: the engine makes them */
	struct lh_store_counts told;   /* what was told of it */
	bool wants_data;               /* what is needed of it is not here yet */
};

/* ---- telling ---- */

static int tell(struct train *tr, const char *line, int len, struct lh_err *err)
{
	if (len < 0)
		return lh_err_sys(err, LH_EXIT_BROKE, len, "print an event");
	for (int done = 0; done < len;) {
		ssize_t n = write(tr->io.event_fd, line + done, (size_t)(len - done));
		if (n < 0 && errno != EINTR)
			return lh_err_sys(err, LH_EXIT_BROKE, -errno, "write an event");
		done += n > 0 ? (int)n : 0;
	}
	return 0;
}

static int emit(struct train *tr, struct lh_event *e, struct lh_err *err)
{
	char line[LH_EVENT_LINE_MAX];
	e->rank = tr->c->rank;
	e->t_ns = lh_clock_ns();
	return tell(tr, line, lh_event_print(e, line, sizeof line), err);
}

/* Where the round that was just committed went. */
static int emit_spans(struct train *tr, struct lh_spans *s, struct lh_err *err)
{
	char line[LH_EVENT_LINE_MAX];
	s->t_ns = lh_clock_ns();
	return tell(tr, line, lh_spans_print(s, line, sizeof line), err);
}

/* What TCP says of this round's streams. */
static void add_tcp(struct train *tr, struct lh_spans *s)
{
	s->has_tcp = tr->c->size > 1;
	for (unsigned i = 0; i < tr->c->size; i++) {
		struct lh_tcp_round r;
		if (i == tr->c->rank)
			continue;
		lh_tcp_round_info(tr->t, i, &r);
		s->tcp_busy_ns = r.busy_ns > s->tcp_busy_ns ? r.busy_ns : s->tcp_busy_ns;
		s->tcp_window_ns = r.window_ns > s->tcp_window_ns ? r.window_ns : s->tcp_window_ns;
		s->tcp_buffer_ns = r.buffer_ns > s->tcp_buffer_ns ? r.buffer_ns : s->tcp_buffer_ns;
		s->tcp_retransmits += r.retransmits;
		s->tcp_bytes_sent += r.bytes_sent;
	}
}

/* ---- waiting ---- */

static int read_control(struct train *tr, struct lh_err *err)
{
	char commands[16];
	ssize_t n = read(tr->io.control_fd, commands, sizeof commands);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) { /* nobody is there any more */
		tr->stop = true;
		tr->t->ops->watch(tr->t, tr->io.control_fd, false);
		tr->io.control_fd = -1;
		return 0;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (commands[i] == LH_CONTROL_GO)
			tr->go = true;
		else if (commands[i] == LH_CONTROL_STOP)
			tr->stop = true;
		else if (commands[i] == LH_CONTROL_NOTICE && tr->c->membership == LH_MEMBERSHIP_ELASTIC)
			tr->notice = true;
		else
			return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "command %d on the control fd is not known",
					  commands[i]);
	}
	return 0;
}

static int read_signal(struct train *tr, struct lh_err *err)
{
	struct signalfd_siginfo s;
	if (read(tr->io.signal_fd, &s, sizeof s) != sizeof s)
		return 0;
	tr->signal = (int)s.ssi_signo;
	return lh_err_set(err, LH_EXIT_BROKE, -EINTR, "peer %s: stopped by SIG%s", tr->c->peers[tr->c->rank].name,
			  sigabbrev_np(tr->signal));
}

static int hear(struct train *tr, const struct pollfd *fds, struct lh_err *err)
{
	int rc = fds[1].revents ? read_control(tr, err) : 0;
	return rc || !fds[2].revents ? rc : read_signal(tr, err);
}

/* Let the network move until `until_ns` or until something happened; once, without waiting, when that is past. */
static int wait_until(struct train *tr, lh_ns until_ns, struct lh_err *err)
{
	struct pollfd fds[] = {
		{ .fd = tr->t->ops->fd(tr->t), .events = POLLIN },
		{ .fd = tr->io.control_fd, .events = POLLIN },
		{ .fd = tr->io.signal_fd, .events = POLLIN },
		{ .fd = tr->wants_data ? lh_store_client_fd(tr->store) : -1, .events = POLLIN },
	};
	if (until_ns == INT64_MAX && !tr->wants_data) {
		int rc = tr->t->ops->wait(tr->t, err);
		if (rc || !tr->t->called)
			return rc;
		tr->t->called = false;
		return poll(fds + 1, 2, 0) > 0 ? hear(tr, fds, err) : 0;
	}
	lh_ns timer = tr->t->ops->timer(tr->t), left = (until_ns < timer ? until_ns : timer) - lh_clock_ns();
	left = left < 0 ? 0 : left;
	struct timespec ts = { .tv_sec = left / LH_NS_PER_S, .tv_nsec = left % LH_NS_PER_S };
	enum lh_span_kind was = lh_trace_sleep(tr->trace, tr->t->blocked);
	int n = ppoll(fds, sizeof fds / sizeof *fds, &ts, NULL);
	lh_trace_enter(tr->trace, was);
	if (n < 0 && errno != EINTR)
		return lh_err_sys(err, LH_EXIT_BROKE, -errno, "poll");
	int rc = n > 0 ? hear(tr, fds, err) : 0;
	return rc ? rc : tr->t->ops->progress(tr->t, err);
}

static int wait_ctx(void *ctx, lh_ns until_ns, struct lh_err *err) { return wait_until(ctx, until_ns, err); }
static lh_ns real_now(void *ctx) { return lh_clock_ns(); }

/* ---- samples from elsewhere ---- */

static int have_ctx(void *ctx, uint64_t first, size_t n, struct lh_err *err)
{
	struct train *tr = ctx;
	int rc = lh_store_client_have(tr->store, first, n, err);
	tr->wants_data = !rc;
	return rc;
}

/* Does the next round deal samples as this one did? Elsewhere what comes next is not known yet. */
static bool is_dealt(const struct lh_peer_config *c)
{
	return c->membership == LH_MEMBERSHIP_FIXED && c->sync.strategy != LH_STRATEGY_ETA;
}

static int expect_ctx(void *ctx, const struct lh_round *r, struct lh_err *err)
{
	struct train *tr = ctx;
	struct lh_round next = { .epoch = r->epoch + 1 };
	int rc = is_dealt(tr->c) && r->epoch < tr->c->epochs ? lh_round_deal(tr->c, &next, err) : 0;
	const size_t n = r->nranges + next.nranges;
	struct lh_id_range *ranges = calloc(n + 1, sizeof *ranges);
	if (!rc && !ranges)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "samples read ahead");
	for (size_t i = 0; !rc && i < n; i++) {
		const struct lh_range *range = i < r->nranges ? &r->ranges[i] : &next.ranges[i - r->nranges];
		ranges[i] = (struct lh_id_range){ range->first, range->count };
	}
	if (!rc)
		rc = lh_store_client_expect(tr->store, ranges, n, err);
	free(ranges);
	lh_round_done(&next);
	return rc;
}

static int open_store(struct train *tr, struct lh_err *err)
{
	struct lh_source *s = tr->ops->source ? tr->ops->source(tr->w.engine) : NULL;
	if (!*tr->c->store.host)
		return 0;
	int rc = lh_store_client_open(tr->c, s, &tr->store, err);
	if (rc)
		return rc;
	if (lh_store_client_feeds(tr->store))
		lh_source_feed(s, lh_store_client_item, tr->store);
	tr->w.have = have_ctx;
	tr->w.expect = expect_ctx;
	return 0;
}

/* Connected with it: nobody says that he has joined before. */
static int join_store(struct train *tr, struct lh_err *err)
{
	int rc = 0;
	while (tr->store && !rc && !tr->stop) {
		rc = lh_store_client_joined(tr->store, err);
		tr->wants_data = !rc;
		if (!rc)
			rc = wait_until(tr, INT64_MAX, err);
	}
	return rc < 0 ? rc : 0;
}

static void add_data(struct train *tr, struct lh_event *e)
{
	struct lh_store_counts now;
	if (!tr->store)
		return;
	lh_store_client_counts(tr->store, &now);
	e->data_bytes = now.bytes_received - tr->told.bytes_received;
	e->data_samples = now.samples - tr->told.samples;
	e->data_cached = now.cached - tr->told.cached;
	tr->told = now;
}

/* ---- a round, told ---- */

static void end_round(struct train *tr, struct lh_event *e, struct lh_spans *spans)
{
	char line[LH_EVENT_LINE_MAX];
	tr->commit_ns = e->commit_ns;
	lh_trace_round(tr->trace, e->epoch, e->commit_ns, spans);
	add_tcp(tr, spans);
	spans->t_ns = e->commit_ns;
	if (spans->nspans > LH_SPANS_SURE && lh_spans_print(spans, line, sizeof line) == -ENOSPC) /* as long as the trace knows this round */
		lh_trace_shorten(tr->trace, spans, LH_SPANS_SURE);
	e->bytes_sent = tr->t->bytes_sent - tr->sent;
	e->bytes_received = tr->t->bytes_received - tr->received;
	tr->sent = tr->t->bytes_sent;
	tr->received = tr->t->bytes_received;
	add_data(tr, e);
	e->state_hash = tr->ops->state_hash(tr->w.engine);
	e->skipped = tr->ops->skipped ? tr->ops->skipped(tr->w.engine) : 0;
}

static int tell_round(struct train *tr, struct lh_event *e, struct lh_spans *spans, struct lh_err *err)
{
	int rc = emit(tr, e, err);
	return rc ? rc : emit_spans(tr, spans, err);
}

static void begin_rounds(struct train *tr, lh_ns now_ns)
{
	tr->commit_ns = now_ns;
	lh_trace_begin(tr->trace, now_ns);
	tr->sent = tr->t->bytes_sent;
	tr->received = tr->t->bytes_received;
}

/* 0 also when the round became void; then *ret_void is set and nothing was committed. */
static int run_round(struct train *tr, uint32_t epoch, bool *ret_void, struct lh_err *err)
{
	struct lh_event e = { .begin_ns = tr->commit_ns };
	int rc = lh_round_run(&tr->w, tr->strategy, epoch, &e, ret_void, err);
	if (rc || *ret_void)
		return rc;
	struct lh_spans spans;
	tr->samples += e.total_samples;
	end_round(tr, &e, &spans);
	return tell_round(tr, &e, &spans, err);
}

/* ---- checkpoints ---- */

static int checkpoint(struct train *tr, uint32_t round, struct lh_err *err)
{
	const struct lh_checkpoint_of of = { tr->c, tr->ops, tr->w.engine, tr->strategy };
	struct lh_checkpoint where = { .round = round, .samples = tr->samples, .shared = tr->strategy->shared == LH_SHARED_YES };
	struct lh_event e = { .kind = LH_EVENT_CHECKPOINT, .version = round, .begin_ns = lh_clock_ns() };
	enum lh_span_kind was = lh_trace_enter(tr->trace, LH_SPAN_CHECKPOINT);
	int rc = lh_checkpoint_write(&of, &where, err);
	lh_trace_enter(tr->trace, was);
	e.bytes = where.bytes;
	e.state_hash = tr->ops->state_hash(tr->w.engine);
	tr->w.paused_ns = lh_clock_ns() - e.begin_ns;
	return rc ? rc : emit(tr, &e, err);
}

/* Everything that an earlier run left of its rounds, before anybody is met. */
static int resume(struct train *tr, struct lh_err *err)
{
	const struct lh_checkpoint_of of = { tr->c, tr->ops, tr->w.engine, tr->strategy };
	int rc = 0;
	bool first = true;
	for (unsigned i = 0; !rc && !tr->c->absent && i < tr->c->nresume; i++) {
		struct lh_checkpoint was;
		if (tr->c->resume[i].rank != tr->c->rank)
			continue;
		rc = lh_checkpoint_read(tr->c->resume[i].path, tr->c->resume[i].take, &of, &was, err);
		if (!rc && was.round != tr->c->resume_round)
			rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "checkpoint %s: of round %u, not %u",
					tr->c->resume[i].path, was.round, tr->c->resume_round);
		if (!rc && first)
			tr->samples = was.samples;
		first = false;
	}
	return rc;
}

/* ---- before and after ---- */

/* So many spans lines of a run show single spans; the other rounds have their sums. */
#define SHOWN_ROUNDS 8192

/* The same rounds of all peers, from the first on. */
static uint32_t shown_every(const struct lh_peer_config *c)
{
	return (uint32_t)(((uint64_t)c->epochs * c->size + SHOWN_ROUNDS - 1) / SHOWN_ROUNDS);
}

static int prepare(struct train *tr, struct lh_err *err)
{
	const struct lh_strategy_ops *strategy = lh_strategy_find(tr->c->sync.strategy);
	int rc = lh_elastic_check(tr->c, err);
	if (rc)
		return rc;
	tr->w.ids = calloc(tr->c->microbatch, sizeof *tr->w.ids);
	if (!tr->w.ids)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "microbatch");
	if (!strategy)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "strategy %d: this program has none of that kind",
				  (int)tr->c->sync.strategy);
	if (tr->c->takes_turns) {
		rc = lh_turn_open(tr->io.turns_fd, tr->c->rank, &tr->w.turn, err);
		if (rc)
			return rc;
	}
	rc = lh_trace_new(tr->c->rank, shown_every(tr->c), &tr->trace, err);
	if (!rc)
		rc = lh_tcp_listen(tr->c, &tr->t, err);
	if (!rc)
		rc = lh_tcp_watch_all(tr->t, (const int[]){ tr->io.control_fd, tr->io.signal_fd }, 2, err);
	if (!rc)
		tr->t->trace = tr->trace;
	if (!rc)
		rc = emit(tr, &(struct lh_event){ .kind = LH_EVENT_LISTENING }, err);
	if (!rc)
		rc = tr->ops->open(tr->c, &tr->w.engine, err);
	tr->w.t = tr->t;
	if (!rc)
		rc = open_store(tr, err);
	if (!rc)
		rc = strategy->open(&tr->w, &tr->strategy, err);
	return rc ? rc : resume(tr, err);
}

static int join(struct train *tr, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_JOINED };
	int rc = 0;
	lh_tcp_join(tr->t);
	while (!rc && !tr->stop && !lh_tcp_joined(tr->t))
		rc = wait_until(tr, INT64_MAX, err);
	if (!rc && !tr->stop)
		rc = join_store(tr, err);
	if (rc || tr->stop)
		return rc;
	e.parameters = tr->ops->parameters(tr->w.engine);
	e.state_hash = tr->ops->state_hash(tr->w.engine);
	e.bytes_sent = tr->t->bytes_sent;
	e.bytes_received = tr->t->bytes_received;
	rc = emit(tr, &e, err);
	tr->go = tr->io.control_fd < 0;
	while (!rc && !tr->go && !tr->stop && !tr->t->bye_seen)
		rc = wait_until(tr, INT64_MAX, err);
	begin_rounds(tr, lh_clock_ns());
	return rc;
}

/* Say goodbye and stay until the others have what they need of us. Whoever breaks now has broken alone. */
static int leave(struct train *tr, uint32_t epoch, struct lh_err *err)
{
	lh_ns until = lh_clock_ns() + tr->c->deadline_ns;
	int rc = 0;
	tr->t->ops->leave(tr->t, epoch);
	while (!rc && !tr->signal && !tr->t->ops->left(tr->t) && lh_clock_ns() < until) {
		rc = wait_until(tr, until, err);
		if (rc && !tr->signal)
			return 0;
	}
	return rc;
}

static int evaluate(struct train *tr, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_EVAL };
	int rc = tr->ops->evaluate(tr->w.engine, e.metric, &e.value, &e.reference, err);
	if (rc == -ENOTSUP)
		return 0;
	return rc ? rc : emit(tr, &e, err);
}

/* ---- where the group may change ---- */

static int tell_ctx(void *ctx, struct lh_event *e, struct lh_err *err) { return emit(ctx, e, err); }
static void end_round_ctx(void *ctx, struct lh_event *e, struct lh_spans *s) { end_round(ctx, e, s); }
static int tell_round_ctx(void *ctx, struct lh_event *e, struct lh_spans *s, struct lh_err *err)
{
	return tell_round(ctx, e, s, err);
}
static void begin_ctx(void *ctx, lh_ns now_ns) { begin_rounds(ctx, now_ns); }

/* Who leaves the others behind does not wait for them, but for its last words to be on their way. */
static int leave_ctx(void *ctx, uint32_t version, bool wait, struct lh_err *err)
{
	struct train *tr = ctx;
	if (wait)
		return leave(tr, version, err);
	lh_ns until = lh_clock_ns() + GOODBYE_NS;
	tr->t->ops->leave(tr->t, version);
	while (!tr->signal && lh_clock_ns() < until)
		if (wait_until(tr, until, err))
			return tr->signal ? -EINTR : 0;
	return 0;
}

static int live_elastic(struct train *tr, struct lh_err *err)
{
	const struct lh_elastic_host host = {
		.w = &tr->w, .strategy = tr->strategy, .tell = tell_ctx, .end_round = end_round_ctx,
		.tell_round = tell_round_ctx, .begin = begin_ctx, .leave = leave_ctx, .ctx = tr, .go = &tr->go, .stop = &tr->stop, .notice = &tr->notice,
	};
	uint32_t version;
	bool evaluates;
	tr->go = tr->io.control_fd < 0;
	tr->strategy = NULL; /* closed there */
	int rc = lh_elastic_run(&host, &version, &evaluates, err);
	if (!rc && evaluates)
		rc = evaluate(tr, err);
	if (!rc)
		rc = emit(tr, &(struct lh_event){ .kind = LH_EVENT_FINISHED }, err);
	return rc;
}

static int live(struct train *tr, struct lh_err *err)
{
	uint32_t epoch = tr->c->resume_round;
	const uint32_t every = tr->c->checkpoint_rounds;
	bool is_over = false;
	int rc = prepare(tr, err);
	if (!rc && tr->c->membership == LH_MEMBERSHIP_ELASTIC)
		return live_elastic(tr, err);
	if (!rc)
		rc = join(tr, err);
	while (!rc && !tr->stop && !is_over && epoch < tr->c->epochs) {
		rc = run_round(tr, epoch + 1, &is_over, err);
		epoch += !rc && !is_over;
		if (!rc && !is_over && every && epoch % every == 0)
			rc = checkpoint(tr, epoch, err);
	}
	if (!rc)
		rc = leave(tr, epoch, err);
	if (!rc && tr->c->rank == 0 && epoch == tr->c->epochs)
		rc = evaluate(tr, err);
	if (!rc)
		rc = emit(tr, &(struct lh_event){ .kind = LH_EVENT_FINISHED }, err);
	return rc;
}

static void fail(struct train *tr, const struct lh_err *why)
{
	struct lh_event e = { .kind = LH_EVENT_FAILED, .culprit = tr->t && !tr->signal ? tr->t->culprit : -1 };
	size_t len = strnlen(why->text, sizeof e.reason - 1);
	memcpy(e.reason, why->text, len);
	emit(tr, &e, NULL);
	if (tr->t)
		tr->t->ops->abort(tr->t, e.culprit, e.reason);
}

int lh_train_run(const struct lh_peer_config *config, const struct lh_engine_ops *engine,
		 const struct lh_train_io *io, int *ret_signal, struct lh_err *err)
{
	struct train tr = { .c = config, .ops = engine, .io = *io };
	tr.w = (struct lh_worker){ .c = config, .ops = engine, .now = real_now, .wait = wait_ctx, .ctx = &tr };
	struct lh_err own = LH_ERR_INIT;
	int rc = live(&tr, &own);
	if (rc) {
		fail(&tr, &own);
		if (err)
			*err = own;
	}
	*ret_signal = tr.signal;
	if (tr.strategy)
		tr.strategy->ops->close(tr.strategy); /* before the transport that it is attached to */
	if (tr.t)
		tr.t->ops->close(tr.t);
	lh_store_client_close(tr.store);
	if (tr.w.engine) /* after the store's thread, which asks its source */
		engine->close(tr.w.engine);
	lh_turn_close(tr.w.turn);
	lh_trace_free(tr.trace);
	free(tr.w.ids);
	return rc;
}
