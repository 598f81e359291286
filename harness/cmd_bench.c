/* cmd_bench.c - `longhaul bench allreduce FILE`: the exchange alone, by size and algorithm, in nccl-tests' columns. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "exchange.h"
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

/* Beside the algorithms: the one that should be fastest. */
#define AUTO LH_ALGORITHMS

struct row {
	unsigned asked;                /* enum lh_algorithm, or AUTO */
	enum lh_algorithm algorithm;
	lh_bytes bytes;
	uint64_t elements;
	struct lh_bench_times times;
	struct lh_prediction prediction;
	struct lh_bound bound;
	char bound_text[256], busiest_text[128];
	double predicted_s[LH_ALGORITHMS];
};

struct table {
	struct lh_session *s;
	struct lh_experiment exp;   /* a copy, with what the command line says of the training */
	unsigned algorithms[ALGORITHMS_MAX]; /* as `asked` of a row */
	size_t nalgorithms;
	lh_bytes begin, end;
	unsigned factor, warmup, runs;
	lh_ns pause_ns;
	struct lh_wires wires;
	bool host_known;
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

/* lh_algorithm_names, then "auto" and "all". */
static const char *const *algorithm_words(void)
{
	static const char *words[LH_ALGORITHMS + 3];
	for (unsigned i = 0; i < LH_ALGORITHMS; i++)
		words[i] = lh_algorithm_names[i];
	words[AUTO] = "auto";
	words[AUTO + 1] = "all";
	return words;
}

static int read_algorithms(const char *text, struct table *t, struct lh_err *err)
{
	t->nalgorithms = 0;
	if (!text) {
		t->algorithms[t->nalgorithms++] = t->exp.training.choose ? AUTO : t->exp.training.algorithm;
		return 0;
	}
	for (size_t len; *text; text += len + (text[len] == ',')) {
		len = strcspn(text, ",");
		int word = find_word(algorithm_words(), text, len);
		if (word < 0)
			return refuse_word("algorithm", text, len, algorithm_words(), err);
		unsigned from = word > AUTO ? 0 : (unsigned)word, to = word > AUTO ? AUTO : (unsigned)word;
		for (unsigned k = from; k <= to; k++) {
			if (t->nalgorithms == ALGORITHMS_MAX)
				return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "--algorithm: at most %d", ALGORITHMS_MAX);
			t->algorithms[t->nalgorithms++] = k;
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

static int read_codec(const char *text, struct lh_training *t, struct lh_err *err)
{
	int i = text ? find_word(lh_wire_names, text, strlen(text)) : (int)t->wire;
	if (i < 0)
		return refuse_word("codec", text, strlen(text), lh_wire_names, err);
	t->wire = (enum lh_wire)i;
	if (t->wire == LH_WIRE_POWERSGD)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP,
				  "codec powersgd: it is two exchanges of the factors of a model's tensors, and here is no model");
	if (t->wire == LH_WIRE_TOPK && !(t->codec.topk_fraction > 0))
		t->codec.topk_fraction = 0.01; /* the file's default, which it has for wire topk only */
	t->codec.error_feedback = false;
	return 0;
}

static int read_size(const char *option, const char *text, lh_bytes *ret, struct lh_err *err)
{
	int rc = text ? lh_bytes_parse(text, ret, err) : 0;
	if (rc)
		lh_err_wrap(err, "--%s", option);
	return rc;
}

static double element_bytes(const struct table *t)
{
	return lh_exchange_element_bytes(&t->exp.training);
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
	if (!rc && ((double)t->begin < element_bytes(t) || t->end < t->begin || t->factor < 2 ||
		    (double)t->end / element_bytes(t) > (double)LH_PEER_PARAMETERS_MAX))
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
		rc = read_codec(inv->codec, &t->exp.training, err);
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

static double bound_fraction(const struct row *r)
{
	return r->bound.total_s > 0 ? r->bound.total_s / r->times.median_s : NAN;
}

static const char *asked_name(const struct row *r)
{
	return r->asked == AUTO ? "auto" : lh_algorithm_names[r->asked];
}

/* As the dilated network sees it: so many bytes in what it counts as a second. */
static double capacity(const struct table *t) { return t->wires.host * lh_experiment_scale(&t->exp); }

static void print_head(const struct table *t)
{
	const struct lh_training *tr = &t->exp.training;
	char streams[32];
	snprintf(streams, sizeof streams, "%u%s", lh_experiment_streams(&t->exp), tr->streams ? "" : " (auto)");
	printf("# %s: %u peers, wire %s, streams %s, sockets %s; median of %u exchanges after %u", t->exp.topology.name,
	       t->exp.topology.npeers, lh_wire_names[tr->wire], streams, lh_sockets_names[tr->sockets], t->runs, t->warmup);
	if (t->host_known)
		printf("; this machine carries %.3g Gbit/s", capacity(t) * 8e-9);
	if (lh_experiment_scale(&t->exp) > 1)
		printf("; dilated %u times, times divided back", lh_experiment_scale(&t->exp));
	printf("\n#%12s %12s %6s %-18s %11s %8s %8s %7s %11s %6s %11s\n", "size", "count", "type", "algorithm", "time",
	       "algbw", "busbw", "#wrong", "bound", "of it", "predicted");
	printf("#%12s %12s %6s %-18s %11s %8s %8s %7s %11s %6s %11s\n", "(B)", "(elements)", "", "", "(us)", "(GB/s)",
	       "(GB/s)", "", "(us)", "(%)", "(us)");
}

/* What `auto` weighed: every algorithm with its prediction. */
static void print_choice(const struct row *r)
{
	if (r->asked != AUTO)
		return;
	printf("# auto:");
	for (unsigned a = 0; a < LH_ALGORITHMS; a++)
		if (!isnan(r->predicted_s[a]))
			printf("%s %s %.4g s", a ? "," : "", lh_algorithm_names[a], r->predicted_s[a]);
	printf("; taken: %s, limited by %s\n", lh_algorithm_names[r->algorithm], r->busiest_text);
}

static void print_bound(const struct table *t, const struct row *r)
{
	printf("# bound: node %.4g s, cut %.4g s, delay %.4g s, host ", r->bound.node_s, r->bound.cut_s,
	       r->bound.delay_s);
	if (t->host_known)
		printf("%.4g s; %s\n", r->bound.host_s, r->bound_text);
	else
		printf("not known; %s\n", r->bound_text);
}

static void print_row(const struct table *t, const struct row *r)
{
	bool first = r == t->rows || r[-1].bytes != r->bytes;
	if (first)
		print_bound(t, r);
	print_choice(r);
	printf(" %12llu %12llu %6s %-18s %11.0f %8.4f %8.4f %7llu %11.0f %6.1f %11.0f%s\n", (unsigned long long)r->bytes,
	       (unsigned long long)r->elements, lh_wire_names[t->exp.training.wire], asked_name(r),
	       r->times.median_s * 1e6, algorithm_rate(r) / 1e9, bus_rate(t, r) / 1e9,
	       (unsigned long long)r->times.wrong, r->bound.total_s * 1e6, bound_fraction(r) * 100,
	       r->prediction.total_s * 1e6, r->bound.host_limited ? "  host-limited" : "");
	fflush(stdout);
}

static json_t *predictions_json(const struct row *r)
{
	json_t *o = json_object();
	for (unsigned a = 0; a < LH_ALGORITHMS; a++)
		if (!isnan(r->predicted_s[a]))
			json_object_set_new(o, lh_algorithm_names[a], lh_json_number(r->predicted_s[a]));
	return o;
}

static json_t *exchanges_json(const struct row *r)
{
	json_t *all = json_array();
	for (unsigned i = 0; i < r->times.neach; i++) {
		const struct lh_bench_exchange *x = &r->times.each[i];
		json_array_append_new(all, json_pack("{s:o, s:b, s:o, s:o, s:I}", "time_s", lh_json_number(x->time_s),
						     "measured", i >= r->times.neach - r->times.runs, "window_limited_s",
						     lh_json_number(x->window_s), "cpu_s", lh_json_number(x->cpu_s),
						     "retransmits", (json_int_t)x->retransmits));
	}
	return all;
}

static json_t *row_json(const struct table *t, const struct row *r)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:i, s:o, s:o, s:I, s:I}", "algorithm",
			      asked_name(r), "taken", lh_algorithm_names[r->algorithm], "size_bytes",
			      (json_int_t)r->bytes, "count", (json_int_t)r->elements, "type",
			      lh_wire_names[t->exp.training.wire], "time_s", lh_json_number(r->times.median_s),
			      "time_min_s", lh_json_number(r->times.least_s), "time_max_s",
			      lh_json_number(r->times.most_s), "runs", (int)r->times.runs, "algbw_byte_per_s",
			      lh_json_number(algorithm_rate(r)), "busbw_byte_per_s", lh_json_number(bus_rate(t, r)), "wrong",
			      (json_int_t)r->times.wrong, "bytes_sent", (json_int_t)r->times.bytes_sent);
	json_t *more = json_pack("{s:o, s:o, s:o, s:b, s:s, s:o, s:s, s:o, s:o, s:I}", "bound_s", lh_json_number(r->bound.total_s),
				 "bound_terms_s", lh_exchange_bound_json(&r->bound, t->host_known), "bound_fraction",
				 lh_json_number(bound_fraction(r)), "host_limited", r->bound.host_limited, "bound_by",
				 r->bound_text, "predicted_s", lh_json_number(r->prediction.total_s), "predicted_limit",
				 r->busiest_text, "predictions_s", predictions_json(r), "exchanges", exchanges_json(r),
				 "join_bytes", (json_int_t)r->times.join_bytes);
	json_object_update(o, more);
	json_decref(more);
	return o;
}

