/* Small valid files made here, then one thing wrong at a time; and the two shipped files. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/dataset.h"
#include "hash.h"
#include "lhtest.h"

enum { SIDE = 2, ITEMS = 5, ITEM = 1 + SIDE * SIDE, TEXT = 40 };
enum { KIND = 8, COUNT = 12, SIDE_AT = 16, CLASSES = 20, MAX_VALUE = 24, HELD_OUT = 28, PAYLOAD = 32 };

static unsigned char file[256];
static size_t len;

static void put32(size_t at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		file[at + (size_t)i] = (unsigned char)(v >> 8 * i);
}

/* Make length and hash right again, so that what is wrong is found for itself. */
static void seal(void)
{
	put32(PAYLOAD, (uint32_t)(len - LH_DATASET_HEADER));
	struct lh_hash64_state s;
	lh_hash64_init(&s, 0);
	lh_hash64_update(&s, file, LH_DATASET_HASH_AT);
	lh_hash64_update(&s, file + LH_DATASET_HEADER, len - LH_DATASET_HEADER);
	const uint64_t h = lh_hash64_final(&s);
	put32(LH_DATASET_HASH_AT, (uint32_t)h);
	put32(LH_DATASET_HASH_AT + 4, (uint32_t)(h >> 32));
}

static void make(enum lh_dataset_kind kind)
{
	memset(file, 0, sizeof file);
	memcpy(file, "lhdata1\n", 8);
	const bool images = kind == LH_DATASET_IMAGES;
	put32(KIND, kind);
	put32(COUNT, images ? ITEMS : TEXT);
	put32(SIDE_AT, images ? SIDE : 0);
	put32(CLASSES, images ? 3 : 256);
	put32(MAX_VALUE, images ? 16 : 255);
	put32(HELD_OUT, images ? 2 : 13);
	len = LH_DATASET_HEADER + (images ? ITEMS * ITEM : TEXT);
	for (size_t i = 0; i < len - LH_DATASET_HEADER; i++)
		file[LH_DATASET_HEADER + i] = (unsigned char)(images ? i % ITEM ? i % 17 : i / ITEM % 3 : 'a' + i % 4);
	seal();
}

/* Does it open? If not: is the message about `name`, has it `word`, and is the result untouched? */
static bool opens(enum lh_dataset_kind kind, size_t window, const char *word)
{
	struct lh_dataset d = { .classes = 12345 };
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_dataset_parse("some.lhdata", file, len, kind, window, &d, &err);
	if (!rc) {
		lh_dataset_done(&d);
		return true;
	}
	CU_ASSERT_TRUE(rc < 0 && err.code == rc && err.exit == LH_EXIT_INPUT);
	CU_ASSERT_EQUAL(strncmp(err.text, "some.lhdata: ", 13), 0);
	if (!strstr(err.text, word)) {
		printf("# \"%s\" does not say \"%s\"\n", err.text, word);
		CU_ASSERT_TRUE(false);
	}
	CU_ASSERT_EQUAL(d.classes, 12345);
	return false;
}

static void images_are_read(void)
{
	struct lh_dataset d;
	uint8_t input[4], target;
	make(LH_DATASET_IMAGES);
	CU_ASSERT_EQUAL_FATAL(lh_dataset_parse("x", file, len, LH_DATASET_IMAGES, 0, &d, NULL), 0);
	CU_ASSERT_EQUAL(d.train_samples, 3);
	CU_ASSERT_EQUAL(d.held_out_samples, 2);
	CU_ASSERT_DOUBLE_EQUAL(d.reference, 1.0 / 3, 1e-15);
	for (uint64_t i = 0; i < ITEMS; i++) {
		const bool held = i >= 3;
		lh_dataset_sample(&d, held, held ? i - 3 : i, input, &target);
		CU_ASSERT_EQUAL(target, file[LH_DATASET_HEADER + i * ITEM]);
		CU_ASSERT_EQUAL(memcmp(input, file + LH_DATASET_HEADER + i * ITEM + 1, 4), 0);
	}
	lh_dataset_done(&d);
}

