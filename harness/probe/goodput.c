/* goodput.c - TCP payload per time over a link, with one stream and with k, from a sender in one peer to a receiver in
 * another.
 *
 * Measured as iperf does and as the study did: from the moment the connections stand, slow start included, for
 * RTTS_COUNTED round trips, at least probe.goodput and at most LONGEST_NS. The second half of that, in whole round
 * trips (a window-limited sender sends in bursts), is the steady rate, which has no slow start in it.
 *
 * Pairs that share no site are measured at the same time as long as what they can carry at most (rate or TCP window
 * per RTT) fits into a budget that any machine has; the rest goes one after the other. A goodput is `host-limited` when
 * its steady rate is under 90 % of that bound and a CPU was idle for less than 10 % of the measurement; a pair that
 * looks so while others ran is measured again alone.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"
#include "longhaul/cell.h"
#include "ping.h"

enum {
	TOGETHER_MAX = 32, /* pairs at the same time: 64 sites */
	STREAMS_MAX = 256,
	CHUNK_BYTES = 256 << 10,
	RTTS_COUNTED = 100,
	CPUS_MAX = 1024,
};
#define LONGEST_NS (10 * LH_NS_PER_S)
#define CONNECT_LIMIT_NS (20 * LH_NS_PER_S)
/* What pairs measured together may carry: far less than one core forwards, in large and in MTU-sized packets. */
#define BUDGET_GSO_BPS 1.5e9
#define BUDGET_PACKET_BPS 1.0e8
#define BOUND_SHARE 0.9
#define IDLE_SHARE 0.1

struct outcome {       /* shared between the receiver and us */
	uint16_t port; /* set when it listens */
	int failure;   /* errno of either side */
	bool done;
	uint64_t bytes, steady_bytes;
	lh_ns ns, steady_ns;
	double idle; /* of the busiest CPU, 0 ... 1; NaN: unknown */
};

struct flow {
	const struct lh_topology *t;
	struct lh_link_result *link;
	unsigned from, to, streams; /* peers */
	lh_ns rtt_ns, measure_ns;
	double bound; /* bit/s */
	double pace_byte_per_s; /* of the sender; 0, INFINITY: as TCP likes */
	bool copies;   /* the receiver reads what it gets, as a program would */
	int ready_fd; /* write end: one byte when the port is set */
	struct outcome *out;
	pid_t pid[2];
	int pidfd[2];
};

/* ---- CPU time of the kernel that the network lives on ---- */

struct cpu_times {
	unsigned n;
	unsigned long long total[CPUS_MAX], idle[CPUS_MAX];
};

static void cpu_read(struct cpu_times *c)
{
	FILE *f = fopen("/proc/stat", "re");
	char line[512];
	c->n = 0;
	while (f && c->n < CPUS_MAX && fgets(line, sizeof line, f)) {
		unsigned long long v[8] = { 0 };
		unsigned cpu;
		/* The first line is the sum of all; %u would skip its blanks. */
		if (strncmp(line, "cpu", 3) || line[3] == ' ' ||
		    sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &v[0], &v[1], &v[2], &v[3],
			   &v[4], &v[5], &v[6], &v[7]) < 5)
			continue;
		c->total[c->n] = c->idle[c->n] = 0;
		for (int i = 0; i < 8; i++)
			c->total[c->n] += v[i];
		c->idle[c->n++] = v[3] + v[4];
	}
	if (f)
		fclose(f);
}

static double cpu_least_idle(const struct cpu_times *a, const struct cpu_times *b)
{
	double least = NAN;
	for (unsigned i = 0; i < a->n && i < b->n; i++) {
		unsigned long long total = b->total[i] - a->total[i];
		double share = total ? (double)(b->idle[i] - a->idle[i]) / (double)total : NAN;
		if (!isnan(share) && (isnan(least) || share < least))
			least = share;
	}
	return least;
}

/* ---- addresses ---- */

static socklen_t address_of(const struct lh_topology *t, unsigned peer, uint16_t port, struct sockaddr_storage *ret)
{
	char text[64];
	memset(ret, 0, sizeof *ret);
	if (lh_net_peer_address(t, peer, t->ipv6, text, sizeof text))
		return 0;
	if (t->ipv6) {
		struct sockaddr_in6 *a = (struct sockaddr_in6 *)ret;
		a->sin6_family = AF_INET6;
		a->sin6_port = htons(port);
		return inet_pton(AF_INET6, text, &a->sin6_addr) == 1 ? sizeof *a : 0;
	}
	struct sockaddr_in *a = (struct sockaddr_in *)ret;
	a->sin_family = AF_INET;
	a->sin_port = htons(port);
	return inet_pton(AF_INET, text, &a->sin_addr) == 1 ? sizeof *a : 0;
}