static void print_json(const struct table *t, const struct lh_err *why)
{
	const struct lh_session *s = t->s;
	const struct lh_training *tr = &t->exp.training;
	json_t *rows = json_array();
	for (size_t i = 0; i < t->nrows; i++)
		json_array_append_new(rows, row_json(t, &t->rows[i]));
	json_t *doc = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:{s:s, s:s}, s:o, s:i, s:o, s:o}", "schema",
				"longhaul-bench/1", "version", LH_VERSION, "name", t->exp.topology.name, "peers",
				(int)t->exp.topology.npeers, "streams", (int)lh_experiment_streams(&t->exp), "sockets",
				lh_sockets_names[tr->sockets], "environment", "kernel_release",
				s->caps.kernel_release, "netem", lh_netem_where_name(s->where), "capacity_byte_per_s",
				t->host_known ? lh_json_number(capacity(t)) : json_null(), "dilation",
				(int)lh_experiment_scale(&t->exp), "rows", rows, "error",
				why->code ? json_string(why->text) : json_null());
	json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(doc);
}

/* ---- the command ---- */

/* CPU time is what was spent, and stays. */
static void undilate(struct lh_bench_times *t, unsigned dilation)
{
	double *const times[] = { &t->median_s, &t->least_s, &t->most_s };
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		*times[i] /= dilation;
	for (unsigned i = 0; i < t->neach; i++) {
		t->each[i].time_s /= dilation;
		t->each[i].window_s /= dilation;
	}
}

