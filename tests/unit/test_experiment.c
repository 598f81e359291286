/* The loader: what a file becomes, --set, includes, tables, schedules, the canonical form, the catalogue. */
#include <errno.h>
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lhtest.h"
#include "longhaul/experiment.h"

enum { SETS_MAX = 8 };

/* Loads text with overrides (NULL-terminated); a failure is printed and fails the test at once. */
static struct lh_experiment load(const char *text, ...)
{
	struct lh_override set[SETS_MAX];
	struct lh_experiment exp;
	struct lh_err err = LH_ERR_INIT;
	size_t n = 0;
	va_list ap;
	va_start(ap, text);
	for (const char *one; n < SETS_MAX && (one = va_arg(ap, const char *));)
		set[n++].text = one;
	va_end(ap);
	int rc = lh_experiment_load_text("test.yaml", text, strlen(text), set, n, NULL, &exp, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return exp;
}

static struct lh_experiment load_file(const char *path)
{
	struct lh_experiment exp;
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_experiment_load(path, NULL, 0, NULL, &exp, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	return exp;
}

static const struct lh_impairment *imp(const struct lh_experiment *e, unsigned from, unsigned to)
{
	return &lh_topology_link(&e->topology, from, to)->imp;
}

static bool same_impairment(const struct lh_impairment *a, const struct lh_impairment *b)
{
	return a->delay_ns == b->delay_ns && a->jitter_ns == b->jitter_ns && a->jitter_corr_ppb == b->jitter_corr_ppb &&
	       a->dist == b->dist && a->jitter_reorders == b->jitter_reorders && a->loss_model == b->loss_model &&
	       a->loss_ppb == b->loss_ppb && a->loss_corr_ppb == b->loss_corr_ppb && a->ge_p_ppb == b->ge_p_ppb &&
	       a->ge_r_ppb == b->ge_r_ppb && a->ge_1h_ppb == b->ge_1h_ppb && a->ge_1k_ppb == b->ge_1k_ppb &&
	       a->p13_ppb == b->p13_ppb && a->p31_ppb == b->p31_ppb && a->p32_ppb == b->p32_ppb &&
	       a->p23_ppb == b->p23_ppb && a->p14_ppb == b->p14_ppb && a->ecn == b->ecn &&
	       a->reorder_ppb == b->reorder_ppb && a->reorder_corr_ppb == b->reorder_corr_ppb &&
	       a->reorder_gap == b->reorder_gap && a->duplicate_ppb == b->duplicate_ppb &&
	       a->duplicate_corr_ppb == b->duplicate_corr_ppb && a->corrupt_ppb == b->corrupt_ppb &&
	       a->corrupt_corr_ppb == b->corrupt_corr_ppb && a->rate_bps == b->rate_bps &&
	       a->rate_overhead_bytes == b->rate_overhead_bytes && a->queue_kind == b->queue_kind &&
	       a->queue_bdp_milli == b->queue_bdp_milli && a->queue_packets == b->queue_packets &&
	       a->slot_min_ns == b->slot_min_ns && a->slot_max_ns == b->slot_max_ns &&
	       a->slot_packets == b->slot_packets && a->slot_bytes == b->slot_bytes && a->seed == b->seed;
}

static bool same_peer(const struct lh_peer *a, const struct lh_peer *b)
{
	return !strcmp(a->name, b->name) && a->site == b->site && !strcmp(a->device, b->device) &&
	       a->nic_bps == b->nic_bps && a->share == b->share && a->samples_per_s == b->samples_per_s &&
	       !strcmp(a->tcp.congestion, b->tcp.congestion) && !memcmp(a->tcp.rmem, b->tcp.rmem, sizeof a->tcp.rmem) &&
	       !memcmp(a->tcp.wmem, b->tcp.wmem, sizeof a->tcp.wmem) &&
	       a->tcp.slow_start_after_idle == b->tcp.slow_start_after_idle && a->tcp.initcwnd == b->tcp.initcwnd;
}

static bool same_site(const struct lh_site *a, const struct lh_site *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->provider, b->provider) && !strcmp(a->zone, b->zone) &&
	       a->has_coordinates == b->has_coordinates && a->latitude_deg == b->latitude_deg &&
	       a->longitude_deg == b->longitude_deg && a->access.up_bps == b->access.up_bps &&
	       a->access.down_bps == b->access.down_bps && a->access.queue_kind == b->access.queue_kind &&
	       a->access.queue_bdp_milli == b->access.queue_bdp_milli &&
	       a->access.queue_packets == b->access.queue_packets && a->first_peer == b->first_peer &&
	       a->npeers == b->npeers;
}

static bool same_training(const struct lh_training *a, const struct lh_training *b)
{
	return a->given == b->given && a->engine == b->engine && !strcmp(a->model, b->model) && a->wire == b->wire &&
	       a->algorithm == b->algorithm &&
	       a->target_batch == b->target_batch && a->microbatch == b->microbatch && a->epochs == b->epochs &&
	       a->warmup == b->warmup && a->samples_per_s == b->samples_per_s && a->learning_rate == b->learning_rate &&
	       a->seed == b->seed && a->deadline_ns == b->deadline_ns;
}

/* The canonical form loads, to the same experiment, and prints the same again. */
static void check_round_trip(const struct lh_experiment *a)
{
	struct lh_experiment b = load(a->canonical, NULL);
	const struct lh_topology *t = &a->topology, *u = &b.topology;
	CU_ASSERT_STRING_EQUAL(a->canonical, b.canonical);
	CU_ASSERT_STRING_EQUAL(t->name, u->name);
	CU_ASSERT_EQUAL(t->description == NULL, u->description == NULL);
	CU_ASSERT(!t->description || !strcmp(t->description, u->description));
	CU_ASSERT(t->seed == u->seed && t->ipv6 == u->ipv6);
	CU_ASSERT_FATAL(t->nsites == u->nsites && t->npeers == u->npeers && a->nchanges == b.nchanges);
	for (unsigned i = 0; i < t->nsites; i++)
		CU_ASSERT(same_site(&t->sites[i], &u->sites[i]));
	for (unsigned i = 0; i < t->npeers; i++)
		CU_ASSERT(same_peer(&t->peers[i], &u->peers[i]));
	for (unsigned i = 0; i < t->nsites * t->nsites; i++)
		CU_ASSERT(same_impairment(&t->links[i].imp, &u->links[i].imp) && t->links[i].mode == u->links[i].mode &&
			  t->links[i].rtt_spec_ns == u->links[i].rtt_spec_ns &&
			  t->links[i].given == u->links[i].given && t->links[i].packet_asked == u->links[i].packet_asked);
	CU_ASSERT(same_training(&a->training, &b.training));
	CU_ASSERT(a->probe.tolerance_abs_ns == b.probe.tolerance_abs_ns &&
		  a->probe.tolerance_rel_ppb == b.probe.tolerance_rel_ppb && a->probe.pings == b.probe.pings &&
		  a->probe.goodput_ns == b.probe.goodput_ns && a->probe.streams == b.probe.streams);
	for (size_t i = 0; i < a->nchanges; i++) {
		const struct lh_change *c = &a->changes[i], *d = &b.changes[i];
		CU_ASSERT(c->at_ns == d->at_ns && c->kind == d->kind && c->from == d->from && c->to == d->to &&
			  c->group_mask == d->group_mask && c->peer == d->peer && same_impairment(&c->imp, &d->imp));
	}
	lh_experiment_done(&b);
}

static const char two[] =
	"longhaul: 1\n"
	"sites: {us: {peers: 2}, eu: {peers: [{count: 1}, {name: big, pace: 80/s, tcp: {congestion: reno}}]}}\n"
	"matrix: {rtt: {us: {eu: 103ms}}}\n"
	"links: [{between: [us, eu], jitter: 1ms}]\n"
	"tcp: {initial-window: 20}\n"
	"training: {model: digits, pace: 40/s}\n";

static void sites_peers_and_inheritance(void)
{
	struct lh_experiment e = load(two, NULL);
	const struct lh_topology *t = &e.topology;
	CU_ASSERT_STRING_EQUAL(t->name, "test"); /* the file's */
	CU_ASSERT(t->nsites == 2 && t->npeers == 4 && t->seed == 1 && !t->ipv6);
	CU_ASSERT(t->sites[0].first_peer == 0 && t->sites[0].npeers == 2 && t->sites[1].first_peer == 2);
	CU_ASSERT_STRING_EQUAL(t->peers[1].name, "us-1");
	CU_ASSERT_STRING_EQUAL(t->peers[2].name, "eu-0");
	CU_ASSERT_STRING_EQUAL(t->peers[3].name, "big");
	CU_ASSERT(t->peers[3].site == 1 && t->peers[3].samples_per_s == 80 && t->peers[2].samples_per_s == 0);
	CU_ASSERT_STRING_EQUAL(t->peers[3].tcp.congestion, "reno");
	CU_ASSERT_STRING_EQUAL(t->peers[2].tcp.congestion, "cubic");
	CU_ASSERT(t->peers[3].tcp.initcwnd == 20 && t->peers[3].tcp.rmem[2] == 6291456 &&
		  t->peers[3].tcp.wmem[2] == 4194304);
	CU_ASSERT(t->peers[3].tcp.slow_start_after_idle);
	CU_ASSERT(e.training.given && e.training.epochs == 6 && e.training.wire == LH_WIRE_FP16);
	CU_ASSERT(e.training.learning_rate == 0.002 && e.training.deadline_ns == 20 * LH_NS_PER_S);
	CU_ASSERT(e.probe.tolerance_abs_ns == 500000 && e.probe.tolerance_rel_ppb == 5000000 && e.probe.pings == 20);
	CU_ASSERT(e.probe.goodput_ns == 2 * LH_NS_PER_S && e.probe.streams == 4);
	check_round_trip(&e);
	lh_experiment_done(&e);
}

static void delays_in_every_form(void)
{
	struct lh_experiment e = load(two, NULL);
	CU_ASSERT(imp(&e, 0, 1)->delay_ns == 51500000 && imp(&e, 1, 0)->delay_ns == 51500000);
	CU_ASSERT(lh_topology_link(&e.topology, 0, 1)->rtt_spec_ns == 103 * LH_NS_PER_MS);
	CU_ASSERT(lh_topology_link(&e.topology, 0, 1)->given && !lh_topology_link(&e.topology, 0, 0)->given);
	lh_experiment_done(&e);

	e = load(two, "matrix.rtt.eu.us=105ms", NULL); /* both directions given: each half of its own */
	CU_ASSERT(imp(&e, 0, 1)->delay_ns == 51500000 && imp(&e, 1, 0)->delay_ns == 52500000);
	CU_ASSERT(lh_topology_link(&e.topology, 1, 0)->rtt_spec_ns == 104 * LH_NS_PER_MS);
	lh_experiment_done(&e);

	e = load(two, "matrix.rtt=7ns", "links=[]", NULL); /* every pair; an odd one adds up */
	CU_ASSERT(lh_topology_link(&e.topology, 0, 1)->rtt_spec_ns == 7);
	lh_experiment_done(&e);

	e = load(two, "matrix={delay: {us: {eu: 10ms}, eu: {us: 30ms}}}", NULL);
	CU_ASSERT(imp(&e, 0, 1)->delay_ns == 10 * LH_NS_PER_MS && imp(&e, 1, 0)->delay_ns == 30 * LH_NS_PER_MS);
	lh_experiment_done(&e);

	/* links win over the matrix, from/to over between */
	e = load(two, "links=[{from: us, to: eu, delay: 5ms}, {between: [eu, us], rtt: 20ms, rate: 1gbit}]",
		 "sites.us.lan={rtt: 1ms}", NULL);
	CU_ASSERT(imp(&e, 0, 1)->delay_ns == 5 * LH_NS_PER_MS && imp(&e, 1, 0)->delay_ns == 10 * LH_NS_PER_MS);
	CU_ASSERT(imp(&e, 0, 1)->rate_bps == 1000000000 && imp(&e, 1, 0)->rate_bps == 1000000000);
	CU_ASSERT(imp(&e, 0, 0)->delay_ns == 500000 &&
		  lh_topology_link(&e.topology, 0, 0)->rtt_spec_ns == LH_NS_PER_MS);
	check_round_trip(&e);
	lh_experiment_done(&e);
}

static const char everything[] =
	"longhaul: 1\n"
	"name: \"all \\\"keys\\\"\"\n"
	"description: \"two\\nlines \\\\ \\x07\"\n"
	"seed: 18446744073709551615\n"
	"ip: 6\n"
	"sites:\n"
	"  us: {provider: gc, zone: us-west1, at: [45.6, -121.2], access: {up: 1gbit, down: 2gbit, queue: 0.5bdp},\n"
	"       nic: 7gbit, lan: {rtt: 0.66ms, rate: 10gbit, queue: 100packets, mode: auto, seed: 9},\n"
	"       peers: 3, device: T4}\n"
	"  eu: {device: RTX8000, share: 7, access: {up: 5mbit},\n"
	"       tcp: {rmem: [4KiB, 64KiB, 32MiB], slow-start-after-idle: off}}\n"
	"links:\n"
	"  - {between: [us, eu], rtt: 103.11ms, jitter: 1ms, distribution: paretonormal, jitter-correlation: 25%,\n"
	"     loss: {gilbert-elliott: {p: 1%, r: 10%, 1-h: 70%, 1-k: 0.1%}}, ecn: yes,\n"
	"     reorder: {percent: 1%, correlation: 50%, gap: 5}, duplicate: 2%,\n"
	"     corrupt: {percent: 0.1%, correlation: 3%},\n"
	"     rate: 1gbit, overhead: -4, queue: 1.5bdp, slot: {min: 1ms, max: 2ms, packets: 20, bytes: 32KiB}}\n"
	"  - {from: eu, to: us, loss: {4-state: {p13: 1%, p31: 10%, p32: 2%, p23: 3%, p14: 4%}}, ecn: no, rate: none,\n"
	"     jitter-reorders: yes,\n"
	"     overhead: 0, queue: auto, mode: packet, seed: 7}\n"
	"training: {engine: paced, model: CONV, wire: fp32, algorithm: two-level,\n"
	"           target-batch: 32768, microbatch: 32, epochs: 3,\n"
	"           warmup: 0,\n"
	"           learning-rate: 1e-4, seed: 3, deadline: 1min}\n"
	"probe: {tolerance: {absolute: 1ms, relative: 2%}, pings: 7, goodput: 500ms, streams: 16}\n"
	"schedule:\n"
	"  - {at: 10s, between: [us, eu], set: {rtt: 200ms, loss: 0%, ecn: no}}\n"
	"  - {at: 5s, from: us, to: eu, set: {delay: 70ms}}\n"
	"  - {at: 20s, cut: [us, eu]}\n"
	"  - {at: 25s, heal: {from: eu, to: us}}\n"
	"  - {at: 26s, partition: [[us], [eu]]}\n"
	"  - {at: 27s, heal: all}\n"
	"  - {at: 40s, kill: us-2}\n";

static void every_key_arrives(void)
{
	struct lh_experiment e = load(everything, NULL);
	const struct lh_impairment *i = imp(&e, 0, 1), *j = imp(&e, 1, 0);
	const struct lh_site *us = &e.topology.sites[0];
	CU_ASSERT(e.topology.seed == UINT64_MAX && e.topology.ipv6);
	CU_ASSERT_STRING_EQUAL(e.topology.description, "two\nlines \\ \a");
	CU_ASSERT(us->access.up_bps == 1000000000 && us->access.down_bps == 2000000000);
	CU_ASSERT(us->access.queue_kind == LH_QUEUE_BDP && us->access.queue_bdp_milli == 500);
	CU_ASSERT(us->has_coordinates && us->latitude_deg == 45.6 && us->longitude_deg == -121.2);
	CU_ASSERT(e.topology.peers[2].share == 1 && e.topology.peers[3].share == 7);
	CU_ASSERT(e.training.algorithm == LH_ALGORITHM_TWO_LEVEL);
	CU_ASSERT(e.topology.peers[2].nic_bps == 7000000000 && e.topology.peers[3].nic_bps == 0);
	CU_ASSERT_STRING_EQUAL(e.topology.peers[2].device, "T4");
	CU_ASSERT(e.topology.peers[3].tcp.rmem[2] == 33554432 && !e.topology.peers[3].tcp.slow_start_after_idle);
	CU_ASSERT(i->delay_ns + j->delay_ns == 103110000 && i->jitter_ns == 1000000 && i->dist == LH_DIST_PARETONORMAL);
	CU_ASSERT(i->jitter_corr_ppb == 250000000 && j->jitter_reorders && !i->jitter_reorders && i->ecn && !j->ecn);
	CU_ASSERT(i->loss_model == LH_LOSS_GEMODEL && i->ge_p_ppb == 10000000 && i->ge_r_ppb == 100000000);
	CU_ASSERT(i->ge_1h_ppb == 700000000 && i->ge_1k_ppb == 1000000);
	CU_ASSERT(j->loss_model == LH_LOSS_4STATE && j->p13_ppb == 10000000 && j->p31_ppb == 100000000);
	CU_ASSERT(j->p32_ppb == 20000000 && j->p23_ppb == 30000000 && j->p14_ppb == 40000000 && j->ge_p_ppb == 0);
	CU_ASSERT(i->reorder_ppb == 10000000 && i->reorder_corr_ppb == 500000000 && i->reorder_gap == 5);
	CU_ASSERT(i->duplicate_ppb == 20000000 && i->corrupt_ppb == 1000000 && i->corrupt_corr_ppb == 30000000);
	CU_ASSERT(i->rate_bps == 1000000000 && i->rate_overhead_bytes == -4 && i->queue_bdp_milli == 1500);
	CU_ASSERT(j->rate_bps == 0 && j->queue_kind == LH_QUEUE_AUTO && j->seed == 7 && i->seed == 0);
	CU_ASSERT(i->slot_min_ns == 1000000 && i->slot_max_ns == 2000000 && i->slot_packets == 20 &&
		  i->slot_bytes == 32768);
	CU_ASSERT(imp(&e, 0, 0)->queue_packets == 100 && imp(&e, 0, 0)->seed == 9);
	CU_ASSERT(lh_topology_link(&e.topology, 0, 0)->mode == LH_MODE_PACKET); /* us sends packets one by one */
	CU_ASSERT(e.training.engine == LH_ENGINE_PACED && e.training.learning_rate == 1e-4 && e.training.warmup == 0);
	CU_ASSERT(e.probe.streams == 16 && e.probe.tolerance_rel_ppb == 20000000);
	check_round_trip(&e);
	lh_experiment_done(&e);
}

static void a_schedule_plays_in_time_order(void)
{
	struct lh_experiment e = load(everything, NULL);
	const struct lh_change *c = e.changes;
	CU_ASSERT_EQUAL_FATAL(e.nchanges, 10);
	/* 5 s: one direction, the rest as in the file */
	CU_ASSERT(c[0].kind == LH_CHANGE_LINK && c[0].at_ns == 5 * LH_NS_PER_S && c[0].from == 0 && c[0].to == 1);
	CU_ASSERT(c[0].imp.delay_ns == 70 * LH_NS_PER_MS && c[0].imp.loss_model == LH_LOSS_GEMODEL);
	/* 10 s: both directions; loss and its parameters are gone, the jitter stays */
	CU_ASSERT(c[1].from == 0 && c[2].from == 1 && c[1].imp.delay_ns + c[2].imp.delay_ns == 200 * LH_NS_PER_MS);
	CU_ASSERT(c[1].imp.loss_model == LH_LOSS_NONE && c[1].imp.ge_p_ppb == 0 && c[2].imp.p13_ppb == 0 &&
		  !c[1].imp.ecn);
	CU_ASSERT(c[1].imp.jitter_ns == LH_NS_PER_MS && c[1].imp.rate_bps == 1000000000 && c[2].imp.rate_bps == 0);
	CU_ASSERT(c[3].kind == LH_CHANGE_CUT && c[4].kind == LH_CHANGE_CUT && c[3].from != c[4].from);
	CU_ASSERT(c[5].kind == LH_CHANGE_HEAL && c[5].from == 1 && c[5].to == 0);
	CU_ASSERT(c[6].kind == LH_CHANGE_PARTITION && c[6].group_mask == 1);
	CU_ASSERT(c[7].kind == LH_CHANGE_HEAL && c[8].kind == LH_CHANGE_HEAL);
	CU_ASSERT(c[9].kind == LH_CHANGE_KILL && c[9].peer == 2);
	lh_experiment_done(&e);
}

/* Jitter, loss and rate that end take along what depended on them; what is given with them must still fit. */
static void an_impairment_that_ends_takes_its_parts_along(void)
{
	static const char link[] =
	    "links=[{between: [us, eu], jitter: 1ms, distribution: normal, jitter-correlation: 5%, "
	    "loss: 1%, ecn: yes, rate: 1gbit, queue: 5packets, overhead: 24, slot: {min: 1ms}}]";
	struct lh_experiment e = load(two, link,
				      "schedule=[{at: 1s, from: us, to: eu, set: {jitter: 0ms, loss: 0%, "
				      "rate: none, slot: none}}, {at: 2s, from: us, to: eu, set: {jitter: 2ms}}]",
				      NULL),
			     bad;
	const struct lh_impairment *i = &e.changes[0].imp;
	CU_ASSERT(i->dist == LH_DIST_UNIFORM && !i->jitter_corr_ppb && !i->ecn && i->queue_kind == LH_QUEUE_AUTO);
	CU_ASSERT(!i->queue_packets && !i->rate_overhead_bytes && !i->slot_min_ns && !i->slot_max_ns &&
		  i->delay_ns == imp(&e, 0, 1)->delay_ns);
	CU_ASSERT(e.changes[1].imp.jitter_ns == 2000000 && e.changes[1].imp.dist == LH_DIST_UNIFORM);
	check_round_trip(&e);
	lh_experiment_done(&e);
	struct lh_override set[] = { { link }, { "schedule=[{at: 1s, from: us, to: eu, set: {loss: 0%, ecn: yes}}]" } };
	CU_ASSERT_EQUAL(lh_experiment_load_text("t", two, sizeof two - 1, set, 2, NULL, &bad, NULL), -EINVAL);
}

/* The largest schedule that is taken has a canonical form that is taken. */
static void the_largest_schedule(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	fputs("longhaul: 1\nsites: {a-site-with-a-long-name: {}, b-site-with-a-long-name: {}}\n"
	      "matrix: {rtt: 5ms}\nschedule:\n", out);
	for (unsigned i = 0; i < 10000; i++)
		fprintf(out,
			"  - {at: %ums, between: [a-site-with-a-long-name, b-site-with-a-long-name], set: "
			"{rtt: %ums, jitter: %uus, loss: {4-state: {p13: 1%%}}, rate: %umbit}}\n",
			i, 5 + i % 2, 1 + i % 3, 1 + i % 5);
	fclose(out);
	struct lh_experiment e = load(text, NULL);
	CU_ASSERT_EQUAL(e.nchanges, 20000);
	check_round_trip(&e);
	lh_experiment_done(&e);
	struct lh_err err = LH_ERR_INIT;
	struct lh_override more = { "schedule.10000={at: 1h, kill: a-site-with-a-long-name-0}" };
	CU_ASSERT_EQUAL(lh_experiment_load_text("t", text, len, &more, 1, NULL, &e, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "more than 20000 changes"));
	free(text);
}

/* `mode: packet` is the pair's, and so of every link out of the two sites; nothing else is changed by it. */
static void packet_mode_for_its_own_sake(void)
{
	static const char text[] =
		"longhaul: 1\nsites: {us: {peers: 1}, eu: {peers: 1}, asia: {peers: 1}}\nmatrix: {rtt: 10ms}\n"
		"links: [{between: [us, eu], rate: 50mbit, mode: packet}, {from: eu, to: us, mode: auto}]\n";
	struct lh_experiment e = load(text, NULL);
	for (unsigned from = 0; from < 3; from++)
		for (unsigned to = 0; to < 3; to++) {
			const struct lh_link *link = lh_topology_link(&e.topology, from, to);
			CU_ASSERT_EQUAL(link->mode, from == 0 ? LH_MODE_PACKET : LH_MODE_GSO);
			CU_ASSERT_EQUAL(link->packet_asked, from == 0 && to == 1);
		}
	CU_ASSERT_PTR_NOT_NULL(strstr(e.canonical, "{from: us, to: eu, delay: 5ms, rate: 50mbit, mode: packet}"));
	CU_ASSERT_PTR_NULL(strstr(e.canonical, "from: eu, to: us, delay: 5ms, rate: 50mbit, mode"));
	check_round_trip(&e);
	lh_experiment_done(&e);
}

static void a_later_loss_makes_packet_mode(void)
{
	struct lh_experiment e = load(two, NULL);
	CU_ASSERT_EQUAL(lh_topology_link(&e.topology, 1, 0)->mode, LH_MODE_GSO);
	lh_experiment_done(&e);
	e = load(two, "schedule=[{at: 1s, from: eu, to: us, set: {loss: 1%}}]", NULL);
	CU_ASSERT_EQUAL(lh_topology_link(&e.topology, 1, 0)->mode, LH_MODE_PACKET);
	CU_ASSERT_EQUAL(lh_topology_link(&e.topology, 1, 1)->mode, LH_MODE_PACKET);
	CU_ASSERT_EQUAL(lh_topology_link(&e.topology, 0, 1)->mode, LH_MODE_GSO);
	lh_experiment_done(&e);
}

static void three_groups_are_two_partitions(void)
{
	struct lh_experiment e = load("longhaul: 1\nsites: {a: {}, b: {}, c: {}, d: {}}\nmatrix: {rtt: 5ms}\n"
				      "schedule: [{at: 1s, partition: [[a], [c, b], [d]]}]\n", NULL);
	CU_ASSERT_EQUAL_FATAL(e.nchanges, 2);
	CU_ASSERT(e.changes[0].group_mask == 1 && e.changes[1].group_mask == 6);
	check_round_trip(&e);
	lh_experiment_done(&e);
}

/* Tables and includes of tests/golden/tables/, relative to the file that names them. */
static void includes_tables_and_traces(void)
{
	struct lh_experiment e = load_file(lh_test_path("golden/tables/main.yaml"));
	CU_ASSERT_STRING_EQUAL(e.topology.name, "from main");      /* main wins */
	CU_ASSERT_STRING_EQUAL(e.topology.description, "from base"); /* base fills in */
	CU_ASSERT(e.topology.nsites == 3 && e.topology.sites[0].npeers == 2 && e.topology.sites[1].npeers == 4);
	CU_ASSERT_STRING_EQUAL(e.topology.sites[2].name, "asia");
	CU_ASSERT(imp(&e, 0, 1)->delay_ns == 50 * LH_NS_PER_MS && imp(&e, 1, 0)->delay_ns == 55 * LH_NS_PER_MS);
	CU_ASSERT(imp(&e, 2, 2)->delay_ns == 350000); /* the diagonal is the LAN */
	CU_ASSERT_EQUAL_FATAL(e.nchanges, 6);
	const struct lh_change *c = e.changes;
	CU_ASSERT(c[0].at_ns == 2 * LH_NS_PER_S && c[0].imp.delay_ns == 50 * LH_NS_PER_MS &&
		  c[0].imp.rate_bps == 10000000);
	CU_ASSERT(c[2].at_ns == 3 * LH_NS_PER_S && c[2].imp.delay_ns == 50 * LH_NS_PER_MS &&
		  c[2].imp.rate_bps == 20000000);
	CU_ASSERT(c[4].at_ns == 4500 * LH_NS_PER_MS && c[4].imp.delay_ns == 60 * LH_NS_PER_MS);
	CU_ASSERT(c[4].imp.rate_bps == 20000000 && c[4].imp.loss_ppb == 1000000 &&
		  c[4].imp.loss_model == LH_LOSS_RANDOM);
	check_round_trip(&e);
	lh_experiment_done(&e);
}

static void set_reaches_everything(void)
{
	struct lh_experiment e =
	    load(two, "sites.us.peers=3", "training.target-batch=512", "sites.eu.peers.big.pace=90/s",
		 "sites.eu.peers.0.pace=10/s", "links.eu-us.loss=0.1%", "tcp.congestion=bbr", "sites.asia.lan.rtt=1ms",
		 "matrix.rtt={us: {eu: 9ms, asia: 8ms}, asia: {eu: 7ms}}", NULL);
	CU_ASSERT(e.topology.nsites == 3 && e.topology.sites[0].npeers == 3 && e.training.target_batch == 512);
	CU_ASSERT(e.topology.peers[3].samples_per_s == 10 && e.topology.peers[4].samples_per_s == 90);
	CU_ASSERT(imp(&e, 0, 1)->loss_ppb == 1000000 && imp(&e, 0, 1)->delay_ns == 4500000);
	CU_ASSERT_STRING_EQUAL(e.topology.peers[0].tcp.congestion, "bbr");
	CU_ASSERT_STRING_EQUAL(e.topology.peers[4].tcp.congestion, "reno");
	CU_ASSERT(e.topology.peers[0].tcp.initcwnd == 20 && imp(&e, 2, 1)->delay_ns == 3500000);
	check_round_trip(&e);
	lh_experiment_done(&e);

	e = load(two, "training.epochs=9", "training.epochs=7", "links.0.jitter=2ms",
		 "links.1={from: eu, to: us, seed: 5}", "schedule.0={at: 1s, kill: big}",
		 "training={model: text, pace: 3/s}", NULL); /* the last wins */
	CU_ASSERT(e.training.epochs == 6 && imp(&e, 0, 1)->jitter_ns == 2000000 && imp(&e, 1, 0)->seed == 5);
	CU_ASSERT(e.nchanges == 1 && e.changes[0].peer == 3);
	CU_ASSERT_STRING_EQUAL(e.training.model, "text");
	lh_experiment_done(&e);
}

/* Every preset and every placement: loads, round-trips, and has what the study says. */
static void presets_load(void)
{
	glob_t g = { 0 };
	CU_ASSERT_EQUAL_FATAL(glob(lh_test_path("../topologies/*.yaml"), 0, NULL, &g), 0);
	CU_ASSERT_EQUAL(g.gl_pathc, 5);
	CU_ASSERT_EQUAL_FATAL(glob(lh_test_path("../topologies/study/*.yaml"), GLOB_APPEND, NULL, &g), 0);
	CU_ASSERT_EQUAL(g.gl_pathc, 5 + 54);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		struct lh_experiment e = load_file(g.gl_pathv[i]);
		bool study = strstr(g.gl_pathv[i], "/study/") != NULL;
		CU_ASSERT(e.training.given && e.training.engine == (study ? LH_ENGINE_PACED : LH_ENGINE_CPU));
		CU_ASSERT(study || e.topology.npeers == 4);
		check_round_trip(&e);
		lh_experiment_done(&e);
	}
	globfree(&g);
	struct lh_experiment e = load_file(lh_test_path("../topologies/study/c-8.yaml"));
	CU_ASSERT(e.topology.nsites == 4 && e.topology.npeers == 8 && e.training.target_batch == 32768);
	CU_ASSERT(imp(&e, 1, 3)->delay_ns == 135990000 && imp(&e, 3, 1)->delay_ns == 136040000);
	CU_ASSERT(imp(&e, 1, 3)->rate_bps == 0 && e.topology.peers[7].nic_bps == 7000000000);
	CU_ASSERT_EQUAL(lh_topology_link(&e.topology, 1, 3)->mode, LH_MODE_GSO);
	lh_experiment_done(&e);
}

