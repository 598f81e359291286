/* The codecs: every half there is, rounding at every boundary between two halves, and equal bytes on every path. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "comm/wire.h"
#include "hash.h"
#include "lhtest.h"

static float float_of(uint32_t u)
{
	float f;
	memcpy(&f, &u, 4);
	return f;
}

static uint32_t bits_of(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}

/* By definition, not by bits: sign x mantissa x 2^exponent. */
static double value_of_half(uint16_t h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	double v = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
	return h & 0x8000 ? -v : v;
}

static void test_every_half(void)
{
	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = lh_half_to_float((uint16_t)h);
		uint32_t mag = h & 0x7fff;
		if (mag > 0x7c00) {
			CU_ASSERT_TRUE(isnan(f));
			CU_ASSERT_EQUAL(lh_half_from_float(f), 0x7e00);
		} else if (mag == 0x7c00) {
			CU_ASSERT_TRUE(isinf(f) && !!signbit(f) == h >> 15);
			CU_ASSERT_EQUAL(lh_half_from_float(f), (h & 0x8000) | 0x7bff); /* clamped */
		} else {
			CU_ASSERT_EQUAL((double)f, value_of_half((uint16_t)h));
			CU_ASSERT_EQUAL(!!signbit(f), h >> 15);
			CU_ASSERT_EQUAL(lh_half_from_float(f), h);
		}
	}
}

/* Between each half and the next: just below, at, and just above the middle. */
static void test_nearest_even(void)
{
	for (uint32_t h = 0; h < 0x7bff; h++) {
		double low = value_of_half((uint16_t)h), high = value_of_half((uint16_t)(h + 1));
		float middle = (float)((low + high) / 2);
		CU_ASSERT_EQUAL_FATAL((double)middle, (low + high) / 2); /* a float holds it exactly */
		uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
		for (int sign = 0; sign < 2; sign++) {
			uint16_t s = (uint16_t)(sign << 15);
			float m = sign ? -middle : middle;
			CU_ASSERT_EQUAL(lh_half_from_float(m), s | even);
			CU_ASSERT_EQUAL(lh_half_from_float(nextafterf(m, 0)), s | h);
			CU_ASSERT_EQUAL(lh_half_from_float(nextafterf(m, sign ? -INFINITY : INFINITY)), s | (h + 1));
		}
	}
}

static void test_extremes(void)
{
	CU_ASSERT_EQUAL(lh_half_from_float(65504), 0x7bff);
	CU_ASSERT_EQUAL(lh_half_from_float(65520), 0x7bff); /* IEEE would round to infinity */
	CU_ASSERT_EQUAL(lh_half_from_float(FLT_MAX), 0x7bff);
	CU_ASSERT_EQUAL(lh_half_from_float(-INFINITY), 0xfbff);
	CU_ASSERT_EQUAL(lh_half_from_float(FLT_MIN), 0);
	CU_ASSERT_EQUAL(lh_half_from_float(-FLT_MIN), 0x8000);
	CU_ASSERT_EQUAL(lh_half_from_float(float_of(0xffc00001)), 0x7e00);
	CU_ASSERT_EQUAL(lh_half_from_float(float_of(0x7f800001)), 0x7e00);
}

enum { MANY = 4096 };

/* The processor's own conversion and the portable one, over random bit patterns, at every alignment and tail. */
static void test_paths_agree(void)
{
	static float in[MANY + 16], a[MANY + 16], b[MANY + 16];
	static uint16_t x[MANY + 16], y[MANY + 16];
	const struct lh_wire_codec *fp16 = lh_wire_codec(LH_WIRE_FP16);
	CU_ASSERT_EQUAL(fp16->element_bytes, 2);
	for (unsigned round = 0; round < 300; round++) {
		size_t n = round < 20 ? round : MANY - round;
		float scale = round % 3 ? 1 : 0x1p-5f;
		for (size_t i = 0; i < n; i++) {
			uint64_t r = lh_mix64(lh_test_seed() + (round * MANY + i) * LH_MIX64_STEP);
			/* half of them anywhere, half where halves live */
			uint32_t u = (uint32_t)(r >> 32);
			in[i + round % 7] = float_of(r & 1 ? u : u % 0x14000000 + 0x34000000);
		}
		lh_wire_force_portable(0);
		fp16->encode(x, in + round % 7, n, scale);
		fp16->decode(a, x, n, 1 / scale);
		lh_wire_force_portable(1);
		fp16->encode(y, in + round % 7, n, scale);
		fp16->decode(b, x, n, 1 / scale);
		lh_wire_force_portable(0);
		CU_ASSERT_EQUAL(memcmp(x, y, n * sizeof *x), 0);
		for (size_t i = 0; i < n; i++)
			CU_ASSERT_TRUE(bits_of(a[i]) == bits_of(b[i]) || (isnan(a[i]) && isnan(b[i])));
	}
}

static void test_fp32_is_itself(void)
{
	const struct lh_wire_codec *fp32 = lh_wire_codec(LH_WIRE_FP32);
	float in[] = { 0, -0.0f, 1, -1.5f, FLT_MAX, FLT_TRUE_MIN, INFINITY, 3.14159f }, out[8], wire[8];
	CU_ASSERT_EQUAL(fp32->element_bytes, 4);
	fp32->encode(wire, in, 8, 1);
	fp32->decode(out, wire, 8, 1);
	CU_ASSERT_EQUAL(memcmp(in, out, sizeof in), 0);
	in[0] = NAN;
	fp32->encode(wire, in, 1, 1);
	CU_ASSERT_TRUE(isnan(wire[0]));
}

static const struct lh_test tests[] = {
	{ "every_half", test_every_half, 0 },
	{ "nearest_even", test_nearest_even, 0 },
	{ "extremes", test_extremes, 0 },
	{ "paths_agree", test_paths_agree, 0 },
	{ "fp32_is_itself", test_fp32_is_itself, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "wire", tests, sizeof tests / sizeof *tests);
}
