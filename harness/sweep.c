/* sweep.c - axes, cells, order and experiments of a sweep; see sweep.h. Its outputs are in sweep_table.c. */
#include "sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

static int add_value(struct lh_axis *a, const char *text, size_t len, const char *list, struct lh_err *err)
{
	if (len == 0)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "-L %s: an empty value", list);
	if (a->nvalues == LH_SWEEP_VALUES_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "-L %s: more than %d values", list, LH_SWEEP_VALUES_MAX);
	char *value = strndup(text, len);
	if (!value)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "-L %s", list);
	for (unsigned i = 0; i < a->nvalues; i++) {
		if (strcmp(a->values[i], value) != 0)
			continue;
		int rc = lh_err_set(err, LH_EXIT_INPUT, -EEXIST, "-L %s: value %s is given twice", list, value);
		free(value);
		return rc;
	}
	a->values[a->nvalues++] = value;
	return 0;
}

static int add_axis(struct lh_sweep *s, const char *list, struct lh_err *err)
{
	const char *eq = strchr(list, '=');
	struct lh_axis *a = &s->axes[s->naxes];
	int rc = 0;

	if (!eq || eq == list || !eq[1])
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "-L %s: needs key=value,value,...", list);
	if ((size_t)(eq - list) >= sizeof a->key)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "-L %s: key too long", list);
	if (s->naxes == LH_SWEEP_AXES_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "-L %s: more than %d axes", list, LH_SWEEP_AXES_MAX);
	s->naxes++;
	snprintf(a->key, sizeof a->key, "%.*s", (int)(eq - list), list);
	for (unsigned i = 0; i + 1 < s->naxes; i++)
		if (!strcmp(s->axes[i].key, a->key))
			return lh_err_set(err, LH_EXIT_INPUT, -EEXIST, "-L %s: key %s is given twice", list, a->key);
	for (const char *p = eq + 1; rc == 0; p++) {
		size_t len = strcspn(p, ",");
		rc = add_value(a, p, len, list, err);
		p += len;
		if (!*p)
			break;
	}
	return rc;
}

int lh_sweep_init(struct lh_sweep *s, const char *const *lists, size_t n, unsigned warmup, unsigned runs,
		  uint64_t seed, struct lh_err *err)
{
	int rc = 0;

	*s = (struct lh_sweep){ .ncells = 1, .warmup = warmup, .runs = runs, .seed = seed };
	if (n == 0)
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				"a sweep needs at least one axis, e.g. -L rtt=1ms,50ms,100ms");
	else if (runs == 0)
		rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "--runs 0: at least one run of each cell must count");
	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = add_axis(s, lists[i], err);
		if (rc == 0)
			s->ncells *= s->axes[i].nvalues;
		if (rc == 0 && s->ncells > LH_SWEEP_CELLS_MAX)
			rc = lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "-L %s: more than %d cells", lists[i],
					LH_SWEEP_CELLS_MAX);
	}
	if (rc < 0)
		lh_sweep_done(s);
	return rc;
}

void lh_sweep_done(struct lh_sweep *s)
{
	for (unsigned i = 0; i < s->naxes; i++)
		for (unsigned k = 0; k < s->axes[i].nvalues; k++)
			free(s->axes[i].values[k]);
	*s = (struct lh_sweep){ 0 };
}

const char *lh_sweep_value(const struct lh_sweep *s, unsigned cell, unsigned axis)
{
	for (unsigned i = s->naxes - 1; i > axis; i--)
		cell /= s->axes[i].nvalues;
	return s->axes[axis].values[cell % s->axes[axis].nvalues];
}

char *lh_sweep_cell_text(const struct lh_sweep *s, unsigned cell, char *buf, size_t size)
{
	size_t used = 0;

	*buf = 0;
	for (unsigned i = 0; i < s->naxes && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s=%s", i ? ", " : "", s->axes[i].key,
					 lh_sweep_value(s, cell, i));
	return buf;
}

void lh_sweep_order(const struct lh_sweep *s, struct lh_sweep_step *ret)
{
	uint64_t state = s->seed;

	for (unsigned pass = 0; pass < s->warmup + s->runs; pass++, ret += s->ncells) {
		for (unsigned i = 0; i < s->ncells; i++)
			ret[i] = (struct lh_sweep_step){ .cell = i, .pass = pass };
		for (unsigned i = s->ncells - 1; i > 0; i--) { /* Fisher and Yates */
			state += LH_MIX64_STEP;
			unsigned k = (unsigned)(lh_mix64(state) % (i + 1));
			struct lh_sweep_step t = ret[i];
			ret[i] = ret[k];
			ret[k] = t;
		}
	}
}

