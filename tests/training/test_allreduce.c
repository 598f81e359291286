/* The all-reduce over the loopback transport: frames of different peers arrive in an order drawn from the seed, peers
 * run ahead into the next round, windows and pipes are as small as they can be. What must hold whatever the order
 * and for every algorithm: the sum is right, all replicas have the same bytes, and a peer sends just the bytes of the
 * formula.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/allreduce.h"
#include "comm/loopback.h"
#include "comm/mux.h"
#include "hash.h"
#include "lhtest.h"
#include "lhtrees.h"

enum { PEERS_MAX = 16, ROUNDS = 3, ALGORITHMS = LH_ALGORITHMS };

struct peer {
	struct lh_allreduce *a;
	uint32_t round;  /* the one it is in */
	float *vector;   /* own gradient in, sum out */
	float *sums;     /* [ROUNDS][n] what came out */
};

struct job {
	enum lh_algorithm algorithm;
	unsigned npeers;
	const uint32_t *site, *share;
	struct lh_group group;
	uint64_t n;
	enum lh_wire wire;
	size_t part_bytes;
	unsigned window, depth, streams;
	bool integers;
	float **keep;        /* put what came out there */
	const float *same_as; /* what must come out, to the bit */
	uint64_t salt;       /* another order of arrival */
	struct peer peers[PEERS_MAX];
	uint64_t draws;
};

static unsigned draw(struct job *j, unsigned below)
{
	return (unsigned)(lh_mix64((lh_test_seed() ^ j->salt << 32) + ++j->draws * LH_MIX64_STEP) % below);
}

/* The gradient of a peer in a round; integers stay exact in fp16, for 16 peers too. */
static float gradient(const struct job *j, unsigned rank, uint32_t round, uint64_t i)
{
	uint64_t r = lh_mix64((i * PEERS_MAX + rank) * 64 + round);
	return j->integers ? (float)((int)(r % 200) - 100) : (float)((double)(int64_t)r * 0x1p-63);
}

static int read_vector(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, ((struct peer *)ctx)->vector + offset, n * sizeof *dst);
	return 0;
}

/* Every other peer shows where its vector lies. */
static const float *peek_vector(void *ctx, uint64_t offset, size_t n)
{
	return ((const struct peer *)ctx)->vector + offset;
}

static int write_vector(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	memcpy(((struct peer *)ctx)->vector + offset, src, n * sizeof *src);
	return 0;
}

static int begin(struct job *j, unsigned rank, struct lh_err *err)
{
	struct peer *p = &j->peers[rank];
	p->round++;
	for (uint64_t i = 0; i < j->n; i++)
		p->vector[i] = gradient(j, rank, p->round, i);
	return lh_allreduce_start(p->a, p->round, err);
}

/* Let peers drawn at random take turns; who is done begins the next round at once. */
static void run(struct job *j, struct lh_loopback *hub)
{
	struct lh_err err = LH_ERR_INIT;
	unsigned finished = 0;
	bool over[PEERS_MAX] = { false };
	for (unsigned i = 0; i < j->npeers; i++)
		if (draw(j, 2)) /* the others meet their first frames before they begin */
			CU_ASSERT_EQUAL_FATAL(begin(j, i, &err), 0);
	for (unsigned long turns = 0; finished < j->npeers; turns++) {
		unsigned i = draw(j, j->npeers);
		struct peer *p = &j->peers[i];
		struct lh_transport *t = lh_loopback_endpoint(hub, i);
		if (turns > 20000000) {
			CU_FAIL_FATAL("deadlock");
		}
		if (!p->round) {
			CU_ASSERT_EQUAL_FATAL(begin(j, i, &err), 0);
		}
		int rc = t->ops->progress(t, &err);
		if (rc)
			printf("# %s\n", err.text);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		if (over[i] || !lh_allreduce_done(p->a))
			continue;
		memcpy(p->sums + (p->round - 1) * j->n, p->vector, j->n * sizeof(float));
		over[i] = p->round == ROUNDS;
		finished += over[i];
		if (!over[i])
			CU_ASSERT_EQUAL_FATAL(begin(j, i, &err), 0);
	}
}

