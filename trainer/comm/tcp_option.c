/* What is asked of the kernel's TCP, and what it says. */
#include <linux/tcp.h> /* the C library's tcp_info ends before what is wanted */
#include <netinet/in.h>
#include <sys/socket.h>

#include "tcp_internal.h"

/* A part is read by so much at once, and no less than comes in this time. */
#define WAKE_BYTES (512.0 * 1024)
#define WAKE_NS (100.0 * LH_NS_PER_MS)

/* What the kernel's own receive buffer comes to as a window. */
enum { AUTO_WINDOW = 3 * 1024 * 1024 };

static bool has_several(const struct tcp *t)
{
	return t->c->streams > 1 || t->c->sockets == LH_SOCKETS_TUNED;
}

void tcp_option_listener(const struct tcp *t, int fd)
{
	int one = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
}

void tcp_option_set(const struct tcp *t, int fd)
{
	int one = 1, unsent = LH_TCP_UNSENT_BYTES;
	lh_ns ms = t->c->deadline_ns / LH_NS_PER_MS;
	unsigned timeout = ms > INT32_MAX ? INT32_MAX : (unsigned)ms;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
	if (has_several(t))
		setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

/* Parts are of use when they are whole; to be woken for every segment of one costs three system calls each time. But the
 * deadline counts from the last bytes that were read. */
int tcp_option_wakes(const struct tcp *t, const struct tcp_pair *p)
{
	double bytes = WAKE_BYTES;
	if (t->c->sockets != LH_SOCKETS_TUNED)
		return 0;
	if (t->carries && t->c->pace_byte_per_s) {
		double rate = t->carries[p->rank] * (double)t->c->pace_byte_per_s / p->nstreams;
		bytes = rate * WAKE_NS / 1e9 < bytes ? rate * WAKE_NS / 1e9 : bytes;
	}
	return (int)bytes;
}

void tcp_option_wake(struct tcp_conn *c)
{
	const struct lh_frame_reader *r = &c->reader;
	if (!c->pair || !c->pair->wakes_most)
		return;
	size_t left = r->in_payload ? r->frame.length - r->have : 0;
	int bytes = left < (size_t)c->pair->wakes_most ? (int)left : c->pair->wakes_most;
	bytes = bytes < 1 ? 1 : bytes;
	/* Another system call for more than half of it as it is would save none. */
	if (c->wakes <= bytes && c->wakes > bytes / 2)
		return;
	if (bytes != (c->wakes ? c->wakes : 1) && !setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes))
		c->wakes = bytes;
}

static bool ask(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof *ret;
	*ret = (struct tcp_info){ 0 }; /* an older kernel writes less */
	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len);
}

lh_ns tcp_option_rtt(int fd)
{
	struct tcp_info info;
	return ask(fd, &info) ? (lh_ns)info.tcpi_rtt * LH_NS_PER_US : 0;
}

/* The harness knows the paths and says how many (topologies/tune.c). By hand and without a word: with what a socket's
 * buffers may grow to, as many as carry 1 Gbit/s. */
unsigned tcp_option_streams(const struct tcp *t, int fd)
{
	enum { BYTES_PER_S = 125000000 };
	int bytes = 0;
	socklen_t len = sizeof bytes;
	if (t->c->streams || t->c->sockets == LH_SOCKETS_STUDY)
		return t->c->streams ? t->c->streams : 1;
	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) || bytes < AUTO_WINDOW)
		bytes = AUTO_WINDOW;
	double n = (double)tcp_option_rtt(fd) / 1e9 * BYTES_PER_S / bytes;
	return n < 1 ? 1 : n > LH_STREAMS_AUTO_MAX ? LH_STREAMS_AUTO_MAX : (unsigned)n + 1;
}

static lh_ns more_ns(uint64_t now_us, lh_ns *was_ns)
{
	lh_ns now = (lh_ns)now_us * LH_NS_PER_US, more = now - *was_ns;
	*was_ns = now;
	return more;
}

static uint64_t more(uint64_t now, uint64_t *was)
{
	uint64_t n = now - *was;
	*was = now;
	return n;
}

static lh_ns larger(lh_ns a, lh_ns b)
{
	return a > b ? a : b;
}

void lh_tcp_round_info(struct lh_transport *base, unsigned peer, struct lh_tcp_round *ret)
{
	struct tcp_pair *p = &((struct tcp *)base)->pairs[peer];
	struct lh_tcp_round r = { 0 };
	for (unsigned i = 0; p->open && i < p->nstreams; i++) {
		struct tcp_conn *c = p->conns[i];
		struct tcp_info k;
		if (c->fd < 0 || !ask(c->fd, &k))
			continue;
		r.busy_ns = larger(r.busy_ns, more_ns(k.tcpi_busy_time, &c->told.busy_ns));
		r.window_ns = larger(r.window_ns, more_ns(k.tcpi_rwnd_limited, &c->told.window_ns));
		r.buffer_ns = larger(r.buffer_ns, more_ns(k.tcpi_sndbuf_limited, &c->told.buffer_ns));
		r.retransmits += more(k.tcpi_total_retrans, &c->told.retransmits);
		r.bytes_sent += more(k.tcpi_bytes_sent, &c->told.bytes_sent);
		r.rtt_ns = larger(r.rtt_ns, (lh_ns)k.tcpi_rtt * LH_NS_PER_US);
	}
	*ret = r;
}
