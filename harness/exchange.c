/* exchange.c - see exchange.h. docs/MEASUREMENT.md, "What an exchange could take". */
#include "exchange.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"
#include "stats.h"

#define MSS_BYTES 1448.0
#define INITIAL_SEGMENTS 10 /* the kernel's own */

/* ---- the vector ---- */

double lh_exchange_element_bytes(const struct lh_training *t)
{
	switch (t->wire) {
	case LH_WIRE_FP32: return 4;
	case LH_WIRE_FP16:
	case LH_WIRE_BF16: return 2;
	case LH_WIRE_INT8: return 1 + 4.0 / 256; /* a float for each block of 256 */
	case LH_WIRE_TOPK: return 6 * t->codec.topk_fraction; /* a float and its place */
	case LH_WIRE_POWERSGD: break;
	}
	return NAN;
}

uint64_t lh_exchange_elements(const struct lh_experiment *exp)
{
	const struct lh_training *t = &exp->training;
	const struct lh_catalogue_entry *e;

	/* trainer/README.md; a peer says it when it has joined, which is too late to choose. */
	if (t->engine != LH_ENGINE_PACED)
		for (unsigned i = 0; lh_builtin_model(i); i++)
			if (!strcmp(lh_builtin_model(i)->name, t->model))
				return lh_builtin_model(i)->parameters;
	for (size_t i = 0; (e = lh_catalogue_at(i)); i++)
		if (!strcmp(e->model, t->model))
			return e->parameters;
	return 0;
}

/* ---- wires ---- */

static double payload(lh_bps rate)
{
	return rate ? (double)rate / 8 * LH_PAYLOAD_SHARE : INFINITY;
}

/* Half of the receive buffer is window before Linux 6.6; a sender has its whole buffer in flight. */
static double window_of(const struct lh_topology *t, unsigned from, unsigned to)
{
	const struct lh_tcp *a = &t->peers[t->sites[from].first_peer].tcp, *b = &t->peers[t->sites[to].first_peer].tcp;
	return fmin(b->rmem[2] / 2.0, a->wmem[2]);
}

static void set_sites(const struct lh_experiment *exp, const struct lh_probe_report *rep, struct lh_wires *w)
{
	const struct lh_topology *t = &exp->topology;
	unsigned n = w->nsites; /* sites without peers, which stand last, exchange nothing */

	for (unsigned s = 0; s < n; s++) {
		w->up[s] = payload(t->sites[s].access.up_bps);
		w->down[s] = payload(t->sites[s].access.down_bps);
		for (unsigned k = 0; k < n; k++) {
			const struct lh_link *link = lh_topology_link(t, s, k);
			size_t at = (size_t)s * n + k, of = (size_t)s * t->nsites + k;
			lh_ns rtt = of < rep->nlinks ? rep->links[of].rtt_median_ns : -1;
			w->one_way_s[at] = (double)(rtt >= 0 ? rtt : link->rtt_spec_ns) / 2e9;
			w->link[at] = payload(link->imp.rate_bps);
			w->window[at] = window_of(t, s, k) * lh_experiment_streams(exp);
		}
	}
}

int lh_exchange_wires(const struct lh_experiment *exp, const struct lh_probe_report *rep, bool idle,
		      struct lh_wires *ret, struct lh_err *err)
{
	const struct lh_topology *t = &exp->topology;
	uint32_t *site = calloc(t->npeers, sizeof *site);
	struct lh_wires w = { 0 };
	int rc = site ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%u peers", t->npeers);

	for (unsigned i = 0; !rc && i < t->npeers; i++)
		site[i] = t->peers[i].site;
	/* Sites get numbers in order of their peers, which is the topology's own order. */
	if (!rc)
		rc = lh_wires_init(&w, t->npeers, site, err);
	free(site);
	if (rc)
		return rc;
	set_sites(exp, rep, &w);
	for (unsigned i = 0; i < t->npeers; i++)
		w.nic[i] = payload(t->peers[i].nic_bps);
	if (rep->capacity_byte_per_s > 0)
		w.host = rep->capacity_byte_per_s;
	const struct lh_tcp *tcp = &t->peers[0].tcp;
	unsigned segments = tcp->initcwnd ? tcp->initcwnd : INITIAL_SEGMENTS;
	if (idle && tcp->slow_start_after_idle)
		w.initial = segments * MSS_BYTES * lh_experiment_streams(exp);
	*ret = w;
	return 0;
}

