/* print.c - a probe's results: tables for people (site x site, as the study prints its ping and iperf runs), CSV and
 * JSON for machines (base SI units, the unit in the key; what was not measured is empty or null). */
#include "probe.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "internal.h"

static const char *const verdict_names[] = {
	[LH_LINK_OK] = "ok",
	[LH_LINK_OUT_OF_TOLERANCE] = "out-of-tolerance",
	[LH_LINK_BELOW_FLOOR] = "below-floor",
	[LH_LINK_UNREACHABLE] = "unreachable",
	[LH_LINK_NOT_CROSSING] = "not-crossing",
	[LH_LINK_NOT_MEASURED] = "not-measured",
};

const char *lh_link_verdict_name(enum lh_link_verdict v)
{
	return verdict_names[v];
}

static const char *mode_name(enum lh_link_mode mode)
{
	return mode == LH_MODE_PACKET ? "packet" : "gso";
}

/* A LAN with one peer is no link: nothing can cross it. */
static bool is_link(const struct lh_topology *t, const struct lh_link_result *l)
{
	unsigned a, b;
	return lh_probe_pair_of(t, l->from, l->to, &a, &b);
}

static bool was_asked(const struct lh_topology *t, const struct lh_link_result *l)
{
	return l->from != l->to || lh_topology_link(t, l->from, l->to)->given;
}

/* ---- tables ---- */

enum { CELL = 19 };

static void cell_rtt(const struct lh_topology *t, const struct lh_link_result *l, char *buf, size_t size)
{
	char asked[24] = "-";
	if (was_asked(t, l))
		snprintf(asked, sizeof asked, "%.2f", (double)l->rtt_spec_ns / 1e6);
	if (l->rtt_median_ns < 0)
		snprintf(buf, size, "%s/-", asked);
	else
		snprintf(buf, size, "%s/%.2f", asked, (double)l->rtt_median_ns / 1e6);
}

static void cell_floor(const struct lh_topology *t, const struct lh_link_result *l, char *buf, size_t size)
{
	if (l->floor_ns < 0)
		snprintf(buf, size, "-");
	else
		snprintf(buf, size, "%.3f%s", (double)l->floor_ns / 1e6,
			 l->verdict == LH_LINK_BELOW_FLOOR ? " (asked less)" : "");
}

static void cell_rate(double bps, double steady, bool limited, bool reused, char *buf, size_t size)
{
	static const char *const prefix[] = { "", "k", "M", "G", "T" };
	unsigned p = 0;
	if (isnan(bps)) {
		snprintf(buf, size, "-");
		return;
	}
	for (; bps >= 999.5 && p < 4; p++) {
		bps /= 1000;
		steady /= 1000;
	}
	snprintf(buf, size, "%.3g/%.3g %sbit/s%s%s", bps, steady, prefix[p], limited ? " H" : "", reused ? " R" : "");
}

static void cell_goodput_1(const struct lh_topology *t, const struct lh_link_result *l, char *buf, size_t size)
{
	cell_rate(l->goodput_1_bit_per_s, l->steady_1_bit_per_s, l->host_limited_1, l->goodput_reused, buf, size);
}

static void cell_goodput_k(const struct lh_topology *t, const struct lh_link_result *l, char *buf, size_t size)
{
	cell_rate(l->goodput_k_bit_per_s, l->steady_k_bit_per_s, l->host_limited_k, l->goodput_reused, buf, size);
}

static void table(const struct lh_topology *t, const struct lh_probe_report *rep, const char *title,
		  void (*cell)(const struct lh_topology *, const struct lh_link_result *, char *, size_t), FILE *out)
{
	char buf[64];
	fprintf(out, "%s\n%-12s", title, "from \\ to");
	for (unsigned to = 0; to < t->nsites; to++)
		fprintf(out, " %*s", CELL, t->sites[to].name);
	fputc('\n', out);
	for (unsigned from = 0; from < t->nsites; from++) {
		fprintf(out, "%-12s", t->sites[from].name);
		for (unsigned to = 0; to < t->nsites; to++) {
			const struct lh_link_result *l = &rep->links[(size_t)from * t->nsites + to];
			if (is_link(t, l))
				cell(t, l, buf, sizeof buf);
			else
				snprintf(buf, sizeof buf, "-");
			fprintf(out, " %*s", CELL, buf);
		}
		fputc('\n', out);
	}
	fputc('\n', out);
}

