/* result.c - result.json and epochs.csv; the text is in result_text.c. */
#include "result.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "changes.h"
#include "result_group.h"
#include "state_run.h"
#include "stats.h"
#include "watch.h"

const char *lh_engine_name(enum lh_engine e)
{
	return lh_engine_names[e];
}

const char *lh_wire_name(enum lh_wire w)
{
	return lh_wire_names[w];
}

const char *lh_netem_where_name(enum lh_netem_where w)
{
	return w == LH_NETEM_UML ? "uml" : w == LH_NETEM_HOST ? "host" : "none";
}

static json_t *number(double v)
{
	return lh_json_number(v);
}

static json_t *count(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *hash_text(uint64_t h)
{
	return json_sprintf("%016" PRIx64, h);
}

double lh_result_bound_fraction(const struct lh_result *r)
{
	const struct lh_training *tr = &r->exp->training;
	const struct lh_summary *s = r->metrics ? &r->metrics->summary : NULL;
	bool blocks = (tr->sync.strategy == LH_STRATEGY_EXACT || tr->sync.strategy == LH_STRATEGY_ETA) &&
		      !tr->sync.match_floor_ns && tr->membership == LH_MEMBERSHIP_FIXED;

	if (!r->exchange || !s || !s->epochs || !blocks || !lh_changes_keep_delays(r->exp))
		return NAN;
	double took = (s->comm_s - s->update_s) / s->epochs;
	return took > 0 && r->exchange->bound.total_s > 0 ? r->exchange->bound.total_s / took : NAN;
}

const char *lh_result_algorithm(const struct lh_result *r)
{
	const struct lh_training *tr = &r->exp->training;

	return r->exchange ? lh_algorithm_names[r->exchange->algorithm] :
	       tr->choose  ? "auto" : lh_algorithm_names[tr->algorithm];
}

/* What was predicted before, and what any algorithm would have needed. */
static json_t *exchange_json(const struct lh_result *r)
{
	const struct lh_exchange_plan *x = r->exchange;
	const struct lh_training *tr = &r->exp->training;
	char limit[256];

	if (!x)
		return json_null();
	json_t *all = json_object();
	for (unsigned a = 0; a < LH_ALGORITHMS; a++)
		if (isfinite(x->predicted_s[a]))
			json_object_set_new(all, lh_algorithm_names[a], number(x->predicted_s[a]));
	return json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:o}", "asked",
			 tr->choose ? "auto" : lh_algorithm_names[tr->algorithm], "algorithm", lh_result_algorithm(r),
			 "elements", (json_int_t)x->elements, "size_bytes", number((double)x->elements * x->element_bytes),
			 "predicted_s", number(x->prediction.total_s), "predictions_s", all, "bound_s",
			 lh_exchange_bound_json(&x->bound, r->host_known), "bound_by",
			 lh_exchange_bound_text(x, &r->exp->topology, limit, sizeof limit), "predicted_limit",
			 r->predicted_limit, "host_limited", x->bound.host_limited, "bound_fraction",
			 number(lh_result_bound_fraction(r)));
}

static json_t *experiment_json(const struct lh_result *r)
{
	const struct lh_experiment *exp = r->exp;
	const struct lh_training *tr = &exp->training;

	const bool learns = tr->engine != LH_ENGINE_PACED && tr->data != LH_DATA_AUTO;
	return json_pack("{s:s, s:I, s:s, s:s, s:s?, s:s?, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "name", exp->topology.name, "dilation", (json_int_t)lh_experiment_scale(exp),
			 "engine", lh_engine_name(tr->engine), "model", tr->model,
			 "data", learns ? lh_data_names[tr->data] : NULL, "data_is", learns ? lh_data_texts[tr->data] : NULL,
			 "wire", lh_wire_name(tr->wire),
			 "algorithm", lh_result_algorithm(r), "trips", r->trips ? count(r->trips) : json_null(),
			 "target_batch", (json_int_t)tr->target_batch, "microbatch", (json_int_t)tr->microbatch,
			 "epochs", (json_int_t)tr->epochs, "warmup_epochs", (json_int_t)tr->warmup, "sites",
			 (json_int_t)exp->topology.nsites, "peers", (json_int_t)exp->topology.npeers, "seed",
			 (json_int_t)tr->seed);
}