/* ---- receiver ---- */

static int fail(struct flow *f, int error)
{
	f->out->failure = error;
	return 1;
}

static int receiver_accept(struct flow *f, struct pollfd *streams)
{
	struct sockaddr_storage a;
	socklen_t len = address_of(f->t, f->to, 0, &a);
	int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!len || fd < 0 || bind(fd, (struct sockaddr *)&a, len) || listen(fd, STREAMS_MAX) ||
	    getsockname(fd, (struct sockaddr *)&a, &len))
		return fail(f, errno);
	f->out->port =
		ntohs(f->t->ipv6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
	if (write(f->ready_fd, "r", 1) != 1)
		return fail(f, errno);
	lh_ns end = lh_clock_ns() + CONNECT_LIMIT_NS;
	for (unsigned i = 0; i < f->streams; i++) {
		struct pollfd p = { fd, POLLIN, 0 };
		lh_ns left = end - lh_clock_ns();
		if (left <= 0 || poll(&p, 1, (int)(left / LH_NS_PER_MS) + 1) <= 0)
			return fail(f, ETIMEDOUT);
		streams[i] = (struct pollfd){ accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), POLLIN, 0 };
		if (streams[i].fd < 0)
			return fail(f, errno);
	}
	close(fd);
	return 0;
}

/* Take what is there, at most until `until`; returns the bytes, or -errno when a stream ended. */
static int64_t receive_until(struct flow *f, struct pollfd *streams, lh_ns until)
{
	static char chunk[CHUNK_BYTES];
	int64_t bytes = 0;
	for (;;) {
		lh_ns left = until - lh_clock_ns();
		if (left <= 0)
			return bytes;
		struct timespec wait = { left / LH_NS_PER_S, left % LH_NS_PER_S };
		int n = ppoll(streams, f->streams, &wait, NULL);
		if (n < 0 && errno != EINTR)
			return -errno;
		for (unsigned i = 0; n > 0 && i < f->streams; i++) {
			if (!streams[i].revents)
				continue;
			/* MSG_TRUNC: the kernel counts and drops; copying would only load the machine. */
			ssize_t got = recv(streams[i].fd, f->copies ? chunk : NULL, CHUNK_BYTES,
					   MSG_DONTWAIT | (f->copies ? 0 : MSG_TRUNC));
			if (got == 0)
				return -ECONNRESET;
			if (got < 0 && errno != EAGAIN && errno != EINTR)
				return -errno;
			bytes += got > 0 ? got : 0;
		}
	}
}

static int receiver_main(void *ctx)
{
	struct flow *f = ctx;
	struct pollfd streams[STREAMS_MAX];
	static struct cpu_times before, after;
	if (receiver_accept(f, streams))
		return 1;
	lh_ns steady = f->measure_ns / 2, begin = lh_clock_ns();
	if (f->rtt_ns > 0 && steady > f->rtt_ns)
		steady -= steady % f->rtt_ns;
	int64_t first = receive_until(f, streams, begin + f->measure_ns - steady);
	lh_ns middle = lh_clock_ns();
	cpu_read(&before);
	int64_t second = first < 0 ? first : receive_until(f, streams, middle + steady);
	lh_ns end = lh_clock_ns();
	cpu_read(&after);
	if (second < 0)
		return fail(f, (int)-second);
	f->out->bytes = (uint64_t)(first + second);
	f->out->ns = end - begin;
	f->out->steady_bytes = (uint64_t)second;
	f->out->steady_ns = end - middle;
	f->out->idle = cpu_least_idle(&before, &after);
	f->out->done = true;
	return 0;
}

/* ---- sender ---- */

