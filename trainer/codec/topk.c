/* topk: of each part the k largest by magnitude, exactly; the rest is 0 and stays behind as the sender's residual.
 *
 *     | of each block of 65536: how many, 32 bits | k values, 32 bits | k places in their blocks, 16 bits |
 *
 * Selection is by counting, not by sorting: three passes over the bits of |x| (11 + 11 + 9, from above) find the k-th
 * largest exactly. It takes no memory that grows with the part, and no order of the numbers makes it slow.
 */
#include <math.h>

#include "rows.h"

enum { TOP_BITS = 11, MIDDLE_BITS = 11, LOW_BITS = 9, BINS = 1 << TOP_BITS };

static size_t kept(const struct lh_codec *c, size_t n)
{
	size_t k = (size_t)ceil(c->fraction * (double)n);
	return k > n ? n : k;
}

static size_t blocks(size_t n)
{
	return (n + LH_TOPK_BLOCK - 1) / LH_TOPK_BLOCK;
}

static size_t topk_bytes(const struct lh_codec *c, size_t n)
{
	return 4 * blocks(n) + 6 * kept(c, n);
}

static uint32_t magnitude(float x)
{
	return lh_bits_of(x) & 0x7fffffff;
}

/* Of the numbers whose magnitude has `prefix` above `shift + bits`: the value of the next bits at which the k-th
 * largest of them lies; *k becomes its rank among those that share them. */
static uint32_t find_digit(const float *src, size_t n, uint32_t prefix, unsigned shift, unsigned bits, size_t *k)
{
	uint32_t count[BINS] = { 0 }, digit = (1u << bits) - 1;
	for (size_t i = 0; i < n; i++) {
		uint32_t mag = magnitude(src[i]);
		if (mag >> shift >> bits == prefix)
			count[mag >> shift & digit]++;
	}
	for (; digit && count[digit] < *k; digit--)
		*k -= count[digit];
	return digit;
}

/* Magnitude of the k-th largest, k >= 1; *ret_equal: how many of that magnitude are among the k. */
static uint32_t threshold(const float *src, size_t n, size_t k, size_t *ret_equal)
{
	uint32_t t = find_digit(src, n, 0, MIDDLE_BITS + LOW_BITS, TOP_BITS, &k);
	t = t << MIDDLE_BITS | find_digit(src, n, t, LOW_BITS, MIDDLE_BITS, &k);
	t = t << LOW_BITS | find_digit(src, n, t, 0, LOW_BITS, &k);
	*ret_equal = k;
	return t;
}

static void topk_encode(const struct lh_codec *c, void *dst, const float *src, size_t n, float scale)
{
	size_t k = kept(c, n), equal = 0, at = 0;
	if (!n)
		return;
	uint32_t least = threshold(src, n, k, &equal), *counts = dst;
	float *values = (float *)dst + blocks(n);
	uint16_t *places = (uint16_t *)(values + k);
	for (size_t b = 0; b < blocks(n); b++) {
		size_t from = b * LH_TOPK_BLOCK, to = n - from < LH_TOPK_BLOCK ? n : from + LH_TOPK_BLOCK, before = at;
		for (size_t i = from; i < to; i++) {
			uint32_t mag = magnitude(src[i]);
			if (mag < least || (mag == least && !equal))
				continue;
			equal -= mag == least;
			values[at] = src[i] * scale;
			places[at++] = (uint16_t)(i - from);
		}
		counts[b] = (uint32_t)(at - before);
	}
}

struct sparse { /* an encoded part */
	const uint32_t *counts;
	const float *values;
	const uint16_t *places;
	size_t k;
};

static struct sparse take_apart(const struct lh_codec *c, const void *src, size_t n)
{
	struct sparse s = { .counts = src, .values = (const float *)src + blocks(n), .k = kept(c, n) };
	s.places = (const uint16_t *)(s.values + s.k);
	return s;
}

/* Places go upwards and lie in the part: then each is met once, and nothing beyond the part is touched. */
static bool topk_valid(const struct lh_codec *c, const void *src, size_t n)
{
	const struct sparse s = take_apart(c, src, n);
	size_t at = 0;
	for (size_t b = 0; b < blocks(n); b++) {
		size_t from = b * LH_TOPK_BLOCK, length = n - from < LH_TOPK_BLOCK ? n - from : LH_TOPK_BLOCK, next = 0;
		if (s.counts[b] > s.k - at)
			return false;
		for (size_t end = at + s.counts[b]; at < end; at++) {
			if (s.places[at] < next || s.places[at] >= length)
				return false;
			next = s.places[at] + 1u;
		}
	}
	return at == s.k;
}

LH_LOOP void scatter(float *restrict dst, const struct sparse *s, size_t n, float scale, bool add)
{
	size_t at = 0;
	for (size_t b = 0; b < blocks(n); b++) {
		float *block = dst + b * LH_TOPK_BLOCK;
		for (size_t end = at + s->counts[b]; at < end; at++) {
			float value = s->values[at] * scale;
			block[s->places[at]] = add ? block[s->places[at]] + value : value;
		}
	}
}

static void topk_decode(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	const struct sparse s = take_apart(c, src, n);
	memset(dst, 0, n * sizeof *dst);
	scatter(dst, &s, n, scale, false);
}

static void topk_decode_add(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	const struct sparse s = take_apart(c, src, n);
	scatter(dst, &s, n, scale, true);
}

const struct lh_codec lh_codec_topk = {
	.name = "topk", .granule = 1, .of_largest = 1, .bytes = topk_bytes, .encode = topk_encode,
	.decode = topk_decode, .decode_add = topk_decode_add, .valid = topk_valid,
};
