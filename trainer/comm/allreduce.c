#include "allreduce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct link { /* to and from one other peer */
	struct lh_block block;     /* that it owns */
	uint32_t parts;            /* of it */
	uint32_t given;            /* contributions that were handed out for sending */
	uint32_t results;          /* results of it that came */
	uint32_t got;              /* its contributions to our block that came, this round */
	uint32_t ahead;            /* and of the next round */
	uint32_t returned;         /* results of our block that were handed out for sending to it */
	unsigned in_flight;        /* frames handed out and not yet sent */
	void **slots;              /* [window] contributions that wait to be summed, by part % window */
	void *out, *in;            /* one encoded contribution being sent, one result being received */
};

struct lh_allreduce {
	struct lh_allreduce_config c;
	struct lh_transport *t;
	uint32_t epoch;
	bool active;
	size_t part_elements;
	unsigned window;
	struct lh_block block;     /* that we own */
	uint32_t parts, summed;    /* of it */
	void **results;            /* [window] encoded, by part % window */
	float *sum, *term;         /* one part each */
	struct link *links;        /* [npeers]; our own is not used */
	void **pool;               /* free contribution buffers */
	size_t npool, pool_cap, pool_bytes;
};

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

static int sum_part(struct lh_allreduce *a, uint32_t q, struct lh_err *err)
{
	size_t n = part_length(a, &a->block, q);
	uint64_t offset = a->block.offset + (uint64_t)q * a->part_elements;
	float unscale = 1 / a->c.scale;
	for (unsigned i = 0; i < a->c.npeers; i++) {
		float *to = i ? a->term : a->sum;
		if (i == a->c.rank) {
			int rc = a->c.read(a->c.ctx, offset, n, to, err);
			if (rc)
				return rc;
		} else {
			void **slot = &a->links[i].slots[q % a->window];
			a->c.codec->decode(to, *slot, n, unscale);
			pool_put(a, *slot);
			*slot = NULL;
		}
		if (i)
			add(a->sum, a->term, n);
	}
	if (a->c.npeers > 1) {
		void **result = &a->results[q % a->window];
		int rc = need(result, a->part_elements * a->c.codec->element_bytes, err);
		if (rc)
			return rc;
		a->c.codec->encode(*result, a->sum, n, a->c.scale);
		a->c.codec->decode(a->sum, *result, n, unscale);
	}
	return a->c.write(a->c.ctx, offset, n, a->sum, err);
}

/* Sum every part that all have contributed to. */
static int sum_ready(struct lh_allreduce *a, struct lh_err *err)
{
	uint32_t before = a->summed;
	while (a->summed < a->parts) {
		for (unsigned i = 0; i < a->c.npeers; i++) {
			if (i == a->c.rank)
				continue;
			if (a->links[i].got <= a->summed)
				goto out;
			/* Who contributes part q has our result q - window, so it was handed out long ago. */
			if (a->links[i].returned + a->window <= a->summed)
				return lh_err_set(err, LH_EXIT_BROKE, -EPROTO,
						  "peer of rank %u sent ahead of its window", i);
		}
		int rc = sum_part(a, a->summed, err);
		if (rc)
			return rc;
		a->summed++;
	}
out:
	if (a->summed != before)
		for (unsigned i = 0; a->t && i < a->c.npeers; i++)
			if (i != a->c.rank)
				a->t->ops->wake(a->t, i);
	return 0;
}

/* ---- receiving ---- */

static int refuse(struct lh_err *err, const struct lh_frame *f, const char *what)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "unexpected %s (round %u, part %u, %u bytes)", what, f->epoch,
			  f->part,
			  f->length);
}

static int contribution_begin(struct lh_allreduce *a, struct link *l, const struct lh_frame *f, void **ret,
			      struct lh_err *err)
{
	bool now = a->active && f->epoch == a->epoch;
	uint32_t expected = now ? l->got : l->ahead, from = now ? a->summed : 0;
	/* The next round's contributions come only from who has all results of this one. */
	if (!now && (f->epoch != a->epoch + 1 || (a->active && a->summed < a->parts)))
		return refuse(err, f, "contribution");
	if (f->part != expected || f->part >= a->parts || f->part >= from + a->window ||
	    f->length != part_length(a, &a->block, f->part) * a->c.codec->element_bytes)
		return refuse(err, f, "contribution");
	void **slot = &l->slots[f->part % a->window];
	if (!*slot)
		*slot = pool_get(a);
	if (!*slot)
		return no_memory(err);
	*ret = *slot;
	return 0;
}

static int result_begin(struct lh_allreduce *a, struct link *l, const struct lh_frame *f, void **ret,
			struct lh_err *err)
{
	if (!a->active || f->epoch != a->epoch || f->part != l->results || f->part >= l->given ||
	    f->length != part_length(a, &l->block, f->part) * a->c.codec->element_bytes)
		return refuse(err, f, "result");
	int rc = need(&l->in, a->part_elements * a->c.codec->element_bytes, err);
	if (!rc)
		*ret = l->in;
	return rc;
}

