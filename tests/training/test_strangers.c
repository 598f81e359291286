/* Who may talk to a peer: strangers get a reason, a broken partner ends the run with its name, nobody crashes it.
 * The test plays the other side on raw sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "comm/auth.h"
#include "comm/frame.h"
#include "lhpeers.h"
#include "lhtest.h"

static struct lhpeers g;

static struct sockaddr_in address_of(unsigned rank)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(g.endpoints[rank].port) };
	inet_pton(AF_INET, g.endpoints[rank].host, &a.sin_addr);
	return a;
}

/* Everything blocks for at most 5 s: a test that waits longer has failed. */
static void limit(int fd)
{
	struct timeval tv = { .tv_sec = 5 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

static int call(unsigned rank)
{
	struct sockaddr_in a = address_of(rank);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	limit(fd);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void send_frame(int fd, struct lh_frame f, const void *payload)
{
	uint8_t header[LH_FRAME_HEADER];
	lh_frame_print(&f, header);
	CU_ASSERT_EQUAL(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	if (payload)
		CU_ASSERT_EQUAL(send(fd, payload, f.length, MSG_NOSIGNAL), f.length);
}

/* False at the end of the stream. */
static bool receive_frame(int fd, struct lh_frame *ret, uint8_t *payload)
{
	uint8_t header[LH_FRAME_HEADER];
	if (recv(fd, header, sizeof header, MSG_WAITALL) != sizeof header)
		return false;
	CU_ASSERT_EQUAL_FATAL(lh_frame_parse(header, ret, NULL), 0);
	return !ret->length || recv(fd, payload, ret->length, MSG_WAITALL) == ret->length;
}

static void send_hello(int fd, enum lh_frame_type type, const struct lh_hello *h)
{
	uint8_t payload[LH_HELLO_BYTES];
	lh_hello_print(h, payload);
	send_frame(fd, (struct lh_frame){ .type = type, .length = sizeof payload }, payload);
}

/* It must be refused with these words, and the connection closed. */
static void expect_refusal(int fd, const char *says)
{
	struct lh_frame f = { 0 };
	uint8_t payload[LH_FRAME_PAYLOAD_MAX];
	char text[LH_FRAME_TEXT_MAX + 1] = "";
	CU_ASSERT_TRUE(receive_frame(fd, &f, payload));
	CU_ASSERT_EQUAL(f.type, LH_FRAME_REFUSE);
	lh_text_parse(payload, f.length, text);
	if (!strstr(text, says))
		printf("# \"%s\" does not say \"%s\"\n", text, says);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
	CU_ASSERT_FALSE(receive_frame(fd, &f, payload));
	close(fd);
}

static struct lh_hello hello_as(uint32_t rank)
{
	struct lh_hello h = { .rank = rank, .size = g.config.size, .fingerprint = 1, .streams = 1, .pair = 5 };
	memset(h.nonce, 'n', sizeof h.nonce);
	return h;
}

/* Every kind of stranger calls while rank 0 waits for rank 1; then rank 1 comes, and the run is as if nobody had. */
static void test_refused_while_joining(void)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: example\r\n\r\n";
	uint8_t header[LH_FRAME_HEADER];
	struct lh_hello h;
	lhpeers_init(&g, 2);
	lhpeers_start(&g, 0);
	CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, 0, LH_EVENT_LISTENING));

	int fd = call(0);
	CU_ASSERT_EQUAL(send(fd, garbage, sizeof garbage, MSG_NOSIGNAL), sizeof garbage);
	expect_refusal(fd, "not from a longhaul peer");

	fd = call(0); /* another version of the protocol */
	lh_frame_print(&(struct lh_frame){ LH_FRAME_HELLO, 0, 0, LH_HELLO_BYTES }, header);
	header[4] = LH_FRAME_VERSION + 1;
	CU_ASSERT_EQUAL(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	expect_refusal(fd, "version 4 of the protocol, this is 3");

	fd = call(0); /* four gigabytes, please */
	lh_frame_print(&(struct lh_frame){ LH_FRAME_CONTRIBUTION, 1, 0, UINT32_MAX }, header);
	CU_ASSERT_EQUAL(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	expect_refusal(fd, "allowed are");

	fd = call(0);
	send_frame(fd, (struct lh_frame){ LH_FRAME_PING, 0, 0, 0 }, NULL);
	expect_refusal(fd, "before the greeting");

	fd = call(0); /* data without a greeting */
	send_frame(fd, (struct lh_frame){ LH_FRAME_RESULT, 1, 0, 4 }, "abcd");
	expect_refusal(fd, "data out of place");

	fd = call(0);
	h = hello_as(0);
	send_hello(fd, LH_FRAME_HELLO, &h);
	expect_refusal(fd, "rank 0 is not free");

	fd = call(0);
	h = hello_as(UINT32_MAX);
	send_hello(fd, LH_FRAME_HELLO, &h);
	expect_refusal(fd, "not free");

	fd = call(0);
	h = hello_as(1);
	h.size = 3;
	send_hello(fd, LH_FRAME_HELLO, &h);
	expect_refusal(fd, "a run of 3 peers, this one has 2");

	fd = call(0);
	h = hello_as(1);
	send_hello(fd, LH_FRAME_HELLO, &h);
	expect_refusal(fd, "configurations differ");

	int silent[150]; /* more than may wait at once; half of them hang up, one in the middle of a greeting */
	for (int i = 0; i < 150; i++) {
		silent[i] = call(0);
		if (i == 7)
			CU_ASSERT_EQUAL(send(silent[i], header, 10, MSG_NOSIGNAL), 10);
		if (i % 2)
			close(silent[i]);
	}
	lhpeers_start(&g, 1);
	for (int i = 0; i < 150; i += 2)
		close(silent[i]);
	lhpeers_go(&g);
	lhpeers_wait_all(&g);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(g.peer[i].status, 0);
		CU_ASSERT_EQUAL(g.peer[i].nepochs, g.config.epochs);
	}
	lhpeers_done(&g);
}

/* What rank 1 says to rank 0 when it connects, taken from a rank 1 that is told that rank 0 is us. */
static int overhear(struct lh_hello *ret, uint8_t raw[LH_HELLO_BYTES])
{
	struct sockaddr_in a = address_of(0);
	struct lh_frame f;
	uint8_t payload[LH_FRAME_PAYLOAD_MAX];
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	limit(listener);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
	CU_ASSERT_EQUAL_FATAL(listen(listener, 5), 0);
	lhpeers_start(&g, 1);
	int fd = accept(listener, NULL, NULL);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	close(listener);
	limit(fd);
	CU_ASSERT_TRUE_FATAL(receive_frame(fd, &f, payload));
	CU_ASSERT_EQUAL_FATAL(f.type, LH_FRAME_HELLO);
	CU_ASSERT_EQUAL_FATAL(lh_hello_parse(payload, f.length, ret, NULL), 0);
	CU_ASSERT_EQUAL(ret->rank, 1);
	memcpy(raw, payload, LH_HELLO_BYTES);
	CU_ASSERT_PTR_NULL(memmem(payload, f.length, g.config.secret, 8)); /* not a piece of it */
	return fd;
}

/* Play rank 0 for a real rank 1, which knows `secret`; returns the connection after PROOF. The peer's own fingerprint
 * is echoed. */
static int adopt_with(const char *secret)
{
	struct lh_hello h;
	struct lh_frame f = { 0 };
	uint8_t hello[LH_HELLO_BYTES], welcome[LH_HELLO_BYTES], proof[LH_PROOF_BYTES], payload[LH_FRAME_PAYLOAD_MAX];
	lhpeers_init(&g, 2);
	g.config.deadline_ns = LH_NS_PER_S;
	int fd = overhear(&h, hello);
	h.rank = 0;
	memset(h.nonce, 'm', sizeof h.nonce);
	lh_hello_print(&h, welcome);
	lh_auth_welcome(secret, hello, welcome, h.proof);
	lh_hello_print(&h, welcome);
	send_hello(fd, LH_FRAME_WELCOME, &h);
	if (strcmp(secret, g.config.secret))
		return fd;
	CU_ASSERT_TRUE(receive_frame(fd, &f, payload));
	CU_ASSERT_EQUAL(f.type, LH_FRAME_PROOF);
	lh_auth_proof(secret, hello, welcome, proof);
	CU_ASSERT_TRUE(lh_auth_equal(proof, payload)); /* it proves itself, too */
	return fd;
}

static int adopt(bool wrong_secret)
{
	return adopt_with(wrong_secret ? "10112233445566778899aabbccddeeff" : "00112233445566778899aabbccddeeff");
}

/* Send a HELLO, and answer what comes back with this proof (NULL: the right one for the secret). */
static int answer(const struct lh_hello *h, const char *secret, const uint8_t *replayed, uint8_t ret[LH_PROOF_BYTES])
{
	struct lh_frame f = { 0 };
	uint8_t hello[LH_HELLO_BYTES], payload[LH_FRAME_PAYLOAD_MAX];
	int fd = call(0);
	lh_hello_print(h, hello);
	send_frame(fd, (struct lh_frame){ .type = LH_FRAME_HELLO, .length = sizeof hello }, hello);
	CU_ASSERT_TRUE_FATAL(receive_frame(fd, &f, payload));
	if (f.type == LH_FRAME_REFUSE)
		printf("# refused: %.*s\n", (int)f.length, (char *)payload);
	CU_ASSERT_EQUAL_FATAL(f.type, LH_FRAME_WELCOME);
	lh_auth_proof(secret, hello, payload, ret);
	if (replayed)
		memcpy(ret, replayed, LH_PROOF_BYTES);
	send_frame(fd, (struct lh_frame){ .type = LH_FRAME_PROOF, .length = LH_PROOF_BYTES }, ret);
	return fd;
}

/* Who has no secret gets a WELCOME and nothing else: not by guessing, not by what was overheard of an earlier
 * connection, not by sending the peer's own words back. And what was refused leaves no trace. */
static void test_proof_needed(void)
{
	struct lh_hello h;
	struct lh_frame f = { 0 };
	uint8_t raw[LH_HELLO_BYTES], proof[LH_PROOF_BYTES], first[LH_PROOF_BYTES], payload[LH_FRAME_PAYLOAD_MAX];
	lhpeers_init(&g, 2);
	g.config.deadline_ns = 3 * LH_NS_PER_S;
	close(overhear(&h, raw)); /* its claims are those of a true rank 1 */
	lhpeers_done(&g);

	int fd2;
	lhpeers_start(&g, 0);
	CU_ASSERT_TRUE_FATAL(lhpeers_read_until(&g, 0, LH_EVENT_LISTENING));
	expect_refusal(answer(&h, "10112233445566778899aabbccddeeff", NULL, proof), "another run");
	memset(proof, 0, sizeof proof);
	expect_refusal(answer(&h, g.config.secret, proof, first), "another run");

	int fd = call(0); /* the proof before it was asked for */
	send_frame(fd, (struct lh_frame){ .type = LH_FRAME_PROOF, .length = LH_PROOF_BYTES }, proof);
	expect_refusal(fd, "before the greeting");

	fd = call(0); /* its own WELCOME as the proof */
	send_hello(fd, LH_FRAME_HELLO, &h);
	CU_ASSERT_TRUE_FATAL(receive_frame(fd, &f, payload));
	send_frame(fd, (struct lh_frame){ .type = LH_FRAME_PROOF, .length = LH_PROOF_BYTES },
		   payload + LH_HELLO_BYTES - LH_PROOF_BYTES);
	expect_refusal(fd, "another run");

	fd = call(0); /* data instead of the proof */
	send_hello(fd, LH_FRAME_HELLO, &h);
	CU_ASSERT_TRUE_FATAL(receive_frame(fd, &f, payload));
	send_frame(fd, (struct lh_frame){ LH_FRAME_RESULT, 1, 0, 4 }, "abcd");
	expect_refusal(fd, "data out of place");

	/* A proof that was good once, with the very HELLO that it was good for. Two streams are announced, so that the
	 * first connection does not make rank 1. */
	h.streams = 2;
	fd = answer(&h, g.config.secret, NULL, first);
	h.stream = 1;
	expect_refusal(answer(&h, g.config.secret, first, proof), "another run");
	h.stream = 0;
	fd2 = call(0);
	send_hello(fd2, LH_FRAME_HELLO, &h);
	expect_refusal(fd2, "stream 0 of rank 1 is connected already");
	close(fd);
	usleep(100000); /* until it has seen that */
	expect_refusal(answer(&h, g.config.secret, first, proof), "another run");
	lhpeers_start(&g, 1); /* the true one finds its place free */
	lhpeers_go(&g);
	lhpeers_wait_all(&g);
	CU_ASSERT_EQUAL(g.peer[0].status, 0);
	CU_ASSERT_EQUAL(g.peer[1].status, 0);
	lhpeers_done(&g);
}

static void expect_failure(int fd, int culprit, const char *says)
{
	lhpeers_wait(&g, 1);
	CU_ASSERT_EQUAL(g.peer[1].status, 4);
	CU_ASSERT_TRUE(g.peer[1].has_failed);
	CU_ASSERT_EQUAL(g.peer[1].failed.culprit, culprit);
	CU_ASSERT_PTR_NOT_NULL(strstr(g.peer[1].failed.reason, says));
	close(fd);
	lhpeers_done(&g);
}

static void test_wrong_host(void)
{
	int fd = adopt(true); /* something else of ours answers at the address of rank 0 */
	expect_failure(fd, 0, "peer peer-0: another run");

	lhpeers_init(&g, 2);
	lhpeers_start(&g, 0);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 0, LH_EVENT_LISTENING));
	strcpy(g.config.secret, "ffffffffffffffff"); /* and a peer of another run finds that out itself */
	lhpeers_start(&g, 1);
	lhpeers_wait(&g, 1);
	CU_ASSERT_EQUAL(g.peer[1].status, 4);
	CU_ASSERT_PTR_NOT_NULL(strstr(g.peer[1].failed.reason, "peer peer-0: another run"));
	CU_ASSERT_EQUAL(g.peer[1].failed.culprit, 0);
	lhpeers_done(&g);
}

