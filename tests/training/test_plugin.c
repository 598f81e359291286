/* The GPU plugin on a machine without a GPU: that it loads, that nothing in it is missing, that it has code for what it says,
 * and that it refuses properly. With a GPU the last one is skipped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/plugin.h"
#include "lhtest.h"

static const struct lh_backend_plugin *load(void)
{
	const struct lh_backend_plugin *p = NULL;
	struct lh_err err = LH_ERR_INIT;
	if (lh_backend_plugin_load(PLUGIN_DIR, &p, &err))
		printf("# %s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

/* dlopen resolves every symbol at once (RTLD_NOW), so that loading it says that. */
static void test_complete(void)
{
	const struct lh_backend_plugin *p = load();
	for (unsigned precision = 0; precision < LH_PRECISIONS; precision++) {
		const struct lh_backend_ops *o = p->ops[precision];
		CU_ASSERT_STRING_EQUAL(o->name, "cuda");
		CU_ASSERT_EQUAL(o->precision, precision);
		CU_ASSERT_EQUAL(o->element_bytes, 4);
		CU_ASSERT_EQUAL(o->activation_bytes, precision == LH_PRECISION_FP32 ? 4 : 2);
		CU_ASSERT_TRUE(o->open && o->close && o->alloc && o->release && o->put && o->get && o->zero && o->put_reals &&
			       o->get_reals && o->cast && o->wait && o->optim_open && o->optim_close && o->optim_square_sum && o->optim_step &&
			       !o->host_memory);
		for (unsigned i = 0; i < LH_OP_COUNT; i++)
			CU_ASSERT_TRUE(o->op[i] && o->op[i]->forward && o->op[i]->backward);
	}
}

/* --- what code is in the file ---
 *
 * A fat binary is a header (magic, version, header bytes, bytes behind it) and entries: kind (1: PTX, 2: machine code), ...,
 * header bytes at 4, bytes behind at 8, architecture at 28. */
enum { MAGIC = 0xba55ed50u, ENTRY_MIN = 32, ARCHS = 256 };

static uint64_t number(const unsigned char *p, unsigned bytes)
{
	uint64_t v = 0;
	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

struct counts {
	unsigned binaries, code[ARCHS], ptx[ARCHS];
};

static void read_entries(const unsigned char *at, const unsigned char *end, struct counts *c)
{
	while (end - at >= ENTRY_MIN) {
		const uint64_t kind = number(at, 2), header = number(at + 4, 4), bytes = number(at + 8, 8);
		const uint64_t arch = number(at + 28, 4);
		if (header < ENTRY_MIN || bytes > (uint64_t)(end - at) - header || arch >= ARCHS)
			return;
		(kind == 1 ? c->ptx : c->code)[arch]++;
		at += header + bytes;
	}
}

static void count_code(const char *path, struct counts *c)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
	const unsigned char *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CU_ASSERT_FATAL(file != MAP_FAILED);
	const unsigned char *end = file + st.st_size;
	for (const unsigned char *p = file; end - p >= 16; p += 8) { /* aligned to 8 */
		if (number(p, 4) != MAGIC)
			continue;
		const uint64_t header = number(p + 6, 2), bytes = number(p + 8, 8);
		if (header != 16 || bytes > (uint64_t)(end - p) - header)
			continue;
		c->binaries++;
		read_entries(p + header, p + header + bytes, c);
	}
	munmap((void *)(uintptr_t)file, (size_t)st.st_size);
	close(fd);
}

/* Every .cu's code is there for every architecture that the build asked for, and PTX of the last. */
static void test_architectures(void)
{
	static const unsigned archs[] = { PLUGIN_ARCHS };
	const size_t n = sizeof archs / sizeof *archs;
	struct counts c = { 0 };
	count_code(PLUGIN_DIR "/longhaul-cuda.so", &c);
	printf("# %u fat binaries\n", c.binaries);
	CU_ASSERT_TRUE(c.binaries >= PLUGIN_KERNEL_FILES);
	for (size_t i = 0; i < n; i++) {
		char name[16];
		printf("# sm_%u: %u, PTX: %u\n", archs[i], c.code[archs[i]], c.ptx[archs[i]]);
		CU_ASSERT_TRUE(c.code[archs[i]] >= PLUGIN_KERNEL_FILES);
		snprintf(name, sizeof name, "sm_%u", archs[i]);
		CU_ASSERT_PTR_NOT_NULL(strstr(load()->built_for, name));
	}
	CU_ASSERT_TRUE(c.ptx[archs[n - 1]] >= PLUGIN_KERNEL_FILES);
}

static void test_no_device(void)
{
	const struct lh_backend_plugin *p = load();
	struct lh_err err = LH_ERR_INIT;
	unsigned devices = 77;
	int rc = p->probe(&devices, &err);
	if (!rc) {
		lh_test_skip("no-gpu", "there is a GPU");
		return;
	}
	printf("# %s\n", err.text);
	CU_ASSERT_EQUAL(rc, -ENODEV);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_MACHINE);
	CU_ASSERT_EQUAL(devices, 77);
	CU_ASSERT_EQUAL(strncmp(err.text, "engine cuda: ", 13), 0);
	for (unsigned i = 0; i < LH_PRECISIONS; i++) {
		struct lh_backend *b = (struct lh_backend *)&err;
		struct lh_err again = LH_ERR_INIT;
		CU_ASSERT_EQUAL(p->ops[i]->open(NULL, &b, &again), -ENODEV);
		CU_ASSERT_EQUAL(again.exit, LH_EXIT_MACHINE);
		CU_ASSERT_STRING_EQUAL(again.text, err.text);
		CU_ASSERT_PTR_EQUAL(b, &err);
	}
}

/* Loaded once, whatever is asked for then. */
static void test_not_there(void)
{
	const struct lh_backend_plugin *p = NULL;
	const struct lh_backend_ops *o = NULL;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_backend_plugin_load("/nonexistent", &p, &err), -ENOENT);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_MACHINE);
	CU_ASSERT_PTR_NULL(p);
	CU_ASSERT_EQUAL(lh_backend_find("cpu", LH_PRECISION_FP32, &o, NULL), 0);
	CU_ASSERT_PTR_EQUAL(o, &lh_backend_cpu);
	CU_ASSERT_EQUAL(lh_backend_find("cpu", LH_PRECISION_BF16, &o, &err), -ENOTSUP);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	CU_ASSERT_EQUAL(lh_backend_find("tpu", LH_PRECISION_FP32, &o, &err), -EINVAL);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "not_there", test_not_there, 0 }, /* first: a plugin is loaded once */
		{ "complete", test_complete, 0 },
		{ "architectures", test_architectures, 0 },
		{ "no_device", test_no_device, 0 },
	};
	return lh_test_main(argc, argv, "plugin", tests, sizeof tests / sizeof *tests);
}
