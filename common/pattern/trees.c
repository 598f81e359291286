/* trees.c - see trees.h.
 *
 * With few peers the nodes of the trees are peers. With many, or where that is faster, they are whole sites: a site is a
 * node with the cards of all its peers and the windows of all pairs. A tree of sites becomes several of peers, each of which
 * goes through another peer of every site, and which together use every pair (as far as LH_TREES_MAX has room): the
 * others of a site give to that peer and get from it.
 */
#include "trees.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arborescence.h"
#include "packing.h"
#include "predict.h"

/* Trees found one after the other; the programme's value comes within GAP of the best long before. */
#define ROUNDS_MAX 400u
#define GAP 1e-3
/* A tree with less of the vector than this is left out: its parts would be all headers and latency. */
#define LEAST_SHARE 2e-3
/* Windows let their first bytes through at once, so rates depend on the time that is asked for: so often is it asked. */
#define REFINEMENTS 3u

/* With more peers than this, trees of sites are only weighed anew: seeking trees of peers would take long. */
#define PEERWISE_MAX 20u

struct planner {
	const struct lh_wires *w;
	const unsigned *members; /* [n] peers in a node; NULL: one */
	unsigned n;
	unsigned nthings;      /* that limit anything */
	int *number;           /* [lh_wires_count] among those, or -1 */
	double *rate;          /* [nthings]; the last is one that every transfer uses and that limits nothing */
	double *price;         /* [nthings] */
	double *cost, *turned; /* [n * n] of a transfer; rows and columns changed */
	unsigned *up, *down;   /* [n] the tree that is looked for */
	struct lh_load *loads;
	struct lh_trees found; /* room for `most` */
	unsigned most;
	double *amount;        /* [most] */
	struct lh_packing *packing;
};

static void planner_done(struct planner *p)
{
	free(p->number);
	free(p->rate);
	free(p->price);
	free(p->cost);
	free(p->turned);
	free(p->up);
	free(p->down);
	free(p->loads);
	free(p->amount);
	lh_trees_done(&p->found);
	lh_packing_free(p->packing);
}

/* most: trees that it may know. */
static int planner_init(struct planner *p, const struct lh_wires *w, unsigned most, struct lh_err *err)
{
	unsigned count = lh_wires_count(w), n = w->npeers;
	size_t pairs = (size_t)n * n;
	*p = (struct planner){
		.w = w, .n = n, .most = most, .number = calloc(count, sizeof *p->number), .rate = calloc(count + 1, sizeof *p->rate),
		.price = calloc(count + 1, sizeof *p->price), .cost = calloc(pairs, sizeof *p->cost),
		.turned = calloc(pairs, sizeof *p->turned), .up = calloc(n, sizeof *p->up),
		.down = calloc(n, sizeof *p->down), .loads = calloc(2 * n * (LH_WIRES_USES + 2), sizeof *p->loads),
		.amount = calloc(most, sizeof *p->amount),
	};
	if (!p->number || !p->rate || !p->price || !p->cost || !p->turned || !p->up || !p->down || !p->loads || !p->amount)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan for %u peers", n);
	int rc = lh_trees_init(&p->found, most, n, err);
	p->found.n = 0;
	return rc;
}

/* What each thing carries a second if all is to be over after `time_s` (0: after very long). */
static void set_rates(struct planner *p, double time_s)
{
	double fastest = 0;
	p->nthings = 0;
	for (unsigned e = 0; e < lh_wires_count(p->w); e++) {
		unsigned a, b;
		double rate = lh_wires_rate(p->w, e);
		if (lh_wires_kind(p->w, e, &a, &b) == LH_WIRE_PAIR && time_s > 0 && a != b)
			rate += lh_wires_window(p->w, a, b) / time_s;
		p->number[e] = isfinite(rate) ? (int)p->nthings : -1;
		if (!isfinite(rate))
			continue;
		p->rate[p->nthings++] = rate;
		fastest = fmax(fastest, rate);
	}
	p->rate[p->nthings++] = fastest > 0 ? fastest * 1e3 * p->n * p->n : 1;
}

/* ---- ways ---- */

static unsigned add_loads(struct planner *p, unsigned at, unsigned from, unsigned to)
{
	unsigned uses[LH_WIRES_USES], k = lh_wires_uses(p->w, from, to, uses);
	for (unsigned i = 0; i < k; i++)
		if (p->number[uses[i]] >= 0)
			p->loads[at++] = (struct lh_load){ (unsigned)p->number[uses[i]], 1 };
	p->loads[at++] = (struct lh_load){ p->nthings - 1, 1 };
	return at;
}

