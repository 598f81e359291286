/* schedule.c - events, traces and spot models -> one list of changes in time order, each with its link's complete
 * state.
 *
 * A trace's row is an event with `set:` of its non-empty cells. Events are collected, sorted by time (the file's
 * order among equals), and then played through once, since what a `set:` leaves alone is what came before it.
 */
#include "lang.h"

#include <stdlib.h>
#include <string.h>

struct event {
	struct event *next;
	lh_ns at_ns;
	size_t order;
	enum lh_change_kind kind;
	struct lang_ends ends;
	const struct lang_node *set;
	uint64_t mask;
	unsigned peer;
	bool drawn;
	struct lang_span at; /* of what happens to a peer */
};

struct lang_events {
	struct event *first, **tail;
	size_t count, changes;
};

static struct event *add_event(struct lang *l, struct lang_events *list, const struct event *model,
			       const struct lang_span *at)
{
	list->changes += 1 + model->ends.both;
	if (list->changes > LANG_CHANGES_MAX) {
		lang_error(l, at, "more than %d changes, counting each direction of a link", LANG_CHANGES_MAX);
		return NULL;
	}
	struct event *e = lang_alloc(l, sizeof *e);
	*e = *model;
	e->next = NULL;
	e->order = list->count++;
	*list->tail = e;
	list->tail = &e->next;
	return e;
}

/* --- traces --- */

struct trace { struct lang_csv csv; const struct lang_key *keys[8]; };

static bool trace_header(struct lang *l, struct trace *t)
{
	static const char *const known[] = { "time", "rtt", "delay", "rate", "loss", "jitter" };
	bool good = true;
	if (strcmp(t->csv.cells[0]->text, "time") || t->csv.columns < 2) {
		lang_error(l, &t->csv.cells[0]->at,
			   "the header begins with \"time\", then some of rtt, delay, jitter, rate, loss");
		return false;
	}
	for (size_t c = 1; c < t->csv.columns; c++) {
		struct lang_node *cell = t->csv.cells[c];
		size_t i = 1;
		while (i < 6 && strcmp(known[i], cell->text))
			i++;
		bool twice = false;
		for (size_t before = 1; before < c; before++)
			twice |= !strcmp(t->csv.cells[before]->text, cell->text);
		if (twice)
			lang_error(l, &cell->at, "column \"%s\" is there twice", cell->text);
		else if (i == 6)
			lang_error(l, &cell->at, "\"%s\" is no column of a trace%s", cell->text,
				   lang_nearest(l, cell->text, known, 6));
		else
			t->keys[c] = lang_key_find(S_SET, cell->text);
		good &= t->keys[c] != NULL;
	}
	return good;
}

static void trace_row(struct lang *l, struct lang_events *list, struct trace *t, size_t r, struct event *model, lh_ns *last)
{
	struct lang_node **row = &t->csv.cells[r * t->csv.columns];
	lang_type(l, row[0], &lang_key_find(S_EVENT, "at")->value, "time", &row[0]->at);
	struct lang_node *set = lang_node_new(l, LANG_MAP, &row[0]->at);
	set->bad = row[0]->bad;
	for (size_t c = 1; c < t->csv.columns; c++) {
		if (!*row[c]->text)
			continue;
		lang_type(l, row[c], &t->keys[c]->value, t->keys[c]->key, &row[c]->at);
		lang_append(l, set, t->keys[c]->key, &row[c]->at, row[c]);
		set->bad |= row[c]->bad;
	}
	if (set->bad)
		return;
	if (row[0]->v.ns < *last)
		lang_error(l, &row[0]->at, "time goes back");
	*last = row[0]->v.ns;
	struct event one = *model;
	one.at_ns += row[0]->v.ns;
	one.set = set;
	add_event(l, list, &one, &row[0]->at);
}

static void add_trace(struct lang *l, struct lang_events *list, const struct lang_node *path, struct event *model)
{
	struct trace t = { .keys = { NULL } };
	lh_ns last = 0;
	if (!lang_csv_read(l, path, 6, &t.csv) || !trace_header(l, &t))
		return;
	for (size_t r = 1; r < t.csv.rows; r++)
		trace_row(l, list, &t, r, model, &last);
}

/* --- events --- */

