/* Running an exchange: what comes in, what goes out, when sums are made. allreduce.h has the theory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allreduce_internal.h"

static unsigned block_of(const struct lh_allreduce *a, const struct flow *w)
{
	return (unsigned)(w - a->flows);
}

size_t lh_allreduce_wire_bytes(const struct lh_allreduce *a, size_t n)
{
	return a->codec.bytes(&a->codec, n);
}

static size_t part_bytes(const struct lh_allreduce *a, const struct flow *w, uint32_t part)
{
	return lh_allreduce_wire_bytes(a, lh_allreduce_part_length(a, &w->block, part));
}

/* ---- buffers ---- */

struct buffer {
	struct buffer *next, *all; /* in the pool; and of all that there are, held by whomever */
	unsigned holders;
	_Alignas(64) uint8_t bytes[];
};

static struct buffer *buffer_of(void *bytes)
{
	return (struct buffer *)((uint8_t *)bytes - offsetof(struct buffer, bytes));
}

/* A buffer for one part, with one holder; NULL without memory. */
static void *take_buffer(struct lh_allreduce *a)
{
	struct buffer *b = a->pool;
	if (b) {
		a->pool = b->next;
	} else {
		size_t bytes = sizeof *b + a->buffer_bytes;
		b = aligned_alloc(64, (bytes + 63) / 64 * 64);
		if (!b)
			return NULL;
		b->all = a->buffers;
		a->buffers = b;
	}
	b->holders = 1;
	return b->bytes;
}

static void hold(void *bytes)
{
	buffer_of(bytes)->holders++;
}

void lh_allreduce_release(struct lh_allreduce *a, void *bytes)
{
	if (!bytes || --buffer_of(bytes)->holders)
		return;
	struct buffer *b = buffer_of(bytes);
	b->next = a->pool;
	a->pool = b;
}

void lh_allreduce_free_buffers(struct lh_allreduce *a)
{
	while (a->buffers) {
		struct buffer *b = a->buffers;
		a->buffers = b->all;
		free(b);
	}
}

static int no_memory(struct lh_err *err)
{
	return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "exchange buffers");
}

/* ---- which parts are where ---- */

static struct place *place_of(const struct lh_allreduce *a, const struct flow *w, uint32_t q)
{
	return &w->places[q % a->window];
}

static bool is_given(const struct lh_allreduce *a, const struct flow *w, uint32_t q)
{
	return q < w->given_low || (q - w->given_low < a->window && place_of(a, w, q)->given);
}

static bool is_result(const struct lh_allreduce *a, const struct flow *w, uint32_t q)
{
	return q < w->result_low || (q - w->result_low < a->window && place_of(a, w, q)->result);
}

static void mark_given(struct lh_allreduce *a, struct flow *w, uint32_t q)
{
	struct place *p = place_of(a, w, q);
	p->given = true;
	p->arrived = 0;
	w->ready -= w->nchildren > 0;
	while (w->given_low < w->parts && place_of(a, w, w->given_low)->given)
		place_of(a, w, w->given_low++)->given = false;
}

static void mark_result(struct lh_allreduce *a, struct flow *w, uint32_t q)
{
	struct place *p = place_of(a, w, q);
	p->result = true;
	p->unsent = w->nheirs;
	w->order[w->results++ % a->window] = q;
	while (w->result_low < w->parts && place_of(a, w, w->result_low)->result)
		place_of(a, w, w->result_low++)->result = false;
}

/* The lowest part that can be summed now: all children's contributions are here, and its window is open. */
static bool next_ready(const struct lh_allreduce *a, const struct flow *w, uint32_t *ret)
{
	uint32_t q = w->given_low, left = w->parts - w->result_low;
	uint32_t end = w->result_low + (left < a->window ? left : a->window);
	if (w->nchildren && !w->ready)
		return false;
	while (q < end && (place_of(a, w, q)->given || place_of(a, w, q)->arrived < w->nchildren))
		q++;
	*ret = q;
	return q < end;
}

/* ---- sums ---- */

static void wake_heirs(struct lh_allreduce *a, const struct flow *w)
{
	for (unsigned i = 0; i < w->nheirs; i++)
		a->t->ops->wake(a->t, w->heirs[i].peer);
}

/* Make room for the result q. Who contributed to part q has the result of q - window, so all heirs were sent it. */
static int renew_kept(struct lh_allreduce *a, struct flow *w, uint32_t q, struct lh_err *err)
{
	struct place *p = place_of(a, w, q);
	if (p->unsent)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "a peer sent part %u of block %u ahead of its window", q,
				  block_of(a, w));
	lh_allreduce_release(a, p->kept);
	p->kept = take_buffer(a);
	return p->kept ? 0 : no_memory(err);
}

static void drop_kept(struct lh_allreduce *a, struct place *p)
{
	lh_allreduce_release(a, p->kept);
	p->kept = NULL;
}

