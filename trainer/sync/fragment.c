#include "fragment.h"

/* Enough pages for every fragment to have a share of each depth; not so many that runs become short. */
#define PAGES_A_FRAGMENT 8
#define PAGE_MAX 65536

struct lh_fragments lh_fragments_of(uint64_t parameters, uint32_t n)
{
	struct lh_fragments f = { .parameters = parameters, .page = 1, .n = n ? n : 1 };
	while (f.page < PAGE_MAX && f.page * 2 * PAGES_A_FRAGMENT * f.n <= parameters)
		f.page *= 2;
	if (f.n == 1)
		f.page = parameters ? parameters : 1;
	return f;
}

uint64_t lh_fragment_length(const struct lh_fragments *f, uint32_t p)
{
	uint64_t turn = f->page * f->n, full = f->parameters / turn, rest = f->parameters % turn, from = f->page * p;
	uint64_t last = rest <= from ? 0 : rest - from;
	return full * f->page + (last < f->page ? last : f->page);
}

uint64_t lh_fragment_at(const struct lh_fragments *f, uint32_t p, uint64_t k, uint64_t *ret_run)
{
	uint64_t left = f->page - k % f->page, length = lh_fragment_length(f, p) - k;
	*ret_run = left < length ? left : length;
	return (k / f->page * f->n + p) * f->page + k % f->page;
}

uint32_t lh_fragment_due(uint32_t n, uint32_t every, uint32_t epoch)
{
	uint32_t at = (epoch - 1) % every + 1; /* 1 ... every */
	for (uint32_t p = 0; p < n; p++)
		if (((uint64_t)(p + 1) * every + n - 1) / n == at)
			return p;
	return n;
}
