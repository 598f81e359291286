/* The line that says where a round of one peer went; peer.h has its meaning.
 *
 *     {"event":"spans","rank":0,"t_ns":9,"epoch":3,"begin_ns":1,"end_ns":8,"total_ns":{"calculate":5,"wait":2},
 *      "comm_ns":{"wait":2},"exchanges":[[3,6,8]],"tcp":{...} or null,"spans_us":[[1,0,5,1],[2,5,7,1]]}
 *
 * Kinds without time are left out of the sums; a span is [kind, from, to, merged]. Nothing is read that cannot be true.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "json_fields.h"
#include "longhaul/peer.h"

/* Bounds that keep a line short: a round of 11 days. */
#define ROUND_NS_MAX INT64_C(1000000000000000)

const char *const lh_span_names[] = {
	"other", "calculate", "wait", "match", "encode", "send", "window", "receive", "reduce", "decode", "optimise",
	"checkpoint", "data-wait", NULL,
};

static const char head[] = "{\"event\":\"spans\",";

bool lh_spans_is_line(const char *line, size_t len)
{
	return len >= sizeof head - 1 && !memcmp(line, head, sizeof head - 1);
}

#define NS(s, m) LH_FIELD(s, m, LH_FIELD_INT, .imin = 0, .imax = INT64_MAX)

static const struct lh_field fields[] = {
	LH_FIELD(lh_spans, rank, LH_FIELD_UINT),
	NS(lh_spans, t_ns),
	LH_FIELD(lh_spans, epoch, LH_FIELD_UINT, .umin = 1),
	NS(lh_spans, begin_ns), NS(lh_spans, end_ns),
};

static const struct lh_field tcp_fields[] = {
	NS(lh_spans, tcp_busy_ns), NS(lh_spans, tcp_window_ns), NS(lh_spans, tcp_buffer_ns),
	LH_FIELD(lh_spans, tcp_retransmits, LH_FIELD_UINT),
	LH_FIELD(lh_spans, tcp_bytes_sent, LH_FIELD_UINT, .optional = true), /* peers of before did not tell it */
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- what can be true ---- */

static bool sums_fit(const struct lh_spans *s)
{
	lh_ns sum = 0;
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++) {
		if (s->comm_ns[k] < 0 || s->comm_ns[k] > s->total_ns[k] || s->total_ns[k] > ROUND_NS_MAX)
			return false;
		sum += s->total_ns[k];
	}
	return sum == s->end_ns - s->begin_ns;
}

static bool spans_fit(const struct lh_spans *s)
{
	uint64_t at = 0, end = (uint64_t)(s->end_ns - s->begin_ns) / 1000;
	for (uint32_t i = 0; i < s->nspans; i++) {
		const struct lh_span *p = &s->spans[i];
		if ((unsigned)p->kind >= LH_SPAN_KINDS || p->from_us < at || p->to_us < p->from_us || p->to_us > end ||
		    !p->merged)
			return false;
		at = p->to_us;
	}
	return true;
}

static bool exchanges_fit(const struct lh_spans *s)
{
	for (uint32_t i = 0; i < s->nexchanges; i++)
		if (!s->exchanges[i].number || s->exchanges[i].from_ns < 0 ||
		    (s->exchanges[i].to_ns && s->exchanges[i].to_ns < s->exchanges[i].from_ns))
			return false;
	return true;
}

static bool is_possible(const struct lh_spans *s)
{
	return s->epoch && s->begin_ns >= 0 && s->end_ns >= s->begin_ns && s->t_ns >= s->end_ns &&
	       s->end_ns - s->begin_ns <= ROUND_NS_MAX && s->nspans <= LH_SPANS_MAX &&
	       s->nexchanges <= LH_SPANS_EXCHANGES_MAX && sums_fit(s) && spans_fit(s) && exchanges_fit(s);
}

/* ---- printing ---- */

static json_t *print_kinds(const lh_ns *ns)
{
	json_t *o = json_object();
	for (unsigned k = 0; o && k < LH_SPAN_KINDS; k++)
		if (ns[k])
			json_object_set_new(o, lh_span_names[k], json_integer(ns[k]));
	return o;
}

static json_t *print_lists(const struct lh_spans *s, bool want_spans)
{
	json_t *a = json_array();
	for (uint32_t i = 0; want_spans && i < s->nspans; i++)
		json_array_append_new(a, json_pack("[I, I, I, I]", (json_int_t)s->spans[i].kind,
						   (json_int_t)s->spans[i].from_us, (json_int_t)s->spans[i].to_us,
						   (json_int_t)s->spans[i].merged));
	for (uint32_t i = 0; !want_spans && i < s->nexchanges; i++)
		json_array_append_new(a, json_pack("[I, I, I]", (json_int_t)s->exchanges[i].number,
						   (json_int_t)s->exchanges[i].from_ns,
						   (json_int_t)s->exchanges[i].to_ns));
	return a;
}

static int print_object(json_t *o, const struct lh_spans *s)
{
	int rc = json_object_set_new(o, "event", json_string("spans")) ? -ENOMEM : 0;
	if (!rc)
		rc = lh_fields_print(o, fields, COUNT(fields), s, NULL);
	json_t *tcp = s->has_tcp ? json_object() : json_null();
	if (!rc && s->has_tcp)
		rc = lh_fields_print(tcp, tcp_fields, COUNT(tcp_fields), s, NULL);
	int missing = json_object_set_new(o, "total_ns", print_kinds(s->total_ns)) |
		      json_object_set_new(o, "comm_ns", print_kinds(s->comm_ns)) |
		      json_object_set_new(o, "exchanges", print_lists(s, false)) |
		      json_object_set_new(o, "tcp", tcp) | json_object_set_new(o, "spans_us", print_lists(s, true));
	return rc ? rc : missing ? -ENOMEM : 0;
}

