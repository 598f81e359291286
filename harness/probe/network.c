/* network.c - the network as every command uses it: up, verified, its own delay measured and taken off, verified
 * again, and past the RTT gate. */
#include "probe.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct steps {
	lh_probe_progress_fn *progress;
	void *ctx;
};

static int applying(void *ctx, size_t done, size_t total, const char *what)
{
	struct steps *s = ctx;
	/* One line a step would be a flood: 8 peers are 300 operations. */
	if (s->progress && (done % 64 == 0 || done + 1 == total))
		s->progress(s->ctx, "building the network", done, total);
	return 0;
}

static void say(struct steps *s, const char *what)
{
	if (s->progress)
		s->progress(s->ctx, what, 0, 1);
}

static int measure(struct lh_net *net, const struct lh_experiment *exp, struct steps *s, lh_ns *floors,
		   struct lh_probe_report *ret_rep, struct lh_err *err)
{
	double capacity = NAN;
	size_t n = (size_t)exp->topology.nsites * exp->topology.nsites;
	lh_ns *known = calloc(n, sizeof *known);
	int rc = known ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	say(s, "the path's own delay");
	if (!rc)
		rc = lh_net_verify(net, NULL, NULL, err);
	if (!rc)
		rc = lh_probe_floors(net, &exp->topology, floors, err);
	if (!rc && exp->training.choose && exp->topology.npeers > 1) {
		say(s, "what this machine carries");
		rc = lh_probe_capacity(net, &exp->topology, &capacity, err);
	}
	for (size_t i = 0; i < n && !rc; i++) /* nothing is known of a LAN with one peer, and nothing crosses it */
		known[i] = floors[i] > 0 ? floors[i] : 0;
	if (!rc)
		rc = lh_net_set_floors(net, known, err);
	if (!rc)
		rc = lh_net_verify(net, NULL, NULL, err);
	free(known);
	if (!rc)
		rc = lh_probe_rtt(net, exp, floors, s->progress, s->ctx, ret_rep, err);
	ret_rep->capacity_byte_per_s = capacity;
	return rc;
}

int lh_probe_network_up(const struct lh_experiment *exp, lh_probe_progress_fn *progress, void *ctx,
			struct lh_net **ret_net, struct lh_probe_report *ret_rep, struct lh_err *err)
{
	struct lh_plan_options opt = { .zero_delay = true };
	struct steps s = { progress, ctx };
	struct lh_plan *plan = NULL;
	struct lh_net *net = NULL;
	size_t n = (size_t)exp->topology.nsites * exp->topology.nsites;
	lh_ns *floors = calloc(n, sizeof *floors);
	*ret_rep = (struct lh_probe_report){ .capacity_byte_per_s = NAN };
	int rc = floors ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "probe");
	if (!rc)
		rc = lh_plan_new(&exp->topology, &opt, &plan, err);
	if (!rc)
		rc = lh_net_up(&exp->topology, plan, applying, &s, &net, err);
	if (!rc)
		rc = measure(net, exp, &s, floors, ret_rep, err);
	lh_plan_free(plan);
	free(floors);
	if (rc && net)
		lh_net_down(net, NULL);
	if (!rc)
		*ret_net = net;
	return rc;
}
