/* units.c - exact decimal parsing and printing of times, rates, sizes and probabilities.
 *
 * No floating point: a number is read as digits and a decimal fraction and scaled in 128 bits, so that
 * "0.1ms" is 100000 ns and not one less, and what is printed reads back to the same value.
 */
#include "longhaul/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

typedef unsigned __int128 u128;

enum { FRACTION_DIGITS_MAX = 18, QUOTE_MAX = 40 };

struct unit {
	const char *name;
	uint64_t scale; /* internal units in one of these */
};

static const struct unit time_units[] = {
	{ "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 },
	{ "min", UINT64_C(60000000000) }, { "h", UINT64_C(3600000000000) }, { 0 },
};
static const struct unit rate_units[] = {
	{ "bit", 1 }, { "kbit", 1000 }, { "mbit", 1000000 }, { "gbit", 1000000000 },
	{ "tbit", UINT64_C(1000000000000) }, { 0 },
};
static const struct unit binary_units[] = {
	{ "KiB", UINT64_C(1) << 10 }, { "MiB", UINT64_C(1) << 20 }, { "GiB", UINT64_C(1) << 30 },
	{ "TiB", UINT64_C(1) << 40 }, { 0 },
};
static const struct unit decimal_units[] = {
	{ "B", 1 }, { "kB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 }, { "TB", UINT64_C(1000000000000) }, { 0 },
};

/* What the user wrote, safe to print: one line, bounded, in quotes. */
struct quote { char text[QUOTE_MAX + 8]; };

static struct quote quote(const char *text)
{
	struct quote q;
	size_t n = 0;
	q.text[n++] = '"';
	for (; *text && n < QUOTE_MAX; text++)
		q.text[n++] = isprint((unsigned char)*text) ? *text : '?';
	memcpy(q.text + n, *text ? "...\"" : "\"", *text ? 5 : 2);
	return q;
}

struct number {
	u128 whole;
	uint64_t fraction, fraction_scale; /* fraction / fraction_scale */
	bool has_point;
	const char *rest; /* what follows the digits */
};

/* Digits with at most one point, a digit on each side of it. */
static int number_parse(const char *text, struct number *ret, struct lh_err *err)
{
	struct number n = { .fraction_scale = 1 };
	const char *p = text;
	if (*p == '-' || *p == '+')
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: a sign is not allowed here", quote(text).text);
	if (!isdigit((unsigned char)*p))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a number", quote(text).text);
	for (; isdigit((unsigned char)*p); p++) {
		n.whole = n.whole * 10 + (unsigned)(*p - '0');
		if (n.whole > UINT64_MAX)
			return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "%s: too large", quote(text).text);
	}
	if (*p == '.') {
		n.has_point = true;
		const char *first = ++p;
		for (; isdigit((unsigned char)*p); p++) {
			if (p - first >= FRACTION_DIGITS_MAX)
				return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
						  "%s: more than %d digits after the point", quote(text).text,
						  FRACTION_DIGITS_MAX);
			n.fraction = n.fraction * 10 + (unsigned)(*p - '0');
			n.fraction_scale *= 10;
		}
		if (p == first)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: a digit must follow the point",
					  quote(text).text);
	}
	if ((*p == 'e' || *p == 'E') && (isdigit((unsigned char)p[1]) || p[1] == '-' || p[1] == '+'))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: write the number without an exponent",
				  quote(text).text);
	if ((*p == 'x' || *p == 'X') && n.whole == 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: write the number in decimal", quote(text).text);
	n.rest = p;
	*ret = n;
	return 0;
}

/* number x scale, rounded to the nearest unit. What is not zero must not become zero by that. */
static int number_scale(const char *text, const struct number *n, uint64_t scale, uint64_t max, const char *smallest,
			uint64_t *ret, struct lh_err *err)
{
	u128 part = (u128)n->fraction * scale + n->fraction_scale / 2;
	u128 value = n->whole * scale + part / n->fraction_scale;
	if (value > max)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "%s: too large", quote(text).text);
	if (value == 0 && (n->whole || n->fraction))
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "%s: smaller than %s", quote(text).text, smallest);
	*ret = (uint64_t)value;
	return 0;
}

