/* Strategies of parameters: every peer updates its own replica each round, and what changed is averaged now and then.
 *
 * There is one mechanism. A fragment p of the model (all of it, but for streaming) has an anchor A, the same on all peers.
 * When it departs, at the end of a round, its snapshot X_i is taken, and the exchange sums w_i (A - X_i), where w_i is
 * the peer's part of the samples since the fragment departed last. With D the sum, which all peers have in the same
 * bytes, the fragment lands, in that round or a later one:
 *
 *     V  = momentum V + D
 *     A' = A - rate (D + momentum V)             Nesterov; with rate 1 and no momentum A - D, the mean
 *     X  = A'                                    replace        local-sgd, diloco
 *     X  = blend X + (1 - blend) A'              blend          streaming-diloco
 *     X  = X + (A' - X_i)                        delta rule     async: what was learnt meanwhile is kept
 *     A  = A'
 *
 * Differences travel, not parameters, because every codec loses less of a small number; a group of one exchanges nothing,
 * so nothing is rounded there: its mean is X_i itself. Of an engine without a model nothing of this is held; its exchanges
 * have the same lengths and moments.
 *
 * One exchange is under way at a time. At the end of a round there is a list of jobs: land what is due, let depart what is
 * due, land what departed with no overlap. Only async looks at time: it lands at the first end of a round at which its
 * exchange is over. After the last round all that is under way lands, and every fragment departs and lands once more
 * without blending, so that the run ends with one model.
 *
 * Where members come and go (local-sgd and diloco only) the rounds from one exchange to the next are one round of the group: it
 * is `local` as often as there are steps, then begin, ready, commit or abort. Until the commit nothing that is shared
 * changes: anchor, momentum, and `base`, the engine's state as the last commit left it, which is what a joiner is sent
 * and a checkpoint has. An exchange that is given up leaves the own parameters, and more steps may follow. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "fragment.h"
#include "hash.h"
#include "strategy.h"

enum { STEP = 4096 }; /* parameters at a time */

struct fragment {
	struct lh_exchange *exchange;
	struct outer *x;
	uint32_t p;
	uint32_t departed, due;    /* rounds; departed 0: at home */
	bool arrived;              /* its exchange is over */
	uint64_t own, all;         /* samples until it departed last */
	float weight;
};

enum { SAVED_SHARED = 2, SAVED_FRAGMENT = 3, SAVED_OWN = 2, SAVED_FRAGMENT_OWN = 3 };

struct job { bool lands; uint32_t p; };

struct outer {
	struct lh_strategy s;
	struct lh_mux *mux;
	struct lh_fragments map;
	struct fragment *fragments;
	uint32_t every, overlap;
	double rate, momentum;
	float blend;
	bool delta_rule, when_here;  /* async */
	float *anchor, *velocity, *snapshot, *sum; /* [parameters], fragments in their places; NULL: pseudo */
	uint32_t number;             /* exchanges begun */
	bool again;                  /* the one under way is to begin again, since this peer was restarted */
	uint64_t *saved;             /* what a checkpoint has of counters: shared ones, then own ones */
	struct fragment *flying;     /* the exchange under way */
	uint64_t own, all;           /* samples until now */
	struct job *jobs;            /* of this round, [3 * fragments] */
	uint32_t njobs, next;
	uint32_t shared_fragments;   /* replaced in this round */
	/* Elastic. */
	bool elastic;
	uint8_t *base;               /* the engine's state after the last commit; NULL: pseudo, whose state is that always */
	uint64_t base_hash, hash;    /* of its parameters; of what came, by parts, in any order */
};

static struct outer *of(struct lh_strategy *s) { return (struct outer *)s; }

/* ---- what travels ---- */

