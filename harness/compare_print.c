/* compare_print.c - the comparison as tables and as JSON. One line a run: that reads well for two and for eight. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "stats.h"

enum {
	CELL = 44,            /* characters of a cell; longer texts are cut, --json has them */
	VALUE = 24,           /* of a setting */
	COLUMNS_MAX = 24,
	PAIRS_SHOWN = 8,      /* columns of site pairs */
	DIFFERENCES_SHOWN = 24,
};

/* ---- tables ---- */

struct table {
	size_t rows, columns;
	char (*cells)[COLUMNS_MAX][CELL + 1]; /* [rows] */
};

static bool table_new(struct table *t, size_t rows)
{
	*t = (struct table){ .rows = rows, .cells = calloc(rows, sizeof *t->cells) };
	return t->cells;
}

static void put(struct table *t, size_t row, size_t column, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void put(struct table *t, size_t row, size_t column, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (row >= t->rows || column >= COLUMNS_MAX)
		return;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n > CELL)
		memcpy(text + CELL - 2, "..", 3);
	memcpy(t->cells[row][column], text, strlen(text) + 1);
	if (column >= t->columns)
		t->columns = column + 1;
}

static void put_number(struct table *t, size_t row, size_t column, double v, int digits, const char *unit)
{
	if (!isfinite(v))
		put(t, row, column, "-");
	else if (digits >= 0)
		put(t, row, column, "%.*f%s", digits, v, unit);
	else
		put(t, row, column, "%.*f%s", lh_digits_after(v, -digits), v, unit);
}

static void put_ratio(struct table *t, size_t row, size_t column, double ratio)
{
	if (isfinite(ratio) && ratio < 0.0995)
		put(t, row, column, "x%.2g", ratio);
	else if (isfinite(ratio))
		put(t, row, column, "x%.*f", ratio < 9.995 ? 2 : ratio < 99.95 ? 1 : 0, ratio);
	else
		put(t, row, column, "%s", "");
}

/* Two spaces between columns; the first `left` columns from the left, the others from the right. */
static void table_print(struct table *t, size_t left, FILE *out)
{
	int width[COLUMNS_MAX] = { 0 };

	for (size_t r = 0; r < t->rows; r++)
		for (size_t c = 0; c < t->columns; c++)
			if ((int)strlen(t->cells[r][c]) > width[c])
				width[c] = (int)strlen(t->cells[r][c]);
	for (size_t r = 0; r < t->rows; r++) {
		size_t used = t->columns;
		while (used && !t->cells[r][used - 1][0])
			used--;
		for (size_t c = 0; c < used; c++) {
			if (c < left)
				fprintf(out, "%s%-*s", c ? "  " : "", c + 1 == used ? 0 : width[c], t->cells[r][c]);
			else
				fprintf(out, "%s%*s", c ? "  " : "", width[c], t->cells[r][c]);
		}
		fputc('\n', out);
	}
	free(t->cells);
}

static char letter(size_t run)
{
	return (char)(run < 26 ? 'A' + run : 'a' + run % 26);
}

static void put_names(const struct lh_compare *c, struct table *t)
{
	for (size_t i = 0; i < c->nruns; i++)
		put(t, i + 1, 0, "%c  %s", letter(i), c->runs[i].label);
}

/* ---- the tables ---- */

/* What is said beside a run's name when its numbers are not plain ones. */
static void labels_text(const struct lh_compare_run *r, char *buf, size_t size)
{
	char dilated[40], late[80];
	snprintf(dilated, sizeof dilated, "dilated %lld times", r->row.dilation);
	snprintf(late, sizeof late, "late %.1f %% of the time, in %.0f %% of the steps", r->row.lateness * 100,
		 r->row.late_steps * 100);
	const char *const said[] = {
		!strcmp(r->row.engine, "paced") ? "PACED" : NULL, r->row.host_limited ? "host-limited" : NULL,
		r->row.dilation > 1 ? dilated : NULL, r->row.late_steps > 0 ? late : NULL,
		r->row.replicas_identical == 0 ? "REPLICAS DIFFER" : NULL,
		r->row.valid ? NULL : r->row.complete ? "NOT VALID" : "INCOMPLETE",
	};
	size_t used = 0;

	buf[0] = 0;
	for (size_t i = 0; i < sizeof said / sizeof *said; i++)
		if (said[i])
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", said[i]);
	if (!r->row.valid && r->row.reason[0])
		snprintf(buf + used, size - used, ": %.150s", r->row.reason);
}