static int sender_main(void *ctx)
{
	struct flow *f = ctx;
	struct pollfd streams[STREAMS_MAX];
	static char chunk[CHUNK_BYTES];
	struct sockaddr_storage a;
	socklen_t len = address_of(f->t, f->to, f->out->port, &a);
	struct timeval limit = { CONNECT_LIMIT_NS / LH_NS_PER_S, 0 };
	uint64_t pace = f->pace_byte_per_s > 0 && isfinite(f->pace_byte_per_s) ? (uint64_t)f->pace_byte_per_s : ~0ull;
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < f->streams; i++) {
		int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (!len || fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) ||
		    connect(fd, (struct sockaddr *)&a, len) || fcntl(fd, F_SETFL, O_NONBLOCK))
			return fail(f, errno);
		setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &pace, sizeof pace);
		streams[i] = (struct pollfd){ fd, POLLOUT, 0 };
	}
	for (;;) { /* until the receiver has seen enough and closes */
		if (poll(streams, f->streams, -1) < 0 && errno != EINTR)
			return fail(f, errno);
		for (unsigned i = 0; i < f->streams; i++)
			if (streams[i].revents &&
			    send(streams[i].fd, chunk, sizeof chunk, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
			    errno != EAGAIN && errno != EINTR)
				return 0;
	}
}

/* ---- flows together ---- */

static int flow_start(struct lh_net *net, struct flow *f, struct lh_err *err)
{
	int ready[2];
	if (pipe2(ready, O_CLOEXEC))
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "pipe");
	f->ready_fd = ready[1];
	int rc = lh_net_fork(net, f->to, receiver_main, f, &f->pid[0], &f->pidfd[0], err);
	close(ready[1]);
	if (!rc) {
		struct pollfd p = { ready[0], POLLIN, 0 };
		char byte;
		if (poll(&p, 1, (int)(CONNECT_LIMIT_NS / LH_NS_PER_MS)) != 1 || read(ready[0], &byte, 1) != 1)
			rc = lh_err_sys(err, LH_EXIT_MACHINE, f->out->failure ? -f->out->failure : -ETIMEDOUT,
					"goodput receiver");
		else
			rc = lh_net_fork(net, f->from, sender_main, f, &f->pid[1], &f->pidfd[1], err);
	}
	close(ready[0]);
	return rc;
}

static void flow_end(struct flow *f)
{
	for (int i = 0; i < 2; i++) {
		if (f->pid[i] <= 0)
			continue;
		kill(f->pid[i], SIGKILL);
		while (waitpid(f->pid[i], NULL, 0) < 0 && errno == EINTR)
			;
		close(f->pidfd[i]);
		f->pid[i] = 0;
	}
}

static int flow_wait(struct flow *f, lh_ns deadline_ns, struct lh_err *err)
{
	pid_t pid = f->pid[0];
	f->pid[0] = 0;
	int rc = lh_probe_wait(&pid, &f->pidfd[0], 1, deadline_ns, err);
	if (rc == -EIO && f->out->failure)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -f->out->failure, "goodput");
	if (!rc && !f->out->done)
		rc = lh_err_set(err, LH_EXIT_MACHINE, -EIO, "goodput: no result");
	return rc;
}

static int flows_run(struct lh_net *net, struct flow *flows, size_t n, struct lh_err *err)
{
	int rc = 0;
	lh_ns longest = 0;
	for (size_t i = 0; i < n && !rc; i++) {
		*flows[i].out = (struct outcome){ .idle = NAN };
		rc = flow_start(net, &flows[i], err);
		if (flows[i].measure_ns + 8 * flows[i].rtt_ns > longest)
			longest = flows[i].measure_ns + 8 * flows[i].rtt_ns;
	}
	lh_ns deadline = lh_clock_ns() + longest + 2 * CONNECT_LIMIT_NS;
	for (size_t i = 0; i < n && !rc; i++) {
		rc = flow_wait(&flows[i], deadline, err);
		if (rc && rc != -EINTR)
			lh_err_wrap(err, "link %s->%s", flows[i].t->sites[flows[i].link->from].name,
				    flows[i].t->sites[flows[i].link->to].name);
	}
	for (size_t i = 0; i < n; i++)
		flow_end(&flows[i]);
	return rc;
}

/* ---- what a pair can carry at most ---- */

static double least_rate(double a, lh_bps b)
{
	return b && (double)b < a ? (double)b : a;
}

double lh_probe_bound(const struct lh_topology *t, const struct lh_link_result *link, unsigned streams)
{
	unsigned a, b;
	if (!lh_probe_pair_of(t, link->from, link->to, &a, &b))
		return NAN;
	const struct lh_peer *from = &t->peers[a], *to = &t->peers[b];
	/* Half of the receive buffer is window before Linux 6.6; a sender has its whole buffer in flight. */
	double window = to->tcp.rmem[2] / 2.0 < from->tcp.wmem[2] ? to->tcp.rmem[2] / 2.0 : from->tcp.wmem[2];
	double rtt_s = (double)(link->rtt_median_ns > 0 ? link->rtt_median_ns : link->rtt_spec_ns) / 1e9;
	double bound = rtt_s > 0 ? window * 8 * streams / rtt_s : INFINITY;
	bound = least_rate(bound, lh_topology_link(t, link->from, link->to)->imp.rate_bps);
	bound = least_rate(least_rate(bound, from->nic_bps), to->nic_bps);
	if (link->from != link->to)
		bound = least_rate(least_rate(bound, t->sites[link->from].access.up_bps),
				   t->sites[link->to].access.down_bps);
	return bound;
}

