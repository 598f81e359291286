/* Samples: a pure function of seed and id, of the shapes and statistics that source.h promises, and the same set for any
 * number of peers that share it. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/dataset.h"
#include "data/mel.h"
#include "data/source.h"
#include "hash.h"
#include "lhtest.h"
#include "model/zoo.h"
#include "sync/deal.h"

struct sample {
	struct lh_source *s;
	uint8_t *in, *out, *scratch;
};

static struct lh_input_shape shape_of(const char *spec)
{
	struct lh_zoo_model m;
	bool drop;
	if (!strcmp(spec, "digits"))
		return (struct lh_input_shape){ .kind = LH_INPUT_PIXELS, .side = 8, .symbols = 10, .max_value = 16 };
	if (!strcmp(spec, "text"))
		return (struct lh_input_shape){ .kind = LH_INPUT_WINDOW, .length = 64, .symbols = 256 };
	CU_ASSERT_EQUAL_FATAL(lh_zoo_find(spec, &m, &drop, NULL), 0);
	return lh_zoo_input(&m);
}

static int try_open(const char *spec, enum lh_data data, uint64_t seed, struct lh_source **ret, struct lh_err *err)
{
	const struct lh_input_shape shape = shape_of(spec);
	return lh_source_open(&shape, data, lh_test_path("../trainer/data/files"), seed, spec, ret, err);
}

static struct sample open_source(const char *spec, enum lh_data data, uint64_t seed)
{
	struct sample x = { 0 };
	struct lh_err err = LH_ERR_INIT;
	if (try_open(spec, data, seed, &x.s, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x.s);
	x.in = malloc(x.s->input_bytes);
	x.out = malloc(x.s->target_bytes);
	x.scratch = malloc(x.s->scratch_bytes + 1);
	CU_ASSERT_TRUE_FATAL(x.in && x.out && x.scratch);
	return x;
}

static void make(struct sample *x, bool held_out, uint64_t id)
{
	lh_source_sample(x->s, held_out, id, x->in, x->out, x->scratch);
}

static uint64_t hash_of(struct sample *x, bool held_out, uint64_t id)
{
	make(x, held_out, id);
	return lh_hash64(x->out, x->s->target_bytes, lh_hash64(x->in, x->s->input_bytes, 1));
}

static void close_source(struct sample *x)
{
	lh_source_close(x->s);
	free(x->in);
	free(x->out);
	free(x->scratch);
}

static const struct set {
	const char *spec;
	enum lh_data data;
	uint64_t fixed; /* hash of sample 17 with seed 3: on any machine, with any compiler */
} sets[] = {
	{ "digits", LH_DATA_AUTO, 0xe32d3d92d92ce616 },
	{ "text", LH_DATA_AUTO, 0x834f3e816de8f46f },
	{ "resnet-lab", LH_DATA_SYNTHETIC, 0x85f513629b25b04c },
	{ "resnet-lab", LH_DATA_DIGITS, 0x11ea94f5767958d1 },
	{ "roberta-lab", LH_DATA_SYNTHETIC, 0x33e4fd5958a34b44 },
	{ "roberta-text-lab", LH_DATA_TEXT, 0xa3a9041f10953993 },
	{ "whisper-lab", LH_DATA_SYNTHETIC, 0x6a0f950d366c0c0 },
	{ "whisper-lab", LH_DATA_TONES, 0x94f5a2e7e2205150 },
};
enum { SETS = sizeof sets / sizeof *sets };

static void test_same_everywhere(void)
{
	for (unsigned i = 0; i < SETS; i++) {
		struct sample a = open_source(sets[i].spec, sets[i].data, 3), b = open_source(sets[i].spec, sets[i].data, 3);
		struct sample other = open_source(sets[i].spec, sets[i].data, 4);
		const uint64_t first = hash_of(&a, false, 17);
		if (first != sets[i].fixed)
			printf("# %s, %s: %#llx\n", sets[i].spec, lh_data_names[a.s->data], (unsigned long long)first);
		CU_ASSERT_EQUAL(first, sets[i].fixed);
		hash_of(&b, true, 5); /* what was made before does not matter */
		memset(b.scratch, 0xff, b.s->scratch_bytes);
		CU_ASSERT_EQUAL(hash_of(&b, false, 17), first);
		CU_ASSERT_NOT_EQUAL(hash_of(&a, false, 18), first);
		CU_ASSERT_NOT_EQUAL(hash_of(&a, true, 17), first);
		CU_ASSERT_NOT_EQUAL(hash_of(&other, false, 17), first);
		close_source(&a);
		close_source(&b);
		close_source(&other);
	}
}

