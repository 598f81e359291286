/* Units: what reads, what is refused and why, and that printing and reading are inverse. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lhtest.h"
#include "longhaul/units.h"

static void times_read(void)
{
	static const struct { const char *text; lh_ns ns; } good[] = {
		{ "0", 0 }, { "0ms", 0 }, { "80ns", 80 }, { "250us", 250000 }, { "100ms", 100000000 },
		{ "1.5s", 1500000000 }, { "2min", 120000000000 }, { "1h", INT64_C(3600000000000) },
		{ "0.1ms", 100000 }, { "103.11ms", 103110000 }, { "0.000000001s", 1 }, { "007ms", 7000000 },
		{ "0.6ns", 1 }, { "9223372036854775807ns", INT64_MAX },
	};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		lh_ns ns = -1;
		struct lh_err err = LH_ERR_INIT;
		CU_ASSERT_EQUAL(lh_ns_parse(good[i].text, &ns, &err), 0);
		CU_ASSERT_EQUAL(ns, good[i].ns);
	}
}

static void rates_sizes_and_probabilities_read(void)
{
	static const struct { const char *text; lh_bps bps; } rates[] = {
		{ "200mbit", 200000000 }, { "1.5Gbit", 1500000000 }, { "64kbit", 64000 }, { "10tbit", 10000000000000 },
		{ "200Mbit/s", 200000000 }, { "7gbit", 7000000000 }, { "12bit", 12 }, { "0bit", 0 },
	};
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		lh_bps bps = 1;
		CU_ASSERT_EQUAL(lh_bps_parse(rates[i].text, &bps, NULL), 0);
		CU_ASSERT_EQUAL(bps, rates[i].bps);
	}
	static const struct { const char *text; lh_bytes bytes; } sizes[] = {
		{ "64KiB", 65536 }, { "4MiB", 4194304 }, { "1GiB", 1073741824 }, { "1kB", 1000 }, { "1MB", 1000000 },
		{ "1GB", 1000000000 }, { "512B", 512 }, { "1.5KiB", 1536 }, { "0B", 0 },
	};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		lh_bytes bytes = 1;
		CU_ASSERT_EQUAL(lh_bytes_parse(sizes[i].text, &bytes, NULL), 0);
		CU_ASSERT_EQUAL(bytes, sizes[i].bytes);
	}
	static const struct { const char *text; lh_ppb ppb; } parts[] = {
		{ "0", 0 }, { "0%", 0 }, { "0.1%", 1000000 }, { "0.001", 1000000 }, { "100%", LH_PPB_ONE },
		{ "1.0", LH_PPB_ONE }, { "0.0000001%", 1 }, { "33.3333333333%", 333333333 },
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		lh_ppb ppb = 7;
		CU_ASSERT_EQUAL(lh_ppb_parse(parts[i].text, &ppb, NULL), 0);
		CU_ASSERT_EQUAL(ppb, parts[i].ppb);
	}
}

/* Each text is refused, the result is untouched, and the message names what is wrong. */
static void wrong_texts_are_refused(void)
{
	static const struct { char kind; const char *text, *part; int code; } bad[] = {
		{ 't', "100", "needs a unit", -EINVAL }, { 't', "", "not a number", -EINVAL },
		{ 't', "-1ms", "sign", -EINVAL }, { 't', "+1ms", "sign", -EINVAL },
		{ 't', "inf", "not a number", -EINVAL },
		{ 't', "nan", "not a number", -EINVAL }, { 't', "0x10ms", "decimal", -EINVAL },
		{ 't', "1e3ms", "exponent", -EINVAL }, { 't', "100 ms", "no space", -EINVAL },
		{ 't', "100msx", "not a unit", -EINVAL }, { 't', "1.ms", "follow the point", -EINVAL },
		{ 't', ".5ms", "not a number", -EINVAL }, { 't', "1,5ms", "not a unit", -EINVAL },
		{ 't', "0.1ns", "smaller than 1ns", -ERANGE }, { 't', "9223372037s", "too large", -ERANGE },
		{ 't', "99999999999999999999ns", "too large", -ERANGE }, { 't', "1MS", "not a unit", -EINVAL },
		{ 't', "0.1234567890123456789s", "digits after", -EINVAL }, { 't', " 1ms", "not a number", -EINVAL },
		{ 'r', "200", "needs a unit", -EINVAL }, { 'r', "0", "needs a unit", -EINVAL },
		{ 'r', "200mbps", "200mbit for bits per second, or 1.6gbit for bytes", -EINVAL },
		{ 'r', "1.5Gbps", "1.5gbit for bits per second, or 12gbit", -EINVAL },
		{ 'r', "8bps", "8bit for bits per second, or 64bit", -EINVAL },
		{ 'r', "99999999tbit", "too large", -ERANGE }, { 'r', "99999999tbps", "too large", -ERANGE },
		{ 'r', "20mb", "not a unit", -EINVAL }, { 'r', "20mbit/", "not a unit", -EINVAL },
		{ 'b', "512", "needs a unit", -EINVAL }, { 'b', "1KB", "not a unit", -EINVAL },
		{ 'b', "0.5B", "whole number", -EINVAL }, { 'b', "99999999999TiB", "too large", -ERANGE },
		{ 'p', "1", "needs %", -EINVAL }, { 'p', "101%", "at most 100%", -ERANGE },
		{ 'p', "1.1", "at most", -ERANGE },
		{ 'p', "5 %", "written like", -EINVAL }, { 'p', "0.00000001%", "smaller than", -ERANGE },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct lh_err err = LH_ERR_INIT;
		lh_ns ns = 42;
		lh_bps bps = 42;
		lh_bytes bytes = 42;
		lh_ppb ppb = 42;
		int rc = bad[i].kind == 't' ? lh_ns_parse(bad[i].text, &ns, &err)
			: bad[i].kind == 'r' ? lh_bps_parse(bad[i].text, &bps, &err)
			: bad[i].kind == 'b' ? lh_bytes_parse(bad[i].text, &bytes, &err)
			: lh_ppb_parse(bad[i].text, &ppb, &err);
		CU_ASSERT_EQUAL(rc, bad[i].code);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		CU_ASSERT(ns == 42 && bps == 42 && bytes == 42 && ppb == 42);
		const char *part = bad[i].part;
		if (!strstr(err.text, part))
			printf("# %s: %s\n", bad[i].text, err.text);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, part));
	}
}

