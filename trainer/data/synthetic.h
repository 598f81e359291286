/* synthetic.h - endless seeded data in the shapes of the study's tasks, made from a sample's id alone: no files, the same
 * samples for any number of peers, and something to learn in each.
 *
 *     images   one of `symbols` oblique stripe patterns with its own colours and a random phase, under noise
 *     text     a walk over `symbols` words: each word has one that follows it 9 times of 10; 15 % of the tokens are
 *              masked as BERT does (8 of 10 by the last symbol, 1 by any, 1 not) and are the targets
 *     tones    `length` notes of 80 bands, each as long as the others, under noise, and their names: synthesised, not speech
 */
#ifndef DATA_SYNTHETIC_H
#define DATA_SYNTHETIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lh_synthetic_kind { LH_SYNTHETIC_IMAGES, LH_SYNTHETIC_TEXT, LH_SYNTHETIC_TONES };

/* Text: its first ids are kept for what RoBERTa keeps them for; 1 is padding, which full texts do not have. */
enum { LH_SYNTHETIC_MELS = 80, LH_SYNTHETIC_FIRST_WORD = 2, LH_SYNTHETIC_IGNORED = -100 };

struct lh_synthetic {
	enum lh_synthetic_kind kind;
	uint64_t seed;
	size_t side;             /* images: side x side x 3 */
	size_t length, frames;   /* text, tones: tokens; tones: frames, at least `length` */
	size_t symbols;          /* classes, vocabulary (>= 5) */
};

/* Bytes of one sample's inputs: images float [side][side][3]; text int32_t ids [length], positions [length], mask [length];
 * tones float [frames][80], int32_t [length] (the names so far). Targets: int32_t [1] or [length]. */
size_t lh_synthetic_input_bytes(const struct lh_synthetic *s);
size_t lh_synthetic_target_bytes(const struct lh_synthetic *s);
/* Held-out samples come from a stream of their own. */
void lh_synthetic_sample(const struct lh_synthetic *s, bool held_out, uint64_t id, void *inputs, void *targets);

#endif
