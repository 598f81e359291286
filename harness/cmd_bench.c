/* cmd_bench.c - `longhaul bench allreduce FILE`: the exchange alone, by size and algorithm, in nccl-tests' columns. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "probe/probe.h"
#include "result.h"
#include "stats.h"

#define BEGIN_BYTES (64u << 10)
#define END_BYTES (16u << 20)
#define FACTOR 4
#define RUNS 5
#define WARMUP 2
#define ROWS_MAX 1024
#define ALGORITHMS_MAX 32
/* Of one peer: parts of others that wait to be summed (LH_ALLREDUCE_BUFFER_MAX), and the kernel's socket buffers, whose
 * sum it bounds by a share of all memory. */
#define PEER_BYTES ((lh_bytes)512 << 20)

struct row {
	enum lh_algorithm algorithm;
	lh_bytes bytes;
	uint64_t elements;
	struct lh_bench_times times;
};

struct table {
	struct lh_session *s;
	struct lh_experiment exp;   /* a copy, with what the command line says of the training */
	enum lh_algorithm algorithms[ALGORITHMS_MAX];
	size_t nalgorithms;
	lh_bytes begin, end;
	unsigned factor, warmup, runs;
	lh_ns pause_ns;
	struct row rows[ROWS_MAX];
	size_t nrows;
};

/* ---- the command line ---- */

static int find_word(const char *const *names, const char *word, size_t len)
{
	for (int i = 0; names[i]; i++)
		if (strlen(names[i]) == len && !memcmp(names[i], word, len))
			return i;
	return -1;
}

static int refuse_word(const char *option, const char *word, size_t len, const char *const *names, struct lh_err *err)
{
	char list[256] = "";
	size_t at = 0;
	for (int i = 0; names[i] && at < sizeof list; i++)
		at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", names[i]);
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--%s: '%.*s' is none of %s", option, (int)len, word, list);
}

static int read_algorithms(const char *text, struct table *t, struct lh_err *err)
{
	t->nalgorithms = 0;
	if (!text) {
		t->algorithms[t->nalgorithms++] = t->exp.training.algorithm;
		return 0;
	}
	for (size_t len; *text; text += len + (text[len] == ',')) {
		len = strcspn(text, ",");
		int i = find_word(lh_algorithm_names, text, len);
		bool all = len == 3 && !memcmp(text, "all", 3);
		if (i < 0 && !all)
			return refuse_word("algorithm", text, len, lh_algorithm_names, err);
		for (int k = all ? 0 : i; lh_algorithm_names[k] && (all || k == i); k++) {
			if (t->nalgorithms == ALGORITHMS_MAX)
				return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "--algorithm: at most %d", ALGORITHMS_MAX);
			t->algorithms[t->nalgorithms++] = (enum lh_algorithm)k;
		}
	}
	return t->nalgorithms ? 0 : lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--algorithm: none is named");
}

static int read_streams(const char *text, uint32_t *ret, struct lh_err *err)
{
	char *end;
	if (!text)
		return 0;
	if (!strcmp(text, "auto")) {
		*ret = 0;
		return 0;
	}
	unsigned long v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || !v || v > LH_STREAMS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--streams: '%s' is neither auto nor 1 to %d", text,
				  LH_STREAMS_MAX);
	*ret = (uint32_t)v;
	return 0;
}

static int read_codec(const char *text, enum lh_wire *ret, struct lh_err *err)
{
	static const char *const names[] = { "fp32", "fp16", NULL };
	int i = text ? find_word(names, text, strlen(text)) : -1;
	if (text && i < 0)
		return refuse_word("codec", text, strlen(text), names, err);
	if (text)
		*ret = (enum lh_wire)i;
	return 0;
}

static int read_size(const char *option, const char *text, lh_bytes *ret, struct lh_err *err)
{
	int rc = text ? lh_bytes_parse(text, ret, err) : 0;
	if (rc)
		lh_err_wrap(err, "--%s", option);
	return rc;
}

static unsigned element_bytes(const struct table *t)
{
	return t->exp.training.wire == LH_WIRE_FP16 ? 2 : 4;
}

