/* compare.c - see compare.h; the printing is in compare_print.c. */
#include "compare.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "longhaul/experiment.h"

/* Bounds of what is read: more than any run that fits a machine makes. */
#define EPOCHS_MAX 10000000u
#define PAIRS_MAX 4096u
#define MANIFEST_BYTES_MAX (64L << 20)

static double number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int no_memory(struct lh_err *err)
{
	return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "runs to compare");
}

/* ---- one run ---- */

/* Of the pair of these sites, in either order; a new one when there is none. NULL: too many. */
static struct lh_compare_pair *find_pair(struct lh_compare_run *r, const char *a, const char *b)
{
	char one[80], other[80];

	snprintf(one, sizeof one, "%.36s<->%.36s", a, b);
	snprintf(other, sizeof other, "%.36s<->%.36s", b, a);
	for (size_t i = 0; i < r->npairs; i++)
		if (!strcmp(r->pairs[i].name, one) || !strcmp(r->pairs[i].name, other))
			return &r->pairs[i];
	if (r->npairs == PAIRS_MAX)
		return NULL;
	strcpy(r->pairs[r->npairs].name, one);
	return &r->pairs[r->npairs++];
}

static int read_links(struct lh_compare_run *r, const json_t *links, struct lh_err *err)
{
	const json_t *link;
	size_t i, n = json_array_size(links);
	bool any = false;

	r->pairs = calloc(n < PAIRS_MAX ? n + 1 : PAIRS_MAX, sizeof *r->pairs);
	if (!r->pairs)
		return no_memory(err);
	json_array_foreach(links, i, link) {
		const char *from = text(link, "from"), *to = text(link, "to");
		double bytes = number(link, "train_bytes");
		if (!isfinite(bytes) || !*from || !*to)
			continue;
		any = true;
		if (!strcmp(from, to)) {
			r->lan_bytes += bytes;
			continue;
		}
		struct lh_compare_pair *p = find_pair(r, from, to);
		if (p)
			p->bytes += bytes;
		r->wan_bytes += bytes;
	}
	if (!any)
		r->wan_bytes = r->lan_bytes = NAN;
	return 0;
}

static int read_epochs(struct lh_compare_run *r, const json_t *epochs, const json_t *resumed, struct lh_err *err)
{
	const json_t *epoch;
	size_t i, n = json_array_size(epochs);
	uint64_t samples = 0, before = 0;

	if (resumed) { /* those of the run that it goes on from count for the loss, not for the bytes */
		double earlier = number(resumed, "samples");
		if (!(earlier >= 0 && earlier <= 1e15))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "was resumed after no number of samples");
		before = (uint64_t)earlier;
	}
	if (n > EPOCHS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "has more than %u epochs", EPOCHS_MAX);
	r->epochs = calloc(n + 1, sizeof *r->epochs);
	if (!r->epochs)
		return no_memory(err);
	json_array_foreach(epochs, i, epoch) {
		double of_epoch = number(epoch, "samples");
		if (!(of_epoch >= 0 && of_epoch <= 1e15))
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "epoch %zu has no number of samples", i + 1);
		samples += (uint64_t)of_epoch;
		r->epochs[r->nepochs++] = (struct lh_compare_epoch){ before + samples, number(epoch, "loss") };
	}
	r->bytes_per_sample = samples ? r->wan_bytes / (double)samples : NAN;
	return 0;
}

static void add_setting(void *ctx, const char *path, const char *value)
{
	json_t *settings = ctx;

	/* Not settings: a name is a label; what is not UTF-8 was not written by us. */
	if (strcmp(path, "name") != 0 && strcmp(path, "description") != 0)
		json_object_set_new(settings, path, json_string(value));
}

/* What auto came to is said with it. */
static void name_algorithm(const struct lh_compare_run *r, json_t *settings)
{
	const char *asked = text(settings, "training.algorithm");
	char both[64];

	if (strcmp(asked, "auto") != 0 || !r->algorithm[0] || !strcmp(r->algorithm, "auto"))
		return;
	snprintf(both, sizeof both, "auto: %.32s", r->algorithm);
	json_object_set_new(settings, "training.algorithm", json_string(both));
}

