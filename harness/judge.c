/* judge.c - see judge.h. Rules run from the worst to the mildest, so the first reason decides the exit status. */
#include "judge.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

const char *lh_failure_kind_name(enum lh_failure_kind k)
{
	switch (k) {
	case LH_FAILURE_NONE:
		return "none";
	case LH_FAILURE_SETUP:
		return "setup";
	case LH_FAILURE_PEER_DIED:
		return "peer-died";
	case LH_FAILURE_STALLED:
		return "stalled";
	case LH_FAILURE_PEER:
		return "peer-failed";
	case LH_FAILURE_OUTPUT:
		return "output";
	case LH_FAILURE_INTERRUPTED:
		return "interrupted";
	}
	return "unknown";
}

static void object(struct lh_verdict *v, int exit_status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void object(struct lh_verdict *v, int exit_status, const char *fmt, ...)
{
	va_list ap;

	if (v->nreasons == 0)
		v->exit_status = exit_status;
	v->valid = false;
	if (v->nreasons == LH_REASONS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(v->reasons[v->nreasons++], sizeof v->reasons[0], fmt, ap);
	va_end(ap);
}

static void judge_replicas(const struct lh_judge_input *in, struct lh_verdict *v)
{
	const struct lh_summary *sum = &in->metrics->summary;
	const struct lh_topology *t = in->topology;

	if (sum->differ_epoch != UINT32_MAX) {
		char when[32] = "before the first epoch";
		if (sum->differ_epoch)
			snprintf(when, sizeof when, "after epoch %u", sum->differ_epoch);
		if (t->npeers > 2)
			object(v, LH_EXIT_BROKE, "peer %s: its parameters differ from the others' %s",
			       t->peers[sum->differ_peer].name, when);
		else
			object(v, LH_EXIT_BROKE, "peers %s and %s: their parameters differ %s", t->peers[0].name,
			       t->peers[1].name, when);
	}
	static const char *const wrong[] = {
		[LH_DEALT_TWICE] = "a sample counted twice", [LH_DEALT_STRANGE] = "a sample of another epoch counted",
		[LH_DEALT_TOO_FEW] = "samples of the target batch were dropped",
	};
	if (sum->wrong_epoch)
		object(v, LH_EXIT_BROKE, "epoch %u: %s", sum->wrong_epoch, wrong[sum->dealt]);
	else if (sum->short_epoch)
		object(v, LH_EXIT_BROKE, "epoch %u: %llu samples were trained, not the target batch", sum->short_epoch,
		       (unsigned long long)in->metrics->epochs[sum->short_epoch - in->metrics->epochs[0].epoch].samples);
}

/* Whatever a site's peers sent must have left one of its gateway's shaped interfaces, the site's own LAN included. */
static void judge_crossing(const struct lh_judge_input *in, struct lh_verdict *v)
{
	const struct lh_topology *t = in->topology;

	for (unsigned s = 0; in->traffic && s < t->nsites; s++) {
		double sent = 0, crossed = 0;
		bool known = true;
		for (unsigned i = 0; i < t->sites[s].npeers; i++)
			sent += (double)in->metrics->peers[t->sites[s].first_peer + i].bytes_sent;
		for (unsigned to = 0; to < t->nsites; to++) {
			known = known && in->traffic[s * t->nsites + to].known;
			crossed += (double)in->traffic[s * t->nsites + to].bytes;
		}
		if (known && crossed < LH_CROSSING_LEAST * sent)
			object(v, LH_EXIT_MACHINE, "site %s: its peers sent %.0f bytes, of which only %.0f crossed the "
			       "emulated links", t->sites[s].name, sent, crossed);
	}
}

static void judge_pace(const struct lh_judge_input *in, struct lh_verdict *v)
{
	const struct lh_summary *sum = &in->metrics->summary;
	const char *device = in->topology->peers[sum->latest_peer].device;
	bool named = *device && strcmp(device, "cpu");

	if (sum->lateness > LH_LATENESS_LIMIT && named)
		object(v, LH_EXIT_INCONCLUSIVE, "peer %s: NOT PACED: behind the rate of device %s for %.1f %% of the epochs' "
		       "time, in %llu of %llu steps; at most %.0f %% is accepted (use fewer peers, or a larger dilation)",
		       in->topology->peers[sum->latest_peer].name, device,
		       sum->lateness * 100, (unsigned long long)in->metrics->peers[sum->latest_peer].late_steps,
		       (unsigned long long)in->metrics->peers[sum->latest_peer].steps, LH_LATENESS_LIMIT * 100);
	if (sum->cpus_needed > in->cpus)
		object(v, LH_EXIT_INCONCLUSIVE, "the peers' paces together need %.2f CPUs; this kernel has %u (lower "
		       "training.pace or use fewer peers)", sum->cpus_needed, in->cpus);
	if (!named && sum->lateness > LH_LATENESS_LIMIT)
		object(v, LH_EXIT_INCONCLUSIVE, "peer %s: behind its declared pace for %.1f %% of the epochs' time; at "
		       "most %.0f %% is accepted", in->topology->peers[sum->latest_peer].name, sum->lateness * 100,
		       LH_LATENESS_LIMIT * 100);
	if (sum->epochs == 0)
		object(v, LH_EXIT_INCONCLUSIVE, "no epoch was trained after the warm-up");
}

void lh_judge(const struct lh_judge_input *in, struct lh_verdict *ret)
{
	struct lh_verdict v = { .valid = true, .exit_status = LH_EXIT_OK };

	if (in->failure->kind != LH_FAILURE_NONE)
		object(&v, in->failure->exit_status, "%.500s", in->failure->text);
	if (in->gave_up && in->failure->kind == LH_FAILURE_NONE)
		object(&v, LH_EXIT_BROKE, "%.500s", in->gave_up);
	if (in->metrics) {
		judge_replicas(in, &v);
		if (in->failure->kind == LH_FAILURE_NONE)
			judge_crossing(in, &v);
	}
	if (in->verify_after)
		object(&v, LH_EXIT_MACHINE, "after the training: %.480s", in->verify_after->text);
	if (in->metrics && in->failure->kind == LH_FAILURE_NONE)
		judge_pace(in, &v);
	*ret = v;
}
