#include "parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct lh_part *grow(struct lh_parts *p, struct lh_err *err)
{
	if (p->n == p->cap) {
		uint32_t cap = p->cap ? 2 * p->cap : 64;
		struct lh_part *more = realloc(p->part, cap * sizeof *more);
		if (!more) {
			lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "checkpoint");
			return NULL;
		}
		p->part = more;
		p->cap = cap;
	}
	struct lh_part *new = &p->part[p->n++];
	*new = (struct lh_part){ .at = NULL };
	return new;
}

int lh_parts_add(struct lh_parts *p, enum lh_state_kind kind, enum lh_state_type type, const char *name, void *at, uint64_t n,
		 struct lh_err *err)
{
	struct lh_part *new = n ? grow(p, err) : NULL;
	if (!new)
		return n ? -ENOMEM : 0;
	*new = (struct lh_part){ .t = { .kind = kind, .type = type, .ndim = 1, .shape = { n } }, .at = at };
	snprintf(new->t.name, sizeof new->t.name, "%s", name);
	new->t.bytes = lh_state_tensor_bytes(&new->t);
	return 0;
}

typedef size_t map_fn(const struct lh_engine_state *s, struct lh_state_tensor *ret, size_t cap);

/* The tensors of a map, one after the other from byte 0 on. */
static int add_map(struct lh_parts *p, const struct lh_engine_state *engine, map_fn *map, bool own, uint64_t *ret_bytes,
		   struct lh_err *err)
{
	size_t n = map(engine, NULL, 0);
	struct lh_state_tensor *t = calloc(n ? n : 1, sizeof *t);
	if (!t)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "checkpoint");
	map(engine, t, n);
	*ret_bytes = 0;
	for (size_t i = 0; i < n; i++) {
		struct lh_part *new = grow(p, err);
		if (!new) {
			free(t);
			return -ENOMEM;
		}
		*new = (struct lh_part){ .t = t[i], .own = own, .from = *ret_bytes };
		new->t.bytes = lh_state_tensor_bytes(&new->t);
		*ret_bytes += new->t.bytes;
	}
	free(t);
	return 0;
}

int lh_parts_add_engine(struct lh_parts *p, const struct lh_engine_ops *ops, const struct lh_engine_state *engine,
			struct lh_err *err)
{
	uint64_t all = ops->state_bytes(engine), mapped = all, own;
	int rc = 0;
	if (ops->state_map) {
		rc = add_map(p, engine, ops->state_map, false, &mapped, err);
	} else if (all) {
		struct lh_part *new = grow(p, err);
		if (!new)
			return -ENOMEM;
		*new = (struct lh_part){ .t = { .name = "state", .kind = LH_STATE_OPTIMIZER, .type = LH_STATE_U8, .ndim = 1,
						.shape = { all }, .bytes = all } };
	}
	if (!rc && ops->own_map)
		rc = add_map(p, engine, ops->own_map, true, &own, err);
	if (!rc && mapped != all)
		rc = lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "engine %s: its state has %llu bytes, its map %llu", ops->name,
				(unsigned long long)all, (unsigned long long)mapped);
	return rc;
}

void lh_parts_done(struct lh_parts *p)
{
	free(p->part);
	*p = (struct lh_parts){ .n = 0 };
}