/* ---- plans ---- */

void lh_exchange_undilate(struct lh_exchange_plan *p, unsigned dilation)
{
	struct lh_bound *b = &p->bound;
	double *const times[] = { &p->prediction.total_s, &b->node_s, &b->cut_s, &b->delay_s, &b->host_s, &b->total_s };

	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		*times[i] /= dilation;
	for (unsigned a = 0; a < LH_ALGORITHMS; a++)
		p->predicted_s[a] /= dilation;
}

void lh_exchange_plan_done(struct lh_exchange_plan *p)
{
	free(p->share);
	free(p->side);
	lh_trees_done(&p->trees);
	*p = (struct lh_exchange_plan){ 0 };
}

/* What one algorithm needs and should take, into p; shares and trees of the one before go. */
static int look_at(const struct lh_experiment *exp, const struct lh_wires *w, enum lh_algorithm a,
		   struct lh_exchange_plan *p, struct lh_err *err)
{
	const struct lh_topology *t = &exp->topology;
	double bytes = (double)p->elements * p->element_bytes;
	uint32_t *share = calloc(t->npeers, sizeof *share);
	struct lh_group g;
	int rc = share ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%u peers", t->npeers);

	lh_trees_done(&p->trees);
	free(p->share);
	p->share = share;
	p->algorithm = a;
	for (unsigned i = 0; !rc && i < t->npeers; i++)
		share[i] = t->peers[i].share;
	if (!rc && a == LH_ALGORITHM_WEIGHTED_BUTTERFLY)
		rc = lh_shares_plan(w, bytes, share, err);
	if (!rc && a == LH_ALGORITHM_PACKED_TREES)
		rc = lh_trees_plan(w, bytes, &p->trees, err);
	if (!rc)
		rc = lh_group_init(&g, t->npeers, w->site, share, err);
	if (rc)
		return rc;
	g.trees = p->trees.n ? &p->trees : NULL;
	rc = lh_predict(lh_pattern_find(a), &g, p->elements, p->element_bytes, lh_experiment_part_bytes(exp), w, &p->prediction, err);
	lh_group_done(&g);
	p->predicted_s[a] = rc ? NAN : p->prediction.total_s;
	return rc;
}

int lh_exchange_plan(const struct lh_experiment *exp, const struct lh_wires *w, uint64_t elements,
		     struct lh_exchange_plan *ret, struct lh_err *err)
{
	const struct lh_training *tr = &exp->training;
	struct lh_exchange_plan p = { .elements = elements, .element_bytes = lh_exchange_element_bytes(tr),
				      .tuned = tr->sockets == LH_SOCKETS_TUNED };
	enum lh_algorithm best = tr->algorithm;
	int rc = 0;

	for (unsigned a = 0; a < LH_ALGORITHMS; a++)
		p.predicted_s[a] = NAN;
	if (!elements || isnan(p.element_bytes))
		return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP,
				  "training.algorithm auto: how much the peers exchange is not known before%s",
				  isnan(p.element_bytes) ? " with wire powersgd" : "");
	p.side = calloc(w->npeers, sizeof *p.side);
	if (!p.side)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%u peers", w->npeers);
	/* The first of equals: simpler ones stand first. */
	for (unsigned a = 0; !rc && tr->choose && a < LH_ALGORITHMS; a++) {
		if (a == LH_ALGORITHM_PACKED_TREES && w->npeers > LH_TREES_PEERS_MAX)
			continue;
		rc = look_at(exp, w, (enum lh_algorithm)a, &p, err);
		if (!rc && (!a || p.predicted_s[a] < p.predicted_s[best]))
			best = (enum lh_algorithm)a;
	}
	if (!rc)
		rc = look_at(exp, w, best, &p, err);
	if (!rc)
		rc = lh_bound_compute(w, (double)elements * p.element_bytes, &p.bound, p.side, err);
	if (rc)
		lh_exchange_plan_done(&p);
	else
		*ret = p;
	return rc;
}

