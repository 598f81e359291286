/* route.h - requests about routes and policy rules. Each returns a libnl message, or NULL where memory is short. */
#ifndef NETEM_ROUTE_H
#define NETEM_ROUTE_H

#include "plan.h"

struct nl_msg;

/* The operation's route, through the far end of interface `ifindex`; replaces one that is there. */
struct nl_msg *lh_msg_route(const struct lh_op *op, int ifindex);
struct nl_msg *lh_msg_rule(const struct lh_op *op, const char *iif_name);

#endif
