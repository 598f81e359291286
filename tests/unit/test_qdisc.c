/* Queueing disciplines without a kernel: what libnl writes, libmnl reads back; sizing; delay tables. */
#include <errno.h>
#include <limits.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <math.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

#include "dist.h"
#include "lhtest.h"
#include "qdisc.h"

static unsigned long long state;

static uint64_t draw(void) /* splitmix64 */
{
	uint64_t z = state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t n) { return draw() % n; }
static lh_ppb draw_ppb(void) { return below(3) ? (lh_ppb)below(LH_PPB_ONE + UINT64_C(1)) : 0; }

static struct nl_msg *message(const struct lh_qdisc *q, int *ret_rc)
{
	struct nl_msg *msg = nlmsg_alloc_size(LH_QDISC_MSG_BYTES);
	struct tcmsg tcm = { .tcm_family = 0, .tcm_ifindex = 7, .tcm_handle = 0x10000, .tcm_parent = TC_H_ROOT };
	struct nlmsghdr *nlh = nlmsg_put(msg, 0, 1, RTM_NEWQDISC, 0, NLM_F_REQUEST);
	CU_ASSERT_PTR_NOT_NULL_FATAL(nlh);
	CU_ASSERT_EQUAL(nlmsg_append(msg, &tcm, sizeof tcm, NLMSG_ALIGNTO), 0);
	*ret_rc = lh_qdisc_fill(msg, q, NULL);
	return msg;
}

static void print_difference(void *ctx, const struct lh_verify_field *f)
{
	if (f->verdict == LH_VERIFY_DIFFERENT)
		printf("# %s %s: asked %s, got %s\n", f->object, f->field, f->asked, f->got);
}

static struct lh_impairment random_impairment(void)
{
	struct lh_impairment imp = {
		.delay_ns = below(2) ? (lh_ns)below(UINT64_C(400) * LH_NS_PER_S) : 0,
		.jitter_ns = below(2) ? (lh_ns)below(INT_MAX) : 0,
		.jitter_corr_ppb = draw_ppb(), .dist = (enum lh_dist)below(4),
		.loss_model = (enum lh_loss_model)below(4),
		.loss_ppb = draw_ppb(), .loss_corr_ppb = draw_ppb(),
		.ge_p_ppb = draw_ppb(), .ge_r_ppb = draw_ppb(), .ge_1h_ppb = draw_ppb(), .ge_1k_ppb = draw_ppb(),
		.p13_ppb = draw_ppb(), .p31_ppb = draw_ppb(), .p32_ppb = draw_ppb(), .p23_ppb = draw_ppb(),
		.p14_ppb = draw_ppb(), .ecn = below(2),
		.reorder_ppb = draw_ppb(), .reorder_corr_ppb = draw_ppb(), .reorder_gap = (uint32_t)below(9),
		.duplicate_ppb = draw_ppb(), .duplicate_corr_ppb = draw_ppb(),
		.corrupt_ppb = draw_ppb(), .corrupt_corr_ppb = draw_ppb(),
		.rate_bps = below(2) ? draw() >> below(60) : 0, .rate_overhead_bytes = (int32_t)below(200) - 42,
		.slot_min_ns = below(2) ? (lh_ns)below(LH_NS_PER_S) : 0, .slot_max_ns = (lh_ns)below(LH_NS_PER_S),
		.slot_packets = (uint32_t)below(INT_MAX), .slot_bytes = (uint32_t)below(INT_MAX), .seed = draw(),
	};
	imp.jitter_reorders = !imp.rate_bps && below(2);
	return imp;
}

/* Any state that can be asked for is the state that is read back. */
static void round_trip_netem(void)
{
	state = lh_test_seed();
	for (int i = 0; i < 3000; i++) {
		struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .limit_packets = (uint32_t)draw(),
			.imp = random_impairment() };
		struct lh_qdisc_seen seen;
		struct lh_err err = LH_ERR_INIT;
		int rc;
		struct nl_msg *msg = message(&q, &rc);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(nlmsg_hdr(msg), &seen, &err), 0);
		CU_ASSERT_EQUAL(seen.ifindex, 7);
		CU_ASSERT_EQUAL(seen.handle, 0x10000);
		CU_ASSERT_TRUE(seen.seed_known);
		CU_ASSERT_EQUAL_FATAL(lh_qdisc_compare("link", &q, &seen, print_difference, NULL), 0);
		/* Not only by our own comparison: */
		CU_ASSERT_EQUAL(seen.q.imp.delay_ns, q.imp.delay_ns);
		CU_ASSERT_EQUAL(seen.q.imp.jitter_ns, q.imp.jitter_ns);
		CU_ASSERT_EQUAL(seen.q.imp.corrupt_ppb, q.imp.corrupt_ppb);
		CU_ASSERT_EQUAL(seen.q.limit_packets, q.limit_packets);
		nlmsg_free(msg);
	}
}