static double per_epoch(const struct lh_result_row *r, double sum)
{
	return r->epochs > 0 ? sum / (double)r->epochs : NAN;
}

static bool any_metric(const struct lh_compare *c)
{
	for (size_t i = 0; i < c->nruns; i++)
		if (c->runs[i].row.metric[0])
			return true;
	return false;
}

static void put_run(const struct lh_compare *c, size_t i, struct table *t)
{
	const struct lh_compare_run *r = &c->runs[i], *first = &c->runs[0];
	size_t k = 0, row = i + 1;

	put_number(t, row, ++k, r->row.throughput_sps, -4, "");
	put_ratio(t, row, ++k, lh_compare_ratio(c, i, r->row.throughput_sps, first->row.throughput_sps));
	put_number(t, row, ++k, per_epoch(&r->row, r->row.calc_s), 3, " s");
	put_number(t, row, ++k, per_epoch(&r->row, r->row.comm_s), 3, " s");
	put_ratio(t, row, ++k, lh_compare_ratio(c, i, per_epoch(&r->row, r->row.comm_s),
						per_epoch(&first->row, first->row.comm_s)));
	put_number(t, row, ++k, r->row.granularity, -3, "");
	put_number(t, row, ++k, r->row.efficiency, 3, "");
	put_number(t, row, ++k, r->wan_bytes / 1e6, -4, " MB");
	put_number(t, row, ++k, r->bytes_per_sample / 1e3, -4, "");
	put_ratio(t, row, ++k, lh_compare_ratio(c, i, r->bytes_per_sample, first->bytes_per_sample));
	put_number(t, row, ++k, lh_compare_loss(c, i, NULL), 4, "");
	if (any_metric(c))
		put_number(t, row, ++k, r->row.value, -3, "");
}

/* "loss: of the epoch that ends at 6144 samples (B: 6109), which all runs reached" */
static void print_loss_note(const struct lh_compare *c, FILE *out)
{
	bool any = false;

	if (!c->loss_samples)
		return;
	fprintf(out, "loss: of the epoch that ends at %llu samples", (unsigned long long)c->loss_samples);
	for (size_t i = 0; i < c->nruns; i++) {
		uint64_t at;
		lh_compare_loss(c, i, &at);
		if (!at || at == c->loss_samples)
			continue;
		fprintf(out, "%s%c: %llu", any ? ", " : " (last before it, ", letter(i), (unsigned long long)at);
		any = true;
	}
	fprintf(out, "%s, which all runs reached\n", any ? ")" : "");
}

static void print_runs(const struct lh_compare *c, FILE *out)
{
	static const char *const heads[] = { "run", "samples/s", "", "calc/epoch", "comm/epoch", "", "granularity",
					     "efficiency", "between sites", "kB/sample", "", "loss", "held out" };
	struct table t;

	if (!table_new(&t, c->nruns + 1))
		return;
	for (size_t k = 0; k < sizeof heads / sizeof *heads - !any_metric(c); k++)
		put(&t, 0, k, "%s", heads[k]);
	put_names(c, &t);
	for (size_t i = 0; i < c->nruns; i++)
		put_run(c, i, &t);
	table_print(&t, 1, out);
	if (c->nruns > 1)
		fputs("x: ratio to A, of valid runs\n", out);
	print_loss_note(c, out);
	for (size_t i = 0; i < c->nruns; i++) {
		char text[256];
		const struct lh_compare_run *r = &c->runs[i];
		if (r->row.metric[0] && (i == 0 || strcmp(r->row.metric, c->runs[i - 1].row.metric) != 0))
			fprintf(out, "held out: %s, reference %.3g\n", r->row.metric, r->row.reference);
		labels_text(r, text, sizeof text);
		if (text[0])
			fprintf(out, "%c: %s\n", letter(i), text);
	}
}

