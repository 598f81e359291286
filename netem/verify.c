/* verify.c - lh_net_verify: is the network what was asked?
 *
 * Everything is read back by other ways than it was written: netlink through libmnl where it was written through
 * libnl, features by their names where they were set by the old single commands, settings from /proc/sys. One
 * namespace at a time: enter, dump what is there, compare every planned interface and operation with it.
 *
 * Should: report every field, also those that no kernel can return (LH_VERIFY_UNVERIFIABLE).
 * Mustn't: take a field for the same because the kernel did not mention it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "offloads.h"
#include "net.h"
#include "op.h"
#include "read.h"

enum {
	LOOPBACK_IFINDEX = 1,
	MTU = 1500, /* what a veth is made with; the plan leaves it */
};

/* What one namespace holds. */
struct seen {
	struct lh_seen_link *links;
	struct lh_qdisc_seen *qdiscs;
	struct lh_seen_address *addresses;
	struct lh_seen_neighbour *neighbours;
	struct lh_seen_route *routes;
	struct lh_seen_rule *rules;
	size_t nlinks, nqdiscs, naddresses, nneighbours, nroutes, nrules;
};

struct verify {
	struct lh_net *net;
	lh_verify_fn *each;
	void *ctx;
	size_t differences;
	struct lh_verify_field first;
	uint32_t netns;
	struct seen seen;
};

static void report(void *ctx, const struct lh_verify_field *f)
{
	struct verify *v = ctx;
	if (f->verdict == LH_VERIFY_DIFFERENT && !v->differences++)
		v->first = *f;
	if (v->each)
		v->each(v->ctx, f);
}

static void field(struct verify *v, const char *object, const char *name, const char *asked, const char *got)
{
	struct lh_verify_field f = { .verdict = strcmp(asked, got) ? LH_VERIFY_DIFFERENT : LH_VERIFY_SAME };
	snprintf(f.object, sizeof f.object, "%s", object);
	snprintf(f.field, sizeof f.field, "%s", name);
	snprintf(f.asked, sizeof f.asked, "%s", asked);
	snprintf(f.got, sizeof f.got, "%s", got);
	report(v, &f);
}

static void field_number(struct verify *v, const char *object, const char *name, uint64_t asked, uint64_t got)
{
	char a[24], g[24];
	snprintf(a, sizeof a, "%" PRIu64, asked);
	snprintf(g, sizeof g, "%" PRIu64, got);
	field(v, object, name, a, g);
}

