/* plan.c - from a topology to the ordered list of operations that makes it. Pure: no system call, no clock.
 *
 * The order (netem/README.md says why): gateways and access boxes; the sites' LAN interfaces and the pairs between
 * sites, each with offloads, neighbours and its qdisc; the peers, each with its veth pair made from inside it; then what
 * gateways must know of their peers; last, a barrier per gateway. Operations of one namespace stand together, so that
 * they travel to the kernel in few messages.
 */
#include "plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct build {
	struct lh_plan *p;
	const struct lh_topology *t;
	const struct lh_plan_options *opt;
	uint32_t *gateway, *edge;     /* by site: its gateway; who owns its WAN interfaces (access box or gateway) */
	uint32_t *lan, *acc;          /* by site: interfaces lan0; acc or LH_PLAN_NOT */
	bool *packet;                 /* by site: some link out of it is in packet mode */
	bool any_packet;
	bool full;                    /* out of memory: sticky, so that the builder stays linear */
};

static void *grow(struct build *b, void *array, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return array;
	size_t room_new = *room ? *room * 2 : 64;
	void *bigger = reallocarray(array, room_new, size);
	if (!bigger) {
		b->full = true;
		return array;
	}
	*room = room_new;
	return bigger;
}

__attribute__((format(printf, 4, 5)))
static uint32_t add_netns(struct build *b, enum lh_netns_kind kind, unsigned index, const char *fmt, ...)
{
	static const char *const kinds[] = { "gateway", "access", "nic", "peer" };
	struct lh_plan *p = b->p;
	p->netns = grow(b, p->netns, &p->netns_room, p->nnetns, sizeof *p->netns);
	if (b->full)
		return 0;
	struct lh_plan_netns *n = &p->netns[p->nnetns];
	*n = (struct lh_plan_netns){ .kind = kind, .index = index, .last_ifindex = 1 };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(n->label, sizeof n->label, fmt, ap);
	va_end(ap);
	const char *user = kind == LH_NETNS_PEER || kind == LH_NETNS_NIC ? b->t->peers[index].name
									 : b->t->sites[index].name;
	snprintf(n->object, sizeof n->object, "%s %s", kinds[kind], user);
	return (uint32_t)p->nnetns++;
}

static struct lh_op *add_op(struct build *b, enum lh_op_kind kind, uint32_t netns, uint32_t iface)
{
	static struct lh_op nowhere;
	struct lh_plan *p = b->p;
	p->ops = grow(b, p->ops, &p->ops_room, p->nops, sizeof *p->ops);
	if (b->full)
		return &nowhere;
	struct lh_op *op = &p->ops[p->nops++];
	*op = (struct lh_op){ .kind = kind, .netns = netns, .iface = iface };
	return op;
}

static uint32_t add_if(struct build *b, uint32_t netns, const char *name)
{
	struct lh_plan *p = b->p;
	p->ifs = grow(b, p->ifs, &p->ifs_room, p->nifs, sizeof *p->ifs);
	if (b->full)
		return 0;
	struct lh_plan_if *i = &p->ifs[p->nifs];
	*i = (struct lh_plan_if){ .netns = netns, .far = LH_PLAN_NOT, .link_from = -1, .link_to = -1 };
	i->ifindex = ++p->netns[netns].last_ifindex;
	snprintf(i->name, sizeof i->name, "%s", name);
	lh_mac_make((uint32_t)p->nifs + 1, i->mac);
	snprintf(i->object, sizeof i->object, "%s interface %s", p->netns[netns].object, name);
	return (uint32_t)p->nifs++;
}

/* A veth pair and the operation that makes it, in the batch of namespace `batch`. `a` is always in a router: it comes
 * up without a carrier and is settled by the router's last operation. Returns a; the far end is a + 1. */
static uint32_t add_pair(struct build *b, uint32_t batch, uint32_t netns_a, const char *name_a, uint32_t netns_z,
			 const char *name_z)
{
	uint32_t a = add_if(b, netns_a, name_a), z = add_if(b, netns_z, name_z);
	if (b->full)
		return 0;
	b->p->ifs[a].far = z;
	b->p->ifs[z].far = a;
	add_op(b, LH_OP_VETH, batch, a);
	return a;
}

