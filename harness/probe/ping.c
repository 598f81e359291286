/* ping.c - see ping.h. */
#include "ping.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <linux/icmp.h>
#include <netinet/ip.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CHILDREN_MAX = 64, /* at once: bounds processes and memory with thousands of peers */
	POLL_MS = 100,     /* how late a signal may be noticed */
};

#define START_LIMIT_NS (10 * LH_NS_PER_S)
#define LEAD_NS (5 * LH_NS_PER_MS) /* from the word to go to the first echo */

struct echo {
	uint8_t type, code;
	uint16_t checksum, id, seq;
	uint64_t cookie;
	uint32_t target, number;
} __attribute__((packed));
_Static_assert(sizeof(struct echo) == 8 + LH_PING_PAYLOAD, "LH_PING_PAYLOAD is what follows the ICMP header");

static uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

int lh_ping_open(struct lh_ping_socket *s, bool ipv6)
{
	if (getrandom(&s->cookie, sizeof s->cookie, 0) != sizeof s->cookie)
		return -errno;
	s->ipv6 = ipv6;
	s->fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       ipv6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP);
	if (s->fd < 0)
		return -errno;
	/* Only answers, not the questions of others, wake us. */
	if (ipv6) {
		struct icmp6_filter f;
		ICMP6_FILTER_SETBLOCKALL(&f);
		ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f);
		setsockopt(s->fd, IPPROTO_ICMPV6, ICMP6_FILTER, &f, sizeof f);
	} else {
		struct icmp_filter f = { ~(1u << ICMP_ECHOREPLY) };
		setsockopt(s->fd, SOL_RAW, ICMP_FILTER, &f, sizeof f);
	}
	return 0;
}

int lh_ping_send(const struct lh_ping_socket *s, const char *address, uint32_t target, uint32_t seq)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct echo e = {
		.type = s->ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO,
		.id = htons((uint16_t)s->cookie),
		.seq = htons((uint16_t)seq),
		.cookie = s->cookie,
		.target = target,
		.number = seq,
	};
	if (inet_pton(s->ipv6 ? AF_INET6 : AF_INET, address, s->ipv6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr) !=
	    1)
		return -EINVAL;
	if (!s->ipv6) /* the kernel fills it in for IPv6 */
		e.checksum = checksum(&e, sizeof e);
	ssize_t n = s->ipv6 ? sendto(s->fd, &e, sizeof e, 0, (struct sockaddr *)&v6, sizeof v6)
			    : sendto(s->fd, &e, sizeof e, 0, (struct sockaddr *)&v4, sizeof v4);
	return n < 0 ? -errno : 0;
}

