/* What an exchange has once: blocks and trees from the table of its pattern, and memory for what is on its way. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allreduce_internal.h"

/* Of each codec's granules a multiple; the sum, a term and one's bytes together are less than a first-level cache. */
enum { PIECE_ELEMENTS = 2048 };

static unsigned block_of(const struct lh_allreduce *a, const struct flow *w)
{
	return (unsigned)(w - a->flows);
}

static int no_memory(struct lh_err *err)
{
	return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exchange buffers");
}

/* One flow from the transfers of its block. */
static bool adopt_block(struct lh_allreduce *a, struct flow *w, const struct lh_transfer *list, size_t n)
{
	w->children = a->children + a->nchildren;
	w->heirs = a->heirs + a->nheirs;
	w->up = w->down = NOBODY;
	for (size_t i = 0; i < n; i++) {
		const struct lh_transfer *x = &list[i];
		unsigned other = x->from == a->c.rank ? x->to : x->from;
		if (other >= a->npeers || other == a->c.rank)
			return false;
		if (x->to == a->c.rank && x->kind == LH_TRANSFER_REDUCE) {
			if (w->nchildren && w->children[w->nchildren - 1].peer >= other)
				return false;
			w->children[w->nchildren++].peer = other;
		} else if (x->to == a->c.rank) {
			if (w->down != NOBODY)
				return false;
			w->down = other;
		} else if (x->kind == LH_TRANSFER_REDUCE) {
			if (w->up != NOBODY)
				return false;
			w->up = other;
		} else {
			w->heirs[w->nheirs++] = (struct heir){ .peer = other, .block = block_of(a, w) };
		}
	}
	a->nchildren += w->nchildren;
	a->nheirs += w->nheirs;
	return (w->up == NOBODY) == (w->down == NOBODY);
}

/* Who sends what to whom, by peer. */
static int sort_by_peer(struct lh_allreduce *a, struct lh_err *err)
{
	a->heirs_by_peer = calloc(a->nheirs + 1, sizeof(struct heir *));
	a->flows_by_peer = calloc(a->nflows, sizeof(struct flow *));
	if (!a->heirs_by_peer || !a->flows_by_peer)
		return no_memory(err);
	for (size_t i = 0; i < a->nheirs; i++)
		a->links[a->heirs[i].peer].nheirs++;
	for (unsigned b = 0; b < a->nflows; b++)
		if (a->flows[b].up != NOBODY)
			a->links[a->flows[b].up].nflows++;
	struct heir **heirs = a->heirs_by_peer;
	struct flow **flows = a->flows_by_peer;
	for (unsigned i = 0; i < a->npeers; i++) {
		struct link *l = &a->links[i];
		l->heirs = heirs;
		l->flows = flows;
		heirs += l->nheirs;
		flows += l->nflows;
		l->nheirs = l->nflows = 0;
	}
	for (size_t i = 0; i < a->nheirs; i++) {
		struct link *l = &a->links[a->heirs[i].peer];
		l->heirs[l->nheirs++] = &a->heirs[i];
	}
	for (unsigned b = 0; b < a->nflows; b++)
		if (a->flows[b].up != NOBODY) {
			struct link *l = &a->links[a->flows[b].up];
			l->flows[l->nflows++] = &a->flows[b];
		}
	return 0;
}

/* Take blocks and trees from the pattern's table. */
static int adopt_pattern(struct lh_allreduce *a, struct lh_err *err)
{
	const struct lh_pattern *p = a->c.pattern;
	size_t n = lh_pattern_transfers(p, a->c.group, a->c.rank, NULL, 0), from = 0;
	struct lh_transfer *list = calloc(n + 1, sizeof *list);
	a->nflows = p->blocks(a->c.group);
	a->flows = calloc(a->nflows, sizeof *a->flows);
	a->children = calloc(n + 1, sizeof *a->children);
	a->heirs = calloc(n + 1, sizeof *a->heirs);
	if (!list || !a->flows || !a->children || !a->heirs) {
		free(list);
		return no_memory(err);
	}
	lh_pattern_transfers(p, a->c.group, a->c.rank, list, n);
	bool fine = a->nflows <= UINT16_MAX;
	for (unsigned b = 0; fine && b < a->nflows; b++) {
		size_t to = from;
		while (to < n && list[to].block == b)
			to++;
		a->flows[b].block = p->block(a->c.group, a->c.n, b);
		fine = adopt_block(a, &a->flows[b], list + from, to - from);
		from = to;
	}
	free(list);
	if (!fine || from != n)
		return lh_err_set(err, LH_EXIT_BROKE, -ENOTSUP, "pattern %s: not one tree up and one down for each block",
				  p->name);
	return sort_by_peer(a, err);
}

