/* The codecs: every half there is, rounding at every boundary between two halves; the stated error of each; what
 * happens to what is no number; the declared size, never exceeded; and equal bytes on every path.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
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

static void test_every_bf16(void)
{
	for (uint32_t b = 0; b < 0x10000; b++) {
		float f = lh_bf16_to_float((uint16_t)b);
		CU_ASSERT_EQUAL(bits_of(f), b << 16);
		CU_ASSERT_EQUAL(lh_bf16_from_float(f), isnan(f) ? 0x7fc0 : b);
		if ((b & 0x7fff) >= 0x7f7f)
			continue;
		/* Between it and the next; a float holds the middle exactly. */
		uint32_t middle = (b << 16) + 0x8000, even = b & 1 ? b + 1 : b;
		CU_ASSERT_EQUAL(lh_bf16_from_float(float_of(middle)), even);
		CU_ASSERT_EQUAL(lh_bf16_from_float(float_of(middle - 1)), b);
		CU_ASSERT_EQUAL(lh_bf16_from_float(float_of(middle + 1)), b + 1);
	}
	CU_ASSERT_EQUAL(lh_bf16_from_float(FLT_MAX), 0x7f80); /* nearer to infinity than to the largest there is */
	CU_ASSERT_EQUAL(lh_bf16_from_float(float_of(0x7f800001)), 0x7fc0);
	CU_ASSERT_EQUAL(lh_bf16_from_float(float_of(0xffffffff)), 0x7fc0); /* rounding would make it 0 */
}

/* ---- all codecs ---- */

enum { MANY = 4096, BIG = 200003, CODECS = 7 };

static struct lh_codec codec(unsigned which)
{
	static const enum lh_wire wires[CODECS] = { LH_WIRE_FP32, LH_WIRE_FP16, LH_WIRE_BF16, LH_WIRE_INT8,
						    LH_WIRE_TOPK, LH_WIRE_TOPK, LH_WIRE_TOPK };
	static const double fractions[CODECS] = { 0, 0, 0, 0, 0.01, 0.3, 1 };
	struct lh_codec c;
	const struct lh_codec_options options = { .topk_fraction = fractions[which] };
	CU_ASSERT_EQUAL_FATAL(lh_codec_init(&c, wires[which], &options, NULL), 0);
	return c;
}

static uint64_t draw(uint64_t i)
{
	return lh_mix64(lh_test_seed() + i * LH_MIX64_STEP);
}

/* Sums of four uniform numbers, in sizes that differ by 2^20 from stretch to stretch. */
static float usual(uint64_t i)
{
	double sum = 0;
	for (unsigned k = 0; k < 4; k++)
		sum += (double)(int64_t)draw(4 * i + k) * 0x1p-63;
	return (float)ldexp(sum, -(int)(draw(i / 100) % 20));
}

/* Bytes behind the declared size stay as they are: of the encoded part, and of the decoded one. */
static void test_declared_size(void)
{
	static float in[MANY + 1], out[MANY + 1];
	static uint8_t wire[8 * MANY + 64];
	for (unsigned which = 0; which < CODECS; which++) {
		struct lh_codec c = codec(which);
		CU_ASSERT_EQUAL(c.bytes(&c, 0), 0);
		for (size_t n = 0; n < MANY; n += n < 20 ? 1 : 97) {
			size_t bytes = c.bytes(&c, n);
			CU_ASSERT_TRUE(bytes <= 6 * n + 4);
			CU_ASSERT_TRUE(!n || bytes >= c.bytes(&c, n - 1));
			for (size_t i = 0; i < n; i++)
				in[i] = usual(i);
			memset(wire, 0xa5, sizeof wire);
			c.encode(&c, wire, in, n, 1);
			CU_ASSERT_TRUE(!c.valid || c.valid(&c, wire, n));
			for (size_t i = bytes; i < sizeof wire; i++)
				CU_ASSERT_EQUAL_FATAL(wire[i], 0xa5);
			out[n] = 42;
			c.decode(&c, out, wire, n, 1);
			c.decode_add(&c, out, wire, n, 1);
			CU_ASSERT_EQUAL(out[n], 42);
		}
	}
	struct lh_codec int8 = codec(3), topk = codec(4);
	CU_ASSERT_EQUAL(int8.bytes(&int8, 256), 260);
	CU_ASSERT_EQUAL(int8.bytes(&int8, 257), 265);
	CU_ASSERT_EQUAL(topk.bytes(&topk, 100), 4 + 6 * 1);
	CU_ASSERT_EQUAL(topk.bytes(&topk, 101), 4 + 6 * 2);
	CU_ASSERT_EQUAL(topk.bytes(&topk, 65537), 8 + 6 * 656);
}

