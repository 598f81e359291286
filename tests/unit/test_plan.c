/* Addresses and plans: uniform, unique, within the kernel's limits, in an order that can work. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lhnet.h"
#include "lhtest.h"
#include "op.h"

static int compare_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* --- addresses --- */

static void addresses(void)
{
	char buf[64];
	struct lh_address a;
	lh_address_peer(0, 0, false, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "10.16.0.1/32");
	lh_address_peer(63, 4095, false, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, false, buf, sizeof buf), "10.79.16.96");
	lh_address_peer(0, 0, true, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "fd6c:6800:0:1::1/128");
	lh_address_peer(63, 4095, true, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, false, buf, sizeof buf), "fd6c:6800:0:40::1000");
	lh_address_site(2, false, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "10.18.0.0/16");
	lh_address_site(2, true, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "fd6c:6800:0:3::/64");
	lh_address_gateway(7, false, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "10.15.7.1/32");
	lh_address_access(7, true, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "fd6c:6800::2:8/128");
	lh_address_any(true, &a);
	CU_ASSERT_STRING_EQUAL(lh_address_print(&a, true, buf, sizeof buf), "::/0");
}

/* As many peers and sites as there can be: no address twice, each in its site's prefix and in no other. */
static void unique(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		size_t n = 0, room = LH_PEERS_MAX + LH_SITES_MAX * 3;
		char(*text)[64] = calloc(room, sizeof *text);
		struct lh_address a, site;
		CU_ASSERT_PTR_NOT_NULL_FATAL(text);
		for (unsigned i = 0; i < LH_PEERS_MAX; i++) {
			unsigned s = i % LH_SITES_MAX;
			lh_address_peer(s, i, v6, &a);
			lh_address_print(&a, false, text[n++], sizeof *text);
			lh_address_site(s, v6, &site);
			CU_ASSERT_EQUAL(memcmp(a.bytes, site.bytes, site.prefix / 8), 0);
		}
		for (unsigned s = 0; s < LH_SITES_MAX; s++) {
			lh_address_gateway(s, v6, &a);
			lh_address_print(&a, false, text[n++], sizeof *text);
			for (unsigned other = 0; other < LH_SITES_MAX; other++) {
				lh_address_site(other, v6, &site);
				CU_ASSERT_NOT_EQUAL(memcmp(a.bytes, site.bytes, site.prefix / 8), 0);
			}
			lh_address_access(s, v6, &a);
			lh_address_print(&a, false, text[n++], sizeof *text);
		}
		qsort(text, n, sizeof *text, compare_text);
		for (size_t i = 1; i < n; i++)
			CU_ASSERT_STRING_NOT_EQUAL(text[i - 1], text[i]);
		free(text);
	}
}

static void peer_address(void)
{
	struct lh_topology *t = lh_test_topology(2, 3);
	char buf[64];
	CU_ASSERT_EQUAL(lh_net_peer_address(t, 4, false, buf, sizeof buf), 0);
	CU_ASSERT_STRING_EQUAL(buf, "10.17.0.2");
	CU_ASSERT_EQUAL(lh_net_peer_address(t, 4, true, buf, sizeof buf), 0);
	CU_ASSERT_STRING_EQUAL(buf, "fd6c:6800:0:2::2");
	strcpy(buf, "kept");
	CU_ASSERT_EQUAL(lh_net_peer_address(t, 6, false, buf, sizeof buf), -EINVAL);
	CU_ASSERT_EQUAL(lh_net_peer_address(t, 4, false, buf, 9), -ENOSPC);
	CU_ASSERT_STRING_EQUAL(buf, "kept");
	CU_ASSERT_EQUAL(lh_net_peer_address(t, 4, false, buf, 10), 0);
	lh_test_topology_free(t);
}