/* What a peer sends a round: each block that the table makes it send, in parts with a header each. That the tables
 * send what their definitions say is tests/unit/test_pattern.c's; the butterfly's is written out here once more. */
static uint64_t expected_bytes(const struct job *j, unsigned rank)
{
	static struct lh_transfer list[4 * PEERS_MAX * PEERS_MAX];
	const struct lh_pattern *p = lh_pattern_find(j->algorithm);
	uint64_t eb = j->wire == LH_WIRE_FP16 ? 2 : 4, bytes = 0, direct = 0;
	uint64_t part = (j->part_bytes ? j->part_bytes : 512 * 1024) / eb;
	size_t count = lh_pattern_transfers(p, &j->group, rank, list, sizeof list / sizeof *list);
	for (size_t i = 0; i < count; i++) {
		uint64_t n = p->block(&j->group, j->n, list[i].block).length;
		if (list[i].from == rank)
			bytes += n * eb + LH_FRAME_HEADER * ((n + part - 1) / part);
	}
	uint64_t own = j->n / j->npeers + (rank < j->n % j->npeers);
	for (unsigned i = 0; i < j->npeers; i++) {
		uint64_t other = j->n / j->npeers + (i < j->n % j->npeers);
		if (i != rank)
			direct += (own + other) * eb + LH_FRAME_HEADER * ((own + part - 1) / part + (other + part - 1) / part);
	}
	if (j->algorithm == LH_ALGORITHM_BUTTERFLY && !j->share)
		CU_ASSERT_EQUAL(bytes, direct);
	return bytes;
}

/* Against the sum in double. fp16: half an ulp each time that a number is on its way up, as a contribution or in
 * a partial sum, and of the result, 1e-6 for subnormals; both: half an ulp of fp32 for each addition. */
static void check_sums(const struct job *j)
{
	struct lh_pattern_chain chain;
	CU_ASSERT_EQUAL_FATAL(lh_pattern_chain(lh_pattern_find(j->algorithm), &j->group, j->n, NULL, NULL, &chain, NULL),
			      0);
	for (uint32_t round = 1; round <= ROUNDS; round++)
		for (uint64_t i = 0; i < j->n; i++) {
			double sum = 0, magnitude = 0;
			for (unsigned r = 0; r < j->npeers; r++) {
				sum += gradient(j, r, round, i);
				magnitude += fabs(gradient(j, r, round, i));
			}
			float got = j->peers[0].sums[(round - 1) * j->n + i];
			double half_ulp = j->wire == LH_WIRE_FP16 ? 0x1p-11 : 0;
			double bound = j->integers ? 0 :
				((half_ulp * chain.up + j->npeers * 0x1p-24) * magnitude + half_ulp * fabs(sum)) * 1.01 +
				1e-6 * (1 + chain.up);
			if (fabs(got - sum) > bound) {
				printf("# %s N %u n %llu element %llu: %g, not %g\n", lh_algorithm_names[j->algorithm],
				       j->npeers, (unsigned long long)j->n, (unsigned long long)i, (double)got, sum);
				CU_FAIL("sum");
				return;
			}
		}
	for (unsigned r = 1; r < j->npeers; r++)
		CU_ASSERT_EQUAL(memcmp(j->peers[0].sums, j->peers[r].sums, ROUNDS * j->n * sizeof(float)), 0);
}