static int receive_begin(void *ctx, unsigned peer, const struct lh_frame *f, void **ret, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	if (f->type == LH_FRAME_CONTRIBUTION)
		return contribution_begin(a, &a->links[peer], f, ret, err);
	if (f->type == LH_FRAME_RESULT)
		return result_begin(a, &a->links[peer], f, ret, err);
	return refuse(err, f, "frame");
}

static void update_expectation(struct lh_allreduce *a, unsigned peer)
{
	const struct link *l = &a->links[peer];
	a->t->ops->expect(a->t, peer, a->active && (l->got < a->parts || l->results < l->parts));
}

static int receive_end(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	struct link *l = &a->links[peer];
	int rc = 0;
	if (f->type == LH_FRAME_RESULT) {
		size_t n = part_length(a, &l->block, f->part);
		a->c.codec->decode(a->term, buffer, n, 1 / a->c.scale);
		rc = a->c.write(a->c.ctx, l->block.offset + (uint64_t)f->part * a->part_elements, n, a->term, err);
		l->results++;
		a->t->ops->wake(a->t, peer); /* its window moved */
	} else if (a->active && f->epoch == a->epoch) {
		l->got++;
		rc = sum_ready(a, err);
	} else {
		l->ahead++;
		return 0;
	}
	update_expectation(a, peer);
	return rc;
}

/* ---- sending ---- */

/* Results first: they open the windows of others. */
static int send_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	struct link *l = &a->links[peer];
	size_t eb = a->c.codec->element_bytes;
	if (!a->active)
		return 0;
	if (l->returned < a->summed) {
		uint32_t q = l->returned++;
		*ret = (struct lh_frame){ LH_FRAME_RESULT, a->epoch, q, (uint32_t)(part_length(a, &a->block, q) * eb) };
		*ret_payload = a->results[q % a->window];
		l->in_flight++;
		return 1;
	}
	if (l->given >= l->parts || l->given >= l->results + a->window)
		return 0;
	size_t n = part_length(a, &l->block, l->given);
	int rc = need(&l->out, a->part_elements * eb, err);
	if (!rc)
		rc = a->c.read(a->c.ctx, l->block.offset + (uint64_t)l->given * a->part_elements, n, a->term, err);
	if (rc)
		return rc;
	a->c.codec->encode(l->out, a->term, n, a->c.scale);
	*ret = (struct lh_frame){ LH_FRAME_CONTRIBUTION, a->epoch, l->given++, (uint32_t)(n * eb) };
	*ret_payload = l->out;
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

int lh_allreduce_start(struct lh_allreduce *a, uint32_t epoch, struct lh_err *err)
{
	if (epoch != a->epoch + 1 || (a->active && !lh_allreduce_done(a)))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "round %u cannot begin after round %u", epoch, a->epoch);
	a->epoch = epoch;
	a->active = true;
	a->summed = 0;
	for (unsigned i = 0; i < a->c.npeers; i++) {
		struct link *l = &a->links[i];
		l->given = l->results = l->returned = 0;
		l->got = l->ahead;
		l->ahead = 0;
	}
	for (unsigned i = 0; i < a->c.npeers; i++)
		if (i != a->c.rank) {
			update_expectation(a, i);
			a->t->ops->wake(a->t, i);
		}
	return sum_ready(a, err);
}

bool lh_allreduce_done(const struct lh_allreduce *a)
{
	if (!a->active || a->summed < a->parts)
		return false;
	for (unsigned i = 0; i < a->c.npeers; i++) {
		const struct link *l = &a->links[i];
		if (i != a->c.rank &&
		    (l->results < l->parts || l->given < l->parts || l->returned < a->parts || l->in_flight))
			return false;
	}
	return true;
}

uint64_t lh_allreduce_bytes(const struct lh_allreduce *a)
{
	uint64_t bytes = 0, eb = a->c.codec->element_bytes;
	for (unsigned i = 0; i < a->c.npeers; i++)
		if (i != a->c.rank)
			bytes += (a->links[i].block.length + a->block.length) * eb +
				 ((uint64_t)a->links[i].parts + a->parts) * LH_FRAME_HEADER;
	return bytes;
}

/* ---- life ---- */

