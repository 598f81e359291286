/* longhaul-peer as it runs: processes, sockets, events. No network emulation here; what is tested is the trainer. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/frame.h"
#include "lhpeers.h"
#include "lhtest.h"

static struct lhpeers group, single;

static void run_to_end(struct lhpeers *g)
{
	lhpeers_start_all(g);
	lhpeers_go(g);
	lhpeers_wait_all(g);
	for (unsigned i = 0; i < g->config.size; i++) {
		CU_ASSERT_EQUAL(g->peer[i].status, 0);
		CU_ASSERT_TRUE(g->peer[i].has_finished);
		CU_ASSERT_EQUAL(g->peer[i].nepochs, g->config.epochs);
		CU_ASSERT_EQUAL(g->peer[i].nspans, g->config.epochs);
	}
	lhpeers_done(g);
}

/* Whatever the engine: rounds in order, instants in order, samples all dealt, replicas identical. */
static void check_rounds(const struct lhpeers *g)
{
	for (unsigned e = 0; e < g->config.epochs; e++) {
		uint64_t samples = 0, sent = 0, received = 0;
		for (unsigned i = 0; i < g->config.size; i++) {
			const struct lh_event *x = &g->peer[i].epochs[e];
			CU_ASSERT_EQUAL(x->epoch, e + 1);
			CU_ASSERT_EQUAL(x->state_hash, g->peer[0].epochs[e].state_hash);
			if (e)
				CU_ASSERT_EQUAL(x->begin_ns, g->peer[i].epochs[e - 1].commit_ns);
			double share_s = (double)x->samples / g->endpoints[i].samples_per_s;
			CU_ASSERT_TRUE((double)(x->calc_end_ns - x->begin_ns) >= share_s * 1e9 - 1); /* never early */
			CU_ASSERT_TRUE(fabs((double)(x->calc_end_ns - x->begin_ns - x->late_ns) - share_s * 1e9) <= 2);
			samples += x->samples;
			sent += x->bytes_sent;
			received += x->bytes_received;
		}
		CU_ASSERT_EQUAL(samples, g->config.target_batch);
		CU_ASSERT_EQUAL(sent > 0, g->config.size > 1);
		CU_ASSERT_EQUAL(received > 0, g->config.size > 1);
		if (e)
			CU_ASSERT_NOT_EQUAL(g->peer[0].epochs[e].state_hash, g->peer[0].epochs[e - 1].state_hash);
	}
	for (unsigned i = 0; i < g->config.size; i++)
		CU_ASSERT_EQUAL(g->peer[i].joined.state_hash, g->peer[0].joined.state_hash);
}

static double loss_of(const struct lhpeers *g, unsigned e)
{
	double sum = 0;
	for (unsigned i = 0; i < g->config.size; i++)
		sum += g->peer[i].epochs[e].loss_sum;
	return sum;
}

/* Largest relative difference of the loss over all rounds between four peers and one, same samples, same batch. */
static double compare_with_one(const char *model, enum lh_wire wire, uint32_t epochs)
{
	double worst = 0;
	lhpeers_init(&group, 4);
	lhpeers_init(&single, 1);
	for (struct lhpeers *g = &group;; g = &single) {
		strcpy(g->config.model, model);
		g->config.wire = wire;
		g->config.epochs = epochs;
		/* text is slow under sanitizers */
		g->config.target_batch = strcmp(model, "text") ? 64 : 16;
		for (unsigned i = 0; i < g->config.size; i++)
			g->endpoints[i].samples_per_s = g == &group ? 100 + 150 * i : 2000; /* uneven shares */
		run_to_end(g);
		check_rounds(g);
		if (g == &single)
			break;
	}
	for (unsigned e = 0; e < group.config.epochs; e++) {
		double difference = fabs(loss_of(&group, e) / loss_of(&single, e) - 1);
		worst = difference > worst ? difference : worst;
	}
	CU_ASSERT_TRUE(loss_of(&single, epochs - 1) < loss_of(&single, 0)); /* it does train */
	CU_ASSERT_TRUE(fabs(loss_of(&group, 0) / loss_of(&single, 0) - 1) < 1e-5); /* same parameters, same samples */
	CU_ASSERT_TRUE(group.peer[0].has_eval && single.peer[0].has_eval && !group.peer[1].has_eval);
	printf("# %s, %s: largest difference of a round's loss, 4 peers against 1: %.2g; held out %g and %g\n", model,
	       wire == LH_WIRE_FP16 ? "fp16" : "fp32", worst, group.peer[0].eval.value, single.peer[0].eval.value);
	return worst;
}

