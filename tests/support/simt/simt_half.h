/* simt_half.h - __half and __nv_bfloat16 with the rounding of the device: to the nearest, ties to even, NaN kept, too
 * large becomes infinite, subnormals kept. Arithmetic is left out: kernels calculate in float. */
#ifndef SIMT_HALF_H
#define SIMT_HALF_H

#include <cstdint>
#include <cstring>

struct __half {
	uint16_t bits;
};
struct __nv_bfloat16 {
	uint16_t bits;
};

static inline uint32_t lh_simt_bits(float f)
{
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	return u;
}
static inline float lh_simt_float(uint32_t u)
{
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}

static inline __nv_bfloat16 __float2bfloat16(float f)
{
	const uint32_t u = lh_simt_bits(f);
	if ((u & 0x7fffffffu) > 0x7f800000u)
		return {0x7fff};
	return {static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1)) >> 16)};
}
static inline float __bfloat162float(__nv_bfloat16 b) { return lh_simt_float(static_cast<uint32_t>(b.bits) << 16); }

static inline __half __float2half(float f)
{
	const uint32_t u = lh_simt_bits(f), magnitude = u & 0x7fffffffu;
	const uint16_t sign = static_cast<uint16_t>(u >> 16 & 0x8000u);
	if (magnitude > 0x7f800000u)
		return {0x7fff};
	if (magnitude >= 0x477ff000u) /* 65520: half way from the largest to the next power */
		return {static_cast<uint16_t>(sign | 0x7c00u)};
	if (magnitude >= 0x38800000u) { /* normal */
		const uint32_t rebased = magnitude - 0x38000000u;
		return {static_cast<uint16_t>(sign | ((rebased + 0xfffu + (rebased >> 13 & 1)) >> 13))};
	}
	/* A multiple of 2^-24: adding 0.5 leaves just that many digits, rounded as asked. */
	return {static_cast<uint16_t>(sign | (lh_simt_bits(lh_simt_float(magnitude) + 0.5f) - 0x3f000000u))};
}
static inline float __half2float(__half h)
{
	const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16, magnitude = h.bits & 0x7fffu;
	if (magnitude >= 0x7c00u)
		return lh_simt_float(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
	if (magnitude >= 0x400u)
		return lh_simt_float(sign | ((magnitude << 13) + 0x38000000u));
	const float f = static_cast<float>(magnitude) * 0x1p-24f;
	return sign ? -f : f;
}

#endif