int lh_exchange_configure(const struct lh_exchange_plan *p, struct lh_peer_config *c, struct lh_err *err)
{
	c->algorithm = p->algorithm;
	if (p->tuned)
		c->vector_bytes = (uint64_t)((double)p->elements * p->element_bytes);
	if (p->tuned && p->prediction.rates_s > 0)
		c->pace_byte_per_s = (uint64_t)((double)p->elements * p->element_bytes / p->prediction.rates_s);
	for (unsigned i = 0; p->share && i < c->size; i++)
		c->peers[i].share = p->share[i];
	if (!p->trees.n)
		return 0;
	int rc = lh_trees_init(&c->trees, p->trees.n, p->trees.npeers, err);
	if (rc)
		return rc;
	size_t all = (size_t)p->trees.n * p->trees.npeers;
	memcpy(c->trees.weight, p->trees.weight, p->trees.n * sizeof *p->trees.weight);
	memcpy(c->trees.root, p->trees.root, p->trees.n * sizeof *p->trees.root);
	memcpy(c->trees.up, p->trees.up, all * sizeof *p->trees.up);
	memcpy(c->trees.down, p->trees.down, all * sizeof *p->trees.down);
	return 0;
}

/* ---- words ---- */

/* A side of a cut: whole sites by name, else peers. */
static void side_text(const struct lh_exchange_plan *p, const struct lh_topology *t, bool side, FILE *out)
{
	const char *comma = "";

	for (unsigned s = 0; s < t->nsites; s++) {
		unsigned in = 0, first = t->sites[s].first_peer;
		for (unsigned i = 0; i < t->sites[s].npeers; i++)
			in += p->side[first + i] == side;
		if (in && in == t->sites[s].npeers) {
			fprintf(out, "%s%s", comma, t->sites[s].name);
			comma = ", ";
		}
		for (unsigned i = 0; in && in < t->sites[s].npeers && i < t->sites[s].npeers; i++)
			if (p->side[first + i] == side) {
				fprintf(out, "%s%s", comma, t->peers[first + i].name);
				comma = ", ";
			}
	}
}

char *lh_exchange_bound_text(const struct lh_exchange_plan *p, const struct lh_topology *t, char *buf, size_t size)
{
	const struct lh_bound *b = &p->bound;
	FILE *out = fmemopen(buf, size, "w");

	buf[0] = 0;
	if (!out)
		return buf;
	if (b->host_limited)
		fputs("this machine", out);
	else if (b->total_s == b->cut_s && b->cut_s > 0) {
		fputs("cut ", out);
		side_text(p, t, true, out);
		fputs(" | ", out);
		side_text(p, t, false, out);
	} else {
		fputs(b->total_s == b->node_s ? "what the peers can send and receive" : "delay", out);
	}
	fclose(out);
	buf[size - 1] = 0;
	return buf;
}

char *lh_exchange_busiest_text(const struct lh_exchange_plan *p, const struct lh_wires *w, const struct lh_topology *t,
			       char *buf, size_t size)
{
	unsigned a, b;

	if (!(p->prediction.wire_s > 0))
		return strncpy(buf, "nothing", size);
	switch (lh_wires_kind(w, p->prediction.busiest, &a, &b)) {
	case LH_WIRE_PAIR: snprintf(buf, size, "windows %s -> %s", t->peers[a].name, t->peers[b].name); break;
	case LH_WIRE_NIC_OUT: snprintf(buf, size, "nic of %s, out", t->peers[a].name); break;
	case LH_WIRE_NIC_IN: snprintf(buf, size, "nic of %s, in", t->peers[a].name); break;
	case LH_WIRE_LINK: snprintf(buf, size, "link %s -> %s", t->sites[a].name, t->sites[b].name); break;
	case LH_WIRE_UP: snprintf(buf, size, "access of %s, up", t->sites[a].name); break;
	case LH_WIRE_DOWN: snprintf(buf, size, "access of %s, down", t->sites[a].name); break;
	}
	return buf;
}

struct json_t *lh_exchange_bound_json(const struct lh_bound *b, bool host_known)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "node", lh_json_number(b->node_s), "cut", lh_json_number(b->cut_s),
			 "delay", lh_json_number(b->delay_s), "host", host_known ? lh_json_number(b->host_s) : json_null(),
			 "total", lh_json_number(b->total_s));
}
