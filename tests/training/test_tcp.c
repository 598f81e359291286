/* The TCP transport itself, some peers in one process: streams, a slow stream between others, and members that come and
 * go. The other ends are real transports on 127/8; a forwarder stands in for a slow path.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hash.h"
#include "lhtest.h"
#include "tcp_nodes.h"

/* ---- a forwarder before rank 0, whose third connection is slow ---- */

enum { WAYS = 16, WAY_BUFFER = 16 * 1024, SLOW = 2, SLOW_BYTES_PER_S = 1000000 };

struct way { /* one direction of one connection */
	int from, to;
	bool slow;
	uint8_t buffer[WAY_BUFFER];
	size_t have, off;
	uint64_t bytes;
	lh_ns begin_ns;
};

static struct way ways[WAYS];
static unsigned nways;
static int front = -1;
static struct sockaddr_in behind;

static int small_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), size = 16 * 1024;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	return fd;
}

static void take_calls(void)
{
	int fd;
	while (nways + 2 <= WAYS && (fd = accept4(front, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		int on = small_socket();
		bool slow = nways / 2 == SLOW;
		CU_ASSERT_EQUAL_FATAL(connect(on, (struct sockaddr *)&behind, sizeof behind), 0);
		fcntl(on, F_SETFL, O_NONBLOCK);
		ways[nways++] = (struct way){ .from = fd, .to = on, .slow = slow, .begin_ns = lh_clock_ns() };
		ways[nways++] = (struct way){ .from = on, .to = fd, .slow = slow, .begin_ns = lh_clock_ns() };
	}
}

static void pump(struct way *w)
{
	for (int i = 0; i < 64; i++) {
		double seconds = (double)(lh_clock_ns() - w->begin_ns) / 1e9;
		if (w->slow && (double)w->bytes > seconds * SLOW_BYTES_PER_S)
			return;
		if (w->off == w->have) {
			ssize_t n = recv(w->from, w->buffer, sizeof w->buffer, MSG_DONTWAIT);
			if (n <= 0)
				return;
			w->have = (size_t)n;
			w->off = 0;
		}
		ssize_t n = send(w->to, w->buffer + w->off, w->have - w->off, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			return;
		w->off += (size_t)n;
		w->bytes += (uint64_t)n;
	}
}

static void forward(void)
{
	if (front < 0)
		return;
	take_calls();
	for (unsigned i = 0; i < nways; i++)
		pump(&ways[i]);
}

static void stand_before(const struct lh_peer_endpoint *e, struct lh_peer_endpoint *seen)
{
	struct sockaddr_in a;
	int one = 1;
	behind = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(e->port) };
	inet_pton(AF_INET, e->host, &behind.sin_addr);
	seen->port = 7200;
	a = behind;
	a.sin_port = htons(seen->port);
	front = small_socket();
	fcntl(front, F_SETFL, O_NONBLOCK);
	setsockopt(front, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	CU_ASSERT_EQUAL_FATAL(bind(front, (struct sockaddr *)&a, sizeof a), 0);
	CU_ASSERT_EQUAL_FATAL(listen(front, WAYS), 0);
	nways = 0;
	after_turn = forward;
}

static void stand_aside(void)
{
	for (unsigned i = 0; i < nways; i += 2) {
		close(ways[i].from);
		close(ways[i].to);
	}
	close(front);
	front = -1;
}

/* ---- exchanges ---- */

static int read_vector(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, ((struct node *)ctx)->vector + offset, n * sizeof *dst);
	return 0;
}

static int write_vector(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	memcpy(((struct node *)ctx)->vector + offset, src, n * sizeof *src);
	return 0;
}

static void make_exchange(uint64_t n, size_t part_bytes)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_group group;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, nnodes, NULL, NULL, &err), 0);
	for (unsigned i = 0; i < nnodes; i++) {
		struct node *v = &nodes[i];
		v->n = n;
		v->vector = malloc((n + 1) * sizeof *v->vector);
		CU_ASSERT_PTR_NOT_NULL_FATAL(v->vector);
		struct lh_allreduce_config c = {
			.pattern = &lh_pattern_butterfly, .group = &group, .codec = lh_codec_find(LH_WIRE_FP32), .scale = 1,
			.rank = i, .n = n, .part_bytes = part_bytes, .read = read_vector, .write = write_vector, .ctx = v,
		};
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, v->t, &v->a, &err), 0);
	}
	lh_group_done(&group);
}

