/* group.c - see group.h. */
#include "group.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define BIT(rank) (UINT64_C(1) << (rank))
#define NOBODY SIZE_MAX

#define CUTS (sizeof ((struct lh_group_log *)NULL)->cut_ns / sizeof(lh_ns))

/* A run that changes its group more often is not worth more memory. */
enum { VIEWS_MAX = 100000, LIVES_MAX = 100000 };

const char *lh_interruption_why_name(enum lh_interruption_why why)
{
	static const char *const names[] = { "killed", "died", "gave-up", "left", "cut-off" };

	return names[why];
}

void lh_group_log_done(struct lh_group_log *g)
{
	free(g->lives);
	free(g->views);
	*g = (struct lh_group_log){ 0 };
}

static int room(void **list, size_t n, size_t *have, size_t max, size_t size, struct lh_err *err)
{
	if (n < *have)
		return 0;
	if (n >= max)
		return lh_err_set(err, LH_EXIT_BROKE, -E2BIG, "the group changed more than %zu times", max);
	size_t more = *have ? 2 * *have : 64;
	void *p = realloc(*list, more * size);
	if (!p)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "the group's changes");
	*list = p;
	*have = more;
	return 0;
}

static struct lh_life *last_life(const struct lh_group_log *g, unsigned peer)
{
	for (size_t i = g->nlives; i > 0; i--)
		if (g->lives[i - 1].peer == peer)
			return &g->lives[i - 1];
	return NULL;
}

uint32_t lh_group_log_lives(const struct lh_group_log *g, unsigned peer)
{
	uint32_t n = 0;

	for (size_t i = 0; i < g->nlives; i++)
		n += g->lives[i].peer == peer;
	return n;
}

int lh_group_log_start(struct lh_group_log *g, unsigned peer, lh_ns t_ns, bool founder, uint32_t incarnation,
		       struct lh_err *err)
{
	int rc = room((void **)&g->lives, g->nlives, &g->lives_room, LIVES_MAX, sizeof *g->lives, err);

	if (rc == 0)
		g->lives[g->nlives++] = (struct lh_life){
			.peer = peer, .start_ns = t_ns, .founder = founder, .incarnation = incarnation,
			.held_back_l1 = NAN,
		};
	return rc;
}

void lh_group_log_change(struct lh_group_log *g, enum lh_change_kind kind, unsigned peer, lh_ns t_ns)
{
	struct lh_life *life = last_life(g, peer);

	if (kind == LH_CHANGE_CUT || kind == LH_CHANGE_PARTITION)
		g->cut_ns[g->ncuts++ % CUTS] = t_ns;
	else if (life && !life->ended && kind == LH_CHANGE_KILL)
		life->kill_ns = t_ns;
	else if (life && !life->ended && kind == LH_CHANGE_NOTICE)
		life->notice_ns = t_ns;
}

void lh_group_log_exit(struct lh_group_log *g, unsigned peer, lh_ns t_ns)
{
	struct lh_life *life = last_life(g, peer);

	if (!life)
		return;
	life->ended = true;
	life->end_ns = t_ns;
}

/* ---- views ---- */

static struct lh_view_record *find_view(struct lh_group_log *g, uint32_t number)
{
	for (size_t i = g->nviews; i > 0 && g->views[i - 1].number >= number; i--)
		if (g->views[i - 1].number == number)
			return &g->views[i - 1];
	return NULL;
}

/* A slot for a view that nobody told of before, at its place in the order. */
static int new_view(struct lh_group_log *g, uint32_t number, struct lh_view_record **ret, struct lh_err *err)
{
	int rc = room((void **)&g->views, g->nviews, &g->views_room, VIEWS_MAX, sizeof *g->views, err);
	size_t at = g->nviews;

	if (rc < 0)
		return rc;
	for (; at > 0 && g->views[at - 1].number > number; at--)
		g->views[at] = g->views[at - 1];
	g->nviews++;
	g->views[at] = (struct lh_view_record){ .number = number };
	*ret = &g->views[at];
	return 0;
}

static void earliest(lh_ns *t, lh_ns candidate)
{
	if (!*t || candidate < *t)
		*t = candidate;
}

static void latest(lh_ns *t, lh_ns candidate)
{
	if (candidate > *t)
		*t = candidate;
}

