/* Peers that come and go, from hand-made events: views and lives -> interruptions; epochs with changing members ->
 * metrics; ranges of samples -> each once, or not.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "group.h"
#include "lhtest.h"
#include "metrics.h"

#define MS LH_NS_PER_MS
#define GO (100 * LH_NS_PER_S)

static void tell(struct lh_group_log *g, struct lh_event e)
{
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_group_log_event(g, &e, &err);
	CU_ASSERT_EQUAL(rc, 0);
	if (rc)
		printf("# %s\n", err.text);
}

/* Everybody of `members` tells of the view, rank i noticing at `noticed` + i and beginning at `began` + i ms. */
static void view(struct lh_group_log *g, struct lh_event v, lh_ns noticed_ms, lh_ns began_ms)
{
	for (unsigned i = 0; i < g->npeers; i++) {
		if (!(v.members >> i & 1))
			continue;
		v.kind = LH_EVENT_VIEW;
		v.rank = i;
		v.noticed_ns = (noticed_ms + i) * MS;
		v.t_ns = (began_ms + i) * MS;
		tell(g, v);
	}
}

static void start(struct lh_group_log *g, unsigned peer, lh_ns t_ms, bool founder, uint32_t incarnation)
{
	CU_ASSERT_EQUAL(lh_group_log_start(g, peer, t_ms * MS, founder, incarnation, NULL), 0);
}

static struct lh_group_log four(void)
{
	struct lh_group_log g = { .npeers = 4 };
	for (unsigned i = 0; i < 4; i++)
		start(&g, i, 1, true, 0);
	view(&g, (struct lh_event){ .view = 1, .members = 15, .came = 15 }, 2, 3);
	return g;
}