static float summand(unsigned rank, uint32_t exchange, uint64_t i)
{
	return (float)(lh_mix64(i * NODES + rank + exchange * 7919u) % 1000);
}

static bool exchanged(void)
{
	for (unsigned i = 0; i < nnodes; i++)
		if (!lh_allreduce_done(nodes[i].a))
			return false;
	return true;
}

static void exchange(uint32_t number)
{
	struct lh_err err = LH_ERR_INIT;
	for (unsigned i = 0; i < nnodes; i++) {
		for (uint64_t k = 0; k < nodes[i].n; k++)
			nodes[i].vector[k] = summand(i, number, k);
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(nodes[i].a, number, &err), 0);
	}
	CU_ASSERT_TRUE_FATAL(run_until(exchanged));
	for (unsigned i = 0; i < nnodes; i++) {
		uint64_t wrong = 0;
		for (uint64_t k = 0; k < nodes[i].n; k++) {
			float sum = 0;
			for (unsigned r = 0; r < nnodes; r++)
				sum += summand(r, number, k);
			wrong += nodes[i].vector[k] != sum;
		}
		CU_ASSERT_EQUAL(wrong, 0);
	}
}

/* Any number of streams: the same sums, the same bytes, and every stream carries some. */
static void test_streams(void)
{
	static const uint32_t streams[] = { 1, 2, 7, LH_STREAMS_MAX };
	for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
		set_up(3, streams[i], LH_MEMBERSHIP_FIXED);
		for (unsigned k = 0; k < nnodes; k++)
			start(&nodes[k]);
		make_exchange(1000003, 16 * 1024);
		CU_ASSERT_TRUE_FATAL(run_until(all_joined));
		for (unsigned k = 0; k < nnodes; k++)
			for (unsigned p = 0; p < nnodes; p++)
				if (p != k)
					CU_ASSERT_EQUAL(((struct tcp *)nodes[k].t)->pairs[p].nstreams, streams[i]);
		uint64_t before = nodes[1].t->bytes_sent;
		exchange(1);
		CU_ASSERT_EQUAL(nodes[1].t->bytes_sent - before, lh_allreduce_bytes(nodes[1].a));
		exchange(2);
		CU_ASSERT_EQUAL(nodes[1].t->bytes_sent - before, 2 * lh_allreduce_bytes(nodes[1].a));
		stop_all();
	}
}

/* One of four streams carries 1 MB/s each way. Were the bytes dealt evenly, it would carry a quarter and need two seconds
 * an exchange. */
static void test_slow_stream(void)
{
	enum { N = 2000000, EXCHANGES = 3 };
	set_up(2, 4, LH_MEMBERSHIP_FIXED);
	start(&nodes[0]);
	stand_before(&nodes[0].peers[0], &nodes[1].peers[0]);
	start(&nodes[1]);
	make_exchange(N, 64 * 1024);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	CU_ASSERT_EQUAL(nways, 8);
	lh_ns begin = lh_clock_ns();
	for (uint32_t i = 1; i <= EXCHANGES; i++)
		exchange(i);
	double seconds = (double)(lh_clock_ns() - begin) / 1e9;
	uint64_t all = 0, slow = 0, least = UINT64_MAX;
	for (unsigned i = 0; i < nways; i += 2) {
		uint64_t bytes = ways[i].bytes + ways[i + 1].bytes;
		all += bytes;
		slow += ways[i].slow ? bytes : 0;
		least = !ways[i].slow && bytes < least ? bytes : least;
	}
	printf("# slow stream: %.1f %% of %.1f MB, in %.2f s; the least used of the others %.1f %%\n",
	       100.0 * (double)slow / (double)all, (double)all / 1e6, seconds, 100.0 * (double)least / (double)all);
	CU_ASSERT_TRUE(all >= 2ull * EXCHANGES * N * 4);
	CU_ASSERT_TRUE(slow * 8 < all);
	CU_ASSERT_TRUE(least * 10 > all);
	CU_ASSERT_TRUE(seconds < EXCHANGES * 2 * 0.75);
	stand_aside();
	stop_all();
}

/* ---- members ---- */

static int receive_begin(void *ctx, unsigned peer, const struct lh_frame *f, void **ret, struct lh_err *err)
{
	struct node *v = ctx;
	CU_ASSERT_EQUAL(f->view, v->t->view);
	*ret = v->taken;
	return 0;
}

static int receive_end(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err)
{
	struct node *v = ctx;
	CU_ASSERT_EQUAL(memcmp(v->taken, nodes[peer].payload, f->length), 0);
	v->received++;
	v->last_part = f->part;
	return 0;
}