static void store(struct flow *f)
{
	double rate = (double)f->out->bytes * 8e9 / (double)f->out->ns;
	double steady = (double)f->out->steady_bytes * 8e9 / (double)f->out->steady_ns;
	bool limited = steady < BOUND_SHARE * f->bound && f->out->idle < IDLE_SHARE;
	if (f->streams == 1) {
		f->link->goodput_1_bit_per_s = rate;
		f->link->steady_1_bit_per_s = steady;
		f->link->host_limited_1 = limited;
	}
	if (f->streams == f->link->streams) {
		f->link->goodput_k_bit_per_s = rate;
		f->link->steady_k_bit_per_s = steady;
		f->link->host_limited_k = limited;
	}
}

static bool measurable(const struct lh_link_result *l)
{
	return l->verdict == LH_LINK_OK || l->verdict == LH_LINK_BELOW_FLOOR;
}

struct pass {
	struct lh_net *net;
	const struct lh_experiment *exp;
	struct lh_probe_report *rep;
	struct outcome *out; /* shared, [TOGETHER_MAX] */
	bool *todo, *again;  /* [nlinks] each: to measure in this pass; to measure once more, alone */
	unsigned streams;
	bool alone;
};

static lh_ns duration(const struct lh_experiment *exp, const struct lh_link_result *l)
{
	lh_ns ns = RTTS_COUNTED * l->rtt_median_ns;
	ns = ns < LONGEST_NS ? ns : LONGEST_NS;
	return ns > exp->probe.goodput_ns ? ns : exp->probe.goodput_ns;
}

/* The next pairs that share no site and fit into the budget together. */
static size_t choose(struct pass *p, struct flow *flows)
{
	const struct lh_topology *t = &p->exp->topology;
	bool busy[LH_SITES_MAX] = { false };
	double load = 0;
	size_t n = 0;
	for (size_t i = 0; i < p->rep->nlinks && n < TOGETHER_MAX; i++) {
		struct lh_link_result *l = &p->rep->links[i];
		unsigned a, b;
		if (!p->todo[i] || busy[l->from] || busy[l->to] || (n && p->alone) ||
		    !lh_probe_pair_of(t, l->from, l->to, &a, &b))
			continue;
		double bound = lh_probe_bound(t, l, p->streams);
		double share = bound / (l->mode == LH_MODE_PACKET ? BUDGET_PACKET_BPS : BUDGET_GSO_BPS);
		if (n && load + share > 1)
			continue;
		flows[n] = (struct flow){
			.t = t,
			.link = l,
			.from = a,
			.to = b,
			.streams = p->streams,
			.bound = bound,
			.out = &p->out[n],
			.rtt_ns = l->rtt_median_ns,
			.measure_ns = duration(p->exp, l),
		};
		n++;
		load += share;
		busy[l->from] = busy[l->to] = true;
		p->todo[i] = false;
	}
	return n;
}

static int pass_run(struct pass *p, lh_probe_progress_fn *progress, void *ctx, size_t *done, size_t total,
		    struct lh_err *err)
{
	struct flow flows[TOGETHER_MAX];
	int rc = 0;
	for (size_t n; !rc && (n = choose(p, flows));) {
		const struct lh_topology *t = &p->exp->topology;
		char what[128];
		snprintf(what, sizeof what, "goodput %s->%s, %u stream%s%s", t->sites[flows[0].link->from].name,
			 t->sites[flows[0].link->to].name, p->streams, p->streams == 1 ? "" : "s",
			 n > 1 ? " and others" : "");
		if (progress)
			progress(ctx, what, *done < total ? *done : total, total);
		rc = flows_run(p->net, flows, n, err);
		for (size_t i = 0; i < n && !rc; i++) {
			store(&flows[i]);
			bool limited = p->streams == 1 ? flows[i].link->host_limited_1 : flows[i].link->host_limited_k;
			if (limited && n > 1)
				p->again[flows[i].link - p->rep->links] = true;
		}
		*done += n;
	}
	return rc;
}

