/* elastic_group.h - a group of real peers that come and go, for tests: one at a time, `g`.
 */
#ifndef ELASTIC_GROUP_H
#define ELASTIC_GROUP_H

#include "lhpeers.h"

enum { SHARE = 20 }; /* samples of a peer and round when all are there */

extern struct lhpeers g;
extern uint64_t here; /* ranks that are there from the beginning */

/* n peers, elastic, a batch of SHARE each; then what the test changes of g.config; then start. */
void init(unsigned n, uint32_t rounds);
/* Those of `here`: until all have joined, then go. */
void start(void);
void until_round(unsigned rank, uint32_t round);
void kill_peer(unsigned rank);
void bring_back(unsigned rank, uint32_t incarnation);
const struct lh_event *epoch_of(unsigned rank, uint32_t round);
/* In every round: one state where it is shared, one group, each sample once. What is missing was calculated by who died
 * after the others had its part of the result, so it did not tell: returns how many such rounds there are. */
unsigned check_rounds(void);
void check_finished(uint64_t ranks);

#endif
