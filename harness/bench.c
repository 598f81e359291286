/* bench.c - see bench.h. */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peers.h"
#include "run.h"
#include "stats.h"

/* After STOP, for goodbyes and the last lines. */
#define END_NS (20 * LH_NS_PER_S)

struct bench {
	const struct lh_bench_plan *plan;
	struct lh_peers peers;
	unsigned joined, done;      /* peers; of the exchange under way */
	uint32_t number;            /* of the exchange under way, from 1 */
	lh_ns begin_ns, end_ns;
	uint64_t wrong, bytes_sent, join_bytes;
	struct lh_bench_exchange now; /* sums so far, of the exchange under way */
	bool stopping;
	struct lh_err failure;      /* code 0: none */
};

static const char *name_of(const struct bench *b, unsigned peer)
{
	return b->plan->exp->topology.peers[peer].name;
}

/* What a peer says of another one explains more than that other one's end, which may be seen first. */
static void failed(struct bench *b, unsigned peer, const struct lh_event *e)
{
	char own[LH_NAME_MAX + 8];
	unsigned who = e->culprit >= 0 && (unsigned)e->culprit < b->peers.n ? (unsigned)e->culprit : peer;
	snprintf(own, sizeof own, "peer %s: ", name_of(b, who));
	const char *reason = strncmp(e->reason, own, strlen(own)) ? e->reason : e->reason + strlen(own);
	if (!b->failure.code)
		lh_err_set(&b->failure, LH_EXIT_BROKE, -EPIPE, "%s%s", own, reason);
}

static int on_line(void *ctx, unsigned peer, const char *line, size_t len, struct lh_err *err)
{
	struct bench *b = ctx;
	struct lh_event e;
	int rc = lh_event_parse(line, len, &e, err);
	if (!rc && e.rank != peer)
		rc = lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "says that it is rank %u, not %u", e.rank, peer);
	if (!rc && e.kind == LH_EVENT_BENCH && (e.epoch != b->number || b->done == b->peers.n))
		rc = lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "exchange %u ended during exchange %u", e.epoch, b->number);
	if (rc) {
		lh_err_wrap(err, "peer %s", name_of(b, peer));
		return rc;
	}
	if (e.kind == LH_EVENT_JOINED) {
		b->joined++;
		b->join_bytes += e.bytes_sent;
	}
	if (e.kind == LH_EVENT_FAILED)
		failed(b, peer, &e);
	if (e.kind != LH_EVENT_BENCH)
		return 0;
	b->begin_ns = b->done && b->begin_ns < e.begin_ns ? b->begin_ns : e.begin_ns;
	b->end_ns = b->done && b->end_ns > e.exchange_end_ns ? b->end_ns : e.exchange_end_ns;
	b->bytes_sent += e.bytes_sent;
	b->wrong += e.wrong;
	b->now.window_s = fmax(b->now.window_s, (double)e.tcp_window_ns / 1e9);
	b->now.cpu_s += (double)e.busy_ns / 1e9;
	b->now.retransmits += e.tcp_retransmits;
	b->done++;
	return 0;
}

static int on_exit_of_peer(void *ctx, unsigned peer, int status, struct lh_err *err)
{
	struct bench *b = ctx;
	char text[128];
	if (!b->failure.code && !(b->stopping && WIFEXITED(status) && WEXITSTATUS(status) == 0))
		lh_err_set(&b->failure, LH_EXIT_BROKE, -ECHILD, "peer %s: %s", name_of(b, peer),
			   lh_peer_status_text(status, text, sizeof text));
	return 0;
}

/* Until `*count` is n, or `until_ns`: then -ETIMEDOUT, without a text. */
static int wait_for(struct bench *b, const unsigned *count, unsigned n, lh_ns until_ns, struct lh_err *err)
{
	const struct lh_peers_handler h = { on_line, on_exit_of_peer, b };
	while (*count != n) {
		bool woken;
		int rc = lh_peers_wait(&b->peers, until_ns, &h, &woken, err);
		if (rc)
			return rc;
		if (woken)
			return lh_err_set(err, LH_EXIT_BROKE, -EINTR, "interrupted");
		if (b->failure.code) {
			*err = b->failure;
			return err->code;
		}
		if (*count != n && lh_clock_ns() >= until_ns)
			return -ETIMEDOUT;
	}
	return 0;
}

static int pause_for(struct bench *b, lh_ns ns, struct lh_err *err)
{
	const unsigned never = 0;
	int rc = ns > 0 ? wait_for(b, &never, 1, lh_clock_ns() + ns, err) : 0;
	return rc == -ETIMEDOUT ? 0 : rc;
}

static int one_exchange(struct bench *b, struct lh_bench_exchange *ret, struct lh_err *err)
{
	int rc = pause_for(b, b->plan->pause_ns, err);
	if (rc)
		return rc;
	b->number++;
	b->done = 0;
	b->bytes_sent = 0;
	b->now = (struct lh_bench_exchange){ 0 };
	lh_peers_command(&b->peers, LH_CONTROL_GO);
	/* No limit but the peers' own: they give up when nobody sends them what they wait for. */
	rc = wait_for(b, &b->done, b->peers.n, INT64_MAX, err);
	b->now.time_s = (double)(b->end_ns - b->begin_ns) / 1e9;
	*ret = b->now;
	return rc;
}

