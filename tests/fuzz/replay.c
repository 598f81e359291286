/* Feeds every file of the given directories to a fuzz target; the main of all replay programs. With any compiler, in
 * every test run: what a fuzzer once found stays found. Output is TAP, one line a file; no file at all fails.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t ran, failed;

static void replay(const char *path)
{
	FILE *f = fopen(path, "rbe");
	size_t len = 0, cap = 1 << 22;
	uint8_t *data = malloc(cap);
	if (f && data)
		len = fread(data, 1, cap, f);
	/* A copy of exact size, so that a sanitizer sees the first byte too many. */
	uint8_t *exact = malloc(len ? len : 1);
	bool fine = f && data && exact && !ferror(f) && len < cap;
	if (fine) {
		memcpy(exact, data, len);
		LLVMFuzzerTestOneInput(exact, len);
	}
	ran++;
	failed += !fine;
	printf("%sok %zu - %s\n", fine ? "" : "not ", ran, path);
	if (f)
		fclose(f);
	free(data);
	free(exact);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		struct dirent **list;
		int n = scandir(argv[i], &list, NULL, by_name);
		if (n < 0) {
			printf("Bail out! %s: %s\n", argv[i], strerror(errno));
			return 1;
		}
		for (int k = 0; k < n; k++) {
			char path[4096];
			snprintf(path, sizeof path, "%s/%s", argv[i], list[k]->d_name);
			if (list[k]->d_name[0] != '.')
				replay(path);
			free(list[k]);
		}
		free(list);
	}
	printf("1..%zu\n", ran);
	return failed || !ran;
}
