/* arborescence.c - see arborescence.h.
 *
 * Everybody but the root takes its cheapest parent. Where that makes a cycle, the cycle becomes one node: who enters it at
 * v replaces v's parent there, and pays the difference. The tree of the smaller graph says where the cycle is entered;
 * the rest of the cycle stays as it is. Each level has one node less at least, so n levels of n^2 work at most.
 */
#include "arborescence.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

struct level {
	unsigned n, root;
	double *cost;            /* [n * n] */
	unsigned *parent;        /* [n] */
	unsigned *number;        /* [n] of a node in the next level; nodes of the cycle all have the last */
	unsigned *enter, *leave; /* [n] through which node of the cycle others come in and go out cheapest */
};

static void level_done(struct level *l)
{
	free(l->cost);
	free(l->parent);
	free(l->number);
	free(l->enter);
	free(l->leave);
}

static bool level_init(struct level *l, unsigned n, unsigned root)
{
	*l = (struct level){ .n = n, .root = root, .cost = calloc((size_t)n * n, sizeof *l->cost),
		.parent = calloc(n, sizeof *l->parent), .number = calloc(n, sizeof *l->number),
		.enter = calloc(n, sizeof *l->enter), .leave = calloc(n, sizeof *l->leave) };
	return l->cost && l->parent && l->number && l->enter && l->leave;
}

static void choose_parents(struct level *l)
{
	for (unsigned v = 0; v < l->n; v++) {
		unsigned best = v == l->root ? v : v ? 0 : 1;
		for (unsigned u = 0; v != l->root && u < l->n; u++)
			if (u != v && l->cost[u * l->n + v] < l->cost[best * l->n + v])
				best = u;
		l->parent[v] = best;
	}
}

/* A node of a cycle, or n. `number` is scratch here. */
static unsigned find_cycle(struct level *l)
{
	for (unsigned v = 0; v < l->n; v++)
		l->number[v] = 0;
	for (unsigned v = 0; v < l->n; v++) {
		unsigned at = v;
		for (; at != l->root && !l->number[at]; at = l->parent[at])
			l->number[at] = v + 1;
		if (at != l->root && l->number[at] == v + 1)
			return at;
	}
	return l->n;
}

/* The graph with the cycle through `on` as its last node. */
static bool contract(struct level *l, unsigned on, struct level *ret)
{
	for (unsigned v = 0; v < l->n; v++)
		l->number[v] = UINT_MAX;
	unsigned at = on, others = 0;
	do {
		l->number[at] = UINT_MAX - 1;
		at = l->parent[at];
	} while (at != on);
	for (unsigned v = 0; v < l->n; v++)
		if (l->number[v] == UINT_MAX)
			l->number[v] = others++;
		else
			l->number[v] = UINT_MAX - 1;
	for (unsigned v = 0; v < l->n; v++)
		if (l->number[v] == UINT_MAX - 1)
			l->number[v] = others;
	unsigned n = others + 1;
	if (!level_init(ret, n, l->number[l->root]))
		return false;
	for (unsigned i = 0; i < n * n; i++)
		ret->cost[i] = INFINITY;
	for (unsigned u = 0; u < l->n; u++)
		for (unsigned v = 0; v < l->n; v++) {
			unsigned a = l->number[u], b = l->number[v];
			if (a == b)
				continue;
			double c = l->cost[u * l->n + v];
			c -= b == others ? l->cost[l->parent[v] * l->n + v] : 0;
			if (c >= ret->cost[a * n + b])
				continue;
			ret->cost[a * n + b] = c;
			if (b == others)
				l->enter[u] = v;
			if (a == others)
				l->leave[v] = u;
		}
	return true;
}

/* Put the smaller tree's parents into the larger graph. */
static void expand(struct level *l, const struct level *small)
{
	unsigned cycle = small->n - 1;
	for (unsigned v = 0; v < l->n; v++) {
		if (l->number[v] == cycle || v == l->root)
			continue;
		unsigned parent = small->parent[l->number[v]];
		if (parent == cycle) {
			l->parent[v] = l->leave[v];
			continue;
		}
		for (unsigned u = 0; u < l->n; u++)
			if (l->number[u] == parent)
				l->parent[v] = u;
	}
	for (unsigned u = 0; u < l->n; u++)
		if (l->number[u] == small->parent[cycle] && small->parent[cycle] != cycle)
			l->parent[l->enter[u]] = u;
}

int lh_arborescence(unsigned n, const double *cost, unsigned root, unsigned *ret_parent, double *ret_cost,
		    struct lh_err *err)
{
	struct level *levels = calloc(n + 1, sizeof *levels);
	unsigned depth = 0, cycle = 0;
	bool fine = levels && level_init(&levels[0], n, root);
	for (size_t i = 0; fine && i < (size_t)n * n; i++)
		levels[0].cost[i] = cost[i];
	while (fine) {
		choose_parents(&levels[depth]);
		cycle = find_cycle(&levels[depth]);
		if (cycle == levels[depth].n)
			break;
		fine = contract(&levels[depth], cycle, &levels[depth + 1]);
		depth++;
	}
	for (unsigned i = depth; fine && i > 0; i--)
		expand(&levels[i - 1], &levels[i]);
	double sum = 0;
	for (unsigned v = 0; fine && v < n; v++) {
		ret_parent[v] = levels[0].parent[v];
		sum += v == root ? 0 : cost[ret_parent[v] * n + v];
	}
	for (unsigned i = 0; levels && i <= depth; i++)
		level_done(&levels[i]);
	free(levels);
	if (!fine)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "tree of %u peers", n);
	*ret_cost = sum;
	return 0;
}
