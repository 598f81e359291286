/* collect.c - see collect.h. */
#include "collect.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A run whose peers tell more of their samples is not worth more memory: 280 MB. */
enum { MORE_MAX = 1 << 20 };

#define EPOCH_ABSENT (-1) /* cells[].kind until the peer's event is there */

int lh_series_init(struct lh_series *s, unsigned npeers, uint32_t nepochs, struct lh_err *err)
{
	size_t ncells = (size_t)npeers * nepochs;

	*s = (struct lh_series){ .npeers = npeers, .nepochs = nepochs };
	s->peers = calloc(npeers ? npeers : 1, sizeof *s->peers);
	s->cells = calloc(ncells ? ncells : 1, sizeof *s->cells);
	s->sums = calloc(ncells ? ncells : 1, sizeof *s->sums);
	if (!s->peers || !s->cells || !s->sums) {
		lh_series_done(s);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "the results of %u peers over %u epochs", npeers,
				  nepochs);
	}
	for (size_t i = 0; i < ncells; i++)
		s->cells[i].kind = (enum lh_event_kind)EPOCH_ABSENT;
	return 0;
}

void lh_series_done(struct lh_series *s)
{
	free(s->peers);
	free(s->cells);
	free(s->sums);
	free(s->more);
	*s = (struct lh_series){ 0 };
}

const struct lh_event *lh_series_at(const struct lh_series *s, uint32_t epoch, unsigned peer)
{
	if (epoch < 1 || epoch > s->nepochs || peer >= s->npeers || epoch > s->peers[peer].epochs)
		return NULL;
	const struct lh_event *e = &s->cells[(size_t)(epoch - 1) * s->npeers + peer];
	return e->kind == LH_EVENT_EPOCH ? e : NULL;
}

void lh_series_resumed(struct lh_series *s, uint32_t first, bool begins_apart)
{
	s->first = s->reached = first;
	s->begins_apart = begins_apart;
	for (unsigned i = 0; i < s->npeers; i++)
		s->peers[i].epochs = first;
}

void lh_series_elastic(struct lh_series *s, const bool *absent)
{
	s->elastic = true;
	for (unsigned i = 0; i < s->npeers; i++)
		s->peers[i].away = absent && absent[i];
}

/* Elastic: is the epoch after `reached` told by all members that are there? */
static void advance(struct lh_series *s)
{
	for (bool all = true, any = true; s->reached < s->nepochs; s->reached++) {
		any = false;
		for (unsigned i = 0; i < s->npeers; i++) {
			bool member = !s->view || (s->members >> i & 1);
			bool told = s->peers[i].epochs > s->reached;
			any |= lh_series_at(s, s->reached + 1, i) != NULL;
			all &= told || !member || s->peers[i].away || s->peers[i].finished;
		}
		if (!all || !any)
			return;
	}
}

void lh_series_gone(struct lh_series *s, unsigned peer)
{
	s->peers[peer].away = true;
	s->peers[peer].lost |= !s->peers[peer].finished;
	if (s->elastic)
		advance(s);
}

void lh_series_started(struct lh_series *s, unsigned peer)
{
	struct lh_peer_series *p = &s->peers[peer];

	*p = (struct lh_peer_series){
		.epochs = p->epochs, .late = true, .lost = p->lost, .initial = p->initial,
		.initial_hash = p->initial_hash,
	};
}

