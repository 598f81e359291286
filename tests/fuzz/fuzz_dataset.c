/* A data set file, as both kinds; as it is, and with length and hash made right so that the checks behind them are
 * reached. What is accepted is read to its ends.
 */
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"
#include "hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const uint8_t *data, size_t size, enum lh_dataset_kind kind, size_t window)
{
	struct lh_dataset d;
	struct lh_err err;
	if (lh_dataset_parse("fuzz", data, size, kind, window, &d, &err))
		return;
	uint8_t *input = malloc(d.input_bytes), *target = malloc(d.target_bytes);
	for (int held = 0; held < 2 && input && target; held++) {
		const uint64_t n = held ? d.held_out_samples : d.train_samples;
		if (!n)
			abort();
		lh_dataset_sample(&d, held, 0, input, target);
		lh_dataset_sample(&d, held, n - 1, input, target);
		if (target[0] >= d.classes)
			abort();
	}
	free(input);
	free(target);
	lh_dataset_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	const size_t window = size ? 1 + data[size - 1] % 64 : 1;
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	for (int sealed = 0; sealed < 2; sealed++) {
		use(copy, size, LH_DATASET_IMAGES, 1);
		use(copy, size, LH_DATASET_TEXT, window);
		if (size < LH_DATASET_HEADER)
			break;
		uint64_t payload = size - LH_DATASET_HEADER; /* little-endian, as this is only fuzzed there */
		memcpy(copy + 32, &payload, sizeof payload);
		struct lh_hash64_state s;
		lh_hash64_init(&s, 0);
		lh_hash64_update(&s, copy, LH_DATASET_HASH_AT);
		lh_hash64_update(&s, copy + LH_DATASET_HEADER, payload);
		uint64_t hash = lh_hash64_final(&s);
		memcpy(copy + LH_DATASET_HASH_AT, &hash, sizeof hash);
	}
	free(copy);
	return 0;
}
