/* Each kind has one function; every number comes from the sample's own stream or is a fixed property of a symbol. */
#include "data/synthetic.h"

#include <string.h>

#include "hash.h"

/* A sequence of random numbers for one sample. */
struct source {
	uint64_t key, at;
};

static uint64_t draw(struct source *s) { return lh_mix64(s->key + ++s->at * LH_MIX64_STEP); }
static uint64_t below(struct source *s, uint64_t limit) { return (draw(s) >> 11) % limit; }
static float unit(struct source *s) { return (float)(draw(s) >> 40) * 0x1p-23f - 1; }

/* A fixed property of a symbol. */
static uint64_t trait(const struct lh_synthetic *s, uint64_t symbol, uint64_t which)
{
	return lh_mix64(lh_mix64(s->seed + which) + (symbol + 1) * LH_MIX64_STEP) >> 11;
}

size_t lh_synthetic_input_bytes(const struct lh_synthetic *s)
{
	switch (s->kind) {
	case LH_SYNTHETIC_IMAGES: return s->side * s->side * 3 * sizeof(float);
	case LH_SYNTHETIC_TEXT: return 3 * s->length * sizeof(int32_t);
	default: return s->frames * LH_SYNTHETIC_MELS * sizeof(float) + s->length * sizeof(int32_t);
	}
}

size_t lh_synthetic_target_bytes(const struct lh_synthetic *s)
{
	return (s->kind == LH_SYNTHETIC_IMAGES ? 1 : s->length) * sizeof(int32_t);
}

/* Triangle wave of period 1 and height 1: exact arithmetic, so the same on every machine. */
static float wave(float x)
{
	x -= (float)(long)x;
	return x < 0.5f ? 4 * x - 1 : 3 - 4 * x;
}

static void image(const struct lh_synthetic *s, struct source *r, float *x, int32_t *target)
{
	const uint64_t class = below(r, s->symbols);
	const float step_x = (float)(1 + trait(s, class, 1) % 8) / 32, step_y = (float)(1 + trait(s, class, 2) % 8) / 32;
	const float phase = (float)below(r, 1024) / 1024;
	*target = (int32_t)class;
	for (size_t i = 0; i < s->side; i++)
		for (size_t j = 0; j < s->side; j++)
			for (uint64_t c = 0; c < 3; c++) {
				const float shift = (float)(trait(s, class, 3 + c) % 1024) / 1024;
				*x++ = wave(step_x * (float)j + step_y * (float)i + phase + shift) + unit(r) / 2;
			}
}

static void text(const struct lh_synthetic *s, struct source *r, int32_t *ids, int32_t *targets)
{
	const uint64_t words = s->symbols - LH_SYNTHETIC_FIRST_WORD - 1; /* the last symbol is the mask */
	uint64_t word = below(r, words);
	for (size_t t = 0; t < s->length; t++) {
		const uint64_t kind = below(r, 200);
		ids[t] = targets[t] = (int32_t)(LH_SYNTHETIC_FIRST_WORD + word);
		if (kind < 24)
			ids[t] = (int32_t)s->symbols - 1;
		else if (kind < 27)
			ids[t] = (int32_t)(LH_SYNTHETIC_FIRST_WORD + below(r, words));
		else if (kind >= 30)
			targets[t] = LH_SYNTHETIC_IGNORED;
		ids[s->length + t] = (int32_t)(LH_SYNTHETIC_FIRST_WORD + t); /* positions count from padding's + 1 */
		ids[2 * s->length + t] = 1;
		word = below(r, 10) ? trait(s, word, 7) % words : below(r, words);
	}
}

/* The decoder sees the names before the one that it has to tell; the first sees the last symbol. */
static void tones(const struct lh_synthetic *s, struct source *r, float *mel, int32_t *names, int32_t *targets)
{
	for (size_t t = 0; t < s->length; t++) {
		targets[t] = (int32_t)below(r, s->symbols - 1);
		names[t] = t ? targets[t - 1] : (int32_t)s->symbols - 1;
	}
	for (size_t f = 0; f < s->frames; f++) {
		const uint64_t name = (uint64_t)targets[f * s->length / s->frames];
		for (size_t band = 0; band < LH_SYNTHETIC_MELS; band++)
			mel[f * LH_SYNTHETIC_MELS + band] = (trait(s, name, 16 + band) % 8 == 0 ? 2.0f : 0.0f) + unit(r) / 2;
	}
}

void lh_synthetic_sample(const struct lh_synthetic *s, bool held_out, uint64_t id, void *inputs, void *targets)
{
	struct source r = { .key = lh_mix64(lh_mix64(s->seed ^ (held_out ? 0x68656c64 : 0)) + (id + 1) * LH_MIX64_STEP) };
	if (s->kind == LH_SYNTHETIC_IMAGES)
		image(s, &r, inputs, targets);
	else if (s->kind == LH_SYNTHETIC_TEXT)
		text(s, &r, inputs, targets);
	else
		tones(s, &r, inputs, (int32_t *)((char *)inputs + s->frames * LH_SYNTHETIC_MELS * sizeof(float)), targets);
}
