/* int8: blocks of 256 numbers as signed bytes, after a float by which each block is to be multiplied.
 *
 * Why the largest magnitude and not smallest and largest: gradients, their partial sums and differences of
 * parameters lie around 0, where both give the same step within a percent; but so 0 stays 0, x and -x are rounded
 * alike, and the block needs one number. Why 256: the step is as large as the block's largest number asks, and a block
 * reaches into neighbouring tensors. Blocks of 256, 1024, 4096 normal numbers have steps of 3.0, 3.5, 3.8 deviations /
 * 127 and cost 1.6, 0.4, 0.1 % of the bytes; where sizes differ from tensor to tensor small blocks win by far more.
 */
#include "rows.h"

enum { BLOCK_BYTES = 4 + LH_INT8_BLOCK };

#define SMALLEST 0x0d800000 /* bits of 2^-100; 127 / it is still a float */
#define TOO_LARGE 0x7f000000 /* 2^127: 127 steps may be more than a float holds; infinities and NaNs are above */
#define CANONICAL_NAN 0x7fc00000

/* Largest magnitude of a block, as bits: they have the order of the numbers, and NaN is above all. */
LH_LOOP uint32_t largest(const float *restrict src, size_t n, float scale)
{
	uint32_t most = 0;
	for (size_t i = 0; i < n; i++) {
		uint32_t mag = lh_bits_of(src[i] * scale) & 0x7fffffff;
		most = mag > most ? mag : most;
	}
	return most;
}

/* Nearest even, as the addition rounds: below 2^22 the sum's last bit stands for 1. */
LH_LOOP int8_t nearest(float x)
{
	return (int8_t)(lh_bits_of(x + 0x1.8p23f) & 0xff);
}

LH_LOOP void encode_block(uint8_t *restrict dst, const float *restrict src, size_t n, float scale)
{
	uint32_t most = largest(src, n, scale);
	float step = 0, inverse = 0;
	if (most >= TOO_LARGE) {
		step = lh_float_of(CANONICAL_NAN);
	} else if (most >= SMALLEST) {
		step = lh_float_of(most) / 127;
		inverse = 127 / lh_float_of(most);
	}
	memcpy(dst, &step, 4);
	int8_t *restrict out = (int8_t *)dst + 4;
	if (!(inverse > 0)) {
		memset(out, 0, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		out[i] = nearest(src[i] * scale * inverse);
}

LH_LOOP void decode_block(float *restrict dst, const uint8_t *restrict src, size_t n, float scale, bool add)
{
	float step;
	memcpy(&step, src, 4);
	step *= scale;
	const int8_t *restrict in = (const int8_t *)src + 4;
	if (add)
		for (size_t i = 0; i < n; i++)
			dst[i] += (float)in[i] * step;
	else
		for (size_t i = 0; i < n; i++)
			dst[i] = (float)in[i] * step;
}

LH_LOOP void encode(uint8_t *dst, const float *src, size_t n, float scale)
{
	for (; n > LH_INT8_BLOCK; n -= LH_INT8_BLOCK, src += LH_INT8_BLOCK, dst += BLOCK_BYTES)
		encode_block(dst, src, LH_INT8_BLOCK, scale);
	if (n)
		encode_block(dst, src, n, scale);
}

LH_LOOP void decode(float *dst, const uint8_t *src, size_t n, float scale, bool add)
{
	for (; n > LH_INT8_BLOCK; n -= LH_INT8_BLOCK, dst += LH_INT8_BLOCK, src += BLOCK_BYTES)
		decode_block(dst, src, LH_INT8_BLOCK, scale, add);
	if (n)
		decode_block(dst, src, n, scale, add);
}

LH_AVX2 static void encode_avx2(uint8_t *dst, const float *src, size_t n, float scale) { encode(dst, src, n, scale); }
LH_AVX2 static void decode_avx2(float *dst, const uint8_t *src, size_t n, float scale)
{
	decode(dst, src, n, scale, false);
}

LH_AVX2 static void add_avx2(float *dst, const uint8_t *src, size_t n, float scale)
{
	decode(dst, src, n, scale, true);
}

static size_t int8_bytes(const struct lh_codec *c, size_t n)
{
	return n + 4 * ((n + LH_INT8_BLOCK - 1) / LH_INT8_BLOCK);
}

static void int8_encode(const struct lh_codec *c, void *dst, const float *src, size_t n, float scale)
{
	if (lh_has_avx2())
		encode_avx2(dst, src, n, scale);
	else
		encode(dst, src, n, scale);
}

static void int8_decode(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	if (lh_has_avx2())
		decode_avx2(dst, src, n, scale);
	else
		decode(dst, src, n, scale, false);
}

static void int8_decode_add(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	if (lh_has_avx2())
		add_avx2(dst, src, n, scale);
	else
		decode(dst, src, n, scale, true);
}

const struct lh_codec lh_codec_int8 = {
	.name = "int8", .pieces = true, .granule = LH_INT8_BLOCK, .of_largest = (1 + 0x1p-15) / 254, .bytes = int8_bytes,
	.encode = int8_encode, .decode = int8_decode, .decode_add = int8_decode_add,
};