static void text_is_read(void)
{
	struct lh_dataset d;
	uint8_t input[4], target[4];
	make(LH_DATASET_TEXT);
	CU_ASSERT_EQUAL_FATAL(lh_dataset_parse("x", file, len, LH_DATASET_TEXT, 4, &d, NULL), 0);
	CU_ASSERT_EQUAL(d.train_samples, TEXT - 13 - 4); /* the last window's last target is the last training byte */
	CU_ASSERT_EQUAL(d.held_out_samples, 3);          /* 12 inputs, 13 bytes */
	for (uint64_t i = 0; i < d.train_samples; i++) {
		lh_dataset_sample(&d, false, i, input, target);
		CU_ASSERT_EQUAL(memcmp(input, file + LH_DATASET_HEADER + i, 4), 0);
		CU_ASSERT_EQUAL(memcmp(target, file + LH_DATASET_HEADER + i + 1, 4), 0);
	}
	lh_dataset_sample(&d, true, 2, input, target);
	CU_ASSERT_EQUAL(memcmp(target, file + len - 4, 4), 0);
	/* Training part: 27 bytes, abcd in turn: 7 7 7 6. */
	CU_ASSERT_DOUBLE_EQUAL(d.reference, -(21 / 27.0 * log(7 / 27.0) + 6 / 27.0 * log(6 / 27.0)), 1e-12);
	lh_dataset_done(&d);
}

static void every_torn_file_is_refused(void)
{
	for (int kind = LH_DATASET_IMAGES; kind <= LH_DATASET_TEXT; kind++) {
		make(kind);
		CU_ASSERT_TRUE(opens(kind, 4, ""));
		const size_t whole = len;
		for (len = 0; len < whole; len++)
			CU_ASSERT_FALSE(opens(kind, 4, len < LH_DATASET_HEADER ? "not a data set" : "torn"));
		len = whole + 1;
		CU_ASSERT_FALSE(opens(kind, 4, "torn"));
	}
}

