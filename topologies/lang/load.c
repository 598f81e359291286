/* load.c - bytes to nodes, through libyaml's events.
 *
 * YAML's own conveniences are refused: anchors and aliases (a file of a kilobyte that unfolds to gigabytes),
 * tags, several documents, keys that are no plain names, the same key twice. Depth, sizes and numbers are
 * bounded by the limits in lang.h. Scalars stay text until the key table types them.
 */
#include "lang.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct loader {
	struct lang *l;
	const struct lang_source *source;
	size_t skip;
	bool failed; /* stop: the rest would be noise */
};

struct lang_source *lang_source_text(struct lang *l, const char *name, const char *dir, const char *text, size_t len)
{
	struct lang_source *s = lang_alloc(l, sizeof *s);
	*s = (struct lang_source){ lang_strndup(l, name, strlen(name)), dir, text, len, l->nsources++ };
	return s;
}

static const char *unfit(const struct stat *st)
{
	return S_ISDIR(st->st_mode) ? strerror(EISDIR) : !S_ISREG(st->st_mode) ? "Not a regular file"
		: st->st_size > LANG_FILE_MAX ? "Larger than 8 MiB" : NULL;
}

/* A file's text in the arena. Only regular files: a fifo would block, a device has no end, and opening some devices
 * does something; so it is looked at before it is opened, and again in case it was exchanged meanwhile. */
static const char *slurp(struct lang *l, const char *path, size_t *ret_len, const char **ret_why)
{
	struct stat st;
	*ret_why = stat(path, &st) ? strerror(errno) : unfit(&st);
	if (*ret_why)
		return NULL;
	l->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (l->fd < 0 || fstat(l->fd, &st)) {
		*ret_why = strerror(errno);
		return NULL;
	}
	char *text = NULL;
	*ret_why = unfit(&st);
	size_t len = 0, size = (size_t)st.st_size;
	if (!*ret_why)
		text = lang_alloc(l, size + 1);
	while (!*ret_why && len < size) {
		ssize_t n = read(l->fd, text + len, size - len);
		if (n < 0 && errno != EINTR)
			*ret_why = strerror(errno);
		if (n == 0)
			break; /* it became shorter meanwhile */
		len += n > 0 ? (size_t)n : 0;
	}
	*ret_len = len;
	return *ret_why ? NULL : text;
}

struct lang_source *lang_source_file(struct lang *l, const char *path, const struct lang_span *at)
{
	if (lang_is_preset(path))
		return lang_source_preset(l, path, at);
	const char *why, *slash = strrchr(path, '/');
	size_t len;
	const char *text = slurp(l, path, &len, &why);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	if (!text && at)
		lang_error(l, at, "cannot read %s: %s", path, why);
	else if (!text)
		lh_err_set(l->err, LH_EXIT_INPUT, -EINVAL, "%s: cannot read: %s%s", path, why, lang_preset_hint(l, path));
	if (!text)
		return NULL;
	return lang_source_text(l, path, slash ? lang_strndup(l, path, (size_t)(slash - path) + 1) : "", text, len);
}

const char *lang_path_from(struct lang *l, const char *dir, const char *path)
{
	return path[0] == '/' || lang_is_preset(path) ? path : lang_printf(l, "%s%s", dir, path);
}

static struct lang_span span(const struct loader *ld, const yaml_mark_t *from, const yaml_mark_t *to)
{
	return (struct lang_span){ ld->source, from->line, from->column + (from->line ? 0 : ld->skip), to->line,
				   to->column + (to->line ? 0 : ld->skip) };
}

struct lang_node *lang_node_new(struct lang *l, enum lang_kind kind, const struct lang_span *at)
{
	struct lang_node *n = lang_alloc(l, sizeof *n);
	n->kind = kind;
	n->at = *at;
	n->text = "";
	n->tail = &n->first;
	l->nodes++;
	return n;
}

