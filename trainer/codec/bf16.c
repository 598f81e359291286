/* bf16: the upper half of a float. All integer arithmetic, so any compiler's vectors give the same. */
#include "rows.h"

LH_LOOP uint16_t from_float(float f)
{
	uint32_t u = lh_bits_of(f), rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
	return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

LH_LOOP float to_float(uint16_t b)
{
	return lh_float_of((uint32_t)b << 16);
}

uint16_t lh_bf16_from_float(float f)
{
	return from_float(f);
}

float lh_bf16_to_float(uint16_t b)
{
	return to_float(b);
}

LH_LOOP void encode(uint16_t *restrict dst, const float *restrict src, size_t n, float scale)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = from_float(src[i] * scale);
}

LH_LOOP void decode(float *restrict dst, const uint16_t *restrict src, size_t n, float scale)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = to_float(src[i]) * scale;
}

LH_LOOP void decode_add(float *restrict dst, const uint16_t *restrict src, size_t n, float scale)
{
	for (size_t i = 0; i < n; i++)
		dst[i] += to_float(src[i]) * scale;
}

LH_AVX2 static void encode_avx2(uint16_t *dst, const float *src, size_t n, float scale) { encode(dst, src, n, scale); }
LH_AVX2 static void decode_avx2(float *dst, const uint16_t *src, size_t n, float scale) { decode(dst, src, n, scale); }
LH_AVX2 static void decode_add_avx2(float *dst, const uint16_t *src, size_t n, float scale)
{
	decode_add(dst, src, n, scale);
}

static size_t bf16_bytes(const struct lh_codec *c, size_t n)
{
	return 2 * n;
}

static void bf16_encode(const struct lh_codec *c, void *dst, const float *src, size_t n, float scale)
{
	if (lh_has_avx2())
		encode_avx2(dst, src, n, scale);
	else
		encode(dst, src, n, scale);
}

static void bf16_decode(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	if (lh_has_avx2())
		decode_avx2(dst, src, n, scale);
	else
		decode(dst, src, n, scale);
}

static void bf16_decode_add(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	if (lh_has_avx2())
		decode_add_avx2(dst, src, n, scale);
	else
		decode_add(dst, src, n, scale);
}

const struct lh_codec lh_codec_bf16 = {
	.name = "bf16", .pieces = true, .granule = 1, .relative = 0x1p-8, .bytes = bf16_bytes, .encode = bf16_encode,
	.decode = bf16_decode, .decode_add = bf16_decode_add,
};
