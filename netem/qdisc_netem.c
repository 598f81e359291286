/* qdisc_netem.c - netem's full attribute set, written with libnl and read with libmnl.
 *
 * Complete state: a replace on a running netem is a *change*, and a change keeps what the message does not name.
 * So every message names everything, with explicit zeros:
 *   latency, jitter, limit, loss, gap, duplicate   always overwritten by the fixed part
 *   correlations, reorder, corrupt, rate, ecn, slot   sent always, zero where unused
 *   loss model   no TCA_NETEM_LOSS means the random model, in every kernel
 *   delay table  cannot be taken away again, but it is looked at only where jitter is not 0: a message with jitter
 *                always brings its table, the uniform one too
 *   seed         sent always; kernels before 6.6 do not know it and ignore it
 *
 * Order: with a rate netem never lets a packet overtake, without one jitter reorders. Jitter that keeps order is
 * therefore sent with FIFO_RATE, at which any packet takes 0 ns.
 */
#include "qdisc_table.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <libmnl/libmnl.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "dist.h"
#include "uapi.h"

/* Bytes per second. Packet time is length x 1e9 / rate in integers: 0 for any length. tc prints it as 8000000Tbit. */
#define FIFO_RATE UINT64_C(1000000000000000000)

/* netem adds the overhead to each length without a check; below an ARP packet's length it would wrap. */
enum { OVERHEAD_MIN = -42, OVERHEAD_MAX = 65535 };

/* netem's probabilities: 0 = never, 2^32 - 1 = always. */
static uint32_t to_fraction(lh_ppb ppb)
{
	return (uint32_t)(((uint64_t)ppb * UINT32_MAX + LH_PPB_ONE / 2) / LH_PPB_ONE);
}

/* Exact inverse for every ppb, since there are more fractions than ppb. */
static lh_ppb to_ppb(uint32_t fraction)
{
	return (lh_ppb)(((uint64_t)fraction * LH_PPB_ONE + UINT32_MAX / 2) / UINT32_MAX);
}

static uint32_t to_ticks(lh_ns ns)
{
	uint64_t ticks = (uint64_t)ns >> LH_PSCHED_SHIFT;
	return ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
}

/* What of an impairment a kernel can hold: fields that mean nothing without another one are cleared, rates become
 * whole bytes per second. Two impairments with the same canonical form are the same link. */
static struct lh_impairment canonical(const struct lh_impairment *imp)
{
	struct lh_impairment c = *imp;
	if (!c.jitter_ns)
		c.dist = LH_DIST_UNIFORM, c.jitter_reorders = false;
	if (c.loss_model == LH_LOSS_RANDOM && !c.loss_ppb)
		c.loss_model = LH_LOSS_NONE;
	if (c.loss_model != LH_LOSS_RANDOM)
		c.loss_ppb = 0;
	if (c.loss_model != LH_LOSS_GEMODEL)
		c.ge_p_ppb = c.ge_r_ppb = c.ge_1h_ppb = c.ge_1k_ppb = 0;
	if (c.loss_model != LH_LOSS_4STATE)
		c.p13_ppb = c.p31_ppb = c.p32_ppb = c.p23_ppb = c.p14_ppb = 0;
	c.reorder_gap = !c.reorder_ppb ? 0 : c.reorder_gap ? c.reorder_gap : 1;
	c.rate_bps = lh_rate_bytes(c.rate_bps) * 8;
	if (c.slot_max_ns < c.slot_min_ns)
		c.slot_max_ns = c.slot_min_ns;
	if (!c.slot_max_ns)
		c.slot_packets = c.slot_bytes = 0;
	c.queue_kind = LH_QUEUE_AUTO;
	c.queue_bdp_milli = c.queue_packets = 0;
	return c;
}

