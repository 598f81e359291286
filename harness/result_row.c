/* result_row.c - see result_row.h. What is read was written by us once, and may have been edited since: every key is
 * checked for its type, and an absent or null one is undefined.
 */
#include "result_row.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "result.h"
#include "stats.h"

/* More than any run that fits a machine makes. */
#define RESULT_BYTES_MAX (256L << 20)

static double number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

static long long count(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? json_integer_value(v) : 0;
}

static void text(const json_t *o, const char *key, char *ret, size_t size)
{
	const char *v = json_string_value(json_object_get(o, key));

	snprintf(ret, size, "%s", v ? v : "");
}

static void read_links(const json_t *links, struct lh_result_row *row)
{
	const json_t *link;
	size_t i;

	json_array_foreach(links, i, link) {
		char from[LH_NAME_MAX], to[LH_NAME_MAX];
		double spec = number(link, "rtt_spec_s"), got = number(link, "rtt_measured_s");
		if (!isfinite(got) || spec <= row->rtt_spec_s)
			continue;
		text(link, "from", from, sizeof from);
		text(link, "to", to, sizeof to);
		snprintf(row->widest, sizeof row->widest, "%s->%s", from, to);
		row->rtt_spec_s = spec;
		row->rtt_measured_s = got;
	}
}

static void read_group(const json_t *group, struct lh_result_row *row)
{
	row->interruptions = (long long)json_array_size(json_object_get(group, "interruptions"));
	row->samples_redealt = count(group, "samples_redealt");
	row->samples_lost = count(group, "samples_lost");
	row->rounds_aborted = count(group, "rounds_aborted");
	row->detect_s = number(group, "detect_s_max");
	row->regroup_s = number(group, "regroup_s_max");
	row->back_s = number(group, "back_s_max");
	row->throughput_lost = number(group, "throughput_lost");
}

int lh_result_row_parse(const json_t *doc, struct lh_result_row *ret, struct lh_err *err)
{
	const json_t *exp = json_object_get(doc, "experiment"), *env = json_object_get(doc, "environment");
	const json_t *sum = json_object_get(doc, "summary"), *eval = json_object_get(doc, "evaluation");
	const char *schema = json_string_value(json_object_get(doc, "schema"));
	struct lh_result_row row = { .rtt_spec_s = NAN, .rtt_measured_s = NAN };

	if (!schema || strcmp(schema, LH_RESULT_SCHEMA) != 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "is not a result of schema " LH_RESULT_SCHEMA);
	if (!json_is_object(sum) || !json_is_boolean(json_object_get(sum, "valid")))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "has no summary");
	text(exp, "name", row.name, sizeof row.name);
	text(exp, "engine", row.engine, sizeof row.engine);
	text(exp, "model", row.model, sizeof row.model);
	text(env, "netem", row.netem, sizeof row.netem);
	text(env, "kernel_release", row.kernel, sizeof row.kernel);
	row.peers = count(exp, "peers");
	row.target_batch = count(exp, "target_batch");
	row.epochs = count(sum, "epochs");
	row.rtt_spec_s = -1;
	read_links(json_object_get(doc, "links"), &row);
	if (!row.widest[0])
		row.rtt_spec_s = NAN;
	row.throughput_sps = number(sum, "throughput_sps");
	row.calc_s = number(sum, "calc_s");
	row.comm_s = number(sum, "comm_s");
	row.latency_s = number(sum, "comm_latency_s");
	row.bandwidth_s = number(sum, "comm_bandwidth_s");
	row.wait_s = number(sum, "comm_wait_s");
	row.coding_s = number(sum, "comm_coding_s");
	row.update_s = number(sum, "comm_update_s");
	row.granularity = number(sum, "granularity");
	row.efficiency = number(sum, "efficiency");
	row.lateness = number(sum, "lateness");
	row.late_steps = number(sum, "late_steps");
	row.dilation = json_integer_value(json_object_get(json_object_get(doc, "experiment"), "dilation"));
	row.dilation = row.dilation > 1 ? row.dilation : 1;
	row.complete = json_is_true(json_object_get(doc, "complete"));
	row.valid = json_is_true(json_object_get(sum, "valid"));
	row.host_limited = json_is_true(json_object_get(sum, "host_limited"));
	const json_t *same = json_object_get(sum, "replicas_identical");
	row.replicas_identical = json_is_boolean(same) ? json_is_true(same) : -1;
	text(sum, "reason", row.reason, sizeof row.reason);
	read_group(json_object_get(doc, "group"), &row);
	text(eval, "metric", row.metric, sizeof row.metric);
	row.value = number(eval, "value");
	row.reference = number(eval, "reference");
	*ret = row;
	return 0;
}

