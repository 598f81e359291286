/* Images for models of any side: stripes, and enlarged digits. */
#include <errno.h>
#include <string.h>

#include "data/source_internal.h"

enum { TILE = 32, CHANNELS = 3, HELD_OUT = 128 };
_Static_assert(TILE * CHANNELS == LH_NOISE_RUN, "a row of a tile takes one run of noise");

/* Triangle wave of 1024 steps and height 1: exact arithmetic, so the same on every machine. */
static float wave(uint64_t x)
{
	x &= 1023;
	return x < 512 ? (float)x / 256 - 1 : 3 - (float)x / 256;
}

/* Stripes have a whole number of periods in 32 pixels, so one tile of 32 x 32 is all of the image but its noise. */
static void stripes(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	struct lh_draw d = lh_draw_begin(s->seed, held_out, id);
	const size_t row = s->pub.shape.side * CHANNELS;
	const uint64_t class = lh_draw_below(&d, s->pub.shape.symbols), phase = lh_draw_below(&d, 1024);
	const uint64_t across = 1 + lh_trait(s->seed, class, 1) % 8, down = 1 + lh_trait(s->seed, class, 2) % 8;
	float tile[TILE][TILE * CHANNELS], *out = inputs;
	*(int32_t *)targets = (int32_t)class;
	for (unsigned i = 0; i < TILE; i++)
		for (unsigned j = 0; j < TILE; j++)
			for (unsigned c = 0; c < CHANNELS; c++)
				tile[i][j * CHANNELS + c] = wave(32 * (across * j + down * i) + phase + lh_trait(s->seed, class, 3 + c));
	for (size_t i = 0; i < s->pub.shape.side; i++) {
		const float *from = tile[i % TILE];
		uint64_t at = lh_draw_next(&d);
		for (size_t j = 0; j < row; j += LH_NOISE_RUN, at += LH_NOISE_RUN) {
			const float *noise = s->noise + at % LH_NOISE;
			const size_t n = row - j < LH_NOISE_RUN ? row - j : LH_NOISE_RUN;
			for (size_t k = 0; k < n; k++)
				out[k] = from[k] + noise[k];
			out += n;
		}
	}
}

/* Between the four pixels around it, whose centres lie (side / digit's side) apart; beyond the outermost centres, the
 * outermost. -1 is paper, 1 ink. */
static void digit(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	uint8_t small[LH_DATASET_SIDE_MAX * LH_DATASET_SIDE_MAX];
	const size_t side = s->pub.shape.side, from = s->set.side;
	float *out = inputs;
	*(int32_t *)targets = lh_source_digit(s, held_out, id, small);
	for (size_t i = 0; i < side; i++)
		for (size_t j = 0; j < side; j++) {
			float at[2] = { ((float)i + 0.5f) * (float)from / (float)side - 0.5f,
					((float)j + 0.5f) * (float)from / (float)side - 0.5f };
			size_t low[2], high[2];
			for (unsigned k = 0; k < 2; k++) {
				at[k] = at[k] < 0 ? 0 : at[k] > (float)(from - 1) ? (float)(from - 1) : at[k];
				low[k] = (size_t)at[k];
				high[k] = low[k] + 1 < from ? low[k] + 1 : low[k];
				at[k] -= (float)low[k];
			}
			const float top = (float)small[low[0] * from + low[1]] * (1 - at[1]) +
					  (float)small[low[0] * from + high[1]] * at[1];
			const float bottom = (float)small[high[0] * from + low[1]] * (1 - at[1]) +
					     (float)small[high[0] * from + high[1]] * at[1];
			const float v = (top * (1 - at[0]) + bottom * at[0]) * 2 / (float)s->set.max_value - 1;
			for (unsigned c = 0; c < CHANNELS; c++)
				*out++ = v;
		}
}

int lh_source_init_images(struct source *s, const char *model, struct lh_err *err)
{
	const struct lh_input_shape *shape = &s->pub.shape;
	s->pub.input_bytes = shape->side * shape->side * CHANNELS * sizeof(float);
	s->pub.target_bytes = sizeof(int32_t);
	if (s->pub.data == LH_DATA_DIGITS) {
		s->make = digit;
		if (shape->symbols < s->set.classes || shape->side < s->set.side)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: data digits have %u classes of %u x %u pixels; it "
					  "has %zu classes and an image of %zu x %zu", model, s->set.classes, s->set.side,
					  s->set.side, shape->symbols, shape->side, shape->side);
		return 0;
	}
	s->make = stripes;
	s->pub.held_out = HELD_OUT;
	s->pub.accuracy = true;
	s->pub.reference = 1 / (double)shape->symbols;
	return 0;
}
