/* rows.h - what the codecs' files share with each other, and nobody else. */
#ifndef TRAINER_CODEC_ROWS_H
#define TRAINER_CODEC_ROWS_H

#include <string.h>

#include "codec.h"

extern const struct lh_codec lh_codec_fp32, lh_codec_fp16, lh_codec_bf16, lh_codec_int8, lh_codec_topk;

/* Whether this machine has them, and no test forbade them. A kernel that saves no AVX state has neither. */
bool lh_has_avx2(void);
bool lh_has_f16c(void);

/* The same loop compiled twice, for the plain processor and for AVX2: one source, so the bytes cannot differ. Never
 * above AVX2: User-Mode Linux does not keep wider registers for its processes. */
#if defined(__x86_64__)
#define LH_AVX2_PATH 1
#define LH_AVX2 __attribute__((target("avx2")))
#define LH_LOOP static inline __attribute__((always_inline))
#else
#define LH_AVX2
#define LH_LOOP static inline
#endif

static inline uint32_t lh_bits_of(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	return u;
}

static inline float lh_float_of(uint32_t u)
{
	float f;
	memcpy(&f, &u, 4);
	return f;
}

#endif
