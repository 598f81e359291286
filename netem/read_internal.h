/* read_internal.h - between read.c (the exchange with the kernel) and read_decode.c (one message to one value). */
#ifndef NETEM_READ_INTERNAL_H
#define NETEM_READ_INTERNAL_H

#include <linux/netlink.h>

#include "read.h"

/* Decode one message. 0: *item is filled; 1: not of interest; negative errno. */
typedef int lh_decode_fn(const struct nlmsghdr *nlh, void *item, struct lh_err *err);

lh_decode_fn lh_decode_link, lh_decode_qdisc, lh_decode_address, lh_decode_neighbour, lh_decode_route, lh_decode_rule;

#endif