static void check_job(struct job *j)
{
	struct lh_loopback *hub;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(j->npeers, j->depth, lh_test_seed() + j->salt, &hub, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_loopback_streams(hub, j->streams ? j->streams : 1, &err), 0);
	struct lh_trees trees = lhtrees_random(j->npeers, 1 + j->npeers % 5 * 5, lh_test_seed() + j->n);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&j->group, j->npeers, j->site, j->share, &err), 0);
	j->group.trees = j->algorithm == LH_ALGORITHM_PACKED_TREES ? &trees : NULL;
	for (unsigned i = 0; i < j->npeers; i++) {
		struct peer *p = &j->peers[i];
		*p = (struct peer){ 0 };
		p->vector = calloc(j->n + 1, sizeof(float));
		p->sums = calloc(ROUNDS * j->n + 1, sizeof(float));
		CU_ASSERT_TRUE_FATAL(p->vector && p->sums);
		struct lh_allreduce_config c = {
			.pattern = lh_pattern_find(j->algorithm), .group = &j->group, .codec = lh_codec_find(j->wire),
			.scale = 1, .rank = i, .n = j->n, .part_bytes = j->part_bytes, .window = j->window,
			.read = read_vector, .write = write_vector, .peek = i % 2 ? peek_vector : NULL, .ctx = p,
		};
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, lh_loopback_endpoint(hub, i), &p->a, &err), 0);
	}
	run(j, hub);
	check_sums(j);
	if (j->same_as)
		CU_ASSERT_EQUAL(memcmp(j->peers[0].sums, j->same_as, ROUNDS * j->n * sizeof(float)), 0);
	if (j->keep) {
		*j->keep = malloc(ROUNDS * j->n * sizeof(float));
		CU_ASSERT_PTR_NOT_NULL_FATAL(*j->keep);
		memcpy(*j->keep, j->peers[0].sums, ROUNDS * j->n * sizeof(float));
	}
	uint64_t sent = 0, received = 0;
	for (unsigned i = 0; i < j->npeers; i++) {
		struct lh_transport *t = lh_loopback_endpoint(hub, i);
		CU_ASSERT_EQUAL(t->bytes_sent, ROUNDS * expected_bytes(j, i));
		CU_ASSERT_EQUAL(lh_allreduce_bytes(j->peers[i].a), expected_bytes(j, i));
		sent += t->bytes_sent;
		received += t->bytes_received;
		lh_allreduce_free(j->peers[i].a);
		free(j->peers[i].vector);
		free(j->peers[i].sums);
	}
	CU_ASSERT_EQUAL(sent, received);
	lh_loopback_free(hub);
	lh_group_done(&j->group);
	lh_trees_done(&trees);
}

/* Sites that differ in size and do not lie in order of ranks. */
static const uint32_t sites[PEERS_MAX] = { 3, 3, 1, 3, 1, 3, 3, 2, 3, 2, 3, 3, 9, 3, 3, 1 };
static const uint32_t shares[PEERS_MAX] = { 64, 0, 36, 1, 1, 50, 7, 0, 0, 3, 90, 17, 2, 2, 33, 1 };

static void every_size(enum lh_algorithm algorithm)
{
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		const uint64_t lengths[] = { 0, 1, n - 1, n, n + 1, 97, 1023 };
		for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
			for (unsigned m = 0; m < 4; m++) {
				struct job j = {
					.algorithm = algorithm, .site = sites,
					.npeers = n, .n = lengths[k], .wire = m % 2 ? LH_WIRE_FP16 : LH_WIRE_FP32,
					.part_bytes = 16, .window = 1 + n % 3, .depth = 1 + n % 2, .integers = true,
				};
				if (m / 2) { /* frames of a pair overtake each other */
					j.streams = 2 + n % 4;
					j.depth = 2 * j.streams;
					j.window = 1 + n % 8;
				}
				check_job(&j);
			}
	}
}

static void test_every_size_butterfly(void) { every_size(LH_ALGORITHM_BUTTERFLY); }
static void test_every_size_ring(void) { every_size(LH_ALGORITHM_RING); }
static void test_every_size_halving_doubling(void) { every_size(LH_ALGORITHM_HALVING_DOUBLING); }
static void test_every_size_two_level(void) { every_size(LH_ALGORITHM_TWO_LEVEL); }
static void test_every_size_central(void) { every_size(LH_ALGORITHM_CENTRAL); }
static void test_every_size_packed_trees(void) { every_size(LH_ALGORITHM_PACKED_TREES); }

