/* wire.h - how floats look on the wire. One codec is one row; the exchange knows only these five fields.
 *
 * encode multiplies by `scale` first, decode by `scale` last; powers of two make both exact. Whether the
 * processor's own conversion or the portable one is used, the bytes are the same (tests/unit/test_wire.c), so
 * that peers on different machines stay identical.
 */
#ifndef TRAINER_COMM_WIRE_H
#define TRAINER_COMM_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "longhaul/peer.h"

struct lh_wire_codec {
	const char *name;
	size_t element_bytes;
	void (*encode)(void *dst, const float *src, size_t n, float scale);
	void (*decode)(float *dst, const void *src, size_t n, float scale);
};

/* fp32: as it is. fp16: IEEE binary16, round to nearest even; what is beyond +-65504, infinities included, is
 * clamped there; every NaN becomes 0x7e00. */
const struct lh_wire_codec *lh_wire_codec(enum lh_wire wire);

/* One number at a time, portable; the reference of the others. */
uint16_t lh_half_from_float(float f);
float lh_half_to_float(uint16_t h);

/* For tests: the portable loops even where the processor has F16C. */
void lh_wire_force_portable(int on);

#endif
