/* bound.c - see bound.h.
 *
 * Cuts. A graph has for each peer a node P, a node for what leaves its card and one for what enters it, and for sites
 * whose traffic shares something a node on each side of that. Its edges carry, in time T, what the real thing carries: a
 * rate x T, and for a pair of TCP windows W x (T / RTT + 1/2), since the first window leaves at once and what is sent
 * within the last half round trip does not arrive. The all-reduce cannot end before every minimum cut between two peers
 * is S or more. As some peer is on one side of the tightest cut and another on the other, the cuts between peer 0 and
 * each other one, both ways, hold the tightest. Capacities are linear in T, their minimum is concave: Newton's method
 * from T = 0 climbs to the answer and stops where the cut carries S.
 */
#include "bound.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Stands for INFINITY in sums: what no cut of interest contains. */
#define ENDLESS 1e30
#define NEWTON_MAX 64

struct edge {
	unsigned to, back;    /* back: index of the reverse edge in the list of `to` */
	double at_once, rate; /* capacity in time T: at_once + rate x T */
	double left;          /* of the flow under way */
};

struct node {
	struct edge *edges;
	unsigned n, cap;
	unsigned level, next;
};

struct graph {
	struct node *nodes;
	unsigned n;
	bool broken; /* memory ran out */
	unsigned *queue;
};

static struct edge *add_half(struct graph *g, unsigned from, unsigned to)
{
	struct node *v = &g->nodes[from];
	if (v->n == v->cap) {
		unsigned cap = v->cap ? 2 * v->cap : 8;
		struct edge *more = realloc(v->edges, cap * sizeof *more);
		if (!more) {
			g->broken = true;
			return NULL;
		}
		v->edges = more;
		v->cap = cap;
	}
	struct edge *e = &v->edges[v->n++];
	*e = (struct edge){ .to = to, .back = g->nodes[to].n };
	return e;
}

static void add_edge(struct graph *g, unsigned from, unsigned to, double at_once, double rate)
{
	struct edge *e = add_half(g, from, to);
	if (!e)
		return;
	e->at_once = fmin(at_once, ENDLESS);
	e->rate = fmin(rate, ENDLESS);
	if (add_half(g, to, from))
		g->nodes[to].edges[g->nodes[to].n - 1].back = g->nodes[from].n - 1;
}

/* ---- maximum flow (Dinic) ---- */

static bool find_levels(struct graph *g, unsigned from, unsigned to)
{
	unsigned head = 0, tail = 0;
	for (unsigned i = 0; i < g->n; i++)
		g->nodes[i].level = 0;
	g->nodes[from].level = 1;
	g->queue[tail++] = from;
	while (head < tail) {
		struct node *v = &g->nodes[g->queue[head++]];
		for (unsigned i = 0; i < v->n; i++) {
			struct node *u = &g->nodes[v->edges[i].to];
			if (u->level || !(v->edges[i].left > 0))
				continue;
			u->level = v->level + 1;
			g->queue[tail++] = v->edges[i].to;
		}
	}
	return g->nodes[to].level;
}

static double push(struct graph *g, unsigned at, unsigned to, double most)
{
	struct node *v = &g->nodes[at];
	if (at == to)
		return most;
	for (; v->next < v->n; v->next++) {
		struct edge *e = &v->edges[v->next];
		if (!(e->left > 0) || g->nodes[e->to].level != v->level + 1)
			continue;
		double got = push(g, e->to, to, fmin(most, e->left));
		if (!(got > 0))
			continue;
		e->left -= got;
		g->nodes[e->to].edges[e->back].left += got;
		return got;
	}
	return 0;
}