static void round_trip_tbf(void)
{
	state = lh_test_seed();
	for (int i = 0; i < 3000; i++) {
		struct lh_qdisc q;
		lh_qdisc_for_rate(1000 + (draw() >> (20 + below(30))), draw() >> (30 + below(34)), &q);
		struct lh_qdisc_seen seen;
		int rc;
		struct nl_msg *msg = message(&q, &rc);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(nlmsg_hdr(msg), &seen, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(lh_qdisc_compare("link", &q, &seen, print_difference, NULL), 0);
		nlmsg_free(msg);
	}
}

struct one_difference { int count; char field[32]; };

static void note_difference(void *ctx, const struct lh_verify_field *f)
{
	struct one_difference *d = ctx;
	if (f->verdict == LH_VERIFY_DIFFERENT && !d->count++)
		snprintf(d->field, sizeof d->field, "%s", f->field);
}

/* Each field, changed alone, is named by the comparison. */
static void compare_names_the_field(void)
{
	const struct lh_impairment base = {
		.delay_ns = 1000, .jitter_ns = 100, .loss_model = LH_LOSS_RANDOM, .loss_ppb = 1000, .reorder_ppb = 5,
		.reorder_gap = 3, .rate_bps = 80000, .slot_min_ns = 1, .slot_max_ns = 5,
	};
#define CASE(member, value) { #member, { .member = value }, offsetof(struct lh_impairment, member), sizeof base.member }
	static const struct { const char *field; struct lh_impairment imp; size_t offset, size; } cases[] = {
		CASE(delay_ns, 1001), CASE(jitter_ns, 101), CASE(jitter_corr_ppb, 1), CASE(loss_ppb, 1001),
		CASE(loss_corr_ppb, 1), CASE(ecn, true), CASE(reorder_ppb, 6), CASE(reorder_corr_ppb, 1),
		CASE(reorder_gap, 4), CASE(duplicate_ppb, 1), CASE(duplicate_corr_ppb, 1), CASE(corrupt_ppb, 1),
		CASE(corrupt_corr_ppb, 1), CASE(rate_bps, 80008), CASE(rate_overhead_bytes, 1), CASE(slot_min_ns, 2),
		CASE(slot_max_ns, 6), CASE(slot_packets, 1), CASE(slot_bytes, 1), CASE(seed, 1),
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_qdisc asked = { .kind = LH_QDISC_NETEM, .limit_packets = 10, .imp = base }, altered = asked;
		memcpy((char *)&altered.imp + cases[i].offset, (const char *)&cases[i].imp + cases[i].offset,
			cases[i].size);
		struct lh_qdisc_seen seen;
		struct one_difference d = { 0 };
		int rc;
		struct nl_msg *msg = message(&altered, &rc);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(nlmsg_hdr(msg), &seen, NULL), 0);
		CU_ASSERT_EQUAL(lh_qdisc_compare("link", &asked, &seen, note_difference, &d), 1);
		CU_ASSERT_STRING_EQUAL(d.field, cases[i].field);
		nlmsg_free(msg);
	}
}

/* What order-preserving jitter is made of must not look like a rate, and the other way round. */
static void jitter_order(void)
{
	struct lh_qdisc keeps = { .kind = LH_QDISC_NETEM, .limit_packets = 10, .imp = { .delay_ns = 9,
		.jitter_ns = 5 } };
	struct lh_qdisc reorders = keeps;
	reorders.imp.jitter_reorders = true;
	struct lh_qdisc_seen seen;
	struct one_difference d = { 0 };
	int rc;
	struct nl_msg *msg = message(&keeps, &rc);
	CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(nlmsg_hdr(msg), &seen, NULL), 0);
	CU_ASSERT_EQUAL(seen.q.imp.rate_bps, 0);
	CU_ASSERT_FALSE(seen.q.imp.jitter_reorders);
	CU_ASSERT_EQUAL(lh_qdisc_compare("link", &reorders, &seen, note_difference, &d), 1);
	CU_ASSERT_STRING_EQUAL(d.field, "jitter_reorders");
	nlmsg_free(msg);
	msg = message(&reorders, &rc);
	CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(nlmsg_hdr(msg), &seen, NULL), 0);
	CU_ASSERT_TRUE(seen.q.imp.jitter_reorders);
	nlmsg_free(msg);
	reorders.imp.rate_bps = 1000000;
	msg = message(&reorders, &rc);
	CU_ASSERT_EQUAL(rc, -EINVAL);
	nlmsg_free(msg);
}