/* The probe's links, and what each carried in training. */
static json_t *links_json(const struct lh_result *r)
{
	const struct lh_topology *t = &r->exp->topology;

	if (!r->probe || !r->probe->nlinks)
		return json_array();
	json_t *links = lh_probe_links_json(t, r->probe), *link;
	size_t i;
	json_array_foreach(links, i, link) {
		const char *from = json_string_value(json_object_get(link, "from"));
		const char *to = json_string_value(json_object_get(link, "to"));
		for (unsigned k = 0; r->traffic && from && to && k < t->nsites * t->nsites; k++) {
			const struct lh_link_traffic *tr = &r->traffic[k];
			char cause[64];
			if (strcmp(from, t->sites[k / t->nsites].name) != 0 ||
			    strcmp(to, t->sites[k % t->nsites].name) != 0)
				continue;
			json_object_set_new(link, "train_packets", tr->known ? count(tr->packets) : json_null());
			json_object_set_new(link, "train_bytes", tr->known ? count(tr->bytes) : json_null());
			json_object_set_new(link, "train_drops", tr->known ? count(tr->drops) : json_null());
			json_object_set_new(link, "train_drop_cause", tr->known && tr->drops ?
				json_string(lh_watch_drop_cause(tr, cause, sizeof cause)) : json_null());
			json_object_set_new(link, "train_backlog_packets_max",
					    tr->known ? count(tr->backlog_packets_max) : json_null());
			json_object_set_new(link, "train_rtt_median_s", number(tr->pings ? tr->rtt_median_s : NAN));
			json_object_set_new(link, "train_rtt_max_s", number(tr->pings ? tr->rtt_max_s : NAN));
			json_object_set_new(link, "train_pings", count(tr->pings));
			json_object_set_new(link, "train_pings_lost", count(tr->pings_lost));
		}
	}
	return links;
}

double lh_peer_pace(const struct lh_experiment *exp, unsigned peer)
{
	const struct lh_peer *p = &exp->topology.peers[peer];

	if (p->samples_per_s > 0)
		return p->samples_per_s;
	/* A device of the catalogue has its rate there, whether its calculation is done or waited out. */
	if (exp->training.engine == LH_ENGINE_PACED || strcmp(p->device, "cpu")) {
		const struct lh_catalogue_entry *e = lh_catalogue_find(exp->training.model, p->device);
		return e ? e->samples_per_s / lh_experiment_scale(exp) : NAN;
	}
	return exp->training.samples_per_s;
}

/* null where each peer has a device of its own. Held and waited for are times of the machine, never divided back. */
static json_t *device_json(const struct lh_result *r, const struct lh_peer_metrics *m)
{
	double all = 0;

	for (unsigned i = 0; r->metrics && i < r->metrics->npeers; i++)
		all += r->metrics->peers[i].held_s;
	if (!m || !(all > 0))
		return json_null();
	return json_pack("{s:o, s:o, s:o}", "held_s", number(m->held_s), "queued_s", number(m->queued_s), "share",
			 number(m->held_s / all));
}

