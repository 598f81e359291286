/* address.h - every address, interface name and hardware address of the emulated network, from indices alone.
 *
 * Pure and uniform, so that a reader of `ip addr` knows where he is, and two runs of a file look the same:
 *
 *   peer k of site s      10.(16+s).(k / 250).(k % 250 + 1)/32    fd6c:6800:0:<s+1>::<k+1>/128
 *   prefix of site s      10.(16+s).0.0/16                        fd6c:6800:0:<s+1>::/64
 *   gateway of site s     10.15.<s>.1/32                          fd6c:6800::1:<s+1>/128
 *   access box of s       10.15.<s>.2/32                          fd6c:6800::2:<s+1>/128
 *   far end of any link   169.254.1.1                             fe80::1     (a permanent neighbour per interface)
 *
 * Routers' addresses are only the source of their ICMP errors; they lie outside the sites' prefixes, because policy routing
 * knows by a source inside one that a packet came from a peer. The far end of every veth pair has the same address; what
 * differs is the interface and the hardware address in the permanent neighbour entry. So links need no numbers and nothing
 * ever asks for an address.
 *
 *   eth0        in a peer, to its router       p<k>     in the gateway, to peer k of its site (k counts in the site)
 *   w<d>        to site d (gateway or access)  lan0, lan1  the two ends of a site's own LAN
 *   acc, gw     gateway - access box           in, out  of a NIC box: to the peer, to the gateway
 */
#ifndef NETEM_ADDRESS_H
#define NETEM_ADDRESS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/network.h"

struct lh_address {
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t prefix; /* bits */
	uint8_t bytes[16];
};

void lh_address_peer(unsigned site, unsigned k, bool ipv6, struct lh_address *ret);
void lh_address_gateway(unsigned site, bool ipv6, struct lh_address *ret);
void lh_address_access(unsigned site, bool ipv6, struct lh_address *ret);
void lh_address_site(unsigned site, bool ipv6, struct lh_address *ret); /* the prefix of its peers */
void lh_address_far_end(bool ipv6, struct lh_address *ret);
void lh_address_any(bool ipv6, struct lh_address *ret); /* 0.0.0.0/0, ::/0 */

static inline size_t lh_address_len(const struct lh_address *a)
{
	return a->family == 2 /* AF_INET */ ? 4 : 16;
}

/* "10.16.0.1", with "/32" too when `prefix`. Returns buf. */
char *lh_address_print(const struct lh_address *a, bool prefix, char *buf, size_t size);

/* A locally administered unicast address; `n` is the interface's index in the plan. */
void lh_mac_make(uint32_t n, uint8_t mac[6]);

#define LH_IFNAME_LAN_OUT "lan0"  /* its qdisc is the link site -> same site */
#define LH_IFNAME_LAN_IN "lan1"
#define LH_IFNAME_ACCESS "acc"    /* in the gateway, to the access box */
#define LH_IFNAME_GATEWAY "gw"    /* in the access box, to the gateway */
#define LH_IFNAME_NIC_IN "in"     /* in a NIC box, to the peer */
#define LH_IFNAME_NIC_OUT "out"   /* in a NIC box, to the gateway */
void lh_ifname_wan(unsigned to_site, char name[IFNAMSIZ]);
void lh_ifname_to_peer(unsigned k, char name[IFNAMSIZ]);

#endif
