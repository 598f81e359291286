/* canonical.c - an experiment as YAML again: one file, includes and tables and --set resolved, every peer and every
 * direction of every link said by itself.
 *
 * It is what a run's manifest keeps, and loading it gives the same experiment. Numbers with a default are written
 * out; an impairment that a link does not have is left out. The limits in lang.h are such that it always loads.
 */
#include "lang.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const dist_names[] = { "uniform", "normal", "pareto", "paretonormal" };

static void put_time(FILE *out, const char *key, lh_ns ns)
{
	char text[32];
	fprintf(out, ", %s: %s", key, lh_ns_print(ns, text, sizeof text));
}

static void put_share(FILE *out, const char *lead, const char *key, lh_ppb ppb)
{
	char text[32];
	fprintf(out, "%s%s: %s", lead, key, lh_ppb_print(ppb, text, sizeof text));
}

static void put_rate(FILE *out, const char *lead, const char *key, lh_bps bps)
{
	char text[32];
	fprintf(out, "%s%s: %s", lead, key, bps ? lh_bps_print(bps, text, sizeof text) : "none");
}

/* Shortest decimal that reads back to the same double. */
static const char *real(double value, char buf[40])
{
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(buf, 40, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			break;
	}
	return buf;
}

/* Double-quoted YAML: every byte of the user's is safe inside. */
static void put_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c == 127)
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void put_queue(FILE *out, enum lh_queue_kind kind, uint32_t bdp_milli, uint32_t packets)
{
	char text[40];
	if (kind == LH_QUEUE_BDP)
		fprintf(out, ", queue: %sbdp", real(bdp_milli / 1000.0, text));
	else if (kind == LH_QUEUE_PACKETS)
		fprintf(out, ", queue: %" PRIu32 "packets", packets);
	else
		fputs(", queue: auto", out);
}

static void put_loss(FILE *out, const struct lh_impairment *i)
{
	switch (i->loss_model) {
	case LH_LOSS_NONE:
		fputs(", loss: 0%", out);
		return;
	case LH_LOSS_RANDOM:
		put_share(out, ", loss: {", "random", i->loss_ppb);
		put_share(out, ", ", "correlation", i->loss_corr_ppb);
		fputc('}', out);
		return;
	case LH_LOSS_GEMODEL:
		put_share(out, ", loss: {gilbert-elliott: {", "p", i->ge_p_ppb);
		put_share(out, ", ", "r", i->ge_r_ppb);
		put_share(out, ", ", "1-h", i->ge_1h_ppb);
		put_share(out, ", ", "1-k", i->ge_1k_ppb);
		break;
	case LH_LOSS_4STATE:
		put_share(out, ", loss: {4-state: {", "p13", i->p13_ppb);
		put_share(out, ", ", "p31", i->p31_ppb);
		put_share(out, ", ", "p32", i->p32_ppb);
		put_share(out, ", ", "p23", i->p23_ppb);
		put_share(out, ", ", "p14", i->p14_ppb);
		break;
	}
	fputs("}}", out);
}

static bool same_loss(const struct lh_impairment *a, const struct lh_impairment *b)
{
	return a->loss_model == b->loss_model && a->loss_ppb == b->loss_ppb && a->loss_corr_ppb == b->loss_corr_ppb &&
	       a->ge_p_ppb == b->ge_p_ppb && a->ge_r_ppb == b->ge_r_ppb && a->ge_1h_ppb == b->ge_1h_ppb &&
	       a->ge_1k_ppb == b->ge_1k_ppb && a->p13_ppb == b->p13_ppb && a->p31_ppb == b->p31_ppb &&
	       a->p32_ppb == b->p32_ppb && a->p23_ppb == b->p23_ppb && a->p14_ppb == b->p14_ppb;
}

static void put_portion(FILE *out, const char *key, lh_ppb share, lh_ppb correlation)
{
	fprintf(out, ", %s: {", key);
	put_share(out, "", "percent", share);
	put_share(out, ", ", "correlation", correlation);
	fputc('}', out);
}