static void presets_are_in_the_program(void)
{
	struct lh_experiment e = load_file("preset:study/c-8"),
			     f = load_file(lh_test_path("../topologies/study/c-8.yaml"));
	CU_ASSERT_STRING_EQUAL(e.canonical, f.canonical);
	lh_experiment_done(&e);
	lh_experiment_done(&f);
	e = load("include: preset:transatlantic\nlonghaul: 1\nsites: {us: {peers: 5}}\n", NULL);
	CU_ASSERT_EQUAL(e.topology.npeers, 7);
	lh_experiment_done(&e);
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_experiment_load("preset:lam", NULL, 0, NULL, &e, &err), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.text, "preset:lam: no such preset; did you mean \"lan\"?");
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
}

static void placements_are_current(void)
{
	char command[4200];
	snprintf(command, sizeof command, "python3 '%s' --check", lh_test_path("../scripts/make-study-topologies"));
	if (system("python3 -c pass >/dev/null 2>&1"))
		lh_test_skip("python3", "no python3");
	fflush(stdout);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void the_catalogue(void)
{
	const struct lh_catalogue_entry *e = lh_catalogue_find("CONV", "T4");
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT(e->parameters == 197767336 && e->samples_per_s == 36.9);
	CU_ASSERT_PTR_NULL(lh_catalogue_find("CONV", "T5"));
	CU_ASSERT_PTR_NULL(lh_catalogue_find("RN18", "T4"));
	size_t n = 0;
	for (; lh_catalogue_at(n); n++)
		CU_ASSERT(lh_catalogue_at(n)->samples_per_s > 0 && lh_catalogue_at(n)->parameters > 1000000 &&
			  lh_catalogue_find(lh_catalogue_at(n)->model, lh_catalogue_at(n)->device) ==
			      lh_catalogue_at(n));
	CU_ASSERT_EQUAL(n, 20);
}

static void the_schema_is_json(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	CU_ASSERT_EQUAL(lh_schema_print(out, NULL), 0);
	fclose(out);
	json_t *schema = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(schema);
	json_t *defs = json_object_get(schema, "$defs");
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(schema, "$ref")), "#/$defs/file");
	CU_ASSERT(
	    json_is_object(json_object_get(json_object_get(json_object_get(defs, "training"), "properties"), "pace")));
	CU_ASSERT(json_is_false(json_object_get(json_object_get(defs, "link"), "additionalProperties")));
	for (const char *p = text; (p = strstr(p, "\"#/$defs/")); p++) { /* every reference resolves */
		char name[40] = "";
		sscanf(p, "\"#/$defs/%39[^\"]", name);
		CU_ASSERT_PTR_NOT_NULL(json_object_get(defs, name));
	}
	json_decref(schema);
	free(text);
}

