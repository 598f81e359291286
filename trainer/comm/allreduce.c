#include "allreduce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct child { /* a peer whose partial sums of one block come to us */
	unsigned peer;
	uint32_t got;              /* parts that came, this round */
	uint32_t ahead;            /* and of the next round */
	void **slots;              /* [window] parts that wait to be summed, by part % window */
};

struct heir { /* a peer that gets the result of one block from us */
	unsigned peer, block;
	uint32_t returned;         /* parts that were handed out for sending */
};

struct flow { /* one block */
	struct lh_block block;
	uint32_t parts;
	unsigned up, down;         /* who gets our partial sum, who gives us the result; NOBODY at the root */
	struct child *children;    /* by rank */
	struct heir *heirs;
	unsigned nchildren, nheirs;
	uint32_t given;            /* parts that were summed and handed out for sending (at the root: finished) */
	uint32_t results;          /* parts of the result that are here */
	void **kept;               /* [window] encoded results for the heirs, by part % window */
};

struct link { /* to and from one other peer */
	struct heir **heirs;       /* results that go to it */
	struct flow **flows;       /* blocks whose partial sums go to it */
	unsigned nheirs, nflows;
	unsigned heir_turn, flow_turn; /* where to look next: all of them take turns */
	uint64_t awaited;          /* parts of any kind that it still has to send, this round */
	unsigned in_flight;        /* frames handed out and not yet sent */
	void *out, *in;            /* one encoded partial sum being sent, one result being received */
};

struct lh_allreduce {
	struct lh_allreduce_config c;
	struct lh_transport *t;
	unsigned npeers;
	uint32_t epoch;
	bool active;
	size_t part_elements;
	unsigned window;
	unsigned nflows;
	struct flow *flows;        /* by block */
	struct child *children;    /* of all flows */
	struct heir *heirs;
	size_t nchildren, nheirs;
	struct heir **heirs_by_peer; /* what links point into */
	struct flow **flows_by_peer;
	struct link *links;        /* [npeers]; our own is not used */
	float *sum, *term;         /* one part each */
	void **pool;               /* free buffers for parts of others */
	size_t npool, pool_cap, pool_bytes;
};

static unsigned block_of(const struct lh_allreduce *a, const struct flow *w)
{
	return (unsigned)(w - a->flows);
}

static size_t part_length(const struct lh_allreduce *a, const struct lh_block *b, uint32_t part)
{
	uint64_t from = (uint64_t)part * a->part_elements;
	return b->length - from < a->part_elements ? (size_t)(b->length - from) : a->part_elements;
}

static uint32_t part_count(const struct lh_allreduce *a, const struct lh_block *b)
{
	return (uint32_t)((b->length + a->part_elements - 1) / a->part_elements);
}

/* ---- buffers ---- */

static void *pool_get(struct lh_allreduce *a)
{
	return a->npool ? a->pool[--a->npool] : malloc(a->pool_bytes);
}

static void pool_put(struct lh_allreduce *a, void *buffer)
{
	if (a->npool == a->pool_cap) {
		free(buffer);
		return;
	}
	a->pool[a->npool++] = buffer;
}

static int no_memory(struct lh_err *err)
{
	return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exchange buffers");
}

/* *at is allocated at its first use: most runs have one part a block and never fill the window. */
static int need(void **at, size_t bytes, struct lh_err *err)
{
	if (!*at)
		*at = malloc(bytes);
	return *at ? 0 : no_memory(err);
}

/* ---- the sum of one part ---- */

static void add(float *restrict sum, const float *restrict term, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum[i] += term[i];
}

/* Our part q and those of our children, in the order of ranks, into a->sum. */
static int sum_part(struct lh_allreduce *a, struct flow *w, uint32_t q, struct lh_err *err)
{
	size_t n = part_length(a, &w->block, q);
	uint64_t offset = w->block.offset + (uint64_t)q * a->part_elements;
	bool own = false;
	for (unsigned i = 0; i < w->nchildren || !own;) {
		float *to = i || own ? a->term : a->sum;
		if (!own && (i == w->nchildren || w->children[i].peer > a->c.rank)) {
			int rc = a->c.read(a->c.ctx, offset, n, to, err);
			if (rc)
				return rc;
			own = true;
		} else {
			void **slot = &w->children[i++].slots[q % a->window];
			a->c.codec->decode(to, *slot, n, 1 / a->c.scale);
			pool_put(a, *slot);
			*slot = NULL;
		}
		if (to == a->term)
			add(a->sum, a->term, n);
	}
	return 0;
}