/* At the root: the sum of a part is encoded once, and everybody decodes those bytes. */
static int finish_part(struct lh_allreduce *a, struct flow *w, uint32_t q, struct lh_err *err)
{
	int rc = a->npeers > 1 ? renew_kept(a, w, q, err) : 0;
	if (!rc)
		rc = lh_allreduce_sum(a, w, q, place_of(a, w, q)->kept, true, err);
	if (rc)
		return rc;
	mark_given(a, w, q);
	mark_result(a, w, q);
	return 0;
}

/* A contribution came, or our own vector is there: finish what can be, or let it be sent on. */
static int advance(struct lh_allreduce *a, struct flow *w, struct lh_err *err)
{
	uint32_t q;
	if (!next_ready(a, w, &q))
		return 0;
	if (w->up != NOBODY) {
		a->t->ops->wake(a->t, w->up);
		return 0;
	}
	int rc;
	do
		rc = finish_part(a, w, q, err);
	while (!rc && next_ready(a, w, &q));
	if (!rc)
		wake_heirs(a, w);
	return rc;
}

/* ---- receiving ---- */

static int refuse(struct lh_err *err, const struct lh_frame *f, const char *what)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "unexpected %s (exchange %u, block %u, part %u, %u bytes)", what,
			  f->exchange, f->block, f->part, f->length);
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
	bool now = a->active && f->exchange == a->exchange;
	if (!k)
		return refuse(err, f, "contribution");
	/* The next exchange's contributions come only from who has all results of this one, and those were made with
	 * all contributions to them: the child's slots are free. */
	if (!now && (f->exchange != a->next || (a->active && w->given_low < w->parts)))
		return refuse(err, f, "contribution");
	uint32_t low = now ? w->given_low : 0;
	struct slot *slot = &k->slots[f->part % a->window];
	if (f->part >= w->parts || f->part < low || f->part - low >= a->window || (now && is_given(a, w, f->part)) ||
	    slot->state != SLOT_EMPTY || f->length != part_bytes(a, w, f->part))
		return refuse(err, f, "contribution");
	if (!slot->buffer)
		slot->buffer = take_buffer(a);
	if (!slot->buffer)
		return no_memory(err);
	slot->state = SLOT_COMING;
	*ret = slot->buffer;
	return 0;
}

static int result_begin(struct lh_allreduce *a, struct flow *w, unsigned peer, const struct lh_frame *f, void **ret,
			struct lh_err *err)
{
	if (!a->active || f->exchange != a->exchange || peer != w->down || f->part >= w->parts ||
	    !is_given(a, w, f->part) || is_result(a, w, f->part) || place_of(a, w, f->part)->coming ||
	    f->length != part_bytes(a, w, f->part))
		return refuse(err, f, "result");
	struct place *p = place_of(a, w, f->part);
	int rc = renew_kept(a, w, f->part, err);
	if (rc)
		return rc;
	p->coming = true;
	*ret = p->kept;
	return 0;
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
	struct place *p = place_of(a, w, f->part);
	int rc = lh_allreduce_take_result(a, w, f->part, buffer, err);
	p->coming = false;
	if (!w->nheirs)
		drop_kept(a, p);
	mark_result(a, w, f->part);
	a->t->ops->wake(a->t, w->up); /* its window moved */
	wake_heirs(a, w);
	return rc;
}

static int contribution_end(struct lh_allreduce *a, struct flow *w, unsigned peer, const struct lh_frame *f,
			    struct lh_err *err)
{
	find_child(w, peer)->slots[f->part % a->window].state = SLOT_HERE;
	if (!a->active || f->exchange != a->exchange)
		return 0; /* it is counted when its exchange begins */
	w->ready += ++place_of(a, w, f->part)->arrived == w->nchildren;
	return advance(a, w, err);
}

