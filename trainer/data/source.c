/* Which set a model can learn from, and the sets that come from files. */
#include "data/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/shard.h"
#include "data/source_internal.h"

/* Streams of the run's seed. 1 and 4 are the engine's. */
enum { STREAM_ORDER = 2, STREAM_SHIFTS = 3, STREAM_MADE = 5 };

#define BIT(data) (1u << LH_DATA_##data)

static const struct {
	const char *takes;
	enum lh_data own; /* what AUTO is */
	unsigned fits;    /* bits */
} kinds[LH_INPUTS] = {
	[LH_INPUT_PIXELS] = { "small images", LH_DATA_DIGITS, BIT(DIGITS) },
	[LH_INPUT_WINDOW] = { "text", LH_DATA_TEXT, BIT(TEXT) },
	[LH_INPUT_IMAGES] = { "images", LH_DATA_SYNTHETIC, BIT(DIGITS) | BIT(SYNTHETIC) },
	[LH_INPUT_MASKED] = { "masked text", LH_DATA_SYNTHETIC, BIT(TEXT) | BIT(SYNTHETIC) },
	[LH_INPUT_SPEECH] = { "speech", LH_DATA_SYNTHETIC, BIT(TONES) | BIT(SYNTHETIC) },
};

static uint64_t stream(uint64_t seed, uint64_t which) { return lh_mix64(seed ^ lh_mix64(which)); }

static bool is_set(const struct source *s) { return s->set.train_samples > 0; }

void lh_source_set_sample(const struct source *s, bool held_out, uint64_t id, uint8_t *input, uint8_t *target)
{
	const uint64_t item = held_out ? id : lh_source_item_of(&s->pub, id);
	const uint8_t *stored = !held_out && s->stored ? s->stored(s->stored_ctx, item) : NULL;
	if (!stored) {
		lh_dataset_sample(&s->set, held_out, item, input, target);
		return;
	}
	memcpy(input, stored, s->set.input_bytes);
	memcpy(target, stored + s->set.input_bytes, s->set.target_bytes);
}

/* 1500 images are few, and a digit is the same digit beside its place (held-out accuracy of model digits after 100 rounds:
 * 0.97 instead of 0.95). */
int lh_source_digit(const struct source *s, bool held_out, uint64_t id, uint8_t *image)
{
	uint8_t label;
	lh_source_set_sample(s, held_out, id, image, &label);
	const int by = held_out ? 0 : (int)(lh_mix64(s->shifts + id * LH_MIX64_STEP) % 3) - 1;
	const size_t side = s->set.side;
	for (size_t y = 0; y < side && by; y++, image += side) {
		memmove(image + (by > 0), image + (by < 0), side - 1);
		image[by > 0 ? 0 : side - 1] = 0;
	}
	return label;
}

static void make_pixels(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	*(uint8_t *)targets = (uint8_t)lh_source_digit(s, held_out, id, inputs);
}

void lh_source_init_pixels(struct source *s)
{
	s->pub.input_bytes = s->set.input_bytes;
	s->pub.target_bytes = s->set.target_bytes;
	s->make = make_pixels;
}

static void make_window(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	lh_source_set_sample(s, held_out, id, inputs, targets);
}

void lh_source_init_window(struct source *s)
{
	s->pub.input_bytes = s->set.input_bytes;
	s->pub.target_bytes = s->set.target_bytes;
	s->make = make_window;
}

static int open_set(struct source *s, const char *data_dir, const char *model, struct lh_err *err)
{
	const struct lh_input_shape *shape = &s->pub.shape;
	const bool digits = s->pub.data == LH_DATA_DIGITS;
	char path[512];
	if ((size_t)snprintf(path, sizeof path, "%s/%s.lhdata", data_dir, lh_data_names[s->pub.data]) >= sizeof path)
		return lh_err_set(err, LH_EXIT_INPUT, -ENAMETOOLONG, "data directory %.40s...: too long", data_dir);
	const size_t window = shape->kind == LH_INPUT_MASKED && shape->length > 2 ? shape->length - 2 : shape->length;
	int rc = lh_dataset_open(path, digits ? LH_DATASET_IMAGES : LH_DATASET_TEXT, window, &s->set, err);
	if (rc)
		return rc;
	if (shape->kind == LH_INPUT_PIXELS && (s->set.side != shape->side || s->set.classes != shape->symbols ||
					       s->set.max_value != shape->max_value))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: images of another shape than model %s takes", path, model);
	s->pub.items = s->set.train_samples;
	s->pub.held_out = s->set.held_out_samples;
	s->pub.reference = s->set.reference;
	s->pub.accuracy = digits;
	return 0;
}

