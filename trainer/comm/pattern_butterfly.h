/* pattern_butterfly.h - flat butterfly: as many blocks as peers, peer b owns block b. Round 0, reduce-scatter:
 * everybody sends its part of block b to the owner, directly. Round 1, all-gather: the owner sends the result to
 * everybody. Each peer sends 2 (N-1)/N of the vector, over the path that joins the two peers in question.
 */
#ifndef TRAINER_COMM_PATTERN_BUTTERFLY_H
#define TRAINER_COMM_PATTERN_BUTTERFLY_H

#include "pattern.h"

extern const struct lh_pattern lh_pattern_butterfly;

#endif
