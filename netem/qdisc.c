/* qdisc.c - the table of kinds, and what is the same for every kind. */
#include "qdisc_table.h"

#include <errno.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/gen_stats.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

static const struct lh_qdisc_ops *ops_of(enum lh_qdisc_kind kind)
{
	switch (kind) {
	case LH_QDISC_NETEM:
		return &lh_qdisc_netem_ops;
	case LH_QDISC_TBF:
		return &lh_qdisc_tbf_ops;
	default:
		return NULL;
	}
}

static enum lh_qdisc_kind kind_named(const char *name)
{
	for (enum lh_qdisc_kind k = LH_QDISC_NETEM; k <= LH_QDISC_TBF; k++)
		if (!strcmp(ops_of(k)->kind, name))
			return k;
	return LH_QDISC_NONE;
}

uint64_t lh_rate_bytes(lh_bps rate_bps)
{
	uint64_t bytes = rate_bps / 8 + (rate_bps % 8 >= 4);
	if (rate_bps && !bytes)
		return 1;
	return bytes > UINT64_MAX / 8 ? UINT64_MAX / 8 : bytes;
}

int lh_qdisc_full(const char *kind, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_MACHINE, -EMSGSIZE, "%s: the netlink message is too small", kind);
}

int lh_qdisc_fill(struct nl_msg *msg, const struct lh_qdisc *q, struct lh_err *err)
{
	const struct lh_qdisc_ops *ops = ops_of(q->kind);
	if (!ops)
		return lh_err_set(err, LH_EXIT_MACHINE, -EINVAL, "no queueing discipline to write");
	if (nla_put_string(msg, TCA_KIND, ops->kind) < 0)
		return lh_qdisc_full(ops->kind, err);
	return ops->fill(msg, q, err);
}

void lh_qdisc_print_tc(const struct lh_qdisc *q, FILE *out)
{
	const struct lh_qdisc_ops *ops = ops_of(q->kind);
	if (ops)
		ops->print_tc(q, out);
	else
		fputs("noqueue", out);
}

static void parse_stats(const struct nlattr *nest, struct lh_link_counters *c)
{
	struct gnet_stats_basic basic;
	struct gnet_stats_queue queue;
	uint64_t packets64 = 0;
	bool have_packets64 = false;
	const struct nlattr *a;
	mnl_attr_for_each_nested(a, nest) {
		size_t len = mnl_attr_get_payload_len(a);
		const void *payload = mnl_attr_get_payload(a);
		switch (mnl_attr_get_type(a)) {
		case TCA_STATS_BASIC:
			/* The struct ends in padding that the kernel may leave out. */
			if (len < offsetof(struct gnet_stats_basic, packets) + sizeof basic.packets)
				break;
			memcpy(&basic, payload, len < sizeof basic ? len : sizeof basic);
			c->bytes = basic.bytes;
			c->packets = basic.packets;
			break;
		case TCA_STATS_PKT64:
			have_packets64 = len >= sizeof packets64;
			if (have_packets64)
				memcpy(&packets64, payload, sizeof packets64);
			break;
		case TCA_STATS_QUEUE:
			if (len < sizeof queue)
				break;
			memcpy(&queue, payload, sizeof queue);
			c->backlog_packets = queue.qlen;
			c->backlog_bytes = queue.backlog;
			c->drops = queue.drops;
			c->requeues = queue.requeues;
			c->overlimits = queue.overlimits;
			break;
		}
	}
	if (have_packets64)
		c->packets = packets64;
}

/* The kernel's name: a string that ends within its attribute. */
static bool parse_kind(const struct nlattr *a, char *into, size_t size)
{
	const char *text = mnl_attr_get_payload(a);
	size_t len = strnlen(text, mnl_attr_get_payload_len(a));
	if (len >= size)
		return false;
	memcpy(into, text, len);
	into[len] = 0;
	return true;
}

int lh_qdisc_parse(const void *header, struct lh_qdisc_seen *ret, struct lh_err *err)
{
	const struct nlmsghdr *nlh = header;
	const struct nlattr *a, *options = NULL;
	struct lh_qdisc_seen seen = { .handle = 0 };
	/* Padded, as the kernel's are: libmnl would read past the end of anything else. */
	if (nlh->nlmsg_type != RTM_NEWQDISC || nlh->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(struct tcmsg) ||
	    nlh->nlmsg_len % MNL_ALIGNTO)
		return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "not a queueing discipline from the kernel");
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);
	seen.handle = tcm->tcm_handle;
	seen.parent = tcm->tcm_parent;
	seen.ifindex = tcm->tcm_ifindex;
	mnl_attr_for_each(a, nlh, sizeof *tcm) {
		switch (mnl_attr_get_type(a)) {
		case TCA_KIND:
			if (!parse_kind(a, seen.kind, sizeof seen.kind))
				return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG,
						  "a queueing discipline with too long a name");
			break;
		case TCA_OPTIONS:
			options = a;
			break;
		case TCA_STATS2:
			parse_stats(a, &seen.counters);
			seen.has_counters = true;
			break;
		}
	}
	seen.q.kind = kind_named(seen.kind);
	const struct lh_qdisc_ops *ops = ops_of(seen.q.kind);
	if (ops) {
		if (!options)
			return lh_err_set(err, LH_EXIT_MACHINE, -EBADMSG, "%s: no options from the kernel", seen.kind);
		int rc = ops->parse(options, &seen, err);
		if (rc)
			return rc;
	}
	*ret = seen;
	return 0;
}

static void report(struct lh_compare *cmp, struct lh_verify_field *f)
{
	snprintf(f->object, sizeof f->object, "%s", cmp->object);
	cmp->differences += f->verdict == LH_VERIFY_DIFFERENT;
	if (cmp->each)
		cmp->each(cmp->ctx, f);
}

void lh_compare_text(struct lh_compare *cmp, const char *field, const char *asked, const char *got,
		     enum lh_verify_verdict verdict)
{
	struct lh_verify_field f = { .verdict = verdict };
	snprintf(f.field, sizeof f.field, "%s", field);
	snprintf(f.asked, sizeof f.asked, "%s", asked);
	snprintf(f.got, sizeof f.got, "%s", got);
	report(cmp, &f);
}

void lh_compare_number(struct lh_compare *cmp, const char *field, int64_t asked, int64_t got, bool same)
{
	char a[24], g[24];
	snprintf(a, sizeof a, "%" PRId64, asked);
	snprintf(g, sizeof g, "%" PRId64, got);
	lh_compare_text(cmp, field, a, g, same ? LH_VERIFY_SAME : LH_VERIFY_DIFFERENT);
}

int lh_qdisc_compare(const char *object, const struct lh_qdisc *asked, const struct lh_qdisc_seen *got,
		     lh_verify_fn *each, void *ctx)
{
	const struct lh_qdisc_ops *ops = ops_of(asked->kind);
	struct lh_compare cmp = { object, each, ctx, 0 };
	/* Without a qdisc of ours a virtual link has "noqueue". */
	const char *kind = ops ? ops->kind : "noqueue", *seen = got->kind[0] ? got->kind : "none";
	bool same = ops ? got->q.kind == asked->kind : !strcmp(seen, "noqueue") || !strcmp(seen, "none");
	lh_compare_text(&cmp, "kind", kind, seen, same ? LH_VERIFY_SAME : LH_VERIFY_DIFFERENT);
	if (ops && same)
		ops->compare(&cmp, asked, got);
	return cmp.differences;
}