/* The bounds: fp32 differs by the order of additions only; fp16 rounds each gradient to 11 bits. */
static void test_four_equal_one_fp32(void)
{
	CU_ASSERT_TRUE(compare_with_one("digits", LH_WIRE_FP32, 12) < 1e-5);
	CU_ASSERT_TRUE(compare_with_one("text", LH_WIRE_FP32, 4) < 1e-5);
}

static void test_four_equal_one_fp16(void)
{
	CU_ASSERT_TRUE(compare_with_one("digits", LH_WIRE_FP16, 12) < 1e-2);
}

/* The catalogue's engine: bytes by formula, no loss, busy with nothing, and the sum was checked by the engine. */
static void test_paced(void)
{
	enum { N = 3, PARAMETERS = 1000003 };
	lhpeers_init(&group, N);
	group.config.engine = LH_ENGINE_PACED;
	group.config.wire = LH_WIRE_FP16;
	group.config.parameters = PARAMETERS;
	group.config.deadline_ns = 60 * LH_NS_PER_S; /* no pings among the bytes */
	run_to_end(&group);
	check_rounds(&group);
	for (unsigned i = 0; i < N; i++) {
		/* 333335, 333334 and 333334 elements: two parts each; one block goes to two, two blocks to one. */
		uint64_t own = PARAMETERS / N + (i < PARAMETERS % N), all = PARAMETERS;
		uint64_t bytes = 2 * (2 * own + (all - own)) + LH_FRAME_HEADER * (2 * 2 + 2 * 2);
		CU_ASSERT_EQUAL(group.peer[i].joined.parameters, PARAMETERS);
		CU_ASSERT_TRUE(isnan(group.peer[i].epochs[0].loss_sum));
		for (unsigned e = 0; e < group.config.epochs; e++)
			CU_ASSERT_EQUAL(group.peer[i].epochs[e].bytes_sent, bytes);
		CU_ASSERT_FALSE(group.peer[i].has_eval);
	}
}

/* Real processes with every codec: the paced engine accepts the sums, the real model trains, replicas are identical, and
 * a peer of two sends half the elements each way. */
static void test_codecs(void)
{
	enum { N = 2, PARAMETERS = 512 * 1024 }; /* halves of 256 Ki elements: one part of fp16, int8 and topk */
	static const struct { enum lh_wire wire; struct lh_codec_options options; uint64_t half; } cases[] = {
		{ LH_WIRE_BF16, { 0 }, 2 * 262144 }, { LH_WIRE_INT8, { 0 }, 262144 + 4 * 1024 },
		{ LH_WIRE_INT8, { .error_feedback = true }, 262144 + 4 * 1024 },
		{ LH_WIRE_TOPK, { .topk_fraction = 0.01, .error_feedback = true }, 4 * 4 + 6 * 2622 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		lhpeers_init(&group, N);
		group.config.engine = LH_ENGINE_PACED;
		group.config.wire = cases[i].wire;
		group.config.codec = cases[i].options;
		group.config.parameters = PARAMETERS;
		group.config.deadline_ns = 60 * LH_NS_PER_S; /* no pings among the bytes */
		run_to_end(&group);
		check_rounds(&group);
		for (unsigned e = 0; e < group.config.epochs; e++)
			CU_ASSERT_EQUAL(group.peer[0].epochs[e].bytes_sent, 2 * (cases[i].half + LH_FRAME_HEADER));
	}
	lhpeers_init(&group, N); /* ResNet-18, a 137th of it */
	group.config.engine = LH_ENGINE_PACED;
	group.config.wire = LH_WIRE_POWERSGD;
	group.config.codec = (struct lh_codec_options){ .powersgd_rank = 2, .error_feedback = true };
	group.config.parameters = 11689512;
	group.config.epochs = 2;
	group.config.deadline_ns = 60 * LH_NS_PER_S;
	run_to_end(&group);
	check_rounds(&group);
	CU_ASSERT_TRUE(group.peer[0].epochs[0].bytes_sent < 11689512 * 4 / 136);
	lhpeers_init(&group, 3);
	group.config.wire = LH_WIRE_POWERSGD;
	group.config.codec = (struct lh_codec_options){ .powersgd_rank = 2, .error_feedback = true };
	group.config.epochs = 12;
	run_to_end(&group);
	check_rounds(&group);
	CU_ASSERT_TRUE(loss_of(&group, 11) < 0.9 * loss_of(&group, 0));
	CU_ASSERT_TRUE(group.peer[0].epochs[0].bytes_sent < 89546 * 4 * 4 / 3 / 10);
}

/* The paced engine knows matrices only of the catalogue's models. */
static void test_powersgd_needs_shapes(void)
{
	lhpeers_init(&group, 2);
	group.config.engine = LH_ENGINE_PACED;
	group.config.wire = LH_WIRE_POWERSGD;
	group.config.codec = (struct lh_codec_options){ .powersgd_rank = 2, .error_feedback = true };
	group.config.parameters = 1000;
	lhpeers_start_all(&group);
	lhpeers_wait_all(&group);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(group.peer[i].status, 2);
		CU_ASSERT_TRUE(group.peer[i].has_failed);
		CU_ASSERT_PTR_NOT_NULL(strstr(group.peer[i].failed.reason, "engine paced does not know the shapes"));
	}
	lhpeers_done(&group);
}

