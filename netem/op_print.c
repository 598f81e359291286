/* op_print.c - operations as words and as the ip, tc, sysctl or ethtool command that does the same. Pure. */
#include <string.h>
#include <sys/socket.h>

#include "op.h"

static const char *label(const struct lh_plan *plan, const struct lh_op *op)
{
	return plan->netns[op->netns].label;
}

static const char *ifname(const struct lh_plan *plan, const struct lh_op *op)
{
	return op->iface == LH_PLAN_NOT ? "lo" : plan->ifs[op->iface].name;
}

static const char *ip(const struct lh_address *a)
{
	return a->family == AF_INET6 ? "ip -6" : "ip";
}

static void print_mac(const uint8_t mac[6], char buf[18])
{
	snprintf(buf, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static const char *qdisc_name(enum lh_qdisc_kind kind)
{
	return kind == LH_QDISC_NETEM ? "netem" : kind == LH_QDISC_TBF ? "tbf" : "none";
}

static const char *table_name(uint32_t table, char buf[12])
{
	if (table == LH_TABLE_MAIN)
		return "main";
	if (table == LH_TABLE_LOCAL)
		return "local";
	snprintf(buf, 12, "%u", table);
	return buf;
}

const char *lh_op_object(const struct lh_plan *plan, const struct lh_op *op)
{
	bool about_if = op->kind == LH_OP_VETH || op->kind == LH_OP_UP || op->kind == LH_OP_QDISC || op->kind == LH_OP_OFFLOADS ||
			op->kind == LH_OP_NEIGHBOUR;
	return about_if ? plan->ifs[op->iface].object : plan->netns[op->netns].object;
}

char *lh_op_print(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	char what[96];
	lh_op_table[op->kind].what(plan, op, what, sizeof what);
	snprintf(buf, size, "%s: %s", lh_op_object(plan, op), what);
	return buf;
}

void lh_op_netns_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, "network namespace");
}

void lh_op_netns_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	fprintf(out, "ip netns add %s", label(plan, op));
}

void lh_op_sysctl_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, "sysctl %s = %s", op->sysctl.key, op->sysctl.value);
}

void lh_op_sysctl_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	fprintf(out, "ip netns exec %s sysctl -qw %s='%s'", label(plan, op), op->sysctl.key, op->sysctl.value);
}

void lh_op_loopback_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, "lo up");
}

void lh_op_loopback_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	fprintf(out, "ip -n %s link set lo up", label(plan, op));
}

void lh_op_veth_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	const struct lh_plan_if *far = &plan->ifs[plan->ifs[op->iface].far];
	snprintf(buf, size, "veth %s to %s of %s", ifname(plan, op), far->name, plan->netns[far->netns].object);
}

void lh_op_veth_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	const struct lh_plan_if *a = &plan->ifs[op->iface], *far = &plan->ifs[a->far];
	char mac[18], far_mac[18];
	print_mac(a->mac, mac);
	print_mac(far->mac, far_mac);
	fprintf(out, "ip -n %s link add %s up index %d address %s group 1 numtxqueues 1 numrxqueues 1 type veth"
		" peer name %s index %d address %s numtxqueues 1 numrxqueues 1 netns %s",
		plan->netns[a->netns].label, a->name, a->ifindex, mac, far->name, far->ifindex, far_mac,
		plan->netns[far->netns].label);
}

void lh_op_up_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, "%s up", ifname(plan, op));
}

void lh_op_up_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	fprintf(out, "ip -n %s link set %s up", label(plan, op), ifname(plan, op));
}

void lh_op_offloads_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, plan->ifs[op->iface].offloads_off ? "offloads of %s off" : "gro of %s off", ifname(plan, op));
}

void lh_op_offloads_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	const struct lh_plan_if *i = &plan->ifs[op->iface];
	fprintf(out, "ip netns exec %s ethtool -K %s%s%s", label(plan, op), i->name,
		i->offloads_off ? " tso off gso off tx-udp-segmentation off" : "", i->gro_off ? " gro off" : "");
}

void lh_op_qdisc_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, "qdisc %s", qdisc_name(plan->ifs[op->iface].qdisc.kind));
}

void lh_op_qdisc_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	fprintf(out, "tc -n %s qdisc replace dev %s root ", label(plan, op), ifname(plan, op));
	lh_qdisc_print_tc(&plan->ifs[op->iface].qdisc, out);
}

void lh_op_neighbour_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	char addr[64];
	snprintf(buf, size, "neighbour %s", lh_address_print(&op->address, false, addr, sizeof addr));
}

void lh_op_neighbour_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	char addr[64], mac[18];
	print_mac(plan->ifs[plan->ifs[op->iface].far].mac, mac);
	fprintf(out, "ip -n %s neigh replace %s dev %s lladdr %s nud permanent", label(plan, op),
		lh_address_print(&op->address, false, addr, sizeof addr), ifname(plan, op), mac);
}

void lh_op_address_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	char addr[64];
	snprintf(buf, size, "address %s on %s", lh_address_print(&op->address, true, addr, sizeof addr), ifname(plan, op));
}

void lh_op_address_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	char addr[64];
	fprintf(out, "ip -n %s addr add %s dev %s%s", label(plan, op),
		lh_address_print(&op->address, true, addr, sizeof addr), ifname(plan, op),
		op->address.family == AF_INET6 ? " nodad" : "");
}

void lh_op_route_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	char addr[64], table[12];
	snprintf(buf, size, "route %s by %s in table %s%s%s",
		 lh_address_print(&op->route.to, true, addr, sizeof addr), ifname(plan, op),
		 table_name(op->route.table, table), op->route.congestion[0] ? ", congestion control " : "",
		 op->route.congestion);
}

void lh_op_route_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	char to[64], via[64], table[12];
	struct lh_address far;
	lh_address_far_end(op->route.to.family == AF_INET6, &far);
	fprintf(out, "%s -n %s route replace %s%s", ip(&op->route.to), label(plan, op), op->route.local ? "local " : "",
		lh_address_print(&op->route.to, true, to, sizeof to));
	if (!op->route.local)
		fprintf(out, " via %s", lh_address_print(&far, false, via, sizeof via));
	fprintf(out, " dev %s%s proto static table %s", ifname(plan, op), op->route.local ? "" : " onlink",
		table_name(op->route.table, table));
	if (op->route.initcwnd)
		fprintf(out, " initcwnd %u", op->route.initcwnd);
	if (op->route.rto_min_ms)
		fprintf(out, " rto_min %ums", op->route.rto_min_ms);
	if (op->route.congestion[0])
		fprintf(out, " congctl %s", op->route.congestion);
}

void lh_op_rule_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	char from[64], table[12];
	snprintf(buf, size, "rule %u: %s %s looks up table %s", op->rule.priority, op->rule.iif ? "in by" : "from",
		 op->rule.iif ? ifname(plan, op) : lh_address_print(&op->rule.from, true, from, sizeof from),
		 table_name(op->rule.table, table));
}

void lh_op_rule_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	char from[64], table[12];
	fprintf(out, "%s -n %s rule add pref %u %s %s lookup %s", ip(&op->rule.from), label(plan, op), op->rule.priority,
		op->rule.iif ? "iif" : "from",
		op->rule.iif ? ifname(plan, op) : lh_address_print(&op->rule.from, true, from, sizeof from),
		table_name(op->rule.table, table));
}

void lh_op_ready_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size)
{
	snprintf(buf, size, "every interface ready");
}

void lh_op_ready_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
{
	fprintf(out, "ip -n %s link show up", label(plan, op));
}