/* From the view before, as the teller saw it. */
static void take_change(struct lh_view_record *v, const struct lh_event *e)
{
	v->gone = e->gone;
	v->came = e->came;
	v->cause = e->cause;
	v->aborted_round = e->aborted_round;
	v->samples_redealt = e->samples_redealt;
}

static int add_view(struct lh_group_log *g, const struct lh_event *e, struct lh_err *err)
{
	struct lh_view_record *v = find_view(g, e->view);
	uint64_t all = g->npeers >= 64 ? UINT64_MAX : BIT(g->npeers) - 1;
	int rc = 0;

	if (e->rank >= LH_MEMBERS_MAX || !(e->members & BIT(e->rank)) || e->members & ~all || e->gone & ~all)
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "tells of view %u with members that cannot be", e->view);
	/* To who comes, all come. */
	bool was_there = !(e->came & BIT(e->rank));
	if (!v) {
		rc = new_view(g, e->view, &v, err);
		if (rc < 0)
			return rc;
		v->members = e->members;
		v->version = e->version;
		take_change(v, e);
	} else if (v->members != e->members || v->version != e->version) {
		return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "tells of another view %u than the others: there are "
				  "two groups", e->view);
	}
	if (was_there && !(v->told & ~v->came)) {
		take_change(v, e);
		v->first_ns = v->last_ns = v->noticed_first_ns = v->noticed_last_ns = 0;
	}
	v->told |= BIT(e->rank);
	v->began_ns[e->rank] = e->t_ns;
	if (was_there || !(v->members & ~v->came)) {
		earliest(&v->first_ns, e->t_ns);
		latest(&v->last_ns, e->t_ns);
		earliest(&v->noticed_first_ns, e->noticed_ns);
		latest(&v->noticed_last_ns, e->noticed_ns);
	}
	return 0;
}

int lh_group_log_event(struct lh_group_log *g, const struct lh_event *e, struct lh_err *err)
{
	struct lh_life *life = last_life(g, e->rank);

	if (e->kind == LH_EVENT_VIEW)
		return add_view(g, e, err);
	if (!life)
		return 0;
	switch (e->kind) {
	case LH_EVENT_SYNCED:
		life->synced = true;
		life->sync_begin_ns = e->begin_ns;
		life->sync_end_ns = e->t_ns;
		life->sync_bytes = e->bytes_received;
		life->donor = e->donor;
		break;
	case LH_EVENT_CHECKPOINT:
		g->checkpoints++;
		g->checkpoint_ns += e->t_ns - e->begin_ns;
		g->checkpoint_bytes += e->bytes;
		break;
	case LH_EVENT_EPOCH:
		life->held_back_l1 = e->held_back_l1;
		break;
	case LH_EVENT_LEFT:
		life->left = true;
		life->left_ns = e->t_ns;
		break;
	case LH_EVENT_FAILED:
		life->failed = true;
		break;
	case LH_EVENT_FINISHED:
		life->finished = true;
		break;
	default:
		break;
	}
	return 0;
}

const struct lh_view_record *lh_group_log_view(const struct lh_group_log *g)
{
	return g->nviews ? &g->views[g->nviews - 1] : NULL;
}

/* ---- interruptions ---- */

/* What a peer's life looks like while the views are gone through. */
struct place {
	size_t member;            /* its life that is in the group; NOBODY: none */
	size_t last;              /* the interruption that waits for its return; NOBODY: none */
};

/* The peer's latest life that had begun by then; NOBODY: none. */
static size_t life_at(const struct lh_group_log *g, unsigned peer, lh_ns t_ns)
{
	size_t found = NOBODY;

	for (size_t i = 0; i < g->nlives; i++)
		if (g->lives[i].peer == peer && g->lives[i].start_ns <= t_ns)
			found = i;
	return found;
}

static size_t next_life(const struct lh_group_log *g, size_t life)
{
	for (size_t i = life + 1; i < g->nlives; i++)
		if (g->lives[i].peer == g->lives[life].peer)
			return i;
	return NOBODY;
}

/* The last cut before the others noticed; 0: there was none. */
static lh_ns cut_before(const struct lh_group_log *g, lh_ns noticed_ns)
{
	lh_ns found = 0;

	for (size_t i = 0; i < g->ncuts && i < CUTS; i++)
		if (g->cut_ns[i] <= noticed_ns)
			latest(&found, g->cut_ns[i]);
	return found;
}