/* A tree into `root` and one out of it, as a way of the programme; `found` remembers them. */
static int add_trees(struct planner *p, unsigned root, const uint16_t *up, const uint16_t *down, struct lh_err *err)
{
	unsigned nloads = 0;
	for (unsigned i = 0; i < p->n; i++) {
		if (i == root)
			continue;
		nloads = add_loads(p, nloads, i, up[i]);
		nloads = add_loads(p, nloads, down[i], i);
	}
	/* Within a node: everybody else gives to the one that the tree goes through, and gets from it. */
	for (unsigned i = 0; p->members && i < p->n; i++)
		for (unsigned in = 0; in < 2 && p->members[i] > 1; in++) {
			int card = p->number[p->n * p->n + in * p->n + i];
			if (card >= 0)
				p->loads[nloads++] = (struct lh_load){ (unsigned)card, 2.0 * (p->members[i] - 1) };
		}
	return lh_packing_add(p->packing, p->loads, nloads, err);
}

static void remember(struct planner *p, unsigned root, const unsigned *up, const unsigned *down)
{
	size_t at = (size_t)p->found.n * p->n;
	p->found.root[p->found.n++] = (uint16_t)root;
	for (unsigned i = 0; i < p->n; i++) {
		p->found.up[at + i] = (uint16_t)up[i];
		p->found.down[at + i] = (uint16_t)down[i];
	}
}

static void remember_stars(struct planner *p)
{
	for (unsigned r = 0; r < p->n; r++) {
		for (unsigned i = 0; i < p->n; i++)
			p->up[i] = r;
		remember(p, r, p->up, p->up);
	}
}

/* What is known so far, at the rates of now. */
static int begin(struct planner *p, double time_s, struct lh_err *err)
{
	set_rates(p, time_s);
	lh_packing_free(p->packing);
	p->packing = NULL;
	int rc = lh_packing_new(p->nthings, p->rate, &p->packing, err);
	for (unsigned k = 0; !rc && k < p->found.n; k++) {
		size_t at = (size_t)k * p->n;
		rc = add_trees(p, p->found.root[k], p->found.up + at, p->found.down + at, err);
	}
	return rc ? rc : lh_packing_solve(p->packing, err);
}

/* ---- prices ---- */

/* Prices alone leave many trees equal. `bias` makes long hops a little dearer: all hops of a tree together by at most that
 * share of the price of a way that is worth its while. */
static void set_costs(struct planner *p, double bias)
{
	double longest = 0;
	for (unsigned i = 0; i < p->w->nsites * p->w->nsites; i++)
		longest = fmax(longest, p->w->one_way_s[i]);
	for (unsigned i = 0; i < p->n; i++)
		for (unsigned k = 0; k < p->n; k++) {
			unsigned uses[LH_WIRES_USES], count = i == k ? 0 : lh_wires_uses(p->w, i, k, uses);
			double c = p->price[p->nthings - 1], far = longest > 0 ? lh_wires_one_way(p->w, i, k) / longest : 0;
			for (unsigned u = 0; u < count; u++)
				if (p->number[uses[u]] >= 0)
					c += p->price[p->number[uses[u]]];
			c += bias * (far + 0.01) / 1.01 / (2.0 * (p->n - 1));
			p->cost[i * p->n + k] = p->turned[k * p->n + i] = c;
		}
}

/* The cheapest tree into a root plus the cheapest out of it, over all roots; into p->up, p->down. */
static int find_cheapest(struct planner *p, unsigned *ret_root, double *ret_cost, struct lh_err *err)
{
	unsigned *up = calloc(2 * (size_t)p->n, sizeof *up), *down = up + p->n;
	int rc = up ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "plan for %u peers", p->n);
	*ret_cost = INFINITY;
	for (unsigned r = 0; !rc && r < p->n; r++) {
		double in, out;
		rc = lh_arborescence(p->n, p->turned, r, up, &in, err);
		if (!rc)
			rc = lh_arborescence(p->n, p->cost, r, down, &out, err);
		if (rc || in + out >= *ret_cost)
			continue;
		*ret_cost = in + out;
		*ret_root = r;
		memcpy(p->up, up, p->n * sizeof *up);
		memcpy(p->down, down, p->n * sizeof *down);
	}
	free(up);
	return rc;
}