static struct lh_interruption *interruptions(const struct lh_group_log *g, size_t expected)
{
	struct lh_interruption *list = NULL;
	size_t n = 99;
	CU_ASSERT_EQUAL(lh_group_log_interruptions(g, &list, &n, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(n, expected);
	return list;
}

static void killed_and_back(void)
{
	struct lh_group_log g = four();
	tell(&g, (struct lh_event){ .kind = LH_EVENT_EPOCH, .rank = 3, .epoch = 3, .held_back_l1 = 9 });
	tell(&g, (struct lh_event){ .kind = LH_EVENT_EPOCH, .rank = 3, .epoch = 4, .held_back_l1 = 2.5 });
	tell(&g, (struct lh_event){ .kind = LH_EVENT_EPOCH, .rank = 2, .epoch = 4, .held_back_l1 = 7 });
	lh_group_log_change(&g, LH_CHANGE_NOTICE, 3, 8000 * MS);
	lh_group_log_change(&g, LH_CHANGE_KILL, 3, 10000 * MS);
	view(&g, (struct lh_event){ .view = 2, .members = 7, .gone = 8, .cause = LH_VIEW_LOST, .version = 4,
				    .aborted_round = 5, .samples_redealt = 12 }, 10010, 10100);
	lh_group_log_exit(&g, 3, 10001 * MS); /* the harness may hear of it after the others */
	start(&g, 3, 15000, false, 1);
	CU_ASSERT_EQUAL(lh_group_log_lives(&g, 3), 2);
	tell(&g, (struct lh_event){ .kind = LH_EVENT_SYNCED, .rank = 3, .begin_ns = 15200 * MS, .t_ns = 15900 * MS,
				    .bytes_received = 777, .version = 9, .donor = 2 });
	view(&g, (struct lh_event){ .view = 3, .members = 15, .came = 8, .cause = LH_VIEW_JOINED, .version = 9 }, 15950, 16000);
	struct lh_interruption *i = interruptions(&g, 1);
	CU_ASSERT(i->peer == 3 && i->why == LH_GONE_KILLED && i->epoch == 5 && i->view == 2);
	CU_ASSERT(i->notice_ns == 8000 * MS && i->gone_ns == 10000 * MS);
	CU_ASSERT(i->detected_ns == 10012 * MS && i->regrouped_ns == 10102 * MS); /* the last of the survivors */
	CU_ASSERT(i->restart_ns == 15000 * MS && i->synced_ns == 15900 * MS && i->sync_ns == 700 * MS);
	CU_ASSERT(i->sync_bytes == 777 && i->back_ns == 16003 * MS); /* its own word */
	CU_ASSERT_EQUAL(i->held_back_l1, 2.5); /* after its last commit */
	CU_ASSERT_EQUAL(lh_group_log_view(&g)->number, 3);
	free(i);
	lh_group_log_done(&g);
}

/* Killed and started again so soon that one view says both. */
static void gone_and_back_in_one_view(void)
{
	struct lh_group_log g = four();
	lh_group_log_change(&g, LH_CHANGE_KILL, 1, 5000 * MS);
	lh_group_log_exit(&g, 1, 5001 * MS);
	start(&g, 1, 5100, false, 1);
	view(&g, (struct lh_event){ .view = 2, .members = 15, .gone = 2, .came = 2, .version = 1 }, 5200, 5300);
	struct lh_interruption *i = interruptions(&g, 1);
	CU_ASSERT(i->peer == 1 && i->why == LH_GONE_KILLED && i->gone_ns == 5000 * MS && i->restart_ns == 5100 * MS);
	CU_ASSERT(i->back_ns == 5301 * MS && i->detected_ns == 5203 * MS);
	free(i);
	lh_group_log_done(&g);
}

/* To the one that joins, everybody came; what the others say counts, whoever tells first. */
static void the_joiner_tells_first(void)
{
	struct lh_group_log g = four();
	lh_group_log_change(&g, LH_CHANGE_KILL, 0, 5000 * MS);
	lh_group_log_exit(&g, 0, 5001 * MS);
	view(&g, (struct lh_event){ .view = 2, .members = 14, .gone = 1, .version = 3 }, 5010, 5020);
	start(&g, 0, 6000, false, 1);
	tell(&g, (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = 0, .view = 3, .members = 15, .came = 15, .version = 5,
				    .noticed_ns = 6100 * MS, .t_ns = 6500 * MS });
	for (unsigned i = 1; i < 4; i++)
		tell(&g, (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = i, .view = 3, .members = 15, .came = 1,
					    .version = 5, .noticed_ns = 6200 * MS, .t_ns = (6500 + i) * MS });
	CU_ASSERT(g.views[2].came == 1 && g.views[2].first_ns == 6501 * MS && g.views[2].noticed_first_ns == 6200 * MS);
	struct lh_interruption *i = interruptions(&g, 1);
	CU_ASSERT(i->peer == 0 && i->back_ns == 6500 * MS);
	free(i);
	lh_group_log_done(&g);
}

static void every_way_to_go(void)
{
	struct lh_group_log g = four();
	/* 2 is told and leaves; 1 dies unasked; 3 is cut off and later gives up; 0 goes on alone, and is killed. */
	lh_group_log_change(&g, LH_CHANGE_CUT, 0, 1000 * MS);
	lh_group_log_change(&g, LH_CHANGE_PARTITION, 0, 35000 * MS);
	lh_group_log_change(&g, LH_CHANGE_CUT, 0, 50000 * MS);
	lh_group_log_change(&g, LH_CHANGE_NOTICE, 2, 20000 * MS);
	tell(&g, (struct lh_event){ .kind = LH_EVENT_LEFT, .rank = 2, .t_ns = 22000 * MS });
	view(&g, (struct lh_event){ .view = 2, .members = 11, .gone = 4, .cause = LH_VIEW_LEFT, .version = 3 }, 22010, 22020);
	tell(&g, (struct lh_event){ .kind = LH_EVENT_FINISHED, .rank = 2, .t_ns = 22100 * MS });
	lh_group_log_exit(&g, 2, 22200 * MS);
	lh_group_log_exit(&g, 1, 30000 * MS);
	view(&g, (struct lh_event){ .view = 3, .members = 9, .gone = 2, .version = 4 }, 30010, 30020);
	view(&g, (struct lh_event){ .view = 4, .members = 1, .gone = 8, .version = 5 }, 40010, 40020);
	tell(&g, (struct lh_event){ .kind = LH_EVENT_FAILED, .rank = 3, .t_ns = 60000 * MS });
	lh_group_log_exit(&g, 3, 60001 * MS);
	/* one that never became a member, and the last one */
	start(&g, 1, 61000, false, 1);
	lh_group_log_exit(&g, 1, 62000 * MS);
	lh_group_log_change(&g, LH_CHANGE_KILL, 0, 70000 * MS);
	lh_group_log_exit(&g, 0, 70001 * MS);
	struct lh_interruption *i = interruptions(&g, 5);
	CU_ASSERT(i[0].peer == 2 && i[0].why == LH_GONE_LEFT && i[0].gone_ns == 22000 * MS && i[0].detected_ns == 0);
	CU_ASSERT(i[1].peer == 1 && i[1].why == LH_GONE_DIED && i[1].gone_ns == 30000 * MS && i[1].back_ns == 0);
	CU_ASSERT(i[1].restart_ns == 61000 * MS);
	CU_ASSERT(i[2].peer == 3 && i[2].why == LH_GONE_CUT_OFF && i[2].gone_ns == 35000 * MS && i[2].detected_ns == 40010 * MS);
	CU_ASSERT(i[3].peer == 0 && i[3].why == LH_GONE_KILLED && i[3].view == 0 && i[3].detected_ns == 0);
	CU_ASSERT(i[4].peer == 1 && i[4].why == LH_GONE_DIED && i[4].gone_ns == 62000 * MS && i[4].view == 0);
	free(i);
	lh_group_log_done(&g);
}

/* Stalled, dropped, and taken in again without having died. */
static void cut_off_and_back(void)
{
	struct lh_group_log g = four();
	view(&g, (struct lh_event){ .view = 2, .members = 7, .gone = 8, .version = 3, .aborted_round = 4 }, 9000, 9100);
	tell(&g, (struct lh_event){ .kind = LH_EVENT_SYNCED, .rank = 3, .begin_ns = 11000 * MS, .t_ns = 11500 * MS });
	view(&g, (struct lh_event){ .view = 3, .members = 15, .came = 8, .cause = LH_VIEW_JOINED, .version = 5 }, 11600, 11700);
	struct lh_interruption *i = interruptions(&g, 1);
	CU_ASSERT(i->why == LH_GONE_CUT_OFF && i->gone_ns == 0 && i->detected_ns == 9002 * MS && i->restart_ns == 0);
	CU_ASSERT(i->back_ns == 11703 * MS && i->sync_ns == 500 * MS);
	free(i);
	lh_group_log_done(&g);
}

static void contradictions(void)
{
	struct lh_group_log g = four();
	struct lh_event v = { .kind = LH_EVENT_VIEW, .rank = 0, .view = 2, .members = 3, .gone = 12, .version = 3, .t_ns = 9, };
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), 0);
	v.rank = 2;
	v.members = 12;
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), -EPROTO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "there are two groups"));
	v = (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = 1, .view = 2, .members = 3, .gone = 12, .version = 4 };
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), -EPROTO);
	v = (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = 1, .view = 3, .members = 1 };
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), -EPROTO); /* not of its own group */
	v.members = 0x13;
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), -EPROTO); /* a fifth of four */
	/* a late word about an older view goes to its place */
	v = (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = 1, .view = 5, .members = 2 };
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), 0);
	v = (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = 0, .view = 4, .members = 3 };
	CU_ASSERT_EQUAL(lh_group_log_event(&g, &v, &err), 0);
	CU_ASSERT(g.nviews == 4 && g.views[2].number == 4 && lh_group_log_view(&g)->number == 5);
	lh_group_log_done(&g);
}