static void put_slot(FILE *out, const struct lh_impairment *i)
{
	char text[32];
	if (!i->slot_min_ns) {
		fputs(", slot: none", out);
		return;
	}
	fprintf(out, ", slot: {min: %s", lh_ns_print(i->slot_min_ns, text, sizeof text));
	put_time(out, "max", i->slot_max_ns);
	fprintf(out, ", packets: %" PRIu32, i->slot_packets);
	fprintf(out, ", bytes: %s}", lh_bytes_print(i->slot_bytes, text, sizeof text));
}

/* The delay, and every other key in which the state differs from the one it is laid over. */
static void put_impairment(FILE *out, const struct lh_impairment *i, const struct lh_impairment *over)
{
	struct lh_impairment base = *over;
	char text[32];
	lang_impairment_drop(&base, !i->jitter_ns, i->loss_model == LH_LOSS_NONE, !i->rate_bps);
	fprintf(out, "delay: %s", lh_ns_print(i->delay_ns, text, sizeof text));
	if (i->jitter_ns != over->jitter_ns)
		put_time(out, "jitter", i->jitter_ns);
	if (i->dist != base.dist)
		fprintf(out, ", distribution: %s", dist_names[i->dist]);
	if (i->jitter_corr_ppb != base.jitter_corr_ppb)
		put_share(out, ", ", "jitter-correlation", i->jitter_corr_ppb);
	if (i->jitter_reorders != base.jitter_reorders)
		fprintf(out, ", jitter-reorders: %s", i->jitter_reorders ? "yes" : "no");
	if (!same_loss(i, over))
		put_loss(out, i);
	if (i->ecn != base.ecn)
		fprintf(out, ", ecn: %s", i->ecn ? "yes" : "no");
	if (i->reorder_ppb != base.reorder_ppb || i->reorder_corr_ppb != base.reorder_corr_ppb ||
	    i->reorder_gap != base.reorder_gap) {
		put_share(out, ", reorder: {", "percent", i->reorder_ppb);
		put_share(out, ", ", "correlation", i->reorder_corr_ppb);
		fprintf(out, ", gap: %" PRIu32 "}", i->reorder_gap);
	}
	if (i->duplicate_ppb != base.duplicate_ppb || i->duplicate_corr_ppb != base.duplicate_corr_ppb)
		put_portion(out, "duplicate", i->duplicate_ppb, i->duplicate_corr_ppb);
	if (i->corrupt_ppb != base.corrupt_ppb || i->corrupt_corr_ppb != base.corrupt_corr_ppb)
		put_portion(out, "corrupt", i->corrupt_ppb, i->corrupt_corr_ppb);
	if (i->rate_bps != over->rate_bps)
		put_rate(out, ", ", "rate", i->rate_bps);
	if (i->rate_overhead_bytes != base.rate_overhead_bytes)
		fprintf(out, ", overhead: %" PRId32, i->rate_overhead_bytes);
	if (i->queue_kind != base.queue_kind || i->queue_bdp_milli != base.queue_bdp_milli ||
	    i->queue_packets != base.queue_packets)
		put_queue(out, i->queue_kind, i->queue_bdp_milli, i->queue_packets);
	if (i->slot_min_ns != base.slot_min_ns || i->slot_max_ns != base.slot_max_ns ||
	    i->slot_packets != base.slot_packets || i->slot_bytes != base.slot_bytes)
		put_slot(out, i);
	if (i->seed != base.seed)
		fprintf(out, ", seed: %" PRIu64, i->seed);
}

static const struct lh_impairment neutral;

/* Kills that were drawn are drawn again; those of a trace are in the schedule. */
static void put_spot(FILE *out, const struct lh_spot *s)
{
	char text[32];
	if (!s->mean_ns)
		return;
	fprintf(out, ",\n         spot: {mean: %s", lh_ns_print(s->mean_ns, text, sizeof text));
	put_time(out, "notice", s->notice_ns);
	if (s->restart_ns < 0)
		fputs(", restart: never", out);
	else
		put_time(out, "restart", s->restart_ns);
	put_time(out, "until", s->until_ns);
	fputc('}', out);
}