static void add_sysctl(struct build *b, uint32_t netns, const char *key, const char *value)
{
	struct lh_op *op = add_op(b, LH_OP_SYSCTL, netns, LH_PLAN_NOT);
	op->sysctl.key = key;
	snprintf(op->sysctl.value, sizeof op->sysctl.value, "%s", value);
}

static struct lh_op *add_route(struct build *b, uint32_t iface, uint32_t table, const struct lh_address *to)
{
	struct lh_op *op = add_op(b, LH_OP_ROUTE, b->full ? 0 : b->p->ifs[iface].netns, iface);
	op->route.to = *to;
	op->route.table = table;
	return op;
}

/* What concerns one interface alone: who is at its far end, how packets leave it. */
static void add_if_setup(struct build *b, uint32_t iface)
{
	if (b->full)
		return;
	struct lh_plan *p = b->p;
	uint32_t netns = p->ifs[iface].netns;
	if (p->ifs[iface].far < iface)
		add_op(b, LH_OP_UP, netns, iface);
	if (p->ifs[iface].offloads_off || p->ifs[iface].gro_off)
		add_op(b, LH_OP_OFFLOADS, netns, iface);
	for (int v6 = 0; v6 < 2; v6++)
		lh_address_far_end(v6, &add_op(b, LH_OP_NEIGHBOUR, netns, iface)->address);
	if (p->ifs[iface].qdisc.kind != LH_QDISC_NONE)
		add_op(b, LH_OP_QDISC, netns, iface);
}

static void set_packet_mode(struct build *b, uint32_t iface, bool sends_packets)
{
	if (b->full)
		return;
	b->p->ifs[iface].offloads_off = sends_packets;
	b->p->ifs[iface].gro_off = b->any_packet;
}

__attribute__((format(printf, 3, 4)))
static void set_object(struct build *b, uint32_t iface, const char *fmt, ...)
{
	if (b->full)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(b->p->ifs[iface].object, sizeof b->p->ifs[iface].object, fmt, ap);
	va_end(ap);
}

static void set_link(struct build *b, uint32_t iface, unsigned from, unsigned to)
{
	if (b->full)
		return;
	const struct lh_topology *t = b->t;
	struct lh_plan_if *i = &b->p->ifs[iface];
	size_t at = (size_t)from * t->nsites + to;
	i->link_from = (int)from;
	i->link_to = (int)to;
	set_object(b, iface, "link %s->%s", t->sites[from].name, t->sites[to].name);
	b->p->link_if[at] = iface;
	const struct lh_link *link = &t->links[at];
	lh_ns floor = b->opt && b->opt->floor_ns ? b->opt->floor_ns[at] : 0;
	lh_plan_link_qdisc(link, floor, b->opt && b->opt->zero_delay, false, &i->qdisc);
	b->p->needs_netem |= i->qdisc.kind == LH_QDISC_NETEM;
}

static void set_rate(struct build *b, uint32_t iface, lh_bps rate, lh_bytes queue)
{
	if (!b->full && rate)
		lh_qdisc_for_rate(rate, queue, &b->p->ifs[iface].qdisc);
}

static void add_router(struct build *b, uint32_t netns)
{
	/* IPv4's conf/default comes from the host's first namespace, which may say anything. No link-local addresses:
	 * with none there is no duplicate detection and no router solicitation. conf/all alone decides what is forwarded;
	 * an interface that called itself a router would join the routers' group and report that on the link. */
	static const char *const settings[][2] = {
		{ "net/ipv4/ip_forward", "1" },
		{ "net/ipv4/conf/all/rp_filter", "0" },
		{ "net/ipv4/conf/default/rp_filter", "0" },
		{ "net/ipv6/conf/all/forwarding", "1" },
		{ "net/ipv6/conf/default/forwarding", "0" },
		{ "net/ipv6/conf/default/addr_gen_mode", "1" },
	};
	add_op(b, LH_OP_NETNS, netns, LH_PLAN_NOT);
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
		add_sysctl(b, netns, settings[i][0], settings[i][1]);
	add_op(b, LH_OP_LOOPBACK, netns, LH_PLAN_NOT);
}

