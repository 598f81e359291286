#include "json_fields.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bad(struct lh_err *err, const struct lh_field *f, const char *what)
{
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%s\": %s", f->key, what);
}

static void store_uint(void *at, size_t size, uint64_t v)
{
	if (size == 2) {
		uint16_t w = (uint16_t)v;
		memcpy(at, &w, 2);
	} else if (size == 4) {
		uint32_t w = (uint32_t)v;
		memcpy(at, &w, 4);
	} else {
		memcpy(at, &v, 8);
	}
}

static uint64_t load_uint(const void *at, size_t size)
{
	uint16_t w2;
	uint32_t w4;
	uint64_t w8;
	switch (size) {
	case 2: memcpy(&w2, at, 2); return w2;
	case 4: memcpy(&w4, at, 4); return w4;
	default: memcpy(&w8, at, 8); return w8;
	}
}

static int check_uint(const struct lh_field *f, uint64_t v, struct lh_err *err)
{
	uint64_t fits = f->size == 2 ? UINT16_MAX : f->size == 4 ? UINT32_MAX : UINT64_MAX;
	uint64_t max = f->umax && f->umax < fits ? f->umax : fits;
	if (v >= f->umin && v <= max)
		return 0;
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%s\": %" PRIu64 " is outside %" PRIu64 " ... %" PRIu64,
			  f->key, v, f->umin, max);
}

static int check_int(const struct lh_field *f, int64_t v, struct lh_err *err)
{
	if (v >= f->imin && v <= f->imax)
		return 0;
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%s\": %" PRId64 " is outside %" PRId64 " ... %" PRId64,
			  f->key, v, f->imin, f->imax);
}

static int check_real(const struct lh_field *f, double v, struct lh_err *err)
{
	if (isfinite(v) && v >= (double)f->imin && v <= (double)f->imax)
		return 0;
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%s\": %g is outside %" PRId64 " ... %" PRId64, f->key, v,
			  f->imin, f->imax);
}

static int check_text(const struct lh_field *f, const char *s, size_t len, struct lh_err *err)
{
	if (len == 0)
		return f->empty ? 0 : bad(err, f, "is empty");
	if (len >= f->size)
		return lh_err_set(err, LH_EXIT_INPUT, -ENAMETOOLONG, "key \"%s\": longer than %zu bytes", f->key,
				  f->size - 1);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return bad(err, f, "has a control character");
	return 0;
}

/* Only what json_integer cannot hold may come as a string, so that each value has one spelling. */
static int read_big(const struct lh_field *f, const char *s, uint64_t *ret, struct lh_err *err)
{
	size_t len = strlen(s);
	if (len != strspn(s, "0123456789") || len < 19 || len > 20)
		return bad(err, f, "is not an integer");
	errno = 0;
	uint64_t v = strtoull(s, NULL, 10);
	if (errno || v <= INT64_MAX)
		return bad(err, f, "is not an integer");
	*ret = v;
	return 0;
}

static int read_uint(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	uint64_t u = 0;
	if (json_is_integer(v)) {
		if (json_integer_value(v) < 0)
			return bad(err, f, "is negative");
		u = (uint64_t)json_integer_value(v);
	} else if (json_is_string(v)) {
		int rc = read_big(f, json_string_value(v), &u, err);
		if (rc)
			return rc;
	} else {
		return bad(err, f, "is not an integer");
	}
	int rc = check_uint(f, u, err);
	if (!rc)
		store_uint(at, f->size, u);
	return rc;
}

static int read_int(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	if (!json_is_integer(v))
		return bad(err, f, "is not an integer");
	int64_t i = json_integer_value(v);
	int rc = check_int(f, i, err);
	if (!rc)
		store_uint(at, f->size, (uint64_t)i);
	return rc;
}

static int read_real(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	double d = NAN;
	bool null_fine = f->type == LH_FIELD_REAL_OR_NULL;
	if (json_is_number(v))
		d = json_number_value(v);
	else if (!null_fine || !json_is_null(v))
		return bad(err, f, "is not a number");
	int rc = null_fine ? 0 : check_real(f, d, err);
	if (!rc)
		memcpy(at, &d, sizeof d);
	return rc;
}

static int read_text(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	if (!json_is_string(v))
		return bad(err, f, "is not a string");
	int rc = check_text(f, json_string_value(v), json_string_length(v), err);
	if (!rc) {
		memset(at, 0, f->size);
		memcpy(at, json_string_value(v), json_string_length(v));
	}
	return rc;
}

static int read_hex64(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	const char *s = json_is_string(v) ? json_string_value(v) : "";
	if (json_string_length(v) != 16 || strspn(s, "0123456789abcdef") != 16)
		return bad(err, f, "is not 16 lower-case hex digits");
	store_uint(at, 8, strtoull(s, NULL, 16));
	return 0;
}

static int read_word(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	for (uint32_t i = 0; json_is_string(v) && f->words[i]; i++)
		if (!strcmp(f->words[i], json_string_value(v))) {
			store_uint(at, 4, i);
			return 0;
		}
	return bad(err, f, "is none of the known words");
}