/* Two sites of unequal size, not in order of ranks. */
static void choose_algorithm(struct lhpeers *g, enum lh_algorithm a)
{
	static const uint32_t site[] = { 1, 1, 0, 1 };
	g->config.algorithm = a;
	for (unsigned i = 0; i < g->config.size; i++)
		g->endpoints[i].site = site[i % 4];
}

/* Four real processes: every algorithm's sums are accepted by the engine, replicas are identical, and the bytes are
 * those of the table: up and down, three transfers of the whole vector each. */
static void check_algorithm(enum lh_algorithm a, uint32_t share_of_0)
{
	enum { N = 4, PARAMETERS = 1000003 };
	uint64_t elements = 0;
	lhpeers_init(&group, N);
	choose_algorithm(&group, a);
	for (unsigned i = 0; i < N && share_of_0; i++)
		group.endpoints[i].share = i ? 1 : share_of_0;
	group.config.engine = LH_ENGINE_PACED;
	group.config.wire = LH_WIRE_FP16;
	group.config.parameters = PARAMETERS;
	group.config.deadline_ns = 60 * LH_NS_PER_S; /* no pings among the bytes */
	run_to_end(&group);
	check_rounds(&group);
	for (unsigned i = 0; i < N; i++) {
		const struct lhpeer *p = &group.peer[i];
		for (unsigned e = 1; e < group.config.epochs; e++)
			CU_ASSERT_EQUAL(p->epochs[e].bytes_sent, p->epochs[0].bytes_sent);
		elements += p->epochs[0].bytes_sent / 2; /* and headers: 24 bytes in 524288 at most, some 60 parts */
	}
	CU_ASSERT_TRUE(elements > 6 * PARAMETERS && elements < 6 * PARAMETERS + 60 * LH_FRAME_HEADER);
}

static void test_algorithms_paced(void)
{
	for (int a = 0; a < LH_ALGORITHMS; a++)
		check_algorithm((enum lh_algorithm)a, 0);
	check_algorithm(LH_ALGORITHM_BUTTERFLY, 5);
}

/* The real model: as one peer does it, within the rounding of the wire. */
static void test_algorithms_train(void)
{
	double reference = 0;
	for (int a = 0; a < LH_ALGORITHMS; a++) {
		lhpeers_init(&group, 4);
		choose_algorithm(&group, (enum lh_algorithm)a);
		run_to_end(&group);
		check_rounds(&group);
		if (!a)
			reference = loss_of(&group, 3);
		CU_ASSERT_TRUE(fabs(loss_of(&group, 3) / reference - 1) < 1e-5);
	}
}