static int add_epoch(struct lh_series *s, const struct lh_event *e, struct lh_err *err)
{
	struct lh_peer_series *p = &s->peers[e->rank];
	const struct lh_event *before = lh_series_at(s, p->epochs, e->rank);
	bool in_turn = s->elastic ? e->epoch > p->epochs : e->epoch == p->epochs + 1;

	if (!in_turn || e->epoch > s->nepochs)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "epoch %u reported after epoch %u of %u",
				  e->epoch, p->epochs, s->nepochs);
	if (!s->go_ns || e->begin_ns < s->go_ns || (before && e->begin_ns < before->commit_ns))
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "epoch %u begins before the one before it ended",
				  e->epoch);
	if (e->calc_end_ns < e->begin_ns || e->exchange_end_ns < e->calc_end_ns || e->commit_ns < e->exchange_end_ns)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "times of epoch %u run backwards", e->epoch);
	if (e->late_ns < 0 || e->busy_ns < 0)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "negative time in epoch %u", e->epoch);
	s->cells[(size_t)(e->epoch - 1) * s->npeers + e->rank] = *e;
	p->epochs = e->epoch;
	if (s->elastic)
		advance(s);
	return 0;
}

static int add_samples(struct lh_series *s, const struct lh_event *e, struct lh_err *err)
{
	if (!s->elastic || e->epoch <= s->peers[e->rank].epochs || e->epoch > s->nepochs || s->nmore >= MORE_MAX)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "samples of epoch %u, which cannot be", e->epoch);
	if (s->nmore == s->more_room) {
		size_t room = s->more_room ? 2 * s->more_room : 64;
		struct lh_told_ranges *more = realloc(s->more, room * sizeof *more);
		if (!more)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "the samples of epoch %u", e->epoch);
		s->more = more;
		s->more_room = room;
	}
	struct lh_told_ranges *new = &s->more[s->nmore++];
	*new = (struct lh_told_ranges){ .rank = e->rank, .epoch = e->epoch };
	memcpy(new->text, e->ranges, sizeof new->text);
	return 0;
}

int lh_series_add(struct lh_series *s, const struct lh_event *e, struct lh_err *err)
{
	if (e->rank >= s->npeers)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "event of rank %u among %u peers", e->rank, s->npeers);

	struct lh_peer_series *p = &s->peers[e->rank];
	switch (e->kind) {
	case LH_EVENT_LISTENING:
		p->listening = true;
		return 0;
	case LH_EVENT_JOINED:
		p->joined = true;
		p->joined_ns = e->t_ns;
		p->parameters = e->parameters;
		if (p->late)
			return 0;
		p->initial = !s->begins_apart;
		p->initial_hash = e->state_hash;
		return 0;
	case LH_EVENT_EPOCH:
		return add_epoch(s, e, err);
	case LH_EVENT_EVAL:
		s->has_eval = true;
		s->eval = *e;
		return 0;
	case LH_EVENT_BENCH:
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "says that it is a bench");
	case LH_EVENT_FINISHED:
		p->finished = true;
		p->finished_ns = e->t_ns;
		return 0;
	case LH_EVENT_FAILED:
		p->failed = true;
		p->failed_ns = e->t_ns;
		p->culprit = e->culprit;
		memcpy(p->reason, e->reason, sizeof p->reason);
		return 0;
	case LH_EVENT_VIEW: /* group.h has the rest of what these say */
		if (s->elastic && e->view > s->view) {
			s->view = e->view;
			s->members = e->members;
			advance(s);
		}
		return 0;
	case LH_EVENT_SYNCED:
		/* The state after that round came with all rounds before it. */
		if (s->elastic && e->version > p->epochs && e->version <= s->nepochs)
			p->epochs = e->version;
		return 0;
	case LH_EVENT_SAMPLES:
		return add_samples(s, e, err);
	case LH_EVENT_CHECKPOINT:
	case LH_EVENT_LEFT:
		return 0;
	}
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "unknown kind of event %d", (int)e->kind);
}

