/* run_exchange.c - how the peers of a run will sum up, decided from what the probe measured before they are told. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

struct delays {
	const struct lh_run *run;
	bool known;
};

/* Half of the RTT that was measured between two peers' sites. */
static lh_ns one_way(void *ctx, unsigned from, unsigned to)
{
	struct delays *d = ctx;
	const struct lh_topology *t = &d->run->exp->topology;
	size_t link = (size_t)t->peers[from].site * t->nsites + t->peers[to].site;
	lh_ns rtt = link < d->run->probe.nlinks ? d->run->probe.links[link].rtt_median_ns : -1;

	d->known = d->known && rtt >= 0;
	return rtt / 2;
}

/* The trips of an exchange that must follow each other, by the pattern. The delays are those of the beginning; where
 * the schedule moves them, they say nothing about later epochs. */
static int find_chain(struct lh_run *r, struct lh_err *err)
{
	struct delays delays = { .run = r, .known = lh_changes_keep_delays(r->exp) };
	struct lh_peer_config c = { .size = r->exp->topology.npeers, .algorithm = r->exp->training.algorithm };
	struct lh_pattern_chain chain;
	struct lh_group group;

	c.peers = calloc(c.size, sizeof *c.peers);
	if (!c.peers)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%u peers", c.size);
	lh_run_group(r->exp, c.peers);
	int rc = r->has_exchange ? lh_exchange_configure(&r->exchange, &c, err) : 0;
	if (rc == 0)
		rc = lh_group_of(&c, &group, err);
	if (rc == 0) {
		rc = lh_pattern_chain(lh_pattern_find(c.algorithm), &group, LH_PEER_PARAMETERS_MAX, one_way, &delays,
				      &chain, err);
		lh_group_done(&group);
	}
	lh_peer_config_done(&c);
	if (rc < 0)
		return rc;
	/* The second all-reduce of powersgd needs the result of the first. */
	int in_a_row = r->exp->training.wire == LH_WIRE_POWERSGD ? 2 : 1;
	r->measure.latency_ns = delays.known ? in_a_row * chain.latency_ns : -1;
	r->result.trips = in_a_row * chain.trips;
	return 0;
}

/* What one exchange carries: a fragment where the strategy sends no more at a time. */
static uint64_t elements(const struct lh_experiment *exp)
{
	uint64_t n = lh_exchange_elements(exp), parts = exp->training.sync.fragments;

	return exp->training.sync.strategy == LH_STRATEGY_STREAMING_DILOCO && parts > 1 ? (n + parts - 1) / parts : n;
}

static void tell(struct lh_run *r)
{
	const struct lh_exchange_plan *x = &r->exchange;
	char limit[256];

	lh_progress_note(r->opt->progress, "algorithm %s: predicted %.3g s for an exchange; at least %.3g s (%s)",
			 lh_algorithm_names[x->algorithm], x->prediction.total_s, x->bound.total_s,
			 lh_exchange_bound_text(x, &r->exp->topology, limit, sizeof limit));
}

int lh_run_plan_exchange(struct lh_run *r, struct lh_err *err)
{
	const struct lh_training *tr = &r->exp->training;
	bool needed = tr->choose || tr->algorithm == LH_ALGORITHM_WEIGHTED_BUTTERFLY ||
		      tr->algorithm == LH_ALGORITHM_PACKED_TREES;
	struct lh_wires wires;
	/* Between two exchanges lies a calculation. */
	int rc = lh_exchange_wires(r->exp, &r->probe, true, &wires, err);

	if (rc < 0)
		return rc;
	r->result.host_known = isfinite(wires.host);
	rc = lh_exchange_plan(r->exp, &wires, elements(r->exp), &r->exchange, err);
	if (rc == 0) {
		r->has_exchange = true;
		r->result.exchange = &r->exchange;
		lh_exchange_busiest_text(&r->exchange, &wires, &r->exp->topology, r->result.predicted_limit,
					 sizeof r->result.predicted_limit);
		if (tr->choose)
			tell(r);
	}
	lh_wires_done(&wires);
	/* Without a plan the other algorithms run as well; only their prediction is missing. */
	return rc < 0 && needed ? rc : find_chain(r, err);
}