/* At most `enough` is looked for. Afterwards the levels are those of the side of `from` in a minimum cut. */
static double max_flow(struct graph *g, unsigned from, unsigned to, double t, double enough)
{
	double flow = 0, got;
	for (unsigned i = 0; i < g->n; i++)
		for (unsigned k = 0; k < g->nodes[i].n; k++) {
			struct edge *e = &g->nodes[i].edges[k];
			e->left = e->at_once + e->rate * t;
		}
	while (flow < enough && find_levels(g, from, to)) {
		for (unsigned i = 0; i < g->n; i++)
			g->nodes[i].next = 0;
		while (flow < enough && (got = push(g, from, to, ENDLESS)) > 0)
			flow += got;
	}
	return flow;
}

/* What the cut found by the last flow lets through: at_once + rate x T. */
static void cut_line(const struct graph *g, double *ret_at_once, double *ret_rate)
{
	*ret_at_once = *ret_rate = 0;
	for (unsigned i = 0; i < g->n; i++)
		for (unsigned k = 0; g->nodes[i].level && k < g->nodes[i].n; k++) {
			const struct edge *e = &g->nodes[i].edges[k];
			if (g->nodes[e->to].level)
				continue;
			*ret_at_once += e->at_once;
			*ret_rate += e->rate;
		}
}

/* ---- the graph of the wires ---- */

/* Nodes: P, OUT, IN of each peer; four of each site (before and after what it shares, out and in); three of each
 * ordered pair of sites (before, between and after what its peers share). Those that nothing needs have no edges. */
struct shape {
	struct graph *g;
	const struct lh_wires *w;
	unsigned n, s;
	unsigned *members; /* [s] peers of a site */
};

enum { UP_IN, UP_OUT, DOWN_IN, DOWN_OUT, SITE_NODES };
enum { LINK_IN, LINK_MIDDLE, LINK_OUT, LINK_NODES };

static unsigned out_of(const struct shape *x, unsigned peer)
{
	return x->n + peer;
}

static unsigned into(const struct shape *x, unsigned peer)
{
	return 2 * x->n + peer;
}

static unsigned site_node(const struct shape *x, unsigned site, unsigned which)
{
	return 3 * x->n + SITE_NODES * site + which;
}

static unsigned link_node(const struct shape *x, unsigned s, unsigned t, unsigned which)
{
	return 3 * x->n + SITE_NODES * x->s + LINK_NODES * (s * x->s + t) + which;
}

static void add_rate(const struct shape *x, unsigned from, unsigned to, double rate)
{
	add_edge(x->g, from, to, isfinite(rate) ? 0 : INFINITY, isfinite(rate) ? rate : 0);
}

/* The windows of so many pairs between two sites. */
static void add_windows(const struct shape *x, unsigned from, unsigned to, unsigned s, unsigned t, double pairs)
{
	double rtt = x->w->one_way_s[s * x->s + t] + x->w->one_way_s[t * x->s + s];
	double window = x->w->window[s * x->s + t] * pairs;
	bool limited = rtt > 0 && isfinite(window);
	add_edge(x->g, from, to, limited ? window / 2 : INFINITY, limited ? window / rtt : 0);
}

/* All that goes from site s to site t, where it shares something. */
static void add_shared(const struct shape *x, unsigned s, unsigned t)
{
	const struct lh_wires *w = x->w;
	bool up = s != t && isfinite(w->up[s]), down = s != t && isfinite(w->down[t]);
	double others_t = x->members[t] - (s == t), others_s = x->members[s] - (s == t);
	unsigned in = link_node(x, s, t, LINK_IN), out = link_node(x, s, t, LINK_OUT);
	if (!(others_s > 0) || !(others_t > 0))
		return;
	add_rate(x, in, link_node(x, s, t, LINK_MIDDLE), w->link[s * x->s + t]);
	add_windows(x, link_node(x, s, t, LINK_MIDDLE), out, s, t, x->members[s] * others_t);
	if (up)
		add_rate(x, site_node(x, s, UP_OUT), in, INFINITY);
	if (down)
		add_rate(x, out, site_node(x, t, DOWN_IN), INFINITY);
	for (unsigned i = 0; i < x->n; i++) {
		if (w->site[i] == s && !up)
			add_windows(x, out_of(x, i), in, s, t, others_t);
		if (w->site[i] == t && !down)
			add_windows(x, out, into(x, i), s, t, others_s);
	}
}

