#include "store/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { PLACES_FIRST = 1024 };

struct place {
	bool used;
	uint64_t item;
	uint8_t *bytes; /* NULL where nothing is held of it */
};

struct lh_cache {
	uint64_t limit, counted, items;
	size_t kept, nplaces; /* a power of two, more than 4/3 of the items */
	struct place *places;
};

int lh_cache_new(uint64_t limit, uint64_t counted, size_t kept, struct lh_cache **ret, struct lh_err *err)
{
	struct lh_cache *c = calloc(1, sizeof *c);
	if (c)
		*c = (struct lh_cache){ limit, counted ? counted : 1, 0, kept, PLACES_FIRST,
					calloc(PLACES_FIRST, sizeof *c->places) };
	if (!c || !c->places) {
		free(c);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "cache of samples");
	}
	*ret = c;
	return 0;
}

void lh_cache_free(struct lh_cache *c)
{
	for (size_t i = 0; c && i < c->nplaces; i++)
		free(c->places[i].bytes);
	if (c)
		free(c->places);
	free(c);
}

/* Where the item is, or would be. */
static struct place *place_of(struct place *places, size_t n, uint64_t item)
{
	size_t i = lh_mix64(item) & (n - 1);
	while (places[i].used && places[i].item != item)
		i = (i + 1) & (n - 1);
	return &places[i];
}

bool lh_cache_find(const struct lh_cache *c, uint64_t item, const void **ret_bytes)
{
	const struct place *p = place_of(c->places, c->nplaces, item);
	if (!p->used)
		return false;
	*ret_bytes = p->bytes;
	return true;
}

static bool grow(struct lh_cache *c)
{
	struct place *more = calloc(2 * c->nplaces, sizeof *more);
	for (size_t i = 0; more && i < c->nplaces; i++)
		if (c->places[i].used)
			*place_of(more, 2 * c->nplaces, c->places[i].item) = c->places[i];
	if (!more)
		return false;
	free(c->places);
	c->places = more;
	c->nplaces *= 2;
	return true;
}

void lh_cache_add(struct lh_cache *c, uint64_t item, const void *bytes)
{
	if (c->counted > c->limit || c->items > c->limit / c->counted - 1 || place_of(c->places, c->nplaces, item)->used)
		return;
	if (c->items + 1 > c->nplaces / 4 * 3 && !grow(c))
		return;
	uint8_t *copy = c->kept ? malloc(c->kept) : NULL;
	if (c->kept && !copy)
		return;
	if (copy)
		memcpy(copy, bytes, c->kept);
	*place_of(c->places, c->nplaces, item) = (struct place){ true, item, copy };
	c->items++;
}

uint64_t lh_cache_bytes(const struct lh_cache *c)
{
	return c->items * c->counted;
}