static void print_split(const struct lh_compare *c, FILE *out)
{
	static const char *const heads[] = { "of an epoch, s", "comm", "= latency", "+ bandwidth", "+ waiting", "+ coding",
					     "+ update", "of bound" };
	struct table t;

	if (!table_new(&t, c->nruns + 1))
		return;
	for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
		put(&t, 0, k, "%s", heads[k]);
	put_names(c, &t);
	for (size_t i = 0; i < c->nruns; i++) {
		const struct lh_result_row *r = &c->runs[i].row;
		const double parts[] = { r->comm_s, r->latency_s, r->bandwidth_s, r->wait_s, r->coding_s, r->update_s };
		for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
			put_number(&t, i + 1, k + 1, per_epoch(r, parts[k]), 3, "");
		put_number(&t, i + 1, sizeof parts / sizeof *parts + 1, c->runs[i].bound_fraction * 100, 0, " %");
	}
	fputc('\n', out);
	table_print(&t, 1, out);
}

static double pair_bytes(const struct lh_compare_run *r, const char *name)
{
	for (size_t i = 0; i < r->npairs; i++)
		if (!strcmp(r->pairs[i].name, name))
			return r->pairs[i].bytes;
	return NAN;
}

/* The names of all runs' pairs, in the order of their first appearance. Returns how many there are. */
static size_t list_pairs(const struct lh_compare *c, const char **ret, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < c->nruns; i++)
		for (size_t k = 0; k < c->runs[i].npairs; k++) {
			const char *name = c->runs[i].pairs[k].name;
			size_t j = 0;
			while (j < n && j < room && strcmp(ret[j], name) != 0)
				j++;
			if (j == n && n < room)
				ret[n++] = name;
			else if (j == room)
				n = room + 1; /* more than are shown */
			if (n > room)
				return n;
		}
	return n;
}

static void print_pairs(const struct lh_compare *c, FILE *out)
{
	const char *names[PAIRS_SHOWN];
	size_t n = list_pairs(c, names, PAIRS_SHOWN), shown = n > PAIRS_SHOWN ? PAIRS_SHOWN : n;
	struct table t;

	if (!n || !table_new(&t, c->nruns + 1))
		return;
	put(&t, 0, 0, "both ways, MB");
	for (size_t k = 0; k < shown; k++)
		put(&t, 0, k + 1, "%s", names[k]);
	put(&t, 0, shown + 1, "inside sites");
	put(&t, 0, shown + 2, "samples");
	put_names(c, &t);
	for (size_t i = 0; i < c->nruns; i++) {
		const struct lh_compare_run *r = &c->runs[i];
		for (size_t k = 0; k < shown; k++)
			put_number(&t, i + 1, k + 1, pair_bytes(r, names[k]) / 1e6, -4, "");
		put_number(&t, i + 1, shown + 1, r->lan_bytes / 1e6, -4, "");
		put(&t, i + 1, shown + 2, "%llu",
		    (unsigned long long)(r->nepochs ? r->epochs[r->nepochs - 1].samples : 0));
	}
	fputc('\n', out);
	table_print(&t, 1, out);
	if (n > PAIRS_SHOWN)
		fputs("(more pairs: --json has all)\n", out);
}

