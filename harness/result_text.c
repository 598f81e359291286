/* result_text.c - a run's outcome for people. Every figure is one of result.json, rounded. */
#include <math.h>

#include "result_group.h"
#include "stats.h"
#include "state_run.h"

static void print_seconds(FILE *out, double s)
{
	if (!isfinite(s))
		fprintf(out, "%10s", "-");
	else
		fprintf(out, "%8.3f s", s);
}

static void print_ratio(FILE *out, const char *label, double v)
{
	if (isfinite(v))
		fprintf(out, "  %-22s %.*f\n", label, lh_digits_after(v, 3), v);
	else
		fprintf(out, "  %-22s undefined\n", label);
}

static void print_links(const struct lh_result *r, FILE *out)
{
	const struct lh_topology *t = &r->exp->topology;
	size_t shown = 0;

	if (!r->probe || !r->probe->nlinks)
		return;
	fprintf(out, "\n  %-24s %12s %12s %8s %8s  %s\n", "link", "RTT asked", "measured", "mode", "drops", "verdict");
	for (size_t i = 0; i < r->probe->nlinks; i++) {
		const struct lh_link_result *l = &r->probe->links[i];
		char name[2 * LH_NAME_MAX + 4];
		if (l->from == l->to && l->rtt_median_ns < 0)
			continue;
		if (++shown > 24) {
			fprintf(out, "  ... (all of them: links.csv)\n");
			break;
		}
		snprintf(name, sizeof name, "%s->%s", t->sites[l->from].name, t->sites[l->to].name);
		fprintf(out, "  %-24s %9.3f ms", name, (double)l->rtt_spec_ns / 1e6);
		if (l->rtt_median_ns >= 0)
			fprintf(out, " %9.3f ms", (double)l->rtt_median_ns / 1e6);
		else
			fprintf(out, " %12s", "-");
		fprintf(out, " %8s", l->mode == LH_MODE_PACKET ? "packet" : "gso");
		const struct lh_link_traffic *tr = r->traffic ? &r->traffic[l->from * t->nsites + l->to] : NULL;
		if (tr && tr->known)
			fprintf(out, " %8llu", (unsigned long long)tr->drops);
		else
			fprintf(out, " %8s", "-");
		fprintf(out, "  %s\n", lh_link_verdict_name(l->verdict));
	}
}

/* What the communication column is the sum of, below its head. */
static void print_parts(const struct lh_epoch_metrics *e, FILE *out)
{
	const struct {
		int width;
		double s;
	} parts[] = {
		{ 11, e->latency_s }, { 9, e->bandwidth_s }, { 7, e->wait_s }, { 6, e->coding_s }, { 6, e->update_s },
	};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		if (isfinite(parts[i].s))
			fprintf(out, " %*.3f", parts[i].width - (i == 0), parts[i].s);
		else
			fprintf(out, " %*s", parts[i].width - (i == 0), "-");
	}
}

static void print_epochs(const struct lh_result *r, FILE *out)
{
	const struct lh_metrics *m = r->metrics;

	if (!m || !m->nepochs)
		return;
	fprintf(out, "\n  %5s %10s %10s %10s  %s %10s %12s %10s\n", "epoch", "wall", "calc", "comm",
		"= latency bandwidth waiting coding update", "samples/s", "sent", "loss");
	for (uint32_t i = 0; i < m->nepochs; i++) {
		const struct lh_epoch_metrics *e = &m->epochs[i];
		if (m->nepochs > 24 && i >= 12 && i + 12 < m->nepochs) {
			if (i == 12)
				fprintf(out, "  ... (all of them: epochs.csv)\n");
			continue;
		}
		fprintf(out, "  %5u", e->epoch);
		fputc(' ', out);
		print_seconds(out, e->wall_s);
		fputc(' ', out);
		print_seconds(out, e->calc_s);
		fputc(' ', out);
		print_seconds(out, e->comm_s);
		print_parts(e, out);
		double rate = e->wall_s > 0 ? (double)e->samples / e->wall_s : 0.0;
		fprintf(out, " %10.*f %9.2f MB", lh_digits_after(rate, 4), rate, (double)e->bytes_sent / 1e6);
		if (isfinite(e->loss))
			fprintf(out, " %10.4f", e->loss);
		else
			fprintf(out, " %10s", "-");
		if (r->series && r->series->elastic)
			fprintf(out, " %3u peers%s", e->peers, e->disturbed ? ", disturbed" : "");
		fprintf(out, "%s\n", e->warmup ? "  warm-up" : "");
	}
}