static int read_bool(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	bool yes = json_is_true(v);
	if (!json_is_boolean(v))
		return bad(err, f, "is not true or false");
	memcpy(at, &yes, sizeof yes);
	return 0;
}

static int read_field(const struct lh_field *f, const json_t *v, void *at, struct lh_err *err)
{
	switch (f->type) {
	case LH_FIELD_UINT: return read_uint(f, v, at, err);
	case LH_FIELD_INT: return read_int(f, v, at, err);
	case LH_FIELD_REAL:
	case LH_FIELD_REAL_OR_NULL: return read_real(f, v, at, err);
	case LH_FIELD_TEXT: return read_text(f, v, at, err);
	case LH_FIELD_HEX64: return read_hex64(f, v, at, err);
	case LH_FIELD_WORD: return read_word(f, v, at, err);
	case LH_FIELD_BOOL: return read_bool(f, v, at, err);
	}
	return bad(err, f, "has no type");
}

static bool is_listed(const char *key, const struct lh_field *fields, size_t nfields, const char *const *known)
{
	for (size_t i = 0; i < nfields; i++)
		if (!strcmp(fields[i].key, key))
			return true;
	for (; known && *known; known++)
		if (!strcmp(*known, key))
			return true;
	return false;
}

int lh_fields_read(const json_t *object, const struct lh_field *fields, size_t nfields, const char *const *known,
		   void *base, struct lh_err *err)
{
	if (!json_is_object(object))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "is not a JSON object");
	for (size_t i = 0; i < nfields; i++) {
		const struct lh_field *f = &fields[i];
		const json_t *v = json_object_get(object, f->key);
		if (!v && f->optional)
			continue;
		if (!v)
			return bad(err, f, "is missing");
		int rc = read_field(f, v, (char *)base + f->offset, err);
		if (rc)
			return rc;
	}
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)object, key, value) /* the iterator takes no const */
		if (!is_listed(key, fields, nfields, known))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "key \"%.64s\": is not known", key);
	return 0;
}

static json_t *print_uint(uint64_t v)
{
	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	return json_sprintf("%" PRIu64, v);
}

/* The value as JSON; *rc is set where read would refuse it. */
static json_t *print_field(const struct lh_field *f, const void *at, int *rc, struct lh_err *err)
{
	double d;
	int64_t i;
	uint64_t u;
	switch (f->type) {
	case LH_FIELD_UINT:
		u = load_uint(at, f->size);
		*rc = check_uint(f, u, err);
		return *rc ? NULL : print_uint(u);
	case LH_FIELD_INT:
		i = f->size == 4 ? (int32_t)load_uint(at, 4) : (int64_t)load_uint(at, 8);
		*rc = check_int(f, i, err);
		return *rc ? NULL : json_integer(i);
	case LH_FIELD_REAL:
		memcpy(&d, at, sizeof d);
		*rc = check_real(f, d, err);
		return *rc ? NULL : json_real(d);
	case LH_FIELD_REAL_OR_NULL:
		memcpy(&d, at, sizeof d);
		return isfinite(d) ? json_real(d) : json_null();
	case LH_FIELD_TEXT:
		*rc = check_text(f, at, strnlen(at, f->size), err);
		return *rc ? NULL : json_string(at);
	case LH_FIELD_HEX64:
		return json_sprintf("%016" PRIx64, load_uint(at, 8));
	case LH_FIELD_BOOL:
		return json_boolean(*(const bool *)at);
	case LH_FIELD_WORD:
		u = load_uint(at, 4);
		for (uint32_t n = 0; f->words[n]; n++)
			if (n == u)
				return json_string(f->words[n]);
		break;
	}
	*rc = bad(err, f, "has a value without a name");
	return NULL;
}

int lh_fields_print(json_t *object, const struct lh_field *fields, size_t nfields, const void *base,
		    struct lh_err *err)
{
	for (size_t i = 0; i < nfields; i++) {
		int rc = 0;
		json_t *v = print_field(&fields[i], (const char *)base + fields[i].offset, &rc, err);
		if (rc)
			return rc;
		if (!v) /* out of memory, or a text that is not UTF-8 */
			return bad(err, &fields[i], "cannot be written as JSON");
		if (json_object_set_new(object, fields[i].key, v))
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "key \"%s\"", fields[i].key);
	}
	return 0;
}

int lh_line_read(const char *what, const char *line, size_t len, size_t most, lh_line_reader *read, void *to,
		 struct lh_err *err)
{
	if (len >= most)
		return lh_err_set(err, LH_EXIT_BROKE, -EMSGSIZE, "%s line: longer than %zu bytes", what, most);
	json_error_t je;
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
	if (!o)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "%s line: column %d: %s", what, je.column, je.text);
	int rc = read(o, to, err);
	json_decref(o);
	if (rc && err) {
		err->exit = LH_EXIT_BROKE;
		lh_err_wrap(err, "%s line", what);
	}
	return rc;
}
