/* topology.h - sites, links and peers as the user described them, after every
 * name was resolved and every check passed. Plain data; knows nothing of
 * netlink, of files, or of training.
 *
 * Indices: a site is 0 ... nsites-1, a peer 0 ... npeers-1 in the order of the
 * file; the peers of a site are contiguous. After the peers stand the stores,
 * npeers ... npeers + nstores - 1: nodes of the network that hold samples and
 * do not train. Sites without peers, which have a store, stand last. links[] is dense and ordered:
 * links[from * nsites + to] is the one-way link from -> to; from == to is the
 * site's own LAN (peer to peer inside the site).
 */
#ifndef LONGHAUL_TOPOLOGY_H
#define LONGHAUL_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include "longhaul/err.h"
#include "longhaul/units.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LH_NAME_MAX 32       /* site and peer names, with the final NUL */
#define LH_SITES_MAX 64
#define LH_PEERS_MAX 4096

enum lh_dist { /* distribution of jitter */
	LH_DIST_UNIFORM, LH_DIST_NORMAL, LH_DIST_PARETO, LH_DIST_PARETONORMAL,
};

enum lh_loss_model { LH_LOSS_NONE, LH_LOSS_RANDOM, LH_LOSS_GEMODEL, LH_LOSS_4STATE };

enum lh_queue_kind {
	LH_QUEUE_AUTO,    /* 1 x BDP where a rate is given, else only what is in flight */
	LH_QUEUE_BDP,     /* queue_bdp_milli / 1000 x BDP */
	LH_QUEUE_PACKETS, /* queue_packets */
};

/* The complete state of one direction of a link; zero means "none of it". */
struct lh_impairment {
	lh_ns delay_ns; /* one-way */
	lh_ns jitter_ns;
	lh_ppb jitter_corr_ppb;
	enum lh_dist dist;
	bool jitter_reorders; /* false: packets keep their order under jitter (default) */

	enum lh_loss_model loss_model;
	lh_ppb loss_ppb, loss_corr_ppb;            /* LH_LOSS_RANDOM */
	lh_ppb ge_p_ppb, ge_r_ppb, ge_1h_ppb, ge_1k_ppb; /* p, r, 1-h, 1-k as in tc-netem(8) */
	lh_ppb p13_ppb, p31_ppb, p32_ppb, p23_ppb, p14_ppb; /* 4-state, as in tc-netem(8) */
	bool ecn;

	lh_ppb reorder_ppb, reorder_corr_ppb;
	uint32_t reorder_gap;
	lh_ppb duplicate_ppb, duplicate_corr_ppb;
	lh_ppb corrupt_ppb, corrupt_corr_ppb;

	lh_bps rate_bps; /* 0 = not limited */
	int32_t rate_overhead_bytes; /* added to each packet for the rate, e.g. 24 for Ethernet framing */
	enum lh_queue_kind queue_kind;
	uint32_t queue_bdp_milli;
	uint32_t queue_packets;

	lh_ns slot_min_ns, slot_max_ns; /* 0, 0 = no slots */
	uint32_t slot_packets, slot_bytes;

	uint64_t seed; /* 0: derived from the topology's seed and the link's indices */
};

/* How packets travel: recorded per link, see docs/MEASUREMENT.md. */
enum lh_link_mode {
	LH_MODE_GSO,    /* superpackets up to 64 KiB: fast far links */
	LH_MODE_PACKET, /* offloads off along the path: one draw, one queue slot per packet */
};

struct lh_link {
	struct lh_impairment imp;
	lh_ns rtt_spec_ns;       /* delay(from->to) + delay(to->from): what a ping should say */
	enum lh_link_mode mode;  /* PACKET where it, loss, corrupt, duplicate or reorder is asked from `from` */
	bool packet_asked;       /* packet mode was asked for itself, whatever the impairments */
	bool given;              /* false: nothing was said about this pair (refused unless from == to) */
};

/* A bottleneck shared by all WAN traffic of a site, each way; 0 = none. */
struct lh_access {
	lh_bps up_bps, down_bps;
	enum lh_queue_kind queue_kind;
	uint32_t queue_bdp_milli; /* of the site's largest RTT */
	uint32_t queue_packets;
};

