/* offloads.h - which offloads an interface has now, read by name from the kernel's feature words (ethtool). */
#ifndef NETEM_OFFLOADS_H
#define NETEM_OFFLOADS_H

#include <stdbool.h>

#include "longhaul/err.h"

/* The offloads that packet mode switches off. */
enum lh_offload { LH_OFFLOAD_TSO, LH_OFFLOAD_GSO, LH_OFFLOAD_GRO, LH_OFFLOAD_UDP_GSO, LH_OFFLOADS };

struct lh_offloads {
	bool known[LH_OFFLOADS]; /* does this kernel have it at all? */
	bool on[LH_OFFLOADS];
};

/* "tso", "gso", "gro", "tx-udp-segmentation". */
const char *lh_offload_name(enum lh_offload f);

/* `fd`: any socket opened in the interface's namespace. */
int lh_offloads_read(int fd, const char *ifname, struct lh_offloads *ret, struct lh_err *err);

#endif