/* What the communication was, and what the peers did all the time. */
static void print_split(const struct lh_summary *s, FILE *out)
{
	const struct {
		const char *name;
		double s;
	} parts[] = {
		{ "latency", s->latency_s }, { "bandwidth", s->bandwidth_s }, { "waiting", s->wait_s },
		{ "coding", s->coding_s }, { "update", s->update_s },
	};
	bool any = false;

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (isfinite(parts[i].s)) {
			fprintf(out, "%s%s %.3f s", any ? ", " : "  (", parts[i].name, parts[i].s);
			any = true;
		}
	fputs(any ? ")\n" : "\n", out);
	if (!isfinite(s->time_share[0]))
		return;
	fprintf(out, "  %-22s", "peers' time");
	any = false;
	for (unsigned k = 0; k < LH_SPAN_KINDS; k++)
		if (s->time_share[k] >= 0.0005) {
			fprintf(out, "%s %s %.1f %%", any ? "," : "", lh_span_names[k], s->time_share[k] * 100);
			any = true;
		}
	fputc('\n', out);
}

/* The peer whose streams were stopped by a window or a buffer for the largest share of their busy time. */
static void print_tcp(const struct lh_result *r, FILE *out)
{
	const struct lh_metrics *m = r->metrics;
	uint64_t retransmits = 0;
	unsigned worst = m->npeers;
	double most = -1;

	for (unsigned i = 0; i < m->npeers; i++) {
		const struct lh_peer_metrics *p = &m->peers[i];
		if (!p->has_tcp)
			return;
		retransmits += p->tcp_retransmits;
		double share = p->tcp_busy_s > 0 ? (p->tcp_window_s + p->tcp_buffer_s) / p->tcp_busy_s : 0;
		if (share > most) {
			most = share;
			worst = i;
		}
	}
	if (worst == m->npeers)
		return;
	const struct lh_peer_metrics *p = &m->peers[worst];
	fprintf(out, "  %-22s %s: busy %.3f s, of it stopped by the window %.3f s, by its buffer %.3f s; "
		"%llu segments sent again by all%s\n", "TCP says", r->exp->topology.peers[worst].name, p->tcp_busy_s,
		p->tcp_window_s, p->tcp_buffer_s, (unsigned long long)retransmits, r->tcp.checked ? "; inet_diag agrees" : "");
}

static void print_exchange(const struct lh_result *r, FILE *out)
{
	const struct lh_exchange_plan *x = r->exchange;
	double reached = lh_result_bound_fraction(r);
	char limit[256];

	if (!x)
		return;
	fprintf(out, "  %-22s %s%s, predicted %.3g s\n", "exchange", lh_result_algorithm(r),
		r->exp->training.choose ? " (auto)" : "", x->prediction.total_s);
	fprintf(out, "  %-22s %.3g s: node %.3g, cut %.3g, delay %.3g, host ", "lower bound", x->bound.total_s,
		x->bound.node_s, x->bound.cut_s, x->bound.delay_s);
	if (r->host_known)
		fprintf(out, "%.3g", x->bound.host_s);
	else
		fputs("not known", out);
	fprintf(out, " (%s)%s\n", lh_exchange_bound_text(x, &r->exp->topology, limit, sizeof limit),
		x->bound.host_limited ? ": HOST-LIMITED" : "");
	if (isfinite(reached))
		fprintf(out, "  %-22s %.0f %% of the bound\n", "reached", reached * 100);
}

/* What the store gave, all epochs, and how long the mean peer had nothing to calculate with. */
static void print_data(const struct lh_result *r, const struct lh_summary *s, FILE *out)
{
	const unsigned store = r->exp->training.store;

	if (!store)
		return;
	fprintf(out, "  %-22s %.3f s of the calculation (%.1f %%); %.2f MB from %s: %llu samples, %llu more from caches\n", "data wait",
		s->data_wait_s, s->calc_s > 0 ? s->data_wait_s / s->calc_s * 100 : 0.0, (double)s->data_bytes / 1e6,
		r->exp->topology.peers[store].name, (unsigned long long)s->data_samples, (unsigned long long)s->data_cached);
}