/* Find trees until none is worth adding. *ret_rate: bytes of the vector a second. */
static int improve(struct planner *p, double bias, double *ret_rate, struct lh_err *err)
{
	int rc = 0;
	*ret_rate = lh_packing_read(p->packing, p->price, p->amount);
	while (!rc && p->found.n < p->most) {
		unsigned root = 0;
		double cost;
		set_costs(p, bias);
		rc = find_cheapest(p, &root, &cost, err);
		if (rc || cost >= 1 - GAP)
			break;
		size_t at = (size_t)p->found.n * p->n;
		remember(p, root, p->up, p->down);
		rc = add_trees(p, root, p->found.up + at, p->found.down + at, err);
		if (!rc)
			rc = lh_packing_solve(p->packing, err);
		if (!rc)
			*ret_rate = lh_packing_read(p->packing, p->price, p->amount);
	}
	return rc;
}

/* ---- results ---- */

static int take(const struct planner *p, double rate, struct lh_trees *ret, struct lh_err *err)
{
	unsigned n = 0;
	for (unsigned k = 0; k < p->found.n; k++)
		n += p->amount[k] > LEAST_SHARE * rate;
	int rc = lh_trees_init(ret, n, p->n, err);
	if (rc)
		return rc;
	n = 0;
	for (unsigned k = 0; k < p->found.n; k++) {
		if (!(p->amount[k] > LEAST_SHARE * rate))
			continue;
		size_t from = (size_t)k * p->n, to = (size_t)n * p->n;
		ret->weight[n] = (uint32_t)lrint(p->amount[k] / rate * LH_TREES_WEIGHT);
		ret->root[n] = p->found.root[k];
		memcpy(ret->up + to, p->found.up + from, p->n * sizeof *ret->up);
		memcpy(ret->down + to, p->found.down + from, p->n * sizeof *ret->down);
		n++;
	}
	return 0;
}

static void remember_all(struct planner *p, const struct lh_trees *t)
{
	for (unsigned b = 0; b < t->n; b++) {
		for (unsigned i = 0; i < p->n; i++) {
			p->up[i] = t->up[(size_t)b * p->n + i];
			p->down[i] = t->down[(size_t)b * p->n + i];
		}
		remember(p, t->root[b], p->up, p->down);
	}
}

/* From the stars and `known` (may be NULL) on, `rounds` trees more at most. */
static int plan_biased(const struct lh_wires *w, const unsigned *members, const struct lh_trees *known,
		       unsigned rounds, double bytes, double bias, struct lh_trees *ret, struct lh_err *err)
{
	struct planner p;
	double rate = 0, time_s = 0;
	int rc = planner_init(&p, w, w->npeers + (known ? known->n : 0) + rounds, err);
	if (!rc) {
		p.members = members;
		remember_stars(&p);
		if (known)
			remember_all(&p, known);
	}
	for (unsigned i = 0; !rc && i < REFINEMENTS; i++) {
		rc = begin(&p, time_s, err);
		if (!rc)
			rc = improve(&p, bias, &rate, err);
		time_s = rate > 0 ? bytes / rate : 0;
	}
	if (!rc)
		rc = take(&p, rate, ret, err);
	planner_done(&p);
	return rc;
}

/* ---- from sites to peers ---- */

/* The peer of a site that copy c of a tree goes through. Sites turn at different speeds, so that pairs meet. */
static unsigned holder(const struct lh_group *g, unsigned site, unsigned copy, unsigned turns)
{
	unsigned n = g->first[site + 1] - g->first[site];
	return g->members[g->first[site] + (copy % turns + copy / turns * site) % n];
}

static void copy_tree(const struct lh_group *g, const struct lh_trees *sites, unsigned b, unsigned copy, unsigned turns,
		      struct lh_trees *ret, unsigned to)
{
	const uint16_t *up = sites->up + (size_t)b * sites->npeers, *down = sites->down + (size_t)b * sites->npeers;
	size_t at = (size_t)to * g->npeers;
	ret->root[to] = (uint16_t)holder(g, sites->root[b], copy, turns);
	for (unsigned i = 0; i < g->npeers; i++) {
		unsigned s = g->site[i], own = holder(g, s, copy, turns);
		ret->up[at + i] = (uint16_t)(i == own ? holder(g, up[s], copy, turns) : own);
		ret->down[at + i] = (uint16_t)(i == own ? holder(g, down[s], copy, turns) : own);
	}
}

static int expand(const struct lh_group *g, const struct lh_trees *sites, struct lh_trees *ret, struct lh_err *err)
{
	unsigned turns = 1, copies;
	for (unsigned s = 0; s < g->nsites; s++)
		turns = g->first[s + 1] - g->first[s] > turns ? g->first[s + 1] - g->first[s] : turns;
	copies = turns * turns;
	while (copies > turns && copies * sites->n > LH_TREES_MAX)
		copies -= turns;
	if (copies * sites->n > LH_TREES_MAX)
		copies = LH_TREES_MAX / sites->n;
	int rc = lh_trees_init(ret, copies * sites->n, g->npeers, err);
	for (unsigned b = 0; !rc && b < sites->n; b++)
		for (unsigned c = 0; c < copies; c++) {
			copy_tree(g, sites, b, c, turns, ret, b * copies + c);
			ret->weight[b * copies + c] = sites->weight[b];
		}
	return rc;
}