/* ---- the experiment of a cell ---- */

struct texts { /* overrides that are made here */
	char *text[LH_SITES_MAX + LH_SWEEP_AXES_MAX];
	size_t n;
};

static int add_text(struct texts *x, const char *key, const char *site, const char *value, struct lh_err *err)
{
	char *text;
	int n = site ? asprintf(&text, "sites.%s.peers=%s", site, value) : asprintf(&text, "%s=%s", key, value);

	if (n < 0)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "sweep");
	if (x->n == sizeof x->text / sizeof *x->text) {
		free(text);
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "-L %s: too many overrides", key);
	}
	x->text[x->n++] = text;
	return 0;
}

/* Sites are known only when the file was read once. */
static int add_peers(struct texts *x, const char *value, const char *file, const struct lh_override *overrides,
		     size_t noverrides, FILE *diag, struct lh_err *err)
{
	struct lh_experiment base;
	int rc = lh_experiment_load(file, overrides, noverrides, diag, &base, err);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; rc == 0 && i < base.topology.nsites; i++)
		if (base.topology.sites[i].npeers)
			rc = add_text(x, "peers", base.topology.sites[i].name, value, err);
	lh_experiment_done(&base);
	return rc;
}

static bool is_training_key(const char *key)
{
	static const char *const keys[] = {
		"target-batch", "microbatch", "epochs", "pace", "model", "wire", "algorithm", "profile", "topk",
		"powersgd-rank", "error-feedback", "strategy", "optimizer", "every", "outer-learning-rate",
		"outer-momentum", "fragments", "overlap", "blend", "staleness", "match-floor", "sockets", "streams",
		"membership", "checkpoint", "learning-rate", "learning-rate-warmup", "learning-rate-schedule",
		"learning-rate-floor", "momentum", "nesterov", "beta1", "beta2", "epsilon", "weight-decay", "clip-norm",
	};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

static void set_all_rtts(struct lh_topology *t, lh_ns rtt_ns)
{
	for (unsigned i = 0; i < t->nsites; i++)
		for (unsigned k = 0; k < t->nsites; k++)
			if (i != k) /* an odd nanosecond goes one way, so that the sum is exact */
				lh_topology_link(t, i, k)->imp.delay_ns = i < k ? rtt_ns / 2 : rtt_ns - rtt_ns / 2;
	lh_topology_derive(t);
}

int lh_sweep_load(const struct lh_sweep *s, unsigned cell, const char *file, const struct lh_override *overrides,
		  size_t noverrides, FILE *diag, struct lh_experiment *ret, struct lh_err *err)
{
	struct lh_override all[64 + sizeof ((struct texts *)NULL)->text / sizeof(char *)];
	struct texts x = { .n = 0 };
	lh_ns rtt_ns = -1;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < s->naxes; i++) {
		const char *key = s->axes[i].key, *value = lh_sweep_value(s, cell, i);
		char full[128];
		if (!strcmp(key, "rtt")) {
			rc = lh_ns_parse(value, &rtt_ns, err);
			if (rc < 0)
				lh_err_wrap(err, "-L rtt=%s", value);
		} else if (!strcmp(key, "peers")) {
			rc = add_peers(&x, value, file, overrides, noverrides, diag, err);
		} else {
			snprintf(full, sizeof full, "%s%s", is_training_key(key) ? "training." : "", key);
			rc = add_text(&x, full, NULL, value, err);
		}
	}
	for (size_t i = 0; i < noverrides && i < 64; i++)
		all[i] = overrides[i];
	for (size_t i = 0; i < x.n; i++)
		all[noverrides + i].text = x.text[i];
	if (rc == 0)
		rc = lh_experiment_load(file, all, noverrides + x.n, diag, ret, err);
	if (rc == 0) {
		if (!ret->training.given)
			rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: has no training section", file);
		else if (ret->training.microbatch_auto) /* cells would differ in more than their axes */
			rc = lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "%s: a sweep wants a number for training.microbatch, not auto",
					file);
		if (rc == 0 && rtt_ns >= 0) {
			set_all_rtts(&ret->topology, rtt_ns);
			rc = lh_experiment_renew_canonical(ret, err);
		}
		if (rc < 0)
			lh_experiment_done(ret);
		else
			lh_experiment_dilate(ret);
	}
	for (size_t i = 0; i < x.n; i++)
		free(x.text[i]);
	return rc;
}
