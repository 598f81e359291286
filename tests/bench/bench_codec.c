/* How fast the codecs are on one core, beside what the same core moves through memory in the same run. Prints JSON.
 *
 *     bench_codec [MIB]       vectors of so many MiB of floats, default 256
 *
 * Every figure is the median of RUNS passes over the whole vector, which is not in the caches of a usual machine.
 *   memory       bytes read and written a second of y[i] += x[i] over floats, before and after each reduction: the
 *                largest of a plain loop's and one's for AVX2
 *   reduction    the same sum with x in the codec (decode_add): bytes of x on the wire, of y read, of y written
 *   encode, decode, decode_add   bytes of floats a second, one part after the other as the exchange does: in parts,
 *                sum in a buffer that stays, wire from and to memory
 *   separate     decode into a second buffer, then add: what decode_add replaces
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "hash.h"
#include "longhaul/units.h"

enum { RUNS = 7, PART_BYTES = 512 * 1024 };

struct bench {
	struct lh_codec codec;
	size_t n, part;     /* elements; of one part */
	float *x, *y, *term;
	uint8_t *wire;      /* parts of the encoded vector, each at 8 * its first element */
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Passes of `body`, in bytes a second. */
static double median_rate(void (*body)(struct bench *), struct bench *b, double bytes)
{
	double rate[RUNS];
	body(b);
	for (int i = 0; i < RUNS; i++) {
		lh_ns begin = lh_clock_ns();
		body(b);
		rate[i] = bytes / ((double)(lh_clock_ns() - begin) / 1e9);
	}
	qsort(rate, RUNS, sizeof *rate, compare);
	return rate[RUNS / 2];
}

static void add_plain(struct bench *b)
{
	const struct lh_codec *fp32 = lh_codec_find(LH_WIRE_FP32);
	fp32->decode_add(fp32, b->y, b->x, b->n, 1);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void add_loop(float *restrict y, const float *restrict x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void add_avx2(struct bench *b)
{
	add_loop(b->y, b->x, b->n);
}
#endif

/* Element i of the vector is encoded from byte 4 i on, or wherever there is room: no codec needs more than 6 i + 4. */
static uint8_t *wire_of(const struct bench *b, size_t at)
{
	return b->wire + at / b->part * (b->codec.bytes(&b->codec, b->part) + 64) / 64 * 64;
}

static size_t part_at(const struct bench *b, size_t at)
{
	return b->n - at < b->part ? b->n - at : b->part;
}

static void encode(struct bench *b)
{
	for (size_t at = 0; at < b->n; at += b->part)
		b->codec.encode(&b->codec, wire_of(b, at), b->x + at, part_at(b, at), 1);
}

static void decode(struct bench *b)
{
	for (size_t at = 0; at < b->n; at += b->part)
		b->codec.decode(&b->codec, b->term, wire_of(b, at), part_at(b, at), 1);
}

static void decode_add(struct bench *b)
{
	for (size_t at = 0; at < b->n; at += b->part)
		b->codec.decode_add(&b->codec, b->term, wire_of(b, at), part_at(b, at), 1);
}

static void separate(struct bench *b)
{
	const struct lh_codec *fp32 = lh_codec_find(LH_WIRE_FP32);
	for (size_t at = 0; at < b->n; at += b->part) {
		b->codec.decode(&b->codec, b->term, wire_of(b, at), part_at(b, at), 1);
		fp32->decode_add(fp32, b->y, b->term, part_at(b, at), 1);
	}
}

static void reduction(struct bench *b)
{
	for (size_t at = 0; at < b->n; at += b->part)
		b->codec.decode_add(&b->codec, b->y + at, wire_of(b, at), part_at(b, at), 1);
}

static double memory_rate(struct bench *b)
{
	double bytes = 12.0 * (double)b->n, rate = median_rate(add_plain, b, bytes);
#if defined(__x86_64__)
	double wide = __builtin_cpu_supports("avx2") ? median_rate(add_avx2, b, bytes) : 0;
	rate = wide > rate ? wide : rate;
#endif
	return rate;
}

static json_t *codec_row(struct bench *b, enum lh_wire wire)
{
	const double floats = 4.0 * (double)b->n;
	if (lh_codec_init(&b->codec, wire, &(struct lh_codec_options){ .topk_fraction = 0.01 }, NULL))
		return NULL;
	b->part = lh_codec_elements(&b->codec, PART_BYTES);
	double on_wire = 0;
	for (size_t at = 0; at < b->n; at += b->part)
		on_wire += (double)b->codec.bytes(&b->codec, part_at(b, at));
	double e = median_rate(encode, b, floats), d = median_rate(decode, b, floats);
	double a = median_rate(decode_add, b, floats), s = median_rate(separate, b, floats);
	double before = memory_rate(b), r = median_rate(reduction, b, on_wire + 2 * floats), after = memory_rate(b);
	double memory = before > after ? before : after;
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "codec", b->codec.name,
			 "bytes_per_element", on_wire / (double)b->n, "encode_bytes_per_s", e, "decode_bytes_per_s", d,
			 "decode_add_bytes_per_s", a, "separate_bytes_per_s", s, "reduction_bytes_per_s", r,
			 "memory_bytes_per_s", memory, "reduction_of_memory", r / memory);
}

int main(int argc, char **argv)
{
	unsigned long mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;
	if (argc > 2 || mib < 1 || mib > 16384) {
		fprintf(stderr, "usage: bench_codec [MIB]   (1 to 16384)\n");
		return 2;
	}
	struct bench b = { .n = mib * 1024 * 1024 / 4 };
	b.x = aligned_alloc(64, b.n * 4);
	b.y = aligned_alloc(64, b.n * 4);
	b.wire = aligned_alloc(64, b.n * 6);
	b.term = aligned_alloc(64, LH_CODEC_ELEMENTS_MAX * 4);
	json_t *rows = json_array();
	if (!b.x || !b.y || !b.wire || !b.term || !rows)
		return 3;
	for (size_t i = 0; i < b.n; i++)
		b.x[i] = (float)(int64_t)lh_mix64(i) * 0x1p-63f;
	memset(b.y, 0, b.n * 4);
	memset(b.wire, 0, b.n * 6);
	memset(b.term, 0, LH_CODEC_ELEMENTS_MAX * 4);
	for (int wire = LH_WIRE_FP32; wire <= LH_WIRE_TOPK; wire++) {
		json_t *row = codec_row(&b, (enum lh_wire)wire);
		if (!row || json_array_append_new(rows, row))
			return 3;
	}
	json_t *all = json_pack("{s:I, s:o}", "vector_bytes", (json_int_t)(4 * b.n), "codecs", rows);
	json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(4));
	putchar('\n');
	json_decref(all);
	free(b.x);
	free(b.y);
	free(b.wire);
	free(b.term);
	return 0;
}