/* All children's contributions to the next part are here. */
static bool can_sum(const struct flow *w)
{
	for (unsigned i = 0; i < w->nchildren; i++)
		if (w->children[i].got <= w->given)
			return false;
	return w->given < w->parts;
}

static void wake_heirs(struct lh_allreduce *a, const struct flow *w)
{
	for (unsigned i = 0; i < w->nheirs; i++)
		a->t->ops->wake(a->t, w->heirs[i].peer);
}

/* Who contributes to part q has the result of q - window, so all heirs were sent it long ago. */
static int check_heirs(const struct lh_allreduce *a, const struct flow *w, uint32_t q, struct lh_err *err)
{
	for (unsigned i = 0; i < w->nheirs; i++)
		if (w->heirs[i].returned + a->window <= q)
			return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "peer of rank %u sent ahead of its window",
					  w->heirs[i].peer);
	return 0;
}

/* At the root: the sum of a part is encoded once, and everybody decodes those bytes. */
static int finish_part(struct lh_allreduce *a, struct flow *w, struct lh_err *err)
{
	uint32_t q = w->given;
	size_t n = part_length(a, &w->block, q);
	int rc = check_heirs(a, w, q, err);
	if (!rc)
		rc = sum_part(a, w, q, err);
	if (rc)
		return rc;
	if (a->npeers > 1) {
		void **kept = &w->kept[q % a->window];
		rc = need(kept, a->part_elements * a->c.codec->element_bytes, err);
		if (rc)
			return rc;
		a->c.codec->encode(*kept, a->sum, n, a->c.scale);
		a->c.codec->decode(a->sum, *kept, n, 1 / a->c.scale);
	}
	rc = a->c.write(a->c.ctx, w->block.offset + (uint64_t)q * a->part_elements, n, a->sum, err);
	w->given++;
	w->results++;
	return rc;
}

/* A contribution came, or our own vector is there: finish what can be, or let it be sent on. */
static int advance(struct lh_allreduce *a, struct flow *w, struct lh_err *err)
{
	if (!can_sum(w))
		return 0;
	if (w->up != NOBODY) {
		a->t->ops->wake(a->t, w->up);
		return 0;
	}
	int rc = 0;
	while (!rc && can_sum(w))
		rc = finish_part(a, w, err);
	if (!rc)
		wake_heirs(a, w);
	return rc;
}

/* ---- receiving ---- */

static int refuse(struct lh_err *err, const struct lh_frame *f, const char *what)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "unexpected %s (round %u, block %u, part %u, %u bytes)", what,
			  f->epoch, f->block, f->part, f->length);
}

static struct child *find_child(struct flow *w, unsigned peer)
{
	unsigned from = 0, to = w->nchildren;
	while (from < to) {
		unsigned middle = (from + to) / 2;
		if (w->children[middle].peer < peer)
			from = middle + 1;
		else
			to = middle;
	}
	return from < w->nchildren && w->children[from].peer == peer ? &w->children[from] : NULL;
}

static int contribution_begin(struct lh_allreduce *a, struct flow *w, unsigned peer, const struct lh_frame *f,
			      void **ret, struct lh_err *err)
{
	struct child *k = find_child(w, peer);
	bool now = a->active && f->epoch == a->epoch;
	if (!k)
		return refuse(err, f, "contribution");
	uint32_t expected = now ? k->got : k->ahead, from = now ? w->given : 0;
	/* The next round's contributions come only from who has all results of this one, and those were made with all
	 * contributions to them: the child's slots are free. */
	if (!now && (f->epoch != a->epoch + 1 || (a->active && w->given < w->parts)))
		return refuse(err, f, "contribution");
	if (f->part != expected || f->part >= w->parts || f->part >= from + a->window ||
	    f->length != part_length(a, &w->block, f->part) * a->c.codec->element_bytes)
		return refuse(err, f, "contribution");
	void **slot = &k->slots[f->part % a->window];
	if (!*slot)
		*slot = pool_get(a);
	if (!*slot)
		return no_memory(err);
	*ret = *slot;
	return 0;
}

static int result_begin(struct lh_allreduce *a, struct flow *w, unsigned peer, const struct lh_frame *f, void **ret,
			struct lh_err *err)
{
	if (!a->active || f->epoch != a->epoch || peer != w->down || f->part != w->results || f->part >= w->given ||
	    f->length != part_length(a, &w->block, f->part) * a->c.codec->element_bytes)
		return refuse(err, f, "result");
	void **to = w->nheirs ? &w->kept[f->part % a->window] : &a->links[peer].in;
	int rc = check_heirs(a, w, f->part, err);
	if (!rc)
		rc = need(to, a->part_elements * a->c.codec->element_bytes, err);
	if (!rc)
		*ret = *to;
	return rc;
}

