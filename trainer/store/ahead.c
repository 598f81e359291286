#include "store/ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum state { FREE, COMING, HERE, HELD, UNWANTED /* coming */ };

struct lh_ahead {
	size_t window;
	struct place { enum state state; uint64_t id; } *places; /* [window] */
	size_t *line;             /* [window] places of what is coming or here, in the order of need */
	size_t nline;
	size_t *held;             /* [window] */
	size_t nheld;
	struct lh_id_range *plan; /* what is not in the line yet */
	size_t nplan, at;         /* range, ... */
	uint64_t done;            /* ... and ids of it that are in the line */
};

int lh_ahead_new(size_t window, struct lh_ahead **ret, struct lh_err *err)
{
	struct lh_ahead *a = calloc(1, sizeof *a);
	if (a) {
		a->window = window;
		a->places = calloc(window, sizeof *a->places);
		a->line = calloc(window, sizeof *a->line);
		a->held = calloc(window, sizeof *a->held);
	}
	if (!a || !a->places || !a->line || !a->held) {
		lh_ahead_free(a);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "samples read ahead");
	}
	*ret = a;
	return 0;
}

void lh_ahead_free(struct lh_ahead *a)
{
	if (!a)
		return;
	free(a->places);
	free(a->line);
	free(a->held);
	free(a->plan);
	free(a);
}

/* The id that the plan has next. */
static bool peek(struct lh_ahead *a, uint64_t *ret)
{
	while (a->at < a->nplan && a->done >= a->plan[a->at].count) {
		a->at++;
		a->done = 0;
	}
	if (a->at == a->nplan)
		return false;
	*ret = a->plan[a->at].first + a->done;
	return true;
}

static void let_go(struct lh_ahead *a, size_t place)
{
	struct place *p = &a->places[place];
	p->state = p->state == COMING ? UNWANTED : FREE;
}

/* The line's first n go. */
static void drop_front(struct lh_ahead *a, size_t n)
{
	for (size_t i = 0; i < n; i++)
		let_go(a, a->line[i]);
	memmove(a->line, a->line + n, (a->nline - n) * sizeof *a->line);
	a->nline -= n;
}

/* The line becomes a beginning of the plan: what stands before its first id goes, and what does not follow. */
static void match(struct lh_ahead *a)
{
	uint64_t id;
	size_t from = 0, fits = 0;
	if (!peek(a, &id))
		from = a->nline;
	while (from < a->nline && a->places[a->line[from]].id != id)
		from++;
	drop_front(a, from);
	while (fits < a->nline && peek(a, &id) && a->places[a->line[fits]].id == id) {
		fits++;
		a->done++;
	}
	while (a->nline > fits)
		let_go(a, a->line[--a->nline]);
}

int lh_ahead_expect(struct lh_ahead *a, const struct lh_id_range *ranges, size_t n, struct lh_err *err)
{
	struct lh_id_range *plan = realloc(a->plan, (n ? n : 1) * sizeof *plan);
	if (!plan)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "samples read ahead");
	a->plan = plan;
	if (n)
		memcpy(plan, ranges, n * sizeof *plan);
	a->nplan = n;
	a->at = 0;
	a->done = 0;
	match(a);
	return 0;
}

bool lh_ahead_next(struct lh_ahead *a, uint64_t *ret_id, size_t *ret_place)
{
	uint64_t id;
	size_t place = 0;
	if (!peek(a, &id))
		return false;
	while (place < a->window && a->places[place].state != FREE)
		place++;
	if (place == a->window)
		return false;
	a->places[place] = (struct place){ COMING, id };
	a->line[a->nline++] = place;
	a->done++;
	*ret_id = id;
	*ret_place = place;
	return true;
}

bool lh_ahead_here(struct lh_ahead *a, size_t place)
{
	const bool wanted = a->places[place].state == COMING;
	a->places[place].state = wanted ? HERE : FREE;
	return wanted;
}

bool lh_ahead_need(struct lh_ahead *a, uint64_t first, size_t n)
{
	for (; a->nheld; a->nheld--)
		let_go(a, a->held[a->nheld - 1]);
	bool here = a->nline >= n, fits = true;
	for (size_t i = 0; fits && i < n && i < a->nline; i++)
		fits = a->places[a->line[i]].id == first + i;
	uint64_t id;
	if (fits && a->nline < n) /* then the plan must go on with it */
		fits = peek(a, &id) && id == first + a->nline && a->plan[a->at].count - a->done >= n - a->nline;
	if (!fits) {
		struct lh_id_range *one = a->plan ? a->plan : (a->plan = malloc(sizeof *one));
		if (!one)
			return false;
		*one = (struct lh_id_range){ first, n };
		a->nplan = 1;
		a->at = 0;
		a->done = 0;
		match(a);
		here = a->nline >= n;
	}
	for (size_t i = 0; here && i < n; i++)
		here = a->places[a->line[i]].state == HERE;
	if (!here)
		return false;
	for (size_t i = 0; i < n; i++) {
		a->places[a->line[i]].state = HELD;
		a->held[a->nheld++] = a->line[i];
	}
	memmove(a->line, a->line + n, (a->nline - n) * sizeof *a->line);
	a->nline -= n;
	return true;
}

size_t lh_ahead_held(const struct lh_ahead *a, const size_t **ret_places)
{
	*ret_places = a->held;
	return a->nheld;
}
