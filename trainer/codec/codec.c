/* The list of codecs, fp32, and what processor this is. */
#include "codec.h"

#include <errno.h>
#include <math.h>

#include "rows.h"

#if defined(LH_AVX2_PATH)
#include <cpuid.h>
#endif

static int portable_only;

void lh_codec_force_portable(int on)
{
	portable_only = on;
}

/* The builtin knows whether the kernel saves AVX state too; of F16C only some compilers' builtins have heard. Asked
 * once: in a virtual machine cpuid is slow. */
#if defined(LH_AVX2_PATH)
bool lh_has_avx2(void)
{
	static int known = -1;
	if (known < 0)
		known = __builtin_cpu_supports("avx2") != 0;
	return known && !portable_only;
}

bool lh_has_f16c(void)
{
	static int known = -1;
	unsigned a, b, c, d;
	if (known < 0)
		known = __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
	return known && !portable_only;
}
#else
bool lh_has_avx2(void) { return false; }
bool lh_has_f16c(void) { return false; }
#endif

static size_t fp32_bytes(const struct lh_codec *c, size_t n)
{
	return 4 * n;
}

LH_LOOP void copy(float *restrict dst, const float *restrict src, size_t n, float scale)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] * scale;
}

/* A product with 1 changes nothing, and half of the time is saved. */
LH_LOOP void add(float *restrict dst, const float *restrict src, size_t n, float scale)
{
	if (scale == 1)
		for (size_t i = 0; i < n; i++)
			dst[i] += src[i];
	else
		for (size_t i = 0; i < n; i++)
			dst[i] += src[i] * scale;
}

LH_AVX2 static void add_avx2(float *dst, const float *src, size_t n, float scale) { add(dst, src, n, scale); }

static void fp32_encode(const struct lh_codec *c, void *dst, const float *src, size_t n, float scale)
{
	if (scale == 1)
		memcpy(dst, src, n * sizeof *src);
	else
		copy(dst, src, n, scale);
}

static void fp32_decode(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	fp32_encode(c, dst, src, n, scale);
}

static void fp32_decode_add(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale)
{
	if (lh_has_avx2())
		add_avx2(dst, src, n, scale);
	else
		add(dst, src, n, scale);
}

const struct lh_codec lh_codec_fp32 = {
	.name = "fp32", .lossless = true, .pieces = true, .granule = 1, .bytes = fp32_bytes, .encode = fp32_encode,
	.decode = fp32_decode, .decode_add = fp32_decode_add,
};

const struct lh_codec *lh_codec_find(enum lh_wire wire)
{
	switch (wire) {
	case LH_WIRE_FP16:
		return &lh_codec_fp16;
	case LH_WIRE_BF16:
		return &lh_codec_bf16;
	case LH_WIRE_INT8:
		return &lh_codec_int8;
	case LH_WIRE_TOPK:
		return NULL;
	case LH_WIRE_FP32:
	case LH_WIRE_POWERSGD:
		break;
	}
	return &lh_codec_fp32;
}

int lh_codec_init(struct lh_codec *ret, enum lh_wire wire, const struct lh_codec_options *options, struct lh_err *err)
{
	if (wire != LH_WIRE_TOPK) {
		*ret = *lh_codec_find(wire);
		return 0;
	}
	if (!options || !(options->topk_fraction > 0 && options->topk_fraction <= 1))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "codec topk: its fraction is not in 0 ... 1");
	*ret = lh_codec_topk;
	ret->fraction = options->topk_fraction;
	return 0;
}

size_t lh_codec_elements(const struct lh_codec *c, size_t bytes)
{
	size_t fits = 0, beyond = LH_CODEC_ELEMENTS_MAX + 1; /* bytes(n) grows with n */
	while (beyond - fits > 1) {
		size_t middle = (fits + beyond) / 2;
		if (c->bytes(c, middle) <= bytes)
			fits = middle;
		else
			beyond = middle;
	}
	return fits > c->granule ? fits - fits % c->granule : fits;
}
