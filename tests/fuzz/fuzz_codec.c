/* What a peer sent as one encoded part: refused, or decoded into as many numbers as it stands for and not one beyond;
 * and any numbers, encoded, are accepted back, the same by every path.
 *
 *     | which codec, 1 byte | topk: share in 256ths, 1 byte | elements, 3 bytes | bytes as they came
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 5, ELEMENTS_MAX = 140000 };

static void decode(const struct lh_codec *c, const void *bytes, size_t n)
{
	float *numbers = calloc(n + 1, sizeof *numbers);
	if (!numbers)
		return;
	if (!c->valid || c->valid(c, bytes, n)) {
		c->decode(c, numbers, bytes, n, 1);
		c->decode_add(c, numbers, bytes, n, 0.5f);
	}
	free(numbers);
}

static void encode(const struct lh_codec *c, const float *numbers, size_t n)
{
	size_t bytes = c->bytes(c, n);
	void *fast = malloc(bytes + 1), *portable = malloc(bytes + 1);
	if (fast && portable) {
		c->encode(c, fast, numbers, n, 1);
		lh_codec_force_portable(1);
		c->encode(c, portable, numbers, n, 1);
		lh_codec_force_portable(0);
		if (memcmp(fast, portable, bytes) || (c->valid && !c->valid(c, fast, n)))
			abort();
		decode(c, fast, n);
	}
	free(fast);
	free(portable);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lh_codec c;
	if (size < HEADER)
		return 0;
	const struct lh_codec_options options = { .topk_fraction = (data[1] + 1) / 256.0 };
	if (lh_codec_init(&c, (enum lh_wire)(data[0] % (LH_WIRE_TOPK + 1)), &options, NULL))
		abort();
	size_t n = ((size_t)data[2] | (size_t)data[3] << 8 | (size_t)data[4] << 16) % ELEMENTS_MAX;
	size -= HEADER;
	void *aligned = malloc(size + 1); /* as the exchange's buffers are, and no longer than what came */
	if (!aligned)
		return 0;
	memcpy(aligned, data + HEADER, size);
	if (c.bytes(&c, n) <= size)
		decode(&c, aligned, n);
	encode(&c, aligned, size / sizeof(float));
	free(aligned);
	return 0;
}
