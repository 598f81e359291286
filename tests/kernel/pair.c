#include "pair.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/cell.h"
#include "read.h"

enum { EXPERIMENTAL_TYPE = 0x88b5, BYTES_MIN = ETH_HLEN + 16, BYTES_MAX = 1514, BURST = 16 };

int pair_shell(const char *fmt, ...)
{
	char command[1024], line[1200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(command, sizeof command, fmt, ap);
	va_end(ap);
	snprintf(line, sizeof line, "PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; %s", command);
	fflush(NULL);
	return system(line);
}

static int body(void *ctx)
{
	int (*fn)(void) = *(int (**)(void))ctx;
	/* Nothing but our frames: no IPv6 on the pair. */
	if (pair_shell("f=/proc/sys/net/ipv6/conf/default/disable_ipv6; ! test -e $f || echo 1 >$f; "
		       "ip link add " PAIR_OUT " type veth peer name " PAIR_IN " && "
		       "ip link set " PAIR_OUT " up && ip link set " PAIR_IN " up"))
		return 2;
	return fn();
}

void pair_test(int (*fn)(void))
{
	static const struct lh_cell_options opt = { .need_net = true };
	struct lh_err err = LH_ERR_INIT;
	int status = -1;
	int rc = lh_cell_run(&opt, body, &fn, &status, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_EQUAL(status, 0);
}

int pair_put(const struct lh_qdisc *q)
{
	struct lh_err err = LH_ERR_INIT;
	struct nl_sock *sock = nl_socket_alloc();
	struct nl_msg *msg = nlmsg_alloc_size(LH_QDISC_MSG_BYTES);
	struct tcmsg tcm = { .tcm_ifindex = (int)if_nametoindex(PAIR_OUT), .tcm_parent = TC_H_ROOT };
	int rc = nl_connect(sock, NETLINK_ROUTE);
	nlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, RTM_NEWQDISC, 0, NLM_F_CREATE | NLM_F_REPLACE);
	nlmsg_append(msg, &tcm, sizeof tcm, NLMSG_ALIGNTO);
	if (!rc)
		rc = lh_qdisc_fill(msg, q, &err);
	if (rc) {
		printf("# fill: %s\n", err.text);
		nlmsg_free(msg);
	} else {
		rc = nl_send_sync(sock, msg); /* frees it */
		if (rc)
			printf("# put: %s\n", nl_geterror(rc));
	}
	nl_socket_free(sock);
	return rc;
}

int pair_netem(const struct lh_impairment *imp)
{
	struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .limit_packets = LH_LIMIT_FREE, .imp = *imp };
	return pair_put(&q);
}

int pair_get(struct lh_qdisc_seen *ret)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_reader *r;
	int rc = lh_reader_open(&r, &err);
	if (!rc) {
		rc = lh_read_root_qdisc(r, (int)if_nametoindex(PAIR_OUT), ret, &err);
		lh_reader_close(r);
	}
	if (rc)
		printf("# get: %s\n", err.text);
	return rc;
}

static void print_difference(void *ctx, const struct lh_verify_field *f)
{
	if (f->verdict == LH_VERIFY_DIFFERENT)
		printf("# %s: asked %s, got %s\n", f->field, f->asked, f->got);
}

int pair_differences(const struct lh_qdisc *asked)
{
	struct lh_qdisc_seen seen;
	return pair_get(&seen) ? -1 : lh_qdisc_compare(PAIR_OUT, asked, &seen, print_difference, NULL);
}

static int open_end(const char *name, bool sends)
{
	int big = 1 << 24;
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* Beyond the system's limit where we may, up to it where not. */
	int option = sends ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
	if (setsockopt(fd, SOL_SOCKET, option, &big, sizeof big))
		setsockopt(fd, SOL_SOCKET, sends ? SO_SNDBUF : SO_RCVBUF, &big, sizeof big);
	if (sends)
		at.sll_protocol = 0; /* hear nothing */
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at))
		return -1;
	return fd;
}

/* Payload: sequence number, time of sending, then a pattern that shows damage. */
static void build(unsigned char *frame, uint32_t bytes, uint32_t seq)
{
	int64_t now = lh_clock_ns();
	memset(frame, 0xff, 6);
	memset(frame + 6, 0x02, 6);
	frame[12] = EXPERIMENTAL_TYPE >> 8;
	frame[13] = EXPERIMENTAL_TYPE & 0xff;
	memcpy(frame + ETH_HLEN, &seq, 4);
	memcpy(frame + ETH_HLEN + 4, &seq, 4);
	memcpy(frame + ETH_HLEN + 8, &now, 8);
	memset(frame + BYTES_MIN, 0x5a, bytes - BYTES_MIN);
}