static json_t *peers_json(const struct lh_result *r)
{
	const struct lh_topology *t = &r->exp->topology;
	json_t *peers = json_array();

	for (unsigned i = 0; i < t->npeers; i++) {
		const struct lh_peer_metrics *m = r->metrics ? &r->metrics->peers[i] : NULL;
		bool counted = m && r->metrics->summary.epochs;
		json_t *p = json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", t->peers[i].name, "site",
				      t->sites[t->peers[i].site].name, "device", t->peers[i].device, "engine",
				      lh_engine_name(r->exp->training.engine), "lateness",
				      m ? number(m->lateness) : json_null());
		json_object_set_new(p, "pace_sps", number(lh_peer_pace(r->exp, i) * lh_experiment_scale(r->exp)));
		json_object_set_new(p, "samples", counted ? count(m->samples) : json_null());
		json_object_set_new(p, "calc_s", counted ? number(m->calc_s) : json_null());
		json_object_set_new(p, "update_s", counted ? number(m->update_s) : json_null());
		json_object_set_new(p, "cpu_s", counted ? number(m->busy_s) : json_null());
		json_object_set_new(p, "late_s", counted ? number(m->late_s) : json_null());
		json_object_set_new(p, "steps", counted ? count(m->steps) : json_null());
		json_object_set_new(p, "late_steps", counted ? count(m->late_steps) : json_null());
		json_object_set_new(p, "paced", counted ? json_boolean(!(m->lateness > LH_LATENESS_LIMIT)) : json_null());
		json_object_set_new(p, "shared_device", device_json(r, m));
		json_object_set_new(p, "solo_sps", counted ? number(m->solo_sps) : json_null());
		json_object_set_new(p, "bytes_sent", m ? count(m->bytes_sent) : json_null());
		json_object_set_new(p, "bytes_received", m ? count(m->bytes_received) : json_null());
		if (r->exp->training.store) {
			json_object_set_new(p, "data_bytes", m ? count(m->data_bytes) : json_null());
			json_object_set_new(p, "data_samples", m ? count(m->data_samples) : json_null());
			json_object_set_new(p, "data_cached", m ? count(m->data_cached) : json_null());
			json_object_set_new(p, "data_wait_s", counted ? number(m->data_wait_s) : json_null());
		}
		if (r->exp->training.precision == LH_PRECISION_FP16)
			json_object_set_new(p, "updates_skipped", m ? count(m->skipped) : json_null());
		counted = counted && m->has_tcp;
		json_object_set_new(p, "tcp_busy_s", counted ? number(m->tcp_busy_s) : json_null());
		json_object_set_new(p, "tcp_window_s", counted ? number(m->tcp_window_s) : json_null());
		json_object_set_new(p, "tcp_buffer_s", counted ? number(m->tcp_buffer_s) : json_null());
		json_object_set_new(p, "tcp_retransmits", counted ? count(m->tcp_retransmits) : json_null());
		json_array_append_new(peers, p);
	}
	return peers;
}

static json_t *epochs_json(const struct lh_result *r)
{
	json_t *epochs = json_array();

	for (uint32_t i = 0; r->metrics && i < r->metrics->nepochs; i++) {
		const struct lh_epoch_metrics *e = &r->metrics->epochs[i];
		json_t *o = json_pack(
			"{s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "epoch",
			(json_int_t)e->epoch, "warmup", e->warmup, "wall_s", number(e->wall_s), "calc_s",
			number(e->calc_s), "comm_s", number(e->comm_s), "comm_latency_s", number(e->latency_s),
			"comm_bandwidth_s", number(e->bandwidth_s), "comm_wait_s", number(e->wait_s), "comm_coding_s",
			number(e->coding_s), "comm_update_s", number(e->update_s), "calc_wait_s",
			number(e->calc_wait_s), "samples",
			count(e->samples), "bytes_sent", count(e->bytes_sent), "bytes_received",
			count(e->bytes_received), "loss", number(e->loss), "replicas_identical",
			e->shared ? json_boolean(e->identical) : json_null(),
			"state_hash", hash_text(e->state_hash));
		json_object_set_new(o, "peers", count(e->peers));
		json_object_set_new(o, "groups", e->groups ? count(e->groups) : json_null());
		json_object_set_new(o, "view", e->view ? count(e->view) : json_null());
		if (r->exp->training.store) {
			json_object_set_new(o, "data_bytes", count(e->data_bytes));
			json_object_set_new(o, "data_wait_s", number(e->data_wait_s));
		}
		json_object_set_new(o, "disturbed", e->view ? json_boolean(e->disturbed) : json_null());
		json_array_append_new(epochs, o);
	}
	return epochs;
}

/* null where nobody said. */
static json_t *shares_json(const struct lh_summary *m)
{
	json_t *o = isfinite(m->time_share[0]) ? json_object() : json_null();

	for (unsigned k = 0; json_is_object(o) && k < LH_SPAN_KINDS; k++)
		json_object_set_new(o, lh_span_names[k], number(m->time_share[k]));
	return o;
}

/* What came from the store; all epochs but for the time. */
static json_t *data_json(const struct lh_result *r, const struct lh_summary *m)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "store", r->exp->topology.peers[r->exp->training.store].name, "bytes",
			 count(m->data_bytes), "samples", count(m->data_samples), "cached", count(m->data_cached), "wait_s",
			 number(m->data_wait_s));
}