static void print_mac(const uint8_t mac[6], char text[18])
{
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void seen_free(struct seen *s)
{
	free(s->links);
	free(s->qdiscs);
	free(s->addresses);
	free(s->neighbours);
	free(s->routes);
	free(s->rules);
	memset(s, 0, sizeof *s);
}

static int seen_read(struct seen *s, struct lh_err *err)
{
	struct lh_reader *r;
	int rc = lh_reader_open(&r, err);
	if (rc)
		return rc;
	rc = lh_read_links(r, &s->links, &s->nlinks, err);
	rc = rc ? rc : lh_read_qdiscs(r, &s->qdiscs, &s->nqdiscs, err);
	rc = rc ? rc : lh_read_addresses(r, &s->addresses, &s->naddresses, err);
	rc = rc ? rc : lh_read_neighbours(r, &s->neighbours, &s->nneighbours, err);
	rc = rc ? rc : lh_read_routes(r, &s->routes, &s->nroutes, err);
	rc = rc ? rc : lh_read_rules(r, &s->rules, &s->nrules, err);
	lh_reader_close(r);
	return rc;
}

static const struct lh_seen_link *find_link(const struct seen *s, int ifindex)
{
	for (size_t i = 0; i < s->nlinks; i++)
		if (s->links[i].ifindex == ifindex)
			return &s->links[i];
	return NULL;
}

static void verify_qdisc(struct verify *v, const struct lh_plan_if *i, const struct lh_qdisc *asked)
{
	struct lh_qdisc_seen none = { .handle = 0 };
	const struct lh_qdisc_seen *root = &none;
	char object[sizeof i->object];
	for (size_t k = 0; k < v->seen.nqdiscs; k++) {
		const struct lh_qdisc_seen *q = &v->seen.qdiscs[k];
		if (q->ifindex != i->ifindex)
			continue;
		if (q->parent == TC_H_ROOT)
			root = q;
		else
			field(v, i->object, "further qdisc", "none", q->kind);
	}
	static const char *const names[] = { "none", "netem", "tbf" };
	snprintf(object, sizeof object, "%.80s qdisc %s", i->object, names[asked->kind]);
	lh_qdisc_compare(object, asked, root, report, v);
}

static int verify_features(struct verify *v, int fd, const struct lh_plan_if *i, struct lh_err *err)
{
	struct lh_offloads f;
	if (!i->offloads_off && !i->gro_off)
		return 0;
	int rc = lh_offloads_read(fd, i->name, &f, err);
	if (rc)
		return lh_err_wrap(err, "%s", i->object);
	for (enum lh_offload k = 0; k < LH_OFFLOADS; k++) {
		bool off = k == LH_OFFLOAD_GRO ? i->gro_off : i->offloads_off;
		if (off)
			field(v, i->object, lh_offload_name(k), "off", f.known[k] && f.on[k] ? "on" : "off");
	}
	return 0;
}

static int verify_interface(struct verify *v, int fd, uint32_t index, struct lh_err *err)
{
	const struct lh_plan_if *i = &v->net->plan->ifs[index];
	const struct lh_seen_link *l = find_link(&v->seen, i->ifindex);
	char asked[18], got[18];
	if (!l) {
		field(v, i->object, "interface", i->name, "gone");
		return 0;
	}
	field(v, i->object, "interface", i->name, l->name);
	field(v, i->object, "interface kind", "veth", l->kind);
	field(v, i->object, "state", "up", l->flags & IFF_UP ? "up" : "down");
	print_mac(i->mac, asked);
	print_mac(l->mac, got);
	field(v, i->object, "hardware address", asked, got);
	field_number(v, i->object, "mtu", MTU, l->mtu);
	verify_qdisc(v, i, &v->net->qdisc[index]);
	return strcmp(i->name, l->name) ? 0 : verify_features(v, fd, i, err);
}

static void verify_address(struct verify *v, const struct lh_op *op)
{
	const struct lh_plan *p = v->net->plan;
	const char *object = op->iface == LH_PLAN_NOT ? lh_op_object(p, op) : p->ifs[op->iface].object;
	int ifindex = op->iface == LH_PLAN_NOT ? LOOPBACK_IFINDEX : p->ifs[op->iface].ifindex;
	const char *name = op->address.family == AF_INET6 ? "address v6" : "address v4";
	char text[64];
	lh_address_print(&op->address, true, text, sizeof text);
	for (size_t i = 0; i < v->seen.naddresses; i++) {
		const struct lh_seen_address *a = &v->seen.addresses[i];
		if (a->ifindex == ifindex && a->family == op->address.family && a->prefix == op->address.prefix &&
		    !memcmp(a->bytes, op->address.bytes, lh_address_len(&op->address))) {
			field(v, object, name, text, text);
			return;
		}
	}
	field(v, object, name, text, "gone");
}

static void verify_neighbour(struct verify *v, const struct lh_op *op)
{
	const struct lh_plan_if *i = &v->net->plan->ifs[op->iface];
	char asked[48], got[48] = "gone", mac[18];
	print_mac(v->net->plan->ifs[i->far].mac, mac);
	snprintf(asked, sizeof asked, "%s permanent", mac);
	for (size_t k = 0; k < v->seen.nneighbours; k++) {
		const struct lh_seen_neighbour *n = &v->seen.neighbours[k];
		if (n->ifindex != i->ifindex || n->family != op->address.family ||
		    memcmp(n->bytes, op->address.bytes, lh_address_len(&op->address)))
			continue;
		print_mac(n->mac, mac);
		snprintf(got, sizeof got, "%s %s", mac, n->state & NUD_PERMANENT ? "permanent" : "not permanent");
	}
	field(v, i->object, op->address.family == AF_INET6 ? "neighbour v6" : "neighbour v4", asked, got);
}

static void print_route(char *text, size_t size, uint8_t type, int ifindex, uint32_t initcwnd, uint32_t rto_min_ms,
			const char *congestion)
{
	char window[24] = "", timeout[28] = "";
	if (initcwnd)
		snprintf(window, sizeof window, " initcwnd %" PRIu32, initcwnd);
	if (rto_min_ms)
		snprintf(timeout, sizeof timeout, " rto_min %" PRIu32 "ms", rto_min_ms);
	snprintf(text, size, "%s if %d%s%s%s%s", type == RTN_UNICAST ? "to" : type == RTN_LOCAL ? "local" :
		 type == RTN_BLACKHOLE ? "blackhole" : "other",
		 ifindex, window, timeout, *congestion ? " " : "", congestion);
}

static void verify_route(struct verify *v, const struct lh_op *op)
{
	const struct lh_plan_if *i = &v->net->plan->ifs[op->iface];
	char name[64], to[48], asked[96], got[96] = "gone";
	snprintf(name, sizeof name, "route %s", lh_address_print(&op->route.to, true, to, sizeof to));
	print_route(asked, sizeof asked, op->route.local ? RTN_LOCAL : RTN_UNICAST, i->ifindex, op->route.initcwnd,
		    op->route.rto_min_ms, op->route.congestion);
	for (size_t k = 0; k < v->seen.nroutes; k++) {
		const struct lh_seen_route *r = &v->seen.routes[k];
		if (r->family != op->route.to.family || r->prefix != op->route.to.prefix ||
		    r->table != op->route.table || memcmp(r->to, op->route.to.bytes, lh_address_len(&op->route.to)))
			continue;
		print_route(got, sizeof got, r->type, r->ifindex, r->initcwnd, r->rto_min_ms, r->congestion);
		if (!strcmp(asked, got))
			break;
	}
	field(v, i->object, name, asked, got);
}

static void verify_rule(struct verify *v, const struct lh_op *op)
{
	const struct lh_plan *p = v->net->plan;
	const char *iif = op->rule.iif ? p->ifs[op->iface].name : "";
	uint8_t prefix = op->rule.iif ? 0 : op->rule.from.prefix;
	char name[32], asked[24];
	snprintf(name, sizeof name, "rule %" PRIu32 "%s", op->rule.priority,
		 op->rule.from.family == AF_INET6 ? " v6" : " v4");
	snprintf(asked, sizeof asked, "table %" PRIu32, op->rule.table);
	for (size_t k = 0; k < v->seen.nrules; k++) {
		const struct lh_seen_rule *r = &v->seen.rules[k];
		if (r->family == op->rule.from.family && r->priority == op->rule.priority &&
		    r->table == op->rule.table && r->prefix == prefix && !strcmp(r->iif, iif) &&
		    (!prefix || !memcmp(r->from, op->rule.from.bytes, lh_address_len(&op->rule.from)))) {
			field(v, lh_op_object(p, op), name, asked, asked);
			return;
		}
	}
	field(v, lh_op_object(p, op), name, asked, "gone");
}

/* The kernel separates the numbers of one setting by tabs and ends it with a newline. */
static void squeeze(char *text)
{
	char *to = text;
	for (const char *from = text; *from; from++) {
		bool blank = *from == ' ' || *from == '\t' || *from == '\n';
		if (!blank)
			*to++ = *from;
		else if (to > text && to[-1] != ' ')
			*to++ = ' ';
	}
	while (to > text && to[-1] == ' ')
		to--;
	*to = 0;
}

static int verify_sysctl(struct verify *v, const struct lh_op *op, struct lh_err *err)
{
	char path[128], got[64] = "";
	if ((size_t)snprintf(path, sizeof path, "/proc/sys/%s", op->sysctl.key) >= sizeof path)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENAMETOOLONG, "sysctl %s", op->sysctl.key);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "open %s", path);
	ssize_t n = read(fd, got, sizeof got - 1);
	int code = n < 0 ? -errno : 0;
	close(fd);
	if (code)
		return lh_err_sys(err, LH_EXIT_MACHINE, code, "read %s", path);
	got[n] = 0;
	squeeze(got);
	const char *name = strncmp(op->sysctl.key, "net/", 4) ? op->sysctl.key : op->sysctl.key + 4;
	field(v, lh_op_object(v->net->plan, op), name, op->sysctl.value, got);
	return 0;
}

