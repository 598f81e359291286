/* Notes for models of speech: in slots of equal length, each a name and four tones. `tones` makes them sound, with detune,
 * loudness and noise of their own, and measures their spectra; `synthetic` draws the spectra at once.
 *
 * Tokens as Whisper's decoder has them where its vocabulary is there (start of transcript, language, task, no timestamps);
 * in a small one the prompt is the last symbol and the end the one before. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/source_internal.h"

enum {
	WHISPER_END = 50257, WHISPER_START, WHISPER_ENGLISH, WHISPER_TRANSCRIBE = 50359, WHISPER_NO_TIMES = 50363,
	WHISPER_SYMBOLS = 51865, TONES = 4, PITCHES = 7, NOTES_MAX = PITCHES * PITCHES, PROMPT_MAX = 4, LENGTH_MAX = 4096, HELD_OUT = 128, SINES = 1024,
};

/* Of the noise under the notes, whose tones have 0.1 ... 0.2. */
#define NOISE 0.04f

struct score {
	int32_t prompt[PROMPT_MAX], end;
	size_t nprompt, kinds; /* notes that there are */
	size_t slots;          /* notes of a sample at most; each lasts frames / slots */
};

static struct score score_of(const struct lh_input_shape *shape)
{
	struct score c = { .nprompt = 1 };
	if (shape->symbols >= WHISPER_SYMBOLS) {
		static const int32_t prompt[] = { WHISPER_START, WHISPER_ENGLISH, WHISPER_TRANSCRIBE, WHISPER_NO_TIMES };
		memcpy(c.prompt, prompt, sizeof prompt);
		c.nprompt = PROMPT_MAX;
		c.end = WHISPER_END;
		c.kinds = NOTES_MAX;
	} else {
		c.prompt[0] = (int32_t)shape->symbols - 1;
		c.end = (int32_t)shape->symbols - 2;
		c.kinds = shape->symbols - 2 < NOTES_MAX ? shape->symbols - 2 : NOTES_MAX;
	}
	/* As many words as people say in 30 s, where there is room for more. */
	c.slots = shape->length - c.nprompt;
	c.slots = c.slots > 112 ? 112 : c.slots;
	c.slots = c.slots > shape->frames / 4 ? shape->frames / 4 : c.slots;
	return c;
}

/* Draws the notes; returns how many. */
static size_t write_text(const struct source *s, const struct score *c, struct lh_draw *d, int32_t *notes, int32_t *ids,
			 int32_t *targets)
{
	const size_t n = c->slots - lh_draw_below(d, c->slots / 2 + 1), length = s->pub.shape.length;
	for (size_t t = 0; t < length; t++) {
		ids[t] = c->end; /* pads, too: transformers has no other token for it */
		targets[t] = LH_SOURCE_IGNORED;
	}
	memcpy(ids, c->prompt, c->nprompt * sizeof *ids);
	for (size_t i = 0; i < n; i++) {
		notes[i] = (int32_t)lh_draw_below(d, c->kinds);
		targets[c->nprompt - 1 + i] = notes[i];
		if (c->nprompt + i < length)
			ids[c->nprompt + i] = notes[i];
	}
	targets[c->nprompt - 1 + n] = c->end;
	return n;
}

static void drawn(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	struct lh_draw d = lh_draw_begin(s->seed, held_out, id);
	const struct score c = score_of(&s->pub.shape);
	const size_t frames = s->pub.shape.frames;
	int32_t notes[LENGTH_MAX];
	float *mel = inputs, band[LH_SOURCE_MELS];
	const size_t n = write_text(s, &c, &d, notes, (int32_t *)(mel + frames * LH_SOURCE_MELS), targets);
	size_t last = SIZE_MAX;
	for (size_t f = 0; f < frames; f++, mel += LH_SOURCE_MELS) {
		const size_t slot = f * c.slots / frames;
		for (size_t b = 0; b < LH_SOURCE_MELS && slot != last; b++)
			band[b] = slot < n && lh_trait(s->seed, (uint64_t)notes[slot], 16 + b) % 8 == 0 ? 1.5f : -0.5f;
		last = slot;
		const float *noise = s->noise + lh_draw_next(&d) % LH_NOISE;
		for (size_t b = 0; b < LH_SOURCE_MELS; b++)
			mel[b] = band[b] + noise[b];
	}
}

/* Tone `which` of a note, in Hz: one of 7 in each of four registers, 28 pitches equally far apart to the ear. Any two notes
 * share at most one (a, b, a + b and a + 2 b of the numbers modulo 7). */