/* ---- epochs with changing members ---- */

static void add(struct lh_series *s, struct lh_event e)
{
	struct lh_err err = LH_ERR_INIT;
	int rc = lh_series_add(s, &e, &err);
	CU_ASSERT_EQUAL(rc, 0);
	if (rc)
		printf("# %s\n", err.text);
}

static void add_view(struct lh_series *s, unsigned rank, uint32_t number, uint64_t members)
{
	add(s, (struct lh_event){ .kind = LH_EVENT_VIEW, .rank = rank, .view = number, .members = members });
}

/* Epoch e begins (e - 1) s after the go, its share is done after 0.5 s; 120 samples in all. */
static void add_epoch(struct lh_series *s, unsigned rank, uint32_t e, uint32_t in_view, const char *ranges, uint64_t samples)
{
	struct lh_event x = {
		.kind = LH_EVENT_EPOCH, .rank = rank, .epoch = e, .view = in_view, .begin_ns = GO + (e - 1) * 1000 * MS,
		.calc_end_ns = GO + (e - 1) * 1000 * MS + 500 * MS, .exchange_end_ns = GO + e * 1000 * MS - 10 * MS,
		.commit_ns = GO + e * 1000 * MS, .samples = samples, .total_samples = 120, .state_hash = e, .loss_sum = 1,
	};
	snprintf(x.ranges, sizeof x.ranges, "%s", ranges);
	add(s, x);
}

