/* peer_trees.h - the trees of a peer's configuration as JSON: a list of {"weight", "root", "up": [...], "down": [...]}. */
#ifndef COMMON_PEER_TREES_H
#define COMMON_PEER_TREES_H

#include <jansson.h>

#include "longhaul/peer.h"

/* list: NULL for none. Everything is checked. */
int lh_peer_trees_read(const json_t *list, unsigned npeers, struct lh_trees *ret, struct lh_err *err);
/* NULL: no memory. */
json_t *lh_peer_trees_print(const struct lh_trees *t);

#endif
