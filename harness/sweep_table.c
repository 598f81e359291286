/* sweep_table.c - what the runs of a sweep say together: table, CSV and JSON. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

const char *lh_sweep_metric_name(enum lh_sweep_metric m)
{
	static const char *const names[] = {
		"throughput_sps", "calc_s_per_epoch", "comm_s_per_epoch", "granularity", "efficiency", "rtt_measured_s",
	};

	return names[m];
}

static double metric_of(const struct lh_result_row *r, enum lh_sweep_metric m)
{
	double epochs = r->epochs > 0 ? (double)r->epochs : NAN;

	switch (m) {
	case LH_SWEEP_THROUGHPUT:
		return r->throughput_sps;
	case LH_SWEEP_CALC:
		return r->calc_s / epochs;
	case LH_SWEEP_COMM:
		return r->comm_s / epochs;
	case LH_SWEEP_GRANULARITY:
		return r->granularity;
	case LH_SWEEP_EFFICIENCY:
		return r->efficiency;
	case LH_SWEEP_RTT:
		return r->rtt_measured_s;
	case LH_SWEEP_METRICS:
		break;
	}
	return NAN;
}

int lh_sweep_cell_compute(const struct lh_result_row *rows, size_t n, struct lh_sweep_cell *ret)
{
	struct lh_sweep_cell c = { .done = (unsigned)n };
	double *values = calloc(n ? n : 1, sizeof *values);
	int rc = values ? 0 : -ENOMEM;

	for (size_t i = 0; i < n; i++)
		c.valid += rows[i].valid;
	for (int m = 0; rc == 0 && m < LH_SWEEP_METRICS; m++) {
		size_t used = 0;
		for (size_t i = 0; i < n; i++)
			if (rows[i].valid)
				values[used++] = metric_of(&rows[i], (enum lh_sweep_metric)m);
		rc = lh_stats_compute(values, used, &c.metrics[m]);
	}
	free(values);
	if (rc == 0)
		*ret = c;
	return rc;
}

static int axis_width(const struct lh_axis *a)
{
	size_t w = strlen(a->key);

	for (unsigned i = 0; i < a->nvalues; i++)
		if (strlen(a->values[i]) > w)
			w = strlen(a->values[i]);
	return (int)w;
}

/* "2.31 [2.28 ... 2.4]" */
static void print_stat(const struct lh_stats *s, double scale, const char *unit, int width, FILE *out)
{
	char buf[96] = "-";

	if (s->n == 1)
		snprintf(buf, sizeof buf, "%.3g%s", s->median * scale, unit);
	else if (s->n)
		snprintf(buf, sizeof buf, "%.3g%s [%.3g, %.3g]", s->median * scale, unit, s->min * scale, s->max * scale);
	fprintf(out, "  %*s", width, buf);
}

void lh_sweep_print(const struct lh_sweep *s, const struct lh_sweep_cell *cells, FILE *out)
{
	fprintf(out, "median [smallest, largest] of the valid runs\n");
	for (unsigned a = 0; a < s->naxes; a++)
		fprintf(out, "%s%*s", a ? "  " : "", axis_width(&s->axes[a]), s->axes[a].key);
	fprintf(out, "  %5s  %12s  %24s  %24s  %24s  %24s  %24s\n", "valid", "RTT", "samples/s", "calc/epoch", "comm/epoch",
		"granularity", "efficiency");
	for (unsigned c = 0; c < s->ncells; c++) {
		const struct lh_sweep_cell *cell = &cells[c];
		char runs[24];
		for (unsigned a = 0; a < s->naxes; a++)
			fprintf(out, "%s%*s", a ? "  " : "", axis_width(&s->axes[a]), lh_sweep_value(s, c, a));
		snprintf(runs, sizeof runs, "%u/%u", cell->valid, s->runs);
		fprintf(out, "  %5s", runs);
		struct lh_stats rtt = cell->metrics[LH_SWEEP_RTT];
		rtt.n = rtt.n ? 1 : 0; /* its range is the probe's business */
		print_stat(&rtt, 1e3, " ms", 12, out);
		print_stat(&cell->metrics[LH_SWEEP_THROUGHPUT], 1, "", 24, out);
		print_stat(&cell->metrics[LH_SWEEP_CALC], 1, " s", 24, out);
		print_stat(&cell->metrics[LH_SWEEP_COMM], 1, " s", 24, out);
		print_stat(&cell->metrics[LH_SWEEP_GRANULARITY], 1, "", 24, out);
		print_stat(&cell->metrics[LH_SWEEP_EFFICIENCY], 1, "", 24, out);
		fputc('\n', out);
	}
}

