/* typing.c - a tree of texts against the key table: every value gets its type, or a complaint.
 *
 * Goes on past errors. A node that was complained about, and every node above it, is marked bad, so that later
 * passes do not complain about what follows from it.
 */
#include "lang.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char control_characters[] =
	"\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37\177";

static void complain(struct lang *l, struct lang_node *node, const char *what, const char *message)
{
	node->bad = true;
	lang_error(l, &node->at, "%s: %s", what, message);
}

/* A plain decimal, with point and exponent. No locale, hex, inf or nan gets to strtod. */
static bool real_parse(const char *text, const char *suffix, double *ret)
{
	const char *p = text + (*text == '-');
	bool digits = false;
	for (; isdigit((unsigned char)*p); p++)
		digits = true;
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p); p++)
			digits = true;
	if (digits && (*p == 'e' || *p == 'E')) {
		p += 1 + (p[1] == '-' || p[1] == '+');
		if (!isdigit((unsigned char)*p))
			return false;
		while (isdigit((unsigned char)*p))
			p++;
	}
	if (!digits || strcmp(p, suffix) || p - text > 60)
		return false;
	*ret = strtod(text, NULL);
	return isfinite(*ret);
}

static bool count_parse(const char *text, uint64_t *ret)
{
	uint64_t n = 0;
	if (!*text)
		return false;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return false;
	*ret = n;
	return !*text;
}

/* YAML 1.1's booleans. */
static bool bool_parse(const char *text, bool *ret)
{
	static const char *const yes[] = { "yes", "true", "on" }, *const no[] = { "no", "false", "off" };
	for (size_t i = 0; i < 3; i++) {
		if (!strcasecmp(text, yes[i]))
			return *ret = true;
		if (!strcasecmp(text, no[i])) {
			*ret = false;
			return true;
		}
	}
	return false;
}

static void limits(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what, uint64_t got)
{
	if (got >= v->min && (!v->max || got <= v->max))
		return;
	char low[32], high[32];
	switch (v->scalar) {
	case T_TIME: case T_TIME_OR_PATH: case T_TIME_OR_WORD:
		lh_ns_print((lh_ns)v->min, low, sizeof low), lh_ns_print((lh_ns)v->max, high, sizeof high);
		break;
	case T_RATE: case T_RATE_OR_NONE:
		lh_bps_print(v->min, low, sizeof low), lh_bps_print(v->max, high, sizeof high);
		break;
	case T_SIZE: case T_SIZE_OR_WORD:
		lh_bytes_print(v->min, low, sizeof low), lh_bytes_print(v->max, high, sizeof high);
		break;
	default:
		snprintf(low, sizeof low, "%llu", (unsigned long long)v->min);
		snprintf(high, sizeof high, "%llu", (unsigned long long)v->max);
	}
	complain(l, n, what, v->min == v->max && v->min ? lang_printf(l, "must be %s", low)
		 : lang_printf(l, "\"%s\" is not within %s ... %s", n->text, low, high));
}

/* Name of a site, a peer, a device, a model: what may appear in a host name or a path, and is no number. */
static const char *name_wrong(struct lang *l, const char *text, size_t max)
{
	size_t len = strlen(text);
	if (len > max)
		return lang_printf(l, "\"%.40s%s\" is longer than %zu characters", text, len > 40 ? "..." : "", max);
	bool letter = false;
	for (const char *p = text; *p; p++) {
		letter |= isalpha((unsigned char)*p) != 0;
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
			return lang_printf(l, "\"%s\" is not a name: letters, digits, - and _ only", text);
	}
	if (!letter || !isalnum((unsigned char)*text) || !isalnum((unsigned char)text[len - 1]))
		return lang_printf(
		    l, "\"%s\" is not a name: it begins and ends with a letter or digit and has a letter", text);
	return NULL;
}

enum { WORDS_MAX = 16 }; /* of one choice */

static size_t split(struct lang *l, const char *choices, const char *words[WORDS_MAX])
{
	size_t nwords = 0;
	words[0] = "";
	for (const char *p = choices; *p && nwords < WORDS_MAX; p += strcspn(p, " "), p += *p == ' ')
		words[nwords++] = lang_strndup(l, p, strcspn(p, " "));
	return nwords;
}

static int word_index(const char *const *words, size_t nwords, const char *text)
{
	for (size_t i = 0; i < nwords; i++)
		if (!strcmp(words[i], text))
			return (int)i;
	return -1;
}

