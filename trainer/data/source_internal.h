/* source_internal.h - what the files of source.h share. */
#ifndef DATA_SOURCE_INTERNAL_H
#define DATA_SOURCE_INTERNAL_H

#include "data/dataset.h"
#include "data/draw.h"
#include "data/mel.h"
#include "data/source.h"

/* Noise costs more than all else in a sample, so it is drawn once: each row of a sample takes some of this pool from a
 * place of its own. A power of two, and one row more so that a run of that length never wraps. */
enum { LH_NOISE = 1 << 16, LH_NOISE_RUN = 96 };

struct source {
	struct lh_source pub; /* first */
	uint64_t seed;         /* of made-up samples */
	uint64_t order, shifts; /* of passes over a set; of the digits' shifts */
	struct lh_dataset set; /* digits, text */
	float *noise;          /* [LH_NOISE + LH_NOISE_RUN] uniform in -0.5 ... 0.5 */
	const void *(*stored)(void *ctx, uint64_t item); /* training items come from there; NULL: from here */
	void *stored_ctx;
	struct lh_mel *mel;    /* tones */
	float *sine;           /* tones: one turn, and its begin again */
	void (*make)(const struct source *s, bool held_out, uint64_t id, void *inputs, void *targets,
		     void *scratch);
};

/* Fill `pub`, and take what the kind needs; the shape was checked. */
void lh_source_init_pixels(struct source *s);
void lh_source_init_window(struct source *s);
int lh_source_init_images(struct source *s, const char *model, struct lh_err *err);
int lh_source_init_masked(struct source *s, const char *model, struct lh_err *err);
int lh_source_init_speech(struct source *s, const char *model, struct lh_err *err);

/* The item of a set that an id means. */
void lh_source_set_sample(const struct source *s, bool held_out, uint64_t id, uint8_t *input, uint8_t *target);
/* The item's image, shifted sideways by -1, 0 or 1 pixel as the id says where it is for training. */
int lh_source_digit(const struct source *s, bool held_out, uint64_t id, uint8_t *image);

#endif
