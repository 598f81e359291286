/* address.h - where a store listens, as the socket calls want it. */
#ifndef TRAINER_STORE_ADDRESS_H
#define TRAINER_STORE_ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "longhaul/peer.h"

union lh_store_address {
	struct sockaddr any;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

/* The configuration was checked. */
static inline socklen_t lh_store_address_of(const struct lh_store_config *s, union lh_store_address *ret)
{
	*ret = (union lh_store_address){ .in6 = { .sin6_family = AF_INET6, .sin6_port = htons(s->port) } };
	if (inet_pton(AF_INET6, s->host, &ret->in6.sin6_addr) == 1)
		return sizeof ret->in6;
	*ret = (union lh_store_address){ .in4 = { .sin_family = AF_INET, .sin_port = htons(s->port) } };
	inet_pton(AF_INET, s->host, &ret->in4.sin_addr);
	return sizeof ret->in4;
}

#endif
