/* Token buckets let through what was asked: a link, a live change of it, a LAN, an access link, a NIC each way. Apart from the
 * other tests because a kernel whose timers are late (User-Mode Linux on a busy machine) loses tokens. */
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhnet.h"
#include "lhtest.h"

enum { OFFERED_BPS = 150000000 };

struct transfer {
	const char *address;
	lh_ns for_ns;
	int report;
};

static int sink(void *ctx)
{
	const struct transfer *x = ctx;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons(5000) };
	char buf[2048];
	uint64_t bytes = 0;
	lh_ns first = 0, last = 0;
	if (bind(fd, (struct sockaddr *)&me, sizeof me) || write(x->report, "r", 1) != 1)
		return 1;
	struct pollfd p = { fd, POLLIN, 0 };
	while (poll(&p, 1, first ? 300 : 3000) > 0) {
		ssize_t n = recv(fd, buf, sizeof buf, 0);
		last = lh_clock_ns();
		if (first)
			bytes += (uint64_t)n + 42; /* the frame as the qdisc counts it */
		else
			first = last;
	}
	uint64_t bps = last > first ? bytes * 8 * LH_NS_PER_S / (uint64_t)(last - first) : 0;
	return write(x->report, &bps, sizeof bps) == sizeof bps ? 0 : 1;
}

static int source(void *ctx)
{
	const struct transfer *x = ctx;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(5000) };
	static const char buf[1400];
	lh_ns start = lh_clock_ns(), now;
	if (inet_pton(AF_INET, x->address, &to.sin_addr) != 1)
		return 1;
	for (lh_ns sent_ns = 0; (now = lh_clock_ns() - start) < x->for_ns; usleep(500))
		while (sent_ns < now) { /* a timer may be coarse */
			sendto(fd, buf, sizeof buf, 0, (struct sockaddr *)&to, sizeof to);
			sent_ns += (lh_ns)sizeof buf * 8 * LH_NS_PER_S / OFFERED_BPS;
		}
	return 0;
}

/* Rate that arrives at q when p floods it with datagrams. */
static uint64_t flood(struct lh_net *net, const struct lh_topology *t, unsigned p, unsigned q)
{
	char address[64], ready;
	int fds[2], status;
	pid_t a, b;
	uint64_t bps = 0;
	if (pipe(fds) || lh_net_peer_address(t, q, false, address, sizeof address))
		return 0;
	struct transfer x = { address, LH_NS_PER_S / 2, fds[1] };
	if (!lh_net_fork(net, q, sink, &x, &a, NULL, NULL) && read(fds[0], &ready, 1) == 1 &&
	    !lh_net_fork(net, p, source, &x, &b, NULL, NULL)) {
		waitpid(b, &status, 0);
		if (read(fds[0], &bps, sizeof bps) != sizeof bps)
			bps = 0;
		waitpid(a, &status, 0);
	}
	close(fds[0]);
	close(fds[1]);
	return bps;
}

static bool near(uint64_t got, uint64_t want)
{
	bool ok = got > want * 90 / 100 && got < want * 108 / 100;
	if (!ok)
		printf("# asked %llu bit/s, got %llu\n", (unsigned long long)want, (unsigned long long)got);
	return ok;
}

static int body_rate(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	struct lh_net *net;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t);
	lh_test_rate_all(t, 60000000);
	t->links[1].imp.rate_bps = 20000000; /* a->b */
	t->peers[3].nic_bps = 8000000;       /* b-1 */
	t->sites[1].access = (struct lh_access){ .up_bps = 12000000, .queue_kind = LH_QUEUE_PACKETS, .queue_packets = 200 };
	for (unsigned i = 0; i < 4; i++) { /* a sender that wakes up every 10 ms must not leave the link idle */
		t->links[i].imp.queue_kind = LH_QUEUE_PACKETS;
		t->links[i].imp.queue_packets = 200;
	}
	LH_CHECK_OK(lh_test_up(t, &net, &err), &err);
	LH_CHECK(near(flood(net, t, 0, 2), 20000000));
	LH_CHECK(near(flood(net, t, 2, 0), 12000000)); /* the access link, not the 60 of the pair */
	LH_CHECK(near(flood(net, t, 0, 3), 8000000));  /* the NIC, downwards */
	LH_CHECK(near(flood(net, t, 3, 2), 8000000));  /* upwards, in the site */
	LH_CHECK(near(flood(net, t, 0, 1), 60000000)); /* the LAN */
	struct lh_impairment imp = { .rate_bps = 5000000 };
	LH_CHECK_OK(lh_net_set_link(net, 0, 1, &imp, &err), &err);
	LH_CHECK(near(flood(net, t, 0, 2), 5000000));
	LH_CHECK_OK(lh_net_down(net, &err), &err);
	lh_test_topology_free(t);
	return 0;
}

static void rate(void) { lh_test_in_cell(body_rate, NULL, false); }

static const struct lh_test tests[] = {
	{ "rates of links, access and NIC", rate, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "rates", tests, sizeof tests / sizeof *tests);
}