/* One bit flipped behind our back: the hashes tell which peer, from that round on. */
static void test_flip(void)
{
	for (int paced = 0; paced < 2; paced++) {
		lhpeers_init(&group, 3);
		group.config.engine = paced ? LH_ENGINE_PACED : LH_ENGINE_CPU;
		group.config.parameters = paced ? 10000 : 0;
		group.config.flip_rank = 1;
		group.config.flip_epoch = 2;
		run_to_end(&group);
		for (unsigned e = 0; e < 4; e++) {
			uint64_t h = group.peer[0].epochs[e].state_hash;
			CU_ASSERT_EQUAL(group.peer[2].epochs[e].state_hash, h);
			CU_ASSERT_EQUAL(group.peer[1].epochs[e].state_hash == h, e < 1);
		}
	}
}

/* A peer that is kept from the processor says so. 8 steps of 15 ms where 5 ms a step are declared. */
static void test_starved(void)
{
	lhpeers_init(&group, 2);
	group.endpoints[0].samples_per_s = group.endpoints[1].samples_per_s = 1600;
	group.config.target_batch = 128;
	group.config.starve_ns = 15 * LH_NS_PER_MS;
	run_to_end(&group);
	for (unsigned e = 0; e < 4; e++) {
		CU_ASSERT_TRUE(group.peer[0].epochs[e].late_ns >= 8 * 10 * LH_NS_PER_MS);
		CU_ASSERT_TRUE(group.peer[0].epochs[e].busy_ns >= 8 * 15 * LH_NS_PER_MS);
	}
}

/* The others must name rank 1, exit 4, and do so in time. */
static void check_break(enum lh_algorithm a, int sig, lh_ns limit_ns)
{
	lhpeers_init(&group, 4);
	choose_algorithm(&group, a);
	group.config.engine = LH_ENGINE_PACED;
	group.config.parameters = 500000;
	group.config.epochs = 100000;
	group.config.deadline_ns = 2 * LH_NS_PER_S;
	lhpeers_start_all(&group);
	lhpeers_go(&group);
	CU_ASSERT_TRUE(lhpeers_read_until(&group, 1, LH_EVENT_EPOCH));
	lh_ns begin = lh_clock_ns();
	CU_ASSERT_EQUAL(kill(group.peer[1].pid, sig), 0);
	for (unsigned i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		lhpeers_wait(&group, i);
		CU_ASSERT_TRUE(lh_clock_ns() - begin < limit_ns);
		CU_ASSERT_EQUAL(group.peer[i].status, 4);
		CU_ASSERT_TRUE(group.peer[i].has_failed);
		CU_ASSERT_EQUAL(group.peer[i].failed.culprit, 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(group.peer[i].failed.reason, "peer peer-1: "));
	}
}

static void test_killed(void)
{
	for (int a = 0; a < LH_ALGORITHMS; a++) {
		check_break((enum lh_algorithm)a, SIGKILL, 2 * LH_NS_PER_S);
		lhpeers_done(&group);
	}
}

/* Deadline 2 s; it is looked at every eighth of a second, and 1.5 s are for a busy machine. */
static void test_stalled_elsewhere(void)
{
	for (int a = 1; a < LH_ALGORITHMS; a++) {
		check_break((enum lh_algorithm)a, SIGSTOP, 3500 * LH_NS_PER_MS);
		lhpeers_done(&group);
	}
}

static void test_stalled(void)
{
	check_break(LH_ALGORITHM_BUTTERFLY, SIGSTOP, 3500 * LH_NS_PER_MS);
	/* When it wakes up it learns that the others have gone, and whom they blamed. */
	kill(group.peer[1].pid, SIGCONT);
	lhpeers_wait(&group, 1);
	CU_ASSERT_EQUAL(group.peer[1].status, 4);
	CU_ASSERT_TRUE(group.peer[1].has_failed);
	CU_ASSERT_EQUAL(group.peer[1].failed.culprit, -1);
	lhpeers_done(&group);
}

static void test_terminated(void)
{
	check_break(LH_ALGORITHM_BUTTERFLY, SIGTERM, 2 * LH_NS_PER_S);
	lhpeers_wait(&group, 1);
	CU_ASSERT_EQUAL(group.peer[1].status, 128 + SIGTERM);
	CU_ASSERT_EQUAL(group.peer[1].failed.culprit, -1);
	lhpeers_done(&group);
}