static int read_sizes(const struct lh_invocation *inv, struct table *t, struct lh_err *err)
{
	t->begin = BEGIN_BYTES;
	t->end = END_BYTES;
	t->factor = inv->factor ? inv->factor : FACTOR;
	int rc = read_size("begin", inv->begin, &t->begin, err);
	if (!rc && inv->begin && !inv->end)
		t->end = t->begin;
	if (!rc)
		rc = read_size("end", inv->end, &t->end, err);
	if (!rc && inv->end && !inv->begin && t->begin > t->end)
		t->begin = t->end;
	if (!rc && (t->begin < element_bytes(t) || t->end < t->begin || t->factor < 2 ||
		    t->end / element_bytes(t) > LH_PEER_PARAMETERS_MAX))
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				"--begin, --end, --factor: no sizes from %llu to %llu bytes by factors of %u",
				(unsigned long long)t->begin, (unsigned long long)t->end, t->factor);
	return rc;
}

static int read_options(const struct lh_invocation *inv, const struct lh_experiment *exp, struct table *t,
			struct lh_err *err)
{
	t->exp = *exp;
	t->runs = inv->runs == ~0u ? RUNS : inv->runs;
	t->warmup = inv->warmup == ~0u ? WARMUP : inv->warmup;
	if (!t->runs || t->runs > LH_BENCH_RUNS_MAX || t->warmup > LH_BENCH_RUNS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--runs, --warmup: at least 1 run, at most %u of each",
				  LH_BENCH_RUNS_MAX);
	int rc = read_algorithms(inv->algorithms, t, err);
	if (!rc)
		rc = read_streams(inv->streams, &t->exp.training.streams, err);
	if (!rc)
		rc = read_codec(inv->codec, &t->exp.training.wire, err);
	if (!rc && inv->pause && (rc = lh_ns_parse(inv->pause, &t->pause_ns, err)))
		lh_err_wrap(err, "--pause");
	if (!rc)
		rc = read_sizes(inv, t, err);
	return rc;
}

static int check(const struct lh_invocation *inv, const struct lh_experiment *exp, struct lh_err *err)
{
	struct table *t = calloc(1, sizeof *t);
	int rc = t ? read_options(inv, exp, t, err) : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "bench");
	free(t);
	return rc;
}

/* ---- rows ---- */

/* Bytes a second: of the vector, and of what each peer cannot do without sending. */
static double algorithm_rate(const struct row *r)
{
	return (double)r->bytes / r->times.median_s;
}

static double bus_rate(const struct table *t, const struct row *r)
{
	double n = t->exp.topology.npeers;
	return algorithm_rate(r) * 2 * (n - 1) / n;
}

static void print_head(const struct table *t)
{
	printf("# %s: %u peers, wire %s, median of %u exchanges after %u\n", t->exp.topology.name,
	       t->exp.topology.npeers, lh_wire_name(t->exp.training.wire), t->runs, t->warmup);
	printf("#%12s %12s %6s %-17s %12s %8s %8s %7s\n", "size", "count", "type", "algorithm", "time", "algbw", "busbw",
	       "#wrong");
	printf("#%12s %12s %6s %-17s %12s %8s %8s %7s\n", "(B)", "(elements)", "", "", "(us)", "(GB/s)", "(GB/s)", "");
}

static void print_row(const struct table *t, const struct row *r)
{
	printf(" %12llu %12llu %6s %-17s %12.0f %8.4f %8.4f %7llu\n", (unsigned long long)r->bytes,
	       (unsigned long long)r->elements, lh_wire_name(t->exp.training.wire), lh_algorithm_names[r->algorithm],
	       r->times.median_s * 1e6, algorithm_rate(r) / 1e9, bus_rate(t, r) / 1e9,
	       (unsigned long long)r->times.wrong);
	fflush(stdout);
}

static json_t *row_json(const struct table *t, const struct row *r)
{
	return json_pack("{s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:i, s:o, s:o, s:I, s:I}", "algorithm",
			 lh_algorithm_names[r->algorithm], "size_bytes", (json_int_t)r->bytes, "count",
			 (json_int_t)r->elements, "type", lh_wire_name(t->exp.training.wire), "time_s",
			 lh_json_number(r->times.median_s), "time_min_s", lh_json_number(r->times.least_s), "time_max_s",
			 lh_json_number(r->times.most_s), "runs", (int)r->times.runs, "algbw_byte_per_s",
			 lh_json_number(algorithm_rate(r)), "busbw_byte_per_s", lh_json_number(bus_rate(t, r)), "wrong",
			 (json_int_t)r->times.wrong, "bytes_sent", (json_int_t)r->times.bytes_sent);
}

