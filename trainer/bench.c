#include "bench.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "comm/allreduce.h"
#include "comm/tcp.h"

/* Elements of the table; prime, so that no part or block of the vector looks like another. */
#define PERIOD 65521u
/* The table of another exchange is the same, begun elsewhere: numbers of the one before are not taken for these. */
#define SHIFT 7919u

struct bench {
	const struct lh_peer_config *c;
	struct lh_train_io io;
	struct lh_transport *t;
	struct lh_allreduce *exchange;
	float *own, *sum;       /* [2 * PERIOD] each: any run of PERIOD elements is in one piece */
	uint32_t number;        /* of the exchange, from 1 */
	uint64_t seen, wrong;   /* elements of its result */
	double tolerance;       /* by the codec; 0 where it is exact */
	uint64_t pending;       /* commands to begin that were not carried out yet */
	uint64_t sent, received;
	bool stop;
	int signal;
};

/* ---- the numbers ---- */

/* The largest summand for which the sum over all peers is whole and exact in 8 bits of mantissa; at least 1. */
static int largest_summand(unsigned size)
{
	int most = (int)(256 / size);
	return most < 1 ? 1 : most > 8 ? 8 : most;
}

static float number_of(unsigned rank, unsigned i, int most)
{
	uint32_t h = (i * 2654435761u) ^ ((rank + 1) * 2246822519u);
	h = (h ^ h >> 15) * 3266489917u;
	return (float)((int)(h >> 8) % (most + 1));
}

static int make_tables(struct bench *b, struct lh_err *err)
{
	int most = largest_summand(b->c->size);
	b->own = calloc(2 * PERIOD, sizeof *b->own);
	b->sum = calloc(2 * PERIOD, sizeof *b->sum);
	if (!b->own || !b->sum)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "tables of numbers");
	for (unsigned i = 0; i < PERIOD; i++) {
		b->own[i] = b->own[i + PERIOD] = number_of(b->c->rank, i, most);
		for (unsigned r = 0; r < b->c->size; r++)
			b->sum[i] += number_of(r, i, most);
		b->sum[i + PERIOD] = b->sum[i];
	}
	return 0;
}

/* Whole numbers are exact in all codecs but those that round by the largest number of a part: off by so much each time
 * that a sum of all peers is encoded, and a tenth for what was off before. Of topk nothing can be said. */
static int set_tolerance(struct bench *b, const struct lh_codec *codec, const struct lh_group *group, struct lh_err *err)
{
	struct lh_pattern_chain chain;
	int rc = lh_pattern_chain(lh_pattern_find(b->c->algorithm), group, b->c->bench_elements, NULL, NULL, &chain, err);
	if (!rc)
		b->tolerance = b->c->wire == LH_WIRE_TOPK ? INFINITY :
			codec->of_largest * 1.1 * (chain.up + 1) * b->c->size * largest_summand(b->c->size);
	return rc;
}

static unsigned place(const struct bench *b, uint64_t offset)
{
	return (unsigned)((offset + (uint64_t)b->number * SHIFT) % PERIOD);
}

static int read_own(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	const struct bench *b = ctx;
	for (size_t done = 0, now; done < n; done += now) {
		now = n - done < PERIOD ? n - done : PERIOD;
		memcpy(dst + done, b->own + place(b, offset + done), now * sizeof *dst);
	}
	return 0;
}

static const float *peek_own(void *ctx, uint64_t offset, size_t n)
{
	const struct bench *b = ctx;
	return n <= PERIOD ? b->own + place(b, offset) : NULL;
}

static int take_sum(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	struct bench *b = ctx;
	for (size_t done = 0, now; done < n; done += now) {
		now = n - done < PERIOD ? n - done : PERIOD;
		const float *want = b->sum + place(b, offset + done);
		if (memcmp(src + done, want, now * sizeof *src))
			for (size_t i = 0; i < now; i++)
				b->wrong += !(fabs((double)src[done + i] - want[i]) <= b->tolerance);
	}
	b->seen += n;
	return 0;
}

/* ---- telling and being told ---- */