static void add_gateway(struct build *b, unsigned site)
{
	const struct lh_site *s = &b->t->sites[site];
	uint32_t gateway = add_netns(b, LH_NETNS_GATEWAY, site, "%s.gw", s->name);
	b->gateway[site] = b->edge[site] = gateway;
	b->acc[site] = LH_PLAN_NOT;
	add_router(b, gateway);
	struct lh_address a;
	for (int v6 = 0; v6 < 2; v6++) {
		lh_address_gateway(site, v6, &a);
		add_op(b, LH_OP_ADDRESS, gateway, LH_PLAN_NOT)->address = a;
	}
	if (!s->access.up_bps && !s->access.down_bps)
		return;
	uint32_t box = add_netns(b, LH_NETNS_ACCESS, site, "%s.access", s->name);
	b->edge[site] = box;
	add_router(b, box);
	for (int v6 = 0; v6 < 2; v6++) {
		lh_address_access(site, v6, &a);
		add_op(b, LH_OP_ADDRESS, box, LH_PLAN_NOT)->address = a;
	}
}

/* Largest RTT between the site and another: what its access queue is counted in. */
static lh_ns site_rtt(const struct lh_topology *t, unsigned site)
{
	lh_ns rtt = 0;
	for (unsigned d = 0; d < t->nsites; d++)
		if (d != site && t->links[(size_t)site * t->nsites + d].rtt_spec_ns > rtt)
			rtt = t->links[(size_t)site * t->nsites + d].rtt_spec_ns;
	return rtt;
}

static lh_bytes access_queue(const struct lh_access *a, lh_bps rate, lh_ns rtt)
{
	enum { FRAME_BYTES = 1514 };
	lh_bytes bdp = lh_bdp_bytes(rate, rtt), bytes = bdp;
	if (a->queue_kind == LH_QUEUE_BDP)
		bytes = bdp / 1000 * a->queue_bdp_milli + bdp % 1000 * a->queue_bdp_milli / 1000;
	else if (a->queue_kind == LH_QUEUE_PACKETS)
		bytes = (lh_bytes)a->queue_packets * FRAME_BYTES;
	return bytes;
}

static void add_access(struct build *b, unsigned site)
{
	const struct lh_access *access = &b->t->sites[site].access;
	const char *name = b->t->sites[site].name;
	if (b->edge[site] == b->gateway[site])
		return;
	lh_ns rtt = site_rtt(b->t, site);
	uint32_t acc = add_pair(b, b->gateway[site], b->gateway[site], LH_IFNAME_ACCESS, b->edge[site], LH_IFNAME_GATEWAY);
	b->acc[site] = acc;
	set_object(b, acc, "access %s up", name);
	set_object(b, acc + 1, "access %s down", name);
	set_rate(b, acc, access->up_bps, access_queue(access, access->up_bps, rtt));
	set_rate(b, acc + 1, access->down_bps, access_queue(access, access->down_bps, rtt));
	set_packet_mode(b, acc, b->packet[site]);
	set_packet_mode(b, acc + 1, b->packet[site]);
}

static void add_lan(struct build *b, unsigned site)
{
	uint32_t lan = add_pair(b, b->gateway[site], b->gateway[site], LH_IFNAME_LAN_OUT,
				b->gateway[site], LH_IFNAME_LAN_IN);
	b->lan[site] = lan;
	set_link(b, lan, site, site);
	set_packet_mode(b, lan, b->packet[site]);
	set_packet_mode(b, lan + 1, b->packet[site]);
}

static void add_wan(struct build *b, unsigned from, unsigned to)
{
	char out[IFNAMSIZ], in[IFNAMSIZ];
	lh_ifname_wan(to, out);
	lh_ifname_wan(from, in);
	uint32_t w = add_pair(b, b->edge[from], b->edge[from], out, b->edge[to], in);
	set_link(b, w, from, to);
	set_link(b, w + 1, to, from);
	set_packet_mode(b, w, b->packet[from]);
	set_packet_mode(b, w + 1, b->packet[to]);
}