static void type_choice(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what)
{
	const char *words[WORDS_MAX];
	size_t nwords = split(l, v->choices, words);
	int index = word_index(words, nwords, n->text);
	if (index >= 0) {
		n->v.choice = index;
		return;
	}
	char *list = lang_printf(l, "%s", words[0]);
	for (size_t i = 1; i < nwords; i++)
		list = lang_printf(l, "%s%s%s", list, i + 1 == nwords ? " or " : ", ", words[i]);
	complain(l, n, what,
		 lang_printf(l, "\"%s\" is not %s%s", n->text, list, lang_nearest(l, n->text, words, nwords)));
}

static void type_queue(struct lang *l, struct lang_node *n, const char *what)
{
	double real;
	uint64_t count;
	size_t len = strlen(n->text);
	n->v.queue.kind = LH_QUEUE_AUTO;
	if (!strcmp(n->text, "auto"))
		return;
	if (real_parse(n->text, "bdp", &real) && real >= 0.001 && real <= 1000) {
		n->v.queue.kind = LH_QUEUE_BDP;
		n->v.queue.amount = (uint32_t)(real * 1000 + 0.5);
	} else if (len > 7 && !strcmp(n->text + len - 7, "packets") &&
		   count_parse(lang_strndup(l, n->text, len - 7), &count) && count >= 1 && count <= 100000000) {
		n->v.queue.kind = LH_QUEUE_PACKETS;
		n->v.queue.amount = (uint32_t)count;
	} else {
		complain(l, n, what,
			 lang_printf(l, "\"%s\" is not a queue; write auto, 0.5bdp (0.001 ... 1000) or 500packets",
				     n->text));
	}
}

/* What a number without its unit probably was meant to be. */
static const char *unit_hint(struct lang *l, const struct lang_node *n, const struct lang_value *v)
{
	enum lang_type type = v->scalar;
	double real;
	if (!real_parse(n->text, "", &real) || n->text[0] == '-' || strpbrk(n->text, "eE"))
		return "";
	bool time = type == T_TIME || type == T_TIME_OR_PATH || type == T_TIME_OR_WORD;
	bool long_time = time && v->max > (uint64_t)(60 * LH_NS_PER_S); /* when, or for how long; no delay */
	const char *unit = long_time ? "s" : time ? "ms" : type == T_SHARE ? "%"
		: type == T_SIZE || type == T_SIZE_OR_WORD ? "KiB" : type == T_PACE ? "/s" : "mbit";
	return lang_printf(l, "; did you mean %s%s?", n->text, unit);
}

static void type_unit(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what)
{
	struct lh_err err = LH_ERR_INIT;
	uint64_t got = 0;
	int rc = 0;
	switch (v->scalar) {
	case T_TIME:
		rc = lh_ns_parse(n->text, &n->v.ns, &err);
		got = (uint64_t)n->v.ns;
		break;
	case T_RATE: case T_RATE_OR_NONE:
		if (v->scalar == T_RATE_OR_NONE && !strcmp(n->text, "none"))
			return;
		rc = lh_bps_parse(n->text, &n->v.bps, &err);
		got = n->v.bps;
		break;
	case T_SIZE:
		rc = lh_bytes_parse(n->text, &n->v.bytes, &err);
		got = n->v.bytes;
		break;
	default:
		rc = lh_ppb_parse(n->text, &n->v.ppb, &err);
		got = n->v.ppb;
	}
	if (rc)
		complain(l, n, what, lang_printf(l, "%s%s", err.text, unit_hint(l, n, v)));
	else
		limits(l, n, v, what, got);
}

static void type_number(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what)
{
	double real = 0;
	bool pace = v->scalar == T_PACE;
	if (v->scalar == T_OCTETS &&
	    (count_parse(n->text, &n->v.count) || !lh_bytes_parse(n->text, &n->v.bytes, NULL))) {
		limits(l, n, v, what, n->v.count);
	} else if (v->scalar == T_OCTETS) {
		complain(l, n, what, lang_printf(l, "\"%s\" is not a number of bytes", n->text));
	} else if (v->scalar == T_COUNT) {
		if (count_parse(n->text, &n->v.count))
			limits(l, n, v, what, n->v.count);
		else
			complain(l, n, what, lang_printf(l, "\"%s\" is not a whole number", n->text));
	} else if (!real_parse(n->text, pace ? "/s" : "", &real)) {
		complain(l, n, what,
			 lang_printf(l, pace ? "\"%s\" is not a pace like 40/s%s" : "\"%s\" is not a number%s", n->text,
				     pace ? unit_hint(l, n, v) : ""));
	} else if (real < v->real_min || real > v->real_max) {
		complain(l, n, what, lang_printf(l, "\"%s\" is not within %.12g ... %.12g%s", n->text, v->real_min,
						 v->real_max, pace ? "/s" : ""));
	} else if (v->scalar == T_INTEGER && real != floor(real)) {
		complain(l, n, what, lang_printf(l, "\"%s\" is not a whole number", n->text));
	} else if (v->scalar == T_INTEGER) {
		n->v.integer = (int64_t)real;
	} else {
		n->v.real = real;
	}
}