static int verify_op(struct verify *v, const struct lh_op *op, struct lh_err *err)
{
	switch (op->kind) {
	case LH_OP_SYSCTL:
		return verify_sysctl(v, op, err);
	case LH_OP_ADDRESS:
		verify_address(v, op);
		return 0;
	case LH_OP_NEIGHBOUR:
		verify_neighbour(v, op);
		return 0;
	case LH_OP_ROUTE:
		verify_route(v, op);
		return 0;
	case LH_OP_RULE:
		verify_rule(v, op);
		return 0;
	default: /* interfaces and qdiscs are verified with the interface */
		return 0;
	}
}

/* An interface that is not in the plan could carry packets around a link. (Kernels with tunnels built in put some
 * that are down into every namespace.) */
static void verify_strangers(struct verify *v)
{
	const struct lh_plan *p = v->net->plan;
	for (size_t i = 0; i < v->seen.nlinks; i++) {
		const struct lh_seen_link *l = &v->seen.links[i];
		bool ours = l->ifindex == LOOPBACK_IFINDEX || !(l->flags & IFF_UP);
		for (size_t k = 0; !ours && k < p->nifs; k++)
			ours = p->ifs[k].netns == v->netns && p->ifs[k].ifindex == l->ifindex;
		if (!ours)
			field(v, p->netns[v->netns].object, "further interface", "none", l->name);
	}
}

