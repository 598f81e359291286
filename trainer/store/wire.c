#include "store/wire.h"

#include <errno.h>
#include <string.h>

#include "comm/frame.h"
#include "hash.h"

static const uint8_t magic[4] = { 'l', 'h', 's', '!' };

static void put(uint8_t *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

void lh_store_frame_print(enum lh_store_type type, uint32_t length, uint8_t ret[LH_STORE_HEADER])
{
	memset(ret, 0, LH_STORE_HEADER);
	memcpy(ret, magic, sizeof magic);
	ret[4] = (uint8_t)type;
	ret[5] = LH_STORE_VERSION;
	put(ret + 8, length, 4);
}

int lh_store_frame_parse(const uint8_t header[LH_STORE_HEADER], uint64_t sample_bytes, enum lh_store_type *ret_type,
			 uint32_t *ret_length, struct lh_err *err)
{
	const uint64_t sample = LH_STORE_SAMPLE_HEADER + sample_bytes;
	const struct { uint64_t min, max; } lengths[] = {
		[LH_STORE_HELLO] = { LH_HELLO_BYTES, LH_HELLO_BYTES }, [LH_STORE_WELCOME] = { LH_HELLO_BYTES, LH_HELLO_BYTES },
		[LH_STORE_REFUSE] = { 0, LH_STORE_TEXT_MAX }, [LH_STORE_PROOF] = { LH_PROOF_BYTES, LH_PROOF_BYTES },
		[LH_STORE_WANT] = { 8, 8 * LH_STORE_WANT_MAX }, [LH_STORE_SAMPLE] = { sample, sample },
	};
	const uint32_t type = header[4], length = (uint32_t)get(header + 8, 4);
	if (memcmp(header, magic, sizeof magic))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "what came is not from longhaul");
	if (header[5] != LH_STORE_VERSION)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTONOSUPPORT, "it speaks version %u of the protocol, this is %d", header[5],
				  LH_STORE_VERSION);
	if (!type || type >= sizeof lengths / sizeof *lengths || get(header + 6, 2) || get(header + 12, 4))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "frame of unknown type %u", type);
	if (length < lengths[type].min || length > lengths[type].max || (type == LH_STORE_WANT && length % 8))
		return lh_err_set(err, LH_EXIT_BROKE, -EMSGSIZE, "frame of type %u with %u bytes, allowed are %llu ... %llu", type,
				  length, (unsigned long long)lengths[type].min, (unsigned long long)lengths[type].max);
	*ret_type = (enum lh_store_type)type;
	*ret_length = length;
	return 0;
}

size_t lh_store_want_print(const uint64_t *items, size_t n, uint8_t ret[8 * LH_STORE_WANT_MAX])
{
	for (size_t i = 0; i < n && i < LH_STORE_WANT_MAX; i++)
		put(ret + 8 * i, items[i], 8);
	return 8 * n;
}

int lh_store_want_parse(const uint8_t *payload, size_t len, uint64_t nitems, uint64_t ret_items[LH_STORE_WANT_MAX],
			size_t *ret_n, struct lh_err *err)
{
	if (!len || len % 8 || len > 8 * LH_STORE_WANT_MAX)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "a wish of %zu bytes", len);
	for (size_t i = 0; i < len / 8; i++) {
		ret_items[i] = get(payload + 8 * i, 8);
		if (nitems && ret_items[i] >= nitems)
			return lh_err_set(err, LH_EXIT_BROKE, -ERANGE, "there is no item %llu of %llu",
					  (unsigned long long)ret_items[i], (unsigned long long)nitems);
	}
	*ret_n = len / 8;
	return 0;
}

void lh_store_sample_print(uint64_t item, uint64_t hash, uint8_t ret[LH_STORE_SAMPLE_HEADER])
{
	put(ret, item, 8);
	put(ret + 8, hash, 8);
}

void lh_store_sample_parse(const uint8_t header[LH_STORE_SAMPLE_HEADER], uint64_t *ret_item, uint64_t *ret_hash)
{
	*ret_item = get(header, 8);
	*ret_hash = get(header + 8, 8);
}

uint64_t lh_store_hash(uint64_t item, const void *bytes, size_t len)
{
	return lh_hash64(bytes, len < LH_STORE_HASHED_MAX ? len : LH_STORE_HASHED_MAX, item);
}

uint64_t lh_store_fingerprint(const struct lh_peer_config *c, uint64_t sample_bytes)
{
	const uint64_t numbers[] = { c->engine == LH_ENGINE_PACED, c->data, c->data_samples, c->seed, sample_bytes };
	return lh_hash64(c->model, strlen(c->model), lh_hash64(numbers, sizeof numbers, LH_STORE_VERSION));
}