int lh_probe_goodput(struct lh_net *net, const struct lh_experiment *exp, lh_probe_progress_fn *progress, void *ctx,
		     struct lh_probe_report *rep, struct lh_err *err)
{
	if (!exp->probe.goodput_ns)
		return 0;
	unsigned k = exp->probe.streams < 1 ? 1 : exp->probe.streams > STREAMS_MAX ? STREAMS_MAX : exp->probe.streams;
	size_t bytes = TOGETHER_MAX * sizeof(struct outcome), total = 0, done = 0;
	struct pass p = { .net = net, .exp = exp, .rep = rep };
	p.out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p.todo = calloc(rep->nlinks, sizeof *p.todo);
	p.again = calloc(rep->nlinks, sizeof *p.again);
	int rc = p.out != MAP_FAILED && p.todo && p.again ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	for (size_t i = 0; i < rep->nlinks; i++) {
		total += measurable(&rep->links[i]) * (k > 1 ? 2u : 1u);
		rep->links[i].streams = k;
	}
	/* Together, then alone what looked limited by the machine; with 1 and with k streams. */
	for (unsigned round = 0; round < (k > 1 ? 4u : 2u) && !rc; round++) {
		p.streams = round < 2 ? 1 : k;
		p.alone = round & 1;
		for (size_t i = 0; i < rep->nlinks; i++) {
			p.todo[i] = p.alone ? p.again[i] : measurable(&rep->links[i]);
			p.again[i] = false;
		}
		rc = pass_run(&p, progress, ctx, &done, total, err);
	}
	if (progress && !rc)
		progress(ctx, "goodput", total, total);
	if (p.out != MAP_FAILED)
		munmap(p.out, bytes);
	free(p.todo);
	free(p.again);
	return rc;
}

/* ---- the machine ---- */

#define CAPACITY_NS (LH_NS_PER_S / 2)
/* Nothing can be said of the machine from a CPU that did less. */
#define BUSY_LEAST 0.05

/* What the cards and access ways let through of one of these flows; INFINITY: all. */
static double rate_of(const struct lh_topology *t, const struct flow *f)
{
	const struct lh_site *from = &t->sites[f->link->from], *to = &t->sites[f->link->to];
	double rate = least_rate(least_rate(INFINITY, t->peers[f->from].nic_bps), t->peers[f->to].nic_bps);
	if (from != to) { /* shared by the site's peers */
		rate = fmin(rate, least_rate(INFINITY, from->access.up_bps) / from->npeers);
		rate = fmin(rate, least_rate(INFINITY, to->access.down_bps) / to->npeers);
	}
	return rate / 8;
}

int lh_probe_capacity(struct lh_net *net, const struct lh_topology *t, double *ret_byte_per_s, struct lh_err *err)
{
	unsigned n = t->npeers < TOGETHER_MAX ? t->npeers : TOGETHER_MAX;
	struct flow flows[TOGETHER_MAX];
	struct lh_link_result links[TOGETHER_MAX];
	size_t bytes = n * sizeof(struct outcome);
	bool limited = false;
	struct outcome *out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (out == MAP_FAILED)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	for (unsigned i = 0; i < n; i++) {
		unsigned to = (i + n / 2) % n;
		links[i] = (struct lh_link_result){ .from = t->peers[i].site, .to = t->peers[to].site };
		flows[i] = (struct flow){
			.t = t, .link = &links[i], .from = i, .to = to, .streams = 1, .out = &out[i],
			.measure_ns = CAPACITY_NS, .copies = true,
		};
		flows[i].pace_byte_per_s = rate_of(t, &flows[i]);
		limited |= isfinite(flows[i].pace_byte_per_s);
	}
	int rc = flows_run(net, flows, n, err);
	double sum = 0, idle = 1;
	for (unsigned i = 0; !rc && i < n; i++) {
		sum += (double)out[i].steady_bytes * 1e9 / (double)out[i].steady_ns;
		idle = isnan(out[i].idle) ? idle : fmin(idle, out[i].idle);
	}
	if (!rc)
		*ret_byte_per_s = limited ? sum / fmax(1 - idle, BUSY_LEAST) : sum;
	/* A CPU of a kernel that others use too may be busy with them. */
	if (limited && !lh_uml_inside())
		*ret_byte_per_s = NAN;
	munmap(out, bytes);
	return rc;
}
