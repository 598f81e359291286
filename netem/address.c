#include "address.h"

#include "longhaul/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* 10.16.0.0 ... 10.79.255.255 and fd6c:6800::/32 ("lh"): private ranges, and inside private namespaces anyway. */
enum { V4_ROUTERS = 15, V4_FIRST_SITE = 16, V4_HOSTS_A_BLOCK = 250 };

_Static_assert(V4_FIRST_SITE + LH_SITES_MAX <= 256, "second octet of a site");
_Static_assert(LH_PEERS_MAX / V4_HOSTS_A_BLOCK < 255, "third octet of a peer");

static void make_v4(unsigned second, unsigned third, unsigned fourth, uint8_t prefix, struct lh_address *ret)
{
	uint8_t bytes[4] = { 10, (uint8_t)second, (uint8_t)third, (uint8_t)fourth };
	*ret = (struct lh_address){ .family = AF_INET, .prefix = prefix };
	memcpy(ret->bytes, bytes, sizeof bytes);
}

static void make_v6(unsigned net, unsigned kind, unsigned host, uint8_t prefix, struct lh_address *ret)
{
	*ret = (struct lh_address){ .family = AF_INET6, .prefix = prefix, .bytes = { 0xfd, 0x6c, 0x68, 0x00 } };
	ret->bytes[6] = (uint8_t)(net >> 8);
	ret->bytes[7] = (uint8_t)net;
	ret->bytes[13] = (uint8_t)kind;
	ret->bytes[14] = (uint8_t)(host >> 8);
	ret->bytes[15] = (uint8_t)host;
}

void lh_address_peer(unsigned site, unsigned k, bool ipv6, struct lh_address *ret)
{
	if (ipv6)
		make_v6(site + 1, 0, k + 1, 128, ret);
	else
		make_v4(V4_FIRST_SITE + site, k / V4_HOSTS_A_BLOCK, k % V4_HOSTS_A_BLOCK + 1, 32, ret);
}

enum { ROUTER_GATEWAY = 1, ROUTER_ACCESS };

static void make_router(unsigned site, unsigned which, bool ipv6, struct lh_address *ret)
{
	if (ipv6)
		make_v6(0, which, site + 1, 128, ret);
	else
		make_v4(V4_ROUTERS, site, which, 32, ret);
}

void lh_address_gateway(unsigned site, bool ipv6, struct lh_address *ret)
{
	make_router(site, ROUTER_GATEWAY, ipv6, ret);
}

void lh_address_access(unsigned site, bool ipv6, struct lh_address *ret)
{
	make_router(site, ROUTER_ACCESS, ipv6, ret);
}

void lh_address_site(unsigned site, bool ipv6, struct lh_address *ret)
{
	if (ipv6)
		make_v6(site + 1, 0, 0, 64, ret);
	else
		make_v4(V4_FIRST_SITE + site, 0, 0, 16, ret);
}

void lh_address_far_end(bool ipv6, struct lh_address *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->family = ipv6 ? AF_INET6 : AF_INET;
	ret->prefix = ipv6 ? 128 : 32;
	if (ipv6) {
		ret->bytes[0] = 0xfe;
		ret->bytes[1] = 0x80;
		ret->bytes[15] = 1;
	} else {
		memcpy(ret->bytes, (uint8_t[]){ 169, 254, 1, 1 }, 4);
	}
}

void lh_address_any(bool ipv6, struct lh_address *ret)
{
	memset(ret, 0, sizeof *ret);
	ret->family = ipv6 ? AF_INET6 : AF_INET;
}

char *lh_address_print(const struct lh_address *a, bool prefix, char *buf, size_t size)
{
	char text[INET6_ADDRSTRLEN];
	if (!inet_ntop(a->family, a->bytes, text, sizeof text))
		strcpy(text, "?");
	if (prefix)
		snprintf(buf, size, "%s/%u", text, a->prefix);
	else
		snprintf(buf, size, "%s", text);
	return buf;
}

void lh_mac_make(uint32_t n, uint8_t mac[6])
{
	/* 02: locally administered, unicast. */
	mac[0] = 0x02;
	mac[1] = 0x6c;
	mac[2] = 0x68;
	mac[3] = (uint8_t)(n >> 16);
	mac[4] = (uint8_t)(n >> 8);
	mac[5] = (uint8_t)n;
}

_Static_assert(LH_SITES_MAX <= 1000 && LH_PEERS_MAX <= 100000, "letters and digits of w<d> and p<k> within IFNAMSIZ");

void lh_ifname_wan(unsigned to_site, char name[IFNAMSIZ])
{
	snprintf(name, IFNAMSIZ, "w%u", to_site);
}

void lh_ifname_to_peer(unsigned k, char name[IFNAMSIZ])
{
	snprintf(name, IFNAMSIZ, "p%u", k);
}

int lh_net_peer_address(const struct lh_topology *t, unsigned peer, bool ipv6, char *buf, size_t size)
{
	if (peer >= lh_topology_nodes(t))
		return -EINVAL;
	const struct lh_peer *p = &t->peers[peer];
	struct lh_address a;
	lh_address_peer(p->site, lh_topology_place(t, peer), ipv6, &a);
	char text[INET6_ADDRSTRLEN];
	lh_address_print(&a, false, text, sizeof text);
	if (strlen(text) >= size)
		return -ENOSPC;
	strcpy(buf, text);
	return 0;
}