static void too_small_a_message(void)
{
	struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .imp = { .delay_ns = 9, .jitter_ns = 5 } };
	for (size_t size = 40; size < 9000; size += 97) {
		struct nl_msg *msg = nlmsg_alloc_size(size);
		CU_ASSERT_PTR_NOT_NULL_FATAL(nlmsg_put(msg, 0, 1, RTM_NEWQDISC, (int)sizeof(struct tcmsg), 0));
		int rc = lh_qdisc_fill(msg, &q, NULL);
		CU_ASSERT(size < 8300 ? rc == -EMSGSIZE : rc == 0 || rc == -EMSGSIZE);
		nlmsg_free(msg);
	}
}

static void sizing(void)
{
	struct lh_qdisc q;
	struct lh_impairment imp = { 0 };
	lh_qdisc_for_link(&imp, 0, LH_MODE_GSO, false, &q);
	CU_ASSERT_EQUAL(q.kind, LH_QDISC_NONE);

	imp.rate_bps = 100000000;
	lh_qdisc_for_link(&imp, 0, LH_MODE_GSO, false, &q);
	CU_ASSERT_EQUAL(q.kind, LH_QDISC_TBF);
	CU_ASSERT_EQUAL(q.tbf.burst_bytes, 6250); /* 0.5 ms */
	CU_ASSERT_EQUAL(q.tbf.limit_bytes, 15140);

	/* 50 Mbit/s, 25 ms each way: 104 packets in flight and 207 of queue, as measured good in a real kernel. */
	imp = (struct lh_impairment){ .rate_bps = 50000000, .delay_ns = 25 * LH_NS_PER_MS };
	lh_qdisc_for_link(&imp, 50 * LH_NS_PER_MS, LH_MODE_PACKET, false, &q);
	CU_ASSERT_EQUAL(q.kind, LH_QDISC_NETEM);
	CU_ASSERT_EQUAL(q.limit_packets, 104 + 207);
	imp.queue_kind = LH_QUEUE_BDP, imp.queue_bdp_milli = 2000;
	lh_qdisc_for_link(&imp, 50 * LH_NS_PER_MS, LH_MODE_PACKET, false, &q);
	CU_ASSERT_EQUAL(q.limit_packets, 104 + 413);
	imp.queue_kind = LH_QUEUE_PACKETS, imp.queue_packets = 5;
	lh_qdisc_for_link(&imp, 50 * LH_NS_PER_MS, LH_MODE_PACKET, false, &q);
	CU_ASSERT_EQUAL(q.limit_packets, 104 + 5);
	imp.jitter_ns = 5 * LH_NS_PER_MS, imp.dist = LH_DIST_NORMAL; /* up to four jitters late */
	lh_qdisc_for_link(&imp, 50 * LH_NS_PER_MS, LH_MODE_PACKET, false, &q);
	CU_ASSERT_EQUAL(q.limit_packets, 186 + 5);

	imp.rate_bps = 0;
	lh_qdisc_for_link(&imp, 50 * LH_NS_PER_MS, LH_MODE_PACKET, false, &q);
	CU_ASSERT_EQUAL(q.limit_packets, LH_LIMIT_FREE);
	imp.rate_bps = UINT64_MAX;
	lh_qdisc_for_link(&imp, INT64_MAX, LH_MODE_PACKET, false, &q);
	CU_ASSERT_EQUAL(q.limit_packets, 1 << 24);
}

static void cutting(void)
{
	struct lh_qdisc q;
	struct lh_impairment imp = {
		.delay_ns = 1, .loss_model = LH_LOSS_GEMODEL, .ecn = true, .duplicate_ppb = 7, .loss_corr_ppb = 9,
	};
	lh_qdisc_for_link(&imp, 2, LH_MODE_PACKET, true, &q);
	CU_ASSERT_EQUAL(q.kind, LH_QDISC_NETEM);
	CU_ASSERT_EQUAL(q.imp.loss_model, LH_LOSS_RANDOM);
	CU_ASSERT_EQUAL(q.imp.loss_ppb, LH_PPB_ONE);
	CU_ASSERT_EQUAL(q.imp.duplicate_ppb + q.imp.loss_corr_ppb + q.imp.ecn, 0);
	CU_ASSERT_EQUAL(q.imp.delay_ns, 1);
	imp = (struct lh_impairment){ 0 };
	lh_qdisc_for_link(&imp, 0, LH_MODE_GSO, true, &q);
	CU_ASSERT_EQUAL(q.kind, LH_QDISC_TBF);
	CU_ASSERT_EQUAL(q.tbf.limit_bytes, 0);
}

