/* plan.h - the plan's data: namespaces, interfaces with what is asked of them, and the ordered operations.
 *
 * Made by plan.c from the topology alone (no system call, no clock), read by everything else: printing, applying,
 * verifying, observing. Indices into netns[] and ifs[] are the only names; ifindexes are chosen here, so that no
 * reply of the kernel has to be read while a network goes up.
 */
#ifndef NETEM_PLAN_H
#define NETEM_PLAN_H

#include "address.h"
#include "longhaul/network.h"
#include "qdisc.h"

#define LH_PLAN_NOT UINT32_MAX /* no such interface or namespace */

enum lh_netns_kind {
	LH_NETNS_GATEWAY, /* of a site */
	LH_NETNS_ACCESS,  /* a site's shared bottleneck */
	LH_NETNS_NIC,     /* a peer's rate limit */
	LH_NETNS_PEER,
};

struct lh_plan_netns {
	enum lh_netns_kind kind;
	unsigned index;    /* of the site or peer */
	char object[64];   /* "gateway us", "access us", "nic us-0", "peer us-0" */
	char label[48];    /* as it would be called on disk: "us.gw", "us.access", "us-0.nic", "us-0" */
	int last_ifindex;  /* of the interfaces planned in it; 1 is lo */
};

/* One end of a veth pair. */
struct lh_plan_if {
	uint32_t netns;
	uint32_t far;           /* the other end, an index into ifs[] */
	int ifindex;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	bool offloads_off;      /* sends for a site in packet mode: tso, gso, tx-udp-segmentation off */
	bool gro_off;           /* receives what packet-mode links carry */
	int link_from, link_to; /* sites, where the interface is the link's; else -1 */
	struct lh_qdisc qdisc;  /* as planned; lh_net has what is asked now */
	char object[96];        /* "link us->eu", "peer us-0 interface eth0", "access us up", "nic us-0 down" */
};

enum lh_op_kind {
	LH_OP_NETNS,     /* make the namespace */
	LH_OP_SYSCTL,    /* pin a setting in it */
	LH_OP_LOOPBACK,  /* lo up */
	LH_OP_VETH,      /* make ifs[iface], up, and its far end, each in its namespace */
	LH_OP_UP,        /* the far end up: a veth end cannot be made up before the pair is tied together */
	LH_OP_OFFLOADS,  /* switch them off on ifs[iface] */
	LH_OP_QDISC,     /* root qdisc of ifs[iface] */
	LH_OP_NEIGHBOUR, /* permanent entry for the far end */
	LH_OP_ADDRESS,   /* on ifs[iface], or lo where that is LH_PLAN_NOT */
	LH_OP_ROUTE,
	LH_OP_RULE,
	LH_OP_READY,     /* wait until every interface of the namespace forwards */
	LH_OP_KINDS
};

struct lh_op {
	enum lh_op_kind kind;
	uint32_t netns, iface;
	union {
		struct { const char *key; char value[40]; } sysctl; /* key: path below /proc/sys */
		struct lh_address address;                         /* ADDRESS, NEIGHBOUR */
		struct {
			struct lh_address to;
			uint32_t table;
			bool local;          /* delivered here, not by way of the far end */
			uint32_t initcwnd;   /* 0: not given */
			uint32_t rto_min_ms; /* 0: not given */
			char congestion[16]; /* "": not given */
		} route;
		struct {
			uint32_t priority, table;
			bool iif;               /* match what arrived on ifs[iface], else by source */
			struct lh_address from; /* with iif only its family counts */
		} rule;
	};
};

struct lh_plan {
	unsigned refs;
	char name[64];
	unsigned nsites, npeers;
	bool needs_netem;
	lh_bytes memory_bytes;
	size_t nnetns, nifs, nops;
	size_t netns_room, ifs_room, ops_room;
	struct lh_plan_netns *netns;
	struct lh_plan_if *ifs;
	struct lh_op *ops;
	uint32_t *link_if;     /* nsites x nsites: the one interface whose root qdisc is the link */
	uint32_t *peer_if;     /* npeers: the peer's eth0 */
	uint32_t *peer_netns;  /* npeers */
};

/* Table numbers of gateways: what the peers of the site may reach by way of the LAN interface. */
#define LH_TABLE_LOCAL 255
#define LH_TABLE_MAIN 254
#define LH_TABLE_LAN 100

struct lh_plan *lh_plan_ref(struct lh_plan *plan);

/* The link's impairment with its floor compensated, or everything but the need for netem taken away. */
void lh_plan_link_qdisc(const struct lh_link *link, lh_ns floor_ns, bool zero_delay, bool cut, struct lh_qdisc *ret);

#endif
