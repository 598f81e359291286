/* codec.h - how floats look on the wire. One codec is one row; the exchange knows only these fields.
 *
 * A part of n elements has exactly bytes(n) on the wire, whatever is in it. encode multiplies by `scale` first, decode
 * by `scale` last; powers of two make both exact. Whether the processor's own instructions or the portable loops are
 * used, the bytes are the same (tests/unit/test_codec.c), so that peers on different machines stay identical.
 * `dst` and `src` never overlap. Encoded parts need the alignment of a float.
 *
 *   fp32   as it is.
 *   fp16   IEEE binary16, round to nearest even; what is beyond +-65504, infinities included, is clamped there; every
 *          NaN becomes 0x7e00.
 *   bf16   the upper half of a float, round to nearest even; what is beyond its range becomes infinite; every NaN
 *          becomes 0x7fc0.
 *   int8   blocks of LH_INT8_BLOCK: a float s = largest |x| / 127, then each x as the nearest multiple of it. A
 *          block that holds a NaN, an infinity or |x| >= 2^127 comes back as NaNs: it cannot be hidden. One whose
 *          largest |x| is below 2^-100 comes back as zeros.
 *   topk   of every part the k = ceil(fraction x n) elements of largest |x|, at least one, as they are, with their
 *          places; all others come back as 0. Equals go to the lower place; NaNs are larger than all.
 */
#ifndef TRAINER_CODEC_CODEC_H
#define TRAINER_CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "longhaul/peer.h"

#define LH_INT8_BLOCK 256u
#define LH_TOPK_BLOCK 65536u /* places are 16 bits wide, within blocks of so many elements */
/* Of a part, whatever fits its bytes: sums are made in buffers that the caches should hold. */
#define LH_CODEC_ELEMENTS_MAX (1u << 18)

struct lh_codec {
	const char *name;
	bool lossless;          /* every float comes back as it was; with scale 1 the encoded bytes are the floats */
	size_t granule;         /* parts had better be multiples of so many elements */
	bool pieces;            /* a part's bytes are those of its pieces, each of some granules, one after the other */
	double fraction;        /* topk */
	/* What comes back differs from x by at most relative x |x| + of_largest x the largest magnitude of the part
	 * (and 2^-25 / scale for fp16's subnormals). topk: 1, all of it may stay behind. */
	double relative, of_largest;
	size_t (*bytes)(const struct lh_codec *c, size_t n);
	void (*encode)(const struct lh_codec *c, void *dst, const float *src, size_t n, float scale);
	void (*decode)(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale);
	/* dst[i] += what decode would give: to the bit, but for elements that topk left out. */
	void (*decode_add)(const struct lh_codec *c, float *dst, const void *src, size_t n, float scale);
	/* Whether an encoder can have made these bytes(n). To be asked of what came from outside before it is decoded;
	 * NULL: all bytes are some numbers. */
	bool (*valid)(const struct lh_codec *c, const void *src, size_t n);
};

/* powersgd has no codec: it is a stage above, whose factors travel as fp32 (sync/powersgd.h). -EINVAL: options that
 * the codec cannot be. options may be NULL where it needs none. */
int lh_codec_init(struct lh_codec *ret, enum lh_wire wire, const struct lh_codec_options *options, struct lh_err *err);
/* Those without options; powersgd gives fp32, topk NULL. */
const struct lh_codec *lh_codec_find(enum lh_wire wire);
/* The most elements of a part that fits `bytes`; 0: not even one does. */
size_t lh_codec_elements(const struct lh_codec *c, size_t bytes);

/* One number at a time, portable; the reference of the others. */
uint16_t lh_half_from_float(float f);
float lh_half_to_float(uint16_t h);
uint16_t lh_bf16_from_float(float f);
float lh_bf16_to_float(uint16_t b);

/* For tests: the portable loops even where the processor has more. */
void lh_codec_force_portable(int on);

#endif