static int check(const struct lh_impairment *imp, struct lh_err *err)
{
	if (imp->delay_ns < 0 || imp->jitter_ns < 0 || imp->slot_min_ns < 0 || imp->slot_max_ns < 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "netem: a negative time");
	if (imp->jitter_ns > INT_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "jitter: netem holds at most 2.147 s");
	if (imp->jitter_ns && imp->jitter_reorders && imp->rate_bps)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "jitter-reorders: netem keeps packets in order where "
				  "a rate is set; leave one of the two out");
	if (imp->rate_overhead_bytes < OVERHEAD_MIN || imp->rate_overhead_bytes > OVERHEAD_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "overhead: between %d and %d bytes", OVERHEAD_MIN,
				  OVERHEAD_MAX);
	if (imp->slot_packets > INT_MAX || imp->slot_bytes > INT_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "slot: at most %d packets or bytes", INT_MAX);
	if (!lh_dist_table(imp->dist))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "netem: no such distribution");
	return 0;
}

static int put_loss(struct nl_msg *msg, const struct lh_impairment *imp)
{
	if (imp->loss_model != LH_LOSS_GEMODEL && imp->loss_model != LH_LOSS_4STATE)
		return 0;
	struct nlattr *nest = nla_nest_start(msg, TCA_NETEM_LOSS);
	if (!nest)
		return -EMSGSIZE;
	int rc;
	if (imp->loss_model == LH_LOSS_GEMODEL) {
		struct tc_netem_gemodel ge = {
			.p = to_fraction(imp->ge_p_ppb),
			.r = to_fraction(imp->ge_r_ppb),
			.h = UINT32_MAX - to_fraction(imp->ge_1h_ppb),
			.k1 = to_fraction(imp->ge_1k_ppb),
		};
		rc = nla_put(msg, NETEM_LOSS_GE, sizeof ge, &ge);
	} else {
		struct tc_netem_gimodel gi = {
			.p13 = to_fraction(imp->p13_ppb),
			.p31 = to_fraction(imp->p31_ppb),
			.p32 = to_fraction(imp->p32_ppb),
			.p14 = to_fraction(imp->p14_ppb),
			.p23 = to_fraction(imp->p23_ppb),
		};
		rc = nla_put(msg, NETEM_LOSS_GI, sizeof gi, &gi);
	}
	nla_nest_end(msg, nest);
	return rc;
}

static int put_rate(struct nl_msg *msg, const struct lh_impairment *imp)
{
	uint64_t bytes = imp->rate_bps / 8;
	if (!bytes && imp->jitter_ns && !imp->jitter_reorders)
		bytes = FIFO_RATE;
	struct tc_netem_rate rate = {
		.rate = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes,
		.packet_overhead = imp->rate_overhead_bytes,
	};
	int rc = nla_put(msg, TCA_NETEM_RATE, sizeof rate, &rate);
	/* The kernel takes the larger of the two. */
	return rc < 0 || bytes <= UINT32_MAX ? rc : nla_put_u64(msg, TCA_NETEM_RATE64, bytes);
}

static int put_randomness(struct nl_msg *msg, const struct lh_impairment *imp)
{
	struct tc_netem_corr corr = {
		.delay_corr = to_fraction(imp->jitter_corr_ppb),
		.loss_corr = to_fraction(imp->loss_corr_ppb),
		.dup_corr = to_fraction(imp->duplicate_corr_ppb),
	};
	struct tc_netem_reorder reorder = { to_fraction(imp->reorder_ppb), to_fraction(imp->reorder_corr_ppb) };
	struct tc_netem_corrupt corrupt = { to_fraction(imp->corrupt_ppb), to_fraction(imp->corrupt_corr_ppb) };
	int rc = nla_put(msg, TCA_NETEM_CORR, sizeof corr, &corr);
	rc = rc < 0 ? rc : nla_put(msg, TCA_NETEM_REORDER, sizeof reorder, &reorder);
	rc = rc < 0 ? rc : nla_put(msg, TCA_NETEM_CORRUPT, sizeof corrupt, &corrupt);
	rc = rc < 0 ? rc : nla_put_u32(msg, TCA_NETEM_ECN, imp->ecn);
	rc = rc < 0 ? rc : nla_put_u64(msg, LH_TCA_NETEM_PRNG_SEED, imp->seed);
	return rc;
}