/* However many peers share the rounds of `epochs`, with whatever weights, the bytes that all of them make together are the
 * same; and where the set has an end, a pass has each item once, in an order of its own. */
static void test_shards(void)
{
	enum { BATCH = 60, ROUNDS = 5 };
	for (unsigned k = 0; k < SETS; k++) {
		struct sample x = open_source(sets[k].spec, sets[k].data, lh_test_seed());
		uint64_t whole = 0;
		for (unsigned n = 1; n <= 16; n++) {
			double weights[16];
			uint64_t sum = 0, count = 0;
			for (unsigned i = 0; i < n; i++)
				weights[i] = 1 + (double)(lh_mix64(n * 100 + i) % 1000) / 100;
			for (uint32_t round = 1; round <= ROUNDS; round++) {
				struct lh_share shares[16];
				lh_deal(BATCH, round, weights, n, shares);
				for (unsigned i = 0; i < n; i++)
					for (uint64_t id = shares[i].first; id < shares[i].first + shares[i].count; id++, count++)
						sum += lh_mix64(hash_of(&x, false, id));
			}
			whole = n == 1 ? sum : whole;
			CU_ASSERT_EQUAL(sum, whole);
			CU_ASSERT_EQUAL(count, BATCH * ROUNDS);
		}
		close_source(&x);
	}
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void test_passes(void)
{
	struct sample x = open_source("digits", LH_DATA_AUTO, lh_test_seed());
	enum { ITEMS = 1500 };
	static uint64_t labels[2][ITEMS], sums[2];
	unsigned same = 0;
	CU_ASSERT_EQUAL_FATAL(x.s->items, ITEMS);
	for (unsigned pass = 0; pass < 2; pass++)
		for (uint64_t i = 0; i < ITEMS; i++) {
			make(&x, false, pass * ITEMS + i);
			uint64_t ink = 0; /* the middle columns do not leave the image by a shift */
			for (unsigned p = 0; p < 64; p++)
				ink += x.in[p];
			labels[pass][i] = x.out[0];
			sums[pass] += x.out[0];
			same += pass && labels[0][i] == labels[1][i];
			CU_ASSERT_TRUE(ink > 0);
		}
	CU_ASSERT_EQUAL(sums[0], sums[1]);      /* the same digits */
	CU_ASSERT_TRUE(same > ITEMS / 20 && same < ITEMS / 5); /* in another order: a tenth by chance */
	for (unsigned pass = 0; pass < 2; pass++)
		qsort(labels[pass], ITEMS, sizeof labels[0][0], by_value);
	CU_ASSERT_EQUAL(memcmp(labels[0], labels[1], sizeof labels[0]), 0);
	close_source(&x);
}

/* The study's shapes, to the byte. */
static void test_full_shapes(void)
{
	static const struct { const char *spec; size_t in, out; } full[] = {
		{ "resnet18", 224 * 224 * 3 * 4, 4 }, { "convnext_large", 224 * 224 * 3 * 4, 4 },
		{ "roberta-base", 3 * 512 * 4, 512 * 4 }, { "xlm-roberta-large", 3 * 512 * 4, 512 * 4 },
		{ "whisper-tiny", 3000 * 80 * 4 + 448 * 4, 448 * 4 }, { "whisper-small", 3000 * 80 * 4 + 448 * 4, 448 * 4 },
	};
	for (unsigned i = 0; i < sizeof full / sizeof *full; i++) {
		struct sample x = open_source(full[i].spec, LH_DATA_SYNTHETIC, 1);
		CU_ASSERT_EQUAL(x.s->input_bytes, full[i].in);
		CU_ASSERT_EQUAL(x.s->target_bytes, full[i].out);
		CU_ASSERT_EQUAL(x.s->items, 0);
		make(&x, false, 1);
		close_source(&x);
	}
}

static void test_images(void)
{
	struct sample x = open_source("resnet18", LH_DATA_SYNTHETIC, 1);
	enum { N = 60 };
	unsigned classes = 0;
	static bool seen[1000];
	for (uint64_t id = 0; id < N; id++) {
		const float *v = (const float *)x.in;
		double sum = 0, square = 0, across = 0;
		make(&x, false, id);
		const int32_t class = *(int32_t *)x.out;
		CU_ASSERT_TRUE_FATAL(class >= 0 && class < 1000);
		classes += !seen[class];
		seen[class] = true;
		for (unsigned i = 0; i < 224 * 224 * 3; i++) {
			sum += v[i];
			square += v[i] * v[i];
			/* noise alone: a tile further on the stripes are the same */
			if (i >= 96 && i % 672 >= 96)
				across += (v[i] - v[i - 96]) * (v[i] - v[i - 96]);
		}
		/* Stripes have mean 0 and variance 1/3, noise 1/12; twice that in a difference. */
		CU_ASSERT_DOUBLE_EQUAL(sum / 150528, 0, 0.02);
		CU_ASSERT_DOUBLE_EQUAL(square / 150528, 1 / 3.0 + 1 / 12.0, 0.02);
		CU_ASSERT_DOUBLE_EQUAL(across / (224 * 576), 2 / 12.0, 0.01);
	}
	CU_ASSERT_TRUE(classes > N * 9 / 10);
	close_source(&x);
}

/* 15 % targets, of which 80 % masked, 10 % drawn anew, 10 % left; five deviations. Ends are never masked. */
static void masking(const char *spec, enum lh_data data, int32_t symbols, size_t length, unsigned samples)
{
	struct sample x = open_source(spec, data, lh_test_seed());
	double chosen = 0, masked = 0, same = 0;
	for (unsigned id = 0; id < samples; id++) {
		const int32_t *ids = (const int32_t *)x.in, *to = (const int32_t *)x.out;
		make(&x, false, id);
		size_t targets = 0;
		CU_ASSERT_TRUE(ids[0] == 0 && ids[length - 1] == 2 && to[0] == LH_SOURCE_IGNORED && to[length - 1] == LH_SOURCE_IGNORED);
		for (size_t t = 0; t < length; t++) {
			CU_ASSERT_TRUE(ids[t] >= 0 && ids[t] < symbols && ids[t] != 1);
			CU_ASSERT_TRUE(ids[length + t] == (int32_t)t + 2 && ids[2 * length + t] == 1);
			if (to[t] == LH_SOURCE_IGNORED) {
				CU_ASSERT_TRUE(ids[t] != symbols - 1);
				continue;
			}
			CU_ASSERT_TRUE(to[t] >= 4 && to[t] < symbols - 1);
			targets++;
			masked += ids[t] == symbols - 1;
			same += ids[t] == to[t];
		}
		CU_ASSERT_TRUE(targets > 0);
		chosen += (double)targets;
	}
	const double n = (double)samples * (double)(length - 2);
	CU_ASSERT_DOUBLE_EQUAL(chosen / n, 0.15, 5 * sqrt(0.15 * 0.85 / n));
	CU_ASSERT_DOUBLE_EQUAL(masked / chosen, 0.8, 5 * sqrt(0.16 / chosen));
	CU_ASSERT_DOUBLE_EQUAL(same / chosen, 0.1, 5 * sqrt(0.09 / chosen) + 0.005); /* drawn anew, and the same by chance */
	close_source(&x);
}

static void test_masking(void)
{
	masking("roberta-base", LH_DATA_SYNTHETIC, 50265, 512, 60);
	masking("xlm-roberta-large", LH_DATA_SYNTHETIC, 250002, 512, 20);
	masking("roberta-base", LH_DATA_TEXT, 50265, 512, 60);
	masking("roberta-text-lab", LH_DATA_TEXT, 261, 32, 400);
	struct sample x = open_source("roberta-lab", LH_DATA_SYNTHETIC, 1); /* 14 tokens: every tenth would have no target */
	for (unsigned id = 0; id < 400; id++) {
		unsigned targets = 0;
		make(&x, false, id);
		for (unsigned t = 0; t < 16; t++)
			targets += ((int32_t *)x.out)[t] >= 0;
		CU_ASSERT_TRUE(targets > 0);
	}
	close_source(&x);
}

/* Whisper's vocabulary: prompt, notes, end, padding; the target of each place is what the next one sees. */
static void check_transcript(const struct sample *x, const int32_t *prompt, size_t nprompt, int32_t end)
{
	const size_t length = x->s->shape.length;
	const int32_t *ids = (const int32_t *)(x->in + x->s->shape.frames * 80 * sizeof(float)), *to = (const int32_t *)x->out;
	size_t n = 0;
	CU_ASSERT_EQUAL(memcmp(ids, prompt, nprompt * sizeof *ids), 0);
	for (size_t t = 0; t + 1 < nprompt; t++)
		CU_ASSERT_EQUAL(to[t], LH_SOURCE_IGNORED);
	while (nprompt - 1 + n < length && to[nprompt - 1 + n] != end) {
		CU_ASSERT_TRUE_FATAL(to[nprompt - 1 + n] >= 0 && to[nprompt - 1 + n] < 49);
		CU_ASSERT_EQUAL(ids[nprompt + n], to[nprompt - 1 + n]);
		n++;
	}
	CU_ASSERT_TRUE(n > 0 && nprompt - 1 + n < length);
	for (size_t t = nprompt + n; t < length; t++)
		CU_ASSERT_TRUE(ids[t] == end && to[t] == LH_SOURCE_IGNORED);
}

static void test_speech(void)
{
	static const int32_t whisper[] = { 50258, 50259, 50359, 50363 }, lab[] = { 31 };
	for (unsigned data = LH_DATA_TONES; data <= LH_DATA_SYNTHETIC; data++) {
		struct sample full = open_source("whisper-tiny", data, 1), x = open_source("whisper-lab", data, 1);
		for (uint64_t id = 0; id < 3; id++) {
			make(&full, false, id);
			check_transcript(&full, whisper, 4, 50257);
		}
		for (uint64_t id = 0; id < 200; id++) {
			make(&x, false, id);
			check_transcript(&x, lab, 1, 30);
			for (unsigned i = 0; i < 64 * 80; i++)
				CU_ASSERT_TRUE(fabsf(((float *)x.in)[i]) < 4);
		}
		close_source(&full);
		close_source(&x);
	}
}

/* Against numpy: tests/reference/make-mel.py, which prints six decimals. */
static void test_mel(void)
{
	enum { FRAMES = 16 };
	static float wave[FRAMES * LH_MEL_HOP], mel[FRAMES * LH_MEL_BANDS];
	struct lh_mel *m = NULL;
	double worst = 0;
	for (unsigned i = 0; i < FRAMES * LH_MEL_HOP; i++) {
		const double u = (double)(lh_mix64(7 + (i + 1) * LH_MIX64_STEP) >> 40) / (1 << 23) - 1;
		wave[i] = (float)(0.05 * u + (i >= 4 * LH_MEL_HOP ? 0.3 * sin(2 * acos(-1) * 523.25 * i / 16000) : 0));
	}
	CU_ASSERT_EQUAL_FATAL(lh_mel_new(&m, NULL), 0);
	lh_mel_spectrum(m, wave, FRAMES, mel);
	lh_mel_free(m);
	FILE *f = fopen(lh_test_path("reference/mel.txt"), "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (unsigned i = 0; i < FRAMES * LH_MEL_BANDS; i++) {
		double want = 0;
		CU_ASSERT_EQUAL_FATAL(fscanf(f, "%lf", &want), 1);
		worst = fmax(worst, fabs(want - mel[i]));
	}
	fclose(f);
	printf("# log-mel spectrum: at most %.2g from numpy's\n", worst);
	CU_ASSERT_TRUE(worst < 1e-6);
}

static void test_mel_functions(void)
{
	for (unsigned i = 0; i < 4000; i++) {
		double c, s;
		lh_mel_circle(i / 4000.0, &c, &s);
		CU_ASSERT_DOUBLE_EQUAL(c, cos(2 * acos(-1) * i / 4000), 2e-15);
		CU_ASSERT_DOUBLE_EQUAL(s, sin(2 * acos(-1) * i / 4000), 2e-15);
		const double x = pow(10, (double)i / 200 - 10);
		CU_ASSERT_DOUBLE_EQUAL(lh_mel_log10(x), log10(x), 4e-15);
	}
}

static void expect_refusal(const char *spec, enum lh_data data, const char *word)
{
	struct lh_source *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_TRUE(try_open(spec, data, 1, &s, &err) < 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, word));
	if (!strstr(err.text, word))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NULL(s);
}