struct lh_tcp { /* pinned in every peer's namespace, never inherited */
	char congestion[16];
	uint32_t rmem[3], wmem[3]; /* min, default, max bytes */
	bool slow_start_after_idle;
	uint32_t initcwnd; /* segments; 0 = the kernel's own (10) */
	uint32_t tso_segments; /* least size of a paced stream's superpackets; 0 = the kernel's own (2) */
	uint32_t rto_min_ms; /* least retransmission timeout; 0 = the kernel's own (LH_TCP_RTO_MIN_MS) */
};

/* `tcp: default`: the kernel's own defaults, written down. */
#define LH_TCP_DEFAULT { "cubic", { 4096, 131072, 6291456 }, { 4096, 16384, 4194304 }, true, 0, 0, 0 }
#define LH_TCP_RTO_MIN_MS 200

struct lh_site {
	char name[LH_NAME_MAX];
	char provider[LH_NAME_MAX], zone[LH_NAME_MAX]; /* "" = not said */
	bool has_coordinates;
	double latitude_deg, longitude_deg;
	struct lh_access access;
	unsigned first_peer, npeers;
	unsigned store;           /* the node that holds samples there; 0: none (node 0 is a peer) */
};

struct lh_peer {
	char name[LH_NAME_MAX]; /* default: <site>-<k>, k from 0 */
	unsigned site;
	char device[LH_NAME_MAX]; /* name in the catalogue, or "cpu" */
	lh_bps nic_bps;           /* 0 = not limited; each way, on the router's side */
	double samples_per_s;     /* > 0: the pace that this peer declares; 0: the training's */
	uint32_t share;           /* butterfly: weight of the part of the sum that this peer makes */
	struct lh_tcp tcp;
};

struct lh_topology {
	char name[64];
	char *description; /* may be NULL */
	uint64_t seed;
	bool ipv6; /* peers talk over IPv6; both families are always set up */
	unsigned nsites, npeers;
	unsigned nstores;    /* at most one a site */
	struct lh_site *sites;
	struct lh_peer *peers; /* [npeers + nstores] */
	struct lh_link *links; /* nsites x nsites */
};

static inline struct lh_link *lh_topology_link(const struct lh_topology *t, unsigned from, unsigned to)
{
	return &t->links[(size_t)from * t->nsites + to];
}

/* Everything with an address: peers, then stores. */
static inline unsigned lh_topology_nodes(const struct lh_topology *t)
{
	return t->npeers + t->nstores;
}

/* Which node of its site this is: the peers from 0, then the store. */
static inline unsigned lh_topology_place(const struct lh_topology *t, unsigned node)
{
	const struct lh_site *s = &t->sites[t->peers[node].site];
	return node < t->npeers ? node - s->first_peer : s->npeers;
}

/* The i-th node of a site; there are npeers, and one more where it has a store. */
static inline unsigned lh_topology_node(const struct lh_topology *t, unsigned site, unsigned i)
{
	return i < t->sites[site].npeers ? t->sites[site].first_peer + i : t->sites[site].store;
}

static inline unsigned lh_topology_site_nodes(const struct lh_topology *t, unsigned site)
{
	return t->sites[site].npeers + (t->sites[site].store != 0);
}

/* Frees what the topology owns, not the struct; NULL is fine. */
void lh_topology_done(struct lh_topology *t);

/* Link modes and rtt_spec_ns of every pair, from the impairments (pure). A link
 * is in packet mode when any link out of the same site asks for loss, reorder,
 * duplicate or corrupt, since offloads are a property of the sending peers. A
 * link already in packet mode stays there: the loader puts links there that ask
 * for it (`mode: packet`), or that only a later change of the schedule makes lossy. */
void lh_topology_derive(struct lh_topology *t);

/* Does a packet on this link need sch_netem (anything but a rate without overhead)? */
bool lh_impairment_needs_netem(const struct lh_impairment *imp);

#ifdef __cplusplus
}
#endif
#endif