static void put_peer(FILE *out, const struct lh_peer *p, const struct lh_spot *spot)
{
	const struct lh_tcp *t = &p->tcp;
	char text[40];
	fprintf(out, "      - {name: %s, device: %s", p->name, p->device);
	if (p->samples_per_s > 0)
		fprintf(out, ", pace: %s/s", real(p->samples_per_s, text));
	put_rate(out, ", ", "nic", p->nic_bps);
	fprintf(out, ", share: %" PRIu32, p->share);
	put_spot(out, spot);
	fprintf(out,
		",\n         tcp: {congestion: %s, rmem: [%" PRIu32 ", %" PRIu32 ", %" PRIu32 "], wmem: [%" PRIu32
		", %" PRIu32 ", %" PRIu32 "],\n               slow-start-after-idle: %s, initial-window: %" PRIu32
		"}}\n",
		t->congestion, t->rmem[0], t->rmem[1], t->rmem[2], t->wmem[0], t->wmem[1], t->wmem[2],
		t->slow_start_after_idle ? "yes" : "no", t->initcwnd);
}

static void put_site(FILE *out, const struct lh_experiment *exp, unsigned index)
{
	const struct lh_topology *t = &exp->topology;
	const struct lh_site *s = &t->sites[index];
	const struct lh_link *lan = lh_topology_link(t, index, index);
	char text[40];
	fprintf(out, "  %s:\n", s->name);
	if (lan->given) {
		fputs("    lan: {", out);
		put_impairment(out, &lan->imp, &neutral);
		fputs(lan->packet_asked ? ", mode: packet}\n" : "}\n", out);
	}
	fputs("    provider: ", out);
	put_text(out, s->provider);
	fputs("\n    zone: ", out);
	put_text(out, s->zone);
	if (s->has_coordinates) {
		fprintf(out, "\n    at: [%s", real(s->latitude_deg, text));
		fprintf(out, ", %s]", real(s->longitude_deg, text));
	}
	put_rate(out, "\n    access: {", "up", s->access.up_bps);
	put_rate(out, ", ", "down", s->access.down_bps);
	put_queue(out, s->access.queue_kind, s->access.queue_bdp_milli, s->access.queue_packets);
	fputs("}\n", out);
	if (s->store)
		lang_store_put_node(out, &t->peers[s->store]);
	fputs(s->npeers ? "    peers:\n" : "    peers: 0\n", out);
	for (unsigned i = 0; i < s->npeers; i++)
		put_peer(out, &t->peers[s->first_peer + i], &exp->spot[s->first_peer + i]);
}

static void put_links(FILE *out, const struct lh_topology *t)
{
	fputs(t->nsites > 1 ? "links:\n" : "", out);
	for (unsigned from = 0; from < t->nsites; from++)
		for (unsigned to = 0; to < t->nsites; to++) {
			if (from == to)
				continue;
			fprintf(out, "  - {from: %s, to: %s, ", t->sites[from].name, t->sites[to].name);
			const struct lh_link *link = lh_topology_link(t, from, to);
			put_impairment(out, &link->imp, &neutral);
			fputs(link->packet_asked ? ", mode: packet}\n" : "}\n", out);
		}
}

/* Only what the strategy uses: the rest would be refused. */
static void put_sync(FILE *out, const struct lh_sync_options *s)
{
	char text[40];
	fprintf(out, ",\n  strategy: %s, optimizer: %s", lh_strategy_names[s->strategy],
		lh_optimizer_names[s->optimizer]);
	if (lang_strategy_uses(s->strategy, "every"))
		fprintf(out, ", every: %" PRIu32, s->every);
	if (lang_strategy_uses(s->strategy, "outer-momentum")) {
		fprintf(out, ", outer-learning-rate: %s", real(s->outer_learning_rate, text));
		fprintf(out, ", outer-momentum: %s", real(s->outer_momentum, text));
	}
	if (lang_strategy_uses(s->strategy, "fragments"))
		fprintf(out, ", fragments: %" PRIu32 ", overlap: %" PRIu32 ", blend: %s", s->fragments, s->overlap,
			real(s->blend, text));
	if (lang_strategy_uses(s->strategy, "staleness"))
		fprintf(out, ", staleness: %" PRIu32, s->staleness);
	put_time(out, "match-floor", s->match_floor_ns);
}