static int put_times(struct nl_msg *msg, const struct lh_impairment *imp)
{
	struct tc_netem_slot slot = {
		.min_delay = imp->slot_min_ns,
		.max_delay = imp->slot_max_ns,
		.max_packets = (int32_t)imp->slot_packets,
		.max_bytes = (int32_t)imp->slot_bytes,
	};
	int rc = nla_put_u64(msg, TCA_NETEM_LATENCY64, (uint64_t)imp->delay_ns);
	rc = rc < 0 ? rc : nla_put_u64(msg, TCA_NETEM_JITTER64, (uint64_t)imp->jitter_ns);
	rc = rc < 0 ? rc : nla_put(msg, TCA_NETEM_SLOT, sizeof slot, &slot);
	if (rc >= 0 && imp->jitter_ns)
		rc = nla_put(msg, TCA_NETEM_DELAY_DIST, LH_DIST_ENTRIES * sizeof(int16_t), lh_dist_table(imp->dist));
	return rc;
}

static int netem_fill(struct nl_msg *msg, const struct lh_qdisc *q, struct lh_err *err)
{
	int rc = check(&q->imp, err);
	if (rc)
		return rc;
	struct lh_impairment imp = canonical(&q->imp);
	struct tc_netem_qopt qopt = {
		.latency = to_ticks(imp.delay_ns),
		.jitter = to_ticks(imp.jitter_ns),
		.limit = q->limit_packets,
		.loss = to_fraction(imp.loss_ppb),
		.gap = imp.reorder_gap,
		.duplicate = to_fraction(imp.duplicate_ppb),
	};
	struct nlattr *options = nla_nest_start(msg, TCA_OPTIONS);
	if (!options || nlmsg_append(msg, &qopt, sizeof qopt, NLA_ALIGNTO) < 0 || put_times(msg, &imp) < 0 ||
	    put_randomness(msg, &imp) < 0 || put_rate(msg, &imp) < 0 || put_loss(msg, &imp) < 0)
		return lh_qdisc_full("netem", err);
	nla_nest_end(msg, options);
	return 0;
}

/* A payload of the kernel's, which may be longer than what we know (later fields) but not shorter. */
static bool take(const struct nlattr *a, void *into, size_t size)
{
	if (mnl_attr_get_payload_len(a) < size)
		return false;
	memcpy(into, mnl_attr_get_payload(a), size);
	return true;
}

static bool parse_loss(const struct nlattr *nest, struct lh_impairment *imp)
{
	const struct nlattr *a;
	mnl_attr_for_each_nested(a, nest) {
		struct tc_netem_gemodel ge;
		struct tc_netem_gimodel gi;
		switch (mnl_attr_get_type(a)) {
		case NETEM_LOSS_GE:
			if (!take(a, &ge, sizeof ge))
				return false;
			imp->loss_model = LH_LOSS_GEMODEL;
			imp->ge_p_ppb = to_ppb(ge.p);
			imp->ge_r_ppb = to_ppb(ge.r);
			imp->ge_1h_ppb = to_ppb(UINT32_MAX - ge.h);
			imp->ge_1k_ppb = to_ppb(ge.k1);
			break;
		case NETEM_LOSS_GI:
			if (!take(a, &gi, sizeof gi))
				return false;
			imp->loss_model = LH_LOSS_4STATE;
			imp->p13_ppb = to_ppb(gi.p13);
			imp->p31_ppb = to_ppb(gi.p31);
			imp->p32_ppb = to_ppb(gi.p32);
			imp->p23_ppb = to_ppb(gi.p23);
			imp->p14_ppb = to_ppb(gi.p14);
			break;
		}
	}
	return true;
}

/* The part of the answer that is only understood once all attributes were seen. */
struct netem_raw {
	struct tc_netem_rate rate;
	uint64_t rate64;
};

static bool parse_random(const struct nlattr *a, struct lh_impairment *imp)
{
	struct tc_netem_corr corr;
	struct tc_netem_reorder two; /* corrupt has the same two fields */
	switch (mnl_attr_get_type(a)) {
	case TCA_NETEM_CORR:
		if (!take(a, &corr, sizeof corr))
			return false;
		imp->jitter_corr_ppb = to_ppb(corr.delay_corr);
		imp->loss_corr_ppb = to_ppb(corr.loss_corr);
		imp->duplicate_corr_ppb = to_ppb(corr.dup_corr);
		return true;
	case TCA_NETEM_REORDER:
		if (!take(a, &two, sizeof two))
			return false;
		imp->reorder_ppb = to_ppb(two.probability);
		imp->reorder_corr_ppb = to_ppb(two.correlation);
		return true;
	default:
		if (!take(a, &two, sizeof two))
			return false;
		imp->corrupt_ppb = to_ppb(two.probability);
		imp->corrupt_corr_ppb = to_ppb(two.correlation);
		return true;
	}
}