static void add_site_routes(struct build *b, unsigned site)
{
	const struct lh_plan *p = b->p;
	size_t nsites = b->t->nsites;
	struct lh_address a;
	if (b->full)
		return;
	add_if_setup(b, b->lan[site]);
	add_if_setup(b, b->lan[site] + 1);
	if (b->acc[site] != LH_PLAN_NOT) {
		add_if_setup(b, b->acc[site]);
		for (int v6 = 0; v6 < 2; v6++) {
			lh_address_any(v6, &a);
			add_route(b, b->acc[site], LH_TABLE_MAIN, &a);
		}
	}
	for (int v6 = 0; v6 < 2; v6++) {
		/* What came through the LAN interface is delivered (main), what comes from a peer goes through it. */
		lh_address_site(site, v6, &a);
		struct lh_op *op = add_op(b, LH_OP_RULE, b->gateway[site], b->lan[site] + 1);
		op->rule.priority = 10;
		op->rule.iif = true;
		op->rule.from = a;
		op->rule.table = LH_TABLE_MAIN;
		op = add_op(b, LH_OP_RULE, b->gateway[site], LH_PLAN_NOT);
		op->rule.priority = 20;
		op->rule.from = a;
		op->rule.table = LH_TABLE_LAN;
		add_route(b, b->lan[site], LH_TABLE_LAN, &a);
	}
	if (b->acc[site] != LH_PLAN_NOT) { /* from here on in the access box */
		add_if_setup(b, b->acc[site] + 1);
		for (int v6 = 0; v6 < 2; v6++) {
			lh_address_site(site, v6, &a);
			add_route(b, b->acc[site] + 1, LH_TABLE_MAIN, &a);
		}
	}
	for (unsigned d = 0; d < nsites; d++) {
		if (d == site)
			continue;
		uint32_t w = p->link_if[site * nsites + d];
		add_if_setup(b, w);
		for (int v6 = 0; v6 < 2; v6++) {
			lh_address_site(d, v6, &a);
			add_route(b, w, LH_TABLE_MAIN, &a);
		}
	}
}

static void add_tcp(struct build *b, uint32_t netns, const struct lh_tcp *tcp)
{
	char value[40];
	snprintf(value, sizeof value, "%u %u %u", tcp->rmem[0], tcp->rmem[1], tcp->rmem[2]);
	add_sysctl(b, netns, "net/ipv4/tcp_rmem", value);
	snprintf(value, sizeof value, "%u %u %u", tcp->wmem[0], tcp->wmem[1], tcp->wmem[2]);
	add_sysctl(b, netns, "net/ipv4/tcp_wmem", value);
	add_sysctl(b, netns, "net/ipv4/tcp_slow_start_after_idle", tcp->slow_start_after_idle ? "1" : "0");
	if (tcp->tso_segments) {
		snprintf(value, sizeof value, "%u", tcp->tso_segments);
		add_sysctl(b, netns, "net/ipv4/tcp_min_tso_segs", value);
	}
	add_sysctl(b, netns, "net/ipv4/tcp_no_metrics_save", "1");
	add_sysctl(b, netns, "net/ipv6/conf/default/addr_gen_mode", "1");
}

/* A NIC limit: a router between peer and gateway; returns the namespace that the peer is connected to. */
static uint32_t add_nic(struct build *b, unsigned peer, uint32_t gateway, const char *name_there)
{
	const struct lh_peer *pe = &b->t->peers[peer];
	uint32_t box = add_netns(b, LH_NETNS_NIC, peer, "%s.nic", pe->name);
	add_router(b, box);
	uint32_t there = add_pair(b, box, gateway, name_there, box, LH_IFNAME_NIC_OUT), out = there + 1;
	set_object(b, out, "nic %s up", pe->name);
	set_rate(b, out, pe->nic_bps, lh_bdp_bytes(pe->nic_bps, site_rtt(b->t, pe->site)));
	set_packet_mode(b, there, b->packet[pe->site]);
	set_packet_mode(b, out, b->packet[pe->site]);
	add_if_setup(b, out);
	struct lh_address a;
	for (int v6 = 0; v6 < 2; v6++) {
		lh_address_any(v6, &a);
		add_route(b, out, LH_TABLE_MAIN, &a);
	}
	return box;
}