/* Only what the optimiser and the schedule use. */
static void put_optim(FILE *out, const struct lh_training *t)
{
	const struct lh_optim_options *o = &t->optim;
	char text[40];
	fprintf(out, ",\n  learning-rate: %s, learning-rate-warmup: %" PRIu32, real(t->learning_rate, text), o->warmup_updates);
	fprintf(out, ", learning-rate-schedule: %s", lh_schedule_names[o->schedule]);
	if (o->schedule == LH_SCHEDULE_COSINE)
		put_share(out, ", ", "learning-rate-floor", (lh_ppb)(o->floor * 1e9 + 0.5));
	if (t->sync.optimizer == LH_OPTIMIZER_SGD) {
		fprintf(out, ", momentum: %s", real(o->momentum, text));
		fprintf(out, ", nesterov: %s", o->nesterov ? "yes" : "no");
	} else {
		fprintf(out, ", beta1: %s", real(o->beta1, text));
		fprintf(out, ", beta2: %s", real(o->beta2, text));
		fprintf(out, ", epsilon: %s", real(o->epsilon, text));
	}
	fprintf(out, ", weight-decay: %s", real(o->weight_decay, text));
	fprintf(out, ", clip-norm: %s", real(o->clip_norm, text));
}

static void put_wire(FILE *out, const struct lh_training *t)
{
	fprintf(out, ", wire: %s", lh_wire_names[t->wire]);
	if (t->wire == LH_WIRE_TOPK)
		put_share(out, ", ", "topk", (lh_ppb)(t->codec.topk_fraction * 1e9 + 0.5));
	if (t->wire == LH_WIRE_POWERSGD)
		fprintf(out, ", powersgd-rank: %" PRIu32, t->codec.powersgd_rank);
	if (t->wire != LH_WIRE_FP32)
		fprintf(out, ", error-feedback: %s", t->codec.error_feedback ? "yes" : "no");
}

static void put_transport(FILE *out, const struct lh_training *t)
{
	fprintf(out, ",\n  sockets: %s, streams: ", lh_sockets_names[t->sockets]);
	if (t->streams)
		fprintf(out, "%" PRIu32, t->streams);
	else
		fputs("auto", out);
	fprintf(out, ", membership: %s", lh_membership_names[t->membership]);
	if (t->checkpoint_ns)
		put_time(out, "checkpoint", t->checkpoint_ns);
	else
		fprintf(out, ", checkpoint: %s", t->young ? "young" : "none");
	if (t->checkpoint_rounds)
		fprintf(out, ", checkpoint-rounds: %" PRIu32, t->checkpoint_rounds);
	if (t->checkpoint_keep != 2)
		fprintf(out, ", checkpoint-keep: %" PRIu32, t->checkpoint_keep);
}

static void put_training(FILE *out, const struct lh_experiment *exp)
{
	const struct lh_training *t = &exp->training;
	char text[40], microbatch[16] = "auto";
	const char *quote = strchr(t->model, ':') ? "\"" : "";
	if (!t->microbatch_auto)
		snprintf(microbatch, sizeof microbatch, "%" PRIu32, t->microbatch);
	fprintf(out, "training: {engine: %s, model: %s%s%s%s", t->engine_auto ? "auto" : lh_engine_names[t->engine], quote,
		t->model, quote, t->hivemind ? ", profile: hivemind" : "");
	if (t->precision != LH_PRECISION_FP32)
		fprintf(out, ", precision: %s", lh_precision_names[t->precision]);
	if (t->offload)
		fputs(", offload: yes", out);
	if (t->deterministic)
		fputs(", deterministic: yes", out);
	if (t->engine != LH_ENGINE_PACED && t->data != LH_DATA_AUTO)
		fprintf(out, ", data: %s", lh_data_names[t->data]);
	lang_store_put(out, exp);
	put_wire(out, t);
	fprintf(out, ", algorithm: %s", t->choose ? "auto" : lh_algorithm_names[t->algorithm]);
	put_sync(out, &t->sync);
	put_transport(out, t);
	fprintf(out, ",\n  target-batch: %" PRIu64 ", microbatch: %s, epochs: %" PRIu32 ", warmup: %" PRIu32,
		t->target_batch, microbatch, t->epochs, t->warmup);
	if (t->device_turns_given)
		fprintf(out, ", device-turns: %s", t->device_turns ? "yes" : "no");
	if (t->samples_per_s > 0)
		fprintf(out, ", pace: %s/s", real(t->samples_per_s, text));
	put_optim(out, t);
	fprintf(out, ", seed: %" PRIu64, t->seed);
	put_time(out, "deadline", t->deadline_ns);
	fputs("}\n", out);
}