static struct lh_series begin(unsigned npeers, uint32_t nepochs, const bool *absent)
{
	struct lh_series s;
	CU_ASSERT_EQUAL_FATAL(lh_series_init(&s, npeers, nepochs, NULL), 0);
	lh_series_elastic(&s, absent);
	for (unsigned i = 0; i < npeers; i++)
		if (!absent[i])
			add(&s, (struct lh_event){ .kind = LH_EVENT_JOINED, .rank = i, .state_hash = 77 });
	s.go_ns = GO;
	return s;
}

/* Three founders and one that comes later: peer 2 dies in epoch 2, peer 3 joins for epoch 4. */
static void members_change(void)
{
	static const bool absent[] = { false, false, false, true };
	static const struct lh_metrics_input in = { .warmup = 0, .target_batch = 120, .latency_ns = -1, .cpus = 2 };
	struct lh_series s = begin(4, 5, absent);
	CU_ASSERT(lh_series_present(&s) == 3 && lh_series_joined(&s) == 3);
	for (unsigned i = 0; i < 3; i++)
		add_view(&s, i, 1, 7);
	add_epoch(&s, 0, 1, 1, "0+40", 40);
	add_epoch(&s, 1, 1, 1, "40+40", 40);
	CU_ASSERT_EQUAL(lh_series_committed(&s), 0);
	add_epoch(&s, 2, 1, 1, "80+40", 40);
	CU_ASSERT_EQUAL(lh_series_committed(&s), 1);
	lh_series_gone(&s, 2);
	CU_ASSERT_EQUAL(lh_series_present(&s), 2);
	add_view(&s, 0, 2, 3);
	/* the dead one's share is dealt again; of the others' samples one tells some in lines before the epoch's */
	add(&s, (struct lh_event){ .kind = LH_EVENT_SAMPLES, .rank = 0, .epoch = 2, .ranges = "120+40" });
	add(&s, (struct lh_event){ .kind = LH_EVENT_SAMPLES, .rank = 0, .epoch = 2, .ranges = "200+5,205+5" });
	add_epoch(&s, 0, 2, 2, "210+10", 60);
	CU_ASSERT_EQUAL(lh_series_add(&s, &(struct lh_event){ .kind = LH_EVENT_SAMPLES, .rank = 0, .epoch = 2, .ranges = "0+1" },
				      NULL), -EPROTO); /* too late */
	CU_ASSERT_EQUAL(lh_series_committed(&s), 1);
	add_epoch(&s, 1, 2, 2, "160+40,220+20", 60);
	CU_ASSERT_EQUAL(lh_series_committed(&s), 2);
	add_epoch(&s, 0, 3, 2, "240+60", 60);
	add_epoch(&s, 1, 3, 2, "300+60", 60);
	lh_series_started(&s, 3);
	add(&s, (struct lh_event){ .kind = LH_EVENT_JOINED, .rank = 3, .state_hash = 5 }); /* not of the beginning */
	add(&s, (struct lh_event){ .kind = LH_EVENT_SYNCED, .rank = 3, .version = 3 });
	for (unsigned i = 0; i < 4; i++)
		if (i != 2)
			add_view(&s, i, 3, 11);
	CU_ASSERT_EQUAL(lh_series_committed(&s), 3);
	for (uint32_t e = 4; e <= 5; e++) {
		char a[16], b[16], c[16];
		snprintf(a, sizeof a, "%u+40", (e - 1) * 120);
		snprintf(b, sizeof b, "%u+40", (e - 1) * 120 + 40);
		snprintf(c, sizeof c, "%u+40", (e - 1) * 120 + 80);
		add_epoch(&s, 0, e, 3, a, 40);
		add_epoch(&s, 1, e, 3, b, 40);
		CU_ASSERT_EQUAL(lh_series_committed(&s), e - 1);
		add_epoch(&s, 3, e, 3, c, 40);
	}
	CU_ASSERT_EQUAL(lh_series_committed(&s), 5);
	struct lh_metrics m;
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, NULL), 0);
	CU_ASSERT(m.nepochs == 5 && m.summary.replicas_identical && m.summary.dealt == LH_DEALT_ONCE);
	CU_ASSERT(m.summary.short_epoch == 0 && m.summary.wrong_epoch == 0 && m.summary.unreported == 0);
	static const unsigned peers[] = { 3, 2, 2, 3, 3 };
	for (unsigned i = 0; i < 5; i++) {
		CU_ASSERT(m.epochs[i].peers == peers[i] && m.epochs[i].samples == 120);
		CU_ASSERT_TRUE(m.epochs[i].disturbed); /* never were all four there */
	}
	CU_ASSERT(m.peers[2].samples == 40 && m.peers[3].samples == 80 && m.summary.samples == 600);
	CU_ASSERT_TRUE(isnan(m.summary.undisturbed_sps));
	/* alone, each peer does its samples in 0.51 s an epoch: 40 / 0.51, 60 / 0.51, weighted by who was there when */
	double solo0 = 240 / 2.55, solo2 = 40 / 0.51, solo3 = 80 / 1.02;
	CU_ASSERT_DOUBLE_EQUAL(m.summary.solo_sps, (5 * 2 * solo0 + solo2 + 2 * solo3) / 5, 1e-9);
	lh_metrics_done(&m);
	lh_series_done(&s);
}

