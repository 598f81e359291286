#include "wires.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static double *filled(size_t n, double value)
{
	double *v = malloc((n ? n : 1) * sizeof *v);
	for (size_t i = 0; v && i < n; i++)
		v[i] = value;
	return v;
}

int lh_wires_init(struct lh_wires *ret, unsigned npeers, const uint32_t *site, struct lh_err *err)
{
	struct lh_group g;
	int rc = lh_group_init(&g, npeers, site, NULL, err);
	if (rc)
		return rc;
	size_t pairs = (size_t)g.nsites * g.nsites;
	struct lh_wires w = {
		.npeers = npeers, .nsites = g.nsites, .site = g.site, .one_way_s = filled(pairs, 0),
		.window = filled(pairs, INFINITY), .link = filled(pairs, INFINITY), .up = filled(g.nsites, INFINITY),
		.down = filled(g.nsites, INFINITY), .nic = filled(npeers, INFINITY), .host = INFINITY,
		.initial = INFINITY,
	};
	g.site = NULL; /* ours now */
	lh_group_done(&g);
	if (!w.one_way_s || !w.window || !w.link || !w.up || !w.down || !w.nic) {
		lh_wires_done(&w);
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "rates of %u peers", npeers);
	}
	*ret = w;
	return 0;
}

void lh_wires_done(struct lh_wires *w)
{
	if (!w)
		return;
	free(w->site);
	free(w->one_way_s);
	free(w->window);
	free(w->link);
	free(w->up);
	free(w->down);
	free(w->nic);
	*w = (struct lh_wires){ 0 };
}

int lh_wires_by_site(const struct lh_wires *w, struct lh_wires *ret, struct lh_err *err)
{
	uint32_t *sites = calloc(w->nsites, sizeof *sites);
	unsigned *members = calloc(w->nsites, sizeof *members);
	int rc = sites && members ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "cuts between sites");
	for (unsigned s = 0; !rc && s < w->nsites; s++)
		sites[s] = s;
	if (!rc)
		rc = lh_wires_init(ret, w->nsites, sites, err);
	if (!rc) {
		for (unsigned s = 0; s < w->nsites; s++)
			ret->nic[s] = 0;
		for (unsigned i = 0; i < w->npeers; i++) {
			ret->nic[w->site[i]] += w->nic[i];
			members[w->site[i]]++;
		}
		for (unsigned s = 0; s < w->nsites; s++) {
			ret->up[s] = w->up[s];
			ret->down[s] = w->down[s];
			for (unsigned t = 0; t < w->nsites; t++) {
				size_t k = (size_t)s * w->nsites + t;
				ret->one_way_s[k] = w->one_way_s[k];
				ret->link[k] = w->link[k];
				ret->window[k] = w->window[k] * members[s] * members[t];
			}
		}
	}
	free(sites);
	free(members);
	return rc;
}

static size_t between(const struct lh_wires *w, unsigned from, unsigned to)
{
	return (size_t)w->site[from] * w->nsites + w->site[to];
}

double lh_wires_one_way(const struct lh_wires *w, unsigned from, unsigned to)
{
	return from == to ? 0 : w->one_way_s[between(w, from, to)];
}

double lh_wires_rtt(const struct lh_wires *w, unsigned a, unsigned b)
{
	return lh_wires_one_way(w, a, b) + lh_wires_one_way(w, b, a);
}

double lh_wires_window(const struct lh_wires *w, unsigned from, unsigned to)
{
	return w->window[between(w, from, to)];
}

/* ---- by number: pairs, cards out, cards in, links, up, down ---- */

unsigned lh_wires_count(const struct lh_wires *w)
{
	return w->npeers * w->npeers + 2 * w->npeers + w->nsites * w->nsites + 2 * w->nsites;
}

enum lh_wire_kind lh_wires_kind(const struct lh_wires *w, unsigned thing, unsigned *ret_a, unsigned *ret_b)
{
	unsigned n = w->npeers, s = w->nsites;
	const unsigned sizes[] = { n * n, n, n, s * s, s, s }, width[] = { n, 1, 1, s, 1, 1 };
	unsigned kind = 0;
	while (thing >= sizes[kind])
		thing -= sizes[kind++];
	*ret_a = thing / width[kind];
	*ret_b = thing % width[kind];
	return (enum lh_wire_kind)kind;
}

double lh_wires_rate(const struct lh_wires *w, unsigned thing)
{
	unsigned a, b;
	switch (lh_wires_kind(w, thing, &a, &b)) {
	case LH_WIRE_PAIR: {
		double rtt = lh_wires_rtt(w, a, b);
		return a != b && rtt > 0 ? lh_wires_window(w, a, b) / rtt : INFINITY;
	}
	case LH_WIRE_NIC_OUT:
	case LH_WIRE_NIC_IN: return w->nic[a];
	case LH_WIRE_LINK: return w->link[a * w->nsites + b];
	case LH_WIRE_UP: return w->up[a];
	case LH_WIRE_DOWN: return w->down[a];
	}
	return INFINITY;
}

unsigned lh_wires_uses(const struct lh_wires *w, unsigned from, unsigned to, unsigned ret[LH_WIRES_USES])
{
	unsigned n = w->npeers, s = w->site[from], t = w->site[to], sites = w->nsites, base = n * n + 2 * n;
	unsigned count = 0;
	ret[count++] = from * n + to;
	ret[count++] = n * n + from;
	ret[count++] = n * n + n + to;
	ret[count++] = base + s * sites + t;
	if (s != t) {
		ret[count++] = base + sites * sites + s;
		ret[count++] = base + sites * sites + sites + t;
	}
	return count;
}

double lh_wires_alone(const struct lh_wires *w, unsigned from, unsigned to)
{
	unsigned uses[LH_WIRES_USES], n = lh_wires_uses(w, from, to, uses);
	double least = INFINITY;
	for (unsigned i = 0; i < n; i++)
		least = fmin(least, lh_wires_rate(w, uses[i]));
	return least;
}
