/* XXH64: four lanes eat 32-byte stripes, are merged, and what is left of the input is folded in by 8, 4 and 1
 * bytes. Input is read as little-endian whatever the machine is. */
#include "hash.h"

#include <endian.h>
#include <string.h>

enum { STRIPE = 32 };

static const uint64_t P1 = UINT64_C(0x9e3779b185ebca87), P2 = UINT64_C(0xc2b2ae3d27d4eb4f),
		      P3 = UINT64_C(0x165667b19e3779f9), P4 = UINT64_C(0x85ebca77c2b2ae63),
		      P5 = UINT64_C(0x27d4eb2f165667c5);

static uint64_t rotate(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }

static uint64_t read64(const unsigned char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

static uint32_t read32(const unsigned char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

static uint64_t round_of(uint64_t lane, uint64_t input) { return rotate(lane + input * P2, 31) * P1; }

static void eat_stripe(uint64_t lane[4], const unsigned char *p)
{
	for (int i = 0; i < 4; i++)
		lane[i] = round_of(lane[i], read64(p + 8 * i));
}

void lh_hash64_init(struct lh_hash64_state *s, uint64_t seed)
{
	*s = (struct lh_hash64_state){ .seed = seed, .lane = { seed + P1 + P2, seed + P2, seed, seed - P1 } };
}

void lh_hash64_update(struct lh_hash64_state *s, const void *data, size_t len)
{
	const unsigned char *p = data;
	if (!len)
		return; /* data may be NULL then */
	s->length += len;
	if (s->tail_len) {
		size_t n = STRIPE - s->tail_len < len ? STRIPE - s->tail_len : len;
		memcpy(s->tail + s->tail_len, p, n);
		s->tail_len += n;
		p += n;
		len -= n;
		if (s->tail_len < STRIPE)
			return;
		eat_stripe(s->lane, s->tail);
		s->tail_len = 0;
	}
	for (; len >= STRIPE; p += STRIPE, len -= STRIPE)
		eat_stripe(s->lane, p);
	if (len)
		memcpy(s->tail, p, len);
	s->tail_len = len;
}

uint64_t lh_hash64_final(const struct lh_hash64_state *s)
{
	uint64_t h = s->seed + P5;
	if (s->length >= STRIPE) {
		h = rotate(s->lane[0], 1) + rotate(s->lane[1], 7) + rotate(s->lane[2], 12) + rotate(s->lane[3], 18);
		for (int i = 0; i < 4; i++)
			h = (h ^ round_of(0, s->lane[i])) * P1 + P4;
	}
	h += s->length;
	const unsigned char *p = s->tail, *end = p + s->tail_len;
	for (; end - p >= 8; p += 8)
		h = rotate(h ^ round_of(0, read64(p)), 27) * P1 + P4;
	for (; end - p >= 4; p += 4)
		h = rotate(h ^ read32(p) * P1, 23) * P2 + P3;
	for (; p < end; p++)
		h = rotate(h ^ *p * P5, 11) * P1;
	h = (h ^ h >> 33) * P2;
	h = (h ^ h >> 29) * P3;
	return h ^ h >> 32;
}

uint64_t lh_hash64(const void *data, size_t len, uint64_t seed)
{
	struct lh_hash64_state s;
	lh_hash64_init(&s, seed);
	lh_hash64_update(&s, data, len);
	return lh_hash64_final(&s);
}