int lh_series_add_spans(struct lh_series *s, const struct lh_spans *spans, struct lh_err *err)
{
	const struct lh_event *e = spans->rank < s->npeers ? lh_series_at(s, spans->epoch, spans->rank) : NULL;

	if (!e || spans->begin_ns != e->begin_ns || spans->end_ns != e->commit_ns)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "spans of epoch %u of rank %u, which it has not reported so",
				  spans->epoch, spans->rank);
	struct lh_span_sums *sums = &s->sums[(size_t)(spans->epoch - 1) * s->npeers + spans->rank];
	sums->known = true;
	memcpy(sums->total_ns, spans->total_ns, sizeof sums->total_ns);
	memcpy(sums->comm_ns, spans->comm_ns, sizeof sums->comm_ns);
	sums->has_tcp = spans->has_tcp;
	sums->tcp_busy_ns = spans->tcp_busy_ns;
	sums->tcp_window_ns = spans->tcp_window_ns;
	sums->tcp_buffer_ns = spans->tcp_buffer_ns;
	sums->tcp_retransmits = spans->tcp_retransmits;
	sums->tcp_bytes_sent = spans->tcp_bytes_sent;
	sums->told_ns = spans->t_ns;
	return 0;
}

const struct lh_span_sums *lh_series_sums(const struct lh_series *s, uint32_t epoch, unsigned peer)
{
	if (!lh_series_at(s, epoch, peer))
		return NULL;
	const struct lh_span_sums *sums = &s->sums[(size_t)(epoch - 1) * s->npeers + peer];
	return sums->known ? sums : NULL;
}

uint32_t lh_series_committed(const struct lh_series *s)
{
	uint32_t least = s->npeers ? s->nepochs : 0;

	if (s->elastic)
		return s->reached;
	for (unsigned i = 0; i < s->npeers; i++)
		if (s->peers[i].epochs < least)
			least = s->peers[i].epochs;
	return least;
}

bool lh_series_lost_one(const struct lh_series *s, uint32_t epoch)
{
	for (unsigned i = 0; s->elastic && i < s->npeers; i++) {
		bool before = epoch > s->first + 1 ? lh_series_at(s, epoch - 1, i) != NULL : s->peers[i].initial;
		if (!lh_series_at(s, epoch, i) && (before || s->peers[i].lost))
			return true;
	}
	return false;
}

unsigned lh_series_present(const struct lh_series *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->npeers; i++)
		n += !s->peers[i].away;
	return n;
}

unsigned lh_series_joined(const struct lh_series *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->npeers; i++)
		n += s->peers[i].joined && !s->peers[i].away;
	return n;
}

unsigned lh_series_finished(const struct lh_series *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->npeers; i++)
		n += s->peers[i].finished;
	return n;
}

/* The peer's hash after the epoch (0: the initial one); false when it was not there. */
static bool hash_of(const struct lh_series *s, uint32_t epoch, unsigned peer, uint64_t *ret)
{
	const struct lh_event *e = epoch ? lh_series_at(s, epoch, peer) : NULL;

	if (epoch ? !e || e->shared != LH_SHARED_YES : !s->peers[peer].initial)
		return false;
	*ret = epoch ? e->state_hash : s->peers[peer].initial_hash;
	return true;
}

/* A peer whose hash the fewest others share: with one flipped replica, that replica. */
static unsigned loneliest(const struct lh_series *s, uint32_t epoch)
{
	unsigned best = 0, best_same = ~0u;
	uint64_t own, other;

	for (unsigned i = 0; i < s->npeers; i++) {
		unsigned same = 0;
		if (!hash_of(s, epoch, i, &own))
			continue;
		for (unsigned j = 0; j < s->npeers; j++)
			same += hash_of(s, epoch, j, &other) && other == own;
		if (same < best_same) {
			best_same = same;
			best = i;
		}
	}
	return best;
}

bool lh_series_identical(const struct lh_series *s, uint32_t epochs, uint32_t *ret_epoch, unsigned *ret_peer)
{
	for (uint32_t e = 0; e <= epochs; e++) {
		uint64_t first = 0, hash;
		bool any = false;
		for (unsigned i = 0; i < s->npeers; i++) {
			if (!hash_of(s, e, i, &hash))
				continue;
			if (!any) {
				first = hash;
				any = true;
			}
			if (hash == first)
				continue;
			*ret_epoch = e;
			*ret_peer = loneliest(s, e);
			return false;
		}
	}
	return true;
}
