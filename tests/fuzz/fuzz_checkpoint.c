/* A checkpoint's head, as it is and with its hash made right so that the checks behind it are reached. What is accepted
 * is used as a reader uses it, and must print to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "state_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const uint8_t *data, size_t size, uint64_t file_bytes)
{
	struct lh_state_head h;
	struct lh_err err = LH_ERR_INIT;
	size_t n;
	uint64_t number, hash = 0;
	if (lh_state_head_parse(data, size, file_bytes, &h, &err)) {
		if (!err.code || !*err.text)
			abort();
		return;
	}
	for (uint32_t i = 0; i < h.ntensors; i++) {
		const struct lh_state_tensor *t = &h.tensors[i];
		if (t->offset + t->bytes > file_bytes || lh_state_find(&h, t->name) != t)
			abort();
		if (t->offset + t->bytes <= size)
			hash += lh_hash64(data + t->offset, t->bytes, 0);
	}
	if (lh_state_fact(&h, "model", &n) && n > h.fact_bytes)
		abort();
	lh_state_fact_number(&h, "round", &number);
	uint8_t *again = malloc(h.bytes);
	if (again) {
		if (lh_state_lay_out(&h, NULL) || h.file_bytes != file_bytes)
			abort();
		lh_state_head_print(&h, again);
		if (memcmp(again, data, h.bytes))
			abort();
	}
	free(again);
	lh_state_head_done(&h);
	(void)hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	use(data, size, size);
	uint64_t head = size < LH_STATE_FIXED ? 0 : lh_state_head_bytes(data, NULL);
	if (!head || head > size)
		return 0;
	uint8_t *copy = malloc(size);
	if (!copy)
		return 0;
	memcpy(copy, data, size);
	memset(copy + 40, 0, 8);
	uint64_t hash = lh_hash64(copy, head, 0), file_bytes;
	memcpy(copy + 40, &hash, sizeof hash); /* little-endian, as this is only fuzzed there */
	memcpy(&file_bytes, copy + 24, sizeof file_bytes);
	use(copy, size, file_bytes);
	free(copy);
	return 0;
}
