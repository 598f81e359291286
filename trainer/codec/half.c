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
#define F16C_LOOP F16C static inline __attribute__((always_inline))

F16C_LOOP __m256 load(const float *src, __m256 by, bool scaled)
{
	__m256 x = _mm256_loadu_ps(src);
	return scaled ? _mm256_mul_ps(x, by) : x;
}

F16C_LOOP __m256 widen(const uint16_t *src, __m256 by, bool scaled)
{
	__m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)src));
	return scaled ? _mm256_mul_ps(x, by) : x;
}

/* 32 numbers at a time, among which a NaN is looked for: the hardware would keep its sign and payload. */
F16C_LOOP size_t encode_loop(uint16_t *dst, const float *src, size_t n, float scale, bool scaled)
{
	const __m256 lo = _mm256_set1_ps(-HALF_MAX), hi = _mm256_set1_ps(HALF_MAX), by = _mm256_set1_ps(scale);
	size_t i = 0;
	for (; i + 32 <= n; i += 32) {
		__m256 x[4], nan;
		for (unsigned k = 0; k < 4; k++)
			x[k] = load(src + i + 8 * k, by, scaled);
		nan = _mm256_or_ps(_mm256_cmp_ps(x[0], x[1], _CMP_UNORD_Q), _mm256_cmp_ps(x[2], x[3], _CMP_UNORD_Q));
		for (unsigned k = 0; k < 4; k++) {
			x[k] = _mm256_min_ps(hi, _mm256_max_ps(lo, x[k]));
			_mm_storeu_si128((__m128i *)(void *)(dst + i + 8 * k),
					 _mm256_cvtps_ph(x[k], _MM_FROUND_TO_NEAREST_INT));
		}
		if (_mm256_movemask_ps(nan))
			for (size_t k = i; k < i + 32; k++)
				dst[k] = lh_half_from_float(src[k] * scale);
	}
	return i;
}

F16C static size_t encode_f16c(uint16_t *dst, const float *src, size_t n, float scale)
{
	return scale == 1 ? encode_loop(dst, src, n, scale, false) : encode_loop(dst, src, n, scale, true);
}

F16C_LOOP size_t decode_loop(float *dst, const uint16_t *src, size_t n, float scale, bool scaled, bool adds)
{
	const __m256 by = _mm256_set1_ps(scale);
	size_t i = 0;
	for (; i + 16 <= n; i += 16) {
		__m256 x = widen(src + i, by, scaled), y = widen(src + i + 8, by, scaled);
		if (adds) {
			x = _mm256_add_ps(_mm256_loadu_ps(dst + i), x);
			y = _mm256_add_ps(_mm256_loadu_ps(dst + i + 8), y);
		}
		_mm256_storeu_ps(dst + i, x);
		_mm256_storeu_ps(dst + i + 8, y);
	}
	return i;
}

F16C static size_t decode_f16c(float *dst, const uint16_t *src, size_t n, float scale)
{
	return scale == 1 ? decode_loop(dst, src, n, scale, false, false) : decode_loop(dst, src, n, scale, true, false);
}

F16C static size_t decode_add_f16c(float *dst, const uint16_t *src, size_t n, float scale)
{
	return scale == 1 ? decode_loop(dst, src, n, scale, false, true) : decode_loop(dst, src, n, scale, true, true);
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
	.name = "fp16", .pieces = true, .granule = 1, .relative = 0x1p-11, .bytes = half_bytes, .encode = half_encode,
	.decode = half_decode, .decode_add = half_decode_add,
};
