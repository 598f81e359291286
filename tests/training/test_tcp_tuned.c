/* Tuned sockets over real transports on 127/8: the pace of each stream, and windows that are open before the first exchange. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lhtest.h"
#include "tcp_nodes.h"

enum { VECTOR = 8000000, GREETING_BYTES = 4096 }; /* more than two greetings are */

static void set_up_tuned(unsigned n, enum lh_algorithm algorithm, uint64_t pace)
{
	set_up(n, 2, LH_MEMBERSHIP_FIXED);
	for (unsigned i = 0; i < n; i++) {
		nodes[i].c.sockets = LH_SOCKETS_TUNED;
		nodes[i].c.algorithm = algorithm;
		nodes[i].c.pace_byte_per_s = pace;
		nodes[i].c.vector_bytes = VECTOR;
	}
	for (unsigned i = 0; i < n; i++)
		start(&nodes[i]);
}

static struct tcp *tcp_of_node(unsigned i)
{
	return (struct tcp *)nodes[i].t;
}

static uint64_t rate_between(unsigned from, unsigned to, unsigned stream)
{
	uint64_t rate = 0;
	socklen_t len = sizeof rate;
	getsockopt(tcp_of_node(from)->pairs[to].conns[stream]->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &len);
	return rate;
}

/* A pair gets of the pace what it carries of the vector, and each of its two streams half of that. */
static void test_pace(void)
{
	set_up_tuned(3, LH_ALGORITHM_CENTRAL, 12000000);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	unsigned root = 0; /* the one that carries the whole vector to both others */
	while (root < 2 && !(tcp_of_node(root)->carries[(root + 1) % 3] > 0 && tcp_of_node(root)->carries[(root + 2) % 3] > 0))
		root++;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++) {
			bool used = i != k && (i == root || k == root);
			CU_ASSERT_DOUBLE_EQUAL(tcp_of_node(i)->carries[k], used ? 1 : 0, 1e-9);
			if (used)
				CU_ASSERT_EQUAL(rate_between(i, k, 1), 6000001);
			if (!used && i != k) /* as TCP likes */
				CU_ASSERT_EQUAL(rate_between(i, k, 0), UINT64_MAX);
		}
	stop_all();
	set_up_tuned(4, LH_ALGORITHM_BUTTERFLY, 12000000);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 4; k++)
			if (i != k) { /* a quarter to its root, and a quarter back */
				CU_ASSERT_DOUBLE_EQUAL(tcp_of_node(i)->carries[k], 0.5, 1e-9);
				CU_ASSERT_EQUAL(rate_between(i, k, 0), 3000001);
			}
	stop_all();
}

static bool is_about(uint64_t got, uint64_t asked)
{
	bool yes = got + 8 > asked && got < asked + 2 * 2 * GREETING_BYTES;
	if (!yes)
		printf("# %llu bytes, asked %llu\n", (unsigned long long)got, (unsigned long long)asked);
	return yes;
}

/* Half of what the window shall be goes over every stream before anybody has joined: of a pair's part of a vector, of
 * two streams one's share and what it may be given more. Nothing with study sockets. */
static void test_warm(void)
{
	set_up_tuned(3, LH_ALGORITHM_BUTTERFLY, 0);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	for (unsigned i = 0; i < 3; i++) {
		uint64_t share = VECTOR * 2 / 3 / 2, more = LH_TCP_UNSENT_BYTES + LH_PEER_PART_MAX;
		CU_ASSERT_TRUE(is_about(nodes[i].t->bytes_received, 2 * 2 * (share + more) / 2));
		for (unsigned k = 0; k < 3; k++)
			CU_ASSERT_EQUAL(tcp_of_node(i)->pairs[k].cold, 0);
	}
	stop_all();
	set_up(2, 2, LH_MEMBERSHIP_FIXED);
	for (unsigned i = 0; i < 2; i++)
		start(&nodes[i]);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_TRUE(nodes[i].t->bytes_received < 2 * GREETING_BYTES);
	stop_all();
}

/* Paced: no more than what is in flight meanwhile, and loopback has no trip to speak of. */
static void test_warm_little(void)
{
	set_up_tuned(2, LH_ALGORITHM_BUTTERFLY, 1000000);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	for (unsigned i = 0; i < 2; i++)
		CU_ASSERT_TRUE(is_about(nodes[i].t->bytes_received, 2 * (LH_TCP_UNSENT_BYTES + LH_PEER_PART_MAX) / 2));
	stop_all();
}

/* A stream begins with them once; a peer that sends them later is not of this program. */
static void test_warm_again(void)
{
	struct lh_err err = LH_ERR_INIT;
	set_up_tuned(2, LH_ALGORITHM_BUTTERFLY, 0);
	CU_ASSERT_TRUE_FATAL(run_until(all_joined));
	struct tcp *from = tcp_of_node(0);
	from->pairs[1].conns[0]->warm_left = 10;
	from->pairs[1].woken = true;
	int rc = 0;
	for (lh_ns until = lh_clock_ns() + 5 * LH_NS_PER_S; !rc && lh_clock_ns() < until;) {
		CU_ASSERT_EQUAL_FATAL(nodes[0].t->ops->progress(nodes[0].t, NULL), 0);
		rc = nodes[1].t->ops->progress(nodes[1].t, &err);
	}
	CU_ASSERT_EQUAL(rc, -EPROTO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "out of place"));
	CU_ASSERT_EQUAL(nodes[1].t->culprit, 0);
	stop_all();
}

static const struct lh_test tests[] = {
	{ "pace", test_pace, LH_TEST_FORK },
	{ "warm", test_warm, LH_TEST_FORK },
	{ "warm_little", test_warm_little, LH_TEST_FORK },
	{ "warm_again", test_warm_again, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "tcp_tuned", tests, sizeof tests / sizeof *tests);
}
