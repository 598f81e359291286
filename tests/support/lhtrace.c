#include "lhtrace.h"

#include <CUnit/CUnit.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES = 64 };

struct slice {
	json_int_t tid;
	double from, to;
};

static double number(const json_t *e, const char *key)
{
	const json_t *v = json_object_get(e, key);
	return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text(const json_t *e, const char *key)
{
	const char *s = json_string_value(json_object_get(e, key));
	return s ? s : "";
}

static int by_place(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->to > y->to ? -1 : x->to < y->to;
}

/* Sorted, each slice lies in the one that is open, or after it. A nanosecond is lost in doubles. */
static void check_nesting(struct slice *s, size_t n)
{
	double open[16];
	unsigned depth = 0;

	qsort(s, n, sizeof *s, by_place);
	for (size_t i = 0; i < n; i++) {
		if (i && s[i].tid != s[i - 1].tid)
			depth = 0;
		while (depth && open[depth - 1] <= s[i].from + 0.0015)
			depth--;
		if (depth && s[i].to > open[depth - 1] + 0.0015) {
			CU_FAIL("slices overlap");
			printf("# thread %lld: %f ... %f beyond %f\n", (long long)s[i].tid, s[i].from, s[i].to, open[depth - 1]);
		}
		if (depth < 16)
			open[depth++] = s[i].to;
	}
}

/* The other end of an asynchronous slice, after it and alone. */
static void check_end(const json_t *events, const json_t *begin)
{
	const json_t *e;
	size_t i;
	unsigned ends = 0;

	json_array_foreach(events, i, e)
		if (!strcmp(text(e, "ph"), "e") && !strcmp(text(e, "id"), text(begin, "id")) &&
		    !strcmp(text(e, "cat"), text(begin, "cat"))) {
			ends++;
			CU_ASSERT_TRUE(number(e, "ts") >= number(begin, "ts"));
		}
	CU_ASSERT_EQUAL(ends, 1);
}

static bool has_name(const json_t *events, const char *what, const char *key, json_int_t id)
{
	const json_t *e;
	size_t i;

	json_array_foreach(events, i, e)
		if (!strcmp(text(e, "ph"), "M") && !strcmp(text(e, "name"), what) &&
		    json_integer_value(json_object_get(e, key)) == id &&
		    text(json_object_get(e, "args"), "name")[0])
			return true;
	return false;
}

/* An arrow begins once and ends once, later, each end within a slice of its thread. */
static void check_flow(const json_t *events, const json_t *begin, const struct slice *s, size_t n)
{
	const json_t *e;
	size_t i;
	unsigned ends = 0, held = 0;

	json_array_foreach(events, i, e) {
		bool same = !strcmp(text(e, "id"), text(begin, "id")) && !strcmp(text(e, "cat"), text(begin, "cat"));
		bool is_end = !strcmp(text(e, "ph"), "f");
		if (!same || (!is_end && e != begin))
			continue;
		ends += is_end;
		CU_ASSERT_TRUE(number(e, "ts") >= number(begin, "ts"));
		for (size_t k = 0; k < n; k++)
			if (s[k].tid == json_integer_value(json_object_get(e, "tid")) && s[k].from <= number(e, "ts") + 0.0015 &&
			    number(e, "ts") <= s[k].to + 0.0015) {
				held++;
				break;
			}
	}
	CU_ASSERT_EQUAL(ends, 1);
	CU_ASSERT_EQUAL(held, 2);
}

static bool fits(const json_t *e)
{
	const char *ph = text(e, "ph");
	bool placed = json_is_integer(json_object_get(e, "pid")) && text(e, "name")[0];
	bool timed = number(e, "ts") >= 0;

	if (!strcmp(ph, "M"))
		return placed && json_is_object(json_object_get(e, "args"));
	if (!strcmp(ph, "X"))
		return placed && timed && number(e, "dur") >= 0 && json_is_integer(json_object_get(e, "tid"));
	if (!strcmp(ph, "b") || !strcmp(ph, "e"))
		return placed && timed && text(e, "cat")[0] && text(e, "id")[0];
	if (!strcmp(ph, "s") || !strcmp(ph, "f"))
		return placed && timed && text(e, "cat")[0] && text(e, "id")[0] && json_is_integer(json_object_get(e, "tid")) &&
		       (*ph == 's' || !strcmp(text(e, "bp"), "e"));
	if (!strcmp(ph, "C"))
		return placed && timed && number(json_object_get(e, "args"), "value") >= 0;
	if (!strcmp(ph, "i"))
		return placed && timed && (!strcmp(text(e, "s"), "g") || !strcmp(text(e, "s"), "t"));
	return false;
}

void lhtrace_check(const json_t *doc)
{
	const json_t *events = json_object_get(doc, "traceEvents"), *e;
	struct slice *slices = calloc(json_array_size(events) + 1, sizeof *slices);
	bool seen[PLACES] = { false };
	const char *unit = json_string_value(json_object_get(doc, "displayTimeUnit"));
	double last[PLACES] = { 0 };
	size_t i, n = 0;

	CU_ASSERT_TRUE_FATAL(json_is_array(events) && slices);
	CU_ASSERT_TRUE(!unit || !strcmp(unit, "ms") || !strcmp(unit, "ns"));
	json_array_foreach(events, i, e) {
		json_int_t pid = json_integer_value(json_object_get(e, "pid"));
		json_int_t tid = json_integer_value(json_object_get(e, "tid"));
		bool fine = fits(e);
		CU_ASSERT_TRUE(fine);
		if (!fine)
			printf("# event %zu is not as its phase asks\n", i);
		if (!strcmp(text(e, "ph"), "b"))
			check_end(events, e);
		if (!strcmp(text(e, "ph"), "X") && tid > 0 && tid < PLACES) {
			/* A thread's slices come in order of their begins, outer ones first. */
			CU_ASSERT_TRUE(number(e, "ts") >= last[tid] - 0.0015);
			last[tid] = number(e, "ts");
		}
		if (!strcmp(text(e, "ph"), "X"))
			slices[n++] = (struct slice){ tid, number(e, "ts"), number(e, "ts") + number(e, "dur") };
		if (tid > 0 && tid < PLACES && !seen[tid]) {
			seen[tid] = true;
			CU_ASSERT_TRUE(has_name(events, "process_name", "pid", pid));
			CU_ASSERT_TRUE(has_name(events, "thread_name", "tid", tid));
		}
	}
	check_nesting(slices, n);
	json_array_foreach(events, i, e)
		if (!strcmp(text(e, "ph"), "s"))
			check_flow(events, e, slices, n);
	free(slices);
}
