#include "peer_trees.h"

#include <errno.h>

static int read_row(const json_t *list, unsigned npeers, uint16_t *ret, struct lh_err *err)
{
	if (!json_is_array(list) || json_array_size(list) != npeers)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "is not a list of %u peers", npeers);
	for (unsigned i = 0; i < npeers; i++) {
		const json_t *v = json_array_get(list, i);
		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= npeers)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "[%u] is not a peer below %u", i, npeers);
		ret[i] = (uint16_t)json_integer_value(v);
	}
	return 0;
}

static int read_tree(const json_t *o, unsigned b, struct lh_trees *t, struct lh_err *err)
{
	const json_t *weight = json_object_get(o, "weight"), *root = json_object_get(o, "root");
	size_t at = (size_t)b * t->npeers;
	if (!json_is_object(o) || json_object_size(o) != 4 || !json_is_integer(weight) || !json_is_integer(root) ||
	    json_integer_value(weight) < 1 || json_integer_value(weight) > UINT32_MAX || json_integer_value(root) < 0 ||
	    json_integer_value(root) >= t->npeers)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "is not a weight of 1 or more, a root below %u, up and down", t->npeers);
	t->weight[b] = (uint32_t)json_integer_value(weight);
	t->root[b] = (uint16_t)json_integer_value(root);
	int rc = read_row(json_object_get(o, "up"), t->npeers, t->up + at, err);
	if (rc) {
		lh_err_wrap(err, "up");
		return rc;
	}
	rc = read_row(json_object_get(o, "down"), t->npeers, t->down + at, err);
	if (rc)
		lh_err_wrap(err, "down");
	return rc;
}

int lh_peer_trees_read(const json_t *list, unsigned npeers, struct lh_trees *ret, struct lh_err *err)
{
	struct lh_trees t = { 0 };
	if (!list) {
		*ret = t;
		return 0;
	}
	if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > LH_TREES_MAX ||
	    npeers > LH_TREES_PEERS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
				  "key \"trees\": is not a list of 1 ... %d, for at most %d peers", LH_TREES_MAX,
				  LH_TREES_PEERS_MAX);
	int rc = lh_trees_init(&t, (unsigned)json_array_size(list), npeers, err);
	for (unsigned b = 0; !rc && b < t.n; b++) {
		rc = read_tree(json_array_get(list, b), b, &t, err);
		if (rc)
			lh_err_wrap(err, "trees[%u]", b);
	}
	if (!rc)
		rc = lh_trees_check(&t, err);
	if (rc)
		lh_trees_done(&t);
	else
		*ret = t;
	return rc;
}

static json_t *print_row(const uint16_t *row, unsigned n)
{
	json_t *list = json_array();
	for (unsigned i = 0; list && i < n; i++)
		if (json_array_append_new(list, json_integer(row[i]))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

json_t *lh_peer_trees_print(const struct lh_trees *t)
{
	json_t *list = json_array();
	for (unsigned b = 0; list && b < t->n; b++) {
		size_t at = (size_t)b * t->npeers;
		json_t *o = json_pack("{s:I, s:i, s:o, s:o}", "weight", (json_int_t)t->weight[b], "root",
				      (int)t->root[b], "up", print_row(t->up + at, t->npeers), "down",
				      print_row(t->down + at, t->npeers));
		if (!o || json_array_append_new(list, o)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}
