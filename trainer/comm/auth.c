#include "auth.h"

#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <string.h>

static void keyed(const char *secret, const char *role, const uint8_t *hello, const uint8_t *welcome, size_t len,
		  uint8_t *ret)
{
	struct hmac_sha256_ctx h;
	hmac_sha256_set_key(&h, strlen(secret), (const uint8_t *)secret);
	hmac_sha256_update(&h, strlen(role) + 1, (const uint8_t *)role); /* with its end: no role begins another */
	hmac_sha256_update(&h, LH_HELLO_BYTES, hello);
	hmac_sha256_update(&h, len, welcome);
	hmac_sha256_digest(&h, LH_PROOF_BYTES, ret);
}

void lh_auth_welcome(const char *secret, const uint8_t hello[LH_HELLO_BYTES], const uint8_t welcome[LH_HELLO_BYTES],
		     uint8_t ret[LH_PROOF_BYTES])
{
	keyed(secret, "longhaul peer 3 accepts", hello, welcome, LH_HELLO_BYTES - LH_PROOF_BYTES, ret);
}

void lh_auth_proof(const char *secret, const uint8_t hello[LH_HELLO_BYTES], const uint8_t welcome[LH_HELLO_BYTES],
		   uint8_t ret[LH_PROOF_BYTES])
{
	keyed(secret, "longhaul peer 3 connects", hello, welcome, LH_HELLO_BYTES, ret);
}

bool lh_auth_equal(const uint8_t a[LH_PROOF_BYTES], const uint8_t b[LH_PROOF_BYTES])
{
	return memeql_sec(a, b, LH_PROOF_BYTES);
}