static void test_broken_partner(void)
{
	uint8_t header[LH_FRAME_HEADER];
	int fd = adopt(false);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 1, LH_EVENT_JOINED));
	lh_frame_print(&(struct lh_frame){ LH_FRAME_RESULT, 1, 0, LH_FRAME_PAYLOAD_MAX + 1 }, header);
	CU_ASSERT_EQUAL(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	expect_failure(fd, 0, "peer peer-0: frame of type 8 with 524289 bytes");

	fd = adopt(false);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 1, LH_EVENT_JOINED));
	send_frame(fd, (struct lh_frame){ LH_FRAME_RESULT, 1, 0, 8 }, "12345678");
	expect_failure(fd, 0, "peer peer-0: unexpected result");

	fd = adopt(false);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 1, LH_EVENT_JOINED));
	send_frame(fd, (struct lh_frame){ LH_FRAME_CONTRIBUTION, 1, 0, 7, 1 }, "1234567");
	expect_failure(fd, 0, "unexpected contribution");

	fd = adopt(false);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 1, LH_EVENT_JOINED));
	struct lh_hello h = hello_as(0);
	send_hello(fd, LH_FRAME_HELLO, &h);
	expect_failure(fd, 0, "out of place");

	fd = adopt(false);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 1, LH_EVENT_JOINED));
	CU_ASSERT_EQUAL(send(fd, "garbage, garbage, garbage", 25, MSG_NOSIGNAL), 25);
	expect_failure(fd, 0, "not from a longhaul peer");
}

