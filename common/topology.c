/* topology.c - what follows from a topology alone: link modes, the RTT a ping should see, who needs netem. */
#include "longhaul/topology.h"

#include <stdlib.h>

/* Offloads bundle packets into one skb, and netem draws once per skb: these need packets as they are. */
static bool wants_packets(const struct lh_impairment *imp)
{
	return imp->loss_model != LH_LOSS_NONE || imp->reorder_ppb || imp->duplicate_ppb || imp->corrupt_ppb;
}

void lh_topology_derive(struct lh_topology *t)
{
	for (unsigned from = 0; from < t->nsites; from++) {
		bool packet = false;
		for (unsigned to = 0; to < t->nsites; to++) {
			const struct lh_link *link = lh_topology_link(t, from, to);
			packet |= link->mode == LH_MODE_PACKET || wants_packets(&link->imp);
		}
		for (unsigned to = 0; to < t->nsites; to++) {
			struct lh_link *link = lh_topology_link(t, from, to);
			link->mode = packet ? LH_MODE_PACKET : LH_MODE_GSO;
			link->rtt_spec_ns = link->imp.delay_ns + lh_topology_link(t, to, from)->imp.delay_ns;
		}
	}
}

bool lh_impairment_needs_netem(const struct lh_impairment *imp)
{
	return imp->delay_ns || imp->jitter_ns || wants_packets(imp) || imp->rate_overhead_bytes ||
	       imp->slot_min_ns || imp->slot_max_ns;
}

void lh_topology_done(struct lh_topology *t)
{
	if (!t)
		return;
	free(t->description);
	free(t->sites);
	free(t->peers);
	free(t->links);
	*t = (struct lh_topology){ 0 };
}
