/* netns.h - network namespaces without names: made here, held by a file descriptor, gone with it; and their settings. */
#ifndef NETEM_NETNS_H
#define NETEM_NETNS_H

#include "longhaul/err.h"

/* A new namespace; the calling process is in it afterwards. */
int lh_netns_make(int *ret_fd, struct lh_err *err);
/* The one that the calling process is in. */
int lh_netns_current(int *ret_fd, struct lh_err *err);
/* setns(); `object` names the user's object in the error. */
int lh_netns_enter(int fd, const char *object, struct lh_err *err);

/* Write a setting below /proc/sys of the namespace that the process is in. */
int lh_sysctl_write(const char *key, const char *value, struct lh_err *err);

#endif
