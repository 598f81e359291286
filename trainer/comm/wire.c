#include "wire.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAVE_F16C_PATH 1
#endif

#define HALF_MAX 65504.0f

static int portable_only;

void lh_wire_force_portable(int on)
{
	portable_only = on;
}

static uint32_t bits_of(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}

static float float_of(uint32_t u)
{
	float f;
	memcpy(&f, &u, 4);
	return f;
}

uint16_t lh_half_from_float(float f)
{
	uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
	if (mag > 0x7f800000)
		return 0x7e00;
	if (mag >= 0x477fe000) /* 65504 and beyond */
		return (uint16_t)(sign | 0x7bff);
	if (mag < 0x38800000) /* below 2^-14: adding 0.5 leaves the subnormal's 10 bits, rounded by the addition */
		return (uint16_t)(sign | (bits_of(float_of(mag) + 0.5f) - 0x3f000000));
	mag += 0xfff + (mag >> 13 & 1); /* half an ulp of the 10 bits that stay; ties to even */
	return (uint16_t)(sign | (mag - 0x38000000) >> 13);
}

float lh_half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
	if (mag >= 0x7c00)
		return float_of(sign | 0x7f800000 | (mag & 0x3ff) << 13);
	/* Widened in place the number is 2^-112 too small; the product is exact, subnormals included. */
	return float_of(sign | bits_of(float_of(mag << 13) * 0x1p112f));
}

static void fp16_encode_portable(void *dst, const float *src, size_t n, float scale)
{
	uint16_t *out = dst;
	for (size_t i = 0; i < n; i++)
		out[i] = lh_half_from_float(src[i] * scale);
}

static void fp16_decode_portable(float *dst, const void *src, size_t n, float scale)
{
	const uint16_t *in = src;
	for (size_t i = 0; i < n; i++)
		dst[i] = lh_half_to_float(in[i]) * scale;
}

#ifdef HAVE_F16C_PATH
/* min and max return their second operand where one is NaN, so the NaN passes; it is made canonical after. */
__attribute__((target("avx,f16c"))) static size_t fp16_encode_f16c(uint16_t *dst, const float *src, size_t n,
								   float scale)
{
	const __m256 lo = _mm256_set1_ps(-HALF_MAX), hi = _mm256_set1_ps(HALF_MAX), by = _mm256_set1_ps(scale);
	const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 x = _mm256_mul_ps(_mm256_loadu_ps(src + i), by);
		x = _mm256_min_ps(hi, _mm256_max_ps(lo, x));
		x = _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
		_mm_storeu_si128((__m128i *)(void *)(dst + i), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
	}
	return i;
}

__attribute__((target("avx,f16c"))) static size_t fp16_decode_f16c(float *dst, const uint16_t *src, size_t n,
								   float scale)
{
	const __m256 by = _mm256_set1_ps(scale);
	size_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(src + i)));
		_mm256_storeu_ps(dst + i, _mm256_mul_ps(x, by));
	}
	return i;
}

/* The builtin knows whether the kernel saves AVX state too; of F16C only some compilers' builtins have heard. Asked
 * once: in a virtual machine cpuid is slow. */
static int has_f16c(void)
{
	static int known = -1;
	unsigned a, b, c, d;
	if (known < 0)
		known = __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
	return known && !portable_only;
}
#else
static size_t fp16_encode_f16c(uint16_t *dst, const float *src, size_t n, float scale) { return 0; }
static size_t fp16_decode_f16c(float *dst, const uint16_t *src, size_t n, float scale) { return 0; }
static int has_f16c(void) { return 0; }
#endif

static void fp16_encode(void *dst, const float *src, size_t n, float scale)
{
	size_t i = has_f16c() ? fp16_encode_f16c(dst, src, n, scale) : 0;
	fp16_encode_portable((uint16_t *)dst + i, src + i, n - i, scale);
}

static void fp16_decode(float *dst, const void *src, size_t n, float scale)
{
	size_t i = has_f16c() ? fp16_decode_f16c(dst, src, n, scale) : 0;
	fp16_decode_portable(dst + i, (const uint16_t *)src + i, n - i, scale);
}

static void fp32_encode(void *dst, const float *src, size_t n, float scale)
{
	float *out = dst;
	for (size_t i = 0; i < n; i++)
		out[i] = src[i] * scale;
}

static void fp32_decode(float *dst, const void *src, size_t n, float scale)
{
	fp32_encode(dst, src, n, scale);
}

const struct lh_wire_codec *lh_wire_codec(enum lh_wire wire)
{
	static const struct lh_wire_codec fp32 = { "fp32", 4, fp32_encode, fp32_decode };
	static const struct lh_wire_codec fp16 = { "fp16", 2, fp16_encode, fp16_decode };
	return wire == LH_WIRE_FP16 ? &fp16 : &fp32;
}