int lh_ping_receive(const struct lh_ping_socket *s, uint32_t *ret_target, uint32_t *ret_seq)
{
	uint8_t buf[256];
	for (;;) {
		ssize_t n = recv(s->fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		size_t at = 0, len = (size_t)n;
		struct echo e;
		if (!s->ipv6) {
			if (len < sizeof(struct iphdr))
				continue;
			at = (size_t)(buf[0] & 15) * 4;
		}
		/* A corrupted answer reaches raw sockets too; it does not count. */
		if (len < at + sizeof e || (!s->ipv6 && checksum(buf + at, len - at)))
			continue;
		memcpy(&e, buf + at, sizeof e);
		if (e.type != (s->ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) || e.cookie != s->cookie)
			continue;
		*ret_target = e.target;
		*ret_seq = e.number;
		return 1;
	}
}

/* ---- one child ---- */

struct shared {
	lh_ns begin_ns; /* of the timetable; set before the children may go */
	int failure;    /* errno of a child */
	lh_ns result[];
};

struct child {
	const struct lh_topology *t;
	const struct lh_ping_plan *plan;
	struct lh_ping_pair *pairs; /* of this sender */
	size_t npairs;
	struct shared *shared;
	int ready_fd[2], go_fd[2]; /* pipes that say by their end: every child is ready; the timetable begins */
	size_t first_slot, nslots;
	lh_ns *result; /* shared: [npairs * count] */
	lh_ns *sent;   /* private: the same */
};

static lh_ns send_time(const struct child *c, size_t n)
{
	size_t round = n / c->npairs, pair = n % c->npairs;
	return c->shared->begin_ns + (lh_ns)(round * c->nslots + c->first_slot + pair) * c->plan->spacing_ns;
}

static void take_answers(const struct child *c, const struct lh_ping_socket *s, size_t *missing)
{
	uint32_t target, seq;
	while (lh_ping_receive(s, &target, &seq) > 0) {
		lh_ns now = lh_clock_ns();
		if (target >= c->npairs || seq >= c->plan->count)
			continue;
		size_t i = target * (size_t)c->plan->count + seq;
		if (c->result[i] >= 0 || !c->sent[i]) /* a duplicate */
			continue;
		c->result[i] = now - c->sent[i];
		--*missing;
	}
}

static int child_main(void *ctx)
{
	struct child *c = ctx;
	struct lh_ping_socket s;
	close(c->ready_fd[0]);
	close(c->go_fd[1]);
	size_t total = c->npairs * c->plan->count, missing = total, next = 0;
	char address[64];
	int rc = lh_ping_open(&s, c->t->ipv6);
	c->sent = calloc(total, sizeof *c->sent);
	if (rc || !c->sent) {
		c->shared->failure = rc ? -rc : ENOMEM;
		return 1;
	}
	prctl(PR_SET_TIMERSLACK, 1000);
	close(c->ready_fd[1]);
	if (read(c->go_fd[0], address, 1) != 0)
		return 1;
	lh_ns end = send_time(c, total - 1) + c->plan->wait_ns;
	while (missing) {
		lh_ns now = lh_clock_ns(), until = next < total ? send_time(c, next) : end;
		if (next < total && now >= until) {
			struct lh_ping_pair *p = &c->pairs[next % c->npairs];
			size_t i = next % c->npairs * c->plan->count + next / c->npairs;
			rc = lh_net_peer_address(c->t, p->to, c->t->ipv6, address, sizeof address);
			c->sent[i] = lh_clock_ns();
			if (!rc)
				rc = lh_ping_send(&s, address, (uint32_t)(next % c->npairs),
						  (uint32_t)(next / c->npairs));
			/* A full queue or a missing route is a lost echo; what is not is told by the verdict. */
			if (rc)
				c->shared->failure = -rc;
			next++;
			continue;
		}
		if (next == total && now >= end)
			break;
		struct timespec wait = { (until - now) / LH_NS_PER_S, (until - now) % LH_NS_PER_S };
		struct pollfd p = { s.fd, POLLIN, 0 };
		if (ppoll(&p, 1, &wait, NULL) > 0)
			take_answers(c, &s, &missing);
	}
	close(s.fd);
	free(c->sent);
	return 0;
}

/* ---- all of them ---- */

int lh_probe_interrupted(void)
{
	sigset_t set;
	if (sigpending(&set))
		return 0;
	return sigismember(&set, SIGINT)    ? SIGINT
	       : sigismember(&set, SIGTERM) ? SIGTERM
	       : sigismember(&set, SIGHUP)  ? SIGHUP
					    : 0;
}

int lh_probe_wait(pid_t *pids, int *pidfds, size_t n, lh_ns deadline_ns, struct lh_err *err)
{
	int rc = 0;
	for (size_t i = 0; i < n; i++) {
		int status = 0, sig = 0;
		while (!rc) {
			struct pollfd p = { pidfds[i], POLLIN, 0 };
			if (poll(&p, 1, POLL_MS) > 0)
				break;
			sig = lh_probe_interrupted();
			if (sig)
				rc = lh_err_set(err, LH_EXIT_BROKE, -EINTR, "interrupted by signal %d", sig);
			else if (lh_clock_ns() > deadline_ns)
				rc = lh_err_set(err, LH_EXIT_MACHINE, -ETIMEDOUT,
						"the measuring process did not end in time");
		}
		if (rc)
			kill(pids[i], SIGKILL);
		while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
			;
		close(pidfds[i]);
		if (!rc && status)
			rc = lh_err_set(err, LH_EXIT_MACHINE, -EIO, "the measuring process failed (wait status 0x%x)",
					(unsigned)status);
	}
	return rc;
}

struct batch {
	struct child child[CHILDREN_MAX];
	pid_t pid[CHILDREN_MAX];
	int pidfd[CHILDREN_MAX];
	size_t nchildren, npairs;
};

/* As many senders from the front of pairs[] as fit. */
static void batch_fill(struct batch *b, const struct lh_topology *t, const struct lh_ping_plan *plan,
		       struct lh_ping_pair *pairs, size_t npairs)
{
	b->nchildren = b->npairs = 0;
	while (b->npairs < npairs && b->nchildren < CHILDREN_MAX) {
		size_t n = 1;
		while (b->npairs + n < npairs && pairs[b->npairs + n].from == pairs[b->npairs].from)
			n++;
		b->child[b->nchildren++] = (struct child){
			.t = t,
			.plan = plan,
			.pairs = pairs + b->npairs,
			.npairs = n,
			.first_slot = b->npairs,
		};
		b->npairs += n;
	}
}

/* Wait until every child has closed its end, then give the time and let them go. */
static int batch_go(struct shared *shared, int ready_fd, int *go_fd, struct lh_err *err)
{
	lh_ns limit = lh_clock_ns() + START_LIMIT_NS;
	for (;;) {
		struct pollfd p = { ready_fd, POLLIN, 0 };
		if (poll(&p, 1, POLL_MS) > 0)
			break;
		int sig = lh_probe_interrupted();
		if (sig)
			return lh_err_set(err, LH_EXIT_BROKE, -EINTR, "interrupted by signal %d", sig);
		if (lh_clock_ns() > limit)
			return lh_err_set(err, LH_EXIT_MACHINE, -ETIMEDOUT,
					  "the measuring processes did not start in time");
	}
	shared->begin_ns = lh_clock_ns() + LEAD_NS;
	close(*go_fd);
	*go_fd = -1;
	return 0;
}

static int batch_run(struct lh_net *net, struct batch *b, struct shared *shared, lh_ns *result, struct lh_err *err)
{
	const struct lh_ping_plan *plan = b->child[0].plan;
	lh_ns length = (lh_ns)(b->npairs * plan->count) * plan->spacing_ns + plan->wait_ns;
	size_t started = 0;
	int ready[2], go[2], rc = 0;
	if (pipe2(ready, O_CLOEXEC))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "pipe");
	if (pipe2(go, O_CLOEXEC)) {
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "pipe");
		close(ready[0]);
		close(ready[1]);
		return rc;
	}
	while (started < b->nchildren && !rc) {
		struct child *c = &b->child[started];
		c->shared = shared;
		c->nslots = b->npairs;
		c->result = result + c->first_slot * plan->count;
		memcpy(c->ready_fd, ready, sizeof ready);
		memcpy(c->go_fd, go, sizeof go);
		rc = lh_net_fork(net, c->pairs[0].from, child_main, c, &b->pid[started], &b->pidfd[started], err);
		started += !rc;
	}
	close(ready[1]);
	if (!rc)
		rc = batch_go(shared, ready[0], &go[1], err);
	close(ready[0]);
	close(go[0]);
	/* Twice the timetable, since a busy machine may be late; an end there must be. */
	int waited = lh_probe_wait(b->pid, b->pidfd, started, rc ? 0 : lh_clock_ns() + 2 * length + START_LIMIT_NS,
				   rc ? NULL : err);
	if (go[1] >= 0)
		close(go[1]);
	return rc ? rc : waited;
}