static int measure_row(struct table *t, struct lh_net *net, struct row *r, struct lh_err *err)
{
	const unsigned scale = lh_experiment_scale(&t->exp);
	struct lh_exchange_plan x;
	t->exp.training.choose = r->asked == AUTO;
	t->exp.training.algorithm = r->asked == AUTO ? LH_ALGORITHM_BUTTERFLY : (enum lh_algorithm)r->asked;
	int rc = lh_exchange_plan(&t->exp, &t->wires, r->elements, &x, err);
	if (rc)
		return rc;
	const struct lh_bench_plan plan = {
		.session = t->s, .net = net, .exp = &t->exp, .exchange = &x, .warmup = t->warmup, .runs = t->runs,
		.pause_ns = t->pause_ns * scale,
	};
	rc = lh_bench_measure(&plan, &r->times, err);
	if (!rc)
		undilate(&r->times, scale);
	lh_exchange_undilate(&x, scale);
	r->algorithm = x.algorithm;
	r->prediction = x.prediction;
	r->bound = x.bound;
	memcpy(r->predicted_s, x.predicted_s, sizeof r->predicted_s);
	lh_exchange_bound_text(&x, &t->exp.topology, r->bound_text, sizeof r->bound_text);
	lh_exchange_busiest_text(&x, &t->wires, &t->exp.topology, r->busiest_text, sizeof r->busiest_text);
	lh_exchange_plan_done(&x);
	return rc;
}

static int measure_size(struct table *t, struct lh_net *net, lh_bytes size, struct lh_err *err)
{
	int rc = 0;
	for (size_t a = 0; !rc && a < t->nalgorithms && t->nrows < ROWS_MAX; a++) {
		struct row *r = &t->rows[t->nrows];
		*r = (struct row){ .asked = t->algorithms[a] };
		r->elements = (uint64_t)((double)size / element_bytes(t));
		r->bytes = (lh_bytes)((double)r->elements * element_bytes(t));
		if (t->s->inv->json && !t->s->inv->quiet)
			fprintf(stderr, "longhaul: %s, %llu bytes\n", asked_name(r), (unsigned long long)r->bytes);
		rc = measure_row(t, net, r, err);
		if (rc) {
			lh_err_wrap(err, "%s, %llu bytes", asked_name(r), (unsigned long long)r->bytes);
			break;
		}
		t->nrows++;
		if (!t->s->inv->json)
			print_row(t, r);
	}
	return rc;
}

static int measure_all(struct table *t, struct lh_net *net, const struct lh_probe_report *rep, struct lh_err *err)
{
	/* Silence for longer than a retransmission timeout, which is never less, closes windows again. */
	int rc = lh_exchange_wires(&t->exp, rep, t->pause_ns > LH_NS_PER_S / 5, &t->wires, err);
	t->host_known = !rc && isfinite(t->wires.host);
	if (!rc && !t->s->inv->json)
		print_head(t);
	for (lh_bytes size = t->begin; !rc && size <= t->end; size *= t->factor) {
		rc = measure_size(t, net, size, err);
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
		t->exp.training.choose = true; /* so that the machine is measured too */
		rc = lh_probe_network_up(&t->exp, NULL, NULL, &net, &rep, &err);
	}
	if (!rc)
		rc = measure_all(t, net, &rep, &err);
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
	for (size_t i = 0; t && i < t->nrows; i++)
		lh_bench_times_done(&t->rows[i].times);
	if (t)
		lh_wires_done(&t->wires);
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