/* Told at different moments, or one only: all end after the same round, none fails. */
static void test_stop(void)
{
	for (int k = 0; k < 2 * LH_ALGORITHMS; k++) {
		bool by_eof = k % 2;
		lhpeers_init(&group, 3);
		choose_algorithm(&group, (enum lh_algorithm)(k / 2));
		group.config.epochs = 100000;
		lhpeers_start_all(&group);
		lhpeers_go(&group);
		CU_ASSERT_TRUE(lhpeers_read_until(&group, 2, LH_EVENT_EPOCH));
		CU_ASSERT_TRUE(lhpeers_read_until(&group, 2, LH_EVENT_EPOCH));
		if (by_eof)
			close(group.peer[2].control_fd);
		else
			lhpeers_command(&group, 2, LH_CONTROL_STOP);
		group.peer[2].control_fd = by_eof ? -1 : group.peer[2].control_fd;
		lhpeers_wait_all(&group);
		for (unsigned i = 0; i < 3; i++) {
			CU_ASSERT_EQUAL(group.peer[i].status, 0);
			CU_ASSERT_TRUE(group.peer[i].has_finished);
			CU_ASSERT_EQUAL(group.peer[i].nepochs, group.peer[2].nepochs);
			CU_ASSERT_TRUE(group.peer[i].nepochs >= 2);
		}
		lhpeers_done(&group);
	}
}

/* A peer that never comes is named; so is a port that is taken. */
static void test_missing_peer(void)
{
	lhpeers_init(&group, 3);
	group.config.deadline_ns = LH_NS_PER_S;
	lhpeers_start(&group, 0);
	lhpeers_start(&group, 2);
	lhpeers_wait(&group, 0);
	lhpeers_wait(&group, 2);
	CU_ASSERT_EQUAL(group.peer[0].status, 4);
	CU_ASSERT_EQUAL(group.peer[0].failed.culprit, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(group.peer[0].failed.reason, "peer peer-1: not reached at 127."));
	CU_ASSERT_EQUAL(group.peer[2].failed.culprit, 1);
	lhpeers_done(&group);
}

static void test_port_in_use(void)
{
	lhpeers_init(&group, 2);
	lhpeers_start(&group, 0);
	CU_ASSERT_TRUE(lhpeers_read_until(&group, 0, LH_EVENT_LISTENING));
	lhpeers_init(&single, 2);
	memcpy(single.endpoints, group.endpoints, sizeof single.endpoints);
	lhpeers_start(&single, 0);
	lhpeers_wait(&single, 0);
	CU_ASSERT_EQUAL(single.peer[0].status, 3);
	CU_ASSERT_TRUE(single.peer[0].has_failed);
	CU_ASSERT_EQUAL(single.peer[0].failed.culprit, -1);
	CU_ASSERT_PTR_NOT_NULL(strstr(single.peer[0].failed.reason, "Address already in use"));
	lhpeers_done(&single);
	lhpeers_done(&group);
}

static const struct lh_test tests[] = {
	{ "four_equal_one_fp32", test_four_equal_one_fp32, LH_TEST_FORK },
	{ "four_equal_one_fp16", test_four_equal_one_fp16, LH_TEST_FORK },
	{ "codecs", test_codecs, 0 },
	{ "powersgd_needs_shapes", test_powersgd_needs_shapes, 0 },
	{ "paced", test_paced, LH_TEST_FORK },
	{ "algorithms_paced", test_algorithms_paced, LH_TEST_FORK },
	{ "algorithms_train", test_algorithms_train, LH_TEST_FORK },
	{ "flip", test_flip, LH_TEST_FORK },
	{ "starved", test_starved, LH_TEST_FORK },
	{ "killed", test_killed, LH_TEST_FORK },
	{ "stalled", test_stalled, LH_TEST_FORK },
	{ "stalled_elsewhere", test_stalled_elsewhere, LH_TEST_FORK },
	{ "terminated", test_terminated, LH_TEST_FORK },
	{ "stop", test_stop, LH_TEST_FORK },
	{ "missing_peer", test_missing_peer, LH_TEST_FORK },
	{ "port_in_use", test_port_in_use, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "peers", tests, sizeof tests / sizeof *tests);
}
