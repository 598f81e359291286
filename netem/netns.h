/* netns.h - network namespaces without names: made here, held by a file descriptor, gone with it. */
#ifndef NETEM_NETNS_H
#define NETEM_NETNS_H

#include <stdbool.h>

#include "longhaul/err.h"

/* A new namespace; the calling process is in it afterwards. */
int lh_netns_make(int *ret_fd, struct lh_err *err);
/* The one that the calling process is in. */
int lh_netns_current(int *ret_fd, struct lh_err *err);
/* setns(); `object` names the user's object in the error. */
int lh_netns_enter(int fd, const char *object, struct lh_err *err);

/* Write a setting below /proc/sys of the namespace that the process is in. */
int lh_sysctl_write(const char *key, const char *value, struct lh_err *err);

/* Let tso, gso, tx-udp-segmentation (`sends`) and gro (`receives`) of an interface be off. `fd`: a socket in its
 * namespace. */
int lh_offloads_off(int fd, const char *ifname, bool sends, bool receives, struct lh_err *err);
/* Make a carrier change that the kernel still has in its work queue take effect now: until then a veth end whose far
 * end came up later drops what it is given. Also fails when the interface has no carrier (-ENETDOWN). */
int lh_link_settle(int fd, const char *ifname, struct lh_err *err);

#endif