static void print_json(const struct table *t, const struct lh_err *why)
{
	const struct lh_session *s = t->s;
	json_t *rows = json_array();
	for (size_t i = 0; i < t->nrows; i++)
		json_array_append_new(rows, row_json(t, &t->rows[i]));
	json_t *doc = json_pack("{s:s, s:s, s:s, s:i, s:{s:s, s:s}, s:o, s:o}", "schema", "longhaul-bench/1", "version",
				LH_VERSION, "name", t->exp.topology.name, "peers", (int)t->exp.topology.npeers,
				"environment", "kernel_release", s->caps.kernel_release, "netem",
				lh_netem_where_name(s->where), "rows", rows, "error",
				why->code ? json_string(why->text) : json_null());
	json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(doc);
}

/* ---- the command ---- */

static int measure_row(struct table *t, struct lh_net *net, struct row *r, struct lh_err *err)
{
	t->exp.training.algorithm = r->algorithm;
	const struct lh_bench_plan plan = {
		.session = t->s, .net = net, .exp = &t->exp, .elements = r->elements, .warmup = t->warmup,
		.runs = t->runs, .pause_ns = t->pause_ns,
	};
	return lh_bench_measure(&plan, &r->times, err);
}

static int measure_all(struct table *t, struct lh_net *net, struct lh_err *err)
{
	bool text = !t->s->inv->json;
	int rc = 0;
	if (text)
		print_head(t);
	for (lh_bytes size = t->begin; !rc && size <= t->end; size *= t->factor) {
		for (size_t a = 0; !rc && a < t->nalgorithms && t->nrows < ROWS_MAX; a++) {
			struct row *r = &t->rows[t->nrows];
			*r = (struct row){ .algorithm = t->algorithms[a], .elements = size / element_bytes(t) };
			r->bytes = r->elements * element_bytes(t);
			if (t->s->inv->json && !t->s->inv->quiet)
				fprintf(stderr, "longhaul: %s, %llu bytes\n", lh_algorithm_names[r->algorithm],
					(unsigned long long)r->bytes);
			rc = measure_row(t, net, r, err);
			if (rc) {
				lh_err_wrap(err, "%s, %llu bytes", lh_algorithm_names[r->algorithm],
					    (unsigned long long)r->bytes);
				break;
			}
			t->nrows++;
			if (text)
				print_row(t, r);
		}
		if (size > t->end / t->factor)
			break;
	}
	return rc;
}

static int bench_body(struct lh_session *s)
{
	struct table *t = calloc(1, sizeof *t);
	struct lh_probe_report rep = { 0 };
	struct lh_err err = LH_ERR_INIT;
	struct lh_net *net = NULL;
	int rc = t ? read_options(s->inv, &s->exp, t, &err) : lh_err_sys(&err, LH_EXIT_MACHINE, -ENOMEM, "bench");
	if (!rc) {
		t->s = s;
		rc = lh_probe_network_up(&t->exp, NULL, NULL, &net, &rep, &err);
	}
	if (!rc)
		rc = measure_all(t, net, &err);
	if (net)
		lh_net_down(net, NULL);
	uint64_t wrong = 0;
	for (size_t i = 0; t && i < t->nrows; i++)
		wrong += t->rows[i].times.wrong;
	if (!rc && wrong)
		rc = lh_err_set(&err, LH_EXIT_BROKE, -EBADMSG, "%llu elements of results are wrong",
				(unsigned long long)wrong);
	if (s->inv->json && t && t->s)
		print_json(t, &err);
	free(t);
	lh_probe_report_done(&rep);
	int signalled = rc == -EINTR ? lh_session_interrupted(s) : 0;
	return signalled ? signalled : rc ? lh_fail(&err) : LH_EXIT_OK;
}

int cmd_bench(const struct lh_invocation *inv)
{
	const struct lh_session_options opt = { .check = check, .trains = true, .peer_bytes = PEER_BYTES };
	return lh_session_main(inv, &opt, bench_body);
}
