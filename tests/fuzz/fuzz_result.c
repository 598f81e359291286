/* result.json and manifest.json read back: whatever is in them, the reader refuses it or the comparison is printed and is
 * JSON again. A NUL separates the two; without one there is no manifest.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(struct lh_compare *c)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	lh_compare_settle(c);
	if (out) {
		lh_compare_print(c, out);
		lh_result_rows_print(&c->runs[0].row, 1, out);
		fclose(out);
	}
	free(text);
	json_t *doc = lh_compare_json(c);
	text = json_dumps(doc, 0);
	json_decref(doc);
	doc = text ? json_loads(text, 0, NULL) : NULL;
	if (!doc)
		abort();
	json_decref(doc);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0, size) : NULL;
	size_t n = end ? (size_t)(end - data) : size;
	json_t *result = json_loadb((const char *)data, n, 0, NULL);
	json_t *manifest = end ? json_loadb((const char *)end + 1, size - n - 1, 0, NULL) : NULL;
	static const char *const other = "{\"schema\": \"longhaul-result/1\", \"summary\": {\"valid\": true}, "
					 "\"epochs\": [{\"samples\": 100, \"loss\": 2.5}]}";
	json_t *second = json_loads(other, 0, NULL);
	struct lh_compare c = { 0 };
	struct lh_err err = LH_ERR_INIT;

	if (lh_compare_add_docs(&c, "fuzz", result, manifest, &err) < 0) {
		if (!err.code || err.exit != LH_EXIT_INPUT)
			abort();
	} else if (lh_compare_add_docs(&c, "other", second, NULL, &err) == 0) {
		print(&c);
	}
	lh_compare_done(&c);
	json_decref(result);
	json_decref(manifest);
	json_decref(second);
	return 0;
}
