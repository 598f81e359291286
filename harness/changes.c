/* changes.c - see changes.h. */
#include "changes.h"

#include <errno.h>
#include <string.h>

bool lh_changes_keep_delays(const struct lh_experiment *exp)
{
	for (size_t i = 0; i < exp->nchanges; i++) {
		const struct lh_change *c = &exp->changes[i];
		if (c->kind == LH_CHANGE_LINK &&
		    c->imp.delay_ns != lh_topology_link(&exp->topology, c->from, c->to)->imp.delay_ns)
			return false;
	}
	return true;
}

lh_ns lh_changes_due_ns(const struct lh_changes *c, lh_ns go_ns)
{
	if (!go_ns || c->next >= c->exp->nchanges)
		return INT64_MAX;
	return go_ns + c->exp->changes[c->next].at_ns;
}

/* Is from -> to cut by this partition? */
static bool crosses(const struct lh_change *c, unsigned from, unsigned to)
{
	return ((c->group_mask >> from) & 1) != ((c->group_mask >> to) & 1);
}

static void partition_text(const struct lh_topology *t, const struct lh_change *c, char *buf, size_t size)
{
	size_t used = 0;

	for (int side = 1; side >= 0; side--) {
		used += (size_t)snprintf(buf + used, size - used, side ? "partition: [" : "] | [");
		bool first = true;
		for (unsigned s = 0; s < t->nsites && used < size; s++) {
			if ((int)((c->group_mask >> s) & 1) != side)
				continue;
			used += (size_t)snprintf(buf + used, size - used, "%s%s", first ? "" : ", ", t->sites[s].name);
			first = false;
		}
		if (used >= size)
			return;
	}
	snprintf(buf + used, size - used, "]");
}

char *lh_change_text(const struct lh_topology *t, const struct lh_change *c, char *buf, size_t size)
{
	char delay[32], rate[32], loss[32];

	switch (c->kind) {
	case LH_CHANGE_LINK:
		snprintf(buf, size, "link %s->%s: delay %s, rate %s, random loss %s", t->sites[c->from].name,
			 t->sites[c->to].name, lh_ns_print(c->imp.delay_ns, delay, sizeof delay),
			 c->imp.rate_bps ? lh_bps_print(c->imp.rate_bps, rate, sizeof rate) : "unlimited",
			 lh_ppb_print(c->imp.loss_ppb, loss, sizeof loss));
		break;
	case LH_CHANGE_CUT:
		snprintf(buf, size, "link %s->%s: cut", t->sites[c->from].name, t->sites[c->to].name);
		break;
	case LH_CHANGE_HEAL:
		snprintf(buf, size, "link %s->%s: healed", t->sites[c->from].name, t->sites[c->to].name);
		break;
	case LH_CHANGE_PARTITION:
		partition_text(t, c, buf, size);
		break;
	case LH_CHANGE_KILL:
		snprintf(buf, size, "peer %s: killed by the schedule", t->peers[c->peer].name);
		break;
	case LH_CHANGE_NOTICE:
		snprintf(buf, size, "peer %s: told that it will be killed", t->peers[c->peer].name);
		break;
	case LH_CHANGE_ADD:
		snprintf(buf, size, "peer %s: started", t->peers[c->peer].name);
		break;
	}
	return buf;
}

static int apply_one(struct lh_changes *c, const struct lh_change *change, struct lh_net *net,
		     const struct lh_changes_handler *h, struct lh_err *err)
{
	unsigned nsites = c->exp->topology.nsites;
	int rc = 0;

	switch (change->kind) {
	case LH_CHANGE_LINK:
		return lh_net_set_link(net, change->from, change->to, &change->imp, err);
	case LH_CHANGE_CUT:
	case LH_CHANGE_HEAL:
		return lh_net_cut_link(net, change->from, change->to, change->kind == LH_CHANGE_CUT, err);
	case LH_CHANGE_PARTITION:
		for (unsigned i = 0; rc == 0 && i < nsites; i++)
			for (unsigned j = 0; rc == 0 && j < nsites; j++)
				if (crosses(change, i, j))
					rc = lh_net_cut_link(net, i, j, true, err);
		return rc;
	case LH_CHANGE_KILL:
		h->kill(h->ctx, change->peer);
		return 0;
	case LH_CHANGE_NOTICE:
		h->notice(h->ctx, change->peer);
		return 0;
	case LH_CHANGE_ADD:
		if (!h->add)
			return lh_err_set(err, LH_EXIT_INPUT, -ENOTSUP, "a running group takes no peer in");
		return h->add(h->ctx, change->peer, err);
	}
	return rc;
}

int lh_changes_apply(struct lh_changes *c, struct lh_net *net, lh_ns go_ns, lh_ns now_ns,
		     const struct lh_changes_handler *h, struct lh_err *err)
{
	while (lh_changes_due_ns(c, go_ns) <= now_ns) {
		const struct lh_change *change = &c->exp->changes[c->next++];
		char text[512];
		int rc = apply_one(c, change, net, h, err);
		lh_change_text(&c->exp->topology, change, text, sizeof text);
		if (rc < 0) {
			lh_err_wrap(err, "schedule: %s", text);
			return rc;
		}
		rc = h->done(h->ctx, change, text, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}