static void names(void)
{
	char name[IFNAMSIZ];
	uint8_t a[6], b[6];
	lh_ifname_to_peer(LH_PEERS_MAX - 1, name);
	CU_ASSERT_STRING_EQUAL(name, "p4095");
	lh_ifname_wan(LH_SITES_MAX - 1, name);
	CU_ASSERT_STRING_EQUAL(name, "w63");
	for (uint32_t i = 1; i < 70000; i += 255) {
		lh_mac_make(i, a);
		lh_mac_make(i + 1, b);
		CU_ASSERT_NOT_EQUAL(memcmp(a, b, 6), 0);
		CU_ASSERT_EQUAL(a[0] & 3, 2); /* local, one receiver */
	}
}

/* --- plans --- */

static struct lh_plan *plan_of(const struct lh_topology *t, const struct lh_plan_options *opt)
{
	struct lh_plan *plan = NULL;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(lh_plan_new(t, opt, &plan, &err), 0);
	return plan;
}

static void randomise(struct lh_topology *t)
{
	for (unsigned i = 0; i < t->nsites * t->nsites; i++) {
		t->links[i].imp.rate_bps = rand() % 2 ? 10000000 : 0;
		t->links[i].imp.delay_ns = rand() % 2 ? 50000000 : 0;
		t->links[i].mode = rand() % 4 ? LH_MODE_GSO : LH_MODE_PACKET;
	}
	for (unsigned s = 0; s < t->nsites; s++)
		t->sites[s].access = (struct lh_access){ rand() % 2 ? 1000000 : 0, rand() % 2 ? 2000000 : 0 };
	for (unsigned i = 0; i < t->npeers; i++)
		t->peers[i].nic_bps = rand() % 3 ? 0 : 5000000;
}

/* What an operation needs has been made by an earlier one, and exactly once. */
static void check_order(const struct lh_plan *p)
{
	bool *netns = calloc(p->nnetns, sizeof *netns), *made = calloc(p->nifs, sizeof *made);
	bool *up = calloc(p->nifs, sizeof *up), *qdisc = calloc(p->nifs, sizeof *qdisc);
	bool *ready = calloc(p->nnetns, sizeof *ready);
	for (size_t i = 0; i < p->nops; i++) {
		const struct lh_op *op = &p->ops[i];
		if (op->kind == LH_OP_NETNS) {
			CU_ASSERT_FALSE(netns[op->netns]);
			netns[op->netns] = true;
			continue;
		}
		CU_ASSERT_TRUE(netns[op->netns]);
		CU_ASSERT_FALSE(ready[op->netns]);
		if (op->kind == LH_OP_VETH) {
			uint32_t far = p->ifs[op->iface].far;
			CU_ASSERT_TRUE(netns[p->ifs[op->iface].netns] && netns[p->ifs[far].netns]);
			CU_ASSERT_FALSE(made[op->iface] || made[far]);
			CU_ASSERT_NOT_EQUAL(p->netns[p->ifs[op->iface].netns].kind, LH_NETNS_PEER);
			made[op->iface] = made[far] = up[op->iface] = true;
		} else if (op->kind == LH_OP_READY) {
			ready[op->netns] = true;
			for (size_t k = 0; k < p->nifs; k++)
				CU_ASSERT_TRUE(p->ifs[k].netns != op->netns || (made[k] && up[k] && up[p->ifs[k].far]));
		} else if (op->iface != LH_PLAN_NOT) {
			CU_ASSERT_TRUE(made[op->iface]);
			CU_ASSERT_EQUAL(p->ifs[op->iface].netns, op->netns);
			up[op->iface] |= op->kind == LH_OP_UP;
			CU_ASSERT_TRUE(up[op->iface] || op->kind == LH_OP_RULE);
			if (op->kind == LH_OP_QDISC) {
				CU_ASSERT_FALSE(qdisc[op->iface]);
				CU_ASSERT_NOT_EQUAL(p->netns[op->netns].kind, LH_NETNS_PEER);
				qdisc[op->iface] = true;
			}
		}
	}
	for (size_t k = 0; k < p->nifs; k++) {
		CU_ASSERT_TRUE(up[k]);
		CU_ASSERT_EQUAL(qdisc[k], p->ifs[k].qdisc.kind != LH_QDISC_NONE);
	}
	for (size_t k = 0; k < p->nnetns; k++)
		CU_ASSERT_TRUE(ready[k] || p->netns[k].kind == LH_NETNS_PEER);
	free(netns);
	free(made);
	free(up);
	free(qdisc);
	free(ready);
}