static bool is_bare_zero(const struct number *n)
{
	return n->whole == 0 && n->fraction == 0 && *n->rest == 0;
}

/* "100 ms" is a slip worth a sentence of its own. */
static int unit_unknown(const char *text, const struct number *n, const char *what, const char *units,
			struct lh_err *err)
{
	if (*n->rest == 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: a %s needs a unit (%s)", quote(text).text, what,
				  units);
	if (*n->rest == ' ' && isalpha((unsigned char)n->rest[1]))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: no space between number and unit",
				  quote(text).text);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a unit of %s; known are %s", quote(n->rest).text, what,
			  units);
}

int lh_ns_parse(const char *text, lh_ns *ret_ns, struct lh_err *err)
{
	struct number n;
	int rc = number_parse(text, &n, err);
	if (rc)
		return rc;
	uint64_t value = 0;
	const struct unit *u = time_units;
	while (u->name && strcmp(u->name, n.rest))
		u++;
	if (!u->name && !is_bare_zero(&n))
		return unit_unknown(text, &n, "time", "ns, us, ms, s, min, h", err);
	if (u->name && (rc = number_scale(text, &n, u->scale, INT64_MAX, "1ns", &value, err)))
		return rc;
	*ret_ns = (lh_ns)value;
	return 0;
}

/* tc reads "mbps" as megabytes per second, everyone else as megabits: refused, with both readings. */
static int bps_refuse_ps(const char *text, const struct number *n, struct lh_err *err)
{
	const struct unit *u = rate_units;
	char name[8];
	for (; u->name; u++) {
		snprintf(name, sizeof name, "%.*sbps", (int)strlen(u->name) - 3, u->name);
		if (!strcasecmp(name, n->rest))
			break;
	}
	if (!u->name)
		return 0;
	uint64_t bits, octets;
	char as_bits[32], as_bytes[32];
	int rc = number_scale(text, n, u->scale, UINT64_MAX / 8, "1bit", &bits, err);
	if (rc)
		return rc;
	octets = bits * 8;
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
			  "%s: %s has two readings; write %s for bits per second, or %s for bytes per second (tc's "
			  "reading)",
			  quote(text).text, quote(n->rest).text, lh_bps_print(bits, as_bits, sizeof as_bits),
			  lh_bps_print(octets, as_bytes, sizeof as_bytes));
}

int lh_bps_parse(const char *text, lh_bps *ret_bps, struct lh_err *err)
{
	struct number n;
	int rc = number_parse(text, &n, err);
	if (rc || (rc = bps_refuse_ps(text, &n, err)))
		return rc;
	size_t len = strlen(n.rest);
	if (len > 2 && !strcmp(n.rest + len - 2, "/s"))
		len -= 2;
	const struct unit *u = rate_units;
	while (u->name && (strlen(u->name) != len || strncasecmp(u->name, n.rest, len)))
		u++;
	if (!u->name)
		return unit_unknown(text, &n, "rate", "bit, kbit, mbit, gbit, tbit", err);
	return number_scale(text, &n, u->scale, UINT64_MAX, "1bit", ret_bps, err);
}

int lh_bytes_parse(const char *text, lh_bytes *ret_bytes, struct lh_err *err)
{
	struct number n;
	int rc = number_parse(text, &n, err);
	if (rc)
		return rc;
	const struct unit *u = binary_units;
	while (u->name && strcmp(u->name, n.rest))
		u++;
	if (!u->name)
		for (u = decimal_units; u->name && strcmp(u->name, n.rest);)
			u++;
	if (!u->name)
		return unit_unknown(text, &n, "size", "B, kB, MB, GB, TB of 1000; KiB, MiB, GiB, TiB of 1024", err);
	if ((u128)n.fraction * u->scale % n.fraction_scale)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: not a whole number of bytes", quote(text).text);
	return number_scale(text, &n, u->scale, UINT64_MAX, "1B", ret_bytes, err);
}