static int make_noise(struct source *s, struct lh_err *err)
{
	s->noise = malloc((LH_NOISE + LH_NOISE_RUN) * sizeof *s->noise);
	if (!s->noise)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "data %s", lh_data_names[s->pub.data]);
	for (size_t i = 0; i < LH_NOISE; i++)
		s->noise[i] = (float)(lh_mix64(s->seed + i * LH_MIX64_STEP) >> 40) * 0x1p-24f - 0.5f;
	memcpy(s->noise + LH_NOISE, s->noise, LH_NOISE_RUN * sizeof *s->noise);
	return 0;
}

static int init(struct source *s, const char *data_dir, const char *model, struct lh_err *err)
{
	int rc = 0;
	if (s->pub.data == LH_DATA_DIGITS || s->pub.data == LH_DATA_TEXT)
		rc = open_set(s, data_dir, model, err);
	else
		rc = make_noise(s, err);
	if (rc)
		return rc;
	switch (s->pub.shape.kind) {
	case LH_INPUT_PIXELS: lh_source_init_pixels(s); return 0;
	case LH_INPUT_WINDOW: lh_source_init_window(s); return 0;
	case LH_INPUT_IMAGES: return lh_source_init_images(s, model, err);
	case LH_INPUT_MASKED: return lh_source_init_masked(s, model, err);
	default: return lh_source_init_speech(s, model, err);
	}
}

static int refuse(enum lh_input kind, enum lh_data data, const char *model, struct lh_err *err)
{
	char list[64] = "";
	for (unsigned i = 0; lh_data_names[i]; i++)
		if (kinds[kind].fits >> i & 1)
			snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? " or " : "", lh_data_names[i]);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %s: it takes %s and cannot learn from data %s; choose %s", model,
			  kinds[kind].takes, lh_data_names[data], list);
}

int lh_source_open(const struct lh_input_shape *shape, enum lh_data data, const char *data_dir, uint64_t seed,
		   const char *model, struct lh_source **ret, struct lh_err *err)
{
	if (data == LH_DATA_AUTO)
		data = kinds[shape->kind].own;
	if (!(kinds[shape->kind].fits >> data & 1))
		return refuse(shape->kind, data, model, err);
	struct source *s = calloc(1, sizeof *s);
	if (!s)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "data %s", lh_data_names[data]);
	s->pub.data = data;
	s->pub.shape = *shape;
	s->seed = stream(seed, STREAM_MADE);
	s->order = stream(seed, STREAM_ORDER);
	s->shifts = stream(seed, STREAM_SHIFTS);
	int rc = init(s, data_dir, model, err);
	if (rc) {
		lh_source_close(&s->pub);
		return rc;
	}
	s->pub.stored_bytes = is_set(s) ? s->set.input_bytes + s->set.target_bytes : s->pub.input_bytes + s->pub.target_bytes;
	*ret = &s->pub;
	return 0;
}

void lh_source_close(struct lh_source *pub)
{
	struct source *s = (struct source *)pub;
	if (!s)
		return;
	lh_dataset_done(&s->set);
	lh_mel_free(s->mel);
	free(s->noise);
	free(s->sine);
	free(s);
}

void lh_source_sample(const struct lh_source *pub, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch)
{
	const struct source *s = (const struct source *)pub;
	const uint64_t made = held_out || is_set(s) ? id : lh_source_item_of(pub, id);
	const uint8_t *stored = held_out || is_set(s) || !s->stored ? NULL : s->stored(s->stored_ctx, made);
	if (!stored) {
		s->make(s, held_out, made, inputs, targets, scratch);
		return;
	}
	memcpy(inputs, stored, pub->input_bytes);
	memcpy(targets, stored + pub->input_bytes, pub->target_bytes);
}

/* ---- where it is stored ---- */

int lh_source_limit(struct lh_source *pub, uint64_t items, struct lh_err *err)
{
	if (is_set((struct source *)pub))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "data %s has its own number of samples",
				  lh_data_names[pub->data]);
	pub->items = items;
	return 0;
}

uint64_t lh_source_item_of(const struct lh_source *pub, uint64_t id)
{
	return pub->items ? lh_shard_item(((const struct source *)pub)->order, pub->items, id) : id;
}

void lh_source_stored(const struct lh_source *pub, uint64_t item, void *dst, void *scratch)
{
	const struct source *s = (const struct source *)pub;
	uint8_t *at = dst;
	if (is_set(s))
		lh_dataset_sample(&s->set, false, item, at, at + s->set.input_bytes);
	else
		s->make(s, false, item, at, at + pub->input_bytes, scratch);
}

void lh_source_feed(struct lh_source *pub, const void *(*stored)(void *ctx, uint64_t item), void *ctx)
{
	struct source *s = (struct source *)pub;
	s->stored = stored;
	s->stored_ctx = ctx;
}
