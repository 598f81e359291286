/* Readings of inet_diag between what a peer told before and after. */
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "tcpcheck.h"

enum { PEERS = 2, ROUNDS = 3, STREAMS = 1 };

static struct lh_series series;

/* Round e of a peer ends at 100 e, TCP is asked at 100 e + 1 and told at 100 e + 5: 1000 bytes and one segment more each. */
static void tell_rounds(void)
{
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(lh_series_init(&series, PEERS, ROUNDS, &err), 0);
	for (unsigned p = 0; p < PEERS; p++)
		CU_ASSERT_EQUAL_FATAL(lh_series_add(&series, &(struct lh_event){ .kind = LH_EVENT_JOINED, .rank = p, .t_ns = 1,
			.parameters = 1 }, &err), 0);
	series.go_ns = 2;
	for (unsigned p = 0; p < PEERS; p++)
		for (uint32_t e = 1; e <= ROUNDS; e++) {
			lh_ns begin = 100 * (lh_ns)e - 98, end = 100 * (lh_ns)e;
			struct lh_event x = { .kind = LH_EVENT_EPOCH, .rank = p, .epoch = e, .t_ns = end + 4, .begin_ns = begin,
				.calc_end_ns = end, .exchange_end_ns = end, .commit_ns = end, .samples = 1 };
			if (e > 1)
				x.begin_ns = 100 * ((lh_ns)e - 1);
			struct lh_spans s = { .rank = p, .epoch = e, .begin_ns = x.begin_ns, .end_ns = end, .t_ns = end + 5,
				.has_tcp = true, .tcp_retransmits = 1, .tcp_bytes_sent = 1000 };
			s.total_ns[0] = end - x.begin_ns;
			CU_ASSERT_EQUAL_FATAL(lh_series_add(&series, &x, &err), 0);
			CU_ASSERT_EQUAL_FATAL(lh_series_add_spans(&series, &s, &err), 0);
		}
}

static struct lh_tcp_verdict judge(const struct lh_tcp_reading *list, size_t n, const char *why_not)
{
	struct lh_tcpcheck c = { .list = (struct lh_tcp_reading *)(uintptr_t)list, .n = n };
	struct lh_tcp_verdict v;
	snprintf(c.why_not, sizeof c.why_not, "%s", why_not);
	tell_rounds();
	lh_tcpcheck_judge(&c, &series, STREAMS * (PEERS - 1), &v);
	lh_series_done(&series);
	return v;
}

static struct lh_tcp_reading reading(unsigned peer, lh_ns at, unsigned connections, uint64_t bytes, uint64_t retransmits)
{
	return (struct lh_tcp_reading){ peer, at, at + 1, { connections, bytes, retransmits } };
}

static void test_agrees(void)
{
	/* Within rounds, at their edges, and once while a peer was just being asked. */
	const struct lh_tcp_reading list[] = {
		reading(0, 50, 1, 999, 0), reading(0, 100, 1, 1000, 1), reading(1, 103, 1, 1000, 1), reading(1, 250, 1, 2000, 3),
	};
	struct lh_tcp_verdict v = judge(list, 4, "");
	CU_ASSERT_TRUE(v.checked);
	CU_ASSERT_EQUAL(v.readings, 4);
	CU_ASSERT_STRING_EQUAL(v.reason, "");
}

static void test_contradicts(void)
{
	static const struct { lh_ns at; uint64_t bytes, retransmits; } bad[] = {
		{ 50, 1001, 0 },  /* the peer told too little */
		{ 150, 999, 1 },  /* too much */
		{ 150, 1500, 0 }, { 150, 1500, 3 },
	};
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		const struct lh_tcp_reading list[] = {
			reading(0, bad[i].at, 1, bad[i].bytes, bad[i].retransmits), reading(1, 150, 1, 1500, 1),
		};
		struct lh_tcp_verdict v = judge(list, 2, "");
		CU_ASSERT_FALSE(v.checked);
		CU_ASSERT_PTR_NOT_NULL(strstr(v.reason, "inet_diag says"));
	}
}

static void test_not_checked(void)
{
	/* One peer has no reading, since a connection was closed; or was read after its last word. */
	const struct lh_tcp_reading closed[] = { reading(0, 50, 1, 500, 0), reading(1, 50, 0, 0, 0) };
	const struct lh_tcp_reading late[] = { reading(0, 50, 1, 500, 0), reading(1, 301, 1, 3000, 3) };
	CU_ASSERT_FALSE(judge(closed, 2, "").checked);
	struct lh_tcp_verdict v = judge(late, 2, "");
	CU_ASSERT_FALSE(v.checked);
	CU_ASSERT_STRING_EQUAL(v.reason, "inet_diag was read between two rounds for 1 of 2 peers");
	CU_ASSERT_STRING_EQUAL(judge(NULL, 0, "this kernel has no inet_diag").reason, "this kernel has no inet_diag");
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "readings that agree", test_agrees, 0 },
		{ "readings that contradict", test_contradicts, 0 },
		{ "what is not checked", test_not_checked, 0 },
	};
	return lh_test_main(argc, argv, "tcpcheck", tests, sizeof tests / sizeof *tests);
}