static bool parse_slot(const struct nlattr *a, struct lh_impairment *imp)
{
	struct tc_netem_slot slot;
	if (!take(a, &slot, sizeof slot))
		return false;
	imp->slot_min_ns = slot.min_delay;
	imp->slot_max_ns = slot.max_delay;
	imp->slot_packets = (uint32_t)slot.max_packets;
	imp->slot_bytes = (uint32_t)slot.max_bytes;
	return true;
}

static bool parse_attribute(const struct nlattr *a, struct lh_qdisc_seen *ret, struct netem_raw *raw)
{
	struct lh_impairment *imp = &ret->q.imp;
	uint32_t u32;
	switch (mnl_attr_get_type(a)) {
	case TCA_NETEM_CORR:
	case TCA_NETEM_REORDER:
	case TCA_NETEM_CORRUPT:
		return parse_random(a, imp);
	case TCA_NETEM_LOSS:
		return parse_loss(a, imp);
	case TCA_NETEM_RATE:
		return take(a, &raw->rate, sizeof raw->rate);
	case TCA_NETEM_RATE64:
		return take(a, &raw->rate64, sizeof raw->rate64);
	case TCA_NETEM_ECN:
		if (!take(a, &u32, sizeof u32))
			return false;
		imp->ecn = u32 != 0;
		return true;
	case TCA_NETEM_LATENCY64:
		return take(a, &imp->delay_ns, sizeof imp->delay_ns);
	case TCA_NETEM_JITTER64:
		return take(a, &imp->jitter_ns, sizeof imp->jitter_ns);
	case TCA_NETEM_SLOT:
		return parse_slot(a, imp);
	case LH_TCA_NETEM_PRNG_SEED:
		ret->seed_known = true;
		return take(a, &imp->seed, sizeof imp->seed);
	default:
		return true;
	}
}

static int netem_parse(const struct nlattr *options, struct lh_qdisc_seen *ret, struct lh_err *err)
{
	struct tc_netem_qopt qopt;
	struct netem_raw raw = { .rate64 = 0 };
	struct lh_impairment *imp = &ret->q.imp;
	if (!take(options, &qopt, sizeof qopt))
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "netem: short options from the kernel");
	imp->delay_ns = (lh_ns)qopt.latency << LH_PSCHED_SHIFT;
	imp->jitter_ns = (lh_ns)qopt.jitter << LH_PSCHED_SHIFT;
	imp->duplicate_ppb = to_ppb(qopt.duplicate);
	imp->reorder_gap = qopt.gap;
	ret->q.limit_packets = qopt.limit;

	const char *payload = (const char *)mnl_attr_get_payload(options) + MNL_ALIGN(sizeof qopt);
	int len = (int)mnl_attr_get_payload_len(options) - (int)MNL_ALIGN(sizeof qopt);
	for (const struct nlattr *a = (const struct nlattr *)payload; mnl_attr_ok(a, len);
	     len -= MNL_ALIGN(a->nla_len), a = mnl_attr_next(a))
		if (!parse_attribute(a, ret, &raw))
			return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "netem: short attribute %u from the kernel",
					  (unsigned)mnl_attr_get_type(a));

	if (qopt.loss && imp->loss_model == LH_LOSS_NONE)
		imp->loss_model = LH_LOSS_RANDOM;
	imp->loss_ppb = to_ppb(qopt.loss);
	uint64_t bytes = raw.rate64 > raw.rate.rate ? raw.rate64 : raw.rate.rate;
	imp->rate_overhead_bytes = raw.rate.packet_overhead;
	imp->jitter_reorders = imp->jitter_ns && !bytes;
	if (bytes == FIFO_RATE && imp->jitter_ns)
		bytes = 0;
	imp->rate_bps = bytes > UINT64_MAX / 8 ? UINT64_MAX : bytes * 8;
	return 0;
}