static void every_flipped_bit_is_seen(void)
{
	make(LH_DATASET_IMAGES);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		file[bit / 8] ^= (unsigned char)(1u << bit % 8);
		CU_ASSERT_FALSE(opens(LH_DATASET_IMAGES, 0, bit < 64 ? "not a data set" : ""));
		file[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
}

static void foreign_headers_are_refused(void)
{
	static const struct { int kind; size_t at; uint32_t value; const char *word; } wrong[] = {
		{ LH_DATASET_IMAGES, KIND, 2, "kind" }, { LH_DATASET_IMAGES, KIND, 7, "kind" },
		{ LH_DATASET_IMAGES, COUNT, ITEMS + 1, "do not make" }, { LH_DATASET_IMAGES, COUNT, 0, "do not make" },
		{ LH_DATASET_IMAGES, COUNT, UINT32_MAX, "do not make" },
		{ LH_DATASET_IMAGES, SIDE_AT, 0, "pixels" }, { LH_DATASET_IMAGES, SIDE_AT, UINT32_MAX, "pixels" },
		{ LH_DATASET_IMAGES, SIDE_AT, 3, "do not make" },
		{ LH_DATASET_IMAGES, CLASSES, 1, "classes" }, { LH_DATASET_IMAGES, CLASSES, 257, "classes" },
		{ LH_DATASET_IMAGES, CLASSES, 2, "label" },
		{ LH_DATASET_IMAGES, MAX_VALUE, 0, "up to" }, { LH_DATASET_IMAGES, MAX_VALUE, 256, "up to" },
		{ LH_DATASET_IMAGES, MAX_VALUE, 15, "a pixel" },
		{ LH_DATASET_IMAGES, HELD_OUT, 0, "held out" }, { LH_DATASET_IMAGES, HELD_OUT, ITEMS, "held out" },
		{ LH_DATASET_TEXT, COUNT, TEXT - 1, "not one of text" }, { LH_DATASET_TEXT, SIDE_AT, 1, "not one of text" },
		{ LH_DATASET_TEXT, HELD_OUT, 4, "too few" }, { LH_DATASET_TEXT, HELD_OUT, TEXT - 4, "too few" },
		{ LH_DATASET_TEXT, HELD_OUT, UINT32_MAX, "too few" },
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		make(wrong[i].kind);
		put32(wrong[i].at, wrong[i].value);
		seal();
		CU_ASSERT_FALSE(opens(wrong[i].kind, 4, wrong[i].word));
	}
	make(LH_DATASET_TEXT);
	CU_ASSERT_FALSE(opens(LH_DATASET_TEXT, 0, "windows"));
	CU_ASSERT_FALSE(opens(LH_DATASET_TEXT, SIZE_MAX, "windows"));
}

static void files_that_are_none(void)
{
	struct lh_dataset d;
	struct lh_err err = LH_ERR_INIT;
	char path[] = "/tmp/lh-dataset.XXXXXX";
	CU_ASSERT_EQUAL(lh_dataset_open("/nowhere/x.lhdata", LH_DATASET_TEXT, 4, &d, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nowhere/x.lhdata: No such file"));
	CU_ASSERT_EQUAL(lh_dataset_open("/", LH_DATASET_TEXT, 4, &d, &err), -EBADMSG);
	CU_ASSERT_EQUAL(lh_dataset_open("/dev/zero", LH_DATASET_TEXT, 4, &d, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
	char inside[64];
	snprintf(inside, sizeof inside, "%s/fifo", path);
	CU_ASSERT_EQUAL_FATAL(mkfifo(inside, 0600), 0);
	CU_ASSERT_EQUAL(lh_dataset_open(inside, LH_DATASET_TEXT, 4, &d, &err), -EBADMSG); /* and does not hang */
	unlink(inside);
	int fd = open(inside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)LH_DATASET_FILE_MAX + 1), 0);
	close(fd);
	CU_ASSERT_EQUAL(lh_dataset_open(inside, LH_DATASET_TEXT, 4, &d, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "at most"));
	unlink(inside);
	rmdir(path);
}

static void shipped_files(void)
{
	struct lh_dataset d;
	CU_ASSERT_EQUAL_FATAL(lh_dataset_open(lh_test_path("../trainer/data/files/digits.lhdata"), LH_DATASET_IMAGES, 0,
					      &d, NULL), 0);
	CU_ASSERT_EQUAL(d.train_samples, 1500);
	CU_ASSERT_EQUAL(d.held_out_samples, 297);
	CU_ASSERT_EQUAL(d.reference, 0.1);
	lh_dataset_done(&d);
	CU_ASSERT_EQUAL_FATAL(lh_dataset_open(lh_test_path("../trainer/data/files/text.lhdata"), LH_DATASET_TEXT, 64, &d,
					      NULL), 0);
	CU_ASSERT_EQUAL(d.train_samples, 125179 - 12517 - 64);
	CU_ASSERT_EQUAL(d.held_out_samples, 12516 / 64);
	CU_ASSERT_DOUBLE_EQUAL(d.reference, 3.3300, 5e-5);
	lh_dataset_done(&d);
	CU_ASSERT_EQUAL(lh_dataset_open(lh_test_path("../trainer/data/files/text.lhdata"), LH_DATASET_IMAGES, 0, &d, NULL),
			-EBADMSG);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "images_are_read", images_are_read, 0 },
		{ "text_is_read", text_is_read, 0 },
		{ "every_torn_file_is_refused", every_torn_file_is_refused, 0 },
		{ "every_flipped_bit_is_seen", every_flipped_bit_is_seen, 0 },
		{ "foreign_headers_are_refused", foreign_headers_are_refused, 0 },
		{ "files_that_are_none", files_that_are_none, LH_TEST_FORK },
		{ "shipped_files", shipped_files, 0 },
	};
	return lh_test_main(argc, argv, "dataset", tests, sizeof tests / sizeof *tests);
}