static void test_elements(void)
{
	static const size_t sizes[] = { 0, 1, 2, 3, 4, 5, 9, 10, 16, 64, 260, 261, 519, 520, 1000, 65536, 524288 };
	for (unsigned which = 0; which < CODECS; which++) {
		struct lh_codec c = codec(which);
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			size_t n = lh_codec_elements(&c, sizes[i]), next = n + (n < c.granule ? 1 : c.granule);
			CU_ASSERT_TRUE(c.bytes(&c, n) <= sizes[i]);
			CU_ASSERT_TRUE(n <= LH_CODEC_ELEMENTS_MAX);
			CU_ASSERT_TRUE(n == LH_CODEC_ELEMENTS_MAX || c.bytes(&c, next) > sizes[i]);
		}
	}
	struct lh_codec fp16 = codec(1), int8 = codec(3);
	CU_ASSERT_EQUAL(lh_codec_elements(&fp16, 524288), 262144);
	CU_ASSERT_EQUAL(lh_codec_elements(&int8, 65536), 252 * 256);
}

static void test_options(void)
{
	static const double bad[] = { 0, -0.1, 1.0001, NAN };
	struct lh_codec c;
	struct lh_err err = LH_ERR_INIT;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		const struct lh_codec_options options = { .topk_fraction = bad[i] };
		CU_ASSERT_EQUAL(lh_codec_init(&c, LH_WIRE_TOPK, &options, &err), -EINVAL);
	}
	CU_ASSERT_EQUAL(lh_codec_init(&c, LH_WIRE_TOPK, NULL, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "topk"));
	CU_ASSERT_EQUAL(lh_codec_init(&c, LH_WIRE_POWERSGD, NULL, &err), 0);
	CU_ASSERT_STRING_EQUAL(c.name, "fp32");
	CU_ASSERT_STRING_EQUAL(lh_codec_find(LH_WIRE_INT8)->name, "int8");
}

/* Half an ulp: 2^-11 relative for fp16 (2^-25 below its range), 2^-8 for bf16; half a step for int8. */
static void test_error(void)
{
	static float in[BIG], out[BIG];
	static uint8_t wire[4 * BIG];
	for (unsigned which = 1; which <= 3; which++) {
		struct lh_codec c = codec(which);
		double worst = 0;
		for (size_t i = 0; i < BIG; i++)
			in[i] = usual(i);
		c.encode(&c, wire, in, BIG, 1);
		c.decode(&c, out, wire, BIG, 1);
		for (size_t i = 0; i < BIG; i++) {
			double mag = fabs((double)in[i]);
			double bound = which == 1 ? fmax(mag * 0x1p-11, 0x1p-25) : mag * 0x1p-8;
			if (which == 3) {
				double most = 0;
				size_t end = i / LH_INT8_BLOCK * LH_INT8_BLOCK + LH_INT8_BLOCK;
				for (size_t k = end - LH_INT8_BLOCK; k < end && k < BIG; k++)
					most = fmax(most, fabs((double)in[k]));
				bound = most / 127 / 2 * (1 + 0x1p-15); /* the step is a float, as is what comes back */
			}
			double error = fabs((double)out[i] - in[i]);
			worst = fmax(worst, bound ? error / bound : 0);
			if (error > bound) {
				CU_FAIL("error");
				printf("# %s: element %zu: %g came back as %g, bound %g\n", c.name, i, (double)in[i],
				       (double)out[i], bound);
				return;
			}
		}
		CU_ASSERT_TRUE(worst > 0.99); /* and the bound is no larger than it must be */
	}
}