struct lang_entry *lang_append(struct lang *l, struct lang_node *parent, const char *key,
			       const struct lang_span *key_at, struct lang_node *value)
{
	struct lang_entry *e = lang_alloc(l, sizeof *e);
	e->key = key;
	e->key_at = *key_at;
	e->value = value;
	*parent->tail = e;
	parent->tail = &e->next;
	parent->count++;
	return e;
}

static void fail(struct loader *ld, const struct lang_span *at, const char *message)
{
	if (!ld->failed)
		lang_error(ld->l, at, "%s", message);
	ld->failed = true;
}

static void syntax_error(struct loader *ld)
{
	const yaml_parser_t *p = &ld->l->parser;
	yaml_mark_t mark = p->problem_mark;
	if (p->error == YAML_MEMORY_ERROR)
		lang_nomem(ld->l);
	if (p->error == YAML_READER_ERROR) { /* it knows the byte only */
		size_t stop = p->problem_offset < ld->source->len ? p->problem_offset : ld->source->len;
		mark = (yaml_mark_t){ 0 };
		for (size_t i = 0; i < stop; i++) {
			bool newline = ld->source->text[i] == '\n';
			mark.line += newline;
			mark.column = newline ? 0 : mark.column + (((unsigned char)ld->source->text[i] & 0xc0) != 0x80);
		}
	}
	struct lang_span at = span(ld, &mark, &mark);
	const char *problem = p->problem ? p->problem : "unreadable";
	if (strstr(problem, "cannot start any token") && ld->source->text && mark.index < ld->source->len &&
	    ld->source->text[mark.index] == '\t')
		problem = "a tab cannot indent; use spaces";
	lang_error(ld->l, &at, "not YAML: %s%s%s", p->context ? p->context : "", p->context ? ": " : "", problem);
	ld->failed = true;
}

/* The next event, NULL at an error (reported). It stays open until event_done(); the ones that are open are kept in
 * the load, so that they are freed even when memory ends meanwhile. Two for each level of nesting is the most. */
static yaml_event_t *next_event(struct loader *ld)
{
	struct lang *l = ld->l;
	if (ld->failed || l->nevents == LANG_EVENTS_MAX)
		return NULL;
	if (!yaml_parser_parse(&l->parser, &l->events[l->nevents])) {
		syntax_error(ld);
		return NULL;
	}
	return &l->events[l->nevents++];
}

static void event_done(struct loader *ld)
{
	yaml_event_delete(&ld->l->events[--ld->l->nevents]);
}

static const char *refused_feature(const yaml_event_t *e)
{
	if (e->type == YAML_ALIAS_EVENT)
		return "aliases (*name) are not allowed; write the value again";
	const yaml_char_t *anchor = NULL, *tag = NULL;
	if (e->type == YAML_SCALAR_EVENT)
		anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
	else if (e->type == YAML_MAPPING_START_EVENT)
		anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
	else if (e->type == YAML_SEQUENCE_START_EVENT)
		anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
	return anchor ? "anchors (&name) are not allowed" : tag ? "tags (!name) are not allowed" : NULL;
}

static struct lang_node *read_node(struct loader *ld, yaml_event_t *event, unsigned depth);

static void add_key(struct loader *ld, struct lang_node *map, yaml_event_t *event, unsigned depth)
{
	struct lang_span at = span(ld, &event->start_mark, &event->end_mark);
	if (event->type != YAML_SCALAR_EVENT || refused_feature(event)) {
		fail(ld, &at, refused_feature(event) ? refused_feature(event) : "a key must be a plain name");
		return;
	}
	const char *text = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;
	if (memchr(text, 0, len)) {
		fail(ld, &at, "a NUL character is not allowed");
		return;
	}
	char *key = lang_strndup(ld->l, text, len);
	yaml_event_t *value = next_event(ld);
	if (!value)
		return;
	struct lang_node *node = read_node(ld, value, depth);
	event_done(ld);
	struct lang_entry *old = lang_find(map, key);
	if (old)
		lang_error(ld->l, &at, "\"%s\" is given twice; the first is in line %zu", key, old->key_at.line + 1);
	else if (map->count >= LANG_MAP_MAX)
		fail(ld, &at, "too many keys in one map (256)");
	else if (node)
		lang_append(ld->l, map, key, &at, node);
}