static int plan_by_sites(const struct lh_wires *w, const struct lh_group *g, double bytes, double bias,
			 struct lh_trees *ret, struct lh_err *err)
{
	struct lh_wires sites;
	struct lh_trees t;
	unsigned members[LH_TREES_PEERS_MAX];
	int rc = lh_wires_by_site(w, &sites, err);
	if (rc)
		return rc;
	for (unsigned s = 0; s < g->nsites; s++)
		members[s] = g->first[s + 1] - g->first[s];
	if (g->nsites > 1)
		rc = plan_biased(&sites, members, NULL, ROUNDS_MAX, bytes, bias, &t, err);
	else
		rc = lh_trees_init(&t, 1, 1, err);
	if (!rc && g->nsites == 1)
		t.weight[0] = 1;
	if (!rc) {
		rc = expand(g, &t, ret, err);
		lh_trees_done(&t);
	}
	lh_wires_done(&sites);
	return rc;
}

/* ---- the best of several ---- */

struct choice {
	const struct lh_wires *w;
	struct lh_group g;
	double bytes, best_s;
	struct lh_trees best;
};

/* Takes the trees, or frees them. */
static int consider(struct choice *c, struct lh_trees *t, struct lh_err *err)
{
	struct lh_prediction guess;
	c->g.trees = t;
	int rc = lh_predict(&lh_pattern_packed_trees, &c->g, (uint64_t)fmax(c->bytes, 1), 1, 65536, c->w, &guess, err);
	if (!rc && guess.total_s < c->best_s) {
		c->best_s = guess.total_s;
		lh_trees_done(&c->best);
		c->best = *t;
		*t = (struct lh_trees){ 0 };
	}
	lh_trees_done(t);
	c->g.trees = NULL;
	return rc;
}

int lh_trees_plan(const struct lh_wires *w, double bytes, struct lh_trees *ret, struct lh_err *err)
{
	/* Shorter chains against fuller wires: which is better depends on the size, so all are tried. */
	static const double biases[] = { 0.01, 0.1, 0.4 };
	struct choice c = { .w = w, .bytes = bytes, .best_s = INFINITY };
	if (w->npeers > LH_TREES_PEERS_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -E2BIG, "packed-trees: at most %u peers, not %u",
				  LH_TREES_PEERS_MAX, w->npeers);
	int rc = lh_group_init(&c.g, w->npeers, w->site, NULL, err);
	if (rc)
		return rc;
	for (unsigned i = 0; !rc && i < sizeof biases / sizeof *biases; i++) {
		/* Sites first; what they give is where the trees of peers begin, if only to weigh them anew. */
		struct lh_trees by_site = { 0 }, t = { 0 };
		unsigned rounds = w->npeers <= PEERWISE_MAX ? ROUNDS_MAX : 0;
		rc = plan_by_sites(w, &c.g, bytes, biases[i], &by_site, err);
		if (!rc && w->npeers > 1)
			rc = plan_biased(w, NULL, &by_site, rounds, bytes, biases[i], &t, err);
		if (!rc && t.n)
			rc = consider(&c, &t, err);
		if (!rc)
			rc = consider(&c, &by_site, err);
		lh_trees_done(&by_site);
		lh_trees_done(&t);
	}
	lh_group_done(&c.g);
	if (rc)
		lh_trees_done(&c.best);
	else
		*ret = c.best;
	return rc;
}

int lh_shares_plan(const struct lh_wires *w, double bytes, uint32_t *ret_share, struct lh_err *err)
{
	struct planner p;
	double rate = 0, time_s = 0;
	int rc = planner_init(&p, w, w->npeers, err);
	if (!rc)
		remember_stars(&p);
	for (unsigned i = 0; !rc && w->npeers > 1 && i < REFINEMENTS; i++) {
		rc = begin(&p, time_s, err);
		if (!rc)
			rate = lh_packing_read(p.packing, p.price, p.amount);
		time_s = rate > 0 ? bytes / rate : 0;
	}
	for (unsigned i = 0; !rc && i < w->npeers; i++)
		ret_share[i] = rate > 0 ? (uint32_t)lrint(p.amount[i] / rate * LH_TREES_WEIGHT) : 1;
	planner_done(&p);
	return rc;
}