static void read_settings(struct lh_compare_run *r, const json_t *manifest)
{
	const char *canonical = text(manifest, "experiment");
	struct lh_err why = LH_ERR_INIT;
	json_t *settings;

	if (!manifest)
		return;
	if (strncmp(text(manifest, "schema"), "longhaul-manifest/", 18) != 0 || !*canonical) {
		snprintf(r->settings_missing, sizeof r->settings_missing, "manifest.json is none of a run");
		return;
	}
	settings = json_object();
	if (!settings || lh_experiment_flatten("manifest.json", canonical, strlen(canonical), add_setting, settings, &why) < 0) {
		json_decref(settings);
		snprintf(r->settings_missing, sizeof r->settings_missing, "%.200s", why.text);
		return;
	}
	json_object_set_new(settings, "kernel", json_string(r->row.kernel));
	json_object_set_new(settings, "netem", json_string(r->row.netem));
	name_algorithm(r, settings);
	r->settings = settings;
}

static void run_done(struct lh_compare_run *r)
{
	free(r->pairs);
	free(r->epochs);
	json_decref(r->settings);
}

int lh_compare_add_docs(struct lh_compare *c, const char *path, const json_t *result, const json_t *manifest,
			struct lh_err *err)
{
	struct lh_compare_run r = { .bytes_per_sample = NAN };
	int rc;

	if (c->nruns == LH_COMPARE_RUNS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "%s: more than %d runs", path, LH_COMPARE_RUNS_MAX);
	struct lh_compare_run *more = realloc(c->runs, (c->nruns + 1) * sizeof *more);
	if (!more)
		return no_memory(err);
	c->runs = more;
	rc = lh_result_row_parse(result, &r.row, err);
	if (rc == 0)
		rc = read_links(&r, json_object_get(result, "links"), err);
	if (rc == 0)
		rc = read_epochs(&r, json_object_get(result, "epochs"), json_object_get(result, "resumed"), err);
	if (rc < 0) {
		run_done(&r);
		return lh_err_wrap(err, "%s", path);
	}
	r.bound_fraction = number(json_object_get(result, "exchange"), "bound_fraction");
	snprintf(r.algorithm, sizeof r.algorithm, "%.31s", text(json_object_get(result, "experiment"), "algorithm"));
	snprintf(r.row.dir, sizeof r.row.dir, "%.4000s", path);
	lh_result_label(path, r.label, sizeof r.label);
	snprintf(r.settings_missing, sizeof r.settings_missing, "no manifest.json beside it");
	read_settings(&r, manifest);
	c->runs[c->nruns++] = r;
	return 0;
}

/* Whatever is wrong with it, the run can be compared; only what its experiment was is not known. */
static json_t *load_manifest(const char *dir)
{
	char path[4200];
	struct stat st;

	snprintf(path, sizeof path, "%s/manifest.json", dir);
	if (stat(path, &st) < 0 || st.st_size > MANIFEST_BYTES_MAX)
		return NULL;
	json_t *doc = json_load_file(path, 0, NULL);
	return doc ? doc : json_null();
}

static void directory_of(const char *file, char *ret, size_t size)
{
	snprintf(ret, size, "%s", file);
	char *slash = strrchr(ret, '/');
	if (!slash)
		snprintf(ret, size, ".");
	else
		slash[slash == ret] = 0;
}

int lh_compare_add(struct lh_compare *c, const char *path, struct lh_err *err)
{
	char dir[4096], plan[4200];
	struct stat st;
	json_t *doc;

	if (strlen(path) >= sizeof dir)
		return lh_err_set(err, LH_EXIT_INPUT, -ENAMETOOLONG, "%.64s...: path too long", path);
	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		directory_of(path, dir, sizeof dir);
	else
		snprintf(dir, sizeof dir, "%s", path);
	snprintf(plan, sizeof plan, "%s/plan.json", path);
	if (stat(plan, &st) == 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "%s: is the directory of a sweep; name runs below it, %s/runs/...", path, path);
	int rc = lh_result_load(path, &doc, err);
	if (rc < 0)
		return rc;
	json_t *manifest = load_manifest(dir);
	rc = lh_compare_add_docs(c, path, doc, manifest, err);
	json_decref(doc);
	json_decref(manifest);
	return rc;
}

/* ---- all of them ---- */

/* A run's last epoch that ends at `samples` or before. */
static const struct lh_compare_epoch *epoch_at(const struct lh_compare_run *r, uint64_t samples)
{
	size_t i = r->nepochs;

	while (i && r->epochs[i - 1].samples > samples)
		i--;
	return i ? &r->epochs[i - 1] : NULL;
}

/* Does an epoch of every run that has any end there? */
static bool all_have(const struct lh_compare *c, uint64_t samples)
{
	for (size_t i = 0; i < c->nruns; i++) {
		const struct lh_compare_epoch *e = epoch_at(&c->runs[i], samples);
		if (c->runs[i].nepochs && (!e || e->samples != samples))
			return false;
	}
	return true;
}