static json_t *summary_json(const struct lh_result *r)
{
	static const struct lh_summary nothing = {
		.wall_s = NAN, .calc_s = NAN, .comm_s = NAN, .latency_s = NAN, .bandwidth_s = NAN, .wait_s = NAN,
		.coding_s = NAN, .update_s = NAN, .calc_wait_s = NAN, .data_wait_s = NAN, .time_share = { NAN }, .throughput_sps = NAN, .granularity = NAN, .efficiency = NAN, .solo_sps = NAN, .cpus_needed = NAN,
		.lateness = NAN, .dealt = LH_DEALT_NOT_TOLD,
	};
	const struct lh_summary *m = r->metrics ? &r->metrics->summary : &nothing;
	bool compared = r->metrics && r->series && (r->series->elastic ? m->shared_epochs > 0 :
			lh_series_joined(r->series) == r->series->npeers && (m->shared_epochs > 0 || !r->metrics->nepochs));
	json_t *reasons = json_array();

	for (unsigned i = 0; i < r->verdict.nreasons; i++)
		json_array_append_new(reasons, json_string(r->verdict.reasons[i]));
	json_t *s = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "throughput_sps", number(m->throughput_sps),
			      "calc_s", number(m->calc_s), "comm_s", number(m->comm_s), "granularity",
			      number(m->granularity), "efficiency", number(m->efficiency), "replicas_identical",
			      compared && !(m->split_epochs && m->replicas_identical) ? json_boolean(m->replicas_identical) :
			      json_null(), "valid", r->verdict.valid);
	json_object_set_new(s, "reason", r->verdict.nreasons ? json_string(r->verdict.reasons[0]) : json_null());
	json_object_set_new(s, "reasons", reasons);
	json_object_set_new(s, "epochs", count(m->epochs));
	json_object_set_new(s, "split_rounds", m->matched_epochs ? count(m->split_epochs) : json_null());
	json_object_set_new(s, "wall_s", number(m->wall_s));
	json_object_set_new(s, "comm_latency_s", number(m->latency_s));
	json_object_set_new(s, "comm_bandwidth_s", number(m->bandwidth_s));
	json_object_set_new(s, "comm_wait_s", number(m->wait_s));
	json_object_set_new(s, "comm_coding_s", number(m->coding_s));
	json_object_set_new(s, "comm_update_s", number(m->update_s));
	json_object_set_new(s, "calc_wait_s", number(m->calc_wait_s));
	json_object_set_new(s, "time_share", shares_json(m));
	if (r->exp->training.store)
		json_object_set_new(s, "data", data_json(r, m));
	json_object_set_new(s, "samples", count(m->samples));
	json_object_set_new(s, "samples_each_once", m->dealt == LH_DEALT_NOT_TOLD && !m->wrong_epoch ? json_null() :
			    json_boolean(m->dealt == LH_DEALT_ONCE));
	json_object_set_new(s, "bytes_sent", count(m->bytes_sent));
	json_object_set_new(s, "solo_sps", number(m->solo_sps));
	json_object_set_new(s, "cpus_needed", number(m->cpus_needed));
	json_object_set_new(s, "lateness", number(m->lateness));
	json_object_set_new(s, "late_steps", m->steps ? number((double)m->late_steps / (double)m->steps) : json_null());
	json_object_set_new(s, "paced", isfinite(m->lateness) ? json_boolean(!(m->lateness > LH_LATENESS_LIMIT)) :
			    json_null());
	json_object_set_new(s, "comm_cpu_busy", number(r->comm_cpu_busy));
	json_object_set_new(s, "host_limited", isfinite(r->comm_cpu_busy) ?
			    json_boolean(r->comm_cpu_busy >= LH_HOST_LIMITED) : json_null());
	json_object_set_new(s, "tcp_info_checked", json_boolean(r->tcp.checked));
	json_object_set_new(s, "tcp_info_reason", r->tcp.checked ? json_null() :
			    json_string(*r->tcp.reason ? r->tcp.reason : "the peers did not train"));
	return s;
}

