/* dataset.h - reader of the shipped data sets, and of anything that claims to be one.
 *
 * A file is a header of 48 bytes, little-endian, and a payload:
 *
 *     offset  0  char[8]   "lhdata1\n"
 *             8  uint32    kind: 1 images, 2 text
 *            12  uint32    items: images, or bytes of text
 *            16  uint32    side of an image in pixels; 0 for text
 *            20  uint32    classes: labels are below it; 256 for text
 *            24  uint32    largest value of a pixel; 255 for text
 *            28  uint32    held out: this many items at the end are never trained on
 *            32  uint64    bytes of payload
 *            40  uint64    XXH64 of header bytes 0 ... 39 followed by the payload
 *            48            images: per item a label byte and side x side pixel bytes; text: the bytes
 *
 * The whole file is read and checked when it is opened: a torn, altered or foreign file is refused, and no later
 * call can fail. A sample of text is a window of bytes and the same window one byte later; training windows begin
 * at every byte, held-out windows follow each other without overlap.
 */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

enum lh_dataset_kind { LH_DATASET_IMAGES = 1, LH_DATASET_TEXT = 2 };

enum {
	LH_DATASET_HEADER = 48, LH_DATASET_HASH_AT = 40,
	LH_DATASET_FILE_MAX = 64 << 20, LH_DATASET_SIDE_MAX = 256, LH_DATASET_WINDOW_MAX = 4096,
};

struct lh_dataset {
	enum lh_dataset_kind kind;
	size_t input_bytes, target_bytes;  /* of one sample */
	uint64_t train_samples, held_out_samples;
	unsigned classes, max_value, side;
	/* What a model without any input could reach: chance (1 / classes) for images; for text the entropy in
	 * nats of a byte drawn from the training part's frequencies. */
	double reference;
	/* private */
	uint8_t *payload;
	size_t train_items;
};

/* window: bytes of a text sample, ignored for images. Errors name `path` and have exit LH_EXIT_INPUT. */
int lh_dataset_open(const char *path, enum lh_dataset_kind kind, size_t window, struct lh_dataset *ret,
		    struct lh_err *err);
/* The same from memory, which is copied; `name` stands for the file in errors. */
int lh_dataset_parse(const char *name, const void *data, size_t len, enum lh_dataset_kind kind, size_t window,
		     struct lh_dataset *ret, struct lh_err *err);
void lh_dataset_done(struct lh_dataset *d);

/* index < train_samples, or < held_out_samples. */
void lh_dataset_sample(const struct lh_dataset *d, bool held_out, uint64_t index, uint8_t *input, uint8_t *target);

#endif