static void messages_stay_on_one_line(void)
{
	struct lh_err err = LH_ERR_INIT;
	lh_ns ns;
	CU_ASSERT_EQUAL(lh_ns_parse("1\nms and a long tail that goes on and on and on and on", &ns, &err), -EINVAL);
	CU_ASSERT_PTR_NULL(strchr(err.text, '\n'));
	CU_ASSERT(strlen(err.text) < 200);
}

static void prints_are_short(void)
{
	char b[32];
	CU_ASSERT_STRING_EQUAL(lh_ns_print(0, b, sizeof b), "0s");
	CU_ASSERT_STRING_EQUAL(lh_ns_print(103110000, b, sizeof b), "103.11ms");
	CU_ASSERT_STRING_EQUAL(lh_ns_print(1500000000, b, sizeof b), "1.5s");
	CU_ASSERT_STRING_EQUAL(lh_ns_print(INT64_MIN, b, sizeof b), "-9223372036.854775808s");
	CU_ASSERT_STRING_EQUAL(lh_bps_print(200000000, b, sizeof b), "200mbit");
	CU_ASSERT_STRING_EQUAL(lh_bps_print(0, b, sizeof b), "0bit");
	CU_ASSERT_STRING_EQUAL(lh_bytes_print(65536, b, sizeof b), "64KiB");
	CU_ASSERT_STRING_EQUAL(lh_bytes_print(1000000, b, sizeof b), "1MB");
	CU_ASSERT_STRING_EQUAL(lh_bytes_print(0, b, sizeof b), "0B");
	CU_ASSERT_STRING_EQUAL(lh_ppb_print(1000000, b, sizeof b), "0.1%");
	CU_ASSERT_STRING_EQUAL(lh_ppb_print(LH_PPB_ONE, b, sizeof b), "100%");
}

static void print_and_parse_are_inverse(void)
{
	uint64_t x = lh_test_seed() | 1;
	for (unsigned i = 0; i < 20000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		uint64_t v = x >> i % 64;
		if (i % 3 == 0) /* round values are what people write */
			v -= v % 1000000;
		char b[32];
		lh_ns ns = -1;
		lh_bps bps = 0;
		lh_bytes bytes = 0;
		lh_ppb ppb = 0;
		bool same = !lh_ns_parse(lh_ns_print((lh_ns)(v >> 1), b, sizeof b), &ns, NULL) && ns == (lh_ns)(v >> 1);
		same &= !lh_bps_parse(lh_bps_print(v, b, sizeof b), &bps, NULL) && bps == v;
		same &= !lh_bytes_parse(lh_bytes_print(v, b, sizeof b), &bytes, NULL) && bytes == v;
		lh_ppb p = (lh_ppb)(v % (LH_PPB_ONE + UINT64_C(1)));
		same &= !lh_ppb_parse(lh_ppb_print(p, b, sizeof b), &ppb, NULL) && ppb == p;
		if (!same)
			printf("# value %llu\n", (unsigned long long)v);
		CU_ASSERT_FATAL(same);
	}
}

static void bdp(void)
{
	CU_ASSERT_EQUAL(lh_bdp_bytes(1000000000, 100 * LH_NS_PER_MS), 12500000);
	CU_ASSERT_EQUAL(lh_bdp_bytes(1, 1), 1); /* rounded up */
	CU_ASSERT_EQUAL(lh_bdp_bytes(0, LH_NS_PER_S), 0);
	CU_ASSERT_EQUAL(lh_bdp_bytes(1000, -5), 0);
	CU_ASSERT_EQUAL(lh_bdp_bytes(UINT64_MAX, INT64_MAX), UINT64_MAX);
}

static void the_clock_goes_forward(void)
{
	lh_ns a = lh_clock_ns(), b = lh_clock_ns();
	CU_ASSERT(a > 0 && b >= a);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "times_read", times_read },
		{ "rates_sizes_and_probabilities_read", rates_sizes_and_probabilities_read },
		{ "wrong_texts_are_refused", wrong_texts_are_refused },
		{ "messages_stay_on_one_line", messages_stay_on_one_line },
		{ "prints_are_short", prints_are_short },
		{ "print_and_parse_are_inverse", print_and_parse_are_inverse },
		{ "bdp", bdp },
		{ "the_clock_goes_forward", the_clock_goes_forward },
	};
	return lh_test_main(argc, argv, "units", tests, sizeof tests / sizeof *tests);
}
