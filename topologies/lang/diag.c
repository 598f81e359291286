/* diag.c - the store of diagnostics: collected, sorted by place, each printed once with its line underlined.
 *
 * Bytes of the user's file reach a terminal here, so control characters are replaced, and a long line is cut
 * to a window around the span.
 */
#include "lang.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW = 120, BEFORE = 40, MESSAGE_MAX = 500 };

void lang_error(struct lang *l, const struct lang_span *at, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	/* One complaint of a kind a place: what is wrong with `between` is not told again for the way back. */
	for (size_t i = 0; i < l->ndiags; i++) {
		const struct lang_diag *d = &l->diags[i];
		if (d->at.source == at->source && d->at.line == at->line && d->at.col == at->col &&
		    (d->kind == fmt || !strcmp(d->message, text)))
			return;
	}
	l->errors++;
	if (l->ndiags < LANG_DIAG_MAX)
		l->diags[l->ndiags++] = (struct lang_diag){ *at, fmt, lang_strndup(l, text, strlen(text)) };
}

static int by_place(const void *a, const void *b)
{
	const struct lang_span *x = &((const struct lang_diag *)a)->at, *y = &((const struct lang_diag *)b)->at;
	if (x->source->order != y->source->order)
		return x->source->order < y->source->order ? -1 : 1;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->col != y->col ? (x->col < y->col ? -1 : 1) : 0;
}

static const char *line_start(const struct lang_source *s, size_t line)
{
	const char *p = s->text, *end = s->text + s->len;
	for (; line && p < end; line--) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		p = newline ? newline + 1 : end;
	}
	return p;
}

static bool begins_character(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static void put_char(const char *p, FILE *out)
{
	fputc((unsigned char)*p < ' ' || *p == 127 ? (*p == '\t' ? '\t' : '?') : *p, out);
}

/* The line, and below it carets under the characters of the span. A tab in the line is a tab below it too. */
static void excerpt(const struct lang_span *at, FILE *out)
{
	const char *line = line_start(at->source, at->line), *end = at->source->text + at->source->len;
	size_t from = at->col > BEFORE + WINDOW / 2 ? at->col - BEFORE : 0, col = 0;
	const char *p = line;
	fputs(from ? "    ..." : "    ", out);
	for (; p < end && *p != '\n' && *p != '\r'; p++) {
		col += p > line && begins_character(*p);
		if (col >= from + WINDOW) {
			fputs("...", out);
			break;
		}
		if (col >= from)
			put_char(p, out);
	}
	fputs(from ? "\n       " : "\n    ", out);
	const char *stop = p;
	for (p = line, col = 0; col < at->col && p < stop; p++) {
		if (col >= from && begins_character(*p))
			fputc(*p == '\t' ? '\t' : ' ', out);
		col += p + 1 == stop || begins_character(p[1]);
	}
	size_t width = 0;
	for (; p < stop; p++)
		width += begins_character(*p);
	if (at->end_line == at->line && at->end_col > at->col && at->end_col - at->col < width)
		width = at->end_col - at->col;
	fputc('^', out);
	for (size_t i = 1; i < width; i++)
		fputc('~', out);
	fputc('\n', out);
}

void lang_diags_print(struct lang *l, FILE *out)
{
	qsort(l->diags, l->ndiags, sizeof *l->diags, by_place);
	if (!out)
		return;
	for (size_t i = 0; i < l->ndiags; i++) {
		const struct lang_diag *d = &l->diags[i];
		fprintf(out, "%s:%zu:%zu: error: %s\n", d->at.source->name, d->at.line + 1, d->at.col + 1, d->message);
		excerpt(&d->at, out);
	}
	if (l->errors > l->ndiags)
		fprintf(out, "... and %zu more errors\n", l->errors - l->ndiags);
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap of neighbours) between two short words; case and -/_ do not count. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 32 };
	unsigned rows[MAX + 1][MAX + 1];
	char x[MAX + 1], y[MAX + 1];
	size_t n = strlen(a), m = strlen(b);
	if (n > MAX || m > MAX)
		return MAX;
	for (size_t i = 0; i <= n; i++)
		x[i] = a[i] == '_' ? '-' : (char)(a[i] >= 'A' && a[i] <= 'Z' ? a[i] + 32 : a[i]);
	for (size_t i = 0; i <= m; i++)
		y[i] = b[i] == '_' ? '-' : (char)(b[i] >= 'A' && b[i] <= 'Z' ? b[i] + 32 : b[i]);
	for (size_t i = 0; i <= n; i++)
		rows[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++)
		for (size_t j = 1; j <= m; j++) {
			rows[i][j] = min3(rows[i - 1][j] + 1, rows[i][j - 1] + 1,
					  rows[i - 1][j - 1] + (x[i - 1] != y[j - 1]));
			if (i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1] &&
			    rows[i - 2][j - 2] + 1 < rows[i][j])
				rows[i][j] = rows[i - 2][j - 2] + 1;
		}
	return rows[n][m];
}

const char *lang_nearest(struct lang *l, const char *word, const char *const *words, size_t nwords)
{
	unsigned best = (unsigned)strlen(word) / 3 + 1;
	const char *nearest = NULL;
	for (size_t i = 0; i < nwords; i++) {
		unsigned d = distance(word, words[i]);
		if (d < best || (d == best && !nearest && strlen(word) > 2))
			best = d, nearest = words[i];
	}
	return nearest ? lang_printf(l, "; did you mean \"%s\"?", nearest) : "";
}

const char *lang_known(struct lang *l, const char *word, const char *const *words, size_t nwords)
{
	enum { FEW = 10 };
	const char *list = lang_nearest(l, word, words, nwords);
	if (*list || nwords == 0 || nwords > FEW)
		return list;
	const char *lead = nwords == 1 ? "; there is " : "; there are ";
	for (size_t i = 0; i < nwords; i++)
		list = lang_printf(l, "%s%s%s", list, i ? ", " : lead, words[i]);
	return list;
}