int lh_result_load(const char *dir, json_t **ret, struct lh_err *err)
{
	char path[4096 + 32];
	json_error_t je;
	struct stat st;

	bool is_file = stat(dir, &st) == 0 && !S_ISDIR(st.st_mode);
	snprintf(path, sizeof path, "%.4095s%s", dir, is_file ? "" : "/result.json");
	FILE *in = fopen(path, "re");
	if (!in && (errno == ENOENT || errno == ENOTDIR))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOENT,
				  "%s: no run that came to an end is there (no result.json)", dir);
	if (!in)
		return lh_err_sys(err, LH_EXIT_INPUT, -errno, "%s", path);
	if (fseek(in, 0, SEEK_END) != 0 || ftell(in) > RESULT_BYTES_MAX || fseek(in, 0, SEEK_SET) != 0) {
		fclose(in);
		return lh_err_set(err, LH_EXIT_INPUT, -EFBIG, "%s: is no file of a run's result", path);
	}
	json_t *doc = json_loadf(in, JSON_REJECT_DUPLICATES, &je);
	fclose(in);
	if (!doc)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s:%d:%d: %s", path, je.line, je.column, je.text);
	*ret = doc;
	return 0;
}

int lh_result_row_read(const char *dir, struct lh_result_row *ret, struct lh_err *err)
{
	json_t *doc;
	int rc = lh_result_load(dir, &doc, err);

	if (rc < 0)
		return rc;
	rc = lh_result_row_parse(doc, ret, err);
	json_decref(doc);
	if (rc < 0)
		return lh_err_wrap(err, "%.4095s/result.json", dir);
	snprintf(ret->dir, sizeof ret->dir, "%s", dir);
	return 0;
}

/* digits: after the point; negative: that many significant ones. */
static void cell(FILE *out, int width, double v, int digits, const char *unit)
{
	char buf[64] = "-";

	if (isfinite(v) && digits >= 0)
		snprintf(buf, sizeof buf, "%.*f%s", digits, v, unit);
	else if (isfinite(v))
		snprintf(buf, sizeof buf, "%.*f%s", lh_digits_after(v, -digits), v, unit);
	fprintf(out, " %*s", width, buf);
}

static void print_labels(const struct lh_result_row *r, FILE *out)
{
	fprintf(out, "  %s", r->valid ? "valid" : r->complete ? "NOT VALID" : "INCOMPLETE");
	if (!strcmp(r->engine, "paced"))
		fputs(", PACED", out);
	if (r->dilation > 1)
		fprintf(out, ", dilated %lld times", r->dilation);
	if (r->late_steps > 0)
		fprintf(out, ", late %.1f %% of the time, in %.0f %% of the steps", r->lateness * 100, r->late_steps * 100);
	if (r->host_limited)
		fputs(", host-limited", out);
	if (r->replicas_identical == 0)
		fputs(", REPLICAS DIFFER", out);
	if (r->metric[0] && isfinite(r->value))
		fprintf(out, ", %s %.3g (reference %.3g)", r->metric, r->value, r->reference);
	if (!r->valid && r->reason[0])
		fprintf(out, ": %s", r->reason);
}

void lh_result_label(const char *path, char *ret, size_t size)
{
	char copy[4096], *slash;

	snprintf(copy, sizeof copy, "%s", path);
	for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = 0;
	slash = strrchr(copy, '/');
	if (slash && slash != copy && !strcmp(slash + 1, "result.json")) {
		*slash = 0;
		slash = strrchr(copy, '/');
	}
	snprintf(ret, size, "%.*s", (int)size - 1, slash && slash[1] ? slash + 1 : copy);
}

/* What a row is called: the experiment's name, or where runs of one name stand side by side, the folder's. */
static const char *row_name(const struct lh_result_row *rows, size_t n, size_t i, char *buf, size_t size)
{
	for (size_t j = 0; j < n; j++)
		if (j != i && rows[i].dir[0] && !strcmp(rows[i].name, rows[j].name)) {
			lh_result_label(rows[i].dir, buf, size);
			return buf;
		}
	return rows[i].name;
}

/* Of the runs that had any. */
static void print_interruptions(const struct lh_result_row *rows, size_t n, int width, FILE *out)
{
	char name[LH_RESULT_LABEL];
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		const struct lh_result_row *r = &rows[i];
		if (!r->interruptions)
			continue;
		if (!any)
			fprintf(out, "\n%-*s %13s %10s %10s %10s %8s %14s %12s %15s\n", width, "name", "interruptions",
				"noticed <=", "regrp. <=", "back <=", "aborted", "samples again", "samples lost",
				"throughput lost");
		any = true;
		fprintf(out, "%-*s %13lld", width, row_name(rows, n, i, name, sizeof name), r->interruptions);
		cell(out, 10, r->detect_s, 3, " s");
		cell(out, 10, r->regroup_s, 3, " s");
		cell(out, 10, r->back_s, 3, " s");
		fprintf(out, " %8lld %14lld %12lld", r->rounds_aborted, r->samples_redealt, r->samples_lost);
		cell(out, 15, r->throughput_lost * 100, 1, " %");
		fputc('\n', out);
	}
}

