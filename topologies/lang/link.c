/* link.c - what is said about links: the matrix, `lan:`, `links:`; and which combinations cannot be.
 *
 * The state of one direction is built up in this order, the later wins: matrix, lan or `between`, `from`/`to`.
 * It remembers where each part was written, so that a combination of two wrong halves is shown at one of them.
 */
#include "lang.h"

#include <string.h>

static bool placed(const struct lang_span *at)
{
	return at->source != NULL;
}

static struct lang_state *state_of(struct lang *l, int from, int to)
{
	return &l->links[(size_t)from * l->exp.topology.nsites + (size_t)to];
}

/* --- one map of link keys onto one state --- */

static void apply_loss(struct lang *l, struct lh_impairment *imp, const struct lang_node *n)
{
	imp->loss_ppb = imp->loss_corr_ppb = 0;
	imp->ge_p_ppb = imp->ge_r_ppb = imp->ge_1h_ppb = imp->ge_1k_ppb = 0;
	imp->p13_ppb = imp->p31_ppb = imp->p32_ppb = imp->p23_ppb = imp->p14_ppb = 0;
	struct lang_entry *ge = lang_find(n, "gilbert-elliott"), *four = lang_find(n, "4-state");
	struct lang_entry *random = lang_find(n, "random"), *correlation = lang_find(n, "correlation"), *e;
	unsigned models = (ge != NULL) + (four != NULL) + (random != NULL);
	if (n->kind == LANG_SCALAR) {
		imp->loss_model = n->v.ppb ? LH_LOSS_RANDOM : LH_LOSS_NONE;
		imp->loss_ppb = n->v.ppb;
	} else if (models != 1) {
		lang_error(l, &n->at, "loss: give one of random, gilbert-elliott, 4-state");
	} else if (correlation && !random) {
		lang_error(l, &correlation->key_at, "correlation: only random loss has one");
	} else if (random) {
		imp->loss_model = LH_LOSS_RANDOM;
		imp->loss_ppb = random->value->v.ppb;
		imp->loss_corr_ppb = correlation ? correlation->value->v.ppb : 0;
		if (!imp->loss_ppb)
			imp->loss_model = LH_LOSS_NONE, imp->loss_corr_ppb = 0;
	} else if (ge) {
		imp->loss_model = LH_LOSS_GEMODEL;
		imp->ge_p_ppb = lang_find(ge->value, "p")->value->v.ppb;
		e = lang_find(ge->value, "r");
		imp->ge_r_ppb = e ? e->value->v.ppb : LH_PPB_ONE - imp->ge_p_ppb;
		imp->ge_1h_ppb = lang_get(l, ge->value, S_GE, "1-h")->v.ppb;
		imp->ge_1k_ppb = lang_get(l, ge->value, S_GE, "1-k")->v.ppb;
	} else {
		imp->loss_model = LH_LOSS_4STATE;
		imp->p13_ppb = lang_find(four->value, "p13")->value->v.ppb;
		e = lang_find(four->value, "p31");
		imp->p31_ppb = e ? e->value->v.ppb : LH_PPB_ONE - imp->p13_ppb;
		imp->p32_ppb = lang_get(l, four->value, S_4STATE, "p32")->v.ppb;
		imp->p23_ppb = lang_get(l, four->value, S_4STATE, "p23")->v.ppb;
		imp->p14_ppb = lang_get(l, four->value, S_4STATE, "p14")->v.ppb;
		if ((uint64_t)imp->p13_ppb + imp->p14_ppb > LH_PPB_ONE ||
		    (uint64_t)imp->p31_ppb + imp->p32_ppb > LH_PPB_ONE)
			lang_error(l, &four->value->at, "4-state: p13 + p14, and p31 + p32, are at most 100%%");
	}
}