static int emit(struct bench *b, struct lh_event *e, struct lh_err *err)
{
	char line[LH_EVENT_LINE_MAX];
	e->rank = b->c->rank;
	e->t_ns = lh_clock_ns();
	int len = lh_event_print(e, line, sizeof line);
	if (len < 0)
		return lh_err_sys(err, LH_EXIT_BROKE, len, "print an event");
	for (int done = 0; done < len;) {
		ssize_t n = write(b->io.event_fd, line + done, (size_t)(len - done));
		if (n < 0 && errno != EINTR)
			return lh_err_sys(err, LH_EXIT_BROKE, -errno, "write an event");
		done += n > 0 ? (int)n : 0;
	}
	return 0;
}

static int read_control(struct bench *b, struct lh_err *err)
{
	char commands[16];
	ssize_t n = read(b->io.control_fd, commands, sizeof commands);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		b->stop = true;
		b->t->ops->watch(b->t, b->io.control_fd, false);
		b->io.control_fd = -1;
	}
	for (ssize_t i = 0; i < n; i++) {
		b->pending += commands[i] == LH_CONTROL_GO;
		b->stop |= commands[i] == LH_CONTROL_STOP;
	}
	return 0;
}

static int read_signal(struct bench *b, struct lh_err *err)
{
	struct signalfd_siginfo s;
	if (read(b->io.signal_fd, &s, sizeof s) != sizeof s)
		return 0;
	b->signal = (int)s.ssi_signo;
	return lh_err_set(err, LH_EXIT_BROKE, -EINTR, "peer %s: stopped by SIG%s", b->c->peers[b->c->rank].name,
			  sigabbrev_np(b->signal));
}

static int hear(struct bench *b, const struct pollfd *fds, struct lh_err *err)
{
	int rc = fds[1].revents ? read_control(b, err) : 0;
	return rc || !fds[2].revents ? rc : read_signal(b, err);
}

static int wait_once(struct bench *b, lh_ns until_ns, struct lh_err *err)
{
	struct pollfd fds[] = {
		{ .fd = b->t->ops->fd(b->t), .events = POLLIN },
		{ .fd = b->io.control_fd, .events = POLLIN },
		{ .fd = b->io.signal_fd, .events = POLLIN },
	};
	if (until_ns == INT64_MAX) {
		int rc = b->t->ops->wait(b->t, err);
		if (rc || !b->t->called)
			return rc;
		b->t->called = false;
		return poll(fds + 1, 2, 0) > 0 ? hear(b, fds, err) : 0;
	}
	lh_ns timer = b->t->ops->timer(b->t), left = (until_ns < timer ? until_ns : timer) - lh_clock_ns();
	left = left < 0 ? 0 : left;
	struct timespec ts = { .tv_sec = left / LH_NS_PER_S, .tv_nsec = left % LH_NS_PER_S };
	int n = ppoll(fds, sizeof fds / sizeof *fds, &ts, NULL);
	if (n < 0 && errno != EINTR)
		return lh_err_sys(err, LH_EXIT_BROKE, -errno, "poll");
	int rc = n > 0 ? hear(b, fds, err) : 0;
	return rc ? rc : b->t->ops->progress(b->t, err);
}

/* ---- life ---- */

static int prepare(struct bench *b, struct lh_err *err)
{
	struct lh_group group;
	struct lh_codec codec;
	int rc = lh_codec_init(&codec, b->c->wire, &b->c->codec, err);
	if (!rc)
		rc = make_tables(b, err);
	if (!rc)
		rc = lh_tcp_listen(b->c, &b->t, err);
	if (!rc)
		rc = lh_tcp_watch_all(b->t, (const int[]){ b->io.control_fd, b->io.signal_fd }, 2, err);
	if (!rc)
		rc = emit(b, &(struct lh_event){ .kind = LH_EVENT_LISTENING }, err);
	if (!rc)
		rc = lh_group_of(b->c, &group, err);
	if (rc)
		return rc;
	struct lh_allreduce_config x = {
		.pattern = lh_pattern_find(b->c->algorithm), .group = &group, .codec = &codec,
		.scale = 1, .rank = b->c->rank, .n = b->c->bench_elements,
		.part_bytes = b->c->part_bytes,
		.window_bytes = b->c->window_bytes, .read = read_own, .write = take_sum, .peek = peek_own,
		.ctx = b,
	};
	rc = set_tolerance(b, &codec, &group, err);
	if (!rc)
		rc = lh_allreduce_new(&x, b->t, &b->exchange, err);
	lh_group_done(&group);
	return rc;
}