void lh_result_rows_print(const struct lh_result_row *rows, size_t n, FILE *out)
{
	char name[LH_RESULT_LABEL];
	int width = 4;

	for (size_t i = 0; i < n; i++) {
		int len = (int)strlen(row_name(rows, n, i, name, sizeof name));
		width = len > width ? len : width;
	}
	fprintf(out, "%-*s %5s %6s %12s %12s %10s %10s %10s %-43s %11s %10s  %s\n", width, "name", "peers", "batch",
		"RTT asked", "measured", "samples/s", "calc/epoch", "comm/epoch",
		"= latency bandwidth waiting coding update", "granularity", "efficiency", "verdict");
	for (size_t i = 0; i < n; i++) {
		const struct lh_result_row *r = &rows[i];
		double epochs = r->epochs > 0 ? (double)r->epochs : NAN;
		fprintf(out, "%-*s %5lld %6lld", width, row_name(rows, n, i, name, sizeof name), r->peers,
			r->target_batch);
		cell(out, 12, r->rtt_spec_s * 1e3, 2, " ms");
		cell(out, 12, r->rtt_measured_s * 1e3, 2, " ms");
		cell(out, 10, r->throughput_sps, -4, "");
		cell(out, 10, r->calc_s / epochs, 3, " s");
		cell(out, 10, r->comm_s / epochs, 3, " s");
		cell(out, 9, r->latency_s / epochs, 3, "");
		cell(out, 9, r->bandwidth_s / epochs, 3, "");
		cell(out, 7, r->wait_s / epochs, 3, "");
		cell(out, 6, r->coding_s / epochs, 3, "");
		cell(out, 6, r->update_s / epochs, 3, "");
		fputs("  ", out);
		cell(out, 11, r->granularity, -3, "");
		cell(out, 10, r->efficiency, 3, "");
		print_labels(r, out);
		fputc('\n', out);
	}
	print_interruptions(rows, n, width, out);
}

json_t *lh_result_row_json(const struct lh_result_row *r)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:b, s:b}", "dir", r->dir, "name",
			      r->name, "engine", r->engine, "model", r->model, "netem", r->netem, "kernel_release",
			      r->kernel, "peers", (json_int_t)r->peers, "target_batch", (json_int_t)r->target_batch,
			      "epochs", (json_int_t)r->epochs, "complete", r->complete, "valid", r->valid,
			      "host_limited", r->host_limited);

	json_object_set_new(o, "widest_link", r->widest[0] ? json_string(r->widest) : json_null());
	json_object_set_new(o, "rtt_spec_s", lh_json_number(r->rtt_spec_s));
	json_object_set_new(o, "rtt_measured_s", lh_json_number(r->rtt_measured_s));
	json_object_set_new(o, "throughput_sps", lh_json_number(r->throughput_sps));
	json_object_set_new(o, "calc_s", lh_json_number(r->calc_s));
	json_object_set_new(o, "comm_s", lh_json_number(r->comm_s));
	json_object_set_new(o, "comm_latency_s", lh_json_number(r->latency_s));
	json_object_set_new(o, "comm_bandwidth_s", lh_json_number(r->bandwidth_s));
	json_object_set_new(o, "comm_wait_s", lh_json_number(r->wait_s));
	json_object_set_new(o, "comm_coding_s", lh_json_number(r->coding_s));
	json_object_set_new(o, "comm_update_s", lh_json_number(r->update_s));
	json_object_set_new(o, "granularity", lh_json_number(r->granularity));
	json_object_set_new(o, "efficiency", lh_json_number(r->efficiency));
	json_object_set_new(o, "lateness", lh_json_number(r->lateness));
	json_object_set_new(o, "late_steps", lh_json_number(r->late_steps));
	json_object_set_new(o, "dilation", json_integer(r->dilation));
	json_object_set_new(o, "replicas_identical",
			    r->replicas_identical < 0 ? json_null() : json_boolean(r->replicas_identical));
	json_object_set_new(o, "reason", r->reason[0] ? json_string(r->reason) : json_null());
	json_object_set_new(o, "interruptions", !r->interruptions ? json_null() :
		json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:o}", "count", (json_int_t)r->interruptions, "detect_s_max",
			  lh_json_number(r->detect_s), "regroup_s_max", lh_json_number(r->regroup_s), "back_s_max",
			  lh_json_number(r->back_s), "rounds_aborted", (json_int_t)r->rounds_aborted, "samples_redealt",
			  (json_int_t)r->samples_redealt, "samples_lost", (json_int_t)r->samples_lost, "throughput_lost",
			  lh_json_number(r->throughput_lost)));
	json_object_set_new(o, "metric", r->metric[0] ? json_string(r->metric) : json_null());
	json_object_set_new(o, "value", lh_json_number(r->value));
	json_object_set_new(o, "reference", lh_json_number(r->reference));
	return o;
}
