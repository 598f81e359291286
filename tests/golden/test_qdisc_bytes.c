/* The very bytes of queueing disciplines on their way to the kernel, with what libmnl makes of them, against files in
 * qdisc/. Little-endian machines only. `LONGHAUL_UPDATE_GOLDEN=1 test_qdisc_bytes` rewrites the files; they are
 * reviewed as text.
 */
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist.h"
#include "hash.h"
#include "lhtest.h"
#include "qdisc.h"

#define MS LH_NS_PER_MS

struct golden { const char *name; struct lh_qdisc q; };

#define NETEM(name_, limit_, ...) \
	{ name_, { .kind = LH_QDISC_NETEM, .limit_packets = (limit_), .imp = { __VA_ARGS__ } } }

static const struct golden goldens[] = {
	NETEM("netem-nothing", 1000, .seed = 0),
	NETEM("netem-delay", 262144, .delay_ns = 50 * MS, .seed = 0x1122334455667788),
	NETEM("netem-delay-300s", 1000, .delay_ns = 300 * LH_NS_PER_S),
	NETEM("netem-jitter-in-order", 1000, .delay_ns = 50 * MS, .jitter_ns = MS, .jitter_corr_ppb = 250000000,
	      .dist = LH_DIST_NORMAL),
	NETEM("netem-jitter-reorders", 1000, .delay_ns = 50 * MS, .jitter_ns = MS, .jitter_reorders = true),
	NETEM("netem-loss-random", 1000, .loss_model = LH_LOSS_RANDOM, .loss_ppb = 1000000,
		.loss_corr_ppb = 500000000, .ecn = true),
	NETEM("netem-loss-gemodel", 1000, .loss_model = LH_LOSS_GEMODEL, .ge_p_ppb = 10000000, .ge_r_ppb = 100000000,
	      .ge_1h_ppb = 700000000, .ge_1k_ppb = 1000000),
	NETEM("netem-loss-4state", 1000, .loss_model = LH_LOSS_4STATE, .p13_ppb = 10000000, .p31_ppb = 200000000,
	      .p32_ppb = 30000000, .p23_ppb = 400000000, .p14_ppb = 5000000),
	NETEM("netem-reorder-duplicate-corrupt", 1000, .delay_ns = MS, .reorder_ppb = 20000000, .reorder_gap = 5,
	      .reorder_corr_ppb = 1, .duplicate_ppb = 2, .duplicate_corr_ppb = 3, .corrupt_ppb = LH_PPB_ONE,
	      .corrupt_corr_ppb = 4),
	NETEM("netem-rate", 500, .rate_bps = 200000000, .rate_overhead_bytes = 24),
	NETEM("netem-rate-64bit", 500, .rate_bps = 100000000000, .rate_overhead_bytes = -14),
	NETEM("netem-slot", 500, .slot_min_ns = MS, .slot_max_ns = 2 * MS, .slot_packets = 20, .slot_bytes = 32768),
	{ "tbf", { .kind = LH_QDISC_TBF, .tbf = { 1000000000, 62500, 12500000 } } },
	{ "tbf-64bit", { .kind = LH_QDISC_TBF, .tbf = { 100000000000, 6250000, 1000000000 } } },
	{ "tbf-cut", { .kind = LH_QDISC_TBF, .tbf = { 1000000000, 62500, 0 } } },
};

static void dump(FILE *out, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		fprintf(out, "%02x%s", p[i], i % 16 == 15 || i + 1 == len ? "\n" : " ");
}

/* The message with one line per 16 bytes; a delay table is named by its hash. */
static char *text_of(const struct lh_qdisc *q)
{
	struct nl_msg *msg = nlmsg_alloc_size(LH_QDISC_MSG_BYTES);
	struct tcmsg tcm = { .tcm_ifindex = 7, .tcm_parent = TC_H_ROOT };
	nlmsg_put(msg, 1, 2, RTM_NEWQDISC, 0, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
	nlmsg_append(msg, &tcm, sizeof tcm, NLMSG_ALIGNTO);
	CU_ASSERT_EQUAL_FATAL(lh_qdisc_fill(msg, q, NULL), 0);

	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct lh_qdisc_seen seen;
	const unsigned char *bytes = (const unsigned char *)nlmsg_hdr(msg), *table = NULL;
	size_t len = nlmsg_hdr(msg)->nlmsg_len, table_bytes = LH_DIST_ENTRIES * sizeof(int16_t);
	if (q->kind == LH_QDISC_NETEM && q->imp.jitter_ns)
		table = memmem(bytes, len, lh_dist_table(q->imp.dist), table_bytes);
	CU_ASSERT_EQUAL_FATAL(lh_qdisc_parse(bytes, &seen, NULL), 0);
	CU_ASSERT_EQUAL(lh_qdisc_compare("x", q, &seen, NULL, NULL), 0);
	fputs("# read back: ", out);
	lh_qdisc_print_tc(&seen.q, out);
	fputs("\n", out);
	dump(out, bytes, table ? (size_t)(table - bytes) : len);
	if (table) {
		fprintf(out, "# %zu bytes of delay table, hash %016llx\n", table_bytes,
			(unsigned long long)lh_hash64(table, table_bytes, 0));
		dump(out, table + table_bytes, len - (size_t)(table - bytes) - table_bytes);
	}
	fclose(out);
	nlmsg_free(msg);
	return text;
}

static void bytes_on_the_wire(void)
{
	for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
		char relative[128], *got = text_of(&goldens[i].q);
		CU_ASSERT_PTR_NOT_NULL_FATAL(got);
		if (!got)
			return; /* for the compiler */
		snprintf(relative, sizeof relative, "golden/qdisc/%s.hex", goldens[i].name);
		lh_test_golden(relative, got);
		free(got);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = { { "bytes_on_the_wire", bytes_on_the_wire, 0 } };
	return lh_test_main(argc, argv, "qdisc-bytes", tests, sizeof tests / sizeof *tests);
}
