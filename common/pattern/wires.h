/* wires.h - what the paths between peers carry, as numbers: the input of bounds, predictions and plans of trees.
 *
 * A transfer from one peer to another uses up to six things at once, each with a rate of its own that it shares with
 * every other transfer that uses it: the TCP windows of its pair, both peers' network cards, the link between the two
 * sites, and what each site has to the outside. All rates are payload bytes a second; INFINITY is "not limited".
 *
 * Pure: no sockets, no clock. The harness fills it from the topology and the probe (harness/wires.c).
 */
#ifndef COMMON_PATTERN_WIRES_H
#define COMMON_PATTERN_WIRES_H

#include "pattern.h"

struct lh_wires {
	unsigned npeers, nsites;
	unsigned *site;       /* [npeers] 0 ... nsites - 1 */
	double *one_way_s;    /* [nsites * nsites] row: the site that sends; of two peers there, so the diagonal is the LAN */
	double *window;       /* [nsites * nsites] bytes that one pair of peers may have in flight, all its streams */
	double *link;         /* [nsites * nsites] shared by all pairs of the two sites */
	double *up, *down;    /* [nsites] shared by all traffic with other sites */
	double *nic;          /* [npeers] each way */
	double host;          /* all traffic together, that this machine carries */
	double initial;       /* bytes that a silent connection may send at once; INFINITY: windows stay open */
};

/* Everything unlimited, delays 0. site: as in lh_group_init. */
int lh_wires_init(struct lh_wires *w, unsigned npeers, const uint32_t *site, struct lh_err *err);
void lh_wires_done(struct lh_wires *w);
/* Every site as one peer: its card is as fast as all of theirs, its windows are those of all pairs. */
int lh_wires_by_site(const struct lh_wires *w, struct lh_wires *ret, struct lh_err *err);

/* ---- the shared things, by number ---- */

/* How many there are; most are INFINITY. */
unsigned lh_wires_count(const struct lh_wires *w);
double lh_wires_rate(const struct lh_wires *w, unsigned thing);
/* What a transfer uses. */
#define LH_WIRES_USES 6
unsigned lh_wires_uses(const struct lh_wires *w, unsigned from, unsigned to, unsigned ret[LH_WIRES_USES]);
/* "pair us-0->eu-0"-like words need names; this gives the kind and its indices. */
enum lh_wire_kind { LH_WIRE_PAIR, LH_WIRE_NIC_OUT, LH_WIRE_NIC_IN, LH_WIRE_LINK, LH_WIRE_UP, LH_WIRE_DOWN };
enum lh_wire_kind lh_wires_kind(const struct lh_wires *w, unsigned thing, unsigned *ret_a, unsigned *ret_b);

double lh_wires_one_way(const struct lh_wires *w, unsigned from, unsigned to);
double lh_wires_rtt(const struct lh_wires *w, unsigned a, unsigned b);
double lh_wires_window(const struct lh_wires *w, unsigned from, unsigned to);
/* Alone: the least of what it uses. */
double lh_wires_alone(const struct lh_wires *w, unsigned from, unsigned to);

#endif