int lh_ppb_parse(const char *text, lh_ppb *ret_ppb, struct lh_err *err)
{
	struct number n;
	int rc = number_parse(text, &n, err);
	if (rc)
		return rc;
	bool percent = !strcmp(n.rest, "%");
	if (!percent && *n.rest)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: a probability is written like 0.1%% or 0.001",
				  quote(text).text);
	if (!percent && !n.has_point && n.whole)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "%s: a probability needs %% or a decimal point (1%% = 0.01)", quote(text).text);
	uint64_t value;
	rc = number_scale(text, &n, percent ? LH_PPB_ONE / 100 : LH_PPB_ONE, UINT64_MAX, "one in 10^9", &value, err);
	if (rc)
		return rc;
	if (value > LH_PPB_ONE)
		return lh_err_set(err, LH_EXIT_INPUT, -ERANGE, "%s: a probability is at most 100%%", quote(text).text);
	*ret_ppb = (lh_ppb)value;
	return 0;
}

/* value / scale as a decimal without trailing zeros, then the unit. scale is a power of ten. */
static char *decimal_print(const char *sign, uint64_t value, uint64_t scale, const char *unit, char *buf, size_t size)
{
	char fraction[24] = "";
	uint64_t whole = value / scale;
	uint64_t rest = value % scale;
	size_t n = 0;
	if (rest)
		fraction[n++] = '.';
	for (; rest && n < sizeof fraction - 1; rest %= scale) {
		scale /= 10;
		fraction[n++] = (char)('0' + rest / scale);
	}
	snprintf(buf, size, "%s%" PRIu64 "%s%s", sign, whole, fraction, unit);
	return buf;
}

char *lh_ns_print(lh_ns ns, char *buf, size_t size)
{
	uint64_t value = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
	const struct unit *u = time_units;
	while (strcmp(u->name, "s") && value >= u[1].scale)
		u++;
	return decimal_print(ns < 0 ? "-" : "", value, u->scale, ns ? u->name : "s", buf, size);
}

char *lh_bps_print(lh_bps bps, char *buf, size_t size)
{
	const struct unit *u = rate_units;
	while (u[1].name && bps >= u[1].scale)
		u++;
	return decimal_print("", bps, u->scale, u->name, buf, size);
}

char *lh_bytes_print(lh_bytes bytes, char *buf, size_t size)
{
	const struct unit *best = decimal_units;
	for (const struct unit *u = decimal_units; u->name; u++)
		if (bytes && bytes % u->scale == 0)
			best = u;
	for (const struct unit *u = binary_units; u->name; u++)
		if (bytes && bytes % u->scale == 0 && u->scale > best->scale)
			best = u;
	snprintf(buf, size, "%" PRIu64 "%s", bytes / best->scale, best->name);
	return buf;
}

char *lh_ppb_print(lh_ppb ppb, char *buf, size_t size)
{
	return decimal_print("", ppb, LH_PPB_ONE / 100, "%", buf, size);
}

lh_bytes lh_bdp_bytes(lh_bps rate_bps, lh_ns rtt_ns)
{
	if (rtt_ns <= 0)
		return 0;
	const u128 per_byte = (u128)8 * (uint64_t)LH_NS_PER_S;
	u128 bytes = ((u128)rate_bps * (uint64_t)rtt_ns + per_byte - 1) / per_byte;
	return bytes > UINT64_MAX ? UINT64_MAX : (lh_bytes)bytes;
}

lh_ns lh_clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock and a valid pointer */
	return (lh_ns)t.tv_sec * LH_NS_PER_S + t.tv_nsec;
}