static const char *loss_name(enum lh_loss_model model)
{
	static const char *const names[] = { "none", "random", "gilbert-elliott", "4-state" };
	return (unsigned)model < sizeof names / sizeof *names ? names[model] : "?";
}

struct field { /* integer fields of an impairment that must agree exactly */
	const char *name;
	size_t offset;
	char type; /* 's'igned 64, 'r' unsigned 64, 'u'nsigned 32, 'i'nt 32, 'b'ool */
};

#define FIELD(member, t) { #member, offsetof(struct lh_impairment, member), t }
static const struct field fields[] = {
	FIELD(delay_ns, 's'), FIELD(jitter_ns, 's'), FIELD(jitter_corr_ppb, 'u'), FIELD(jitter_reorders, 'b'),
	FIELD(loss_ppb, 'u'), FIELD(loss_corr_ppb, 'u'),
	FIELD(ge_p_ppb, 'u'), FIELD(ge_r_ppb, 'u'), FIELD(ge_1h_ppb, 'u'), FIELD(ge_1k_ppb, 'u'),
	FIELD(p13_ppb, 'u'), FIELD(p31_ppb, 'u'), FIELD(p32_ppb, 'u'), FIELD(p23_ppb, 'u'), FIELD(p14_ppb, 'u'),
	FIELD(ecn, 'b'),
	FIELD(reorder_ppb, 'u'), FIELD(reorder_corr_ppb, 'u'), FIELD(reorder_gap, 'u'),
	FIELD(duplicate_ppb, 'u'), FIELD(duplicate_corr_ppb, 'u'),
	FIELD(corrupt_ppb, 'u'), FIELD(corrupt_corr_ppb, 'u'),
	FIELD(rate_bps, 'r'), FIELD(rate_overhead_bytes, 'i'),
	FIELD(slot_min_ns, 's'), FIELD(slot_max_ns, 's'), FIELD(slot_packets, 'u'), FIELD(slot_bytes, 'u'),
};

static int64_t field_get(const struct lh_impairment *imp, const struct field *f)
{
	const char *p = (const char *)imp + f->offset;
	switch (f->type) {
	case 'b':
		return *(const bool *)p;
	case 'i':
		return *(const int32_t *)p;
	case 'u':
		return *(const uint32_t *)p;
	case 'r':
		return (int64_t)*(const uint64_t *)p;
	default:
		return *(const int64_t *)p;
	}
}

static void netem_compare(struct lh_compare *cmp, const struct lh_qdisc *asked, const struct lh_qdisc_seen *got)
{
	struct lh_impairment a = canonical(&asked->imp), g = canonical(&got->q.imp);
	lh_compare_number(cmp, "limit_packets", asked->limit_packets, got->q.limit_packets,
			  asked->limit_packets == got->q.limit_packets);
	lh_compare_text(cmp, "loss_model", loss_name(a.loss_model), loss_name(g.loss_model),
			a.loss_model == g.loss_model ? LH_VERIFY_SAME : LH_VERIFY_DIFFERENT);
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		int64_t x = field_get(&a, &fields[i]), y = field_get(&g, &fields[i]);
		lh_compare_number(cmp, fields[i].name, x, y, x == y);
	}
	if (a.jitter_ns)
		lh_compare_text(cmp, "distribution", lh_dist_name(a.dist), "delay tables are not dumped",
				LH_VERIFY_UNVERIFIABLE);
	char seed[24], seen[24];
	snprintf(seed, sizeof seed, "%" PRIu64, a.seed);
	snprintf(seen, sizeof seen, "%" PRIu64, g.seed);
	lh_compare_text(cmp, "seed", seed, got->seed_known ? seen : "not in this kernel's netem",
			!got->seed_known ? LH_VERIFY_UNVERIFIABLE :
			a.seed == g.seed ? LH_VERIFY_SAME : LH_VERIFY_DIFFERENT);
}

/* ppb as per cent, no trailing zeros. */
static void print_percent(FILE *out, const char *before, lh_ppb ppb)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%u.%07u", ppb / (LH_PPB_ONE / 100), ppb % (LH_PPB_ONE / 100));
	while (text[n - 1] == '0')
		n--;
	if (text[n - 1] == '.')
		n--;
	fprintf(out, "%s%.*s%%", before, n, text);
}