static int send_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct node *v = ctx;
	if (peer != v->out_to || !v->out_left)
		return 0;
	v->out_left--;
	*ret = v->out;
	v->out.part++;
	*ret_payload = v->payload;
	return 1;
}

static void sent(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload) { }

static const struct lh_transport_user by_hand = {
	.receive_begin = receive_begin, .receive_end = receive_end, .send_next = send_next, .sent = sent,
};

static void attach(struct node *v)
{
	v->t->user = &by_hand;
	v->t->user_ctx = v;
}

static void set_view(struct node *v, uint32_t view)
{
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(v->t->ops->view(v->t, view, &err), 0);
}

/* `n` frames of data from one to another. */
static void send_data(struct node *v, unsigned to, unsigned n)
{
	memset(v->payload, (int)('A' + v->c.rank), sizeof v->payload);
	v->out = (struct lh_frame){ .type = LH_FRAME_CONTRIBUTION, .exchange = 1, .length = sizeof v->payload };
	v->out_to = to;
	v->out_left = n;
	v->t->ops->wake(v->t, to);
}

static unsigned count(const struct node *v, char kind, unsigned peer)
{
	unsigned n = 0;
	for (unsigned i = 0; i < v->nlog; i++)
		n += v->log[i].kind == kind && v->log[i].peer == peer;
	return n;
}

static const struct said *last(const struct node *v)
{
	static const struct said nothing;
	return v->nlog ? &v->log[v->nlog - 1] : &nothing;
}

static void start_members(unsigned n, uint32_t streams)
{
	set_up(n, streams, LH_MEMBERSHIP_ELASTIC);
	for (unsigned i = 0; i < n; i++)
		start(&nodes[i]);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
}

static void test_messages(void)
{
	char big[LH_FRAME_MEMBER_MAX + 1];
	memset(big, 'b', sizeof big);
	start_members(3, 2);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++)
			CU_ASSERT_EQUAL(count(&nodes[i], 'f', k), i != k);
	struct lh_transport *t = nodes[2].t;
	CU_ASSERT_EQUAL(((struct tcp *)t)->pairs[0].nstreams, 3); /* one for the members */
	CU_ASSERT_EQUAL(t->ops->tell(t, 0, "one", 3), 0);
	CU_ASSERT_EQUAL(t->ops->tell(t, 0, "two", 3), 0);
	CU_ASSERT_EQUAL(t->ops->tell(t, 0, big, sizeof big), -EMSGSIZE);
	CU_ASSERT_EQUAL(t->ops->tell(t, 0, big, 0), -EMSGSIZE);
	CU_ASSERT_EQUAL(t->ops->tell(t, 0, big, sizeof big - 1), 0);
	nodes[2].states_left = 3;
	t->ops->wake(t, 1);
	run_for(LH_NS_PER_S / 10);
	CU_ASSERT_EQUAL(count(&nodes[0], 'm', 2), 3);
	CU_ASSERT_STRING_EQUAL(nodes[0].log[2].text, "one");
	CU_ASSERT_STRING_EQUAL(nodes[0].log[3].text, "two");
	CU_ASSERT_EQUAL(nodes[0].log[4].number, LH_FRAME_MEMBER_MAX);
	CU_ASSERT_EQUAL(count(&nodes[1], 's', 2), 3);
	int queued = 0;
	while (!t->ops->tell(t, 1, big, sizeof big - 1))
		queued++;
	CU_ASSERT_EQUAL(queued, LH_TCP_MESSAGES_MAX / LH_FRAME_MEMBER_MAX);
	CU_ASSERT_EQUAL(t->ops->tell(t, 1, "x", 1), -ENOBUFS);
	CU_ASSERT_TRUE(t->ops->rtt(t, 1) > 0);
	stop_all();
}

static bool some_came(void)
{
	return nodes[0].received >= 3100;
}

