/* Every broken file of diagnostics/ gives exactly the text beside it (NAME.expected).
 *
 * A line "# set: a.b=value" in the file is a --set. `LONGHAUL_UPDATE_GOLDEN=1 test_diagnostics` rewrites the texts;
 * read the diff before you commit it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

enum { FILES_MAX = 200, SETS_MAX = 32 };

static char *slurp(const char *path)
{
	FILE *in = fopen(path, "re");
	char *text = NULL, chunk[4096];
	size_t len = 0, n, size = 0;
	FILE *out = in ? open_memstream(&text, &size) : NULL;
	while (out && (n = fread(chunk, 1, sizeof chunk, in)) > 0)
		len += fwrite(chunk, 1, n, out);
	if (out)
		fclose(out);
	if (in)
		fclose(in);
	return text;
}

/* The "# set:" lines of the file, cut out of `text` in place. */
static size_t find_sets(char *text, struct lh_override sets[SETS_MAX])
{
	size_t n = 0;
	for (char *line = strtok(text, "\n"); line && n < SETS_MAX; line = strtok(NULL, "\n"))
		if (!strncmp(line, "# set: ", 7))
			sets[n++].text = line + 7;
	return n;
}

/* What loading the file prints and returns, as one text; malloc'ed. */
static char *outcome(const char *name)
{
	char *text = slurp(name), *printed = NULL;
	size_t size;
	struct lh_override sets[SETS_MAX];
	struct lh_experiment exp;
	struct lh_err err = LH_ERR_INIT;
	FILE *out = open_memstream(&printed, &size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	int rc = lh_experiment_load(name, sets, find_sets(text, sets), out, &exp, &err);
	CU_ASSERT_NOT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	CU_ASSERT_EQUAL(err.code, rc);
	if (rc == 0)
		lh_experiment_done(&exp);
	fprintf(out, "-> %s\n", err.text);
	fclose(out);
	free(text);
	return printed;
}

static void compare(const char *name)
{
	char relative[512];
	snprintf(relative, sizeof relative, "golden/diagnostics/%s.expected", name);
	char *got = outcome(name);
	lh_test_golden(relative, got);
	free(got);
}

static int is_yaml(const struct dirent *d)
{
	size_t len = strlen(d->d_name);
	return len > 5 && !strcmp(d->d_name + len - 5, ".yaml");
}

static void every_broken_file(void)
{
	struct dirent **list;
	CU_ASSERT_EQUAL_FATAL(chdir(lh_test_path("golden/diagnostics")), 0);
	int n = scandir(".", &list, is_yaml, alphasort);
	CU_ASSERT_FATAL(n > 20);
	for (int i = 0; i < n; i++) {
		compare(list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

static void a_file_that_cannot_be_read(void)
{
	struct lh_experiment exp;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_NOT_EQUAL(lh_experiment_load("/nonexistent/x.yaml", NULL, 0, NULL, &exp, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "/nonexistent/x.yaml: cannot read: No such file or directory");
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
	CU_ASSERT_NOT_EQUAL(lh_experiment_load("/dev/zero", NULL, 0, NULL, &exp, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "/dev/zero: cannot read: Not a regular file");
	CU_ASSERT_NOT_EQUAL(lh_experiment_load("/", NULL, 0, NULL, &exp, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "/: cannot read: Is a directory");
}

static void without_a_stream_the_error_tells_the_first(void)
{
	static const char text[] = "longhaul: 1\nsites: {us: {nic: 5}}\nseed: x\n";
	struct lh_experiment exp;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_experiment_load_text("a.yaml", text, sizeof text - 1, NULL, 0, NULL, &exp, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.text, "a.yaml:2:19: nic: \"5\": a rate needs a unit (bit, kbit, mbit, gbit, tbit); "
			       "did you mean 5mbit? (2 errors)");
	CU_ASSERT_EQUAL(lh_experiment_load_text("a.yaml", text, sizeof text - 1, NULL, 0, NULL, &exp, NULL), -EINVAL);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "every_broken_file", every_broken_file, LH_TEST_FORK },
		{ "a_file_that_cannot_be_read", a_file_that_cannot_be_read },
		{ "without_a_stream_the_error_tells_the_first", without_a_stream_the_error_tells_the_first },
	};
	return lh_test_main(argc, argv, "diagnostics", tests, sizeof tests / sizeof *tests);
}