static void print_with_correlation(FILE *out, const char *word, lh_ppb ppb, lh_ppb corr)
{
	if (!ppb)
		return;
	print_percent(out, word, ppb);
	if (corr)
		print_percent(out, " ", corr);
}

static void print_loss(FILE *out, const struct lh_impairment *c)
{
	if (c->loss_model == LH_LOSS_RANDOM) {
		print_with_correlation(out, " loss ", c->loss_ppb, c->loss_corr_ppb);
	} else if (c->loss_model == LH_LOSS_GEMODEL) {
		print_percent(out, " loss gemodel ", c->ge_p_ppb);
		print_percent(out, " ", c->ge_r_ppb);
		print_percent(out, " ", c->ge_1h_ppb);
		print_percent(out, " ", c->ge_1k_ppb);
	} else if (c->loss_model == LH_LOSS_4STATE) {
		print_percent(out, " loss state ", c->p13_ppb);
		print_percent(out, " ", c->p31_ppb);
		print_percent(out, " ", c->p32_ppb);
		print_percent(out, " ", c->p23_ppb);
		print_percent(out, " ", c->p14_ppb);
	}
	if (c->ecn)
		fputs(" ecn", out);
}

/* tc 6.1 knows no "ns" here and cuts off what is below a microsecond. */
static void print_time(FILE *out, const char *before, lh_ns ns)
{
	if (ns % LH_NS_PER_MS == 0)
		fprintf(out, "%s%" PRId64 "ms", before, ns / LH_NS_PER_MS);
	else if (ns % LH_NS_PER_US == 0)
		fprintf(out, "%s%" PRId64 "us", before, ns / LH_NS_PER_US);
	else
		fprintf(out, "%s%" PRId64 ".%03" PRId64 "us", before, ns / LH_NS_PER_US, ns % LH_NS_PER_US);
}

static void print_delay(FILE *out, const struct lh_impairment *c)
{
	if (!c->delay_ns && !c->jitter_ns)
		return;
	print_time(out, " delay ", c->delay_ns);
	if (!c->jitter_ns)
		return;
	print_time(out, " ", c->jitter_ns);
	if (c->jitter_corr_ppb)
		print_percent(out, " ", c->jitter_corr_ppb);
	if (c->dist != LH_DIST_UNIFORM)
		fprintf(out, " distribution %s", lh_dist_name(c->dist));
}

static void netem_print_tc(const struct lh_qdisc *q, FILE *out)
{
	struct lh_impairment c = canonical(&q->imp);
	fprintf(out, "netem limit %" PRIu32, q->limit_packets);
	print_delay(out, &c);
	print_loss(out, &c);
	print_with_correlation(out, " duplicate ", c.duplicate_ppb, c.duplicate_corr_ppb);
	print_with_correlation(out, " reorder ", c.reorder_ppb, c.reorder_corr_ppb);
	if (c.reorder_gap > 1)
		fprintf(out, " gap %" PRIu32, c.reorder_gap);
	print_with_correlation(out, " corrupt ", c.corrupt_ppb, c.corrupt_corr_ppb);
	if (c.rate_bps || (c.jitter_ns && !c.jitter_reorders))
		fprintf(out, " rate %" PRIu64 "bit", c.rate_bps ? c.rate_bps : FIFO_RATE * 8);
	if (c.rate_bps && c.rate_overhead_bytes)
		fprintf(out, " %" PRId32, c.rate_overhead_bytes);
	if (c.slot_max_ns) {
		print_time(out, " slot ", c.slot_min_ns);
		print_time(out, " ", c.slot_max_ns);
		if (c.slot_packets)
			fprintf(out, " packets %" PRIu32, c.slot_packets);
		if (c.slot_bytes)
			fprintf(out, " bytes %" PRIu32, c.slot_bytes);
	}
	/* No seed: tc knows the word from 6.6 on, later than the oldest distributions that we serve. */
}

const struct lh_qdisc_ops lh_qdisc_netem_ops = { "netem", netem_fill, netem_parse, netem_compare, netem_print_tc };
