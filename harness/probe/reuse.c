/* reuse.c - goodput taken from an earlier probe, where it was of the same network on the same kernel. */
#include "probe.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

int lh_probe_plan_hash(const struct lh_experiment *exp, char ret[17], struct lh_err *err)
{
	struct lh_plan *plan = NULL;
	char *text = NULL;
	size_t len = 0;
	int rc = lh_plan_new(&exp->topology, NULL, &plan, err);
	FILE *f = rc ? NULL : open_memstream(&text, &len);
	if (!rc && !f)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "plan");
	if (!rc)
		rc = lh_plan_print(plan, LH_PLAN_JSON, f, err);
	if (f && fclose(f) && !rc)
		rc = lh_err_sys(err, LH_EXIT_MACHINE, -errno, "plan");
	if (!rc)
		snprintf(ret, 17, "%016llx", (unsigned long long)lh_hash64(text, len, 0));
	free(text);
	lh_plan_free(plan);
	return rc;
}

static int check_same(const json_t *doc, const char *path, const char *hash, const char *release, struct lh_err *err)
{
	const char *its_hash = json_string_value(json_object_get(doc, "plan_hash"));
	const char *its_release =
		json_string_value(json_object_get(json_object_get(doc, "environment"), "kernel_release"));
	if (!its_hash || !its_release)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "%s: not the result of a probe (no plan_hash or kernel_release)", path);
	if (strcmp(its_hash, hash))
		return lh_err_set(err, LH_EXIT_INPUT, -ESTALE,
				  "%s: that probe was of another plan; probe this file again", path);
	if (strcmp(its_release, release))
		return lh_err_set(err, LH_EXIT_INPUT, -ESTALE,
				  "%s: that probe ran on kernel %s, this is %s; probe again", path, its_release,
				  release);
	return 0;
}

static double number_of(const json_t *link, const char *key)
{
	const json_t *v = json_object_get(link, key);
	return json_is_number(v) ? json_number_value(v) : NAN;
}

static void take(const json_t *link, const struct lh_topology *t, struct lh_probe_report *rep)
{
	const char *from = json_string_value(json_object_get(link, "from")),
		   *to = json_string_value(json_object_get(link, "to"));
	for (size_t i = 0; from && to && i < rep->nlinks; i++) {
		struct lh_link_result *l = &rep->links[i];
		if (strcmp(t->sites[l->from].name, from) || strcmp(t->sites[l->to].name, to))
			continue;
		l->goodput_1_bit_per_s = number_of(link, "goodput_1_bit_per_s");
		l->goodput_k_bit_per_s = number_of(link, "goodput_k_bit_per_s");
		l->steady_1_bit_per_s = number_of(link, "goodput_1_steady_bit_per_s");
		l->steady_k_bit_per_s = number_of(link, "goodput_k_steady_bit_per_s");
		l->host_limited_1 = json_is_true(json_object_get(link, "host_limited_1"));
		l->host_limited_k = json_is_true(json_object_get(link, "host_limited_k"));
		l->streams = (unsigned)json_integer_value(json_object_get(link, "streams"));
		l->goodput_reused = !isnan(l->goodput_1_bit_per_s);
	}
}

int lh_probe_reuse(const char *dir, const struct lh_experiment *exp, const char *kernel_release,
		   struct lh_probe_report *rep, struct lh_err *err)
{
	char path[4096], hash[17];
	json_error_t why;
	if (snprintf(path, sizeof path, "%s/result.json", dir) >= (int)sizeof path)
		return lh_err_sys(err, LH_EXIT_INPUT, -ENAMETOOLONG, "--probe %.64s...", dir);
	int rc = lh_probe_plan_hash(exp, hash, err);
	if (rc)
		return rc;
	json_t *doc = json_load_file(path, 0, &why);
	if (!doc)
		return lh_err_set(err, LH_EXIT_INPUT, -ENOENT, "--probe %s: %s", dir, why.text);
	rc = check_same(doc, path, hash, kernel_release, err);
	json_t *links = json_object_get(doc, "links"), *link;
	size_t i, taken = 0;
	if (!rc)
		json_array_foreach(links, i, link) take(link, &exp->topology, rep);
	for (i = 0; !rc && i < rep->nlinks; i++)
		taken += rep->links[i].goodput_reused;
	if (!rc && !taken)
		rc = lh_err_set(err, LH_EXIT_INPUT, -ENODATA, "%s: that probe measured no goodput", path);
	json_decref(doc);
	return rc;
}

void lh_probe_undilate(struct lh_probe_report *rep, unsigned dilation)
{
	for (size_t i = 0; dilation > 1 && i < rep->nlinks; i++) {
		struct lh_link_result *l = &rep->links[i];
		lh_ns *const times[] = { &l->rtt_spec_ns, &l->floor_ns, &l->rtt_min_ns, &l->rtt_median_ns, &l->rtt_p99_ns };
		for (size_t k = 0; k < sizeof times / sizeof *times; k++)
			if (*times[k] > 0) /* -1: not measured */
				*times[k] = (*times[k] + dilation / 2) / dilation;
		l->goodput_1_bit_per_s *= dilation;
		l->goodput_k_bit_per_s *= dilation;
		l->steady_1_bit_per_s *= dilation;
		l->steady_k_bit_per_s *= dilation;
	}
	for (unsigned i = 0; dilation > 1 && rep->peer_rtt_ns && i < rep->npeers; i++)
		if (rep->peer_rtt_ns[i] > 0)
			rep->peer_rtt_ns[i] /= dilation;
	if (dilation > 1)
		rep->capacity_byte_per_s *= dilation;
}

void lh_probe_dilate_goodput(struct lh_link_result *l, unsigned dilation)
{
	l->goodput_1_bit_per_s /= dilation;
	l->goodput_k_bit_per_s /= dilation;
	l->steady_1_bit_per_s /= dilation;
	l->steady_k_bit_per_s /= dilation;
}
