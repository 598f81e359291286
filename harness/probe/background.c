/* background.c - see background.h. */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "ping.h"

#define PERIOD_NS LH_NS_PER_S
#define LOST_NS (5 * LH_NS_PER_S)
enum { OUTSTANDING = 8 }; /* echoes of a link that may be on their way: more than LOST_NS / PERIOD_NS */

struct lh_probe_watch {
	int fd;
	unsigned nchildren;
	pid_t pid[LH_SITES_MAX];
	int pidfd[LH_SITES_MAX];
};

struct watcher { /* one child's */
	const struct lh_topology *t;
	unsigned site;
	int out_fd;
};

struct sent {
	lh_ns at_ns;
	uint32_t seq;
	bool waiting;
};

static void put(const struct watcher *w, unsigned to, const struct sent *s, lh_ns rtt_ns)
{
	struct lh_probe_sample sample = { w->site, to, s->at_ns, rtt_ns };
	/* Atomic below PIPE_BUF; when nobody reads, samples are dropped rather than the child blocked. */
	if (write(w->out_fd, &sample, sizeof sample) < 0 && errno == EPIPE)
		_exit(0);
}

static void answers(const struct watcher *w, const struct lh_ping_socket *s, struct sent (*sent)[OUTSTANDING])
{
	uint32_t target, seq;
	while (lh_ping_receive(s, &target, &seq) > 0) {
		lh_ns now = lh_clock_ns();
		if (target >= w->t->nsites)
			continue;
		struct sent *e = &sent[target][seq % OUTSTANDING];
		if (!e->waiting || e->seq != seq)
			continue;
		e->waiting = false;
		put(w, target, e, now - e->at_ns);
	}
}

static void send_one(const struct watcher *w, const struct lh_ping_socket *s, struct sent (*sent)[OUTSTANDING],
		     unsigned to, uint32_t seq)
{
	unsigned a, b;
	char address[64];
	struct sent *e = &sent[to][seq % OUTSTANDING];
	if (!lh_probe_pair_of(w->t, w->site, to, &a, &b) ||
	    lh_net_peer_address(w->t, b, w->t->ipv6, address, sizeof address))
		return;
	*e = (struct sent){ lh_clock_ns(), seq, true };
	lh_ping_send(s, address, to, seq);
}

static int watcher_main(void *ctx)
{
	struct watcher *w = ctx;
	struct lh_ping_socket s;
	struct sent(*sent)[OUTSTANDING] = calloc(w->t->nsites, sizeof *sent);
	signal(SIGPIPE, SIG_IGN);
	if (!sent || lh_ping_open(&s, w->t->ipv6))
		return 1;
	/* Links of a site are spread over the period, and sites against each other. */
	lh_ns gap = PERIOD_NS / w->t->nsites, next = lh_clock_ns() + gap * w->site / w->t->nsites;
	for (uint64_t n = 0;; n++, next += gap) {
		unsigned to = (unsigned)(n % w->t->nsites);
		for (lh_ns left; (left = next - lh_clock_ns()) > 0;) {
			struct timespec wait = { left / LH_NS_PER_S, left % LH_NS_PER_S };
			struct pollfd p = { s.fd, POLLIN, 0 };
			if (ppoll(&p, 1, &wait, NULL) > 0)
				answers(w, &s, sent);
		}
		for (unsigned i = 0; i < OUTSTANDING; i++)
			if (sent[to][i].waiting && lh_clock_ns() - sent[to][i].at_ns > LOST_NS) {
				sent[to][i].waiting = false;
				put(w, to, &sent[to][i], -1);
			}
		send_one(w, &s, sent, to, (uint32_t)(n / w->t->nsites));
	}
}

int lh_probe_watch_start(struct lh_net *net, const struct lh_topology *t, struct lh_probe_watch **ret,
			 struct lh_err *err)
{
	struct lh_probe_watch *w = calloc(1, sizeof *w);
	int fds[2], rc = 0;
	if (!w)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "background probe");
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		free(w);
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "background probe");
	}
	w->fd = fds[0];
	for (unsigned site = 0; site < t->nsites && !rc; site++) {
		struct watcher child = { t, site, fds[1] };
		if (!lh_topology_site_nodes(t, site))
			continue;
		rc = lh_net_fork(net, lh_topology_node(t, site, 0), watcher_main, &child, &w->pid[w->nchildren],
				 &w->pidfd[w->nchildren], err);
		w->nchildren += !rc;
	}
	close(fds[1]);
	if (rc) {
		lh_probe_watch_stop(w);
		return lh_err_wrap(err, "background probe");
	}
	*ret = w;
	return 0;
}

int lh_probe_watch_fd(const struct lh_probe_watch *w)
{
	return w->fd;
}

void lh_probe_watch_read(struct lh_probe_watch *w, lh_probe_sample_fn *each, void *ctx)
{
	struct lh_probe_sample sample;
	/* Records are written whole, so a read of one record's size returns one or none. */
	while (read(w->fd, &sample, sizeof sample) == sizeof sample)
		each(ctx, &sample);
}

void lh_probe_watch_stop(struct lh_probe_watch *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < w->nchildren; i++)
		kill(w->pid[i], SIGKILL);
	for (unsigned i = 0; i < w->nchildren; i++) {
		while (waitpid(w->pid[i], NULL, 0) < 0 && errno == EINTR)
			;
		close(w->pidfd[i]);
	}
	close(w->fd);
	free(w);
}