/* Whole multiples of the step, for any step. */
static void test_int8_exact(void)
{
	struct lh_codec c = codec(3);
	float in[255], out[255];
	uint8_t wire[300];
	for (unsigned m = 1; m < 2000; m++) {
		for (int i = 0; i < 255; i++)
			in[i] = (float)((i - 127) * (int)m);
		c.encode(&c, wire, in, 255, 1);
		c.decode(&c, out, wire, 255, 1);
		CU_ASSERT_EQUAL(memcmp(in, out, sizeof in), 0);
	}
}

static void test_int8_no_numbers(void)
{
	static const uint32_t poison[] = { 0x7fc00000, 0xff800001, 0x7f800000, 0xff800000, 0xff000000 };
	struct lh_codec c = codec(3);
	float in[3 * LH_INT8_BLOCK], out[3 * LH_INT8_BLOCK];
	uint8_t wire[3 * (LH_INT8_BLOCK + 4)];
	for (size_t p = 0; p < sizeof poison / sizeof *poison; p++) {
		for (size_t i = 0; i < 3 * LH_INT8_BLOCK; i++)
			in[i] = usual(i);
		in[LH_INT8_BLOCK + 17] = float_of(poison[p]);
		c.encode(&c, wire, in, 3 * LH_INT8_BLOCK, 1);
		c.decode(&c, out, wire, 3 * LH_INT8_BLOCK, 1);
		for (size_t i = 0; i < 3 * LH_INT8_BLOCK; i++)
			CU_ASSERT_EQUAL(isnan(out[i]), i / LH_INT8_BLOCK == 1);
	}
	for (size_t i = 0; i < LH_INT8_BLOCK; i++)
		in[i] = 0x1p-101f;
	c.encode(&c, wire, in, LH_INT8_BLOCK, 1);
	c.decode(&c, out, wire, LH_INT8_BLOCK, 1);
	for (size_t i = 0; i < LH_INT8_BLOCK; i++)
		CU_ASSERT_EQUAL(out[i], 0);
	in[5] = -0x1.fffffep126f; /* neither the step nor its inverse leaves the range */
	in[6] = 0x1p-100f;
	c.encode(&c, wire, in, LH_INT8_BLOCK, 1);
	c.decode(&c, out, wire, LH_INT8_BLOCK, 1);
	CU_ASSERT_DOUBLE_EQUAL((double)out[5] * 0x1p-127, -1, 1e-6);
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return (*x < *y) - (*x > *y);
}

/* Against sorting by magnitude, then by place. Many equals among them. */
static void check_topk(const struct lh_codec *c, const float *in, size_t n)
{
	static uint64_t order[BIG];
	static float out[BIG], expected[BIG];
	static uint8_t wire[6 * BIG + 64];
	size_t k = (size_t)ceil(c->fraction * (double)n);
	for (size_t i = 0; i < n; i++)
		order[i] = (uint64_t)(bits_of(in[i]) & 0x7fffffff) << 32 | (UINT32_MAX - (uint32_t)i);
	qsort(order, n, sizeof *order, by_size);
	memset(expected, 0, sizeof expected);
	for (size_t i = 0; i < k; i++) {
		size_t at = UINT32_MAX - (uint32_t)order[i];
		expected[at] = in[at];
	}
	c->encode(c, wire, in, n, 1);
	c->decode(c, out, wire, n, 1);
	for (size_t i = 0; i < n; i++)
		if (!(out[i] == expected[i] || (isnan(out[i]) && isnan(expected[i])))) {
			CU_FAIL("topk");
			printf("# fraction %g n %zu element %zu: %g, not %g\n", c->fraction, n, i, (double)out[i],
			       (double)expected[i]);
			return;
		}
}