static bool is_shared(const struct lh_wires *w, unsigned s, unsigned t)
{
	return isfinite(w->link[s * w->nsites + t]) || (s != t && (isfinite(w->up[s]) || isfinite(w->down[t])));
}

static void add_peer(const struct shape *x, unsigned i)
{
	const struct lh_wires *w = x->w;
	unsigned s = w->site[i];
	add_rate(x, i, out_of(x, i), w->nic[i]);
	add_rate(x, into(x, i), i, w->nic[i]);
	add_rate(x, out_of(x, i), site_node(x, s, UP_IN), INFINITY);
	add_rate(x, site_node(x, s, DOWN_OUT), into(x, i), INFINITY);
	for (unsigned k = 0; k < x->n; k++)
		if (k != i && !is_shared(w, s, w->site[k]))
			add_windows(x, out_of(x, i), into(x, k), s, w->site[k], 1);
}

static void build(const struct shape *x)
{
	for (unsigned i = 0; i < x->n; i++)
		add_peer(x, i);
	for (unsigned s = 0; s < x->s; s++) {
		/* Without a limit nothing goes this way: it would join peers that only their windows join. */
		if (isfinite(x->w->up[s]))
			add_rate(x, site_node(x, s, UP_IN), site_node(x, s, UP_OUT), x->w->up[s]);
		if (isfinite(x->w->down[s]))
			add_rate(x, site_node(x, s, DOWN_IN), site_node(x, s, DOWN_OUT), x->w->down[s]);
		for (unsigned t = 0; t < x->s; t++)
			if (is_shared(x->w, s, t))
				add_shared(x, s, t);
	}
}

static void graph_done(struct graph *g)
{
	for (unsigned i = 0; g->nodes && i < g->n; i++)
		free(g->nodes[i].edges);
	free(g->nodes);
	free(g->queue);
}

/* When every cut lets S through. */
static double tightest_cut(const struct shape *x, double bytes, bool *ret_side)
{
	double t = 0;
	for (unsigned step = 0; step < NEWTON_MAX; step++) {
		double at_once = 0, rate = 0, least = bytes;
		for (unsigned k = 1; k < x->n; k++)
			for (unsigned way = 0; way < 2; way++) {
				double flow = max_flow(x->g, way ? k : 0, way ? 0 : k, t, least);
				if (flow >= least)
					continue;
				least = flow;
				cut_line(x->g, &at_once, &rate);
				for (unsigned i = 0; ret_side && i < x->n; i++)
					ret_side[i] = x->g->nodes[i].level;
			}
		/* Within a millionth it is that cut. */
		if (least >= bytes * (1 - 1e-6) || !(rate > 0))
			break;
		t = fmax((bytes - at_once) / rate, t);
	}
	return t;
}

static int find_cut(const struct lh_wires *w, double bytes, double *ret_s, bool *ret_side, struct lh_err *err)
{
	struct shape x = { .w = w, .n = w->npeers, .s = w->nsites };
	struct graph g = { .n = 3 * x.n + SITE_NODES * x.s + LINK_NODES * x.s * x.s };
	g.nodes = calloc(g.n, sizeof *g.nodes);
	g.queue = calloc(g.n, sizeof *g.queue);
	x.members = calloc(x.s, sizeof *x.members);
	x.g = &g;
	g.broken = !g.nodes || !g.queue || !x.members;
	if (!g.broken) {
		for (unsigned i = 0; i < x.n; i++)
			x.members[w->site[i]]++;
		build(&x);
	}
	if (!g.broken)
		*ret_s = tightest_cut(&x, bytes, ret_side);
	graph_done(&g);
	free(x.members);
	return g.broken ? lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "cuts among %u peers", w->npeers) : 0;
}

