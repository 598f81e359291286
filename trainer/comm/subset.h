/* subset.h - some peers of a transport as a transport of their own, numbered 0 ... n - 1: what an all-reduce among the
 * members of a group runs on. The group may be another one later; the all-reduce of before must be gone by then.
 */
#ifndef TRAINER_COMM_SUBSET_H
#define TRAINER_COMM_SUBSET_H

#include "transport.h"

struct lh_subset;

/* Becomes the user of t, of `size` peers, which must outlive it. Empty at first. */
int lh_subset_new(struct lh_transport *t, unsigned size, struct lh_subset **ret, struct lh_err *err);
/* ranks: [n], ascending. Number i is ranks[i]. */
void lh_subset_set(struct lh_subset *s, const unsigned *ranks, unsigned n);
/* For the all-reduce, which attaches itself to it. Has no other operations than those that an all-reduce needs. */
struct lh_transport *lh_subset_transport(struct lh_subset *s);
void lh_subset_free(struct lh_subset *s); /* NULL is fine */

#endif
