/* csv.c - the tables beside an experiment file: matrices and traces.
 *
 * Plain CSV: commas, no quotes, "#" begins a comment line, spaces around a cell do not count. Every cell is a
 * node with its place, so a wrong one is shown like a wrong value of the YAML file.
 */
#include "lang.h"

#include <string.h>

static size_t characters(const char *from, const char *to)
{
	size_t n = 0;
	for (; from < to; from++)
		n += ((unsigned char)*from & 0xc0) != 0x80;
	return n;
}

struct line { const char *begin, *end; size_t number; };

/* The next line that is neither empty nor a comment. */
static bool next_line(const struct lang_source *s, const char **at, size_t *number, struct line *ret)
{
	const char *end = s->text + s->len;
	while (*at < end) {
		const char *newline = memchr(*at, '\n', (size_t)(end - *at));
		*ret = (struct line){ *at, newline ? newline : end, (*number)++ };
		*at = newline ? newline + 1 : end;
		if (ret->end > ret->begin && ret->end[-1] == '\r')
			ret->end--;
		const char *p = ret->begin;
		while (p < ret->end && (*p == ' ' || *p == '\t'))
			p++;
		if (p < ret->end && *p != '#')
			return true;
	}
	return false;
}

/* Cells that are missing or wrong are bad and empty: complained about once, here. */
static void read_line(struct lang *l, const struct lang_source *s, const struct line *line, struct lang_node **cells,
		      size_t columns)
{
	const char *p = line->begin;
	bool wrong = false;
	for (size_t c = 0; c < columns; c++) {
		const char *comma = memchr(p, ',', (size_t)(line->end - p)), *from = p, *to = comma ? comma : line->end;
		while (from < to && (*from == ' ' || *from == '\t'))
			from++;
		while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
			to--;
		struct lang_span at = { s, line->number, characters(line->begin, from), line->number,
					characters(line->begin, to) };
		cells[c] = lang_node_new(l, LANG_SCALAR, &at);
		if (!wrong && (memchr(from, 0, (size_t)(to - from)) || memchr(from, '"', (size_t)(to - from)))) {
			lang_error(l, &at, "quotes and NUL are not allowed in a table");
			cells[c]->bad = true;
		} else if (!wrong && (comma == NULL) != (c + 1 == columns)) {
			lang_error(l, &at, "this row has not as many cells as the header (%zu)", columns);
			wrong = true;
		}
		cells[c]->bad |= wrong;
		if (!cells[c]->bad)
			cells[c]->text = lang_strndup(l, from, (size_t)(to - from));
		p = comma ? comma + 1 : line->end;
	}
}

bool lang_csv_read(struct lang *l, const struct lang_node *path, size_t max_columns, struct lang_csv *ret)
{
	if (l->nsources >= LANG_SOURCES_MAX) {
		lang_error(l, &path->at, "too many files (%d)", LANG_SOURCES_MAX);
		return false;
	}
	struct lang_source *s = lang_source_file(l, lang_path_from(l, path->at.source->dir, path->text), &path->at);
	if (!s)
		return false;
	struct line line;
	size_t rows = 0, number = 0;
	struct lang_csv csv = { .columns = 1 };
	for (const char *at = s->text; next_line(s, &at, &number, &line); rows++)
		for (const char *p = line.begin; rows == 0 && p < line.end; p++)
			csv.columns += *p == ',';
	if (rows < 2 || csv.columns > max_columns || rows > LANG_CHANGES_MAX) {
		lang_error(l, &path->at, "%s: a table is a header and 1 ... %d rows of at most %zu cells", s->name,
			   LANG_CHANGES_MAX - 1, max_columns);
		return false;
	}
	csv.cells = lang_alloc(l, rows * csv.columns * sizeof *csv.cells);
	number = 0;
	for (const char *at = s->text; next_line(s, &at, &number, &line); csv.rows++)
		read_line(l, s, &line, &csv.cells[csv.rows * csv.columns], csv.columns);
	*ret = csv;
	return true;
}
