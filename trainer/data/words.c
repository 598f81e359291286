/* Masked text: a made-up language, and the shipped play byte by byte. */
#include <errno.h>
#include <math.h>

#include "data/source_internal.h"

/* RoBERTa's first tokens; 3 is the unknown word, which nobody writes here. */
enum { BEGIN = 0, END = 2, FIRST = 4, FIRST_PLACE = 2, HELD_OUT = 128, BYTES = 256 };

/* ids[] are the tokens on entry. RoBERTa's choice: 15 %, of these 80 % masked, 10 % any token, 10 % as they are. */
static void mask(const struct source *s, struct lh_draw *d, size_t kinds, int32_t *ids, int32_t *targets)
{
	const size_t n = s->pub.shape.length;
	const int32_t masked = (int32_t)s->pub.shape.symbols - 1;
	const size_t sure = 1 + lh_draw_below(d, n - 2); /* the target of a sample that would have none */
	size_t chosen = 0;
	for (size_t t = 0; t < n; t++) {
		const uint64_t draw = lh_draw_below(d, 2000);
		targets[t] = LH_SOURCE_IGNORED;
		if (t == 0 || t == n - 1 || draw >= 300)
			continue;
		targets[t] = ids[t];
		if (draw < 240)
			ids[t] = masked;
		else if (draw < 270)
			ids[t] = (int32_t)(FIRST + lh_draw_below(d, kinds));
		chosen++;
	}
	if (!chosen) {
		targets[sure] = ids[sure];
		ids[sure] = masked;
	}
	for (size_t t = 0; t < n; t++) {
		ids[n + t] = (int32_t)(FIRST_PLACE + t);
		ids[2 * n + t] = 1;
	}
}

static void walk(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	struct lh_draw d = lh_draw_begin(s->seed, held_out, id);
	const size_t n = s->pub.shape.length, words = s->pub.shape.symbols - FIRST - 1;
	int32_t *ids = inputs;
	uint64_t word = lh_draw_below(&d, words);
	for (size_t t = 0; t < n; t++) {
		ids[t] = (int32_t)(FIRST + word);
		word = lh_draw_below(&d, 10) ? lh_trait(s->seed, word, 7) % words : lh_draw_below(&d, words);
	}
	ids[0] = BEGIN;
	ids[n - 1] = END;
	mask(s, &d, words, ids, targets);
}

static void play(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	uint8_t text[LH_DATASET_WINDOW_MAX], next[LH_DATASET_WINDOW_MAX];
	struct lh_draw d = lh_draw_begin(s->order, held_out, id);
	const size_t n = s->pub.shape.length;
	int32_t *ids = inputs;
	lh_source_set_sample(s, held_out, id, text, next);
	ids[0] = BEGIN;
	for (size_t t = 1; t + 1 < n; t++)
		ids[t] = FIRST + text[t - 1];
	ids[n - 1] = END;
	mask(s, &d, BYTES, ids, targets);
}

int lh_source_init_masked(struct source *s, const char *model, struct lh_err *err)
{
	const struct lh_input_shape *shape = &s->pub.shape;
	const bool real = s->pub.data == LH_DATA_TEXT;
	const size_t need = FIRST + (real ? BYTES : 2) + 1;
	if (shape->symbols < need || shape->length < 3)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "model %s: data %s need %zu symbols and 3 tokens; it has %zu and %zu", model,
				  lh_data_names[s->pub.data], need, shape->symbols, shape->length);
	s->pub.input_bytes = 3 * shape->length * sizeof(int32_t);
	s->pub.target_bytes = shape->length * sizeof(int32_t);
	s->make = real ? play : walk;
	if (!real) {
		s->pub.held_out = HELD_OUT;
		s->pub.reference = log((double)(shape->symbols - FIRST - 1));
	}
	return 0;
}
