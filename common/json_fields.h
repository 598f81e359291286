/* json_fields.h - one table per JSON object: the row of a key serves its reading, its printing, its range and
 * its error text, so that the two directions of a format cannot drift apart.
 *
 * Reading is strict: every key of the table is there (unless optional), no other key is, each has its type
 * and lies within its range. An integer that JSON's 63 bits cannot hold is written as a decimal string.
 */
#ifndef COMMON_JSON_FIELDS_H
#define COMMON_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

enum lh_field_type {
	LH_FIELD_UINT,   /* uint16_t, uint32_t, unsigned or uint64_t, by size; min ... umax */
	LH_FIELD_INT,    /* int or int64_t, by size; imin ... imax */
	LH_FIELD_REAL,   /* double, finite, imin ... imax */
	LH_FIELD_REAL_OR_NULL, /* double; what is not finite is written as null and read as NaN */
	LH_FIELD_TEXT,   /* char[size], not empty unless `empty`, no control characters, UTF-8 */
	LH_FIELD_HEX64,  /* uint64_t as 16 hex digits */
	LH_FIELD_WORD,   /* an enum of 4 bytes, by index into words */
	LH_FIELD_BOOL,   /* bool */
};

struct lh_field {
	const char *key;
	enum lh_field_type type;
	size_t offset, size;
	int64_t imin, imax;
	uint64_t umin, umax;
	const char *const *words; /* NULL-terminated */
	bool optional;            /* left as it is when the key is missing */
	bool empty;               /* a text of no characters is one */
};

/* A member under another key than its own name (of a struct inside the struct). */
#define LH_FIELD_AS(s, m, k, t, ...) \
	{ .key = (k), .type = (t), .offset = offsetof(struct s, m), .size = sizeof(((struct s *)0)->m), __VA_ARGS__ }
#define LH_FIELD(s, m, t, ...) \
	{ .key = #m, .type = (t), .offset = offsetof(struct s, m), .size = sizeof(((struct s *)0)->m), __VA_ARGS__ }

/* Fill `base` from the object. Keys of `known` (NULL-terminated list, may be NULL) are left to the caller. */
int lh_fields_read(const json_t *object, const struct lh_field *fields, size_t nfields, const char *const *known,
		   void *base, struct lh_err *err);
/* Add every field to the object. -EINVAL names a value that read would refuse. */
int lh_fields_print(json_t *object, const struct lh_field *fields, size_t nfields, const void *base,
		    struct lh_err *err);

/* One line of a peer, `most` bytes at the most: an object without a key twice, which `read` takes into `to`. What is wrong
 * is called a "what line" and is LH_EXIT_BROKE; `to` is the caller's to drop then. */
typedef int lh_line_reader(const json_t *object, void *to, struct lh_err *err);
int lh_line_read(const char *what, const char *line, size_t len, size_t most, lh_line_reader *read, void *to,
		 struct lh_err *err);

#endif