/* Take the blocks and their owners from the pattern's table; refuse what this executor cannot do. */
static int adopt_pattern(struct lh_allreduce *a, struct lh_err *err)
{
	const struct lh_pattern *p = a->c.pattern;
	unsigned npeers = a->c.npeers, rank = a->c.rank;
	size_t n = p->transfers(npeers, rank, NULL, 0);
	struct lh_transfer *list = calloc(n ? n : 1, sizeof *list);
	unsigned *seen = calloc(npeers, sizeof *seen);
	bool fine = list && seen && p->blocks(npeers) == npeers;
	if (fine)
		p->transfers(npeers, rank, list, n);
	a->block = p->block(npeers, a->c.n, rank);
	for (size_t i = 0; fine && i < n; i++) {
		const struct lh_transfer *x = &list[i];
		unsigned other = x->from == rank ? x->to : x->from;
		unsigned owner = x->kind == LH_TRANSFER_REDUCE ? x->to : x->from;
		fine = x->round == (x->kind == LH_TRANSFER_RESULT) && other < npeers && other != rank &&
			x->block == owner;
		if (fine)
			seen[other] |= 1u << (2 * (x->from == rank) + (unsigned)x->kind);
	}
	for (unsigned i = 0; fine && i < npeers; i++) {
		fine = i == rank || seen[i] == 15;
		a->links[i].block = p->block(npeers, a->c.n, i);
	}
	bool memory = list && seen;
	free(list);
	free(seen);
	if (!memory)
		return no_memory(err);
	if (!fine)
		return lh_err_set(err, LH_EXIT_BROKE, -ENOTSUP,
				  "pattern %s: only direct exchange with owners is executed", p->name);
	return 0;
}

static unsigned choose_window(const struct lh_allreduce *a)
{
	if (a->c.window)
		return a->c.window;
	uint64_t others = a->c.npeers > 1 ? a->c.npeers - 1 : 1;
	uint64_t w = LH_ALLREDUCE_BUFFER_MAX / (others * LH_FRAME_PAYLOAD_MAX);
	w = w < LH_ALLREDUCE_WINDOW_MIN ? LH_ALLREDUCE_WINDOW_MIN : w;
	return (unsigned)(w > LH_ALLREDUCE_WINDOW_MAX ? LH_ALLREDUCE_WINDOW_MAX : w);
}

static int allocate(struct lh_allreduce *a, struct lh_err *err)
{
	size_t largest = 1; /* elements of the largest part there is */
	for (unsigned i = 0; i < a->c.npeers; i++) {
		struct link *l = &a->links[i];
		l->parts = part_count(a, &l->block);
		if (l->parts && part_length(a, &l->block, 0) > largest)
			largest = part_length(a, &l->block, 0);
	}
	a->parts = part_count(a, &a->block);
	if (largest < a->part_elements)
		a->part_elements = largest;
	/* No more slots than there are parts: a small model among many peers must stay small. */
	unsigned most = a->links[0].parts > a->parts ? a->links[0].parts : a->parts;
	a->window = choose_window(a) < most ? choose_window(a) : most ? most : 1;
	a->pool_bytes = a->part_elements * a->c.codec->element_bytes;
	a->pool_cap = (size_t)a->window * a->c.npeers;
	a->pool = calloc(a->pool_cap, sizeof *a->pool);
	a->results = calloc(a->window, sizeof *a->results);
	a->sum = malloc(a->part_elements * sizeof *a->sum);
	a->term = malloc(a->part_elements * sizeof *a->term);
	bool fine = a->pool && a->results && a->sum && a->term;
	for (unsigned i = 0; fine && i < a->c.npeers; i++)
		if (i != a->c.rank)
			fine = (a->links[i].slots = calloc(a->window, sizeof(void *))) != NULL;
	return fine ? 0 : no_memory(err);
}

int lh_allreduce_new(const struct lh_allreduce_config *config, struct lh_transport *t, struct lh_allreduce **ret,
		     struct lh_err *err)
{
	struct lh_allreduce *a = calloc(1, sizeof *a);
	if (!a)
		return no_memory(err);
	a->c = *config;
	a->t = t;
	a->links = calloc(config->npeers, sizeof *a->links);
	size_t bytes = config->part_bytes ? config->part_bytes : LH_FRAME_PAYLOAD_MAX;
	a->part_elements = bytes / config->codec->element_bytes;
	int rc = !a->links ? no_memory(err) : 0;
	if (!rc && (config->rank >= config->npeers || !a->part_elements || bytes > LH_FRAME_PAYLOAD_MAX ||
		    config->n / a->part_elements >= UINT32_MAX || (!t && config->npeers > 1)))
		rc = lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "exchange of %llu elements among %u peers",
				(unsigned long long)config->n, config->npeers);
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

void lh_allreduce_free(struct lh_allreduce *a)
{
	if (!a)
		return;
	for (unsigned i = 0; a->links && i < a->c.npeers; i++) {
		struct link *l = &a->links[i];
		for (unsigned w = 0; l->slots && w < a->window; w++)
			free(l->slots[w]);
		free(l->slots);
		free(l->out);
		free(l->in);
	}
	for (unsigned w = 0; a->results && w < a->window; w++)
		free(a->results[w]);
	while (a->npool)
		free(a->pool[--a->npool]);
	if (a->t && a->t->user_ctx == a)
		a->t->user = NULL;
	free(a->links);
	free(a->pool);
	free(a->results);
	free(a->sum);
	free(a->term);
	free(a);
}