static void check_interfaces(const struct lh_topology *t, const struct lh_plan *p)
{
	char(*key)[64] = calloc(p->nifs + 1, sizeof *key), (*index)[64] = calloc(p->nifs + 1, sizeof *index);
	for (size_t k = 0; k < p->nifs; k++) {
		const struct lh_plan_if *i = &p->ifs[k];
		CU_ASSERT_EQUAL(p->ifs[i->far].far, k);
		CU_ASSERT_TRUE(i->ifindex > 1);
		snprintf(key[k], sizeof *key, "%u %s", i->netns, i->name);
		snprintf(index[k], sizeof *index, "%u %d", i->netns, i->ifindex);
	}
	qsort(key, p->nifs, sizeof *key, compare_text);
	qsort(index, p->nifs, sizeof *index, compare_text);
	for (size_t k = 1; k < p->nifs; k++) {
		CU_ASSERT_STRING_NOT_EQUAL(key[k - 1], key[k]);
		CU_ASSERT_STRING_NOT_EQUAL(index[k - 1], index[k]);
	}
	free(key);
	free(index);
	for (unsigned i = 0; i < t->nsites * t->nsites; i++) {
		const struct lh_plan_if *l = &p->ifs[p->link_if[i]];
		CU_ASSERT_TRUE(l->link_from == (int)(i / t->nsites) && l->link_to == (int)(i % t->nsites));
		CU_ASSERT_TRUE(t->links[i].mode != LH_MODE_PACKET || l->offloads_off);
	}
	for (unsigned i = 0; i < t->npeers; i++)
		CU_ASSERT_EQUAL(p->ifs[p->peer_if[i]].netns, p->peer_netns[i]);
}

static void order(void)
{
	srand((unsigned)lh_test_seed());
	for (unsigned round = 0; round < 60; round++) {
		struct lh_topology *t = lh_test_topology(1 + (unsigned)rand() % 6, (unsigned)rand() % 5);
		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		randomise(t);
		struct lh_plan *p = plan_of(t, NULL);
		check_order(p);
		check_interfaces(t, p);
		lh_plan_free(p);
		lh_test_topology_free(t);
	}
}

/* The largest that is allowed can be planned; one more is refused. */
static void largest(void)
{
	struct lh_topology *t = lh_test_topology(LH_SITES_MAX, LH_PEERS_MAX / LH_SITES_MAX);
	struct lh_plan *p = plan_of(t, NULL);
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(p->nnetns, LH_SITES_MAX + LH_PEERS_MAX);
	check_interfaces(t, p);
	lh_plan_free(p);
	t->npeers++;
	CU_ASSERT_EQUAL(lh_plan_new(t, NULL, &p, &err), -EINVAL);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	t->npeers--;
	t->nsites++;
	CU_ASSERT_EQUAL(lh_plan_new(t, NULL, &p, &err), -EINVAL);
	t->nsites--;
	t->peers[5].site = 1; /* not where the site's range says */
	CU_ASSERT_EQUAL(lh_plan_new(t, NULL, &p, &err), -EINVAL);
	lh_test_topology_free(t);
}