/* topologies/README.md carries the reference between two markers. LONGHAUL_UPDATE_GOLDEN=1 writes it there. */
static void the_reference_page_is_current(void)
{
	static const char begin[] = "<!-- begin of the reference -->\n", end[] = "<!-- end of the reference -->\n";
	char *reference = NULL, page[200000];
	size_t len = 0;
	FILE *out = open_memstream(&reference, &len), *in = fopen(lh_test_path("../topologies/README.md"), "re");
	CU_ASSERT_EQUAL(lh_schema_print_reference(out, NULL), 0);
	fclose(out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	page[fread(page, 1, sizeof page - 1, in)] = 0;
	fclose(in);
	char *from = strstr(page, begin), *to = strstr(page, end);
	CU_ASSERT_FATAL(from && to && from < to);
	from += strlen(begin);
	if (getenv("LONGHAUL_UPDATE_GOLDEN") && (out = fopen(lh_test_path("../topologies/README.md"), "we"))) {
		fprintf(out, "%.*s%s%s", (int)(from - page), page, reference, to);
		CU_ASSERT_EQUAL(fclose(out), 0);
	} else {
		CU_ASSERT((size_t)(to - from) == len && !memcmp(from, reference, len));
	}
	free(reference);
}

/* The README's example loads, but for the two files that it names and nobody has. */
static void the_example_of_the_readme_loads(void)
{
	char page[200000];
	FILE *in = fopen(lh_test_path("../topologies/README.md"), "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(in);
	page[fread(page, 1, sizeof page - 1, in)] = 0;
	fclose(in);
	char *from = strstr(page, "```yaml\n"), *to = from ? strstr(from + 8, "```\n") : NULL;
	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	*to = 0;
	char *include = strstr(from, "\ninclude:"), *trace = strstr(from, "trace: eu.csv");
	CU_ASSERT_FATAL(include && trace);
	include[1] = '#';
	struct lh_experiment e = load(from + 8, "schedule.5={at: 50s, heal: all}", NULL);
	CU_ASSERT_EQUAL(e.topology.npeers, 4);
	check_round_trip(&e);
	lh_experiment_done(&e);
}

static void derive_and_needs_netem(void)
{
	struct lh_impairment i = { .rate_bps = 1000000 };
	CU_ASSERT_FALSE(lh_impairment_needs_netem(&i));
	i.rate_overhead_bytes = 24;
	CU_ASSERT_TRUE(lh_impairment_needs_netem(&i));
	i = (struct lh_impairment){ .delay_ns = 1 };
	CU_ASSERT_TRUE(lh_impairment_needs_netem(&i));
	i = (struct lh_impairment){ .corrupt_ppb = 1 };
	CU_ASSERT_TRUE(lh_impairment_needs_netem(&i));
	i = (struct lh_impairment){ .slot_min_ns = 1, .slot_max_ns = 1 };
	CU_ASSERT_TRUE(lh_impairment_needs_netem(&i));
	lh_topology_done(NULL);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "sites_peers_and_inheritance", sites_peers_and_inheritance },
		{ "delays_in_every_form", delays_in_every_form },
		{ "every_key_arrives", every_key_arrives },
		{ "a_schedule_plays_in_time_order", a_schedule_plays_in_time_order },
		{ "an_impairment_that_ends_takes_its_parts_along", an_impairment_that_ends_takes_its_parts_along },
		{ "the_largest_schedule", the_largest_schedule },
		{ "packet_mode_for_its_own_sake", packet_mode_for_its_own_sake },
		{ "a_later_loss_makes_packet_mode", a_later_loss_makes_packet_mode },
		{ "three_groups_are_two_partitions", three_groups_are_two_partitions },
		{ "includes_tables_and_traces", includes_tables_and_traces },
		{ "set_reaches_everything", set_reaches_everything },
		{ "presets_load", presets_load },
		{ "presets_are_in_the_program", presets_are_in_the_program },
		{ "placements_are_current", placements_are_current },
		{ "the_catalogue", the_catalogue },
		{ "the_schema_is_json", the_schema_is_json },
		{ "the_reference_page_is_current", the_reference_page_is_current },
		{ "the_example_of_the_readme_loads", the_example_of_the_readme_loads },
		{ "derive_and_needs_netem", derive_and_needs_netem },
	};
	return lh_test_main(argc, argv, "experiment", tests, sizeof tests / sizeof *tests);
}
