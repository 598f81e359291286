/* Bytes on the wire: what each peer's interface counted against the formula, for every algorithm and codec. The formula is
 * written out here: what goes from whom to whom by the pattern, what a block has in the codec, a header for each part. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bench.h"
#include "lhnet.h"
#include "lhtest.h"
#include "pattern/pattern.h"

enum {
	N = 4, ELEMENTS = 4 * 15001, RUNS = 3,
	FRAME_HEADER = 24,
	/* Ethernet, IPv4, TCP with time stamps: once for each superpacket, as the interface counts them. */
	PACKET_HEADERS = 14 + 20 + 32,
	/* Greetings and goodbyes of three connections, and what other packets have beside those headers: ARP, SYN. */
	SLACK = 6000,
};

static const enum lh_wire wires[] = { LH_WIRE_FP32, LH_WIRE_FP16, LH_WIRE_BF16, LH_WIRE_INT8, LH_WIRE_TOPK };
#define TOPK 0.01

static double encoded(enum lh_wire wire, uint64_t n)
{
	switch (wire) {
	case LH_WIRE_FP32: return 4.0 * (double)n;
	case LH_WIRE_FP16:
	case LH_WIRE_BF16: return 2.0 * (double)n;
	case LH_WIRE_INT8: return (double)n + 4 * ceil((double)n / 256);
	case LH_WIRE_TOPK: return 4 * ceil((double)n / 65536) + 6 * ceil(TOPK * (double)n);
	case LH_WIRE_POWERSGD: break;
	}
	return NAN;
}

struct job {
	struct lh_session session;
	struct lh_experiment exp;
	struct lh_wires wires;
	struct lh_net *net;
};

/* What a peer sends in one exchange. Every block fits one part. */
static double expected(const struct lh_exchange_plan *x, const struct lh_experiment *exp, unsigned rank)
{
	const struct lh_pattern *p = lh_pattern_find(x->algorithm);
	struct lh_transfer list[256];
	struct lh_group g;
	uint32_t site[N];
	double bytes = 0;
	for (unsigned i = 0; i < N; i++)
		site[i] = exp->topology.peers[i].site;
	if (lh_group_init(&g, N, site, x->share, NULL))
		return NAN;
	g.trees = &x->trees;
	size_t n = lh_pattern_transfers(p, &g, rank, list, 256);
	for (size_t i = 0; i < n && n <= 256; i++) {
		uint64_t length = p->block(&g, ELEMENTS, list[i].block).length;
		if (list[i].from == rank && length)
			bytes += encoded(exp->training.wire, length) + FRAME_HEADER;
	}
	lh_group_done(&g);
	return n <= 256 ? bytes : NAN;
}

static int read_counters(struct lh_net *net, struct lh_peer_counters *ret)
{
	struct lh_err err = LH_ERR_INIT;
	for (unsigned i = 0; i < N; i++)
		LH_CHECK_OK(lh_net_observe_peer(net, i, &ret[i], &err), &err);
	return 0;
}

static int check_one(struct job *j)
{
	struct lh_peer_counters before[N], after[N];
	struct lh_exchange_plan x;
	struct lh_bench_times times;
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK_OK(lh_exchange_plan(&j->exp, &j->wires, ELEMENTS, &x, &err), &err);
	const struct lh_bench_plan plan = {
		.session = &j->session, .net = j->net, .exp = &j->exp, .exchange = &x, .runs = RUNS,
	};
	LH_CHECK(!read_counters(j->net, before));
	LH_CHECK_OK(lh_bench_measure(&plan, &times, &err), &err);
	LH_CHECK(!read_counters(j->net, after));
	LH_CHECK(!times.wrong);
	double all = 0;
	for (unsigned i = 0; i < N; i++) {
		double want = expected(&x, &j->exp, i);
		double got = (double)(after[i].tx_bytes - before[i].tx_bytes) -
			     PACKET_HEADERS * (double)(after[i].tx_packets - before[i].tx_packets);
		all += want;
		if (!(got >= RUNS * want && got <= RUNS * want + SLACK)) {
			printf("# %s, %s, peer %u: %.0f bytes by formula, %.0f by its interface\n",
			       lh_algorithm_names[x.algorithm], lh_wire_names[j->exp.training.wire], i, RUNS * want, got);
			return 1;
		}
	}
	/* Each block has a tree up and a tree down, of n - 1 edges each; a few more bytes where blocks round up. */
	double least = 2 * (N - 1) * encoded(j->exp.training.wire, ELEMENTS);
	LH_CHECK(all >= least * 0.999 && all <= least * 1.01 + 2 * (N - 1) * 64 * (FRAME_HEADER + 16));
	LH_CHECK((double)times.bytes_sent == all);
	lh_exchange_plan_done(&x);
	return 0;
}

static int prepare(struct job *j, const struct lh_topology *t)
{
	struct lh_probe_report nothing = { 0 };
	struct lh_err err = LH_ERR_INIT;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	j->session.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	LH_CHECK(j->session.signal_fd >= 0);
	snprintf(j->session.peer_path, sizeof j->session.peer_path, "%s", getenv("LONGHAUL_PEER"));
	j->exp.topology = *t;
	j->exp.training = (struct lh_training){
		.streams = 1, .sockets = LH_SOCKETS_STUDY, .deadline_ns = 10 * LH_NS_PER_S, .seed = 1,
		.codec = { .topk_fraction = TOPK },
	};
	LH_CHECK_OK(lh_exchange_wires(&j->exp, &nothing, false, &j->wires, &err), &err);
	LH_CHECK_OK(lh_test_up(t, &j->net, &err), &err);
	return 0;
}

static int body(void *ctx)
{
	struct lh_topology *t = lh_test_topology(2, N / 2);
	struct job *j = calloc(1, sizeof *j);
	struct lh_err err = LH_ERR_INIT;
	LH_CHECK(t && j);
	LH_CHECK(!prepare(j, t));
	for (unsigned a = 0; a < LH_ALGORITHMS; a++)
		for (unsigned k = 0; k < sizeof wires / sizeof *wires; k++) {
			j->exp.training.algorithm = (enum lh_algorithm)a;
			j->exp.training.wire = wires[k];
			LH_CHECK(!check_one(j));
		}
	LH_CHECK_OK(lh_net_down(j->net, &err), &err);
	lh_wires_done(&j->wires);
	close(j->session.signal_fd);
	free(j);
	lh_test_topology_free(t);
	return 0;
}

static void every_algorithm_and_codec(void)
{
	if (!getenv("LONGHAUL_PEER")) {
		CU_FAIL("LONGHAUL_PEER: not set");
		return;
	}
	lh_test_in_cell(body, NULL, false);
}

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "every_algorithm_and_codec", every_algorithm_and_codec, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "counters", tests, sizeof tests / sizeof *tests);
}