static int join(struct bench *b, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_JOINED, .parameters = b->c->bench_elements };
	int rc = 0;
	lh_tcp_join(b->t);
	while (!rc && !b->stop && !lh_tcp_joined(b->t))
		rc = wait_once(b, INT64_MAX, err);
	e.bytes_sent = b->t->bytes_sent;
	e.bytes_received = b->t->bytes_received;
	return rc || b->stop ? rc : emit(b, &e, err);
}

static lh_ns cpu_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (lh_ns)ts.tv_sec * LH_NS_PER_S + ts.tv_nsec;
}

/* Of this exchange, which took so much CPU before it began. */
static void add_causes(struct bench *b, lh_ns before_ns, struct lh_event *e)
{
	e->busy_ns = cpu_ns() - before_ns;
	for (unsigned i = 0; i < b->c->size; i++) {
		struct lh_tcp_round r;
		if (i == b->c->rank)
			continue;
		lh_tcp_round_info(b->t, i, &r);
		e->tcp_window_ns = r.window_ns > e->tcp_window_ns ? r.window_ns : e->tcp_window_ns;
		e->tcp_retransmits += r.retransmits;
	}
}

static int exchange(struct bench *b, struct lh_err *err)
{
	struct lh_event e = { .kind = LH_EVENT_BENCH, .epoch = ++b->number, .begin_ns = lh_clock_ns() };
	lh_ns before_ns = cpu_ns();
	b->seen = b->wrong = 0;
	int rc = lh_allreduce_start(b->exchange, b->number, err);
	while (!rc && !lh_allreduce_done(b->exchange))
		rc = wait_once(b, INT64_MAX, err);
	if (rc)
		return rc;
	e.exchange_end_ns = lh_clock_ns();
	/* An element that never came, or came twice, is wrong too. */
	uint64_t n = b->c->bench_elements;
	e.wrong = b->wrong + (b->seen > n ? b->seen - n : n - b->seen);
	e.bytes_sent = b->t->bytes_sent - b->sent;
	e.bytes_received = b->t->bytes_received - b->received;
	b->sent = b->t->bytes_sent;
	b->received = b->t->bytes_received;
	add_causes(b, before_ns, &e);
	return emit(b, &e, err);
}

/* Say goodbye and stay until the others have what they need of us. */
static int leave(struct bench *b, struct lh_err *err)
{
	lh_ns until = lh_clock_ns() + b->c->deadline_ns;
	b->t->ops->leave(b->t, b->number);
	while (!b->signal && !b->t->ops->left(b->t) && lh_clock_ns() < until)
		if (wait_once(b, until, err))
			return b->signal ? -EINTR : 0;
	return 0;
}

static int live(struct bench *b, struct lh_err *err)
{
	int rc = prepare(b, err);
	if (!rc)
		rc = join(b, err);
	b->sent = b->t ? b->t->bytes_sent : 0;
	b->received = b->t ? b->t->bytes_received : 0;
	while (!rc && !b->stop) {
		if (b->pending) {
			b->pending--;
			rc = exchange(b, err);
		} else {
			rc = wait_once(b, INT64_MAX, err);
		}
	}
	if (!rc)
		rc = leave(b, err);
	if (!rc)
		rc = emit(b, &(struct lh_event){ .kind = LH_EVENT_FINISHED }, err);
	return rc;
}

static void fail(struct bench *b, const struct lh_err *why)
{
	struct lh_event e = { .kind = LH_EVENT_FAILED, .culprit = b->t && !b->signal ? b->t->culprit : -1 };
	size_t len = strnlen(why->text, sizeof e.reason - 1);
	memcpy(e.reason, why->text, len);
	emit(b, &e, NULL);
	if (b->t)
		b->t->ops->abort(b->t, e.culprit, e.reason);
}

int lh_bench_run(const struct lh_peer_config *config, const struct lh_train_io *io, int *ret_signal,
		 struct lh_err *err)
{
	struct bench b = { .c = config, .io = *io };
	struct lh_err own = LH_ERR_INIT;
	int rc = live(&b, &own);
	if (rc) {
		fail(&b, &own);
		if (err)
			*err = own;
	}
	*ret_signal = b.signal;
	lh_allreduce_free(b.exchange);
	if (b.t)
		b.t->ops->close(b.t);
	free(b.own);
	free(b.sum);
	return rc;
}
