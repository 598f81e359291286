/* client.h - a peer's side of the store: samples read ahead by a thread of their own, a cache, and waiting for what is
 * not there yet.
 *
 * The owner says which samples come next (expect) and asks for each microbatch when it needs it (have). It waits on fd
 * meanwhile, beside whatever else it has to do; nothing here blocks it. One thread talks to the store: it asks for what fits
 * into the window and is in no cache, and puts what comes into its place.
 */
#ifndef TRAINER_STORE_CLIENT_H
#define TRAINER_STORE_CLIENT_H

#include "data/source.h"
#include "longhaul/peer.h"
#include "store/ahead.h"

struct lh_store_client;

struct lh_store_counts { /* since it was opened */
	uint64_t bytes_received, bytes_sent; /* on the socket, framing and greeting included */
	uint64_t samples, cached;            /* that came; that were in the cache when they were to be read */
};

/* s: what the peer's engine makes samples with, and with it which item each is; NULL: engine paced, whose samples have no
 * content. It outlives the client; feeding it is the owner's. Connects in the background, for the deadline at most. */
int lh_store_client_open(const struct lh_peer_config *c, const struct lh_source *s, struct lh_store_client **ret,
			 struct lh_err *err);
void lh_store_client_close(struct lh_store_client *cl); /* NULL is fine */

/* Readable when something has changed: ask again. */
int lh_store_client_fd(const struct lh_store_client *cl);
/* 1: connected; 0: not yet; negative: it failed, for good. */
int lh_store_client_joined(struct lh_store_client *cl, struct lh_err *err);
/* What is needed next, in order; instead of what was said before. */
int lh_store_client_expect(struct lh_store_client *cl, const struct lh_id_range *ranges, size_t n, struct lh_err *err);
/* 1: samples first ... first + n - 1 are here, until the next call; 0: not yet; negative: the store failed. */
int lh_store_client_have(struct lh_store_client *cl, uint64_t first, size_t n, struct lh_err *err);
/* Do samples come with their content? Not when they are to be shorter on the wire than the model's form. */
bool lh_store_client_feeds(const struct lh_store_client *cl);
/* Its stored form; NULL: not one of those that are here. For lh_source_feed. */
const void *lh_store_client_item(void *cl, uint64_t item);
void lh_store_client_counts(struct lh_store_client *cl, struct lh_store_counts *ret);

#endif
