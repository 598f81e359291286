/* cache.h - what a peer keeps of the samples that it read, by item, up to a number of bytes.
 *
 * Nothing is ever thrown out: samples come back once a pass, in another order each time, so keeping what came first
 * hits as often as the cache is large beside the set, while one that throws out the oldest loses most of what is about to
 * come back. Pure.
 */
#ifndef TRAINER_STORE_CACHE_H
#define TRAINER_STORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

struct lh_cache;

/* limit: of what items count, `counted` each. kept: bytes that really are held of an item; 0: only that it was here. */
int lh_cache_new(uint64_t limit, uint64_t counted, size_t kept, struct lh_cache **ret, struct lh_err *err);
void lh_cache_free(struct lh_cache *c); /* NULL is fine */

/* *ret_bytes stay until the cache goes. */
bool lh_cache_find(const struct lh_cache *c, uint64_t item, const void **ret_bytes);
/* Keeps a copy when there is room, of the limit and of memory. An item that is there stays as it is. */
void lh_cache_add(struct lh_cache *c, uint64_t item, const void *bytes);
uint64_t lh_cache_bytes(const struct lh_cache *c); /* counted */

#endif