/* A path, or one time that stands for every pair. Who begins with a digit and is no file name meant a time. */
static void type_time_or_path(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what)
{
	struct lh_err err = LH_ERR_INIT;
	size_t len = strlen(n->text);
	n->v.time_or_path.is_time =
	    isdigit((unsigned char)n->text[0]) && (len < 4 || strcmp(n->text + len - 4, ".csv"));
	if (!n->v.time_or_path.is_time)
		return;
	if (lh_ns_parse(n->text, &n->v.time_or_path.ns, &err))
		complain(l, n, what, lang_printf(l, "%s%s", err.text, unit_hint(l, n, v)));
	else
		limits(l, n, v, what, (uint64_t)n->v.time_or_path.ns);
}

/* A time, a count or a size, or one of a few words instead. */
static void type_or_word(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what)
{
	const char *words[WORDS_MAX];
	size_t nwords = split(l, v->choices, words);
	struct lh_err err = LH_ERR_INIT;
	bool time = v->scalar == T_TIME_OR_WORD, size = v->scalar == T_SIZE_OR_WORD;
	n->v.or_word.ns = 0;
	n->v.or_word.count = 0;
	n->v.or_word.bytes = 0;
	n->v.or_word.word = word_index(words, nwords, n->text);
	if (n->v.or_word.word >= 0)
		return;
	if (!isdigit((unsigned char)n->text[0])) {
		char *list = lang_printf(l, "%s", words[0]);
		for (size_t i = 1; i < nwords; i++)
			list = lang_printf(l, "%s, %s", list, words[i]);
		complain(l, n, what, lang_printf(l, "\"%s\" is neither a %s nor %s%s%s", n->text,
						 time ? "time" : size ? "size" : "whole number", nwords > 1 ? "one of " : "", list,
						 lang_nearest(l, n->text, words, nwords)));
	} else if (!time && !size && !count_parse(n->text, &n->v.or_word.count)) {
		complain(l, n, what, lang_printf(l, "\"%s\" is not a whole number", n->text));
	} else if ((time && lh_ns_parse(n->text, &n->v.or_word.ns, &err)) ||
		   (size && lh_bytes_parse(n->text, &n->v.or_word.bytes, &err))) {
		complain(l, n, what, lang_printf(l, "%s%s", err.text, unit_hint(l, n, v)));
	} else {
		limits(l, n, v, what, time ? (uint64_t)n->v.or_word.ns : size ? n->v.or_word.bytes : n->v.or_word.count);
	}
}

static void type_scalar(struct lang *l, struct lang_node *n, const struct lang_value *v, const char *what)
{
	const char *wrong;
	if (!*n->text && v->scalar != T_TEXT) {
		complain(l, n, what, "has no value");
		return;
	}
	switch (v->scalar) {
	case T_TIME: case T_RATE: case T_RATE_OR_NONE: case T_SIZE: case T_SHARE:
		type_unit(l, n, v, what);
		break;
	case T_OCTETS: case T_COUNT: case T_INTEGER: case T_REAL: case T_PACE:
		type_number(l, n, v, what);
		break;
	case T_BOOL:
		if (!bool_parse(n->text, &n->v.yes))
			complain(l, n, what, lang_printf(l, "\"%s\" is not yes or no", n->text));
		break;
	case T_NAME:
		wrong = name_wrong(l, n->text, v->max ? v->max : LH_NAME_MAX - 1);
		if (wrong)
			complain(l, n, what, wrong);
		break;
	case T_TEXT:
		if (strlen(n->text) > v->max)
			complain(l, n, what, lang_printf(l, "longer than %llu bytes", (unsigned long long)v->max));
		else if (v->max < 100 && n->text[strcspn(n->text, control_characters)])
			complain(l, n, what, "must be one line without control characters");
		break;
	case T_CHOICE:
		type_choice(l, n, v, what);
		break;
	case T_QUEUE:
		type_queue(l, n, what);
		break;
	case T_TIME_OR_PATH:
		type_time_or_path(l, n, v, what);
		break;
	case T_TIME_OR_WORD: case T_COUNT_OR_WORD: case T_SIZE_OR_WORD:
		type_or_word(l, n, v, what);
		break;
	case T_PATH:
	case T_NONE:
		break;
	}
}

