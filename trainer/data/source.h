/* source.h - where samples come from: a global sample id becomes the bytes that a model reads.
 *
 * A sample is a pure function of (seed, id): every machine and any number of peers make the same one, no table is shared
 * and nobody talks. Sets with an end (digits, text) are gone through pass by pass, each in an order of its own
 * (data/shard.h); the others never end. Held-out samples are 0 ... held_out - 1 and are never trained on.
 *
 *     model takes          data        what
 *     pixels               digits      8 x 8 handwritten digits as bytes
 *     window               text        bytes of a play, and the same a byte later
 *     images               digits      the same digits, enlarged to the model's side
 *                          synthetic   one of `symbols` oblique stripe patterns under noise
 *     masked text          text        bytes of a play as tokens, 15 % of them masked
 *                          synthetic   a walk over `symbols` words, each with one that follows it 9 times of 10
 *     speech               tones       notes, synthesised as a waveform of 16 kHz, and its log-mel spectrum (data/mel.h)
 *                          synthetic   the same notes, their spectra drawn at once: cheap enough for any device
 *
 * Synthetic data and tones are made by a seeded generator: no photographs, no language, no speech.
 *
 * Bytes of a sample. pixels, window: bytes (data/dataset.h). images: float [side][side][3]; target int32_t.
 * Masked text: int32_t ids [length], positions [length], mask [length]; targets [length]. As RoBERTa's: id 0 begins and
 * 2 ends it, 1 is padding, the last symbol is the mask; positions count from 2; of the tokens between the ends 15 % are
 * targets, drawn anew for every id, of which 80 % are masked, 10 % replaced by any token and 10 % left; all others are ignored.
 * A short sample in which chance chose none has one.
 * Speech: float [frames][80], int32_t ids [length]; targets [length]. As Whisper's: a prompt, tokens, end, padding, and as
 * target of each place what stands next; places of the prompt before its last, and the padding, are ignored.
 */
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/peer.h"

enum lh_input { LH_INPUT_PIXELS, LH_INPUT_WINDOW, LH_INPUT_IMAGES, LH_INPUT_MASKED, LH_INPUT_SPEECH, LH_INPUTS };

struct lh_input_shape {
	enum lh_input kind;
	size_t side;           /* pixels, images */
	size_t length;         /* window, masked text, speech: tokens */
	size_t frames;         /* speech */
	size_t symbols;        /* classes, vocabulary */
	size_t max_value;      /* pixels */
};

enum { LH_SOURCE_IGNORED = -100, LH_SOURCE_MELS = 80 };

struct lh_source {
	enum lh_data data;     /* never AUTO */
	struct lh_input_shape shape;
	size_t input_bytes, target_bytes; /* of one sample */
	size_t scratch_bytes;             /* that making one needs */
	size_t stored_bytes;              /* of one where it is stored: of a set as in its file, else as it is made */
	uint64_t items;        /* training items of a pass; 0: endless */
	uint64_t held_out;
	bool accuracy;         /* how held-out samples are judged: by hits, or by nats */
	double reference;      /* what a model without any input could reach: accuracy of a guess, or nats */
};

/* data: AUTO is the model's own. data_dir: where the shipped sets are. model: for messages. */
int lh_source_open(const struct lh_input_shape *shape, enum lh_data data, const char *data_dir, uint64_t seed,
		   const char *model, struct lh_source **ret, struct lh_err *err);
void lh_source_close(struct lh_source *s); /* NULL is fine */

/* What is made up has so many items from now on, gone through pass by pass. -EINVAL for sets, which have their own. */
int lh_source_limit(struct lh_source *s, uint64_t items, struct lh_err *err);

/* The item that a training sample is made of: what a store holds and a cache keeps. The same item comes back in every pass,
 * shifted or masked anew. */
uint64_t lh_source_item_of(const struct lh_source *s, uint64_t id);
/* Its stored form. */
void lh_source_stored(const struct lh_source *s, uint64_t item, void *dst, void *scratch);
/* Training samples are made of what this gives from now on, instead of from the source's own. It gives stored_bytes that
 * stay until it is asked again. */
void lh_source_feed(struct lh_source *s, const void *(*stored)(void *ctx, uint64_t item), void *ctx);

/* Any number of threads may call it, each with a scratch of its own; one, when it is fed. */
void lh_source_sample(const struct lh_source *s, bool held_out, uint64_t id, void *inputs, void *targets, void *scratch);

#endif
