/* The catalogue: two names of a model, devices in any case, and the user's own file: read whole or not at all, written
 * atomically, by several at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

static struct lh_catalogue_entry entry(const char *model, const char *device, uint64_t parameters, double rate)
{
	struct lh_catalogue_entry e = { .parameters = parameters, .samples_per_s = rate, .engine = "cpu", .precision = "fp32",
					.products = "own", .measured = "2026-11-23T00:00:00Z", .microbatch = 8 };
	snprintf(e.model, sizeof e.model, "%s", model);
	snprintf(e.device, sizeof e.device, "%s", device);
	return e;
}

static char folder[64], path[128];

static void make_folder(void)
{
	strcpy(folder, "/tmp/lh-catalogue-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/a/b/catalogue.json", folder);
}

static void remove_folder(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -r %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void test_names(void)
{
	const struct lh_catalogue_entry *e = lh_catalogue_find("convnext_large", "t4");
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_STRING_EQUAL(e->model, "CONV");
	CU_ASSERT_STRING_EQUAL(e->device, "T4");
	CU_ASSERT_PTR_EQUAL(e, lh_catalogue_find("CONV", "T4"));
	CU_ASSERT(lh_catalogue_same_model("roberta-base", "RBase"));
	CU_ASSERT(!lh_catalogue_same_model("roberta-base", "RLrg"));
	CU_ASSERT_PTR_NULL(lh_catalogue_find("convnext_large", "mine"));
}

static void test_add(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_catalogue_entry e = entry("resnet-lab", "mine", 78962, 123.5);
	struct stat info;
	make_folder();
	CU_ASSERT_EQUAL(lh_catalogue_load(path, &err), 0); /* not there: empty */
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), 0);
	CU_ASSERT_EQUAL(lh_catalogue_find("resnet-lab", "Mine")->samples_per_s, 123.5);
	e.samples_per_s = 60; /* in its place */
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), 0);
	e = entry("resnet18", "mine", 11689512, 9);
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), 0);
	CU_ASSERT_EQUAL(lh_catalogue_load(path, &err), 0);
	CU_ASSERT_EQUAL(lh_catalogue_find("resnet-lab", "mine")->samples_per_s, 60);
	CU_ASSERT_EQUAL(lh_catalogue_find("resnet-lab", "mine")->microbatch, 8);
	CU_ASSERT_EQUAL(lh_catalogue_find("RN18", "mine")->samples_per_s, 9);
	CU_ASSERT_PTR_NULL(lh_catalogue_find("resnet-lab", "yours"));
	char temporary[160];
	snprintf(temporary, sizeof temporary, "%s.new", path);
	CU_ASSERT(stat(temporary, &info) < 0 && errno == ENOENT);
	/* What cannot be: it stays as it was. */
	e = entry("resnet18", "other", 5, 9);
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "model resnet18 has 11689512 parameters, not 5"));
	e = entry("resnet-lab", "cpu", 78962, 9);
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), -EEXIST);
	e = entry("resnet-lab", "mine", 78962, -1);
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), -ERANGE);
	CU_ASSERT_EQUAL(lh_catalogue_load(path, &err), 0);
	CU_ASSERT_EQUAL(lh_catalogue_find("resnet-lab", "mine")->samples_per_s, 60);
	remove_folder();
}

/* Eight that calibrate at a time. */
static void test_writers(void)
{
	struct lh_err err = LH_ERR_INIT;
	pid_t pids[8];
	make_folder();
	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			int rc = 0;
			for (int k = 0; !rc && k < 5; k++) {
				char device[16];
				snprintf(device, sizeof device, "d%d-%d", i, k);
				struct lh_catalogue_entry e = entry("resnet-lab", device, 78962, 1 + i);
				rc = lh_catalogue_add(path, &e, &err);
			}
			_exit(rc != 0);
		}
	}
	for (int i = 0; i < 8; i++) {
		int status = -1;
		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	CU_ASSERT_EQUAL(lh_catalogue_load(path, &err), 0);
	size_t n = 0, all = 0;
	for (; lh_catalogue_at(all); all++)
		n += lh_catalogue_at(all)->own;
	CU_ASSERT_EQUAL(n, 40);
	remove_folder();
}

static void test_bad_files(void)
{
	static const struct { const char *text, *says; } rows[] = {
		{ "{", "c.json:1:" },
		{ "[]", "c.json: not a catalogue \"longhaul-catalogue/1\"" },
		{ "{\"schema\": \"longhaul-catalogue/9\", \"entries\": []}", "but \"longhaul-catalogue/9\"" },
		{ "{\"schema\": \"longhaul-catalogue/1\", \"entries\": [1]}", "c.json: entry 1: needs model, device" },
		{ "{\"schema\": \"longhaul-catalogue/1\", \"entries\": [], \"x\": 1}", "and no more" },
	};
	struct lh_err err = LH_ERR_INIT;
	struct lh_catalogue_entry e = entry("resnet-lab", "mine", 78962, 5);
	make_folder();
	CU_ASSERT_EQUAL(lh_catalogue_add(path, &e, &err), 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		CU_ASSERT(lh_catalogue_load_text("c.json", rows[i].text, strlen(rows[i].text), &err) < 0);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, rows[i].says));
		CU_ASSERT_PTR_NOT_NULL(lh_catalogue_find("resnet-lab", "mine")); /* what was read before stays */
	}
	/* A folder, a device without end. */
	CU_ASSERT(lh_catalogue_load(folder, &err) < 0);
	CU_ASSERT(lh_catalogue_load("/dev/zero", &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not a regular file"));
	/* A bad one is not overwritten. */
	FILE *f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs("mine!", f);
	fclose(f);
	CU_ASSERT(lh_catalogue_add(path, &e, &err) < 0);
	f = fopen(path, "r");
	char text[8] = "";
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_PTR_NOT_NULL(fgets(text, sizeof text, f));
	fclose(f);
	CU_ASSERT_STRING_EQUAL(text, "mine!");
	remove_folder();
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "names of models and devices", test_names, 0 },
		{ "entries are added and replaced", test_add, LH_TEST_FORK },
		{ "several writers", test_writers, LH_TEST_FORK },
		{ "bad files", test_bad_files, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "catalogue", tests, sizeof tests / sizeof *tests);
}