static void add_partition(struct lang *l, struct lang_events *list, const struct lang_node *groups, struct event *model)
{
	const struct lh_topology *t = &l->exp.topology;
	uint64_t seen = 0, masks[LH_SITES_MAX];
	size_t n = 0;
	for (struct lang_entry *g = groups->first; g; g = g->next, n++) {
		masks[n] = 0;
		for (struct lang_entry *e = g->value->first; e; e = e->next) {
			int site = lang_site_find(l, e->value);
			if (site < 0)
				return;
			if (seen & UINT64_C(1) << site)
				lang_error(l, &e->value->at, "partition: site %s is in two groups", e->value->text);
			seen |= UINT64_C(1) << site;
			masks[n] |= UINT64_C(1) << site;
		}
	}
	for (unsigned s = 0; s < t->nsites; s++)
		if (!(seen & UINT64_C(1) << s)) {
			lang_error(l, &groups->at, "partition: site %s is in no group", t->sites[s].name);
			return;
		}
	/* k groups are k - 1 cuts of one group from all others; what is cut twice is cut */
	model->kind = LH_CHANGE_PARTITION;
	for (size_t i = 0; i + 1 < n; i++) {
		model->mask = masks[i];
		add_event(l, list, model, &groups->at);
	}
}

bool lang_event_peer(struct lang *l, struct lang_events *list, enum lh_change_kind kind, unsigned peer, lh_ns at_ns,
		     bool drawn, const struct lang_span *at)
{
	struct event model = { .at_ns = at_ns, .kind = kind, .peer = peer, .drawn = drawn, .at = *at };
	return add_event(l, list, &model, at) != NULL;
}

/* kill, notice, add */
static void add_peer_event(struct lang *l, struct lang_events *list, const struct lang_entry *what, lh_ns at_ns)
{
	const struct lang_node *name = what->value;
	enum lh_change_kind kind = *what->key == 'k' ? LH_CHANGE_KILL
				 : *what->key == 'n' ? LH_CHANGE_NOTICE
						     : LH_CHANGE_ADD;
	int peer = lang_peer_find(l, name);
	if (peer < 0)
		return;
	if (l->exp.training.given && kind != LH_CHANGE_KILL && l->exp.training.membership != LH_MEMBERSHIP_ELASTIC)
		lang_error(l, &what->key_at, "%s: needs training.membership: elastic", what->key);
	else if (l->exp.spot[peer].mean_ns)
		lang_error(l, &name->at, "peer %s has spot.mean, which says when it comes and goes", name->text);
	else
		lang_event_peer(l, list, kind, (unsigned)peer, at_ns, false, &name->at);
}

static void add_cut(struct lang *l, struct lang_events *list, const struct lang_entry *e, struct event *model)
{
	const struct lang_node *n = e->value;
	model->kind = !strcmp(e->key, "cut") ? LH_CHANGE_CUT : LH_CHANGE_HEAL;
	if (n->kind == LANG_SCALAR) { /* heal: all */
		unsigned sites = l->exp.topology.nsites;
		for (unsigned i = 0; i < sites * sites; i++) {
			model->ends = (struct lang_ends){ (int)(i / sites), (int)(i % sites), false };
			if (model->ends.from != model->ends.to)
				add_event(l, list, model, &n->at);
		}
	} else if (n->kind == LANG_LIST ? lang_ends_list(l, n, &model->ends) : lang_ends(l, n, &n->at, &model->ends)) {
		add_event(l, list, model, &n->at);
	}
}

static void read_event(struct lang *l, struct lang_events *list, const struct lang_node *map)
{
	static const char *const kinds[] = {
		"set", "trace", "cut", "heal", "partition", "kill", "notice", "add",
	};
	struct lang_entry *what = NULL, *e, *at = lang_find(map, "at");
	struct lang_span begin = map->at;
	begin.end_line = begin.line;
	begin.end_col = begin.col;
	if (map->bad || map->kind != LANG_MAP)
		return;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		e = lang_find(map, kinds[i]);
		if (e && what) {
			lang_error(l, &e->key_at, "one thing an event: %s or %s", what->key, e->key);
			return;
		}
		what = e ? e : what;
	}
	bool link = what && (!strcmp(what->key, "set") || !strcmp(what->key, "trace"));
	struct event model = { .at_ns = at ? at->value->v.ns : 0, .kind = LH_CHANGE_LINK };
	if (!what) {
		lang_error(l, &begin, "what happens? give one of set, cut, heal, partition, kill, notice, add, trace");
	} else if (!at && strcmp(what->key, "trace")) {
		lang_error(l, &begin, "when? \"at\" is missing");
	} else if (!link &&
		   ((e = lang_find(map, "between")) || (e = lang_find(map, "from")) || (e = lang_find(map, "to")))) {
		lang_error(l, &e->key_at, "%s: belongs to set and trace only; write %s: [a, b]", e->key, what->key);
	} else if (link) {
		if (!lang_ends(l, map, &map->at, &model.ends))
			return;
		model.set = what->value;
		if (!strcmp(what->key, "trace"))
			add_trace(l, list, what->value, &model);
		else
			add_event(l, list, &model, &begin);
	} else if (!strcmp(what->key, "partition")) {
		add_partition(l, list, what->value, &model);
	} else if (!strcmp(what->key, "kill") || !strcmp(what->key, "notice") || !strcmp(what->key, "add")) {
		add_peer_event(l, list, what, model.at_ns);
	} else {
		add_cut(l, list, what, &model);
	}
}