static void add_peer(struct build *b, unsigned peer)
{
	const struct lh_peer *pe = &b->t->peers[peer];
	unsigned k = lh_topology_place(b->t, peer);
	uint32_t router = b->gateway[pe->site];
	char name_there[IFNAMSIZ];
	lh_ifname_to_peer(k, name_there);
	if (pe->nic_bps) {
		router = add_nic(b, peer, router, name_there);
		strcpy(name_there, LH_IFNAME_NIC_IN);
	}
	uint32_t netns = add_netns(b, LH_NETNS_PEER, peer, "%s", pe->name);
	add_op(b, LH_OP_NETNS, netns, LH_PLAN_NOT);
	add_tcp(b, netns, &pe->tcp);
	add_op(b, LH_OP_LOOPBACK, netns, LH_PLAN_NOT);
	uint32_t there = add_pair(b, netns, router, name_there, netns, LH_IFNAME_PEER), eth = there + 1;
	b->p->peer_if[peer] = eth;
	b->p->peer_netns[peer] = netns;
	set_packet_mode(b, there, b->packet[pe->site]);
	set_packet_mode(b, eth, b->packet[pe->site]);
	add_if_setup(b, eth);
	struct lh_address a;
	for (int v6 = 0; v6 < 2; v6++) {
		lh_address_peer(pe->site, k, v6, &a);
		add_op(b, LH_OP_ADDRESS, netns, eth)->address = a;
		if (v6) {
			/* The kernel adds this route for an address without duplicate detection in a worker, some time
			 * later; what arrives before would be refused. */
			struct lh_op *op = add_route(b, eth, LH_TABLE_LOCAL, &a);
			op->route.local = true;
		}
		lh_address_any(v6, &a);
		struct lh_op *op = add_route(b, eth, LH_TABLE_MAIN, &a);
		op->route.initcwnd = pe->tcp.initcwnd;
		op->route.rto_min_ms = pe->tcp.rto_min_ms;
		memcpy(op->route.congestion, pe->tcp.congestion, sizeof op->route.congestion);
	}
	if (pe->nic_bps) {
		set_object(b, there, "nic %s down", pe->name);
		set_rate(b, there, pe->nic_bps, lh_bdp_bytes(pe->nic_bps, site_rtt(b->t, pe->site)));
	}
}

/* A router's side of the way to one peer. */
static void add_way_to_peer(struct build *b, uint32_t iface, unsigned peer)
{
	unsigned site = b->t->peers[peer].site;
	struct lh_address a;
	add_if_setup(b, iface);
	for (int v6 = 0; v6 < 2; v6++) {
		lh_address_peer(site, lh_topology_place(b->t, peer), v6, &a);
		add_route(b, iface, LH_TABLE_MAIN, &a);
	}
}

static void add_ways_to_peers(struct build *b, unsigned site)
{
	const unsigned nodes = lh_topology_site_nodes(b->t, site);
	if (b->full)
		return;
	for (unsigned k = 0; k < nodes; k++) {
		const unsigned i = lh_topology_node(b->t, site, k);
		uint32_t there = b->p->ifs[b->p->peer_if[i]].far;
		if (b->full || !b->t->peers[i].nic_bps)
			continue;
		add_way_to_peer(b, there, i); /* in the NIC box */
		add_op(b, LH_OP_READY, b->p->ifs[there].netns, LH_PLAN_NOT);
	}
	for (unsigned k = 0; k < nodes && !b->full; k++) {
		const unsigned i = lh_topology_node(b->t, site, k);
		uint32_t there = b->p->ifs[b->p->peer_if[i]].far; /* behind a NIC box: the pair made just before */
		add_way_to_peer(b, b->t->peers[i].nic_bps ? there - 2 : there, i);
	}
	if (b->edge[site] != b->gateway[site])
		add_op(b, LH_OP_READY, b->edge[site], LH_PLAN_NOT);
	add_op(b, LH_OP_READY, b->gateway[site], LH_PLAN_NOT);
}