/* Alive by TCP, but nothing comes: the deadline counts from the moment that it is waited for. */
static void test_silent_partner(void)
{
	struct lh_frame f;
	static uint8_t payload[LH_FRAME_PAYLOAD_MAX];
	int fd = adopt(false);
	CU_ASSERT_TRUE(lhpeers_read_until(&g, 1, LH_EVENT_JOINED));
	lh_ns begin = lh_clock_ns();
	lhpeers_command(&g, 1, LH_CONTROL_GO);
	bool pinged = false, contributed = false, aborted = false;
	while (receive_frame(fd, &f, payload)) {
		pinged |= f.type == LH_FRAME_PING;
		contributed |= f.type == LH_FRAME_CONTRIBUTION;
		aborted |= f.type == LH_FRAME_ABORT;
	}
	CU_ASSERT_TRUE(contributed);
	CU_ASSERT_TRUE(pinged); /* it says itself that it is alive */
	CU_ASSERT_TRUE(aborted);
	CU_ASSERT_TRUE(lh_clock_ns() - begin >= LH_NS_PER_S);
	expect_failure(fd, 0, "peer peer-0: no byte for 1s (deadline)");
}

/* A culprit that is told is believed, a rank that does not exist is not. */
static void test_told_culprit(void)
{
	uint8_t payload[4 + LH_FRAME_TEXT_MAX];
	int fd = adopt(false);
	uint32_t n = (uint32_t)lh_abort_print(1, "peer peer-1: too slow", payload);
	send_frame(fd, (struct lh_frame){ .type = LH_FRAME_ABORT, .length = n }, payload);
	expect_failure(fd, -1, "peer peer-1: too slow (told by peer peer-0)");
	fd = adopt(false);
	n = (uint32_t)lh_abort_print(7000, "nonsense\n", payload);
	send_frame(fd, (struct lh_frame){ .type = LH_FRAME_ABORT, .length = n }, payload);
	expect_failure(fd, 0, "nonsense?");
}

static const struct lh_test tests[] = {
	{ "refused_while_joining", test_refused_while_joining, LH_TEST_FORK },
	{ "proof_needed", test_proof_needed, LH_TEST_FORK },
	{ "wrong_host", test_wrong_host, LH_TEST_FORK },
	{ "broken_partner", test_broken_partner, LH_TEST_FORK },
	{ "silent_partner", test_silent_partner, LH_TEST_FORK },
	{ "told_culprit", test_told_culprit, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "strangers", tests, sizeof tests / sizeof *tests);
}