static void apply_portion(struct lang *l, const struct lang_node *n, lh_ppb *ret_share, lh_ppb *ret_correlation)
{
	bool scalar = n->kind == LANG_SCALAR;
	*ret_share = scalar ? n->v.ppb : lang_find(n, "percent")->value->v.ppb;
	*ret_correlation = scalar || !*ret_share ? 0 : lang_get(l, n, S_PORTION, "correlation")->v.ppb;
}

static void apply_reorder(struct lang *l, struct lh_impairment *imp, const struct lang_node *n)
{
	imp->reorder_ppb = lang_find(n, "percent")->value->v.ppb;
	imp->reorder_corr_ppb = imp->reorder_ppb ? lang_get(l, n, S_REORDER, "correlation")->v.ppb : 0;
	imp->reorder_gap = imp->reorder_ppb ? (uint32_t)lang_get(l, n, S_REORDER, "gap")->v.count : 0;
}

static void apply_slot(struct lang *l, struct lh_impairment *imp, const struct lang_node *n)
{
	imp->slot_min_ns = imp->slot_max_ns = 0;
	imp->slot_packets = imp->slot_bytes = 0;
	if (n->kind == LANG_SCALAR)
		return;
	struct lang_entry *max = lang_find(n, "max");
	imp->slot_min_ns = lang_find(n, "min")->value->v.ns;
	imp->slot_max_ns = max ? max->value->v.ns : imp->slot_min_ns;
	imp->slot_packets = (uint32_t)lang_get(l, n, S_SLOT, "packets")->v.count;
	imp->slot_bytes = (uint32_t)lang_get(l, n, S_SLOT, "bytes")->v.bytes;
	if (imp->slot_max_ns < imp->slot_min_ns)
		lang_error(l, &n->at, "slot: max is below min");
}

static void apply_delay(struct lang *l, struct lang_state *s, const struct lang_node *map, enum lang_way way)
{
	struct lang_entry *rtt = lang_find(map, "rtt"), *delay = lang_find(map, "delay");
	if (rtt && delay) {
		lang_error(l, &rtt->key_at, "give rtt or delay, not both");
		return;
	}
	if (rtt && way == LANG_ONE_WAY) {
		lang_error(l, &rtt->key_at, "one direction has no rtt; give its delay, or the pair's rtt with between");
		return;
	}
	if (!rtt && !delay)
		return;
	const struct lang_node *n = rtt ? rtt->value : delay->value;
	s->imp.delay_ns = delay ? n->v.ns : way == LANG_FORWARD ? n->v.ns - n->v.ns / 2 : n->v.ns / 2;
	s->delay = n->at;
}

void lang_impairment_drop(struct lh_impairment *imp, bool jitter, bool loss, bool rate)
{
	if (jitter)
		imp->dist = LH_DIST_UNIFORM, imp->jitter_corr_ppb = 0, imp->jitter_reorders = false;
	if (loss)
		imp->ecn = false;
	if (rate) {
		imp->rate_overhead_bytes = 0;
		imp->queue_kind = LH_QUEUE_AUTO;
		imp->queue_bdp_milli = imp->queue_packets = 0;
	}
}

/* Jitter 0, loss 0 % or rate none, laid over a state, take along what depended on them. */
static void take_along(struct lang_state *s, const struct lang_node *map)
{
	static const struct lang_span nowhere;
	struct lang_entry *jitter = lang_find(map, "jitter"), *loss = lang_find(map, "loss"),
			  *rate = lang_find(map, "rate");
	bool no_jitter = jitter && !jitter->value->v.ns, no_rate = rate && !rate->value->v.bps;
	bool no_loss = loss && loss->value->kind == LANG_SCALAR && !loss->value->v.ppb;
	lang_impairment_drop(&s->imp, no_jitter, no_loss, no_rate);
	if (no_jitter)
		s->distribution = nowhere;
}