static int receive_end(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	struct flow *w = &a->flows[f->block];
	bool now = a->active && f->exchange == a->exchange;
	if (a->codec.valid && !a->codec.valid(&a->codec, buffer, lh_allreduce_part_length(a, &w->block, f->part)))
		return refuse(err, f, "bytes, which codec topk never makes, in a frame");
	int rc = f->type == LH_FRAME_RESULT ? result_end(a, w, f, buffer, err) : contribution_end(a, w, peer, f, err);
	if (now) {
		a->links[peer].awaited--;
		update_expectation(a, peer);
	}
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

static struct flow *next_contribution(struct lh_allreduce *a, struct link *l, uint32_t *ret_part)
{
	for (unsigned i = 0; i < l->nflows; i++) {
		struct flow *w = l->flows[(l->flow_turn + i) % l->nflows];
		if (!next_ready(a, w, ret_part))
			continue;
		l->flow_turn = (l->flow_turn + i + 1) % l->nflows;
		return w;
	}
	return NULL;
}

static void *give_result(struct lh_allreduce *a, struct heir *h, uint32_t *ret_part)
{
	struct flow *w = &a->flows[h->block];
	uint32_t q = w->order[h->returned++ % a->window];
	struct place *p = place_of(a, w, q);
	p->unsent--;
	hold(p->kept);
	*ret_part = q;
	return p->kept;
}

/* What leaves as it lies in the vector: nobody's sum but our own. */
static const float *lone_part(const struct lh_allreduce *a, const struct flow *w, uint32_t q)
{
	return w->nchildren || !a->plain ? NULL : lh_allreduce_peek(a, w, q);
}

static int give_contribution(struct lh_allreduce *a, struct flow *w, uint32_t q, const void **ret, struct lh_err *err)
{
	const float *own = lone_part(a, w, q);
	void *buffer = own ? NULL : take_buffer(a);
	int rc = own ? 0 : buffer ? lh_allreduce_sum(a, w, q, buffer, false, err) : no_memory(err);
	if (rc) {
		lh_allreduce_release(a, buffer);
		return rc;
	}
	mark_given(a, w, q);
	*ret = own ? (const void *)own : buffer;
	return 0;
}

/* Results first: they open the windows of others. */
static int send_next(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err)
{
	struct lh_allreduce *a = ctx;
	struct link *l = &a->links[peer];
	uint32_t q = 0;
	const void *payload;
	if (!a->active)
		return 0;
	struct heir *h = next_result(a, l);
	struct flow *w = h ? &a->flows[h->block] : next_contribution(a, l, &q);
	if (!w)
		return 0;
	if (h) {
		payload = give_result(a, h, &q);
	} else {
		int rc = give_contribution(a, w, q, &payload, err);
		if (rc)
			return rc;
	}
	*ret_payload = payload;
	*ret = (struct lh_frame){
		.type = h ? LH_FRAME_RESULT : LH_FRAME_CONTRIBUTION, .exchange = a->exchange, .part = q,
		.length = (uint32_t)part_bytes(a, w, q), .block = (uint16_t)block_of(a, w),
	};
	l->in_flight++;
	return 1;
}

static void sent(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload)
{
	struct lh_allreduce *a = ctx;
	const struct flow *w = &a->flows[f->block];
	a->links[peer].in_flight--;
	if (f->type == LH_FRAME_RESULT || payload != lone_part(a, w, f->part))
		lh_allreduce_release(a, (void *)(uintptr_t)payload);
}

const struct lh_transport_user lh_allreduce_user = {
	.receive_begin = receive_begin, .receive_end = receive_end, .send_next = send_next, .sent = sent,
};

/* ---- exchanges ---- */

static void begin_flow(struct lh_allreduce *a, struct flow *w)
{
	w->given_low = w->result_low = w->results = w->ready = 0;
	for (unsigned s = 0; s < a->window; s++) {
		drop_kept(a, &w->places[s]);
		w->places[s] = (struct place){ 0 };
	}
	for (unsigned i = 0; i < w->nchildren; i++) {
		struct child *k = &w->children[i];
		a->links[k->peer].awaited += w->parts;
		for (unsigned s = 0; s < a->window; s++)
			if (k->slots[s].state == SLOT_HERE) {
				w->ready += ++w->places[s].arrived == w->nchildren;
				a->links[k->peer].awaited--;
			}
	}
	for (unsigned i = 0; i < w->nheirs; i++)
		w->heirs[i].returned = 0;
	if (w->down != NOBODY)
		a->links[w->down].awaited += w->parts;
}

int lh_allreduce_start(struct lh_allreduce *a, uint32_t exchange, struct lh_err *err)
{
	if (exchange != a->next || (a->active && !lh_allreduce_done(a)))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "exchange %u cannot begin after exchange %u", exchange,
				  a->exchange);
	a->exchange = exchange;
	a->next = exchange + (a->c.stride ? a->c.stride : 1);
	a->active = true;
	lh_trace_exchange_begin(a->trace, exchange);
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

void lh_allreduce_skip(struct lh_allreduce *a, uint32_t exchange)
{
	const uint32_t stride = a->c.stride ? a->c.stride : 1;
	if (exchange >= a->next)
		a->next += (exchange - a->next) / stride * stride + stride;
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
	lh_trace_exchange_end(a->trace, a->exchange);
	return true;
}

uint64_t lh_allreduce_bytes(const struct lh_allreduce *a)
{
	uint64_t bytes = 0;
	for (unsigned b = 0; b < a->nflows; b++) {
		const struct flow *w = &a->flows[b];
		uint64_t block = 0;
		for (uint32_t q = 0; q < w->parts; q++)
			block += part_bytes(a, w, q) + LH_FRAME_HEADER;
		bytes += (w->nheirs + (w->up != NOBODY)) * block;
	}
	return bytes;
}