/* A field that holds a comma or a quote is quoted (RFC 4180). */
static void csv_text(const char *text, FILE *out)
{
	if (!strpbrk(text, ",\"\n")) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

int lh_sweep_write_csv(const struct lh_sweep *s, const struct lh_sweep_cell *cells, FILE *out)
{
	for (unsigned a = 0; a < s->naxes; a++) {
		csv_text(s->axes[a].key, out);
		fputc(',', out);
	}
	fputs("runs,valid", out);
	for (int m = 0; m < LH_SWEEP_METRICS; m++) {
		const char *name = lh_sweep_metric_name((enum lh_sweep_metric)m);
		fprintf(out, ",%s_median,%s_min,%s_max", name, name, name);
	}
	fputc('\n', out);
	for (unsigned c = 0; c < s->ncells; c++) {
		for (unsigned a = 0; a < s->naxes; a++) {
			csv_text(lh_sweep_value(s, c, a), out);
			fputc(',', out);
		}
		fprintf(out, "%u,%u", cells[c].done, cells[c].valid);
		for (int m = 0; m < LH_SWEEP_METRICS; m++) {
			const struct lh_stats *st = &cells[c].metrics[m];
			if (st->n)
				fprintf(out, ",%.9g,%.9g,%.9g", st->median, st->min, st->max);
			else
				fputs(",,,", out);
		}
		fputc('\n', out);
	}
	return ferror(out) ? -EIO : 0;
}

static json_t *values_json(const struct lh_sweep *s, unsigned cell)
{
	json_t *o = json_object();

	for (unsigned a = 0; a < s->naxes; a++)
		json_object_set_new(o, s->axes[a].key, json_string(lh_sweep_value(s, cell, a)));
	return o;
}

json_t *lh_sweep_json(const struct lh_sweep *s, const struct lh_sweep_cell *cells)
{
	json_t *list = json_array();

	for (unsigned c = 0; c < s->ncells; c++) {
		json_t *o = json_pack("{s:o, s:I, s:I}", "values", values_json(s, c), "runs", (json_int_t)cells[c].done,
				      "valid", (json_int_t)cells[c].valid);
		for (int m = 0; m < LH_SWEEP_METRICS; m++) {
			const struct lh_stats *st = &cells[c].metrics[m];
			json_object_set_new(o, lh_sweep_metric_name((enum lh_sweep_metric)m),
					    json_pack("{s:o, s:o, s:o, s:I}", "median", lh_json_number(st->median), "min",
						      lh_json_number(st->min), "max", lh_json_number(st->max), "n",
						      (json_int_t)st->n));
		}
		json_array_append_new(list, o);
	}
	return json_pack("{s:s, s:I, s:I, s:I, s:o}", "schema", LH_SWEEP_SCHEMA, "runs", (json_int_t)s->runs, "warmup",
			 (json_int_t)s->warmup, "seed", (json_int_t)s->seed, "cells", list);
}

json_t *lh_sweep_plan_json(const struct lh_sweep *s, const char *canonical)
{
	json_t *axes = json_array();

	for (unsigned a = 0; a < s->naxes; a++) {
		json_t *values = json_array();
		for (unsigned v = 0; v < s->axes[a].nvalues; v++)
			json_array_append_new(values, json_string(s->axes[a].values[v]));
		json_array_append_new(axes, json_pack("{s:s, s:o}", "key", s->axes[a].key, "values", values));
	}
	return json_pack("{s:s, s:o, s:I, s:I, s:I, s:s}", "schema", LH_SWEEP_SCHEMA "+plan", "axes", axes, "runs",
			 (json_int_t)s->runs, "warmup", (json_int_t)s->warmup, "seed", (json_int_t)s->seed, "experiment",
			 canonical ? canonical : "");
}