static int verify_netns(struct verify *v, struct lh_err *err)
{
	const struct lh_plan *p = v->net->plan;
	int rc = seen_read(&v->seen, err);
	if (rc)
		return lh_err_wrap(err, "%s", p->netns[v->netns].object);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s: socket", p->netns[v->netns].object);
	for (uint32_t i = 0; !rc && i < p->nifs; i++)
		if (p->ifs[i].netns == v->netns)
			rc = verify_interface(v, fd, i, err);
	close(fd);
	for (size_t i = 0; !rc && i < p->nops; i++)
		if (p->ops[i].netns == v->netns)
			rc = verify_op(v, &p->ops[i], err);
	if (!rc)
		verify_strangers(v);
	return rc;
}

int lh_net_verify(struct lh_net *net, lh_verify_fn *each, void *ctx, struct lh_err *err)
{
	struct verify v = { .net = net, .each = each, .ctx = ctx };
	int rc = 0;
	for (v.netns = 0; !rc && v.netns < net->plan->nnetns; v.netns++) {
		rc = lh_net_enter(net, v.netns, err);
		rc = rc ? rc : verify_netns(&v, err);
		seen_free(&v.seen);
	}
	int back = lh_net_enter(net, LH_PLAN_NOT, rc ? NULL : err);
	if (rc || back)
		return rc ? rc : back;
	if (!v.differences)
		return 0;
	return lh_err_set(err, LH_EXIT_MACHINE, -EBADE, "%s: %s: asked %s, the kernel has %s%s", v.first.object,
			  v.first.field, v.first.asked, v.first.got,
			  v.differences > 1 ? " (and further differences)" : "");
}