int lh_spans_print(const struct lh_spans *s, char *buf, size_t size)
{
	if (!is_possible(s))
		return -EINVAL;
	json_t *o = json_object();
	int rc = o ? print_object(o, s) : -ENOMEM;
	size_t len = rc ? 0 : json_dumpb(o, NULL, 0, JSON_COMPACT);
	if (!rc && len == 0)
		rc = -ENOMEM;
	if (!rc && (len + 2 > size || len + 2 > LH_EVENT_LINE_MAX))
		rc = -ENOSPC;
	if (!rc) {
		json_dumpb(o, buf, size, JSON_COMPACT);
		buf[len] = '\n';
		buf[len + 1] = 0;
		rc = (int)len + 1;
	}
	json_decref(o);
	return rc;
}

/* ---- reading ---- */

static int bad(struct lh_err *err, const char *what)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "%s", what);
}

static int read_kinds(const json_t *o, lh_ns *ret, struct lh_err *err)
{
	const char *key;
	json_t *v;
	if (!json_is_object(o))
		return bad(err, "a sum of times is missing");
	json_object_foreach((json_t *)(uintptr_t)o, key, v) {
		unsigned k = 0;
		while (k < LH_SPAN_KINDS && strcmp(lh_span_names[k], key))
			k++;
		if (k == LH_SPAN_KINDS || !json_is_integer(v) || json_integer_value(v) <= 0)
			return bad(err, "a sum of times has a kind that is not known, or no time");
		ret[k] = json_integer_value(v);
	}
	return 0;
}

/* [n, n, ...] of `width` numbers that are not negative. */
static int read_row(const json_t *row, size_t width, json_int_t *ret, struct lh_err *err)
{
	if (json_array_size(row) != width)
		return bad(err, "a list has an entry of another length");
	for (size_t i = 0; i < width; i++) {
		const json_t *v = json_array_get(row, i);
		if (!json_is_integer(v) || json_integer_value(v) < 0)
			return bad(err, "a list has an entry that is no number");
		ret[i] = json_integer_value(v);
	}
	return 0;
}

static int read_lists(const json_t *o, struct lh_spans *s, struct lh_err *err)
{
	const json_t *spans = json_object_get(o, "spans_us"), *exchanges = json_object_get(o, "exchanges");
	json_int_t n[4];
	int rc = 0;
	if (!json_is_array(spans) || json_array_size(spans) > LH_SPANS_MAX || !json_is_array(exchanges) ||
	    json_array_size(exchanges) > LH_SPANS_EXCHANGES_MAX)
		return bad(err, "a list is missing or too long");
	for (size_t i = 0; !rc && i < json_array_size(spans); i++) {
		rc = read_row(json_array_get(spans, i), 4, n, err);
		if (!rc && (n[0] >= LH_SPAN_KINDS || n[3] > UINT32_MAX))
			rc = bad(err, "a span is of no known kind");
		if (!rc)
			s->spans[s->nspans++] = (struct lh_span){ (enum lh_span_kind)n[0], (uint64_t)n[1],
								  (uint64_t)n[2], (uint32_t)n[3] };
	}
	for (size_t i = 0; !rc && i < json_array_size(exchanges); i++) {
		rc = read_row(json_array_get(exchanges, i), 3, n, err);
		if (!rc && n[0] > UINT32_MAX)
			rc = bad(err, "an exchange has no such number");
		if (rc)
			break;
		s->exchanges[s->nexchanges].number = (uint32_t)n[0];
		s->exchanges[s->nexchanges].from_ns = n[1];
		s->exchanges[s->nexchanges++].to_ns = n[2];
	}
	return rc;
}

static int parse(const json_t *o, void *to, struct lh_err *err)
{
	struct lh_spans *s = to;
	static const char *const others[] = { "event", "total_ns", "comm_ns", "exchanges", "tcp", "spans_us", NULL };
	int rc = lh_fields_read(o, fields, COUNT(fields), others, s, err);
	const json_t *tcp = json_object_get(o, "tcp");
	if (!rc)
		rc = read_kinds(json_object_get(o, "total_ns"), s->total_ns, err);
	if (!rc)
		rc = read_kinds(json_object_get(o, "comm_ns"), s->comm_ns, err);
	if (!rc)
		rc = read_lists(o, s, err);
	if (!rc && !tcp)
		rc = bad(err, "key \"tcp\": is missing");
	if (!rc && !json_is_null(tcp)) {
		s->has_tcp = true;
		rc = lh_fields_read(tcp, tcp_fields, COUNT(tcp_fields), NULL, s, err);
	}
	if (!rc && !is_possible(s))
		rc = bad(err, "its times do not add up");
	return rc;
}

int lh_spans_parse(const char *line, size_t len, struct lh_spans *ret, struct lh_err *err)
{
	struct lh_spans s = { 0 };
	if (!lh_spans_is_line(line, len))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "spans line: is something else");
	int rc = lh_line_read("spans", line, len, LH_EVENT_LINE_MAX, parse, &s, err);
	if (rc)
		return rc;
	*ret = s;
	return 0;
}
