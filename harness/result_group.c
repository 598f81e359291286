/* result_group.c - what elastic membership did to a run: of result.json the object "group", and its text. */
#include <jansson.h>
#include <math.h>

#include "result_group.h"
#include "stats.h"

static double seconds(lh_ns from, lh_ns to)
{
	return from && to ? (double)(to - from) / 1e9 : NAN;
}

static double larger(double a, double b)
{
	return isnan(a) || b > a ? b : a;
}

/* The times of one interruption; NaN where it has none. */
struct times { double t_s, notice_s, detect_s, regroup_s, restart_s, sync_s, back_s; };

static struct times times_of(const struct lh_result *r, const struct lh_interruption *i)
{
	const double scale = lh_experiment_scale(r->exp);
	struct times t = {
		.t_s = seconds(r->series->go_ns, i->gone_ns ? i->gone_ns : i->detected_ns),
		.notice_s = seconds(i->notice_ns, i->gone_ns),
		.detect_s = seconds(i->gone_ns, i->detected_ns),
		.regroup_s = seconds(i->gone_ns, i->regrouped_ns),
		.restart_s = seconds(i->gone_ns, i->restart_ns),
		.sync_s = i->synced_ns ? (double)i->sync_ns / 1e9 : NAN,
		.back_s = seconds(i->restart_ns, i->back_ns),
	};
	double *const all[] = { &t.t_s, &t.notice_s, &t.detect_s, &t.regroup_s, &t.restart_s, &t.sync_s, &t.back_s };
	for (size_t k = 0; k < sizeof all / sizeof *all; k++)
		*all[k] /= scale;
	return t;
}

double lh_result_throughput_lost(const struct lh_result *r)
{
	const struct lh_summary *m = r->metrics ? &r->metrics->summary : NULL;
	double whole = r->baseline_dir ? r->baseline_sps : m ? m->undisturbed_sps : NAN;

	return m && whole > 0 ? 1 - m->throughput_sps / whole : NAN;
}

/* NaN where nothing is held back by design. */
static double held_back(const struct lh_result *r, const struct lh_interruption *i)
{
	return r->exp->training.codec.error_feedback ? i->held_back_l1 : NAN;
}

static json_t *interruption_json(const struct lh_result *r, const struct lh_interruption *i)
{
	struct times t = times_of(r, i);
	json_t *o = json_pack("{s:s, s:s}", "peer", r->exp->topology.peers[i->peer].name, "why",
			      lh_interruption_why_name(i->why));

	json_object_set_new(o, "t_s", lh_json_number(t.t_s));
	json_object_set_new(o, "epoch", i->epoch ? json_integer(i->epoch) : json_null());
	json_object_set_new(o, "view", i->view ? json_integer(i->view) : json_null());
	json_object_set_new(o, "notice_s", lh_json_number(t.notice_s));
	json_object_set_new(o, "detect_s", lh_json_number(t.detect_s));
	json_object_set_new(o, "regroup_s", lh_json_number(t.regroup_s));
	json_object_set_new(o, "restart_s", lh_json_number(t.restart_s));
	json_object_set_new(o, "sync_s", lh_json_number(t.sync_s));
	json_object_set_new(o, "sync_bytes", i->synced_ns ? json_integer((json_int_t)i->sync_bytes) : json_null());
	json_object_set_new(o, "back_s", lh_json_number(t.back_s));
	json_object_set_new(o, "held_back_l1", lh_json_number(held_back(r, i)));
	return o;
}

static json_t *checkpoints_json(const struct lh_group_log *g, double scale)
{
	double mean = g->checkpoints ? (double)g->checkpoint_ns / 1e9 / scale / g->checkpoints : NAN;

	return json_pack("{s:I, s:I, s:o}", "count", (json_int_t)g->checkpoints, "bytes",
			 (json_int_t)g->checkpoint_bytes, "write_s_mean", lh_json_number(mean));
}