static void put_probe(FILE *out, const struct lh_probe_spec *p)
{
	char text[32];
	fprintf(out, "probe: {tolerance: {absolute: %s", lh_ns_print(p->tolerance_abs_ns, text, sizeof text));
	put_share(out, ", ", "relative", p->tolerance_rel_ppb);
	fprintf(out, "}, pings: %" PRIu32, p->pings);
	put_time(out, "goodput", p->goodput_ns);
	fprintf(out, ", streams: %" PRIu32 "}\n", p->streams);
}

static void put_group(FILE *out, const struct lh_topology *t, uint64_t mask, bool member)
{
	const char *comma = "";
	fputc('[', out);
	for (unsigned s = 0; s < t->nsites; s++)
		if ((mask >> s & 1) == member) {
			fprintf(out, "%s%s", comma, t->sites[s].name);
			comma = ", ";
		}
	fputc(']', out);
}

/* before: the state of every link up to here; kept up to date. */
static void put_change(FILE *out, const struct lh_topology *t, const struct lh_change *c, struct lh_impairment *before)
{
	const char *from = t->sites[c->from].name, *to = t->sites[c->to].name;
	char text[32];
	fprintf(out, "  - {at: %s, ", lh_ns_print(c->at_ns, text, sizeof text));
	switch (c->kind) {
	case LH_CHANGE_LINK:
		fprintf(out, "from: %s, to: %s, set: {", from, to);
		put_impairment(out, &c->imp, &before[c->from * t->nsites + c->to]);
		before[c->from * t->nsites + c->to] = c->imp;
		fputc('}', out);
		break;
	case LH_CHANGE_CUT:
	case LH_CHANGE_HEAL:
		fprintf(out, "%s: {from: %s, to: %s}", c->kind == LH_CHANGE_CUT ? "cut" : "heal", from, to);
		break;
	case LH_CHANGE_PARTITION:
		fputs("partition: [", out);
		put_group(out, t, c->group_mask, true);
		fputs(", ", out);
		put_group(out, t, c->group_mask, false);
		fputc(']', out);
		break;
	case LH_CHANGE_KILL:
		fprintf(out, "kill: %s", t->peers[c->peer].name);
		break;
	case LH_CHANGE_NOTICE:
		fprintf(out, "notice: %s", t->peers[c->peer].name);
		break;
	case LH_CHANGE_ADD:
		fprintf(out, "add: %s", t->peers[c->peer].name);
		break;
	}
	fputs("}\n", out);
}

static int put_schedule(FILE *out, const struct lh_experiment *exp)
{
	const struct lh_topology *t = &exp->topology;
	struct lh_impairment *before = calloc((size_t)t->nsites * t->nsites, sizeof *before);
	if (!before)
		return -ENOMEM;
	for (unsigned i = 0; i < t->nsites * t->nsites; i++)
		before[i] = t->links[i].imp;
	const char *head = "schedule:\n";
	for (size_t i = 0; i < exp->nchanges; i++) {
		if (exp->changes[i].drawn)
			continue;
		fputs(head, out);
		head = "";
		put_change(out, t, &exp->changes[i], before);
	}
	free(before);
	return 0;
}

int lang_canonical(struct lh_experiment *exp, struct lh_err *err)
{
	const struct lh_topology *t = &exp->topology;
	size_t len;
	FILE *out = open_memstream(&exp->canonical, &len);
	if (!out)
		return lh_err_sys(err, LH_EXIT_MACHINE, -errno, "%s: canonical form", t->name);
	fputs("longhaul: 1\nname: ", out);
	put_text(out, t->name);
	if (t->description) {
		fputs("\ndescription: ", out);
		put_text(out, t->description);
	}
	fprintf(out, "\nseed: %" PRIu64 "\nip: %d\n", t->seed, t->ipv6 ? 6 : 4);
	if (exp->dilation > 1)
		fprintf(out, "dilation: %u\n", exp->dilation);
	fputs("sites:\n", out);
	for (unsigned i = 0; i < t->nsites; i++)
		put_site(out, exp, i);
	put_links(out, t);
	if (exp->training.given)
		put_training(out, exp);
	put_probe(out, &exp->probe);
	bool failed = put_schedule(out, exp) || ferror(out);
	if (fclose(out) || failed)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%s: canonical form", t->name);
	return 0;
}