void lh_probe_print_tables(const struct lh_topology *t, const struct lh_probe_report *rep, FILE *out)
{
	bool one = false, many = false, limited = false, reused = false;
	unsigned streams = 0;
	char title[96];
	for (size_t i = 0; i < rep->nlinks; i++) {
		const struct lh_link_result *l = &rep->links[i];
		one |= !isnan(l->goodput_1_bit_per_s);
		many |= !isnan(l->goodput_k_bit_per_s) && l->streams > 1;
		limited |= l->host_limited_1 || l->host_limited_k;
		reused |= l->goodput_reused;
		streams = l->streams;
	}
	table(t, rep, "RTT asked/measured (median), ms", cell_rtt, out);
	table(t, rep, "the path's own RTT (all delays 0), compensated, ms", cell_floor, out);
	if (one)
		table(t, rep, "TCP goodput with slow start/steady, 1 stream", cell_goodput_1, out);
	if (many) {
		snprintf(title, sizeof title, "TCP goodput with slow start/steady, %u streams", streams);
		table(t, rep, title, cell_goodput_k, out);
	}
	if (limited)
		fputs("H: host-limited, this machine's own ceiling and not the link\n", out);
	if (reused)
		fputs("R: taken from an earlier probe of the same plan on the same kernel\n", out);
	for (size_t i = 0; i < rep->nlinks; i++) {
		const struct lh_link_result *l = &rep->links[i];
		if (is_link(t, l) && l->verdict != LH_LINK_OK)
			fprintf(out, "link %s->%s: %s\n", t->sites[l->from].name, t->sites[l->to].name,
				lh_link_verdict_name(l->verdict));
	}
}

/* ---- CSV ---- */

static void csv_seconds(lh_ns ns, FILE *out)
{
	if (ns >= 0)
		fprintf(out, ",%.9f", (double)ns / 1e9);
	else
		fputc(',', out);
}

static void csv_rate(double bps, FILE *out)
{
	if (isnan(bps))
		fputc(',', out);
	else
		fprintf(out, ",%.0f", bps);
}

int lh_probe_write_csv(const struct lh_topology *t, const struct lh_probe_report *rep, FILE *out)
{
	fputs("from,to,mode,rtt_spec_s,rtt_measured_s,rtt_min_s,rtt_p99_s,rtt_floor_s,pings_sent,pings_lost,goodput_1_"
	      "bit_per_s,"
	      "goodput_1_steady_bit_per_s,host_limited_1,streams,goodput_k_bit_per_s,goodput_k_steady_bit_per_s,host_"
	      "limited_k,goodput_reused,verdict\n",
	      out);
	for (size_t i = 0; i < rep->nlinks; i++) {
		const struct lh_link_result *l = &rep->links[i];
		if (!is_link(t, l))
			continue;
		fprintf(out, "%s,%s,%s", t->sites[l->from].name, t->sites[l->to].name, mode_name(l->mode));
		csv_seconds(was_asked(t, l) ? l->rtt_spec_ns : -1, out);
		csv_seconds(l->rtt_median_ns, out);
		csv_seconds(l->rtt_min_ns, out);
		csv_seconds(l->rtt_p99_ns, out);
		csv_seconds(l->floor_ns, out);
		fprintf(out, ",%u,%u", l->pings_sent, l->pings_lost);
		csv_rate(l->goodput_1_bit_per_s, out);
		csv_rate(l->steady_1_bit_per_s, out);
		fprintf(out, ",%s,%u", l->host_limited_1 ? "yes" : "no", l->streams);
		csv_rate(l->goodput_k_bit_per_s, out);
		csv_rate(l->steady_k_bit_per_s, out);
		fprintf(out, ",%s,%s,%s\n", l->host_limited_k ? "yes" : "no", l->goodput_reused ? "yes" : "no",
			lh_link_verdict_name(l->verdict));
	}
	return ferror(out) ? -EIO : 0;
}

/* ---- JSON ---- */

static json_t *seconds(lh_ns ns)
{
	return ns < 0 ? json_null() : json_real((double)ns / 1e9);
}
static json_t *rate(double bps)
{
	return isnan(bps) ? json_null() : json_real(bps);
}

struct json_t *lh_probe_links_json(const struct lh_topology *t, const struct lh_probe_report *rep)
{
	json_t *links = json_array();
	for (size_t i = 0; i < rep->nlinks; i++) {
		const struct lh_link_result *l = &rep->links[i];
		if (!is_link(t, l))
			continue;
		json_array_append_new(
			links,
			json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:o, s:b, s:i, s:o, s:o, "
				  "s:b, s:b, s:s}",
				  "from", t->sites[l->from].name, "to", t->sites[l->to].name, "mode",
				  mode_name(l->mode), "rtt_spec_s", seconds(was_asked(t, l) ? l->rtt_spec_ns : -1),
				  "rtt_measured_s", seconds(l->rtt_median_ns), "rtt_min_s", seconds(l->rtt_min_ns),
				  "rtt_p99_s", seconds(l->rtt_p99_ns), "rtt_floor_s", seconds(l->floor_ns),
				  "pings_sent", (int)l->pings_sent, "pings_lost", (int)l->pings_lost,
				  "goodput_1_bit_per_s", rate(l->goodput_1_bit_per_s), "goodput_1_steady_bit_per_s",
				  rate(l->steady_1_bit_per_s), "host_limited_1", l->host_limited_1, "streams",
				  (int)l->streams, "goodput_k_bit_per_s", rate(l->goodput_k_bit_per_s),
				  "goodput_k_steady_bit_per_s", rate(l->steady_k_bit_per_s), "host_limited_k",
				  l->host_limited_k, "goodput_reused", l->goodput_reused, "verdict",
				  lh_link_verdict_name(l->verdict)));
	}
	return links;
}
