/* trees.h - blocks with trees of their own, each as long as the wires have room for it: weighted-butterfly, packed-trees.
 *
 * What travels up and down the trees of one block loads pairs, cards, links and sites; the trees and their shares of the
 * vector are chosen so that the fullest of these is as little full as can be (packing.h). For the weighted butterfly the
 * trees are the stars around each peer; packed trees are any, found one after the other by the prices of the programme:
 * the cheapest tree into a root and out of it. docs/decisions/0018-packed-trees.md has the argument.
 *
 * The harness plans, once, from what it measured; the peers are told the result as whole numbers, so that they need
 * not agree about arithmetic.
 */
#ifndef COMMON_PATTERN_TREES_H
#define COMMON_PATTERN_TREES_H

#include "wires.h"

#define LH_TREES_WEIGHT 1000000u /* the weights of a plan add up to about this */

/* ret_share: [npeers], weights of a butterfly's blocks for a vector of so many bytes on the wire. */
int lh_shares_plan(const struct lh_wires *w, double bytes, uint32_t *ret_share, struct lh_err *err);
/* *ret: lh_trees_done(). -E2BIG above LH_TREES_PEERS_MAX. */
int lh_trees_plan(const struct lh_wires *w, double bytes, struct lh_trees *ret, struct lh_err *err);

#endif
