/* resolve.c - one tree out of a file, the files it includes, and --set.
 *
 * Maps merge key by key; a list or a single value replaces what was there. Nodes keep the source they came
 * from, so a complaint points at the include or at --set, wherever the value was written.
 */
#include "lang.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static struct lang_node *load_source(struct lang *l, struct lang_source *source);

static void merge(struct lang *l, struct lang_node *base, struct lang_node *over)
{
	base->at = over->at;
	for (struct lang_entry *e = over->first; e; e = e->next) {
		struct lang_entry *old = lang_find(base, e->key);
		if (!old)
			lang_append(l, base, e->key, &e->key_at, e->value);
		else if (old->value->kind == LANG_MAP && e->value->kind == LANG_MAP)
			merge(l, old->value, e->value);
		else
			old->value = e->value, old->key_at = e->key_at;
	}
}

static struct lang_node *include_one(struct lang *l, struct lang_node *path)
{
	if (path->kind != LANG_SCALAR || !*path->text)
		return NULL; /* typing complains */
	const char *name = lang_path_from(l, path->at.source->dir, path->text);
	for (unsigned i = 0; i < l->depth; i++)
		if (!strcmp(l->including[i]->name, name)) {
			lang_error(l, &path->at, "include: %s includes itself", name);
			return NULL;
		}
	if (l->depth >= LANG_INCLUDE_MAX || l->nsources >= LANG_SOURCES_MAX) {
		lang_error(l, &path->at, "include: too many files, or nested more than %d deep", LANG_INCLUDE_MAX);
		return NULL;
	}
	struct lang_source *source = lang_source_file(l, name, &path->at);
	struct lang_node *tree = source ? load_source(l, source) : NULL;
	if (tree && tree->kind != LANG_MAP) {
		lang_error(l, &tree->at, "an included file must be a map of keys");
		return NULL;
	}
	return tree;
}

static struct lang_node *load_source(struct lang *l, struct lang_source *source)
{
	l->including[l->depth++] = source;
	struct lang_node *tree = lang_parse(l, source, 0);
	struct lang_entry *include = lang_find(tree, "include");
	if (include) {
		struct lang_node *base = lang_node_new(l, LANG_MAP, &tree->at), *one;
		if (include->value->kind == LANG_SCALAR && (one = include_one(l, include->value)))
			merge(l, base, one);
		if (include->value->kind == LANG_LIST)
			for (struct lang_entry *e = include->value->first; e; e = e->next)
				if ((one = include_one(l, e->value)))
					merge(l, base, one);
		merge(l, base, tree);
		tree = base;
	}
	l->depth--;
	return tree;
}

/* --- --set a.b=value --- */

struct setter {
	struct lang *l;
	struct lang_source *source;
	const char *text;
};

static struct lang_span part_span(const struct setter *s, const char *from, const char *to)
{
	return (struct lang_span){ s->source, 0, (size_t)(from - s->text), 0, (size_t)(to - s->text) };
}

/* us-eu and us->eu find the list's item with those ends; any other word the item with that name. */
static bool item_is(struct lang *l, const struct lang_node *item, const char *word)
{
	struct lang_entry *name = lang_find(item, "name"), *between = lang_find(item, "between");
	struct lang_entry *from = lang_find(item, "from"), *to = lang_find(item, "to");
	if (name && name->value->kind == LANG_SCALAR && !strcmp(name->value->text, word))
		return true;
	if (between && between->value->kind == LANG_LIST && between->value->count == 2) {
		const char *a = between->value->first->value->text, *b = between->value->first->next->value->text;
		return !strcmp(lang_printf(l, "%s-%s", a, b), word) || !strcmp(lang_printf(l, "%s-%s", b, a), word);
	}
	return from && to && !strcmp(lang_printf(l, "%s->%s", from->value->text, to->value->text), word);
}

static struct lang_entry *list_step(struct setter *s, struct lang_node *list, const char *word,
				    const struct lang_span *at)
{
	struct lang_entry *e = list->first;
	if (isdigit((unsigned char)*word)) {
		char *end;
		unsigned long index = strtoul(word, &end, 10);
		for (unsigned long i = 0; !*end && e && i < index; i++)
			e = e->next;
		if (!*end && e)
			return e;
		if (!*end && index == list->count) {
			struct lang_span where = *at;
			return lang_append(s->l, list, NULL, &where, lang_node_new(s->l, LANG_MAP, &where));
		}
	}
	for (e = list->first; e; e = e->next)
		if (item_is(s->l, e->value, word))
			return e;
	lang_error(s->l, at,
		   "no item \"%s\" in this list of %zu; use its index from 0, its name, or a-b, a->b for a link", word,
		   list->count);
	return NULL;
}

/* One step down from `node`. What is not there yet is made: a list when an index follows, else a map. */
static struct lang_entry *step(struct setter *s, struct lang_node *node, const char *word, const struct lang_span *at,
			       bool index_follows)
{
	if (node->kind == LANG_LIST)
		return list_step(s, node, word, at);
	if (node->kind == LANG_SCALAR) {
		/* tcp: default, and a key without value, hold a place that a map may take */
		if (*node->text && strcmp(node->text, "default")) {
			lang_error(s->l, at, "cannot go on to \"%s\": what is before it is the single value \"%s\"",
				   word, node->text);
			return NULL;
		}
		*node = *lang_node_new(s->l, LANG_MAP, at);
		node->tail = &node->first;
	}
	struct lang_entry *e = lang_find(node, word);
	return e ? e : lang_append(s->l, node, word, at, lang_node_new(s->l, index_follows ? LANG_LIST : LANG_MAP, at));
}

static void set_one(struct lang *l, struct lang_node *root, const char *text)
{
	struct setter s = { .l = l, .text = text };
	s.source = lang_source_text(l, "--set", "", text, strlen(text));
	const char *equals = strchr(text, '='), *p = text;
	struct lang_span all = part_span(&s, text, text + strlen(text));
	if (!equals || equals == text ||
	    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.>") <
		(size_t)(equals - text)) {
		lang_error(l, &all, "--set wants a.b=value, for example matrix.rtt.us.eu=100ms");
		return;
	}
	if (!equals[1]) {
		lang_error(l, &all, "--set: no value after =");
		return;
	}
	struct lang_node *value = lang_parse(l, s.source, (size_t)(equals + 1 - text));
	struct lang_node *node = root;
	struct lang_entry *e = NULL;
	for (unsigned depth = 0; value && p <= equals; depth++) {
		const char *end = p + strcspn(p, ".=");
		struct lang_span at = part_span(&s, p, end);
		if (end == p || depth >= LANG_DEPTH_MAX) {
			lang_error(l, &at, "--set: a name is missing between the points, or there are too many");
			return;
		}
		bool index_follows = *end == '.' && strspn(end + 1, "0123456789") == strcspn(end + 1, ".=");
		e = step(&s, node, lang_strndup(l, p, (size_t)(end - p)), &at, index_follows && end[1] != '.');
		if (!e)
			return;
		node = e->value;
		p = end + 1;
	}
	if (e && value)
		e->value = value;
}

struct lang_node *lang_resolve(struct lang *l, struct lang_source *source, const struct lh_override *set, size_t nset)
{
	struct lang_node *root = load_source(l, source);
	if (!root || root->kind != LANG_MAP)
		return root;
	for (size_t i = 0; i < nset; i++) {
		if (l->nsources >= LANG_SOURCES_MAX) {
			lang_error(l, &root->at, "too many --set (%d)", LANG_SOURCES_MAX);
			break;
		}
		set_one(l, root, set[i].text);
	}
	return root;
}