static void unknown_key(struct lang *l, const struct lang_entry *e, enum lang_section section)
{
	const char *remark = lang_key_remark(section, e->key), *known[128];
	size_t nknown = 0;
	if (remark) {
		lang_error(l, &e->key_at, "%s", remark);
		return;
	}
	if (section == S_FILE && lang_key_find(S_TRAINING, e->key)) {
		lang_error(l, &e->key_at, "unknown key \"%s\"; it belongs to \"training\": training.%s", e->key, e->key);
		return;
	}
	for (size_t i = 0; i < lang_nkeys; i++)
		if (lang_keys[i].in & UINT32_C(1) << section && nknown < 128)
			known[nknown++] = lang_keys[i].key;
	lang_error(l, &e->key_at, "unknown key \"%s\"%s", e->key, lang_known(l, e->key, known, nknown));
}

static void type_map(struct lang *l, struct lang_node *map, enum lang_section section, const struct lang_span *where)
{
	for (struct lang_entry *e = map->first; e; e = e->next) {
		const struct lang_key *key = lang_key_find(section, e->key);
		if (!key) {
			unknown_key(l, e, section);
			map->bad = true;
			continue;
		}
		const char *wrong = !strcmp(key->key, "*") ? name_wrong(l, e->key, LH_NAME_MAX - 1) : NULL;
		if (wrong)
			lang_error(l, &e->key_at, "%s", wrong);
		lang_type(l, e->value, &key->value, e->key, &e->key_at);
		map->bad |= wrong || e->value->bad;
	}
	for (size_t i = 0; i < lang_nkeys; i++)
		if (lang_keys[i].in & UINT32_C(1) << section && lang_keys[i].required &&
		    !lang_find(map, lang_keys[i].key)) {
			lang_error(l, where, "\"%s\" is missing: %s", lang_keys[i].key, lang_keys[i].help);
			map->bad = true;
		}
}

static const char *kind_name(enum lang_kind kind)
{
	return kind == LANG_MAP ? "a map" : kind == LANG_LIST ? "a list" : "a single value";
}

void lang_type(struct lang *l, struct lang_node *node, const struct lang_value *value, const char *what,
	       const struct lang_span *where)
{
	if (node->bad)
		return;
	if (node->kind == LANG_MAP && value->map) {
		type_map(l, node, value->map, where);
	} else if (node->kind == LANG_LIST && value->item) {
		for (struct lang_entry *e = node->first; e; e = e->next) {
			lang_type(l, e->value, value->item, what, &e->value->at);
			node->bad |= e->value->bad;
		}
		if (node->count < value->min_items || (value->max_items && node->count > value->max_items))
			complain(l, node, what, value->min_items == value->max_items
				 ? lang_printf(l, "needs %u items", value->min_items)
				 : lang_printf(l, "needs %u ... %u items", value->min_items, value->max_items));
	} else if (node->kind == LANG_SCALAR && value->scalar) {
		type_scalar(l, node, value, what);
	} else {
		const char *wants = value->map ? "a map" : value->item ? "a list" : "a single value";
		if (node->kind == LANG_SCALAR && !*node->text)
			complain(l, node, what, "has no value");
		else
			complain(l, node, what,
				 lang_printf(l, "must be %s%s, not %s",
					     value->scalar && value->map    ? "a single value or "
					     : value->scalar && value->item ? "a single value or "
									    : "",
					     wants, kind_name(node->kind)));
		/* What is in it has no type; later passes must not look. */
		node->first = NULL;
		node->tail = &node->first;
		node->count = 0;
	}
}

void lang_type_file(struct lang *l, struct lang_node *root)
{
	struct lang_span begin = root->at;
	begin.end_line = begin.line;
	begin.end_col = begin.col;
	if (root->kind == LANG_MAP)
		type_map(l, root, S_FILE, &begin);
	else
		lang_error(l, &begin, "an experiment is a map of keys, not %s", kind_name(root->kind));
}

struct lang_entry *lang_find(const struct lang_node *map, const char *key)
{
	if (!map || map->kind != LANG_MAP)
		return NULL;
	for (struct lang_entry *e = map->first; e; e = e->next)
		if (!strcmp(e->key, key))
			return e;
	return NULL;
}

const struct lang_node *lang_get(struct lang *l, const struct lang_node *map, enum lang_section section,
				 const char *key)
{
	struct lang_entry *e = lang_find(map, key);
	const struct lang_key *row = lang_key_find(section, key);
	if (e)
		return e->value;
	if (!row->def)
		return NULL;
	static const struct lang_source table = { .name = "default", .dir = "", .text = "" };
	struct lang_span at = { .source = &table };
	struct lang_node *n = lang_node_new(l, LANG_SCALAR, &at);
	n->text = row->def;
	type_scalar(l, n, &row->value, key);
	return n;
}
