/* predict.c - see predict.h. */
#include "predict.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct sums {
	const struct lh_wires *w;
	double *load;     /* bytes on each thing */
	double total;     /* bytes of all transfers */
	double *way;      /* [npeers] seconds from a peer to the root, or back */
	unsigned *path;   /* [npeers] */
};

static void add_transfer(struct sums *s, unsigned from, unsigned to, double bytes)
{
	unsigned uses[LH_WIRES_USES], n = lh_wires_uses(s->w, from, to, uses);
	for (unsigned i = 0; i < n; i++)
		s->load[uses[i]] += bytes;
	s->total += bytes;
}

/* One connection, or several side by side, whose windows are `window` bytes: the first goes at once, then one a round
 * trip. After silence they begin with `initial` and double. */
static double window_time(double bytes, double window, double initial, double rtt)
{
	double t = 0, open = initial < window ? initial : window;
	if (!(rtt > 0) || !isfinite(window))
		return 0;
	for (; bytes > open && open < window; open = fmin(2 * open, window)) {
		bytes -= open;
		t += rtt;
	}
	return bytes > window ? t + (bytes - window) * rtt / window : t;
}

static double thing_time(const struct lh_wires *w, unsigned thing, double bytes)
{
	unsigned a, b;
	double rate = lh_wires_rate(w, thing);
	if (!(bytes > 0))
		return 0;
	if (lh_wires_kind(w, thing, &a, &b) != LH_WIRE_PAIR)
		return bytes / rate;
	return window_time(bytes, lh_wires_window(w, a, b), w->initial, lh_wires_rtt(w, a, b));
}

/* The longest way in one tree, with one part of `bytes` carried over each of its hops, and without. */
static void longest_way(struct sums *s, const struct lh_group *g,
			unsigned (*next)(const struct lh_group *, unsigned, unsigned), unsigned block, unsigned root,
			bool upward, double bytes, double *ret_s)
{
	double most = 0;
	for (unsigned r = 0; r < g->npeers; r++)
		s->way[r] = r == root ? 0 : -1;
	for (unsigned r = 0; r < g->npeers; r++) {
		unsigned n = 0, at = r;
		for (; s->way[at] < 0; at = next(g, block, at))
			s->path[n++] = at;
		while (n) {
			unsigned here = s->path[--n], from = upward ? here : at, to = upward ? at : here;
			double hop = lh_wires_one_way(s->w, from, to);
			if (bytes > 0) {
				unsigned uses[LH_WIRES_USES], k = lh_wires_uses(s->w, from, to, uses);
				double slowest = 0;
				for (unsigned i = 0; i < k; i++)
					slowest = fmax(slowest, thing_time(s->w, uses[i], bytes));
				hop += slowest;
			}
			s->way[here] = s->way[at] + hop;
			at = here;
		}
		most = fmax(most, s->way[r]);
	}
	*ret_s = most;
}

static void add_block(struct sums *s, const struct lh_pattern *p, const struct lh_group *g, unsigned b, double bytes)
{
	unsigned root = p->root(g, b);
	for (unsigned r = 0; r < g->npeers; r++) {
		if (r == root)
			continue;
		add_transfer(s, r, p->up(g, b, r), bytes);
		add_transfer(s, p->down(g, b, r), r, bytes);
	}
}

static void measure(struct sums *s, const struct lh_pattern *p, const struct lh_group *g, uint64_t n,
		    double element_bytes, double part_bytes, struct lh_prediction *ret)
{
	double alone = 0;
	for (unsigned b = 0; b < p->blocks(g); b++) {
		double bytes = (double)p->block(g, n, b).length * element_bytes, up, down;
		unsigned root = p->root(g, b);
		if (!(bytes > 0))
			continue;
		add_block(s, p, g, b, bytes);
		longest_way(s, g, p->up, b, root, true, 0, &up);
		longest_way(s, g, p->down, b, root, false, 0, &down);
		ret->latency_s = fmax(ret->latency_s, up + down);
		longest_way(s, g, p->up, b, root, true, fmin(bytes, part_bytes), &up);
		longest_way(s, g, p->down, b, root, false, fmin(bytes, part_bytes), &down);
		alone = fmax(alone, up + down);
	}
	for (unsigned e = 0; e < lh_wires_count(s->w); e++) {
		unsigned from, to;
		double t = thing_time(s->w, e, s->load[e]);
		if (lh_wires_kind(s->w, e, &from, &to) != LH_WIRE_PAIR)
			ret->rates_s = fmax(ret->rates_s, t);
		if (t > ret->wire_s) {
			ret->wire_s = t;
			ret->busiest = e;
		}
	}
	ret->host_s = s->total / s->w->host;
	ret->total_s = fmax(alone, fmax(ret->wire_s, ret->host_s) + ret->latency_s);
}

int lh_predict(const struct lh_pattern *p, const struct lh_group *g, uint64_t n, double element_bytes,
	       double part_bytes, const struct lh_wires *w, struct lh_prediction *ret, struct lh_err *err)
{
	struct sums s = { .w = w, .load = calloc(lh_wires_count(w), sizeof *s.load),
			  .way = calloc(g->npeers, sizeof *s.way), .path = calloc(g->npeers, sizeof *s.path) };
	bool fine = s.load && s.way && s.path;
	*ret = (struct lh_prediction){ 0 };
	if (fine)
		measure(&s, p, g, n, element_bytes, part_bytes, ret);
	free(s.load);
	free(s.way);
	free(s.path);
	return fine ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "prediction for %u peers", g->npeers);
}