void lh_compare_settle(struct lh_compare *c)
{
	const struct lh_compare_run *shortest = NULL;

	c->loss_samples = 0;
	for (size_t i = 0; i < c->nruns; i++) {
		const struct lh_compare_run *r = &c->runs[i];
		if (r->nepochs && (!shortest || r->epochs[r->nepochs - 1].samples <
						 shortest->epochs[shortest->nepochs - 1].samples))
			shortest = r;
	}
	if (!shortest)
		return;
	uint64_t reached = shortest->epochs[shortest->nepochs - 1].samples;
	/* Epochs of the target batch meet; those that end when it is predicted to be full do not. */
	for (size_t i = shortest->nepochs; i-- && shortest->epochs[i].samples >= reached - reached / 10;)
		if (all_have(c, shortest->epochs[i].samples)) {
			c->loss_samples = shortest->epochs[i].samples;
			return;
		}
	c->loss_samples = reached;
}

double lh_compare_loss(const struct lh_compare *c, size_t run, uint64_t *ret_samples)
{
	const struct lh_compare_epoch *e = c->loss_samples ? epoch_at(&c->runs[run], c->loss_samples) : NULL;

	if (ret_samples)
		*ret_samples = e ? e->samples : 0;
	return e ? e->loss : NAN;
}

double lh_compare_ratio(const struct lh_compare *c, size_t run, double value, double first)
{
	return c->runs[run].row.valid && c->runs[0].row.valid && first > 0 ? value / first : NAN;
}

void lh_compare_done(struct lh_compare *c)
{
	for (size_t i = 0; i < c->nruns; i++)
		run_done(&c->runs[i]);
	free(c->runs);
	*c = (struct lh_compare){ 0 };
}

/* ---- differences ---- */

/* "sites.us.peers[us-0].nic" -> "sites.*.peers[*].nic" */
static void generalise(const char *path, char *ret, size_t size)
{
	size_t n = 0;
	bool site = !strncmp(path, "sites.", 6);

	for (size_t i = 0; path[i] && n + 2 < size; i++) {
		ret[n++] = path[i];
		if (path[i] == '[' || (site && i == 5)) {
			ret[n++] = '*';
			i += strcspn(path + i + 1, path[i] == '[' ? "]" : ".");
		}
	}
	ret[n] = 0;
}

/* The values of a key by run; NULL when they are all the same. */
static json_t *values_of(const struct lh_compare *c, const char *path)
{
	json_t *values = json_array();
	const char *first = NULL;
	bool same = true, any = false;

	for (size_t i = 0; i < c->nruns; i++) {
		const char *v = c->runs[i].settings ? text(c->runs[i].settings, path) : NULL;
		if (c->runs[i].settings && !json_object_get(c->runs[i].settings, path))
			v = NULL;
		json_array_append_new(values, v ? json_string(v) : json_null());
		if (!c->runs[i].settings)
			continue;
		same = same && (!any || (!v && !first) || (v && first && !strcmp(v, first)));
		first = any ? first : v;
		any = true;
	}
	if (!same)
		return values;
	json_decref(values);
	return NULL;
}

/* Add to the row that says the same of another site, peer or link, or make one. */
static void add_difference(json_t *rows, json_t *by_key, const char *path, json_t *values)
{
	char general[600];
	size_t i;
	json_t *row;

	generalise(path, general, sizeof general);
	json_t *same_key = json_object_get(by_key, general);
	json_array_foreach(same_key, i, row)
		if (json_equal(json_object_get(row, "values"), values)) {
			json_object_set_new(row, "count",
					    json_integer(json_integer_value(json_object_get(row, "count")) + 1));
			json_object_set_new(row, "key", json_string(general));
			json_decref(values);
			return;
		}
	row = json_pack("{s:s, s:i, s:o}", "key", path, "count", 1, "values", values);
	if (!same_key) {
		same_key = json_array();
		json_object_set_new(by_key, general, same_key);
	}
	json_array_append(same_key, row);
	json_array_append_new(rows, row);
}

json_t *lh_compare_differences(const struct lh_compare *c)
{
	json_t *rows = json_array(), *by_key = json_object(), *seen = json_object();

	for (size_t i = 0; i < c->nruns; i++) {
		const char *path;
		json_t *v;
		json_object_foreach(c->runs[i].settings, path, v) {
			if (json_object_get(seen, path))
				continue;
			json_object_set_new(seen, path, json_true());
			json_t *values = values_of(c, path);
			if (values)
				add_difference(rows, by_key, path, values);
		}
	}
	json_decref(by_key);
	json_decref(seen);
	return rows;
}
