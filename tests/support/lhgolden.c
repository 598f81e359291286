/* Stored texts: what a program said when somebody last read it and found it right. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"

/* The line in which they part, of both. */
static void show_difference(const char *relative, const char *want, const char *got)
{
	const char *want_line = want, *got_line = got;
	size_t line = 1;

	for (size_t i = 0; got[i] && got[i] == want[i]; i++)
		if (got[i] == '\n') {
			line++;
			want_line = want + i + 1;
			got_line = got + i + 1;
		}
	printf("# %s differs in line %zu\n#   wanted: %.*s\n#   got:    %.*s\n", relative, line,
	       (int)strcspn(want_line, "\n"), want_line, (int)strcspn(got_line, "\n"), got_line);
}

void lh_test_golden(const char *relative, const char *got)
{
	const char *path = lh_test_path(relative);
	char *want = NULL;
	size_t room = 0;

	if (getenv("LONGHAUL_UPDATE_GOLDEN")) {
		FILE *out = fopen(path, "we");
		CU_ASSERT_PTR_NOT_NULL_FATAL(out);
		CU_ASSERT_TRUE(fputs(got, out) >= 0);
		CU_ASSERT_EQUAL(fclose(out), 0);
	}
	FILE *in = fopen(path, "re");
	ssize_t n = in ? getdelim(&want, &room, 0, in) : -1;
	if (in)
		fclose(in);
	bool same = n >= 0 && !strcmp(got, want);
	if (!same)
		show_difference(relative, n >= 0 ? want : "", got);
	CU_ASSERT_TRUE(same);
	free(want);
}