void lh_bench_times_done(struct lh_bench_times *t)
{
	free(t->each);
	*t = (struct lh_bench_times){ 0 };
}

static int measure(struct bench *b, struct lh_bench_times *ret, struct lh_err *err)
{
	const struct lh_bench_plan *p = b->plan;
	unsigned n = p->warmup + p->runs;
	struct lh_bench_exchange *each = calloc(n, sizeof *each);
	double *seconds = calloc(p->runs, sizeof *seconds);
	struct lh_stats stats;
	int rc = seconds && each ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%u times", n);
	for (unsigned i = 0; !rc && i < n; i++)
		rc = one_exchange(b, &each[i], err);
	for (unsigned i = 0; !rc && i < p->runs; i++)
		seconds[i] = each[p->warmup + i].time_s;
	if (!rc && (rc = lh_stats_compute(seconds, p->runs, &stats)))
		lh_err_sys(err, LH_EXIT_MACHINE, rc, "%u times", p->runs);
	free(seconds);
	if (rc) {
		free(each);
		return rc;
	}
	*ret = (struct lh_bench_times){
		.each = each, .neach = n, .runs = p->runs, .wrong = b->wrong, .bytes_sent = b->bytes_sent,
		.join_bytes = b->join_bytes,
		.median_s = stats.median, .least_s = stats.min, .most_s = stats.max,
	};
	return 0;
}

static void stop(struct bench *b)
{
	struct lh_err ignored = LH_ERR_INIT;
	const struct lh_peers_handler h = { on_line, on_exit_of_peer, b };
	lh_ns until = lh_clock_ns() + END_NS;
	bool woken = false;
	b->stopping = true;
	lh_peers_command(&b->peers, LH_CONTROL_STOP);
	while (b->peers.running && !woken && lh_clock_ns() < until)
		if (lh_peers_wait(&b->peers, until, &h, &woken, &ignored) < 0)
			break;
}

/* Peers need neither a pace nor a model: nothing is calculated. */
static int configure(const struct lh_bench_plan *plan, struct lh_peer_config *ret, struct lh_err *err)
{
	const struct lh_topology *t = &plan->exp->topology;
	const struct lh_training *tr = &plan->exp->training;
	struct lh_peer_config c = {
		.protocol = LH_PEER_PROTOCOL, .size = t->npeers, .engine = LH_ENGINE_PACED, .model = "bench",
		.parameters = plan->exchange->elements, .bench_elements = plan->exchange->elements, .wire = tr->wire,
		.algorithm = plan->exchange->algorithm, .codec = tr->codec, .streams = lh_experiment_streams(plan->exp),
		.sockets = tr->sockets, .part_bytes = lh_experiment_part_bytes(plan->exp),
		.window_bytes = lh_experiment_window_bytes(plan->exp),
		.target_batch = 1, .microbatch = 1, .epochs = 1, .learning_rate = 1, .seed = tr->seed,
		.deadline_ns = tr->deadline_ns, .data_dir = "-",
	};
	c.peers = calloc(c.size, sizeof *c.peers);
	int rc = c.peers ? lh_run_secret(c.secret, err)
			 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "configuration of %u peers", c.size);
	for (unsigned i = 0; !rc && i < c.size; i++) {
		struct lh_peer_endpoint *p = &c.peers[i];
		p->samples_per_s = 1;
		rc = lh_run_endpoint(plan->exp, i, p, err);
	}
	if (!rc)
		rc = lh_exchange_configure(plan->exchange, &c, err);
	if (rc)
		lh_peer_config_done(&c);
	else
		*ret = c;
	return rc;
}

int lh_bench_measure(const struct lh_bench_plan *plan, struct lh_bench_times *ret, struct lh_err *err)
{
	struct bench b = { .plan = plan, .peers = { .epoll_fd = -1 } };
	struct lh_peer_config config;
	unsigned n = plan->exp->topology.npeers;
	lh_ns join = LH_JOIN_DEADLINE_NS + LH_JOIN_DEADLINE_PER_PEER_NS * n;
	int rc = configure(plan, &config, err);
	if (rc)
		return rc;
	rc = lh_peers_start(&b.peers, plan->net, plan->session->peer_path, &config, 0, STDERR_FILENO,
			    plan->session->signal_fd, err);
	lh_peer_config_done(&config);
	if (rc)
		return rc;
	rc = wait_for(&b, &b.joined, n, lh_clock_ns() + join, err);
	if (rc == -ETIMEDOUT)
		lh_err_set(err, LH_EXIT_BROKE, rc, "%u of %u peers had joined after %.0f s", b.joined, n,
			   (double)join / 1e9);
	if (!rc)
		rc = measure(&b, ret, err);
	if (!rc)
		stop(&b);
	lh_peers_done(&b.peers);
	return rc;
}