static int read_difference(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	const struct fragment *f = ctx;
	const struct outer *x = f->x;
	if (!x->anchor)
		return x->s.w->ops->gradient_read(x->s.w->engine, offset, n, dst, err);
	for (size_t done = 0; done < n;) {
		uint64_t run, at = lh_fragment_at(&x->map, f->p, offset + done, &run);
		run = run < n - done ? run : n - done;
		for (uint64_t i = 0; i < run; i++)
			dst[done + i] = f->weight ? f->weight * (x->anchor[at + i] - x->snapshot[at + i]) : 0;
		done += run;
	}
	return 0;
}

static int write_sum(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	const struct fragment *f = ctx;
	struct outer *x = f->x;
	if (x->elastic)
		x->hash += lh_hash64(src, n * sizeof *src, lh_mix64(offset));
	if (!x->anchor)
		return x->s.w->ops->gradient_write(x->s.w->engine, offset, n, src, err);
	for (size_t done = 0; done < n;) {
		uint64_t run, at = lh_fragment_at(&x->map, f->p, offset + done, &run);
		run = run < n - done ? run : n - done;
		memcpy(x->sum + at, src + done, run * sizeof *src);
		done += run;
	}
	return 0;
}

/* ---- departing and landing ---- */

static int depart(struct outer *x, struct fragment *f, uint32_t epoch, struct lh_err *err)
{
	const struct lh_worker *w = x->s.w;
	int rc = 0;
	for (uint64_t k = 0, run, n = lh_fragment_length(&x->map, f->p); !rc && x->anchor && k < n; k += run) {
		uint64_t at = lh_fragment_at(&x->map, f->p, k, &run);
		rc = w->ops->parameters_read(w->engine, at, run, x->snapshot + at, err);
	}
	f->weight = x->all > f->all ? (float)((double)(x->own - f->own) / (double)(x->all - f->all)) : 0;
	f->own = x->own;
	f->all = x->all;
	f->departed = epoch;
	f->arrived = false;
	bool last = epoch == w->c->epochs;
	f->due = last ? epoch : epoch + x->overlap;
	x->flying = f;
	return rc ? rc : lh_exchange_start(f->exchange, ++x->number, err);
}

/* The exchange under way is over. What a pseudo engine was sent, it takes now: the next exchange is another number. */
static int arrive(struct outer *x, struct lh_err *err)
{
	x->flying->arrived = true;
	x->flying = NULL;
	return x->anchor ? 0 : x->s.w->ops->update(x->s.w->engine, x->s.w->c->target_batch, err);
}

static bool is_plain(const struct outer *x) { return x->rate == 1 && x->momentum == 0; }

/* The anchor of `n` parameters from `at` on takes the outer step. */
static void step_anchor(struct outer *x, uint64_t at, size_t n)
{
	const float rate = (float)x->rate, momentum = (float)x->momentum;
	const bool alone = x->s.w->c->size == 1, plain = is_plain(x);
	for (size_t i = 0; i < n; i++) {
		float *a = &x->anchor[at + i];
		if (plain) {
			*a = alone ? x->snapshot[at + i] : *a - x->sum[at + i];
			continue;
		}
		float d = alone ? *a - x->snapshot[at + i] : x->sum[at + i];
		x->velocity[at + i] = momentum * x->velocity[at + i] + d;
		*a -= rate * (d + momentum * x->velocity[at + i]);
	}
}

