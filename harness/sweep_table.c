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
		"comm_latency_s_per_epoch", "comm_bandwidth_s_per_epoch", "comm_wait_s_per_epoch",
		"comm_coding_s_per_epoch", "comm_update_s_per_epoch",
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
	case LH_SWEEP_LATENCY:
		return r->latency_s / epochs;
	case LH_SWEEP_BANDWIDTH:
		return r->bandwidth_s / epochs;
	case LH_SWEEP_WAIT:
		return r->wait_s / epochs;
	case LH_SWEEP_CODING:
		return r->coding_s / epochs;
	case LH_SWEEP_UPDATE:
		return r->update_s / epochs;
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

	for (size_t i = 0; i < n; i++) {
		c.valid += rows[i].valid;
		c.host_limited += rows[i].valid && rows[i].host_limited;
		c.paced = c.paced || !strcmp(rows[i].engine, "paced");
	}
	for (int m = 0; rc == 0 && m < LH_SWEEP_METRICS; m++) {
		size_t used = 0;
		for (size_t i = 0; i < n; i++) {
			double v = metric_of(&rows[i], (enum lh_sweep_metric)m);
			if (rows[i].valid && isfinite(v)) /* where delays change, comm has no latency part */
				values[used++] = v;
		}
		rc = lh_stats_compute(values, used, &c.metrics[m]);
	}
	free(values);
	if (rc == 0)
		*ret = c;
	return rc;
}

/* ---- text ---- */

#define CELL_CHARS 64
#define COLUMNS_MAX (LH_SWEEP_AXES_MAX + 1 + LH_SWEEP_METRICS)

/* "2.31 [2.28, 2.4]" */
static void stat_text(const struct lh_stats *s, double scale, const char *unit, char *buf)
{
	if (s->n == 0)
		strcpy(buf, "-");
	else if (s->n == 1)
		snprintf(buf, CELL_CHARS, "%.3g%s", s->median * scale, unit);
	else
		snprintf(buf, CELL_CHARS, "%.3g%s [%.3g, %.3g]", s->median * scale, unit, s->min * scale,
			 s->max * scale);
}

/* Text of one column; row 0 is the head. */
static void cell_text(const struct lh_sweep *s, const struct lh_sweep_cell *cells, unsigned row, unsigned column,
		      char *buf)
{
	static const struct {
		const char *head, *unit;
		double scale;
		enum lh_sweep_metric metric;
	} metrics[] = {
		{ "RTT", " ms", 1e3, LH_SWEEP_RTT }, { "samples/s", "", 1, LH_SWEEP_THROUGHPUT },
		{ "calc/epoch", " s", 1, LH_SWEEP_CALC }, { "comm/epoch", " s", 1, LH_SWEEP_COMM },
		{ "= latency", " s", 1, LH_SWEEP_LATENCY }, { "bandwidth", " s", 1, LH_SWEEP_BANDWIDTH },
		{ "waiting", " s", 1, LH_SWEEP_WAIT }, { "coding", " s", 1, LH_SWEEP_CODING },
		{ "update", " s", 1, LH_SWEEP_UPDATE },
		{ "granularity", "", 1, LH_SWEEP_GRANULARITY }, { "efficiency", "", 1, LH_SWEEP_EFFICIENCY },
	};
	const struct lh_sweep_cell *cell = row ? &cells[row - 1] : NULL;

	if (column < s->naxes) {
		snprintf(buf, CELL_CHARS, "%s", cell ? lh_sweep_value(s, row - 1, column) : s->axes[column].key);
	} else if (column == s->naxes) {
		strcpy(buf, "valid");
		if (cell)
			snprintf(buf, CELL_CHARS, "%u/%u", cell->valid, s->runs);
	} else if (!cell) {
		strcpy(buf, metrics[column - s->naxes - 1].head);
	} else {
		unsigned m = column - s->naxes - 1;
		struct lh_stats st = cell->metrics[metrics[m].metric];
		if (metrics[m].metric >= LH_SWEEP_RTT && st.n)
			st.n = 1; /* the range of the RTT is the probe's business; of the parts, the whole has it */
		stat_text(&st, metrics[m].scale, metrics[m].unit, buf);
	}
}

void lh_sweep_print(const struct lh_sweep *s, const struct lh_sweep_cell *cells, FILE *out)
{
	unsigned columns = s->naxes + 1 + LH_SWEEP_METRICS;
	int width[COLUMNS_MAX] = { 0 };
	char text[CELL_CHARS];

	for (unsigned row = 0; row <= s->ncells; row++)
		for (unsigned c = 0; c < columns; c++) {
			cell_text(s, cells, row, c, text);
			if ((int)strlen(text) > width[c])
				width[c] = (int)strlen(text);
		}
	fprintf(out, "median [smallest, largest] of the valid runs\n");
	for (unsigned row = 0; row <= s->ncells; row++) {
		for (unsigned c = 0; c < columns; c++) {
			cell_text(s, cells, row, c, text);
			fprintf(out, "%s%*s", c ? "  " : "", width[c], text);
		}
		if (row && cells[row - 1].paced)
			fputs("  PACED", out);
		if (row && cells[row - 1].host_limited)
			fprintf(out, "  host-limited %u/%u", cells[row - 1].host_limited, cells[row - 1].valid);
		fputc('\n', out);
	}
}

/* ---- CSV and JSON ---- */

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
	fputs("runs,valid,host_limited,paced", out);
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
		fprintf(out, "%u,%u,%u,%d", cells[c].done, cells[c].valid, cells[c].host_limited, cells[c].paced);
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
		json_t *o = json_pack("{s:o, s:I, s:I, s:I, s:b}", "values", values_json(s, c), "runs",
				      (json_int_t)cells[c].done, "valid", (json_int_t)cells[c].valid, "host_limited",
				      (json_int_t)cells[c].host_limited, "paced", cells[c].paced);
		for (int m = 0; m < LH_SWEEP_METRICS; m++) {
			const struct lh_stats *st = &cells[c].metrics[m];
			json_object_set_new(o, lh_sweep_metric_name((enum lh_sweep_metric)m),
					    json_pack("{s:o, s:o, s:o, s:I}", "median", lh_json_number(st->median),
						      "min", lh_json_number(st->min), "max", lh_json_number(st->max),
						      "n", (json_int_t)st->n));
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
			 (json_int_t)s->runs, "warmup", (json_int_t)s->warmup, "seed", (json_int_t)s->seed,
			 "experiment", canonical ? canonical : "");
}