/* The content of a map or list up to its end event. */
static void read_children(struct loader *ld, struct lang_node *node, unsigned depth)
{
	bool end = false;
	for (yaml_event_t *event; !end && (event = next_event(ld)); event_done(ld)) {
		end = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
		if (end) {
			node->at.end_line = event->end_mark.line;
			node->at.end_col = event->end_mark.column + (event->end_mark.line ? 0 : ld->skip);
		} else if (node->kind == LANG_MAP) {
			add_key(ld, node, event, depth);
		} else {
			struct lang_node *item = read_node(ld, event, depth);
			if (item && node->count >= LANG_LIST_MAX)
				fail(ld, &item->at, "too many items in one list (20000)");
			else if (item)
				lang_append(ld->l, node, NULL, &item->at, item);
		}
	}
}

static struct lang_node *read_node(struct loader *ld, yaml_event_t *event, unsigned depth)
{
	struct lang_span at = span(ld, &event->start_mark, &event->end_mark);
	if (refused_feature(event))
		lang_error(ld->l, &at, "%s", refused_feature(event));
	if (depth >= LANG_DEPTH_MAX)
		fail(ld, &at, "nested too deeply (16)");
	else if (ld->l->nodes >= LANG_NODES_MAX)
		fail(ld, &at, "too many values");
	if (ld->failed)
		return NULL;
	struct lang_node *node = lang_node_new(ld->l, event->type == YAML_MAPPING_START_EVENT ? LANG_MAP
					      : event->type == YAML_SEQUENCE_START_EVENT ? LANG_LIST : LANG_SCALAR,
					      &at);
	if (node->kind != LANG_SCALAR) {
		read_children(ld, node, depth + 1);
		return node;
	}
	node->bad = event->type == YAML_ALIAS_EVENT;
	size_t len = node->bad ? 0 : event->data.scalar.length;
	if (node->bad)
		return node;
	if (memchr(event->data.scalar.value, 0, len))
		fail(ld, &at, "a NUL character is not allowed");
	else
		node->text = lang_strndup(ld->l, (const char *)event->data.scalar.value, len);
	return node;
}

/* Stream and document around one root node. */
static struct lang_node *read_stream(struct loader *ld)
{
	struct lang_node *root = NULL;
	bool more = true;
	for (yaml_event_t *event; more && (event = next_event(ld)); event_done(ld)) {
		struct lang_span at = span(ld, &event->start_mark, &event->end_mark);
		if (event->type == YAML_STREAM_END_EVENT)
			more = false;
		else if (event->type == YAML_DOCUMENT_START_EVENT && root)
			fail(ld, &at, "only one document a file");
		else if (event->type != YAML_STREAM_START_EVENT && event->type != YAML_DOCUMENT_START_EVENT &&
			 event->type != YAML_DOCUMENT_END_EVENT)
			root = read_node(ld, event, 0);
	}
	return root;
}

struct lang_node *lang_parse(struct lang *l, const struct lang_source *source, size_t skip)
{
	struct loader ld = { .l = l, .source = source, .skip = skip };
	if (!yaml_parser_initialize(&l->parser))
		lang_nomem(l);
	l->parsing = true;
	yaml_parser_set_input_string(&l->parser, (const unsigned char *)source->text + skip, source->len - skip);
	yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
	struct lang_node *root = read_stream(&ld);
	yaml_parser_delete(&l->parser);
	l->parsing = false;
	if (!root && !ld.failed) {
		struct lang_span at = { source, 0, skip, 0, skip };
		lang_error(l, &at, "empty: nothing is described");
	}
	return ld.failed ? NULL : root;
}