/* Data of a later view waits, messages pass it, and of an earlier one nothing reaches the user. */
static void test_views(void)
{
	start_members(2, 1);
	attach(&nodes[0]);
	attach(&nodes[1]);
	send_data(&nodes[1], 0, 5);
	run_for(LH_NS_PER_S / 20);
	CU_ASSERT_EQUAL(nodes[0].received, 5);
	set_view(&nodes[1], 1);
	attach(&nodes[1]);
	send_data(&nodes[1], 0, 3000); /* more than the kernel holds */
	nodes[1].t->ops->tell(nodes[1].t, 0, "view 1", 6);
	run_for(LH_NS_PER_S / 5);
	CU_ASSERT_EQUAL(nodes[0].received, 5);
	CU_ASSERT_STRING_EQUAL(last(&nodes[0])->text, "view 1");
	set_view(&nodes[0], 1);
	run_for(LH_NS_PER_S / 20);
	CU_ASSERT_EQUAL(nodes[0].received, 5); /* nobody takes it yet */
	attach(&nodes[0]);
	run_for(LH_NS_PER_S / 5);
	CU_ASSERT_EQUAL(nodes[0].received, 3005);
	CU_ASSERT_EQUAL(nodes[0].last_part, 2999);

	send_data(&nodes[1], 0, 3000); /* and now the receiver is ahead, amid them */
	CU_ASSERT_TRUE_FATAL(run_until(some_came));
	set_view(&nodes[0], 2);
	attach(&nodes[0]);
	unsigned received = nodes[0].received;
	run_for(LH_NS_PER_S / 5);
	CU_ASSERT_EQUAL(nodes[1].out_left, 0); /* it was read */
	CU_ASSERT_EQUAL(nodes[0].received, received);
	set_view(&nodes[1], 2);
	attach(&nodes[1]);
	send_data(&nodes[1], 0, 7);
	run_for(LH_NS_PER_S / 20);
	CU_ASSERT_EQUAL(nodes[0].received, received + 7);
	stop_all();
}

/* What is half sent when the view changes is sent to its end, from a copy. */
static void test_view_amid_a_frame(void)
{
	enum { N = 3000000 };
	struct lh_err err = LH_ERR_INIT;
	start_members(2, 2);
	make_exchange(N, 0);
	for (unsigned i = 0; i < 2; i++) {
		for (uint64_t k = 0; k < N; k++)
			nodes[i].vector[k] = summand(i, 1, k);
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(nodes[i].a, 1, &err), 0);
	}
	for (int i = 0; i < 3; i++)
		turn();
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_FALSE(lh_allreduce_done(nodes[i].a));
		set_view(&nodes[i], 1);
		lh_allreduce_free(nodes[i].a);
		nodes[i].a = NULL;
		free(nodes[i].vector);
		turn();
	}
	make_exchange(1000, 0);
	exchange(1);
	stop_all();
}

static void test_lost_and_found(void)
{
	start_members(3, 2);
	stop(&nodes[1]);
	run_for(LH_NS_PER_S / 20);
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 1), 1);
	CU_ASSERT_EQUAL(count(&nodes[2], 'l', 1), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(last(&nodes[0])->text, "closed by the other side"));
	CU_ASSERT_EQUAL(nodes[0].t->ops->tell(nodes[0].t, 1, "x", 1), -ENOTCONN);
	run_for(LH_NS_PER_S / 2); /* rank 2 tries to reach it, in vain */
	nodes[1].c.incarnation = 1;
	nodes[1].c.absent = true;
	start(&nodes[1]);
	run_for(LH_NS_PER_S);
	for (unsigned i = 0; i < 3; i += 2) { /* by the lower and by the higher rank */
		CU_ASSERT_EQUAL(last(&nodes[i])->kind, 'f');
		CU_ASSERT_EQUAL(last(&nodes[i])->peer, 1);
		CU_ASSERT_EQUAL(last(&nodes[i])->number, 1);
	}
	CU_ASSERT_EQUAL(nodes[1].nlog, 2);
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 2), 0); /* the others never noticed each other */
	/* Dropped: the other side is told, and connects again. */
	nodes[0].t->ops->drop(nodes[0].t, 1);
	run_for(LH_NS_PER_S / 2);
	CU_ASSERT_EQUAL(count(&nodes[1], 'l', 0), 1);
	CU_ASSERT_EQUAL(count(&nodes[1], 'f', 0), 2);
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 1), 1);
	CU_ASSERT_EQUAL(count(&nodes[0], 'f', 1), 3);
	stop_all();
}