/* The undisturbed epochs are the measure of what was lost. */
static void throughput_lost(void)
{
	static const bool absent[2];
	static const struct lh_metrics_input in = { .warmup = 1, .target_batch = 120, .latency_ns = -1, .cpus = 2 };
	struct lh_series s = begin(2, 4, absent);
	for (uint32_t e = 1; e <= 4; e++) {
		bool alone = e == 4;
		if (alone)
			add_view(&s, 0, 2, 1);
		else if (e == 1)
			add_view(&s, 0, 1, 3);
		struct lh_event x = {
			.kind = LH_EVENT_EPOCH, .epoch = e, .view = alone ? 2 : 1, .begin_ns = GO + (e - 1) * 1000 * MS,
			.samples = alone ? 120 : 60, .state_hash = e,
		};
		x.calc_end_ns = x.exchange_end_ns = x.commit_ns = GO + (alone ? 5000 : e * 1000) * MS;
		add(&s, x);
		x.rank = 1;
		if (!alone)
			add(&s, x);
		else
			lh_series_gone(&s, 1);
	}
	struct lh_metrics m;
	CU_ASSERT_EQUAL_FATAL(lh_metrics_compute(&s, &in, &m, NULL), 0);
	CU_ASSERT(m.nepochs == 4 && !m.epochs[1].disturbed && !m.epochs[2].disturbed && m.epochs[3].disturbed);
	CU_ASSERT_DOUBLE_EQUAL(m.summary.undisturbed_sps, 120, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(m.summary.throughput_sps, 360.0 / 4, 1e-9);
	CU_ASSERT_EQUAL(m.summary.dealt, LH_DEALT_NOT_TOLD);
	lh_metrics_done(&m);
	lh_series_done(&s);
}

static void each_sample_once(void)
{
	static const struct { const char *a, *b; uint64_t na, nb; bool lost; enum lh_dealt want; uint64_t unreported; } cases[] = {
		{ "120+60", "180+60", 60, 60, false, LH_DEALT_ONCE, 0 },
		{ "180+30,120+30", "150+30,210+30", 60, 60, false, LH_DEALT_ONCE, 0 },
		{ "120+60", "", 60, 60, false, LH_DEALT_NOT_TOLD, 0 },
		{ "120+60", "180+50", 60, 60, false, LH_DEALT_NOT_TOLD, 0 }, /* not the samples it says */
		{ "120+60", "18x+60", 60, 60, false, LH_DEALT_NOT_TOLD, 0 },
		{ "120+60", "179+61", 60, 61, false, LH_DEALT_TWICE, 0 },
		{ "120+60", "120+60", 60, 60, false, LH_DEALT_TWICE, 0 },
		{ "119+61", "180+60", 61, 60, false, LH_DEALT_STRANGE, 0 },
		{ "120+60", "180+61", 60, 61, false, LH_DEALT_STRANGE, 0 },
		{ "120+60", "180+59", 60, 59, false, LH_DEALT_TOO_FEW, 0 },
		{ "120+60", "180+40", 60, 40, true, LH_DEALT_ONCE, 20 },
		{ "", "120+100", 0, 100, true, LH_DEALT_ONCE, 20 },
		{ "120+60", "179+41", 60, 41, true, LH_DEALT_TWICE, 0 },
	};
	static const bool absent[3];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct lh_series s = begin(3, 2, absent);
		uint64_t unreported = 0;
		for (unsigned p = 0; p < 3; p++)
			add_epoch(&s, p, 1, 1, p ? "" : "0+120", p ? 0 : 120);
		add_epoch(&s, 0, 2, 1, cases[i].a, cases[i].na);
		add_epoch(&s, 1, 2, 1, cases[i].b, cases[i].nb);
		if (cases[i].lost)
			lh_series_gone(&s, 2);
		else
			add_epoch(&s, 2, 2, 1, "", 0);
		enum lh_dealt got = lh_metrics_dealt(&s, 2, 120, &unreported, NULL);
		if (got != cases[i].want || unreported != cases[i].unreported)
			printf("# %zu: %d, %llu\n", i, (int)got, (unsigned long long)unreported);
		CU_ASSERT(got == cases[i].want && unreported == cases[i].unreported);
		lh_series_done(&s);
	}
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "killed_and_back", killed_and_back },
		{ "gone_and_back_in_one_view", gone_and_back_in_one_view },
		{ "the_joiner_tells_first", the_joiner_tells_first },
		{ "every_way_to_go", every_way_to_go },
		{ "cut_off_and_back", cut_off_and_back },
		{ "contradictions", contradictions },
		{ "members_change", members_change },
		{ "throughput_lost", throughput_lost },
		{ "each_sample_once", each_sample_once },
	};
	return lh_test_main(argc, argv, "group", tests, sizeof tests / sizeof *tests);
}
