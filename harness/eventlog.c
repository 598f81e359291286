/* eventlog.c - see eventlog.h. */
#include "eventlog.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int lh_lines_feed(struct lh_lines *l, const char *data, size_t n, lh_line_fn *fn, void *ctx, struct lh_err *err)
{
	while (n) {
		const char *newline = memchr(data, '\n', n);
		size_t part = newline ? (size_t)(newline - data) : n;

		if (part >= sizeof l->buf - l->len)
			return lh_err_set(err, LH_EXIT_BROKE, -EMSGSIZE, "event line longer than %zu bytes",
					  sizeof l->buf - 1);
		memcpy(l->buf + l->len, data, part);
		l->len += part;
		if (!newline)
			return 0;
		l->buf[l->len] = 0;
		size_t len = l->len;
		l->len = 0;
		int rc = fn(ctx, l->buf, len, err);
		if (rc < 0)
			return rc;
		data += part + 1;
		n -= part + 1;
	}
	return 0;
}

struct reader {
	const struct lh_eventlog_handler *h;
	size_t lines;
};

/* The kinds of peers' events are theirs alone, so the kind tells whose line it is. */
static bool is_peer_kind(const char *kind)
{
	for (unsigned i = 0; lh_event_names[i]; i++)
		if (!strcmp(lh_event_names[i], kind))
			return true;
	return false;
}

static int read_harness(struct reader *r, const char *kind, const json_t *line, struct lh_err *err)
{
	json_t *t = json_object_get(line, "t_ns");

	if (!json_is_integer(t) || json_integer_value(t) < 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "event \"%.32s\" has no time t_ns", kind);
	return r->h->harness ? r->h->harness(r->h->ctx, kind, line, err) : 0;
}

static int read_line(void *ctx, const char *line, size_t len, struct lh_err *err)
{
	struct reader *r = ctx;
	json_error_t je;
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
	const char *kind = json_string_value(json_object_get(o, "event"));
	int rc;

	r->lines++;
	if (!o) {
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "column %d: %s", je.column, je.text);
	} else if (!kind) {
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "is not an event");
	} else if (lh_spans_is_line(line, len)) {
		struct lh_spans s;
		rc = lh_spans_parse(line, len, &s, err);
		if (!rc && r->h->spans)
			rc = r->h->spans(r->h->ctx, &s, err);
	} else if (is_peer_kind(kind)) {
		struct lh_event e;
		rc = lh_event_parse(line, len, &e, err);
		if (!rc && r->h->peer)
			rc = r->h->peer(r->h->ctx, &e, err);
	} else {
		rc = read_harness(r, kind, o, err);
	}
	json_decref(o);
	return rc < 0 ? lh_err_wrap(err, "line %zu", r->lines) : 0;
}

/* The next line into *buf (grown as needed): its length, -1 at the end, or an error. A last one without newline is
 * none. */
static ssize_t next_line(FILE *in, char **buf, size_t *room, struct lh_err *err)
{
	size_t len = 0;
	int c;

	while ((c = getc_unlocked(in)) != EOF && c != '\n') {
		if (len + 1 >= *room) {
			char *more = *room < LH_EVENTLOG_LINE_MAX ? realloc(*buf, *room * 2) : NULL;
			if (!more)
				return lh_err_set(err, LH_EXIT_INPUT, -EMSGSIZE, "is longer than %zu bytes", *room - 1);
			*buf = more;
			*room *= 2;
		}
		(*buf)[len++] = (char)c;
	}
	(*buf)[len] = 0;
	return c == EOF ? -1 : (ssize_t)len;
}

int lh_eventlog_read(FILE *in, const struct lh_eventlog_handler *h, size_t *ret_lines, struct lh_err *err)
{
	struct reader r = { .h = h };
	size_t room = LH_EVENT_LINE_MAX;
	char *buf = malloc(room);
	ssize_t len;
	int rc = buf ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "events");

	while (rc == 0 && (len = next_line(in, &buf, &room, err)) != -1)
		rc = len < 0 ? (lh_err_wrap(err, "line %zu", r.lines + 1), (int)len) : read_line(&r, buf, (size_t)len, err);
	free(buf);
	if (rc < 0)
		return rc;
	if (ferror(in))
		return lh_err_set(err, LH_EXIT_INPUT, -EIO, "reading failed after line %zu", r.lines);
	if (ret_lines)
		*ret_lines = r.lines;
	return 0;
}