static void apply_jitter(struct lang_state *s, const struct lang_node *map)
{
	struct lang_entry *e;
	if ((e = lang_find(map, "jitter")))
		s->imp.jitter_ns = e->value->v.ns, s->jitter = e->value->at;
	if ((e = lang_find(map, "distribution")))
		s->imp.dist = (enum lh_dist)e->value->v.choice, s->distribution = e->value->at;
	if ((e = lang_find(map, "jitter-correlation")))
		s->imp.jitter_corr_ppb = e->value->v.ppb, s->correlation = e->value->at;
	if ((e = lang_find(map, "jitter-reorders")))
		s->imp.jitter_reorders = e->value->v.yes, s->reorders = e->value->at;
}

static void apply_rate(struct lang_state *s, const struct lang_node *map)
{
	struct lang_entry *e;
	if ((e = lang_find(map, "rate")))
		s->imp.rate_bps = e->value->v.bps, s->rate = e->value->at;
	if ((e = lang_find(map, "overhead")))
		s->imp.rate_overhead_bytes = (int32_t)e->value->v.integer, s->overhead = e->value->at;
	if (!(e = lang_find(map, "queue")))
		return;
	s->imp.queue_kind = e->value->v.queue.kind;
	s->imp.queue_bdp_milli = s->imp.queue_kind == LH_QUEUE_BDP ? e->value->v.queue.amount : 0;
	s->imp.queue_packets = s->imp.queue_kind == LH_QUEUE_PACKETS ? e->value->v.queue.amount : 0;
	s->queue = e->value->at;
}

void lang_state_apply(struct lang *l, struct lang_state *s, const struct lang_node *map, enum lang_way way)
{
	struct lang_entry *e;
	if (map->bad || map->kind != LANG_MAP) {
		s->bad = true;
		return;
	}
	take_along(s, map);
	apply_delay(l, s, map, way);
	apply_jitter(s, map);
	apply_rate(s, map);
	if ((e = lang_find(map, "loss")))
		s->imp.loss_model = LH_LOSS_NONE, s->loss = e->value->at, apply_loss(l, &s->imp, e->value);
	if ((e = lang_find(map, "ecn")))
		s->imp.ecn = e->value->v.yes, s->ecn = e->value->at;
	if ((e = lang_find(map, "reorder")))
		s->reorder = e->value->at, apply_reorder(l, &s->imp, e->value);
	if ((e = lang_find(map, "duplicate")))
		apply_portion(l, e->value, &s->imp.duplicate_ppb, &s->imp.duplicate_corr_ppb);
	if ((e = lang_find(map, "corrupt")))
		apply_portion(l, e->value, &s->imp.corrupt_ppb, &s->imp.corrupt_corr_ppb);
	if ((e = lang_find(map, "slot")))
		apply_slot(l, &s->imp, e->value);
	if ((e = lang_find(map, "mode")))
		s->packet = e->value->v.choice == 1;
	if ((e = lang_find(map, "seed")))
		s->imp.seed = e->value->v.count;
}

/* What the kernel would refuse, or take and not do. */
void lang_state_check(struct lang *l, const struct lang_state *s, const char *what)
{
	const struct lh_impairment *i = &s->imp;
	if (s->bad)
		return;
	if (i->reorder_ppb && !i->delay_ns)
		lang_error(l, &s->reorder, "%s: reorder needs a delay, since a reordered packet is one sent without it",
			   what);
	if (i->jitter_ns > i->delay_ns)
		lang_error(l, &s->jitter,
			   "%s: jitter is larger than the delay; no packet can arrive before it was sent", what);
	if (!i->jitter_ns && placed(&s->distribution))
		lang_error(l, &s->distribution, "%s: distribution needs jitter", what);
	if (!i->jitter_ns && i->jitter_corr_ppb)
		lang_error(l, &s->correlation, "%s: jitter-correlation needs jitter", what);
	if (!i->jitter_ns && i->jitter_reorders)
		lang_error(l, &s->reorders, "%s: jitter-reorders needs jitter", what);
	if (i->jitter_reorders && i->rate_bps)
		lang_error(l, &s->reorders, "%s: jitter-reorders cannot be with a rate, behind which netem keeps order",
			   what);
	if (i->ecn && i->loss_model == LH_LOSS_NONE)
		lang_error(l, &s->ecn, "%s: ecn needs loss, since it marks the packets that would be lost", what);
	if (i->rate_overhead_bytes && !i->rate_bps)
		lang_error(l, &s->overhead, "%s: overhead needs a rate", what);
	if (i->queue_kind != LH_QUEUE_AUTO && !i->rate_bps)
		lang_error(l, &s->queue, "%s: queue needs a rate, since nothing waits without one", what);
}