static bool is_whole(const unsigned char *frame, uint32_t bytes)
{
	static const unsigned char head[14] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 2, 2, 2, 2, 2,
						EXPERIMENTAL_TYPE >> 8, EXPERIMENTAL_TYPE & 0xff };
	if (memcmp(frame, head, sizeof head) || memcmp(frame + ETH_HLEN, frame + ETH_HLEN + 4, 4))
		return false;
	for (uint32_t i = BYTES_MIN; i < bytes; i++)
		if (frame[i] != 0x5a)
			return false;
	return true;
}

static void drain(int fd, struct pair_traffic *t)
{
	unsigned char frame[BYTES_MAX];
	ssize_t n;
	while ((n = recv(fd, frame, sizeof frame, 0)) > 0) {
		if ((uint32_t)n != t->bytes || t->ngot == 2 * t->frames)
			continue;
		struct pair_frame *f = &t->got[t->ngot++];
		f->got_ns = lh_clock_ns();
		memcpy(&f->seq, frame + ETH_HLEN, 4);
		memcpy(&f->sent_ns, frame + ETH_HLEN + 8, 8);
		f->damaged = !is_whole(frame, t->bytes);
	}
}

static void wait_until(int fd, struct pair_traffic *t, int64_t until_ns)
{
	for (int64_t left; (left = until_ns - lh_clock_ns()) > 0;) {
		struct pollfd p = { fd, POLLIN, 0 };
		struct timespec ts = { left / LH_NS_PER_S, left % LH_NS_PER_S };
		ppoll(&p, 1, &ts, NULL);
		drain(fd, t);
	}
}

int pair_run(struct pair_traffic *t)
{
	unsigned char frame[BYTES_MAX];
	int out = open_end(PAIR_OUT, true), in = open_end(PAIR_IN, false);
	t->ngot = 0;
	t->got = calloc(2 * (size_t)t->frames, sizeof *t->got);
	if (out < 0 || in < 0 || !t->got || t->bytes < BYTES_MIN || t->bytes > BYTES_MAX)
		return -1;
	int64_t next = lh_clock_ns();
	for (uint32_t i = 0; i < t->frames;) {
		build(frame, t->bytes, i);
		/* ENOBUFS: the qdisc's queue was full; given to it and lost, as it would be in a router. */
		if (send(out, frame, t->bytes, 0) == (ssize_t)t->bytes || errno == ENOBUFS)
			i++;
		else if (errno != EAGAIN)
			return -1;
		else
			wait_until(in, t, lh_clock_ns() + LH_NS_PER_MS);
		next += t->gap_ns;
		if (t->gap_ns)
			wait_until(in, t, next);
		else if (i % BURST == 0)
			drain(in, t);
	}
	wait_until(in, t, lh_clock_ns() + t->linger_ns);
	close(out);
	close(in);
	return 0;
}

int pair_run_ecn(uint32_t n, uint32_t *ret_arrived, uint32_t *ret_marked)
{
	enum { ECN_CAPABLE = 2, CONGESTED = 3, TOS_AT = ETH_HLEN + 1 };
	unsigned char frame[ETH_HLEN + 20 + 8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 2, 2, 2, 2, 2, 0x08, 0x00,
		0x45, ECN_CAPABLE, 0, 28, 0, 0, 0, 0, 64, 253 /* experimental */, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 };
	unsigned char got[BYTES_MAX];
	int out = open_end(PAIR_OUT, true), in = open_end(PAIR_IN, false);
	struct pollfd p = { in, POLLIN, 0 };
	*ret_arrived = *ret_marked = 0;
	if (out < 0 || in < 0)
		return -1;
	for (uint32_t i = 0; i < n; i++)
		if (send(out, frame, sizeof frame, 0) != sizeof frame)
			return -1;
	while (poll(&p, 1, 50) > 0) {
		if (recv(in, got, sizeof got, 0) != sizeof frame || got[12] != 0x08)
			continue;
		++*ret_arrived;
		*ret_marked += (got[TOS_AT] & CONGESTED) == CONGESTED;
	}
	close(out);
	close(in);
	return 0;
}

void pair_done(struct pair_traffic *t)
{
	free(t->got);
	t->got = NULL;
}