static int receive_begin(void *ctx, unsigned peer, const struct lh_frame *f, void **ret, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	if (f->block < a->nflows && f->type == LH_FRAME_CONTRIBUTION)
		return contribution_begin(a, &a->flows[f->block], peer, f, ret, err);
	if (f->block < a->nflows && f->type == LH_FRAME_RESULT)
		return result_begin(a, &a->flows[f->block], peer, f, ret, err);
	return refuse(err, f, "frame");
}

static void update_expectation(struct lh_allreduce *a, unsigned peer)
{
	a->t->ops->expect(a->t, peer, a->active && a->links[peer].awaited);
}

static int result_end(struct lh_allreduce *a, struct flow *w, const struct lh_frame *f, void *buffer,
		      struct lh_err *err)
{
	size_t n = part_length(a, &w->block, f->part);
	a->c.codec->decode(a->term, buffer, n, 1 / a->c.scale);
	int rc = a->c.write(a->c.ctx, w->block.offset + (uint64_t)f->part * a->part_elements, n, a->term, err);
	w->results++;
	a->t->ops->wake(a->t, w->up); /* its window moved */
	wake_heirs(a, w);
	return rc;
}

static int receive_end(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	struct flow *w = &a->flows[f->block];
	int rc;
	if (f->type == LH_FRAME_RESULT) {
		rc = result_end(a, w, f, buffer, err);
	} else if (a->active && f->epoch == a->epoch) {
		find_child(w, peer)->got++;
		rc = advance(a, w, err);
	} else {
		find_child(w, peer)->ahead++;
		return 0;
	}
	a->links[peer].awaited--;
	update_expectation(a, peer);
	return rc;
}

/* ---- sending ---- */

static struct heir *next_result(struct lh_allreduce *a, struct link *l)
{
	for (unsigned i = 0; i < l->nheirs; i++) {
		struct heir *h = l->heirs[(l->heir_turn + i) % l->nheirs];
		if (h->returned >= a->flows[h->block].results)
			continue;
		l->heir_turn = (l->heir_turn + i + 1) % l->nheirs;
		return h;
	}
	return NULL;
}

static struct flow *next_contribution(struct lh_allreduce *a, struct link *l)
{
	for (unsigned i = 0; i < l->nflows; i++) {
		struct flow *w = l->flows[(l->flow_turn + i) % l->nflows];
		if (w->given >= w->results + a->window || !can_sum(w))
			continue;
		l->flow_turn = (l->flow_turn + i + 1) % l->nflows;
		return w;
	}
	return NULL;
}

/* Results first: they open the windows of others. */
static int send_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	struct link *l = &a->links[peer];
	size_t eb = a->c.codec->element_bytes;
	if (!a->active)
		return 0;
	struct heir *h = next_result(a, l);
	struct flow *w = h ? &a->flows[h->block] : next_contribution(a, l);
	if (!w)
		return 0;
	uint32_t q = h ? h->returned : w->given;
	size_t n = part_length(a, &w->block, q);
	if (h) {
		*ret_payload = w->kept[q % a->window];
		h->returned++;
	} else {
		int rc = need(&l->out, a->part_elements * eb, err);
		if (!rc)
			rc = sum_part(a, w, q, err);
		if (rc)
			return rc;
		a->c.codec->encode(l->out, a->sum, n, a->c.scale);
		*ret_payload = l->out;
		w->given++;
	}
	*ret = (struct lh_frame){
		.type = h ? LH_FRAME_RESULT : LH_FRAME_CONTRIBUTION, .epoch = a->epoch, .part = q,
		.length = (uint32_t)(n * eb), .block = (uint16_t)block_of(a, w),
	};
	l->in_flight++;
	return 1;
}

static void sent(void *ctx, unsigned peer, const struct lh_frame *f)
{
	struct lh_allreduce *a = ctx;
	a->links[peer].in_flight--;
}

static const struct lh_transport_user user = {
	.receive_begin = receive_begin, .receive_end = receive_end, .send_next = send_next, .sent = sent,
};

/* ---- rounds ---- */

static void begin_flow(struct lh_allreduce *a, struct flow *w)
{
	w->given = w->results = 0;
	for (unsigned i = 0; i < w->nchildren; i++) {
		struct child *k = &w->children[i];
		k->got = k->ahead;
		k->ahead = 0;
		a->links[k->peer].awaited += w->parts - k->got;
	}
	for (unsigned i = 0; i < w->nheirs; i++)
		w->heirs[i].returned = 0;
	if (w->down != NOBODY)
		a->links[w->down].awaited += w->parts;
}