static void build(struct build *b)
{
	const struct lh_topology *t = b->t;
	for (size_t i = 0; i < (size_t)t->nsites * t->nsites; i++)
		if (t->links[i].mode == LH_MODE_PACKET)
			b->packet[i / t->nsites] = b->any_packet = true;
	for (unsigned s = 0; s < t->nsites; s++)
		add_gateway(b, s);
	for (unsigned s = 0; s < t->nsites && !b->full; s++) {
		add_lan(b, s);
		add_access(b, s);
		for (unsigned d = s + 1; d < t->nsites; d++)
			add_wan(b, s, d);
	}
	for (unsigned s = 0; s < t->nsites && !b->full; s++)
		add_site_routes(b, s);
	for (unsigned i = 0; i < lh_topology_nodes(t) && !b->full; i++)
		add_peer(b, i);
	for (unsigned s = 0; s < t->nsites && !b->full; s++)
		add_ways_to_peers(b, s);
}

/* Every store is of one site, and every site knows its own. */
static int check_stores(const struct lh_topology *t, struct lh_err *err)
{
	unsigned found = 0;
	for (unsigned s = 0; s < t->nsites; s++) {
		const unsigned store = t->sites[s].store;
		if (store && (store < t->npeers || store >= lh_topology_nodes(t) || t->peers[store].site != s))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "site %s: its store is not one", t->sites[s].name);
		found += store != 0;
	}
	if (found != t->nstores)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%u stores, but the sites have %u", t->nstores, found);
	return 0;
}

/* Bounds that the file's reader checks too; here they protect fixed tables and the address scheme. */
static int check(const struct lh_topology *t, struct lh_err *err)
{
	if (!t->nsites || t->nsites > LH_SITES_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%u sites: from 1 to %d are possible", t->nsites,
				  LH_SITES_MAX);
	if (t->npeers > LH_PEERS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%u peers: at most %d are possible", t->npeers,
				  LH_PEERS_MAX);
	unsigned next = 0;
	for (unsigned s = 0; s < t->nsites; s++) {
		if (t->sites[s].first_peer != next || t->sites[s].npeers > t->npeers - next)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "site %s: its peers are not contiguous",
					  t->sites[s].name);
		next += t->sites[s].npeers;
		for (unsigned i = t->sites[s].first_peer; i < next; i++)
			if (t->peers[i].site != s)
				return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "peer %s: not in site %s",
						  t->peers[i].name, t->sites[s].name);
	}
	if (next != t->npeers)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%u peers, but the sites have %u", t->npeers, next);
	return check_stores(t, err);
}

/* What one link can hold. Two bounds, the smaller counts: its queue slots, each a frame of 1514 bytes (2304 in the
 * kernel's own count, truesize) or in gso mode a superpacket of up to 44 of them; and what TCP keeps in flight, one stream
 * per pair of peers, each its send buffer and a copy of it as the packets that it was cut into. */
static lh_bytes link_memory(const struct lh_topology *t, unsigned from, unsigned to, uint32_t limit_packets)
{
	enum { FRAME_TRUESIZE = 2304, FRAMES_A_SUPERPACKET = 44 };
	const struct lh_site *s = &t->sites[from];
	lh_bytes slots = (lh_bytes)limit_packets * FRAME_TRUESIZE, streams = 0;
	if (t->links[(size_t)from * t->nsites + to].mode == LH_MODE_GSO)
		slots *= FRAMES_A_SUPERPACKET;
	for (unsigned i = s->first_peer; i < s->first_peer + s->npeers; i++)
		streams += 2 * (lh_bytes)t->peers[i].tcp.wmem[2] * (t->sites[to].npeers - (from == to));
	if (s->store) /* one stream to each peer */
		streams += 2 * (lh_bytes)t->peers[s->store].tcp.wmem[2] * t->sites[to].npeers;
	return slots < streams ? slots : streams;
}

