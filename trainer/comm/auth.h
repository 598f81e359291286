/* auth.h - how two peers prove to each other that they know the secret of the run without saying it.
 *
 * Whoever connects sends HELLO with a nonce; the other answers WELCOME with its own nonce and a keyed hash over both
 * messages; the first answers PROOF, a keyed hash over both in its own role. A proof is good for one connection,
 * one direction and just these claims (rank, fingerprint, stream ...), so that none can be replayed, reflected or
 * altered. HMAC-SHA-256 of nettle; docs/decisions/0014-peers-know-each-other.md says what this does not protect.
 */
#ifndef TRAINER_COMM_AUTH_H
#define TRAINER_COMM_AUTH_H

#include <stdbool.h>

#include "frame.h"

/* The proof that belongs into WELCOME; whatever stands in that place of `welcome` does not count. */
void lh_auth_welcome(const char *secret, const uint8_t hello[LH_HELLO_BYTES], const uint8_t welcome[LH_HELLO_BYTES],
		     uint8_t ret[LH_PROOF_BYTES]);
/* The one that is sent back. */
void lh_auth_proof(const char *secret, const uint8_t hello[LH_HELLO_BYTES], const uint8_t welcome[LH_HELLO_BYTES],
		   uint8_t ret[LH_PROOF_BYTES]);
/* In a time that does not tell where they differ. */
bool lh_auth_equal(const uint8_t a[LH_PROOF_BYTES], const uint8_t b[LH_PROOF_BYTES]);

#endif
