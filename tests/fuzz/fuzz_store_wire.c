/* What a store and its peers get from the network: a stream of frames, taken apart as both sides do it. What is let through
 * has a payload within its limits and prints the same again.
 */
#include <stdlib.h>
#include <string.h>

#include "comm/frame.h"
#include "store/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { SAMPLE = 64, ITEMS = 1000 };
	uint64_t items[LH_STORE_WANT_MAX], item, hash;
	uint8_t again[8 * LH_STORE_WANT_MAX];
	for (size_t at = 0; at + LH_STORE_HEADER <= size;) {
		enum lh_store_type type;
		uint32_t len;
		size_t n;
		struct lh_hello hello;
		if (lh_store_frame_parse(data + at, SAMPLE, &type, &len, NULL))
			return 0;
		lh_store_frame_print(type, len, again);
		if (memcmp(again, data + at, LH_STORE_HEADER) || len > 8 * LH_STORE_WANT_MAX)
			abort();
		at += LH_STORE_HEADER;
		if (len > size - at)
			return 0;
		if (type == LH_STORE_WANT && !lh_store_want_parse(data + at, len, ITEMS, items, &n, NULL)) {
			if (lh_store_want_print(items, n, again) != len || memcmp(again, data + at, len))
				abort();
			for (size_t i = 0; i < n; i++)
				if (items[i] >= ITEMS)
					abort();
		}
		if (type == LH_STORE_SAMPLE) {
			lh_store_sample_parse(data + at, &item, &hash);
			lh_store_sample_print(item, hash, again);
			if (memcmp(again, data + at, LH_STORE_SAMPLE_HEADER))
				abort();
		}
		if (type == LH_STORE_REFUSE) {
			char text[LH_FRAME_TEXT_MAX + 1];
			lh_text_parse(data + at, len, text);
			for (const char *p = text; *p; p++)
				if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
					abort();
		}
		if ((type == LH_STORE_HELLO || type == LH_STORE_WELCOME) && lh_hello_parse(data + at, len, &hello, NULL))
			abort();
		at += len;
	}
	return 0;
}