int lh_ping_run(struct lh_net *net, const struct lh_topology *t, const struct lh_ping_plan *plan,
		struct lh_ping_pair *pairs, size_t npairs, struct lh_err *err)
{
	struct batch *b = calloc(1, sizeof *b);
	size_t bytes = sizeof(struct shared) + npairs * plan->count * sizeof(lh_ns);
	struct shared *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = 0;
	if (!b || shared == MAP_FAILED) {
		free(b);
		if (shared != MAP_FAILED)
			munmap(shared, bytes);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	}
	for (size_t at = 0; at < npairs && !rc; at += b->npairs) {
		lh_ns *part = shared->result + at * plan->count;
		batch_fill(b, t, plan, pairs + at, npairs - at);
		for (size_t i = 0; i < b->npairs * plan->count; i++)
			part[i] = -1;
		rc = batch_run(net, b, shared, part, err);
		if (rc && rc != -EINTR)
			lh_err_wrap(err, "probe from peer %s%s%s", t->peers[pairs[at].from].name,
				    shared->failure ? ": " : "", shared->failure ? strerror(shared->failure) : "");
	}
	for (size_t i = 0; i < npairs && !rc; i++)
		memcpy(pairs[i].rtt_ns, shared->result + i * plan->count, plan->count * sizeof(lh_ns));
	munmap(shared, bytes);
	free(b);
	return rc;
}
