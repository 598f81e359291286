/* ethtool.h - what is written to interfaces through ethtool's ioctl; offloads.h reads it back in its own way. `fd` is any
 * socket of the interface's namespace. */
#ifndef NETEM_ETHTOOL_H
#define NETEM_ETHTOOL_H

#include <stdbool.h>

#include "longhaul/err.h"

/* Let tso, gso, tx-udp-segmentation (`sends`) and gro (`receives`) of an interface be off. */
int lh_offloads_off(int fd, const char *ifname, bool sends, bool receives, struct lh_err *err);
/* Make a carrier change that the kernel still has in its work queue take effect now: until then a veth end whose far
 * end came up later drops what it is given. Also fails when the interface has no carrier (-ENETDOWN). */
int lh_link_settle(int fd, const char *ifname, struct lh_err *err);

#endif
