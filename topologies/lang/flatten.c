/* flatten.c - a tree as a list of "way to a scalar", "its text": for comparing two experiments key by key. */
#include <stdio.h>
#include <string.h>

#include "lang.h"

static const char *scalar(const struct lang_node *map, const char *key)
{
	const struct lang_entry *e = map->kind == LANG_MAP ? lang_find(map, key) : NULL;
	return e && e->value->kind == LANG_SCALAR ? e->value->text : NULL;
}

/* "[us-0]", "[us->eu]", "[3]" */
static int print_item(const struct lang_node *item, size_t number, char *at, size_t room)
{
	const char *name = scalar(item, "name"), *from = scalar(item, "from"), *to = scalar(item, "to");
	if (name)
		return snprintf(at, room, "[%s]", name);
	if (from && to)
		return snprintf(at, room, "[%s->%s]", from, to);
	return snprintf(at, room, "[%zu]", number);
}

void lang_flatten(const struct lang_node *node, char *path, size_t len, lh_flat_fn *fn, void *ctx)
{
	size_t number = 0;
	if (node->kind == LANG_SCALAR) {
		fn(ctx, path, node->text);
		return;
	}
	for (const struct lang_entry *e = node->first; e; e = e->next, number++) {
		int n = e->key ? snprintf(path + len, LANG_PATH_MAX - len, "%s%s", len ? "." : "", e->key)
			       : print_item(e->value, number, path + len, LANG_PATH_MAX - len);
		if (n < 0 || (size_t)n >= LANG_PATH_MAX - len)
			n = (int)(LANG_PATH_MAX - len) - 1; /* no key of ours is that long */
		lang_flatten(e->value, path, len + (size_t)n, fn, ctx);
		path[len] = 0;
	}
}
