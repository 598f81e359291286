/* qdisc_tbf.c - token bucket: a plain bottleneck where netem is not wanted.
 *
 * Neither rate table is sent: kernels since 3.8 compute times from the rate and use the table only to guess the
 * link layer when that is left open, and we say Ethernet. The bucket is sent twice, as TCA_TBF_BURST in bytes,
 * which the kernel obeys, and as the time in ticks that old kernels read and all kernels return.
 */
#include "qdisc_table.h"

#include <errno.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "uapi.h"

/* Time to send the bucket at the rate, as the kernel stores it. */
static uint32_t bucket_ticks(uint32_t burst_bytes, lh_bps rate_bps)
{
	if (!rate_bps)
		return UINT32_MAX;
	unsigned __int128 ns = (unsigned __int128)burst_bytes * LH_NS_PER_S / lh_rate_bytes(rate_bps);
	ns >>= LH_PSCHED_SHIFT;
	return ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int tbf_fill(struct nl_msg *msg, const struct lh_qdisc *q, struct lh_err *err)
{
	const struct lh_tbf *t = &q->tbf;
	if (!t->rate_bps || !t->burst_bytes)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "tbf: a rate and a burst above 0 are needed");
	uint64_t rate = lh_rate_bytes(t->rate_bps);
	struct tc_tbf_qopt qopt = {
		.rate = { .rate = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate, .linklayer = TC_LINKLAYER_ETHERNET },
		.limit = t->limit_bytes,
		.buffer = bucket_ticks(t->burst_bytes, t->rate_bps),
	};
	struct nlattr *options = nla_nest_start(msg, TCA_OPTIONS);
	if (!options || nla_put(msg, TCA_TBF_PARMS, sizeof qopt, &qopt) < 0 ||
	    nla_put_u32(msg, TCA_TBF_BURST, t->burst_bytes) < 0 ||
	    (rate > UINT32_MAX && nla_put_u64(msg, TCA_TBF_RATE64, rate) < 0))
		return lh_qdisc_full("tbf", err);
	nla_nest_end(msg, options);
	return 0;
}

static int tbf_parse(const struct nlattr *options, struct lh_qdisc_seen *ret, struct lh_err *err)
{
	struct tc_tbf_qopt qopt = { .limit = 0 };
	uint64_t rate64 = 0;
	bool have = false;
	const struct nlattr *a;
	mnl_attr_for_each_nested(a, options) {
		size_t len = mnl_attr_get_payload_len(a);
		switch (mnl_attr_get_type(a)) {
		case TCA_TBF_PARMS:
			if (len < sizeof qopt)
				return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "tbf: short options from the kernel");
			memcpy(&qopt, mnl_attr_get_payload(a), sizeof qopt);
			have = true;
			break;
		case TCA_TBF_RATE64:
			if (len >= sizeof rate64)
				memcpy(&rate64, mnl_attr_get_payload(a), sizeof rate64);
			break;
		}
	}
	if (!have)
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "tbf: no options from the kernel");
	uint64_t rate = rate64 > qopt.rate.rate ? rate64 : qopt.rate.rate;
	unsigned __int128 burst = ((unsigned __int128)qopt.buffer << LH_PSCHED_SHIFT) * rate / LH_NS_PER_S;
	ret->q.tbf.rate_bps = rate > UINT64_MAX / 8 ? UINT64_MAX : rate * 8;
	ret->q.tbf.burst_bytes = burst > UINT32_MAX ? UINT32_MAX : (uint32_t)burst;
	ret->q.tbf.limit_bytes = qopt.limit;
	ret->tbf_buffer_ticks = qopt.buffer;
	return 0;
}

static void tbf_compare(struct lh_compare *cmp, const struct lh_qdisc *asked, const struct lh_qdisc_seen *got)
{
	const struct lh_tbf *a = &asked->tbf, *g = &got->q.tbf;
	lh_compare_number(cmp, "rate_bps", (int64_t)a->rate_bps, (int64_t)g->rate_bps,
			  lh_rate_bytes(a->rate_bps) == lh_rate_bytes(g->rate_bps));
	/* The bucket comes back as a time in ticks of 64 ns; the kernel's multiply-and-shift may be one tick off. */
	int64_t ticks = (int64_t)bucket_ticks(a->burst_bytes, a->rate_bps) - got->tbf_buffer_ticks;
	lh_compare_number(cmp, "burst_bytes", a->burst_bytes, g->burst_bytes, ticks >= -1 && ticks <= 1);
	lh_compare_number(cmp, "limit_bytes", a->limit_bytes, g->limit_bytes, a->limit_bytes == g->limit_bytes);
}

static void tbf_print_tc(const struct lh_qdisc *q, FILE *out)
{
	fprintf(out, "tbf rate %" PRIu64 "bit burst %" PRIu32 "b limit %" PRIu32 "b", q->tbf.rate_bps,
		q->tbf.burst_bytes, q->tbf.limit_bytes);
}

const struct lh_qdisc_ops lh_qdisc_tbf_ops = { "tbf", tbf_fill, tbf_parse, tbf_compare, tbf_print_tc };