static int land_run(struct outer *x, uint64_t at, size_t n, float blend, struct lh_err *err)
{
	const struct lh_worker *w = x->s.w;
	float now[STEP];
	const float *anchor = x->anchor + at, *snapshot = x->snapshot + at;
	step_anchor(x, at, n);
	if (!x->delta_rule && blend == 0)
		return w->ops->parameters_write(w->engine, at, n, anchor, err);
	int rc = w->ops->parameters_read(w->engine, at, n, now, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		if (!x->delta_rule)
			now[i] = blend * now[i] + (1 - blend) * anchor[i];
		else if (now[i] == snapshot[i])
			now[i] = anchor[i]; /* nothing was learnt meanwhile: no rounding either */
		else
			now[i] += anchor[i] - snapshot[i];
	return w->ops->parameters_write(w->engine, at, n, now, err);
}

static int land(struct outer *x, struct fragment *f, struct lh_round *r, struct lh_err *err)
{
	/* The last departure of a run is for ending with one model. */
	float blend = f->departed == x->s.w->c->epochs ? 0 : x->blend;
	int rc = 0;
	for (uint64_t k = 0, run, n = lh_fragment_length(&x->map, f->p); !rc && x->anchor && k < n; k += run) {
		uint64_t at = lh_fragment_at(&x->map, f->p, k, &run);
		run = run < STEP ? run : STEP;
		rc = land_run(x, at, run, blend, err);
	}
	if (f->departed == r->epoch && blend == 0)
		x->shared_fragments++;
	r->uses = f->departed > r->uses ? f->departed : r->uses;
	f->departed = 0;
	return rc;
}

/* ---- where members come and go ---- */

/* The engine's state is the group's: right after a commit, or when it was taken from a member. */
static int keep_base(struct outer *x, struct lh_err *err)
{
	const struct lh_worker *w = x->s.w;
	x->base_hash = w->ops->state_hash(w->engine);
	return x->base ? w->ops->state_read(w->engine, 0, w->ops->state_bytes(w->engine), x->base, err) : 0;
}

/* r: of the rounds since the last commit together. */
static int begin_elastic(struct outer *x, struct lh_round *r, struct lh_err *err)
{
	const struct lh_worker *w = x->s.w;
	struct fragment *f = &x->fragments[0];
	int rc = x->anchor ? w->ops->parameters_read(w->engine, 0, x->map.parameters, x->snapshot, err) : 0;
	f->weight = (float)((double)r->samples / (double)r->total_samples);
	x->hash = 0;
	r->waits = true;
	return rc ? rc : lh_exchange_start(f->exchange, ++x->number, err);
}

static int commit_elastic(struct outer *x, struct lh_round *r, struct lh_err *err)
{
	const struct lh_worker *w = x->s.w;
	struct fragment *f = &x->fragments[0];
	int rc = x->anchor ? 0 : w->ops->update(w->engine, r->total_samples, err);
	x->own += r->samples;
	x->all += r->total_samples;
	f->own = x->own;
	f->all = x->all;
	f->departed = r->epoch;
	if (!rc)
		rc = land(x, f, r, err);
	lh_exchange_keep(f->exchange);
	x->s.shared = LH_SHARED_YES;
	return rc ? rc : keep_base(x, err);
}

static void abort_elastic(struct lh_strategy *s, struct lh_round *r)
{
	if (s->w->ops->forget)
		s->w->ops->forget(s->w->engine);
}

static int regroup(struct lh_strategy *s, const struct lh_group *group, unsigned rank, struct lh_transport *t,
		   struct lh_err *err)
{
	struct outer *x = of(s);
	abort_elastic(s, NULL);
	x->number = 0;
	return lh_exchange_regroup(x->fragments[0].exchange, group, rank, t, err);
}

static uint64_t result_hash(const struct lh_strategy *s) { return ((const struct outer *)s)->hash; }

static double held_back(const struct lh_strategy *s)
{
	double l1, l2;
	lh_exchange_held_back(((const struct outer *)s)->fragments[0].exchange, &l1, &l2);
	return l1;
}

/* The engine's state, then the outer momentum: anchor and counters follow from these. */
static uint64_t shared_bytes(const struct lh_strategy *s)
{
	const struct outer *x = (const struct outer *)s;
	const uint64_t more = x->anchor && !is_plain(x) ? x->map.parameters * sizeof *x->velocity : 0;
	return s->w->ops->state_bytes(s->w->engine) + more;
}

/* Of n bytes from `offset` on, how many are the engine's. */
static size_t of_engine(const struct lh_strategy *s, uint64_t offset, size_t n)
{
	const uint64_t all = s->w->ops->state_bytes(s->w->engine), left = offset < all ? all - offset : 0;
	return left < n ? (size_t)left : n;
}

static int shared_read(struct lh_strategy *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err)
{
	const struct outer *x = of(s);
	const size_t own = of_engine(s, offset, n);
	if (n > own)
		memcpy(dst + own, (const uint8_t *)x->velocity + (offset + own - s->w->ops->state_bytes(s->w->engine)), n - own);
	if (x->base && own)
		memcpy(dst, x->base + offset, own);
	return own && !x->base ? s->w->ops->state_read(s->w->engine, offset, own, dst, err) : 0;
}

static int shared_write(struct lh_strategy *s, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err)
{
	struct outer *x = of(s);
	const size_t own = of_engine(s, offset, n);
	if (n > own)
		memcpy((uint8_t *)x->velocity + (offset + own - s->w->ops->state_bytes(s->w->engine)), src + own, n - own);
	return own ? s->w->ops->state_write(s->w->engine, offset, own, src, err) : 0;
}

static uint64_t shared_hash(const struct lh_strategy *s) { return ((const struct outer *)s)->base_hash; }

static int taken(struct lh_strategy *s, struct lh_err *err)
{
	struct outer *x = of(s);
	int rc = x->anchor ? s->w->ops->parameters_read(s->w->engine, 0, x->map.parameters, x->anchor, err) : 0;
	return rc ? rc : keep_base(x, err);
}

/* ---- the end of a round ---- */

static int plan(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct outer *x = of(s);
	if (x->again) {
		int rc = lh_exchange_start(x->flying->exchange, x->number, err);
		x->again = false;
		if (rc)
			return rc;
	}
	r->exchanges = r->epoch == s->w->c->epochs || lh_fragment_due(x->map.n, x->every, r->epoch) < x->map.n;
	return lh_round_deal(s->w->c, r, err);
}

static int local(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct outer *x = of(s);
	if (!x->elastic) { /* else when it is committed */
		x->own += r->samples;
		x->all += r->total_samples;
	}
	return r->samples && x->anchor ? s->w->ops->update(s->w->engine, r->samples, err) : 0;
}

static void add_job(struct outer *x, bool lands, uint32_t p)
{
	x->jobs[x->njobs++] = (struct job){ lands, p };
}

static int begin(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct outer *x = of(s);
	const uint32_t n = x->map.n, e = r->epoch;
	if (x->elastic)
		return begin_elastic(x, r, err);
	const bool last = e == s->w->c->epochs;
	const bool is_due = lh_fragment_due(n, x->every, e) < n;
	const uint32_t leaving = last ? n : is_due;
	x->njobs = x->next = x->shared_fragments = 0;
	for (uint32_t i = 0; i < n; i++) { /* the one that departed first lands first */
		const struct fragment *f = &x->fragments[(x->number + i) % n];
		/* Before a checkpoint all peers must have landed the same. */
		bool saves = s->w->c->checkpoint_rounds && e % s->w->c->checkpoint_rounds == 0;
		bool here = x->when_here && f == x->flying && (saves || lh_exchange_done(f->exchange));
		if (f->departed && (f->due <= e || last || here))
			add_job(x, true, f->p);
	}
	/* They leave in turn, the same turn always: that is what the exchanges' numbers mean. */
	for (uint32_t i = 0; i < leaving; i++)
		add_job(x, false, (x->number + i) % n);
	for (uint32_t i = 0; i < leaving && (last || !x->overlap); i++)
		add_job(x, true, (x->number + i) % n);
	/* A departure alone waits for nobody, unless another is still under way. */
	r->waits = x->njobs > leaving || (x->flying && leaving);
	return 0;
}

static bool ready(const struct lh_strategy *s, const struct lh_round *r)
{
	const struct outer *x = (const struct outer *)s;
	if (x->elastic)
		return lh_exchange_done(x->fragments[0].exchange);
	if (x->next == x->njobs || !x->flying)
		return true;
	const struct job *j = &x->jobs[x->next];
	return (j->lands && x->fragments[j->p].arrived) || lh_exchange_done(x->flying->exchange);
}

static int commit(struct lh_strategy *s, struct lh_round *r, struct lh_err *err)
{
	struct outer *x = of(s);
	int rc = 0;
	if (x->elastic)
		return commit_elastic(x, r, err);
	while (!rc && x->next < x->njobs) {
		const struct job *j = &x->jobs[x->next];
		struct fragment *f = &x->fragments[j->p];
		if (!ready(s, r))
			return 1;
		if (x->flying && !(j->lands && f->arrived))
			rc = arrive(x, err);
		if (!rc)
			rc = j->lands ? land(x, f, r, err) : depart(x, f, r->epoch, err);
		x->next++;
	}
	if (s->shared != LH_SHARED_NEVER)
		s->shared = x->shared_fragments == x->map.n ? LH_SHARED_YES : LH_SHARED_NO;
	return rc;
}

/* ---- checkpoints ---- */

static size_t saved_shared(const struct outer *x) { return SAVED_SHARED + SAVED_FRAGMENT * (size_t)x->map.n; }
static size_t saved_own(const struct outer *x) { return SAVED_OWN + SAVED_FRAGMENT_OWN * (size_t)x->map.n; }

static void save_counters(struct outer *x)
{
	uint64_t *at = x->saved;
	*at++ = x->elastic ? 0 : x->number; /* a group's exchanges count anew */
	*at++ = x->flying ? x->flying->p + 1 : 0;
	for (uint32_t p = 0; p < x->map.n; p++) {
		*at++ = x->fragments[p].departed;
		*at++ = x->fragments[p].due;
		*at++ = x->fragments[p].arrived;
	}
	*at++ = x->own;
	*at++ = x->all;
	for (uint32_t p = 0; p < x->map.n; p++) {
		uint32_t weight;
		memcpy(&weight, &x->fragments[p].weight, sizeof weight);
		*at++ = x->fragments[p].own;
		*at++ = x->fragments[p].all;
		*at++ = weight;
	}
}

/* An exchange under way has left its snapshot and the anchor as they were, so it can begin again from them. */
static int state(struct lh_strategy *s, struct lh_parts *p, struct lh_err *err)
{
	struct outer *x = of(s);
	const uint64_t n = x->anchor ? x->map.parameters : 0, late = x->overlap || x->map.n > 1 ? n : 0;
	save_counters(x);
	int rc = lh_parts_add(p, LH_STATE_SHARED, LH_STATE_U64, "outer.counters", x->saved, saved_shared(x), err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_OWN, LH_STATE_U64, "outer.samples", x->saved + saved_shared(x), saved_own(x), err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_SHARED, LH_STATE_F32, "outer.anchor", x->anchor, n, err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_SHARED, LH_STATE_F32, "outer.velocity", x->velocity, is_plain(x) ? 0 : n, err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_OWN, LH_STATE_F32, "outer.snapshot", x->snapshot, late, err);
	if (!rc)
		rc = lh_parts_add(p, LH_STATE_OWN, LH_STATE_F32, "outer.sum", x->sum, late, err);
	for (uint32_t i = 0; !rc && i < x->map.n; i++) {
		char name[32];
		snprintf(name, sizeof name, "outer.%u", i);
		rc = lh_exchange_state(x->fragments[i].exchange, name, &x->fragments[i] == x->flying, p, err);
	}
	return rc;
}

static bool counters_can_be(const struct outer *x, uint32_t round)
{
	const uint64_t *at = x->saved + SAVED_SHARED;
	const uint64_t flying = x->saved[1];
	if (x->saved[0] > 2 * (uint64_t)round + x->map.n || flying > x->map.n || (flying && !x->saved[0]))
		return false;
	for (uint32_t p = 0; p < x->map.n; p++, at += SAVED_FRAGMENT) {
		/* One that is away is under way, or has arrived and not landed. */
		if (at[0] > round || at[1] > UINT32_MAX || at[2] > 1 || (at[0] && at[1] < round) ||
		    (at[0] && !at[2] && flying != p + 1) || (flying == p + 1 && (!at[0] || at[2])))
			return false;
	}
	return true;
}

static int restored(struct lh_strategy *s, uint32_t round, struct lh_err *err)
{
	struct outer *x = of(s);
	if (!counters_can_be(x, round))
		return lh_err_set(err, LH_EXIT_INPUT, -EBADMSG, "altered: exchanges that cannot be after round %u", round);
	const uint64_t *at = x->saved;
	x->number = (uint32_t)*at++;
	x->flying = *at ? &x->fragments[*at - 1] : NULL;
	at++;
	for (uint32_t p = 0; p < x->map.n; p++, at += SAVED_FRAGMENT) {
		x->fragments[p].departed = (uint32_t)at[0];
		x->fragments[p].due = (uint32_t)at[1];
		x->fragments[p].arrived = at[2];
	}
	x->own = *at++;
	x->all = *at++;
	for (uint32_t p = 0; p < x->map.n; p++, at += SAVED_FRAGMENT_OWN) {
		uint32_t weight = (uint32_t)at[2];
		x->fragments[p].own = at[0];
		x->fragments[p].all = at[1];
		memcpy(&x->fragments[p].weight, &weight, sizeof weight);
	}
	x->again = x->flying;
	for (uint32_t p = 0; p < x->map.n; p++)
		lh_exchange_skip(x->fragments[p].exchange, x->number - (x->flying != NULL));
	return x->elastic ? keep_base(x, err) : 0;
}

/* ---- life ---- */

static void close_outer(struct lh_strategy *s)
{
	struct outer *x = of(s);
	if (!x)
		return;
	for (uint32_t p = 0; x->fragments && p < x->map.n; p++)
		lh_exchange_free(x->fragments[p].exchange);
	lh_mux_free(x->mux);
	free(x->fragments);
	free(x->jobs);
	free(x->saved);
	free(x->anchor);
	free(x->base);
	free(x);
}

static int allocate(struct outer *x, struct lh_err *err)
{
	const struct lh_worker *w = x->s.w;
	const uint64_t n = x->map.parameters;
	x->fragments = calloc(x->map.n, sizeof *x->fragments);
	x->jobs = calloc(3 * (size_t)x->map.n, sizeof *x->jobs);
	x->saved = calloc(saved_shared(x) + saved_own(x), sizeof *x->saved);
	if (!w->ops->pseudo)
		x->anchor = calloc(4 * n + 1, sizeof *x->anchor);
	if (!x->fragments || !x->jobs || !x->saved || (!w->ops->pseudo && !x->anchor))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy %s", x->s.ops->name);
	if (!x->anchor)
		return 0;
	x->velocity = x->anchor + n;
	x->snapshot = x->velocity + n;
	x->sum = x->snapshot + n;
	if (x->elastic && !(x->base = malloc(w->ops->state_bytes(w->engine))))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy %s", x->s.ops->name);
	return w->ops->parameters_read(w->engine, 0, n, x->anchor, err);
}

static int open_exchanges(struct outer *x, struct lh_err *err)
{
	struct lh_worker *w = x->s.w;
	/* Alone it needs no mux, and may be one that takes several all-reduces in a row. */
	int rc = x->map.n > 1 ? lh_mux_new(w->t, w->c->size, x->map.n, &x->mux, err) : 0;
	for (uint32_t p = 0; !rc && p < x->map.n; p++) {
		struct fragment *f = &x->fragments[p];
		const struct lh_exchange_io io = { .read = read_difference, .write = write_sum, .ctx = f };
		*f = (struct fragment){ .x = x, .p = p };
		const struct lh_exchange_port port = { x->mux, p, x->map.n };
		rc = lh_exchange_new_port(w, x->mux ? &port : NULL, LH_VECTOR_DIFFERENCE,
					  lh_fragment_length(&x->map, p), &io, &f->exchange, err);
		if (!rc && w->c->checkpoint_rounds && x->overlap)
			rc = lh_exchange_remember(f->exchange, err);
	}
	return rc;
}

/* *settings becomes the strategy's, or is not touched. */
static int open_outer(struct lh_worker *w, const struct outer *settings, struct lh_strategy **ret, struct lh_err *err)
{
	struct outer *x = malloc(sizeof *x);
	if (!x)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "strategy");
	*x = *settings;
	x->s.w = w;
	x->every = x->every ? x->every : 1;
	x->elastic = w->c->membership == LH_MEMBERSHIP_ELASTIC;
	int rc = allocate(x, err);
	if (!rc)
		rc = open_exchanges(x, err);
	if (!rc && x->elastic)
		rc = keep_base(x, err);
	if (rc) {
		close_outer(&x->s);
		return rc;
	}
	*ret = &x->s;
	return 0;
}

