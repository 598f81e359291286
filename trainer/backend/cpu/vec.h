/* vec.h - what the ops share to be vectorised without changing any sum.
 *
 * Vectors are 16 bytes, which every machine that we build for has in its baseline (SSE2, NEON). Wider ones are left
 * out on purpose: User-Mode Linux loses AVX-512 state across signal handlers, and on hosts whose register state
 * it cannot save whole (AMX) the AVX halves at every page fault. See docs/decisions/0007-own-arithmetic.md.
 */
#ifndef BACKEND_CPU_VEC_H
#define BACKEND_CPU_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/ops.h"

#define LH_INLINE static inline __attribute__((always_inline))

/* Before a loop whose element i depends on elements i only: in place is fine, and no test for overlap is needed. */
#ifdef __clang__
#define LH_ELEMENTWISE _Pragma("clang loop vectorize(assume_safety)")
#else
#define LH_ELEMENTWISE _Pragma("GCC ivdep")
#endif

/* A fixed number of lanes whatever the machine has, unaligned. */
typedef real vreal __attribute__((vector_size(16), aligned(sizeof(real)), may_alias));
enum { LANES = 16 / sizeof(real) };

/* Lanes of an accumulator, added in a fixed tree. */
LH_INLINE real lanes_sum(const vreal *v)
{
	real s[LANES];
	memcpy(s, v, sizeof s);
	for (unsigned half = LANES / 2; half; half /= 2)
		for (unsigned i = 0; i < half; i++)
			s[i] += s[i + half];
	return s[0];
}

LH_INLINE real row_sum(size_t n, const real *x)
{
	vreal acc = { 0 };
	size_t i = 0;
	for (; i + LANES <= n; i += LANES)
		acc += *(const vreal *)(x + i);
	real s = lanes_sum(&acc);
	for (; i < n; i++)
		s += x[i];
	return s;
}

LH_INLINE real row_dot(size_t n, const real *x, const real *y)
{
	vreal acc = { 0 };
	size_t i = 0;
	for (; i + LANES <= n; i += LANES)
		acc += *(const vreal *)(x + i) * *(const vreal *)(y + i);
	real s = lanes_sum(&acc);
	for (; i < n; i++)
		s += x[i] * y[i];
	return s;
}

/* exp(x), own so that it vectorises and has the same bits under every libm: x = n ln 2 + r, |r| <= ln 2 / 2,
 * exp(r) by a Taylor polynomial of degree 7 (error below half an ulp of fp32 before rounding), times 2^n.
 * Arguments are clamped so that neither the result nor its reciprocal is subnormal, which would cost a hundred
 * cycles each even in a lane whose value is thrown away; NaN stays NaN. */
LH_INLINE real exp_real(real x)
{
#ifdef LH_REAL_DOUBLE
	return exp(x);
#else
	const float shift = 12582912.0f; /* 1.5 x 2^23: adding it rounds to an integer in the low bits */
	x = x < -80.0f ? -80.0f : x;
	x = x > 80.0f ? 80.0f : x;
	float biased = x * 1.44269504f + shift;
	float n = biased - shift;
	float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts; the first product is exact */
	float p = 1.0f / 5040;
	p = p * r + 1.0f / 720;
	p = p * r + 1.0f / 120;
	p = p * r + 1.0f / 24;
	p = p * r + 1.0f / 6;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	uint32_t bits;
	memcpy(&bits, &biased, sizeof bits);
	bits = (bits << 23) + 0x3f800000u; /* n + 127 as an exponent; the rest of `biased` is shifted out */
	float power;
	memcpy(&power, &bits, sizeof power);
	return p * power;
#endif
}

#endif