/* All peers must come to the same. Where results are passed on, those of others are kept as well. */
static unsigned choose_window(const struct lh_allreduce *a)
{
	uint64_t places = lh_pattern_places(a->c.pattern, a->c.group);
	uint64_t w = LH_ALLREDUCE_BUFFER_MAX / (places * lh_allreduce_wire_bytes(a, a->part_elements));
	w = w < LH_ALLREDUCE_WINDOW_MIN ? LH_ALLREDUCE_WINDOW_MIN : w;
	w = w > LH_ALLREDUCE_WINDOW_MAX ? LH_ALLREDUCE_WINDOW_MAX : w;
	w = a->c.window && a->c.window < w ? a->c.window : w;
	size_t part = lh_allreduce_wire_bytes(a, a->part_elements), most = (a->c.window_bytes + part - 1) / part;
	return (unsigned)(most && most < w ? most : w);
}

static uint32_t part_count(const struct lh_allreduce *a, const struct lh_block *b)
{
	return (uint32_t)((b->length + a->part_elements - 1) / a->part_elements);
}

static int allocate(struct lh_allreduce *a, struct lh_err *err)
{
	uint64_t longest = 1; /* elements of the longest block */
	for (unsigned b = 0; b < a->nflows; b++)
		if (a->flows[b].block.length > longest)
			longest = a->flows[b].block.length;
	if (longest < a->part_elements)
		a->part_elements = (size_t)longest;
	for (unsigned b = 0; b < a->nflows; b++)
		a->flows[b].parts = part_count(a, &a->flows[b].block);
	/* No more slots than there are parts: a small model among many peers must stay small. */
	uint64_t most = (longest + a->part_elements - 1) / a->part_elements;
	a->window = choose_window(a) < most ? choose_window(a) : (unsigned)most;
	a->buffer_bytes = lh_allreduce_wire_bytes(a, a->part_elements);
	a->piece_elements = a->codec.pieces && a->part_elements > PIECE_ELEMENTS ? PIECE_ELEMENTS : a->part_elements;
	a->sum = malloc(a->piece_elements * sizeof *a->sum);
	a->term = malloc(a->piece_elements * sizeof *a->term);
	bool fine = a->sum && a->term;
	for (size_t i = 0; fine && i < a->nchildren; i++)
		fine = (a->children[i].slots = calloc(a->window, sizeof(struct slot))) != NULL;
	for (unsigned b = 0; fine && b < a->nflows; b++) {
		a->flows[b].places = calloc(a->window, sizeof(struct place));
		a->flows[b].order = calloc(a->window, sizeof(uint32_t));
		fine = a->flows[b].places && a->flows[b].order;
	}
	return fine ? 0 : no_memory(err);
}

int lh_allreduce_new(const struct lh_allreduce_config *config, struct lh_transport *t, struct lh_allreduce **ret,
		     struct lh_err *err)
{
	struct lh_allreduce *a = calloc(1, sizeof *a);
	if (!a)
		return no_memory(err);
	a->c = *config;
	a->npeers = config->group->npeers;
	a->t = t;
	a->links = calloc(a->npeers, sizeof *a->links);
	size_t bytes = config->part_bytes ? config->part_bytes : LH_FRAME_PAYLOAD_MAX;
	a->next = config->first ? config->first : 1;
	a->codec = *config->codec;
	a->plain = a->codec.lossless && config->scale == 1 && !config->feedback;
	a->part_elements = lh_codec_elements(&a->codec, bytes);
	int rc = !a->links ? no_memory(err) : 0;
	if (!rc && (config->rank >= a->npeers || !a->part_elements || bytes > LH_FRAME_PAYLOAD_MAX ||
		    config->n / a->part_elements >= UINT32_MAX || (!t && a->npeers > 1)))
		rc = lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "exchange of %llu elements among %u peers",
				(unsigned long long)config->n, a->npeers);
	if (!rc)
		rc = adopt_pattern(a, err);
	if (!rc)
		rc = allocate(a, err);
	if (rc) {
		lh_allreduce_free(a);
		return rc;
	}
	if (t) {
		t->user = &lh_allreduce_user;
		t->user_ctx = a;
		a->trace = t->trace;
	}
	*ret = a;
	return 0;
}

static void free_flow(struct flow *w)
{
	for (unsigned i = 0; i < w->nchildren; i++)
		free(w->children[i].slots);
	free(w->places);
	free(w->order);
}

void lh_allreduce_free(struct lh_allreduce *a)
{
	if (!a)
		return;
	if (a->t && a->t->user_ctx == a)
		a->t->user = NULL;
	for (unsigned b = 0; a->flows && b < a->nflows; b++)
		free_flow(&a->flows[b]);
	lh_allreduce_free_buffers(a);
	free(a->links);
	free(a->flows);
	free(a->children);
	free(a->heirs);
	free(a->heirs_by_peer);
	free(a->flows_by_peer);
	free(a->sum);
	free(a->term);
	free(a);
}
