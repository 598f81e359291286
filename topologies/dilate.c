/* Time dilation: the same experiment, slower. See docs/MEASUREMENT.md, "Time dilation". */
#include "longhaul/experiment.h"

/* Rounded; a rate stays a rate. */
static lh_bps slower(lh_bps rate, unsigned by)
{
	lh_bps r = (rate + by / 2) / by;
	return rate && !r ? 1 : r;
}

static void impairment(struct lh_impairment *imp, unsigned by)
{
	imp->delay_ns *= by;
	imp->jitter_ns *= by;
	imp->slot_min_ns *= by;
	imp->slot_max_ns *= by;
	imp->rate_bps = slower(imp->rate_bps, by);
}

/* What TCP counts in milliseconds of its own and a route may set. The kernel bounds the timeout itself by 120 s. */
static void tcp(struct lh_tcp *tcp, unsigned by)
{
	tcp->rto_min_ms = (tcp->rto_min_ms ? tcp->rto_min_ms : LH_TCP_RTO_MIN_MS) * by;
}

static void training(struct lh_training *t, unsigned by)
{
	t->samples_per_s /= by;
	t->deadline_ns *= by;
	t->sync.match_floor_ns *= by;
	t->checkpoint_ns *= by;
}

void lh_experiment_dilate(struct lh_experiment *exp)
{
	struct lh_topology *t = &exp->topology;
	const unsigned by = exp->dilation;
	if (by <= 1 || exp->dilated)
		return;
	exp->dilated = true;
	for (size_t i = 0; i < (size_t)t->nsites * t->nsites; i++)
		impairment(&t->links[i].imp, by);
	for (unsigned i = 0; i < t->nsites; i++) {
		t->sites[i].access.up_bps = slower(t->sites[i].access.up_bps, by);
		t->sites[i].access.down_bps = slower(t->sites[i].access.down_bps, by);
	}
	for (unsigned i = 0; i < lh_topology_nodes(t); i++) {
		t->peers[i].nic_bps = slower(t->peers[i].nic_bps, by);
		t->peers[i].samples_per_s /= by;
		tcp(&t->peers[i].tcp, by);
	}
	for (size_t i = 0; i < exp->nchanges; i++) {
		exp->changes[i].at_ns *= by;
		if (exp->changes[i].kind == LH_CHANGE_LINK)
			impairment(&exp->changes[i].imp, by);
	}
	training(&exp->training, by);
	exp->probe.goodput_ns *= by;
	lh_topology_derive(t);
}