/* `v` may be NULL: nobody noticed. */
static struct lh_interruption describe(const struct lh_group_log *g, size_t index, const struct lh_view_record *v)
{
	const struct lh_life *life = &g->lives[index];
	struct lh_interruption i = {
		.peer = life->peer, .why = LH_GONE_CUT_OFF, .notice_ns = life->notice_ns,
		.held_back_l1 = life->held_back_l1,
	};

	if (v) {
		i.view = v->number;
		i.epoch = v->aborted_round ? v->aborted_round : v->version;
		i.detected_ns = v->noticed_last_ns;
		i.regrouped_ns = v->last_ns;
	}
	/* Who ended after the group had gone on without it was cut off before it ended. */
	bool before = life->ended && (!v || life->end_ns <= v->last_ns);
	if (life->left) {
		i.why = LH_GONE_LEFT;
		i.gone_ns = life->left_ns;
		i.detected_ns = i.regrouped_ns = 0; /* it said so itself, and left when the others were ready */
	} else if (life->kill_ns && (!v || life->kill_ns <= v->last_ns)) {
		i.why = LH_GONE_KILLED;
		i.gone_ns = life->kill_ns;
	} else if (before) {
		i.why = life->failed ? LH_GONE_GAVE_UP : LH_GONE_DIED;
		i.gone_ns = life->end_ns;
	} else if (v) {
		i.gone_ns = cut_before(g, v->noticed_first_ns);
	}
	size_t again = next_life(g, index);
	if (again != NOBODY)
		i.restart_ns = g->lives[again].start_ns;
	return i;
}

/* The peer is a member again. */
static void returned(const struct lh_group_log *g, struct lh_interruption *i, size_t index,
		     const struct lh_view_record *v)
{
	const struct lh_life *life = &g->lives[index];

	i->back_ns = v->told & BIT(i->peer) ? v->began_ns[i->peer] : v->last_ns;
	if (!life->synced)
		return;
	i->synced_ns = life->sync_end_ns;
	i->sync_ns = life->sync_end_ns - life->sync_begin_ns;
	i->sync_bytes = life->sync_bytes;
}

int lh_group_log_interruptions(const struct lh_group_log *g, struct lh_interruption **ret, size_t *ret_n,
			       struct lh_err *err)
{
	struct lh_interruption *list;
	struct place at[LH_MEMBERS_MAX];
	size_t n = 0, most = g->nlives;
	unsigned npeers = g->npeers < LH_MEMBERS_MAX ? g->npeers : LH_MEMBERS_MAX;
	bool *told = calloc(g->nlives + 1, sizeof *told);

	for (size_t k = 0; k < g->nviews; k++)
		most += (size_t)__builtin_popcountll(g->views[k].gone);
	list = calloc(most + 1, sizeof *list);
	if (!list || !told) {
		free(list);
		free(told);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "the interruptions");
	}
	for (unsigned p = 0; p < npeers; p++) {
		size_t first = life_at(g, p, INT64_MAX);
		at[p] = (struct place){ NOBODY, NOBODY };
		for (size_t i = 0; i < g->nlives && first != NOBODY; i++)
			if (g->lives[i].peer == p && g->lives[i].founder)
				at[p].member = i;
	}
	for (size_t k = 0; k < g->nviews; k++) {
		const struct lh_view_record *v = &g->views[k];
		for (unsigned p = 0; p < npeers; p++) {
			if (v->gone & BIT(p) && at[p].member != NOBODY) {
				told[at[p].member] = true;
				list[n] = describe(g, at[p].member, v);
				at[p] = (struct place){ NOBODY, n++ };
			}
			if (!(v->came & BIT(p)))
				continue;
			at[p].member = life_at(g, p, v->told & BIT(p) ? v->began_ns[p] : v->last_ns);
			if (at[p].last != NOBODY && at[p].member != NOBODY)
				returned(g, &list[at[p].last], at[p].member, v);
			at[p].last = NOBODY;
		}
	}
	/* Lives that ended without a group that noticed: before they were members, or when nobody was left. */
	for (size_t i = 0; i < g->nlives; i++)
		if (g->lives[i].ended && !g->lives[i].finished && !told[i])
			list[n++] = describe(g, i, NULL);
	free(told);
	if (n == 0) {
		free(list);
		list = NULL;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
