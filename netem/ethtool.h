/* ethtool.h - what is written to interfaces through ethtool's ioctl; offloads.h reads it back in its own way. `fd` is any
 * socket of the interface's namespace. */
#ifndef NETEM_ETHTOOL_H
#define NETEM_ETHTOOL_H

#include <stdbool.h>

#include "longhaul/err.h"

/* Let tso, gso, tx-udp-segmentation (`sends`) and gro (`receives`) of an interface be off. */
int lh_offloads_off(int fd, const char *ifname, bool sends, bool receives, struct lh_err *err);
/* Ask for the carrier. Kernels from 6.8 on then handle a change that waits in their work queue, at once. -ENETDOWN when
 * there is no carrier. */
int lh_link_settle(int fd, const char *ifname, struct lh_err *err);

#endif
