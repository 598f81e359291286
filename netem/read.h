/* read.h - what the kernel says about a namespace's interfaces, queueing disciplines, addresses, neighbours, routes
 * and rules, read through libmnl; nothing is written here.
 *
 * A reader is one netlink socket and stays in the namespace where it was opened. A dump that the kernel marks as
 * interrupted (something changed while it went on) is made again from the start, a few times. Every size from the
 * kernel is checked before it is used.
 */
#ifndef NETEM_READ_H
#define NETEM_READ_H

#include <net/if.h>

#include "qdisc.h"

struct lh_reader;

/* In the namespace of the calling process. */
int lh_reader_open(struct lh_reader **ret, struct lh_err *err);
void lh_reader_close(struct lh_reader *r);

struct lh_seen_link {
	int ifindex;
	char name[IFNAMSIZ];
	char kind[16]; /* "veth"; "" where the kernel names none */
	uint8_t mac[6];
	uint32_t mtu, flags; /* IFF_UP ... */
	uint8_t operstate;   /* IF_OPER_UP ... */
	uint32_t gso_max_segs, gso_max_bytes;
	struct lh_peer_counters counters;
};

struct lh_seen_address {
	int ifindex;
	uint8_t family, prefix;
	uint8_t bytes[16];
};

struct lh_seen_neighbour {
	int ifindex;
	uint8_t family;
	uint8_t bytes[16], mac[6];
	uint16_t state; /* NUD_PERMANENT ... */
};

struct lh_seen_route {
	uint8_t family, prefix; /* of the destination; 0 = default */
	uint8_t to[16];
	uint8_t type;           /* RTN_UNICAST, RTN_BLACKHOLE ... */
	uint32_t table;
	int ifindex;            /* 0: none */
	uint32_t initcwnd;      /* 0: none */
	uint32_t rto_min_ms;    /* 0: none, or not locked, which counts as none */
	char congestion[16];    /* "": none */
};

struct lh_seen_rule {
	uint8_t family, prefix; /* of the source; 0 = any */
	uint8_t from[16];
	uint32_t priority, table;
	char iif[IFNAMSIZ];
};

/* What a dump brings, in the kernel's order. The arrays are the caller's to free(); NULL when empty. */
int lh_read_links(struct lh_reader *r, struct lh_seen_link **ret, size_t *ret_n, struct lh_err *err);
int lh_read_qdiscs(struct lh_reader *r, struct lh_qdisc_seen **ret, size_t *ret_n, struct lh_err *err);
int lh_read_addresses(struct lh_reader *r, struct lh_seen_address **ret, size_t *ret_n, struct lh_err *err);
int lh_read_neighbours(struct lh_reader *r, struct lh_seen_neighbour **ret, size_t *ret_n, struct lh_err *err);
int lh_read_routes(struct lh_reader *r, struct lh_seen_route **ret, size_t *ret_n, struct lh_err *err);
int lh_read_rules(struct lh_reader *r, struct lh_seen_rule **ret, size_t *ret_n, struct lh_err *err);

/* One interface, without a dump. -ENODEV where it is not there. */
int lh_read_link(struct lh_reader *r, int ifindex, struct lh_seen_link *ret, struct lh_err *err);
/* The root qdisc of one interface; ret->kind is "" where there is none that the kernel shows (noqueue). */
int lh_read_root_qdisc(struct lh_reader *r, int ifindex, struct lh_qdisc_seen *ret, struct lh_err *err);

#endif
