/* wire.h - what travels between a peer and the store that it reads samples from: a header of 16 bytes and a payload.
 *
 *      0        4      5          6          8          12
 *     | "lhs!" | type | version | 0 0      | length   | 0 0 0 0 | payload ...      little-endian
 *
 *     HELLO    ->   lh_hello (comm/frame.h), as between peers: who I am, what run, a nonce
 *     <-  WELCOME   the store's, with its nonce and a proof; or REFUSE with the reason
 *     PROOF    ->   the peer's
 *     WANT     ->   items, 8 bytes each
 *     <-  SAMPLE    one for each item, in the order in which they were wanted: item, hash of the bytes, the bytes
 *
 * Pure: bytes in, frames out. Everything here comes from the network and is checked against named limits before anybody
 * allocates or believes anything.
 */
#ifndef TRAINER_STORE_WIRE_H
#define TRAINER_STORE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "longhaul/peer.h"

#define LH_STORE_VERSION 1
#define LH_STORE_HEADER 16
#define LH_STORE_SAMPLE_HEADER 16 /* item and hash, in front of a sample's bytes */
#define LH_STORE_WANT_MAX 256     /* items of one WANT */
#define LH_STORE_TEXT_MAX 255     /* of REFUSE */
/* What a sample of n bytes takes on the wire, and what is asked for n of them at once. */
#define LH_STORE_SAMPLE_WIRE(n) (LH_STORE_HEADER + LH_STORE_SAMPLE_HEADER + (n))
#define LH_STORE_WANT_WIRE(n) (LH_STORE_HEADER + 8 * (n))

enum lh_store_type {
	LH_STORE_HELLO = 1, LH_STORE_WELCOME = 2, LH_STORE_REFUSE = 3, LH_STORE_PROOF = 4, LH_STORE_WANT = 5, LH_STORE_SAMPLE = 6,
};

void lh_store_frame_print(enum lh_store_type type, uint32_t length, uint8_t ret[LH_STORE_HEADER]);
/* sample_bytes: what a sample has. -EPROTO: none of ours, or a header that nobody sends; -EPROTONOSUPPORT: another version. */
int lh_store_frame_parse(const uint8_t header[LH_STORE_HEADER], uint64_t sample_bytes, enum lh_store_type *ret_type,
			 uint32_t *ret_length, struct lh_err *err);

/* Returns the payload's length. */
size_t lh_store_want_print(const uint64_t *items, size_t n, uint8_t ret[8 * LH_STORE_WANT_MAX]);
/* len as lh_store_frame_parse let it through. nitems: of the data set, 0: any item is one. */
int lh_store_want_parse(const uint8_t *payload, size_t len, uint64_t nitems, uint64_t ret_items[LH_STORE_WANT_MAX],
			size_t *ret_n, struct lh_err *err);

void lh_store_sample_print(uint64_t item, uint64_t hash, uint8_t ret[LH_STORE_SAMPLE_HEADER]);
void lh_store_sample_parse(const uint8_t header[LH_STORE_SAMPLE_HEADER], uint64_t *ret_item, uint64_t *ret_hash);
/* Of the first bytes of a sample: so many, that neither side need hold more of a large one. */
#define LH_STORE_HASHED_MAX (1 << 20)
uint64_t lh_store_hash(uint64_t item, const void *bytes, size_t len);

/* What both sides must agree on: which samples there are, and how long each is. */
uint64_t lh_store_fingerprint(const struct lh_peer_config *c, uint64_t sample_bytes);

#endif
