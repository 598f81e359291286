/* fp16: IEEE binary16. */
#include "rows.h"

#if defined(LH_AVX2_PATH)
#include <immintrin.h>
#endif

#define HALF_MAX 65504.0f

uint16_t lh_half_from_float(float f)
{
	uint32_t u = lh_bits_of(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
	if (mag > 0x7f800000)
		return 0x7e00;
	if (mag >= 0x477fe000) /* 65504 and beyond */
		return (uint16_t)(sign | 0x7bff);
	if (mag < 0x38800000) /* below 2^-14: adding 0.5 leaves the subnormal's 10 bits, rounded by the addition */
		return (uint16_t)(sign | (lh_bits_of(lh_float_of(mag) + 0.5f) - 0x3f000000));
	mag += 0xfff + (mag >> 13 & 1); /* half an ulp of the 10 bits that stay; ties to even */
	return (uint16_t)(sign | (mag - 0x38000000) >> 13);
}

float lh_half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
	if (mag >= 0x7c00)
		return lh_float_of(sign | 0x7f800000 | (mag & 0x3ff) << 13);
	/* Widened in place the number is 2^-112 too small; the product is exact, subnormals included. */
	return lh_float_of(sign | lh_bits_of(lh_float_of(mag << 13) * 0x1p112f));
}

#if defined(LH_AVX2_PATH)
#define F16C __attribute__((target("avx,f16c")))

/* min and max return their second operand where one is NaN, so the NaN passes; it is made canonical after. */
F16C static size_t encode_f16c(uint16_t *dst, const float *src, size_t n, float scale)
{
	const __m256 lo = _mm256_set1_ps(-HALF_MAX), hi = _mm256_set1_ps(HALF_MAX), by = _mm256_set1_ps(scale);
	const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 x = _mm256_mul_ps(_mm256_loadu_ps(src + i), by);
		x = _mm256_min_ps(hi, _mm256_max_ps(lo, x));
		__m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q); /* blendv: without AVX2 gcc makes branches of it */
		x = _mm256_or_ps(_mm256_andnot_ps(is_nan, x), _mm256_and_ps(is_nan, nan));
		_mm_storeu_si128((__m128i *)(void *)(dst + i), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
	}
	return i;
}

F16C static size_t decode_f16c(float *dst, const uint16_t *src, size_t n, float scale)
{
	const __m256 by = _mm256_set1_ps(scale);
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i)));
		_mm256_storeu_ps(dst + i, _mm256_mul_ps(x, by));
	}
	return i;
}

F16C static size_t decode_add_f16c(float *dst, const uint16_t *src, size_t n, float scale)
{
	const __m256 by = _mm256_set1_ps(scale);
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i)));
		_mm256_storeu_ps(dst + i, _mm256_add_ps(_mm256_loadu_ps(dst + i), _mm256_mul_ps(x, by)));
	}
	return i;
}
#else
static size_t encode_f16c(uint16_t *dst, const float *src, size_t n, float scale) { return 0; }
static size_t decode_f16c(float *dst, const uint16_t *src, size_t n, float scale) { return 0; }
static size_t decode_add_f16c(float *dst, const uint16_t *src, size_t n, float scale) { return 0; }
#endif

static size_t half_bytes(const struct lh_codec *c, size_t n)
{
	return 2 * n;
}

static void half_encode(const struct lh_codec *c, void *dst, const float *src, size_t n, float scale)
{
	uint16_t *out = dst;
	for (size_t i = lh_has_f16c() ? encode_f16c(out, src, n, scale) : 0; i < n; i++)
		out[i] = lh_half_from_float(src[i] * scale);
}

static void half_decode(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	const uint16_t *in = src;
	for (size_t i = lh_has_f16c() ? decode_f16c(dst, in, n, scale) : 0; i < n; i++)
		dst[i] = lh_half_to_float(in[i]) * scale;
}

static void half_decode_add(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	const uint16_t *in = src;
	for (size_t i = lh_has_f16c() ? decode_add_f16c(dst, in, n, scale) : 0; i < n; i++)
		dst[i] += lh_half_to_float(in[i]) * scale;
}

const struct lh_codec lh_codec_fp16 = {
	.name = "fp16", .granule = 1, .relative = 0x1p-11, .bytes = half_bytes, .encode = half_encode,
	.decode = half_decode, .decode_add = half_decode_add,
};