static void test_shares(void)
{
	for (unsigned n = 1; n <= PEERS_MAX; n++)
		for (int fp16 = 0; fp16 < 2; fp16++) {
			struct job j = {
				.npeers = n, .share = shares, .n = 1023, .wire = fp16 ? LH_WIRE_FP16 : LH_WIRE_FP32,
				.part_bytes = 16, .window = 1 + n % 3, .depth = 1 + n % 2, .integers = true,
			};
			check_job(&j);
		}
}

static void test_reals(void)
{
	for (int a = 0; a < ALGORITHMS; a++)
		for (unsigned n = 1; n <= PEERS_MAX; n += 3)
			for (int fp16 = 0; fp16 < 2; fp16++) {
				struct job j = {
					.algorithm = (enum lh_algorithm)a, .site = sites, .npeers = n, .n = 5003,
					.wire = fp16 ? LH_WIRE_FP16 : LH_WIRE_FP32, .part_bytes = 256, .window = 2,
					.depth = 3,
				};
				check_job(&j);
			}
}

/* The order of arrival is another in every repetition; the bits of the sum are not. */
static void test_bits_independent_of_arrival(void)
{
	for (int a = 0; a < ALGORITHMS; a++) {
		float *first = NULL;
		for (unsigned k = 0; k < 4; k++) {
			struct job j = {
				.algorithm = (enum lh_algorithm)a, .site = sites, .npeers = 7, .n = 1023,
				.wire = LH_WIRE_FP16, .part_bytes = 64, .window = 1 + 2 * k, .depth = 1 + 3 * k,
				.streams = k,
				.keep = first ? NULL : &first, .same_as = first, .salt = k,
			};
			check_job(&j);
		}
		free(first);
	}
}

/* Parts of full size, and the window that the code chooses itself. */
static void test_full_parts(void)
{
	for (int a = 0; a < ALGORITHMS; a++) {
		struct job j = {
			.algorithm = (enum lh_algorithm)a, .site = sites, .npeers = 3, .n = 2500001, .wire = LH_WIRE_FP16,
			.depth = 2, .integers = true,
		};
		check_job(&j);
		j.streams = 5;
		j.depth = 12;
		check_job(&j);
	}
}

/* Each of these is one step off the protocol: refused, not believed. */
static void test_refusals(void)
{
	static const struct lh_frame bad[] = {
		{ LH_FRAME_CONTRIBUTION, 1, 2, 16 }, /* beyond the window */
		{ LH_FRAME_CONTRIBUTION, 1, 0, 15 }, { LH_FRAME_CONTRIBUTION, 1, 0, 512 },
		{ LH_FRAME_CONTRIBUTION, 0, 0, 16 }, { LH_FRAME_CONTRIBUTION, 3, 0, 16 },
		{ LH_FRAME_CONTRIBUTION, 2, 0, 16 }, /* nobody is ahead while round 1 is not summed */
		{ LH_FRAME_CONTRIBUTION, 1, UINT32_MAX, 16 },
		{ LH_FRAME_RESULT, 1, 0, 16 },       /* of a contribution that was not sent */
		{ LH_FRAME_RESULT, 2, 0, 16 }, { LH_FRAME_PING, 0, 0, 0 },
		{ LH_FRAME_CONTRIBUTION, 1, 0, 16, 1 }, /* to a block whose sums go the other way */
		{ LH_FRAME_CONTRIBUTION, 1, 0, 16, 2 }, { LH_FRAME_RESULT, 1, 0, 16, UINT16_MAX }, /* no such block */
		{ LH_FRAME_RESULT, 1, 0, 16, 1 },    /* of its own block, but nothing was contributed to it yet */
	};
	struct lh_loopback *hub;
	float vector[64] = { 0 };
	struct peer p = { .vector = vector };
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(2, 1, 1, &hub, &err), 0);
	struct lh_transport *t = lh_loopback_endpoint(hub, 0);
	struct lh_group group;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 2, NULL, NULL, &err), 0);
	struct lh_allreduce_config c = {
		.pattern = &lh_pattern_butterfly, .group = &group, .codec = lh_codec_find(LH_WIRE_FP16), .scale = 1,
		.n = 64, .part_bytes = 16, .window = 2, .read = read_vector, .write = write_vector, .ctx = &p,
	};
	struct lh_allreduce *a;
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, t, &a, &err), 0);
	CU_ASSERT_EQUAL(lh_allreduce_start(a, 2, &err), -EINVAL); /* rounds count from 1, one by one */
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(a, 1, &err), 0);
	CU_ASSERT_EQUAL(lh_allreduce_start(a, 2, &err), -EINVAL);
	void *to;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		CU_ASSERT_EQUAL(t->user->receive_begin(t->user_ctx, 1, &bad[i], &to, &err), -EPROTO);
	struct lh_frame good = { LH_FRAME_CONTRIBUTION, 1, 0, 16 };
	for (; good.part < 2; good.part++) {
		CU_ASSERT_EQUAL_FATAL(t->user->receive_begin(t->user_ctx, 1, &good, &to, &err), 0);
		memset(to, 0, 16);
		CU_ASSERT_EQUAL_FATAL(t->user->receive_end(t->user_ctx, 1, &good, to, &err), 0);
	}
	/* Part 2 was allowed by result 0, which was never taken off our hands: ahead of its window. */
	CU_ASSERT_EQUAL_FATAL(t->user->receive_begin(t->user_ctx, 1, &good, &to, &err), 0);
	CU_ASSERT_EQUAL(t->user->receive_end(t->user_ctx, 1, &good, to, &err), -EPROTO);
	lh_allreduce_free(a);
	lh_group_done(&group);
	lh_loopback_free(hub);
}