static double pitch(int32_t note, unsigned which)
{
	static const short pitches[TONES][PITCHES] = {
		{ 200, 280, 359, 439, 518, 598, 677 },
		{ 757, 836, 916, 995, 1080, 1172, 1272 },
		{ 1381, 1499, 1627, 1766, 1917, 2081, 2259 },
		{ 2452, 2661, 2889, 3136, 3403, 3694, 4010 },
	};
	const int32_t a = note % PITCHES, b = note / PITCHES;
	const int32_t code[TONES] = { a, b, a + b, a + 2 * b };
	return pitches[which][code[which] % PITCHES];
}

/* Sine of a phase of 2^32 a turn, between the two nearest of a table. */
static float sine(const float *table, uint32_t phase)
{
	const uint32_t i = phase >> 22;
	const float part = (float)(phase & 0x3fffff) * 0x1p-22f;
	return table[i] + (table[i + 1] - table[i]) * part;
}

/* Detuned by up to 2 %, half as loud to as loud, and faded in and out over a quarter of the note each. */
static void sound(struct lh_draw *d, int32_t note, const float *table, size_t n, float *wave)
{
	const float loud = 0.1f + (float)lh_draw_below(d, 1024) / 1024 * 0.1f;
	const double detune = 0.98 + (double)lh_draw_below(d, 1024) / 1024 * 0.04;
	uint32_t phase[TONES], step[TONES];
	for (unsigned k = 0; k < TONES; k++) {
		phase[k] = (uint32_t)(lh_draw_next(d) >> 32);
		step[k] = (uint32_t)(pitch(note, k) * detune / LH_MEL_RATE * 0x1p32);
	}
	for (size_t i = 0; i < n; i++) {
		const size_t edge = i < n - 1 - i ? i : n - 1 - i;
		const float fade = 4 * edge < n ? (float)(4 * edge) / (float)n : 1;
		float sum = 0;
		for (unsigned k = 0; k < TONES; k++, phase[k - 1] += step[k - 1])
			sum += sine(table, phase[k]);
		wave[i] += loud * fade * sum;
	}
}

static void tones(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	struct lh_draw d = lh_draw_begin(s->seed, held_out, id);
	const struct score c = score_of(&s->pub.shape);
	const size_t frames = s->pub.shape.frames, samples = frames * LH_MEL_HOP;
	int32_t notes[LENGTH_MAX];
	float *mel = inputs, *wave = scratch;
	const size_t n = write_text(s, &c, &d, notes, (int32_t *)(mel + frames * LH_SOURCE_MELS), targets);
	for (size_t i = 0; i < samples; i += LH_NOISE_RUN) {
		const float *noise = s->noise + lh_draw_next(&d) % LH_NOISE;
		for (size_t k = 0; k < LH_NOISE_RUN && i + k < samples; k++)
			wave[i + k] = noise[k] * NOISE;
	}
	for (size_t i = 0; i < n; i++) {
		const size_t from = i * samples / c.slots, to = (i + 1) * samples / c.slots;
		sound(&d, notes[i], s->sine, to - from, wave + from);
	}
	lh_mel_spectrum(s->mel, wave, frames, mel);
}

int lh_source_init_speech(struct source *s, const char *model, struct lh_err *err)
{
	const struct lh_input_shape *shape = &s->pub.shape;
	if (shape->symbols < 5 || shape->length < 2 || shape->length > LENGTH_MAX || shape->frames < 4 ||
	    (shape->symbols >= WHISPER_SYMBOLS && shape->length < 2 * PROMPT_MAX))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "model %s: data %s need 5 symbols, 4 frames and 2 ... %d tokens (8 with Whisper's vocabulary); it "
				  "has %zu, %zu and %zu", model, lh_data_names[s->pub.data], LENGTH_MAX, shape->symbols,
				  shape->frames, shape->length);
	s->pub.input_bytes = shape->frames * LH_SOURCE_MELS * sizeof(float) + shape->length * sizeof(int32_t);
	s->pub.target_bytes = shape->length * sizeof(int32_t);
	s->pub.held_out = HELD_OUT;
	s->pub.reference = log((double)score_of(shape).kinds + 1);
	s->make = drawn;
	if (s->pub.data != LH_DATA_TONES)
		return 0;
	s->make = tones;
	s->pub.scratch_bytes = shape->frames * LH_MEL_HOP * sizeof(float);
	s->sine = malloc((SINES + 1) * sizeof *s->sine);
	if (!s->sine)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "data tones");
	for (unsigned i = 0; i <= SINES; i++) {
		double cosine, sine_of;
		lh_mel_circle((double)(i % SINES) / SINES, &cosine, &sine_of);
		s->sine[i] = (float)sine_of;
	}
	return lh_mel_new(&s->mel, err);
}