/* --- which pair --- */

bool lang_ends_list(struct lang *l, const struct lang_node *names, struct lang_ends *ret)
{
	if (names->bad)
		return false;
	struct lang_node *b = names->first->next->value;
	ret->from = lang_site_find(l, names->first->value);
	ret->to = lang_site_find(l, b);
	ret->both = true;
	if (ret->from >= 0 && ret->from == ret->to)
		lang_error(l, &b->at, "both ends are %s; inside a site it is sites.%s.lan", b->text, b->text);
	return ret->from >= 0 && ret->to >= 0 && ret->from != ret->to;
}

bool lang_ends(struct lang *l, const struct lang_node *map, const struct lang_span *at, struct lang_ends *ret)
{
	struct lang_entry *between = lang_find(map, "between"), *from = lang_find(map, "from"),
			  *to = lang_find(map, "to");
	if (between && (from || to)) {
		lang_error(l, &between->key_at, "give between, or from and to, not both");
		return false;
	}
	if (between)
		return lang_ends_list(l, between->value, ret);
	if (!from || !to) {
		struct lang_span begin = *at;
		begin.end_line = begin.line;
		begin.end_col = begin.col;
		lang_error(l,
			   from ? &from->key_at
			   : to ? &to->key_at
				: &begin,
			   "which sites? give between: [a, b], or from and to");
		return false;
	}
	ret->from = lang_site_find(l, from->value);
	ret->to = lang_site_find(l, to->value);
	ret->both = false;
	if (ret->from >= 0 && ret->from == ret->to)
		lang_error(l, &to->value->at, "both ends are %s; inside a site it is sites.%s.lan", to->value->text,
			   to->value->text);
	return ret->from >= 0 && ret->to >= 0 && ret->from != ret->to;
}

/* --- the matrix --- */

struct cell { bool given; lh_ns ns; struct lang_span at; };
struct matrix { struct cell *rtt, *delay; };

static void put(struct lang *l, struct cell *cells, int from, int to, lh_ns ns, const struct lang_span *at)
{
	cells[(size_t)from * l->exp.topology.nsites + (size_t)to] = (struct cell){ true, ns, *at };
}

static int find_key(struct lang *l, const char *name, const struct lang_span *at)
{
	struct lang_node n = { .kind = LANG_SCALAR, .text = name, .at = *at };
	return lang_site_find(l, &n);
}

static void matrix_rows(struct lang *l, struct cell *cells, const struct lang_node *rows)
{
	for (struct lang_entry *row = rows->first; row; row = row->next) {
		int from = find_key(l, row->key, &row->key_at);
		for (struct lang_entry *e = row->value->first; e && row->value->kind == LANG_MAP; e = e->next) {
			int to = find_key(l, e->key, &e->key_at);
			if (from >= 0 && to >= 0 && !e->value->bad)
				put(l, cells, from, to, e->value->v.ns, &e->value->at);
		}
	}
}