static void test_topk_selects(void)
{
	static float in[BIG];
	static const size_t sizes[] = { 1, 2, 3, 99, 100, 101, 65535, 65536, 65537, 131072, BIG };
	for (unsigned which = 4; which < CODECS; which++) {
		struct lh_codec c = codec(which);
		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
			for (unsigned kind = 0; kind < 4; kind++) {
				for (size_t i = 0; i < sizes[s]; i++)
					in[i] = kind == 0 ? usual(i) :
						kind == 1 ? (float)(int)(draw(i) % 7) - 3 : /* nearly all equal some */
						kind == 2 ? 0 : float_of((uint32_t)draw(i)); /* NaNs, infinities */
				check_topk(&c, in, sizes[s]);
			}
	}
}

/* Whatever a peer sends: refused, or numbers for this part; never a write beyond it. */
static void test_topk_malformed(void)
{
	enum { N = 70000 };
	static float in[N], out[N + 1];
	static uint8_t good[6 * N], bad[6 * N];
	struct lh_codec c = codec(4); /* 700 of 70000, in two blocks */
	size_t bytes = c.bytes(&c, N), k = 700;
	for (size_t i = 0; i < N; i++)
		in[i] = usual(i);
	c.encode(&c, good, in, N, 1);
	uint32_t *counts = (uint32_t *)(void *)bad;
	uint16_t *places = (uint16_t *)(void *)(bad + 8 + 4 * k);
	CU_ASSERT_TRUE(c.valid(&c, good, N));
	memcpy(bad, good, bytes);
	counts[0]++; /* more than there are */
	CU_ASSERT_FALSE(c.valid(&c, bad, N));
	memcpy(bad, good, bytes);
	counts[1]--; /* fewer */
	CU_ASSERT_FALSE(c.valid(&c, bad, N));
	counts[0] = UINT32_MAX;
	CU_ASSERT_FALSE(c.valid(&c, bad, N));
	memcpy(bad, good, bytes);
	places[3] = places[2]; /* twice the same */
	CU_ASSERT_FALSE(c.valid(&c, bad, N));
	memcpy(bad, good, bytes);
	places[k - 1] = N - 65536; /* just beyond the part */
	CU_ASSERT_FALSE(c.valid(&c, bad, N));
	for (unsigned round = 0; round < 2000; round++) {
		memcpy(bad, good, bytes);
		for (unsigned flips = 0; flips < 1 + round % 3; flips++) {
			uint64_t r = draw(1000000 + 3 * round + flips);
			bad[r % bytes] = (uint8_t)(r >> 32);
		}
		out[N] = 42;
		if (c.valid(&c, bad, N))
			c.decode_add(&c, out, bad, N, 1);
		CU_ASSERT_EQUAL_FATAL(out[N], 42);
	}
}

/* The processor's own instructions and the portable loops, over random bit patterns, at every alignment and tail; and
 * adding what was decoded gives the same as decoding on top. */
static void test_paths_agree(void)
{
	static float in[MANY + 16], a[MANY + 16], b[MANY + 16], sum_a[MANY + 16], sum_b[MANY + 16];
	static uint8_t x[6 * MANY + 64], y[6 * MANY + 64];
	for (unsigned which = 0; which < CODECS; which++)
		for (unsigned round = 0; round < 300; round++) {
			struct lh_codec c = codec(which);
			size_t n = round < 20 ? round : MANY - round, off = round % 7;
			float scale = round % 3 ? 1 : 0x1p-5f;
			for (size_t i = 0; i < n; i++) {
				uint64_t r = draw((uint64_t)round * MANY + i);
				/* half of them anywhere, half where halves live */
				uint32_t u = (uint32_t)(r >> 32);
				in[i + off] = float_of(r & 1 ? u : u % 0x14000000 + 0x34000000);
				if (round % 2 && !isfinite(in[i + off])) /* int8 would see nothing else */
					in[i + off] = 1;
				sum_a[i + off] = sum_b[i + off] = usual(i);
			}
			lh_codec_force_portable(0);
			c.encode(&c, x, in + off, n, scale);
			c.decode(&c, a + off, x, n, 1 / scale);
			c.decode_add(&c, sum_a + off, x, n, 1 / scale);
			lh_codec_force_portable(1);
			c.encode(&c, y, in + off, n, scale);
			c.decode(&c, b + off, y, n, 1 / scale);
			c.decode_add(&c, sum_b + off, y, n, 1 / scale);
			lh_codec_force_portable(0);
			CU_ASSERT_EQUAL(memcmp(x, y, c.bytes(&c, n)), 0);
			for (size_t i = off; i < n + off; i++) {
				CU_ASSERT_TRUE(bits_of(a[i]) == bits_of(b[i]) || (isnan(a[i]) && isnan(b[i])));
				CU_ASSERT_TRUE(sum_a[i] == sum_b[i] || (isnan(sum_a[i]) && isnan(sum_b[i])));
				float twice = usual(i - off) + a[i];
				CU_ASSERT_TRUE(sum_a[i] == twice || (isnan(sum_a[i]) && isnan(twice)));
			}
		}
}