static void delay_tables(void)
{
	/* P(|x| <= 1): a half width, a normal law, and two skewed laws whose numbers are only bounded. */
	for (enum lh_dist d = LH_DIST_UNIFORM; d <= LH_DIST_PARETONORMAL; d++) {
		const int16_t *t = lh_dist_table(d);
		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		double sum = 0, squares = 0, inside = 0;
		for (int i = 0; i < LH_DIST_ENTRIES; i++) {
			double x = (double)t[i] / LH_DIST_SCALE;
			sum += x, squares += x * x, inside += fabs(x) <= 1;
			CU_ASSERT(abs(t[i]) <= (int)lh_dist_reach(d) * LH_DIST_SCALE);
		}
		CU_ASSERT_DOUBLE_EQUAL(sum / LH_DIST_ENTRIES, 0, 1e-4);
		CU_ASSERT_DOUBLE_EQUAL(sqrt(squares / LH_DIST_ENTRIES), d == LH_DIST_UNIFORM ? sqrt(1.0 / 3) : 1, 1e-3);
		if (d == LH_DIST_UNIFORM)
			CU_ASSERT_EQUAL(inside, LH_DIST_ENTRIES);
		if (d == LH_DIST_NORMAL)
			CU_ASSERT_DOUBLE_EQUAL(inside / LH_DIST_ENTRIES, 0.6827, 2e-3);
		if (d >= LH_DIST_PARETO)
			CU_ASSERT(inside / LH_DIST_ENTRIES > 0.75);
	}
	CU_ASSERT_PTR_NULL(lh_dist_table((enum lh_dist)4));
}

static const char *tc_of(const struct lh_qdisc *q)
{
	static char text[512];
	FILE *f = fmemopen(text, sizeof text, "w");
	lh_qdisc_print_tc(q, f);
	fclose(f);
	return text;
}

static void tc_line(void)
{
	struct lh_qdisc q = { .kind = LH_QDISC_NETEM, .limit_packets = 5000, .imp = {
		.delay_ns = 50 * LH_NS_PER_MS, .jitter_ns = LH_NS_PER_MS, .jitter_corr_ppb = 250000000,
		  .dist = LH_DIST_NORMAL,
		.loss_model = LH_LOSS_RANDOM, .loss_ppb = 1000000, .reorder_ppb = 20000000, .reorder_gap = 5,
		.rate_bps = 200000000, .rate_overhead_bytes = 24, .slot_min_ns = 1000, .slot_max_ns = 2001,
		  .slot_bytes = 9 } };
	CU_ASSERT_STRING_EQUAL(tc_of(&q), "netem limit 5000 delay 50ms 1ms 25% distribution normal loss 0.1% "
			       "reorder 2% gap 5 rate 200000000bit 24 slot 1us 2.001us bytes 9");
	q.imp = (struct lh_impairment){ .loss_model = LH_LOSS_GEMODEL, .ge_p_ppb = 1, .ge_1h_ppb = LH_PPB_ONE };
	CU_ASSERT_STRING_EQUAL(tc_of(&q), "netem limit 5000 loss gemodel 0.0000001% 0% 100% 0%");
	lh_qdisc_for_rate(8000000, 0, &q);
	CU_ASSERT_STRING_EQUAL(tc_of(&q), "tbf rate 8000000bit burst 3028b limit 15140b");
	/* Where a whole superpacket lasts at most 4 ms, the bucket takes one. */
	lh_qdisc_for_rate(147455000, 0, &q);
	CU_ASSERT_STRING_EQUAL(tc_of(&q), "tbf rate 147455000bit burst 9215b limit 18430b");
	lh_qdisc_for_rate(147456000, 0, &q);
	CU_ASSERT_STRING_EQUAL(tc_of(&q), "tbf rate 147456000bit burst 73728b limit 147456b");
	lh_qdisc_for_rate(7000000000, 0, &q);
	CU_ASSERT_STRING_EQUAL(tc_of(&q), "tbf rate 7000000000bit burst 437500b limit 875000b");
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "round_trip_netem", round_trip_netem, 0 },
		{ "round_trip_tbf", round_trip_tbf, 0 },
		{ "compare_names_the_field", compare_names_the_field, 0 },
		{ "jitter_order", jitter_order, 0 },
		{ "too_small_a_message", too_small_a_message, 0 },
		{ "sizing", sizing, 0 },
		{ "cutting", cutting, 0 },
		{ "delay_tables", delay_tables, 0 },
		{ "tc_line", tc_line, 0 },
	};
	return lh_test_main(argc, argv, "qdisc", tests, sizeof tests / sizeof *tests);
}