static void test_refused(void)
{
	expect_refusal("resnet-lab", LH_DATA_TEXT, "model resnet-lab: it takes images and cannot learn from data text; choose digits or synthetic");
	expect_refusal("digits", LH_DATA_SYNTHETIC, "choose digits");
	expect_refusal("whisper-lab", LH_DATA_DIGITS, "choose tones or synthetic");
	expect_refusal("roberta-lab", LH_DATA_TEXT, "need 261 symbols");
	expect_refusal("resnet18:symbols=3,image=32", LH_DATA_DIGITS, "10 classes");
	expect_refusal("resnet18:image=6", LH_DATA_DIGITS, "8 x 8");
	expect_refusal("whisper-tiny:tokens=6", LH_DATA_TONES, "8 with Whisper's");
	expect_refusal("whisper-lab", LH_DATA_TEXT, "it takes speech");
}

/* A set that is torn or altered on disk is refused when the run begins, by the name of its file. */
static void test_corrupt_set(void)
{
	char dir[] = "/tmp/lh-source.XXXXXX", path[64];
	static uint8_t data[1 << 17];
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	FILE *f = fopen(lh_test_path("../trainer/data/files/digits.lhdata"), "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	const size_t len = fread(data, 1, sizeof data, f);
	fclose(f);
	snprintf(path, sizeof path, "%s/digits.lhdata", dir);
	for (unsigned torn = 0; torn < 3; torn++) {
		struct lh_source *s = NULL;
		struct lh_err err = LH_ERR_INIT;
		const struct lh_input_shape shape = shape_of("resnet-lab");
		f = fopen(path, "we");
		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		data[len / 2] ^= torn == 1;
		CU_ASSERT_EQUAL(fwrite(data, 1, torn == 2 ? len - 1 : len, f), torn == 2 ? len - 1 : len);
		fclose(f);
		data[len / 2] ^= torn == 1;
		const int rc = lh_source_open(&shape, LH_DATA_DIGITS, dir, 1, "resnet-lab", &s, &err);
		CU_ASSERT_EQUAL(rc, torn ? -EBADMSG : 0);
		if (torn)
			CU_ASSERT_PTR_NOT_NULL(strstr(err.text, torn == 1 ? "digits.lhdata: altered" : "digits.lhdata: torn"));
		lh_source_close(s);
	}
	unlink(path);
	rmdir(dir);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "same_everywhere", test_same_everywhere, 0 },
		{ "shards", test_shards, 0 },
		{ "passes", test_passes, 0 },
		{ "full_shapes", test_full_shapes, 0 },
		{ "images", test_images, 0 },
		{ "masking", test_masking, 0 },
		{ "speech", test_speech, 0 },
		{ "mel", test_mel, 0 },
		{ "mel_functions", test_mel_functions, 0 },
		{ "refused", test_refused, 0 },
		{ "corrupt_set", test_corrupt_set, 0 },
	};
	return lh_test_main(argc, argv, "source", tests, sizeof tests / sizeof *tests);
}