json_t *lh_result_group_json(const struct lh_result *r)
{
	const struct lh_group_log *g = r->group;
	const struct lh_summary *m = r->metrics ? &r->metrics->summary : NULL;
	double detect = NAN, regroup = NAN, back = NAN, lost = r->exp->training.codec.error_feedback ? 0 : NAN;
	json_t *list = json_array();
	uint64_t redealt = 0;
	unsigned aborted = 0;

	if (!g || !r->series || r->exp->training.membership != LH_MEMBERSHIP_ELASTIC) {
		json_decref(list);
		return json_null();
	}
	for (size_t i = 0; i < r->ninterruptions; i++) {
		struct times t = times_of(r, &r->interruptions[i]);
		detect = larger(detect, t.detect_s);
		regroup = larger(regroup, t.regroup_s);
		back = larger(back, t.back_s);
		if (isfinite(held_back(r, &r->interruptions[i])))
			lost += held_back(r, &r->interruptions[i]);
		json_array_append_new(list, interruption_json(r, &r->interruptions[i]));
	}
	for (size_t i = 0; i < g->nviews; i++) {
		redealt += g->views[i].samples_redealt;
		aborted += g->views[i].aborted_round != 0;
	}
	uint64_t dealt = r->metrics ? r->metrics->nepochs * r->exp->training.target_batch : 0, counted = 0;
	for (uint32_t i = 0; r->metrics && i < r->metrics->nepochs; i++)
		counted += r->metrics->epochs[i].samples;
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I}", "views", (json_int_t)g->nviews, "rounds_aborted",
			      (json_int_t)aborted, "samples_redealt", (json_int_t)redealt, "samples_unreported",
			      (json_int_t)(m ? m->unreported : 0), "samples_lost", (json_int_t)(dealt - counted));
	json_object_set_new(o, "held_back_lost_l1", lh_json_number(lost));
	json_object_set_new(o, "detect_s_max", lh_json_number(detect));
	json_object_set_new(o, "regroup_s_max", lh_json_number(regroup));
	json_object_set_new(o, "back_s_max", lh_json_number(back));
	json_object_set_new(o, "undisturbed_sps", lh_json_number(m ? m->undisturbed_sps : NAN));
	json_object_set_new(o, "baseline", r->baseline_dir ? json_pack("{s:s, s:o}", "dir", r->baseline_dir,
			    "throughput_sps", lh_json_number(r->baseline_sps)) : json_null());
	json_object_set_new(o, "throughput_lost", lh_json_number(lh_result_throughput_lost(r)));
	json_object_set_new(o, "checkpoints", checkpoints_json(g, lh_experiment_scale(r->exp)));
	json_object_set_new(o, "interruptions", list);
	return o;
}

static void print_time(FILE *out, double s)
{
	if (isfinite(s))
		fprintf(out, " %8.3f s", s);
	else
		fprintf(out, " %10s", "-");
}

void lh_result_group_print(const struct lh_result *r, FILE *out)
{
	const struct lh_group_log *g = r->group;
	uint64_t redealt = 0;

	if (!g || !r->series || r->exp->training.membership != LH_MEMBERSHIP_ELASTIC)
		return;
	if (r->ninterruptions)
		fprintf(out, "\n  %-16s %-8s %10s %6s %10s %10s %10s %10s\n", "interruption", "why", "at", "epoch",
			"detected", "regrouped", "restarted", "back after");
	for (size_t i = 0; i < r->ninterruptions; i++) {
		const struct lh_interruption *x = &r->interruptions[i];
		struct times t = times_of(r, x);
		fprintf(out, "  %-16s %-8s", r->exp->topology.peers[x->peer].name, lh_interruption_why_name(x->why));
		print_time(out, t.t_s);
		if (x->epoch)
			fprintf(out, " %6u", x->epoch);
		else
			fprintf(out, " %6s", "-");
		print_time(out, t.detect_s);
		print_time(out, t.regroup_s);
		print_time(out, t.restart_s);
		print_time(out, t.back_s);
		fputc('\n', out);
	}
	for (size_t i = 0; i < g->nviews; i++)
		redealt += g->views[i].samples_redealt;
	fprintf(out, "  %-22s %zu view%s, %zu interruption%s, %llu samples dealt again\n", "group", g->nviews,
		g->nviews == 1 ? "" : "s", r->ninterruptions, r->ninterruptions == 1 ? "" : "s",
		(unsigned long long)redealt);
	if (isfinite(lh_result_throughput_lost(r)))
		fprintf(out, "  %-22s %.1f %% against %s\n", "throughput lost", lh_result_throughput_lost(r) * 100,
			r->baseline_dir ? r->baseline_dir : "this run's undisturbed epochs");
}