/* Peer 1 sends on while peer 2 is silent: the window holds, whatever peer 1 believes; in this round and ahead of it; told
 * in parts or in bytes, of which a part begun is a part. */
static void test_window_holds(void)
{
	struct lh_loopback *hub;
	float vector[96] = { 0 };
	struct peer p = { .vector = vector };
	struct lh_err err = LH_ERR_INIT;
	struct lh_allreduce *a;
	void *to;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(3, 1, 1, &hub, &err), 0);
	struct lh_transport *t = lh_loopback_endpoint(hub, 0);
	struct lh_group group;
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 3, NULL, NULL, &err), 0);
	struct lh_allreduce_config c = {
		.pattern = &lh_pattern_butterfly, .group = &group, .codec = lh_codec_find(LH_WIRE_FP16), .scale = 1,
		.n = 96, .part_bytes = 16, .window = 2, .read = read_vector, .write = write_vector, .ctx = &p,
	};
	for (int i = 0; i < 4; i++) {
		c.window = i < 2 ? 2 : 0;
		c.window_bytes = i < 2 ? 0 : 17;
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, t, &a, &err), 0);
		if (i % 2)
			CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(a, 1, &err), 0);
		struct lh_frame f = { LH_FRAME_CONTRIBUTION, 1, 0, 16 };
		for (; f.part < 2; f.part++) {
			CU_ASSERT_EQUAL_FATAL(t->user->receive_begin(t->user_ctx, 1, &f, &to, &err), 0);
			memset(to, 0, 16);
			CU_ASSERT_EQUAL_FATAL(t->user->receive_end(t->user_ctx, 1, &f, to, &err), 0);
		}
		CU_ASSERT_EQUAL(t->user->receive_begin(t->user_ctx, 1, &f, &to, &err), -EPROTO);
		lh_allreduce_free(a);
	}
	lh_group_done(&group);
	lh_loopback_free(hub);
}

static int take(struct lh_transport *t, unsigned from, struct lh_frame f)
{
	struct lh_err err = LH_ERR_INIT;
	void *to;
	int rc = t->user->receive_begin(t->user_ctx, from, &f, &to, &err);
	if (rc)
		return rc;
	memset(to, 0, f.length);
	return t->user->receive_end(t->user_ctx, from, &f, to, &err);
}

/* Peer 2 of four stands between peers 3 and 0 in block 0 of halving and doubling. Peer 3 sends contributions without
 * taking the results that allow them, and peer 0 believes them: refused before a kept result is overwritten. */