static int cut_term(const struct lh_wires *w, double bytes, double *ret_s, bool *ret_side, struct lh_err *err)
{
	struct lh_wires sites;
	bool side[LH_BOUND_SITES_MAX];
	*ret_s = 0;
	if (w->npeers < 2 || !(bytes > 0))
		return 0;
	if (w->npeers <= LH_BOUND_PEERS_MAX)
		return find_cut(w, bytes, ret_s, ret_side, err);
	if (w->nsites < 2 || w->nsites > LH_BOUND_SITES_MAX)
		return 0;
	int rc = lh_wires_by_site(w, &sites, err);
	if (!rc) {
		rc = find_cut(&sites, bytes, ret_s, side, err);
		lh_wires_done(&sites);
	}
	for (unsigned i = 0; !rc && ret_side && i < w->npeers; i++)
		ret_side[i] = side[w->site[i]];
	return rc;
}

/* ---- the other terms ---- */

static double node_term(const struct lh_wires *w, double bytes)
{
	double slowest = INFINITY, cards = 0, up = 0, down = 0;
	for (unsigned i = 0; i < w->npeers; i++) {
		slowest = fmin(slowest, w->nic[i]);
		cards += w->nic[i];
	}
	for (unsigned s = 0; s < w->nsites; s++) {
		slowest = fmin(slowest, w->nsites > 1 ? fmin(w->up[s], w->down[s]) : INFINITY);
		up += w->up[s];
		down += w->down[s];
	}
	double own = bytes / slowest, all = 2.0 * (w->npeers - 1) * bytes / cards;
	double sites = w->nsites > 1 ? 2.0 * (w->nsites - 1) * bytes / fmin(up, down) : 0;
	return fmax(own, fmax(all, sites));
}

/* Shortest ways with relays, then the best place to make a sum: the farthest there plus the farthest back. */
static double delay_term(const struct lh_wires *w, double *d)
{
	unsigned n = w->nsites;
	double best = INFINITY;
	for (unsigned s = 0; s < n; s++)
		for (unsigned t = 0; t < n; t++)
			d[s * n + t] = s == t ? 0 : w->one_way_s[s * n + t];
	for (unsigned k = 0; k < n; k++)
		for (unsigned s = 0; s < n; s++)
			for (unsigned t = 0; t < n; t++)
				d[s * n + t] = fmin(d[s * n + t], d[s * n + k] + d[k * n + t]);
	for (unsigned r = 0; r < n; r++) {
		double there = 0, back = 0;
		unsigned members = 0;
		for (unsigned i = 0; i < w->npeers; i++)
			members += w->site[i] == r;
		if (members > 1) /* the others of the root's own site */
			there = back = w->one_way_s[r * n + r];
		for (unsigned s = 0; s < n; s++) {
			there = fmax(there, d[s * n + r]);
			back = fmax(back, d[r * n + s]);
		}
		best = fmin(best, there + back);
	}
	return best;
}

int lh_bound_compute(const struct lh_wires *w, double bytes, struct lh_bound *ret, bool *ret_side, struct lh_err *err)
{
	struct lh_bound b = { 0 };
	double *d = calloc((size_t)w->nsites * w->nsites, sizeof *d);
	for (unsigned i = 0; ret_side && i < w->npeers; i++)
		ret_side[i] = false;
	if (!d)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "delays of %u sites", w->nsites);
	int rc = cut_term(w, bytes, &b.cut_s, ret_side, err);
	if (!rc && w->npeers > 1 && bytes > 0) {
		b.node_s = node_term(w, bytes);
		b.delay_s = delay_term(w, d);
		b.host_s = 2.0 * (w->npeers - 1) * bytes / w->host;
	}
	free(d);
	if (rc)
		return rc;
	b.total_s = fmax(fmax(b.node_s, b.cut_s), fmax(b.delay_s, b.host_s));
	b.host_limited = b.host_s > 0 && b.host_s >= b.total_s;
	*ret = b;
	return 0;
}
