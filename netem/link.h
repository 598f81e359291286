/* link.h - requests about interfaces: veth pairs, addresses, neighbours, their root qdisc. Each returns a libnl
 * message, or NULL where memory is short. */
#ifndef NETEM_LINK_H
#define NETEM_LINK_H

#include "plan.h"

struct nl_msg;

/* The group of every pair's first end, so that one request deletes all pairs of a router (far ends fall with them). */
#define LH_LINK_GROUP 1

/* Both ends, each in its namespace; only `a` up. */
struct nl_msg *lh_msg_veth(const struct lh_plan_if *a, int netns_fd, const struct lh_plan_if *far, int far_netns_fd);
struct nl_msg *lh_msg_link_up(int ifindex);
struct nl_msg *lh_msg_delete_group(void);
struct nl_msg *lh_msg_address(int ifindex, const struct lh_address *a);
struct nl_msg *lh_msg_neighbour(int ifindex, const struct lh_address *a, const uint8_t mac[6]);
/* RTM_NEWQDISC, replace, complete state; RTM_DELQDISC where the kind is LH_QDISC_NONE. */
int lh_msg_qdisc(int ifindex, const struct lh_qdisc *q, struct nl_msg **ret, struct lh_err *err);

#endif