static void test_relay_window_holds(void)
{
	struct lh_loopback *hub;
	float vector[96] = { 0 };
	struct peer p = { .vector = vector };
	struct lh_err err = LH_ERR_INIT;
	struct lh_allreduce *a;
	struct lh_group group;
	struct lh_frame out, up = { LH_FRAME_CONTRIBUTION, 1, 0, 16, 0 }, down = { LH_FRAME_RESULT, 1, 0, 16, 0 };
	const void *payload;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(4, 1, 1, &hub, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 4, NULL, NULL, &err), 0);
	struct lh_transport *t = lh_loopback_endpoint(hub, 2);
	struct lh_allreduce_config c = {
		.pattern = &lh_pattern_halving_doubling, .group = &group, .codec = lh_codec_find(LH_WIRE_FP16),
		.scale = 1, .rank = 2, .n = 96, .part_bytes = 16, .window = 2, .read = read_vector,
		.write = write_vector, .ctx = &p,
	};
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, t, &a, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(a, 1, &err), 0);
	CU_ASSERT_EQUAL(t->user->send_next(t->user_ctx, 0, &out, &payload, &err), 0); /* peer 3 is not in it yet */
	CU_ASSERT_EQUAL(take(t, 0, up), -EPROTO);   /* from above */
	for (up.part = 0; up.part < 3; up.part++) {
		CU_ASSERT_EQUAL_FATAL(take(t, 3, up), 0);
		CU_ASSERT_EQUAL(take(t, 0, down), -EPROTO); /* nobody has our part of it */
		CU_ASSERT_EQUAL_FATAL(t->user->send_next(t->user_ctx, 0, &out, &payload, &err), 1);
		CU_ASSERT_TRUE(out.type == LH_FRAME_CONTRIBUTION && !out.block && out.part == up.part);
		t->user->sent(t->user_ctx, 0, &out, payload);
		CU_ASSERT_EQUAL(take(t, 3, down), -EPROTO); /* from below */
		CU_ASSERT_EQUAL(take(t, 0, down), up.part < 2 ? 0 : -EPROTO);
		down.part++;
	}
	down.part = 2;
	CU_ASSERT_EQUAL_FATAL(t->user->send_next(t->user_ctx, 3, &out, &payload, &err), 1);
	CU_ASSERT_TRUE(out.type == LH_FRAME_RESULT && !out.block && out.part == 0);
	CU_ASSERT_EQUAL(take(t, 0, down), 0); /* now there is room */
	lh_allreduce_free(a);
	lh_group_done(&group);
	lh_loopback_free(hub);
}

enum { VECTORS = 3, TURNS = 4, MUX_PEERS = 5 };

struct muxed {
	struct lh_mux *m;
	struct lh_allreduce *a[VECTORS];
	struct peer vectors[VECTORS];
	float data[VECTORS][60];
	uint32_t begun, ended; /* exchanges */
};

static const uint64_t lengths[VECTORS] = { 60, 1, 33 };

/* Vectors of several lengths take turns, and each peer begins the next exchange as soon as it has ended all but
 * `under_way` of those before. Sums of small integers are exact. */