/* --- playing them through --- */

static int by_time(const void *a, const void *b)
{
	const struct event *x = *(struct event *const *)a, *y = *(struct event *const *)b;
	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

static void emit(struct lang *l, const struct event *e, int from, int to, enum lang_way way)
{
	struct lh_topology *t = &l->exp.topology;
	struct lh_change *c = &l->exp.changes[l->exp.nchanges++];
	*c = (struct lh_change){ .at_ns = e->at_ns, .kind = e->kind, .from = (unsigned)from, .to = (unsigned)to,
				 .group_mask = e->mask, .peer = e->peer, .drawn = e->drawn };
	if (e->kind != LH_CHANGE_LINK)
		return;
	struct lang_state *s = &l->links[c->from * t->nsites + c->to];
	lang_state_apply(l, s, e->set, way);
	lang_state_check(l, s, lang_printf(l, "link %s->%s", t->sites[from].name, t->sites[to].name));
	c->imp = s->imp;
	if (s->imp.loss_model != LH_LOSS_NONE || s->imp.reorder_ppb || s->imp.duplicate_ppb || s->imp.corrupt_ppb)
		lh_topology_link(t, c->from, c->to)->mode = LH_MODE_PACKET;
}

/* Comings and goings of each peer must alternate. Whose first is a coming was not there before. */
static void check_presence(struct lang *l, struct event *const *sorted, size_t n)
{
	struct lh_topology *t = &l->exp.topology;
	enum { UNSAID, HERE, AWAY } *state = lang_alloc(l, sizeof *state * (t->npeers + 1));
	for (size_t i = 0; i < n; i++) {
		const struct event *e = sorted[i];
		char at[32];
		if (e->kind != LH_CHANGE_KILL && e->kind != LH_CHANGE_NOTICE && e->kind != LH_CHANGE_ADD)
			continue;
		const char *name = t->peers[e->peer].name;
		lh_ns_print(e->at_ns, at, sizeof at);
		if (e->kind == LH_CHANGE_ADD && state[e->peer] == HERE)
			lang_error(l, &e->at, "add: peer %s is there already at %s", name, at);
		else if (e->kind != LH_CHANGE_ADD && state[e->peer] == AWAY)
			lang_error(l, &e->at, "%s: peer %s is not there at %s",
				   e->kind == LH_CHANGE_KILL ? "kill" : "notice", name, at);
		if (e->kind == LH_CHANGE_ADD && state[e->peer] == UNSAID)
			l->exp.absent[e->peer] = true;
		state[e->peer] = e->kind == LH_CHANGE_KILL ? AWAY : HERE;
	}
	bool nobody = t->npeers > 0;
	for (unsigned i = 0; i < t->npeers; i++)
		nobody &= l->exp.absent[i];
	for (size_t i = 0; i < n && nobody; i++)
		if (sorted[i]->kind == LH_CHANGE_ADD) {
			lang_error(l, &sorted[i]->at, "add: no peer is there when the run begins: each has an add "
				   "first");
			return;
		}
}

static void play(struct lang *l, const struct lang_events *list)
{
	struct event **sorted = lang_alloc(l, sizeof(struct event *) * (list->count + 1));
	size_t n = 0;
	for (struct event *e = list->first; e; e = e->next)
		sorted[n++] = e;
	qsort(sorted, n, sizeof *sorted, by_time);
	check_presence(l, sorted, n);
	l->exp.changes = calloc(2 * n + 1, sizeof *l->exp.changes);
	if (!l->exp.changes)
		lang_nomem(l);
	for (size_t i = 0; i < n; i++) {
		const struct event *e = sorted[i];
		bool forward = e->ends.from < e->ends.to;
		emit(l, e, e->ends.from, e->ends.to,
		     !e->ends.both ? LANG_ONE_WAY
		     : forward     ? LANG_FORWARD
				   : LANG_BACKWARD);
		if (e->ends.both)
			emit(l, e, e->ends.to, e->ends.from, forward ? LANG_BACKWARD : LANG_FORWARD);
	}
}

void lang_schedule(struct lang *l)
{
	struct lang_entry *schedule = lang_find(l->root, "schedule");
	struct lang_events list = { .tail = &list.first };
	bool given = schedule && schedule->value->kind == LANG_LIST;
	for (unsigned i = 0; i < l->exp.topology.npeers; i++)
		l->exp.spot[i] = lang_spot_of(l, i);
	for (struct lang_entry *e = given ? schedule->value->first : NULL; e; e = e->next)
		read_event(l, &list, e->value);
	lang_spot(l, &list);
	play(l, &list);
}