/* Where a codec says that a part may be worked on in pieces, nobody can tell. */
static void test_pieces(void)
{
	static float in[BIG], whole[BIG], pieced[BIG];
	static uint8_t x[6 * BIG + 64], y[6 * BIG + 64];
	unsigned having = 0;
	for (unsigned which = 0; which < CODECS; which++) {
		const struct lh_codec c = codec(which);
		const size_t step = 2 * c.granule < 300 ? 300 / c.granule * c.granule : 2 * c.granule;
		if (!c.pieces)
			continue;
		having++;
		for (size_t i = 0; i < BIG; i++)
			in[i] = whole[i] = pieced[i] = usual(i);
		c.encode(&c, x, in, BIG, 1);
		c.decode_add(&c, whole, x, BIG, 1);
		for (size_t i = 0; i < BIG; i += step) {
			size_t n = BIG - i < step ? BIG - i : step;
			c.encode(&c, y + c.bytes(&c, i), in + i, n, 1);
			c.decode_add(&c, pieced + i, y + c.bytes(&c, i), n, 1);
		}
		CU_ASSERT_EQUAL(memcmp(x, y, c.bytes(&c, BIG)), 0);
		CU_ASSERT_EQUAL(memcmp(whole, pieced, sizeof whole), 0);
	}
	CU_ASSERT_EQUAL(having, 4); /* all but topk */
}

static void test_fp32_is_itself(void)
{
	const struct lh_codec *fp32 = lh_codec_find(LH_WIRE_FP32);
	float in[] = { 0, -0.0f, 1, -1.5f, FLT_MAX, FLT_TRUE_MIN, INFINITY, 3.14159f }, out[8], wire[8];
	CU_ASSERT_TRUE(fp32->lossless);
	CU_ASSERT_EQUAL(fp32->bytes(fp32, 7), 28);
	fp32->encode(fp32, wire, in, 8, 1);
	fp32->decode(fp32, out, wire, 8, 1);
	CU_ASSERT_EQUAL(memcmp(in, out, sizeof in), 0);
	in[0] = NAN;
	fp32->encode(fp32, wire, in, 1, 1);
	CU_ASSERT_TRUE(isnan(wire[0]));
}

static const struct lh_test tests[] = {
	{ "every_half", test_every_half, 0 },
	{ "nearest_even", test_nearest_even, 0 },
	{ "extremes", test_extremes, 0 },
	{ "every_bf16", test_every_bf16, 0 },
	{ "declared_size", test_declared_size, 0 },
	{ "elements", test_elements, 0 },
	{ "options", test_options, 0 },
	{ "error", test_error, 0 },
	{ "int8_exact", test_int8_exact, 0 },
	{ "int8_no_numbers", test_int8_no_numbers, 0 },
	{ "topk_selects", test_topk_selects, 0 },
	{ "topk_malformed", test_topk_malformed, 0 },
	{ "paths_agree", test_paths_agree, 0 },
	{ "pieces", test_pieces, 0 },
	{ "fp32_is_itself", test_fp32_is_itself, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "codec", tests, sizeof tests / sizeof *tests);
}