/* A peer that stops for longer than the deadline is lost, without anything being waited for; and then found. */
static void test_silent_member(void)
{
	set_up(3, 1, LH_MEMBERSHIP_ELASTIC);
	for (unsigned i = 0; i < 3; i++) {
		nodes[i].c.deadline_ns = LH_NS_PER_S / 2;
		start(&nodes[i]);
	}
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	struct lh_transport *stalled = nodes[2].t;
	nodes[2].t = NULL;
	run_for(LH_NS_PER_S);
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 2), 1);
	CU_ASSERT_EQUAL(count(&nodes[1], 'l', 2), 1);
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 1), 0); /* they ping */
	CU_ASSERT_PTR_NOT_NULL(strstr(last(&nodes[0])->text, "no byte for"));
	nodes[2].t = stalled;
	run_for(LH_NS_PER_S);
	CU_ASSERT_EQUAL(count(&nodes[0], 'f', 2), 2);
	CU_ASSERT_EQUAL(count(&nodes[2], 'f', 0), 2);
	stop_all();
}

/* Rank 1 is started again before anybody noticed that it died; its ghost then comes back and is refused. */
static void test_incarnations(void)
{
	struct lh_err err = LH_ERR_INIT;
	set_up(2, 1, LH_MEMBERSHIP_ELASTIC);
	start(&nodes[0]);
	start(&nodes[1]);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	struct lh_transport *old = nodes[1].t;
	/* The same endpoint cannot be listened at twice: the new one has another, as no peer connects to it. */
	nodes[1].peers[1].port++;
	nodes[1].c.incarnation = 1;
	start(&nodes[1]);
	run_for(LH_NS_PER_S / 5);
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 1), 1);
	CU_ASSERT_EQUAL(count(&nodes[0], 'f', 1), 2);
	CU_ASSERT_EQUAL(last(&nodes[0])->number, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(nodes[0].log[1].text, "started again"));
	int rc = 0;
	for (int i = 0; !rc && i < 200; i++) {
		rc = old->ops->progress(old, &err);
		turn();
	}
	CU_ASSERT_EQUAL(rc, -ECONNREFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "peer peer-0: refused this peer: rank 1 was started again since"));
	CU_ASSERT_EQUAL(count(&nodes[0], 'l', 1), 1);
	old->ops->close(old);
	stop_all();
}

/* The owner's descriptors end a wait: a pipe when there is something in it, until it is watched no longer; a file always. */
static void test_watch(void)
{
	int ends[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT_FATAL(file >= 0 && !pipe2(ends, O_CLOEXEC));
	set_up(2, 1, LH_MEMBERSHIP_FIXED);
	start(&nodes[0]);
	start(&nodes[1]);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	struct lh_transport *t = nodes[0].t;
	CU_ASSERT_EQUAL(lh_tcp_watch_all(t, (const int[]){ -1, ends[0] }, 2, NULL), 0);
	lh_ns begin = lh_clock_ns();
	for (int i = 0; i < 5; i++) /* until a timer each, perhaps */
		CU_ASSERT_EQUAL(t->ops->wait(t, NULL), 0);
	CU_ASSERT_TRUE(lh_clock_ns() - begin > LH_NS_PER_MS); /* it did sleep */
	CU_ASSERT_FALSE(t->called);
	CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
	CU_ASSERT_EQUAL(t->ops->wait(t, NULL), 0);
	CU_ASSERT_TRUE(t->called);
	t->called = false;
	CU_ASSERT_EQUAL(t->ops->watch(t, ends[0], false), 0);
	CU_ASSERT_EQUAL(t->ops->wait(t, NULL), 0);
	CU_ASSERT_FALSE(t->called);
	CU_ASSERT_EQUAL(t->ops->watch(t, file, true), 0);
	CU_ASSERT_EQUAL(t->ops->wait(t, NULL), 0);
	CU_ASSERT_TRUE(t->called);
	t->called = false;
	CU_ASSERT_EQUAL(t->ops->watch(t, file, false), 0);
	CU_ASSERT_EQUAL(t->ops->wait(t, NULL), 0);
	CU_ASSERT_FALSE(t->called);
	close(ends[0]);
	close(ends[1]);
	close(file);
	stop_all();
}

static const struct lh_test tests[] = {
	{ "watch", test_watch, LH_TEST_FORK },
	{ "streams", test_streams, LH_TEST_FORK },
	{ "slow_stream", test_slow_stream, LH_TEST_FORK },
	{ "messages", test_messages, LH_TEST_FORK },
	{ "views", test_views, LH_TEST_FORK },
	{ "view_amid_a_frame", test_view_amid_a_frame, LH_TEST_FORK },
	{ "lost_and_found", test_lost_and_found, LH_TEST_FORK },
	{ "silent_member", test_silent_member, LH_TEST_FORK },
	{ "incarnations", test_incarnations, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "tcp", tests, sizeof tests / sizeof *tests);
}
