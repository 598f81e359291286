/* turn.h - peers that share a device take turns on it: one step at a time, and whoever had the least of it goes next.
 *
 * Processes share one file without a name. In it is a lock, who holds the device, and for each rank whether it waits and how long it has
 * held the device. A process that dies cannot give anything back, so each rank holds a robust mutex of its own as long as
 * it lives: who finds a holder whose mutex can be had knows that it is gone, and goes on without it. Nothing else is asked
 * of the others: no signals, no process numbers (peers may be in namespaces of their own).
 */
#ifndef COMMON_TURN_H
#define COMMON_TURN_H

#include <stdbool.h>

#include "longhaul/err.h"
#include "longhaul/units.h"

enum { LH_TURN_RANKS_MAX = 64 };

struct lh_turn;

/* Make the file, once: a descriptor for all ranks (close-on-exec). */
int lh_turn_create(unsigned ranks, int *ret_fd, struct lh_err *err);
/* A rank may come again after it died. The descriptor may be closed afterwards. */
int lh_turn_open(int fd, unsigned rank, struct lh_turn **ret, struct lh_err *err);
void lh_turn_close(struct lh_turn *t); /* NULL is fine; gives the device back */

/* Wait for the device, and have it. *ret_waited_ns is added to. */
int lh_turn_take(struct lh_turn *t, lh_ns *ret_waited_ns, struct lh_err *err);
/* Give it back. *ret_held_ns is added to. */
int lh_turn_give(struct lh_turn *t, lh_ns *ret_held_ns, struct lh_err *err);
/* Of the time that all ranks have held the device, this rank's share; 0 while nobody has. */
double lh_turn_share(struct lh_turn *t);

#endif