/* Header "site,us,eu", one row a site; an empty cell says nothing. */
static void matrix_csv(struct lang *l, struct cell *cells, const struct lang_node *path)
{
	struct lang_csv csv;
	const struct lang_value *type = &lang_key_find(S_ROW, "*")->value;
	int columns[LH_SITES_MAX + 1];
	if (!lang_csv_read(l, path, LH_SITES_MAX + 1, &csv))
		return;
	if (strcmp(csv.cells[0]->text, "site"))
		lang_error(l, &csv.cells[0]->at,
			   "the header begins with \"site\", then the names of the sites that receive");
	for (size_t c = 1; c < csv.columns; c++)
		columns[c] = lang_site_find(l, csv.cells[c]);
	for (size_t r = 1; r < csv.rows; r++) {
		struct lang_node **row = &csv.cells[r * csv.columns];
		int from = lang_site_find(l, row[0]);
		for (size_t c = 1; c < csv.columns; c++) {
			if (!*row[c]->text)
				continue;
			lang_type(l, row[c], type, csv.cells[c]->text, &row[c]->at);
			if (from >= 0 && columns[c] >= 0 && !row[c]->bad)
				put(l, cells, from, columns[c], row[c]->v.ns, &row[c]->at);
		}
	}
}

static struct cell *matrix_of(struct lang *l, const struct lang_node *matrix, const char *key)
{
	unsigned n = l->exp.topology.nsites;
	struct cell *cells = lang_alloc(l, sizeof *cells * n * n);
	struct lang_entry *e = lang_find(matrix, key);
	if (!e)
		return cells;
	const struct lang_node *v = e->value;
	if (v->kind == LANG_MAP)
		matrix_rows(l, cells, v);
	else if (v->kind == LANG_SCALAR && !v->bad && !v->v.time_or_path.is_time)
		matrix_csv(l, cells, v);
	else if (v->kind == LANG_SCALAR && !v->bad)
		for (unsigned i = 0; i < n * n; i++)
			if (i / n != i % n)
				put(l, cells, (int)(i / n), (int)(i % n), v->v.time_or_path.ns, &v->at);
	return cells;
}

static void matrix_pair(struct lang *l, const struct matrix *m, unsigned from, unsigned to)
{
	unsigned n = l->exp.topology.nsites;
	const struct cell *rtt = &m->rtt[from * n + to], *back = &m->rtt[to * n + from];
	const struct cell *delay = &m->delay[from * n + to], *mirror = &m->delay[to * n + from];
	struct lang_state *s = state_of(l, (int)from, (int)to);
	const char *a = lang_site_name(l, (int)from), *b = lang_site_name(l, (int)to);
	if (delay->given && (rtt->given || back->given)) {
		lang_error(l, &delay->at, "link %s->%s: the matrix gives rtt and delay", a, b);
	} else if (delay->given) {
		s->imp.delay_ns = delay->ns;
		s->delay = delay->at;
		if (!mirror->given)
			lang_error(l, &delay->at,
				   "the mirror entry is missing: the delay %s->%s is given, %s->%s is not", a, b, b, a);
	} else if (rtt->given || back->given) {
		const struct cell *own = rtt->given ? rtt : back;
		s->imp.delay_ns = from < to ? own->ns - own->ns / 2 : own->ns / 2;
		s->delay = own->at;
	} else {
		return;
	}
	lh_topology_link(&l->exp.topology, from, to)->given = true;
}

static void build_matrix(struct lang *l)
{
	unsigned n = l->exp.topology.nsites;
	struct lang_entry *e = lang_find(l->root, "matrix");
	if (!e || e->value->kind != LANG_MAP)
		return;
	struct matrix m = { matrix_of(l, e->value, "rtt"), matrix_of(l, e->value, "delay") };
	for (unsigned i = 0; i < n * n; i++)
		matrix_pair(l, &m, i / n, i % n);
}

/* --- links: and lan: --- */

static void apply_link(struct lang *l, const struct lang_node *map, const struct lang_ends *ends,
		       struct lang_span *seen)
{
	struct lh_topology *t = &l->exp.topology;
	for (int back = 0; back <= ends->both; back++) {
		int from = back ? ends->to : ends->from, to = back ? ends->from : ends->to;
		struct lang_span *before = &seen[(unsigned)from * t->nsites + (unsigned)to];
		if (placed(before)) {
			lang_error(l, &map->at,
				   "link %s->%s has an entry already, in line %zu; put their keys together",
				   lang_site_name(l, from), lang_site_name(l, to), before->line + 1);
			return;
		}
		*before = map->at;
		lang_state_apply(l, state_of(l, from, to), map,
				 !ends->both ? LANG_ONE_WAY : (from < to) ? LANG_FORWARD : LANG_BACKWARD);
		lh_topology_link(t, (unsigned)from, (unsigned)to)->given = true;
	}
}

