/* ahead.h - which samples are read ahead, and which are there: a window that slides along what the peer will need.
 *
 * `expect` says which ids come next, in order. `next` hands out those that fit into the window, one after the other, to be
 * read; `here` says that one is. `need` asks for the next microbatch: when all of it is here, it is held until the next
 * need. What is expected may change at any time (a round is dealt anew): what was read and still fits stays, the rest goes,
 * also if it is still on its way. Pure: no thread, no socket, no clock.
 */
#ifndef TRAINER_STORE_AHEAD_H
#define TRAINER_STORE_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

struct lh_ahead;

struct lh_id_range { uint64_t first, count; };

/* window: samples that are held, here or on their way; at least the largest microbatch. */
int lh_ahead_new(size_t window, struct lh_ahead **ret, struct lh_err *err);
void lh_ahead_free(struct lh_ahead *a); /* NULL is fine */

int lh_ahead_expect(struct lh_ahead *a, const struct lh_id_range *ranges, size_t n, struct lh_err *err);
/* A sample to be read: false when there is none, or no room. *ret_place (< window) is its until it goes. */
bool lh_ahead_next(struct lh_ahead *a, uint64_t *ret_id, size_t *ret_place);
/* The sample of that place has come. false: nobody wants it any more, and the place is free again. */
bool lh_ahead_here(struct lh_ahead *a, size_t place);
/* Samples first ... first + n - 1, which follow each other in what is expected; if they do not, they are expected from now
 * on, and nothing behind them. What an earlier call held is let go. true: all here, and held. */
bool lh_ahead_need(struct lh_ahead *a, uint64_t first, size_t n);
/* Places of what is held, in the order of ids. */
size_t lh_ahead_held(const struct lh_ahead *a, const size_t **ret_places);

#endif