static void print_summary(const struct lh_result *r, FILE *out)
{
	const struct lh_summary *s = r->metrics ? &r->metrics->summary : NULL;

	if (!s || !s->epochs)
		return;
	fprintf(out, "\n  over %u epoch%s after the warm-up:\n", s->epochs, s->epochs == 1 ? "" : "s");
	fprintf(out, "  %-22s %.*f samples/s\n", "throughput", lh_digits_after(s->throughput_sps, 4), s->throughput_sps);
	fprintf(out, "  %-22s %.3f s\n", "calculation", s->calc_s);
	fprintf(out, "  %-22s %.3f s", "communication", s->comm_s);
	print_split(s, out);
	print_data(r, s, out);
	print_tcp(r, out);
	if (r->comm_cpu_busy >= LH_HOST_LIMITED)
		fprintf(out, "  %-22s a CPU of this machine was busy for %.0f %% of the communication: HOST-LIMITED\n",
			"", r->comm_cpu_busy * 100);
	print_exchange(r, out);
	print_ratio(out, "granularity", s->granularity);
	print_ratio(out, "efficiency", s->efficiency);
	if (s->matched_epochs)
		fprintf(out, "  %-22s %u of all %u", "rounds split", s->split_epochs, s->matched_epochs);
	if (s->split_epochs)
		fprintf(out, ": groups averaged each by itself, the smallest of %u peer%s", s->smallest_group,
			s->smallest_group == 1 ? "" : "s");
	if (s->matched_epochs)
		fputc('\n', out);
	fprintf(out, "  %-22s %s\n", "replicas identical",
		!s->shared_epochs ? s->split_epochs ? "not compared: they differ since the first round, which was split" :
		"not compared: the strategy keeps none alike" : !s->replicas_identical ? "NO" :
		s->split_epochs ? "until the first round that was split; not compared since" : "yes");
	if (s->dealt != LH_DEALT_NOT_TOLD || s->wrong_epoch)
		fprintf(out, "  %-22s %s\n", "each sample once", s->dealt == LH_DEALT_ONCE ? "yes" : "NO");
	if (isfinite(s->lateness))
		fprintf(out, "  %-22s %.2f %% (%s)", "lateness, largest", s->lateness * 100,
			r->exp->topology.peers[s->latest_peer].name);
	if (isfinite(s->lateness) && s->steps)
		fprintf(out, "; %llu of %llu steps of all peers were late", (unsigned long long)s->late_steps,
			(unsigned long long)s->steps);
	if (isfinite(s->lateness))
		fputc('\n', out);
	if (r->series && r->series->has_eval)
		fprintf(out, "  %-22s %.4g (reference %.4g)\n", r->series->eval.metric, r->series->eval.value,
			r->series->eval.reference);
}

void lh_result_print(const struct lh_result *r, FILE *out)
{
	const struct lh_topology *t = &r->exp->topology;
	const struct lh_training *tr = &r->exp->training;

	fprintf(out, "%s: %s on engine %s%s, %u peer%s on %u site%s, target batch %llu; kernel %s (netem: %s)\n",
		t->name, tr->model, lh_engine_name(tr->engine),
		tr->engine == LH_ENGINE_PACED ? " (PACED: calculation is waited out, not done)" : "", t->npeers,
		t->npeers == 1 ? "" : "s", t->nsites, t->nsites == 1 ? "" : "s", (unsigned long long)tr->target_batch,
		r->kernel_release, lh_netem_where_name(r->netem));
	if (r->resumed_dir)
		fprintf(out, "  goes on after round %u of %s\n", r->resumed, r->resumed_dir);
	for (unsigned i = 0; r->resumed_changes && i < r->resumed_changes->n; i++)
		fprintf(out, "  %s: %s, was %s there\n", r->resumed_changes->of[i].key, r->resumed_changes->of[i].is,
			r->resumed_changes->of[i].was);
	if (lh_experiment_scale(r->exp) > 1)
		fprintf(out, "DILATED %u times: run with delays and timers times %u, rates and paces divided by it; all times and rates "
			"below are divided back. TCP's least retransmission timeout goes along; its delayed acknowledgements, the first "
			"second that a connection waits, cubic's clock and the CPU's work do not dilate.\n", r->exp->dilation, r->exp->dilation);
	if (tr->engine != LH_ENGINE_PACED && tr->data != LH_DATA_AUTO)
		fprintf(out, "  %-22s %s: %s\n", "data", lh_data_names[tr->data], lh_data_texts[tr->data]);
	print_links(r, out);
	print_epochs(r, out);
	print_summary(r, out);
	lh_result_group_print(r, out);
	fputc('\n', out);
	if (r->verdict.valid)
		fprintf(out, "  valid\n");
	for (unsigned i = 0; i < r->verdict.nreasons; i++)
		fprintf(out, "  NOT VALID: %s\n", r->verdict.reasons[i]);
	if (r->dir)
		fprintf(out, "  files: %s\n", r->dir);
}