int lh_allreduce_start(struct lh_allreduce *a, uint32_t epoch, struct lh_err *err)
{
	if (epoch != a->epoch + 1 || (a->active && !lh_allreduce_done(a)))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "round %u cannot begin after round %u", epoch, a->epoch);
	a->epoch = epoch;
	a->active = true;
	for (unsigned b = 0; b < a->nflows; b++)
		begin_flow(a, &a->flows[b]);
	for (unsigned i = 0; i < a->npeers; i++)
		if (i != a->c.rank) {
			update_expectation(a, i);
			a->t->ops->wake(a->t, i);
		}
	int rc = 0;
	for (unsigned b = 0; !rc && b < a->nflows; b++)
		rc = advance(a, &a->flows[b], err);
	return rc;
}

bool lh_allreduce_done(const struct lh_allreduce *a)
{
	if (!a->active)
		return false;
	for (unsigned b = 0; b < a->nflows; b++) {
		const struct flow *w = &a->flows[b];
		if (w->results < w->parts)
			return false;
		for (unsigned i = 0; i < w->nheirs; i++)
			if (w->heirs[i].returned < w->parts)
				return false;
	}
	for (unsigned i = 0; i < a->npeers; i++)
		if (a->links[i].in_flight)
			return false;
	return true;
}

uint64_t lh_allreduce_bytes(const struct lh_allreduce *a)
{
	uint64_t bytes = 0;
	for (unsigned b = 0; b < a->nflows; b++) {
		const struct flow *w = &a->flows[b];
		bytes += (w->nheirs + (w->up != NOBODY)) *
			 (w->block.length * a->c.codec->element_bytes + (uint64_t)w->parts * LH_FRAME_HEADER);
	}
	return bytes;
}

/* ---- life ---- */

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
	if (a->c.window)
		return a->c.window;
	uint64_t others = a->npeers > 1 ? a->npeers - 1 : 1;
	uint64_t w = LH_ALLREDUCE_BUFFER_MAX / (others * LH_FRAME_PAYLOAD_MAX * (a->c.pattern->relays ? 2 : 1));
	w = w < LH_ALLREDUCE_WINDOW_MIN ? LH_ALLREDUCE_WINDOW_MIN : w;
	return (unsigned)(w > LH_ALLREDUCE_WINDOW_MAX ? LH_ALLREDUCE_WINDOW_MAX : w);
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
	a->pool_bytes = a->part_elements * a->c.codec->element_bytes;
	a->pool_cap = (size_t)a->window * a->npeers;
	a->pool = calloc(a->pool_cap, sizeof *a->pool);
	a->sum = malloc(a->part_elements * sizeof *a->sum);
	a->term = malloc(a->part_elements * sizeof *a->term);
	bool fine = a->pool && a->sum && a->term;
	for (size_t i = 0; fine && i < a->nchildren; i++)
		fine = (a->children[i].slots = calloc(a->window, sizeof(void *))) != NULL;
	for (unsigned b = 0; fine && b < a->nflows; b++)
		if (a->flows[b].nheirs)
			fine = (a->flows[b].kept = calloc(a->window, sizeof(void *))) != NULL;
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
	a->part_elements = bytes / config->codec->element_bytes;
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
		t->user = &user;
		t->user_ctx = a;
	}
	*ret = a;
	return 0;
}

static void free_all(void **list, unsigned n)
{
	for (unsigned i = 0; list && i < n; i++)
		free(list[i]);
	free(list);
}

void lh_allreduce_free(struct lh_allreduce *a)
{
	if (!a)
		return;
	for (unsigned i = 0; a->links && i < a->npeers; i++) {
		free(a->links[i].out);
		free(a->links[i].in);
	}
	for (size_t i = 0; i < a->nchildren; i++)
		free_all(a->children[i].slots, a->window);
	for (unsigned b = 0; a->flows && b < a->nflows; b++)
		free_all(a->flows[b].kept, a->window);
	while (a->npool)
		free(a->pool[--a->npool]);
	if (a->t && a->t->user_ctx == a)
		a->t->user = NULL;
	free(a->links);
	free(a->flows);
	free(a->children);
	free(a->heirs);
	free(a->heirs_by_peer);
	free(a->flows_by_peer);
	free(a->pool);
	free(a->sum);
	free(a->term);
	free(a);
}