static void options(void)
{
	struct lh_topology *t = lh_test_topology(2, 1);
	lh_ns floor[4] = { 0, 300000, 90000000, 0 };
	struct lh_plan_options zero = { .zero_delay = true }, compensated = { .floor_ns = floor };
	t->links[1].imp.delay_ns = t->links[2].imp.delay_ns = 40000000;
	t->links[1].imp.loss_model = LH_LOSS_RANDOM;
	t->links[1].imp.loss_ppb = 1000000;
	t->links[0].imp.rate_bps = 1000000;
	t->peers[1].nic_bps = 1000000;
	lh_topology_derive(t);

	struct lh_plan *p = plan_of(t, NULL);
	CU_ASSERT_TRUE(lh_plan_needs_netem(p));
	CU_ASSERT_EQUAL(p->ifs[p->link_if[1]].qdisc.imp.delay_ns, 40000000);
	CU_ASSERT_EQUAL(p->ifs[p->link_if[0]].qdisc.kind, LH_QDISC_TBF);
	CU_ASSERT_TRUE(p->ifs[p->link_if[1]].offloads_off);
	CU_ASSERT_TRUE(p->ifs[p->peer_if[0]].offloads_off);
	CU_ASSERT_FALSE(p->ifs[p->peer_if[1]].offloads_off);
	CU_ASSERT_EQUAL(lh_plan_link_limit(p, 0, 1), p->ifs[p->link_if[1]].qdisc.limit_packets);
	CU_ASSERT_EQUAL(lh_plan_link_limit(p, 2, 0), 0);
	lh_plan_free(p);

	p = plan_of(t, &compensated);
	CU_ASSERT_EQUAL(p->ifs[p->link_if[1]].qdisc.imp.delay_ns, 40000000 - 150000);
	CU_ASSERT_EQUAL(p->ifs[p->link_if[2]].qdisc.imp.delay_ns, 0); /* the floor is longer than what is asked */
	lh_plan_free(p);

	/* All delays 0, nothing else impaired, but netem stays where it will be. */
	p = plan_of(t, &zero);
	struct lh_impairment none = { 0 };
	CU_ASSERT_TRUE(lh_plan_needs_netem(p));
	CU_ASSERT_EQUAL(memcmp(&p->ifs[p->link_if[1]].qdisc.imp, &none, sizeof none), 0);
	CU_ASSERT_EQUAL(p->ifs[p->link_if[0]].qdisc.kind, LH_QDISC_NONE);
	CU_ASSERT_EQUAL(p->ifs[p->ifs[p->peer_if[1]].far].qdisc.kind, LH_QDISC_TBF); /* the NIC stays */
	lh_plan_free(p);
	lh_test_topology_free(t);
}

/* Every kind of operation is in the table and says what it does. */
static void table(void)
{
	struct lh_topology *t = lh_test_topology(2, 2);
	bool seen[LH_OP_KINDS] = { false };
	char line[256];
	lh_test_rate_all(t, 1000000);
	t->links[1].mode = LH_MODE_PACKET;
	struct lh_plan *p = plan_of(t, NULL);
	for (size_t i = 0; i < lh_plan_count(p); i++) {
		const struct lh_op *op = &p->ops[i];
		seen[op->kind] = true;
		lh_op_print(p, op, line, sizeof line);
		CU_ASSERT_PTR_NOT_NULL(strstr(line, ": "));
		CU_ASSERT_TRUE(strlen(line) < sizeof line - 1);
	}
	for (int k = 0; k < LH_OP_KINDS; k++) {
		CU_ASSERT_TRUE(seen[k]);
		CU_ASSERT_PTR_NOT_NULL(lh_op_table[k].apply);
		CU_ASSERT_TRUE(!lh_op_table[k].undo == (lh_op_table[k].undone_with != NULL));
	}
	lh_plan_free(p);
	lh_test_topology_free(t);
}

static const struct lh_test tests[] = {
	{ "addresses", addresses, 0 },
	{ "no address twice", unique, 0 },
	{ "a peer's address", peer_address, 0 },
	{ "interface names and hardware addresses", names, 0 },
	{ "order of operations", order, 0 },
	{ "the largest plan, and larger", largest, 0 },
	{ "floors and zero delay", options, 0 },
	{ "table of operations", table, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "plan", tests, sizeof tests / sizeof *tests);
}
