/* preset.c - the presets of topologies/, in the program itself: `preset:transatlantic` needs no path and no install. */
#include "lang.h"

#include <errno.h>
#include <string.h>

static const struct { const char *name, *text; } presets[] = {
#include "preset_table.h"
};
enum { NPRESETS = sizeof presets / sizeof *presets };

static const char prefix[] = "preset:";

bool lang_is_preset(const char *path)
{
	return !strncmp(path, prefix, sizeof prefix - 1);
}

const char *lang_preset_hint(struct lang *l, const char *path)
{
	for (size_t i = 0; i < NPRESETS; i++)
		if (!strcmp(presets[i].name, path))
			return lang_printf(l, "; did you mean %s%s?", prefix, path);
	return "";
}

struct lang_source *lang_source_preset(struct lang *l, const char *path, const struct lang_span *at)
{
	const char *name = path + sizeof prefix - 1, *names[NPRESETS];
	for (size_t i = 0; i < NPRESETS; i++) {
		names[i] = presets[i].name;
		if (!strcmp(names[i], name))
			return lang_source_text(l, path, "", presets[i].text, strlen(presets[i].text));
	}
	const char *hint = lang_nearest(l, name, names, NPRESETS);
	if (at)
		lang_error(l, at, "no preset \"%s\"%s", name, hint);
	else
		lh_err_set(l->err, LH_EXIT_INPUT, -ENOENT, "%s: no such preset%s", path, hint);
	return NULL;
}