static int open_local_sgd(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	return open_outer(w, &(struct outer){ .s.ops = &lh_strategy_local_sgd, .every = w->c->sync.every, .rate = 1,
			  .map = lh_fragments_of(w->ops->parameters(w->engine), 1) }, ret, err);
}

static int open_diloco(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	const struct lh_sync_options *o = &w->c->sync;
	return open_outer(w, &(struct outer){ .s.ops = &lh_strategy_diloco, .every = o->every,
			  .rate = o->outer_learning_rate, .momentum = o->outer_momentum,
			  .map = lh_fragments_of(w->ops->parameters(w->engine), 1) }, ret, err);
}

static int open_streaming(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	const struct lh_sync_options *o = &w->c->sync;
	return open_outer(w, &(struct outer){ .s.ops = &lh_strategy_streaming_diloco, .every = o->every,
			  .rate = o->outer_learning_rate, .momentum = o->outer_momentum, .blend = (float)o->blend,
			  .overlap = o->overlap,
			  .map = lh_fragments_of(w->ops->parameters(w->engine), o->fragments) }, ret, err);
}

/* The next exchange departs when the one before must have landed: so many rounds apart that both agree. */
static int open_async(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err)
{
	const struct lh_sync_options *o = &w->c->sync;
	return open_outer(w, &(struct outer){ .s = { .ops = &lh_strategy_async, .shared = LH_SHARED_NEVER },
			  .every = o->every > o->staleness ? o->every : o->staleness, .overlap = o->staleness,
			  .rate = 1, .delta_rule = true, .when_here = true,
			  .map = lh_fragments_of(w->ops->parameters(w->engine), 1) }, ret, err);
}

#define OUTER(n, f, ...) { .name = n, .open = f, .plan = plan, .local = local, .begin = begin, .ready = ready, \
		      .commit = commit, .state = state, .restored = restored, .close = close_outer, __VA_ARGS__ }
#define ELASTIC .abort = abort_elastic, .regroup = regroup, .result_hash = result_hash, .held_back = held_back, \
		.shared_bytes = shared_bytes, .shared_read = shared_read, .shared_write = shared_write, \
		.shared_hash = shared_hash, .taken = taken

const struct lh_strategy_ops lh_strategy_local_sgd = OUTER("local-sgd", open_local_sgd, ELASTIC);
const struct lh_strategy_ops lh_strategy_diloco = OUTER("diloco", open_diloco, ELASTIC);
const struct lh_strategy_ops lh_strategy_streaming_diloco = OUTER("streaming-diloco", open_streaming);
const struct lh_strategy_ops lh_strategy_async = OUTER("async", open_async);