static void print_differences(const struct lh_compare *c, FILE *out)
{
	json_t *rows = lh_compare_differences(c), *row;
	size_t i, n = json_array_size(rows), shown = n > DIFFERENCES_SHOWN ? DIFFERENCES_SHOWN : n;
	struct table t;

	for (size_t k = 0; k < c->nruns; k++)
		if (!c->runs[k].settings)
			fprintf(out, "\n%c: what its experiment was is not known: %s\n", letter(k),
				c->runs[k].settings_missing);
	if (!table_new(&t, shown + 1)) {
		json_decref(rows);
		return;
	}
	put(&t, 0, 0, n ? "what differs" : "the experiments do not differ");
	for (size_t k = 0; n && k < c->nruns; k++)
		put(&t, 0, k + 1, "%c", letter(k));
	json_array_foreach(rows, i, row) {
		const char *key = json_string_value(json_object_get(row, "key"));
		long long count = json_integer_value(json_object_get(row, "count"));
		if (!strncmp(key, "training.", 9))
			key += 9;
		if (count > 1)
			put(&t, i + 1, 0, "%s (%lld)", key, count);
		else
			put(&t, i + 1, 0, "%s", key);
		for (size_t k = 0; k < c->nruns; k++) {
			const char *v = json_string_value(json_array_get(json_object_get(row, "values"), k));
			v = v ? v : c->runs[k].settings ? "-" : "?";
			put(&t, i + 1, k + 1, "%.*s%s", VALUE - 2, v, strlen(v) > VALUE - 2 ? ".." : "");
		}
	}
	fputc('\n', out);
	table_print(&t, COLUMNS_MAX, out);
	if (n > shown)
		fprintf(out, "(and %zu more: --json has all)\n", n - shown);
	json_decref(rows);
}

void lh_compare_print(const struct lh_compare *c, FILE *out)
{
	print_runs(c, out);
	print_split(c, out);
	print_pairs(c, out);
	print_differences(c, out);
}

/* ---- JSON ---- */

static json_t *ratio(const struct lh_compare *c, size_t i, double value, double first)
{
	return lh_json_number(lh_compare_ratio(c, i, value, first));
}

static json_t *run_json(const struct lh_compare *c, size_t i)
{
	const struct lh_compare_run *r = &c->runs[i], *first = &c->runs[0];
	json_t *o = lh_result_row_json(&r->row), *pairs = json_array();
	char name[2] = { letter(i), 0 };
	uint64_t loss_at;

	for (size_t k = 0; k < r->npairs; k++)
		json_array_append_new(pairs, json_pack("{s:s, s:o}", "sites", r->pairs[k].name, "bytes",
						       lh_json_number(r->pairs[k].bytes)));
	json_object_set_new(o, "letter", json_string(name));
	json_object_set_new(o, "label", json_string(r->label));
	json_object_set_new(o, "samples",
			    json_integer(r->nepochs ? (json_int_t)r->epochs[r->nepochs - 1].samples : 0));
	json_object_set_new(o, "bytes_between_sites", lh_json_number(r->wan_bytes));
	json_object_set_new(o, "bytes_inside_sites", lh_json_number(r->lan_bytes));
	json_object_set_new(o, "bytes_per_sample", lh_json_number(r->bytes_per_sample));
	json_object_set_new(o, "bytes_by_pair", pairs);
	json_object_set_new(o, "loss_at_equal_samples", lh_json_number(lh_compare_loss(c, i, &loss_at)));
	json_object_set_new(o, "loss_samples", loss_at ? json_integer((json_int_t)loss_at) : json_null());
	json_object_set_new(o, "throughput_ratio",
			    ratio(c, i, r->row.throughput_sps, first->row.throughput_sps));
	json_object_set_new(o, "comm_ratio", ratio(c, i, per_epoch(&r->row, r->row.comm_s),
						   per_epoch(&first->row, first->row.comm_s)));
	json_object_set_new(o, "granularity_ratio", ratio(c, i, r->row.granularity, first->row.granularity));
	json_object_set_new(o, "bytes_per_sample_ratio", ratio(c, i, r->bytes_per_sample, first->bytes_per_sample));
	json_object_set_new(o, "algorithm", json_string(r->algorithm));
	json_object_set_new(o, "bound_fraction", lh_json_number(r->bound_fraction));
	json_object_set_new(o, "settings_known", json_boolean(r->settings != NULL));
	return o;
}

json_t *lh_compare_json(const struct lh_compare *c)
{
	json_t *runs = json_array();

	for (size_t i = 0; i < c->nruns; i++)
		json_array_append_new(runs, run_json(c, i));
	return json_pack("{s:s, s:o, s:o, s:o}", "schema", LH_COMPARE_SCHEMA, "loss_samples",
			 c->loss_samples ? json_integer((json_int_t)c->loss_samples) : json_null(), "runs", runs,
			 "differences", lh_compare_differences(c));
}