static json_t *evaluation_json(const struct lh_result *r)
{
	if (!r->series || !r->series->has_eval)
		return json_null();
	const struct lh_event *e = &r->series->eval;
	return json_pack("{s:s, s:o, s:o, s:s}", "metric", e->metric, "value", number(e->value), "reference",
			 number(e->reference), "peer", r->exp->topology.peers[e->rank].name);
}

static json_t *failure_json(const struct lh_result *r)
{
	const struct lh_failure *f = &r->failure;
	lh_ns go_ns = r->series ? r->series->go_ns : 0;

	if (f->kind == LH_FAILURE_NONE)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:o, s:s}", "kind", lh_failure_kind_name(f->kind), "peer",
			 f->peer >= 0 ? json_string(r->exp->topology.peers[f->peer].name) : json_null(), "t_s",
			 go_ns ? number((double)(f->t_ns - go_ns) / 1e9) : json_null(), "epoch",
			 f->epoch ? count(f->epoch) : json_null(), "text", f->text);
}

static json_t *changes_json(const struct lh_state_changes *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; c && i < c->n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "setting", c->of[i].key, "was", c->of[i].was, "is",
						      c->of[i].is));
	return list;
}

json_t *lh_result_json(const struct lh_result *r)
{
	json_t *env = json_pack("{s:s, s:s, s:I, s:s}", "kernel_release", r->kernel_release, "netem",
				lh_netem_where_name(r->netem), "cpus", (json_int_t)r->cpus, "longhaul_version",
				LH_VERSION);

	json_t *doc = json_pack("{s:s, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", LH_RESULT_SCHEMA,
			 "complete", r->failure.kind == LH_FAILURE_NONE, "exit_status", r->verdict.exit_status,
			 "environment", env, "experiment", experiment_json(r), "exchange", exchange_json(r), "links", links_json(r), "peers",
			 peers_json(r), "epochs", epochs_json(r), "summary", summary_json(r), "evaluation",
			 evaluation_json(r), "group", lh_result_group_json(r), "memory", lh_memory_json(r->memory), "failure", failure_json(r));
	if (doc && r->resumed_dir)
		json_object_set_new(doc, "resumed", json_pack("{s:s, s:I, s:I, s:o}", "dir", r->resumed_dir, "rounds",
				    (json_int_t)r->resumed, "samples", (json_int_t)r->resumed_samples,
				    "changed", changes_json(r->resumed_changes)));
	return doc;
}

static void csv_number(FILE *out, double v)
{
	if (isfinite(v))
		fprintf(out, ",%.9g", v);
	else
		fputc(',', out);
}

int lh_result_write_epochs_csv(const struct lh_result *r, FILE *out)
{
	fputs("epoch,warmup,wall_s,calc_s,comm_s,comm_latency_s,comm_bandwidth_s,comm_wait_s,comm_coding_s,"
	      "comm_update_s,calc_wait_s,samples,bytes_sent,"
	      "bytes_received,loss,replicas_identical,state_hash,peers,view", out);
	fputs(r->exp->training.store ? ",data_bytes,data_wait_s\n" : "\n", out);
	for (uint32_t i = 0; r->metrics && i < r->metrics->nepochs; i++) {
		const struct lh_epoch_metrics *e = &r->metrics->epochs[i];
		const double times[] = { e->wall_s, e->calc_s, e->comm_s, e->latency_s, e->bandwidth_s, e->wait_s,
					 e->coding_s, e->update_s, e->calc_wait_s };
		fprintf(out, "%u,%d", e->epoch, e->warmup);
		for (size_t k = 0; k < sizeof times / sizeof *times; k++)
			csv_number(out, times[k]);
		fprintf(out, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, e->samples, e->bytes_sent, e->bytes_received);
		csv_number(out, e->loss);
		if (e->shared)
			fprintf(out, ",%d", e->identical);
		else
			fputc(',', out);
		fprintf(out, ",%016" PRIx64 ",%u,%u", e->state_hash, e->peers, e->view);
		if (r->exp->training.store) {
			fprintf(out, ",%" PRIu64, e->data_bytes);
			csv_number(out, e->data_wait_s);
		}
		fputc('\n', out);
	}
	return ferror(out) ? -EIO : 0;
}