static lh_bytes memory_bytes(const struct lh_topology *t, const struct lh_plan *p)
{
	lh_bytes sum = 0;
	for (size_t i = 0; i < p->nifs; i++) {
		const struct lh_plan_if *f = &p->ifs[i];
		if (f->qdisc.kind == LH_QDISC_NETEM)
			sum += link_memory(t, (unsigned)f->link_from, (unsigned)f->link_to, f->qdisc.limit_packets);
		else if (f->qdisc.kind == LH_QDISC_TBF)
			sum += (lh_bytes)f->qdisc.tbf.limit_bytes * 3 / 2; /* counts bytes; 2304 for 1514 */
	}
	return sum;
}

int lh_plan_new(const struct lh_topology *t, const struct lh_plan_options *opt, struct lh_plan **ret_plan,
		struct lh_err *err)
{
	int rc = check(t, err);
	if (rc)
		return rc;
	size_t nsites = t->nsites;
	struct lh_plan *p = calloc(1, sizeof *p);
	struct build b = { .p = p, .t = t, .opt = opt };
	uint32_t *by_site = calloc(nsites, 4 * sizeof *by_site);
	b.packet = calloc(nsites, sizeof *b.packet);
	b.full = !p || !by_site || !b.packet;
	if (!b.full) {
		b.gateway = by_site;
		b.edge = by_site + nsites;
		b.lan = by_site + 2 * nsites;
		b.acc = by_site + 3 * nsites;
		p->refs = 1;
		p->nsites = t->nsites;
		p->npeers = lh_topology_nodes(t);
		snprintf(p->name, sizeof p->name, "%s", t->name);
		p->link_if = calloc(nsites * nsites, sizeof *p->link_if);
		p->peer_if = calloc(p->npeers + 1u, sizeof *p->peer_if);
		p->peer_netns = calloc(p->npeers + 1u, sizeof *p->peer_netns);
		b.full = !p->link_if || !p->peer_if || !p->peer_netns;
	}
	if (!b.full)
		build(&b);
	free(by_site);
	free(b.packet);
	if (b.full) {
		lh_plan_free(p);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan of %s", t->name);
	}
	p->memory_bytes = memory_bytes(t, p);
	*ret_plan = p;
	return 0;
}

struct lh_plan *lh_plan_ref(struct lh_plan *plan)
{
	plan->refs++;
	return plan;
}

void lh_plan_free(struct lh_plan *plan)
{
	if (!plan || (plan->refs && --plan->refs))
		return;
	free(plan->netns);
	free(plan->ifs);
	free(plan->ops);
	free(plan->link_if);
	free(plan->peer_if);
	free(plan->peer_netns);
	free(plan);
}

void lh_plan_link_qdisc(const struct lh_link *link, lh_ns floor_ns, bool zero_delay, bool cut, struct lh_qdisc *ret)
{
	struct lh_impairment imp = link->imp;
	if (zero_delay) {
		/* The same queueing discipline stays in the path, so that its own cost is in the measured floor. */
		lh_qdisc_for_link(&imp, link->rtt_spec_ns, link->mode, false, ret);
		if (ret->kind == LH_QDISC_NETEM)
			ret->imp = (struct lh_impairment){ 0 };
		else
			*ret = (struct lh_qdisc){ .kind = LH_QDISC_NONE };
		return;
	}
	imp.delay_ns = imp.delay_ns > floor_ns / 2 ? imp.delay_ns - floor_ns / 2 : 0;
	lh_qdisc_for_link(&imp, link->rtt_spec_ns, link->mode, cut, ret);
}

size_t lh_plan_count(const struct lh_plan *plan)
{
	return plan->nops;
}

bool lh_plan_needs_netem(const struct lh_plan *plan)
{
	return plan->needs_netem;
}

lh_bytes lh_plan_memory_bytes(const struct lh_plan *plan)
{
	return plan->memory_bytes;
}

uint32_t lh_plan_link_limit(const struct lh_plan *plan, unsigned from, unsigned to)
{
	if (from >= plan->nsites || to >= plan->nsites)
		return 0;
	return plan->ifs[plan->link_if[(size_t)from * plan->nsites + to]].qdisc.limit_packets;
}