static void run_mux(unsigned under_way)
{
	static struct muxed peers[MUX_PEERS];
	struct lh_loopback *hub;
	struct lh_group group;
	struct lh_err err = LH_ERR_INIT;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(MUX_PEERS, 8, lh_test_seed() + under_way, &hub, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_loopback_streams(hub, 3, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, MUX_PEERS, sites, NULL, &err), 0);
	for (unsigned i = 0; i < MUX_PEERS; i++) {
		struct muxed *p = &peers[i];
		*p = (struct muxed){ 0 };
		CU_ASSERT_EQUAL_FATAL(lh_mux_new(lh_loopback_endpoint(hub, i), MUX_PEERS, VECTORS, &p->m, &err), 0);
		for (unsigned v = 0; v < VECTORS; v++) {
			p->vectors[v].vector = p->data[v];
			struct lh_allreduce_config c = {
				.pattern = &lh_pattern_two_level, .group = &group, .codec = lh_codec_find(LH_WIRE_FP32),
				.scale = 1, .rank = i, .n = lengths[v], .part_bytes = 16, .window = 2, .first = v + 1,
				.stride = VECTORS, .read = read_vector, .write = write_vector, .ctx = &p->vectors[v],
			};
			CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, lh_mux_port(p->m, v), &p->a[v], &err), 0);
		}
		CU_ASSERT_EQUAL(lh_allreduce_start(p->a[1], 1, &err), -EINVAL); /* its first one is number 2 */
	}
	struct job chance = { .salt = under_way };
	for (unsigned long turns = 0, over = 0; over < MUX_PEERS; turns++) {
		CU_ASSERT_TRUE_FATAL(turns < 2000000);
		unsigned rank = draw(&chance, MUX_PEERS);
		struct muxed *p = &peers[rank];
		struct lh_transport *t = lh_loopback_endpoint(hub, rank);
		if (p->begun < p->ended + under_way && p->begun < VECTORS * TURNS) {
			unsigned v = p->begun++ % VECTORS;
			for (uint64_t i = 0; i < lengths[v]; i++)
				p->data[v][i] = (float)(rank * 10 + p->begun * 3 + i);
			CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(p->a[v], p->begun, &err), 0);
		}
		int rc = t->ops->progress(t, &err);
		if (rc)
			printf("# %s\n", err.text);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		if (p->ended == p->begun || !lh_allreduce_done(p->a[p->ended % VECTORS]))
			continue;
		unsigned v = p->ended++ % VECTORS;
		for (uint64_t i = 0; i < lengths[v]; i++)
			CU_ASSERT_EQUAL(p->data[v][i], (float)(100 + MUX_PEERS * (p->ended * 3 + i)));
		over += p->ended == VECTORS * TURNS;
	}
	for (unsigned i = 0; i < MUX_PEERS; i++) {
		for (unsigned v = 0; v < VECTORS; v++)
			lh_allreduce_free(peers[i].a[v]);
		lh_mux_free(peers[i].m);
	}
	lh_group_done(&group);
	lh_loopback_free(hub);
}

static void test_vectors_in_turn(void)
{
	for (unsigned under_way = 1; under_way < VECTORS; under_way++)
		run_mux(under_way);
}

static unsigned nowhere(const struct lh_group *g, unsigned block, unsigned rank)
{
	return rank;
}

static void test_foreign_pattern(void)
{
	struct lh_pattern odd = lh_pattern_butterfly;
	odd.name = "odd";
	odd.up = nowhere;
	struct lh_loopback *hub;
	struct lh_err err = LH_ERR_INIT;
	struct lh_allreduce *a;
	struct lh_group group;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(3, 1, 1, &hub, &err), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 3, NULL, NULL, &err), 0);
	struct lh_allreduce_config c = {
		.pattern = &odd, .group = &group, .codec = lh_codec_find(LH_WIRE_FP32), .scale = 1, .n = 9,
	};
	CU_ASSERT_EQUAL(lh_allreduce_new(&c, lh_loopback_endpoint(hub, 0), &a, &err), -ENOTSUP);
	lh_group_done(&group);
	lh_loopback_free(hub);
}

static const struct lh_test tests[] = {
	{ "every_size_butterfly", test_every_size_butterfly, 0 },
	{ "every_size_ring", test_every_size_ring, 0 },
	{ "every_size_halving_doubling", test_every_size_halving_doubling, 0 },
	{ "every_size_two_level", test_every_size_two_level, 0 },
	{ "every_size_central", test_every_size_central, 0 },
	{ "every_size_packed_trees", test_every_size_packed_trees, 0 },
	{ "shares", test_shares, 0 },
	{ "reals", test_reals, 0 },
	{ "bits_independent_of_arrival", test_bits_independent_of_arrival, 0 },
	{ "full_parts", test_full_parts, 0 },
	{ "refusals", test_refusals, 0 },
	{ "window_holds", test_window_holds, 0 },
	{ "relay_window_holds", test_relay_window_holds, 0 },
	{ "vectors_in_turn", test_vectors_in_turn, 0 },
	{ "foreign_pattern", test_foreign_pattern, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "allreduce", tests, sizeof tests / sizeof *tests);
}