/* Entries with between first, so that from, to refines them wherever it stands. */
static void build_links(struct lang *l)
{
	struct lang_entry *links = lang_find(l->root, "links");
	size_t pairs = (size_t)l->exp.topology.nsites * l->exp.topology.nsites;
	for (int one_way = 0; one_way < 2 && links && links->value->kind == LANG_LIST; one_way++) {
		struct lang_span *seen = lang_alloc(l, sizeof *seen * pairs);
		for (struct lang_entry *e = links->value->first; e; e = e->next) {
			struct lang_ends ends;
			if (e->value->kind != LANG_MAP || (lang_find(e->value, "between") == NULL) != (one_way == 1))
				continue;
			if (lang_ends(l, e->value, &e->value->at, &ends))
				apply_link(l, e->value, &ends, seen);
		}
	}
}

static void build_lans(struct lang *l)
{
	struct lang_entry *sites = lang_find(l->root, "sites");
	int site = 0;
	for (struct lang_entry *e = sites->value->first; e; e = e->next, site++) {
		struct lang_entry *lan = lang_find(e->value, "lan");
		if (!lan)
			continue;
		lang_state_apply(l, state_of(l, site, site), lan->value, LANG_BACKWARD);
		lh_topology_link(&l->exp.topology, (unsigned)site, (unsigned)site)->given = true;
	}
}

/* One complaint for all pairs that nothing was said about. */
static void missing_pairs(struct lang *l)
{
	const struct lh_topology *t = &l->exp.topology;
	struct lang_entry *matrix = lang_find(l->root, "matrix"), *sites = lang_find(l->root, "sites");
	const char *list = "";
	unsigned missing = 0;
	for (unsigned a = 0; a < t->nsites; a++)
		for (unsigned b = 0; b < t->nsites; b++) {
			if (a == b || lh_topology_link(t, a, b)->given)
				continue;
			if (missing++ < 4)
				list = lang_printf(l, "%s%s%s->%s", list, *list ? ", " : "", t->sites[a].name,
						   t->sites[b].name);
		}
	if (!missing)
		return;
	lang_error(l, matrix ? &matrix->key_at : &sites->key_at,
		   "nothing is said about %s%s; give matrix.rtt, matrix.delay "
		   "or an entry of links",
		   list, missing > 4 ? lang_printf(l, " and %u more links", missing - 4) : "");
}

void lang_links(struct lang *l)
{
	struct lh_topology *t = &l->exp.topology;
	struct lang_entry *links = lang_find(l->root, "links"), *matrix = lang_find(l->root, "matrix");
	struct lang_entry *sites = lang_find(l->root, "sites");
	bool sound = !(links && links->value->bad) && !(matrix && matrix->value->bad) && !sites->value->bad;
	size_t before = l->errors;
	build_matrix(l);
	build_lans(l);
	build_links(l);
	if (sound && l->errors == before) /* else it may be there, misspelt */
		missing_pairs(l);
	for (unsigned i = 0; i < t->nsites * t->nsites; i++) {
		unsigned from = i / t->nsites, to = i % t->nsites;
		lang_state_check(l, &l->links[i], from == to ? lang_printf(l, "lan of %s", t->sites[from].name)
				 : lang_printf(l, "link %s->%s", t->sites[from].name, t->sites[to].name));
		t->links[i].imp = l->links[i].imp;
		t->links[i].packet_asked = l->links[i].packet;
		if (l->links[i].packet)
			t->links[i].mode = LH_MODE_PACKET;
	}
}
