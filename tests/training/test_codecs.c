/* Every algorithm with every codec over the loopback transport, 1 ... 16 peers, odd lengths, frames in an order drawn
 * from the seed. What must hold: replicas are byte-identical; whole numbers come exact where the codec has them; sums
 * are within the documented bound (docs/MEASUREMENT.md); a peer sends the bytes of the formula; and with error feedback
 * nothing is lost: results + residuals = all that the peers put in.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/allreduce.h"
#include "comm/loopback.h"
#include "hash.h"
#include "lhtest.h"
#include "lhtrees.h"

enum { PEERS_MAX = 16, ROUNDS = 3 };

static const struct kind { enum lh_wire wire; double fraction; bool feedback; } kinds[] = {
	{ LH_WIRE_FP32, 0, false }, { LH_WIRE_FP16, 0, false }, { LH_WIRE_BF16, 0, false }, { LH_WIRE_INT8, 0, false },
	{ LH_WIRE_FP16, 0, true }, { LH_WIRE_BF16, 0, true }, { LH_WIRE_INT8, 0, true }, { LH_WIRE_TOPK, 0.1, true },
	{ LH_WIRE_TOPK, 0.5, true }, { LH_WIRE_TOPK, 1, false },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Numbers of which no rounding is wanted; numbers of which int8 keeps every one, if the step is a whole number; any. */
enum values { VALUES_WHOLE, VALUES_STEPS, VALUES_REAL };

struct peer {
	struct lh_allreduce *a;
	struct lh_feedback *feedback;
	uint32_t round;  /* the one it is in */
	float *vector;   /* own gradient in, sum out */
	float *sums;     /* [ROUNDS][n] what came out */
};

struct job {
	enum lh_algorithm algorithm;
	const struct kind *kind;
	enum values values;
	unsigned npeers, window, depth, streams;
	uint64_t n;
	size_t part_bytes;
	struct lh_codec codec;
	struct lh_group group;
	struct peer peers[PEERS_MAX];
	uint64_t draws;
};

static unsigned draw(struct job *j, unsigned below)
{
	return (unsigned)(lh_mix64(lh_test_seed() + ++j->draws * LH_MIX64_STEP) % below);
}

/* STEPS: every other one is +-508, so that the step of a sum of m peers' numbers is 4 m and residuals are whole. */
static float gradient(const struct job *j, unsigned rank, uint32_t round, uint64_t i)
{
	uint64_t r = lh_mix64((i * PEERS_MAX + rank) * 64 + round);
	if (j->values == VALUES_REAL)
		return (float)((double)(int64_t)r * 0x1p-63);
	if (j->values == VALUES_STEPS && i % 2)
		return i % 4 == 1 ? 508 : -508;
	return (float)((int)(r % 17) - 8);
}

static int read_vector(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, ((struct peer *)ctx)->vector + offset, n * sizeof *dst);
	return 0;
}

static int write_vector(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	memcpy(((struct peer *)ctx)->vector + offset, src, n * sizeof *src);
	return 0;
}

static void begin(struct job *j, unsigned rank)
{
	struct peer *p = &j->peers[rank];
	p->round++;
	for (uint64_t i = 0; i < j->n; i++)
		p->vector[i] = gradient(j, rank, p->round, i);
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(p->a, p->round, NULL), 0);
}

/* Peers drawn at random take turns; who is done begins the next round at once. */
static void run(struct job *j, struct lh_loopback *hub)
{
	struct lh_err err = LH_ERR_INIT;
	unsigned finished = 0;
	bool over[PEERS_MAX] = { false };
	for (unsigned long turns = 0; finished < j->npeers; turns++) {
		unsigned i = draw(j, j->npeers);
		struct peer *p = &j->peers[i];
		struct lh_transport *t = lh_loopback_endpoint(hub, i);
		CU_ASSERT_FATAL(turns < 20000000);
		if (!p->round)
			begin(j, i);
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
			begin(j, i);
	}
}

static uint64_t expected_bytes(const struct job *j, unsigned rank)
{
	static struct lh_transfer list[4 * PEERS_MAX * PEERS_MAX];
	const struct lh_pattern *p = lh_pattern_find(j->algorithm);
	uint64_t bytes = 0, longest = 0;
	size_t count = lh_pattern_transfers(p, &j->group, rank, list, sizeof list / sizeof *list);
	for (unsigned b = 0; b < p->blocks(&j->group); b++)
		longest = p->block(&j->group, j->n, b).length > longest ? p->block(&j->group, j->n, b).length : longest;
	uint64_t part = lh_codec_elements(&j->codec, j->part_bytes);
	for (size_t i = 0; i < count; i++) {
		if (list[i].from != rank)
			continue;
		for (uint64_t n = p->block(&j->group, j->n, list[i].block).length; n; n -= n < part ? n : part)
			bytes += LH_FRAME_HEADER + j->codec.bytes(&j->codec, n < part ? n : part);
	}
	return bytes;
}

/* docs/MEASUREMENT.md, "The exchange". */
static double bound_of(const struct job *j, unsigned hops, double sum, double magnitude, double largest)
{
	const struct lh_codec *c = &j->codec;
	double coarse = c->relative + c->of_largest, grown = pow(1 + coarse, hops + 1);
	double relative = c->relative * (hops * magnitude + fabs(sum));
	double of_largest = (hops + 1) * c->of_largest * largest;
	return (relative + of_largest) * grown +
	       j->npeers * (0x1p-24 * magnitude + (c->relative ? 0x1p-25 : 0));
}

static void check_round(const struct job *j, unsigned hops, uint32_t round)
{
	double largest = 0; /* no partial sum can be larger */
	for (unsigned r = 0; r < j->npeers; r++) {
		double most = 0;
		for (uint64_t i = 0; i < j->n; i++)
			most = fmax(most, fabs((double)gradient(j, r, round, i)));
		largest += most;
	}
	for (uint64_t i = 0; i < j->n; i++) {
		double sum = 0, magnitude = 0;
		for (unsigned r = 0; r < j->npeers; r++) {
			sum += gradient(j, r, round, i);
			magnitude += fabs((double)gradient(j, r, round, i));
		}
		bool exact = j->values == VALUES_WHOLE && !(j->codec.of_largest > 0 && j->npeers > 1);
		exact |= j->kind->fraction == 1 && j->values == VALUES_WHOLE;
		double got = j->peers[0].sums[(round - 1) * j->n + i];
		double bound = exact ? 0 : bound_of(j, hops, sum, magnitude, largest);
		if (fabs(got - sum) > bound) {
			printf("# %s %s N %u n %llu round %u element %llu: %g, not %g +- %g\n",
			       lh_algorithm_names[j->algorithm], j->codec.name, j->npeers, (unsigned long long)j->n,
			       round, (unsigned long long)i, got, sum, bound);
			CU_FAIL_FATAL("sum");
		}
	}
}

/* Sum of results + sum of residuals = sum of inputs: exactly where all of them are whole, else within what the
 * additions round. */
static void check_conserved(const struct job *j)
{
	bool exact = j->values != VALUES_REAL && (j->kind->wire != LH_WIRE_INT8 || j->values == VALUES_STEPS);
	float *residual = calloc(j->n + 1, sizeof *residual);
	double *left = calloc(j->n + 1, sizeof *left);
	CU_ASSERT_TRUE_FATAL(residual && left);
	for (unsigned r = 0; r < j->npeers; r++) {
		double l1 = 0, l2 = 0, sum1 = 0, sum2 = 0;
		memset(residual, 0, j->n * sizeof *residual);
		lh_feedback_add(j->peers[r].feedback, 0, j->n, residual);
		for (uint64_t i = 0; i < j->n; i++) {
			left[i] += residual[i];
			sum1 += fabs((double)residual[i]);
			sum2 += (double)residual[i] * residual[i];
		}
		lh_feedback_mass(j->peers[r].feedback, &l1, &l2);
		CU_ASSERT_DOUBLE_EQUAL(l1, sum1, 1e-9 * sum1);
		CU_ASSERT_DOUBLE_EQUAL(l2, sqrt(sum2), 1e-9 * sqrt(sum2));
	}
	for (uint64_t i = 0; i < j->n; i++) {
		double in = 0, out = left[i], magnitude = 0;
		for (uint32_t round = 1; round <= ROUNDS; round++) {
			out += j->peers[0].sums[(round - 1) * j->n + i];
			for (unsigned r = 0; r < j->npeers; r++) {
				in += gradient(j, r, round, i);
				magnitude += fabs((double)gradient(j, r, round, i));
			}
		}
		/* Residuals are as large as what was put in, at most. int8: and 2^-24 of the largest number. */
		double largest = j->npeers * (j->values == VALUES_REAL ? 1 : 8);
		double bound = exact ? 0 : 4 * j->npeers * ROUNDS * 0x1p-24 *
			(magnitude + (j->kind->wire == LH_WIRE_INT8 ? largest : 0));
		if (fabs(in - out) > bound) {
			printf("# %s %s N %u n %llu element %llu: %.9g went in, %.9g is there\n",
			       lh_algorithm_names[j->algorithm], j->codec.name, j->npeers, (unsigned long long)j->n,
			       (unsigned long long)i, in, out);
			CU_FAIL_FATAL("conserved");
		}
	}
	free(residual);
	free(left);
}

static void open_peer(struct job *j, struct lh_loopback *hub, unsigned rank)
{
	struct peer *p = &j->peers[rank];
	*p = (struct peer){ 0 };
	p->vector = calloc(j->n + 1, sizeof(float));
	p->sums = calloc(ROUNDS * j->n + 1, sizeof(float));
	CU_ASSERT_TRUE_FATAL(p->vector && p->sums);
	if (j->kind->feedback)
		CU_ASSERT_EQUAL_FATAL(lh_feedback_new(j->n, false, &p->feedback, NULL), 0);
	struct lh_allreduce_config c = {
		.pattern = lh_pattern_find(j->algorithm), .group = &j->group, .codec = &j->codec,
		.feedback = p->feedback, .scale = 1, .rank = rank, .n = j->n, .part_bytes = j->part_bytes,
		.window = j->window, .read = read_vector, .write = write_vector, .ctx = p,
	};
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, lh_loopback_endpoint(hub, rank), &p->a, NULL), 0);
}

/* Sites that differ in size and do not lie in order of ranks. */
static const uint32_t sites[PEERS_MAX] = { 3, 3, 1, 3, 1, 3, 3, 2, 3, 2, 3, 3, 9, 3, 3, 1 };

static void check_job(struct job *j)
{
	struct lh_loopback *hub;
	struct lh_pattern_chain chain;
	struct lh_codec_options options = { .topk_fraction = j->kind->fraction };
	CU_ASSERT_EQUAL_FATAL(lh_codec_init(&j->codec, j->kind->wire, &options, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(j->npeers, j->depth, lh_test_seed(), &hub, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_loopback_streams(hub, j->streams, NULL), 0);
	struct lh_trees trees = lhtrees_random(j->npeers, 1 + j->npeers % 5 * 5, lh_test_seed() + j->n);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&j->group, j->npeers, sites, NULL, NULL), 0);
	j->group.trees = j->algorithm == LH_ALGORITHM_PACKED_TREES ? &trees : NULL;
	for (unsigned i = 0; i < j->npeers; i++)
		open_peer(j, hub, i);
	run(j, hub);
	const struct lh_pattern *pattern = lh_pattern_find(j->algorithm);
	CU_ASSERT_EQUAL_FATAL(lh_pattern_chain(pattern, &j->group, j->n, NULL, NULL, &chain, NULL), 0);
	for (uint32_t round = 1; round <= ROUNDS && !j->kind->feedback; round++)
		check_round(j, chain.up, round);
	if (j->kind->feedback && j->npeers > 1)
		check_conserved(j);
	for (unsigned i = 0; i < j->npeers; i++) {
		struct lh_transport *t = lh_loopback_endpoint(hub, i);
		CU_ASSERT_EQUAL(memcmp(j->peers[0].sums, j->peers[i].sums, ROUNDS * j->n * sizeof(float)), 0);
		CU_ASSERT_EQUAL(t->bytes_sent, ROUNDS * expected_bytes(j, i));
		CU_ASSERT_EQUAL(lh_allreduce_bytes(j->peers[i].a), expected_bytes(j, i));
	}
	for (unsigned i = 0; i < j->npeers; i++) {
		lh_allreduce_free(j->peers[i].a);
		lh_feedback_free(j->peers[i].feedback);
		free(j->peers[i].vector);
		free(j->peers[i].sums);
	}
	lh_loopback_free(hub);
	lh_group_done(&j->group);
	lh_trees_done(&trees);
}

static void matrix(enum lh_algorithm algorithm)
{
	for (unsigned n = 1; n <= PEERS_MAX; n++) {
		const uint64_t lengths[] = { 1, n + 1, 97, 1023 };
		for (unsigned k = 0; k < KINDS; k++)
			for (unsigned m = 0; m < 2 * sizeof lengths / sizeof *lengths; m++) {
				struct job j = {
					.algorithm = algorithm, .kind = &kinds[k], .npeers = n, .n = lengths[m / 2],
					.values = m % 2 ? VALUES_REAL : VALUES_WHOLE,
					.part_bytes = m % 4 < 2 ? 24 : 600,
					.window = 1 + n % 3, .depth = 1 + n % 2, .streams = 1 + n % 2 * 2,
				};
				j.depth *= j.streams;
				check_job(&j);
			}
	}
}

static void test_butterfly(void) { matrix(LH_ALGORITHM_BUTTERFLY); }
static void test_ring(void) { matrix(LH_ALGORITHM_RING); }
static void test_halving_doubling(void) { matrix(LH_ALGORITHM_HALVING_DOUBLING); }
static void test_two_level(void) { matrix(LH_ALGORITHM_TWO_LEVEL); }
static void test_central(void) { matrix(LH_ALGORITHM_CENTRAL); }
static void test_weighted_butterfly(void) { matrix(LH_ALGORITHM_WEIGHTED_BUTTERFLY); }
static void test_packed_trees(void) { matrix(LH_ALGORITHM_PACKED_TREES); }

/* Parts that are summed in several pieces, the last one short. */
static void test_long_parts(void)
{
	static const enum lh_algorithm algorithms[] = { LH_ALGORITHM_BUTTERFLY, LH_ALGORITHM_HALVING_DOUBLING };
	for (unsigned k = 0; k < KINDS; k++)
		for (unsigned m = 0; m < 4; m++) {
			struct job j = {
				.algorithm = algorithms[m / 2], .kind = &kinds[k], .npeers = 1 + m, .n = 4 * 5003,
				.values = m % 2 ? VALUES_REAL : VALUES_WHOLE, .part_bytes = 24000, .window = 2,
				.depth = 2, .streams = 1,
			};
			check_job(&j);
		}
}

/* int8, where its steps are whole numbers: results and residuals then are, too, and nothing is lost to the last bit. */
static void test_int8_conserves_exactly(void)
{
	for (int a = 0; a <= LH_ALGORITHM_CENTRAL; a++) /* the others' blocks end in odd few elements */
		for (unsigned n = 2; n <= PEERS_MAX; n++) {
			struct job j = {
				.algorithm = (enum lh_algorithm)a, .kind = &kinds[6], .npeers = n,
				.values = VALUES_STEPS, .part_bytes = 520, .window = 2, .depth = 2, .streams = 1,
			};
			CU_ASSERT_EQUAL_FATAL(lh_group_init(&j.group, n, sites, NULL, NULL), 0);
			j.n = 512 * lh_pattern_find(j.algorithm)->blocks(&j.group); /* none of an odd few elements */
			lh_group_done(&j.group);
			check_job(&j);
		}
}

/* An exchange that was given up leaves no residual; one that was kept does. */
static void test_undo(void)
{
	struct lh_feedback *f;
	float meant[5] = { 1, 2, 3, 4, 5 }, sent[5] = { 1, 1, 3, 3, 5.5f }, dst[5] = { 0 };
	double l1, l2;
	CU_ASSERT_EQUAL_FATAL(lh_feedback_new(5, true, &f, NULL), 0);
	lh_feedback_set(f, 0, 5, meant, sent);
	lh_feedback_mass(f, &l1, &l2);
	CU_ASSERT_EQUAL(l1, 0);
	lh_feedback_set(f, 0, 5, meant, sent); /* again, by a smaller group */
	lh_feedback_keep(f);
	lh_feedback_mass(f, &l1, &l2);
	CU_ASSERT_EQUAL(l1, 2.5);
	CU_ASSERT_EQUAL(l2, 1.5);
	lh_feedback_set(f, 0, 5, sent, sent); /* given up */
	lh_feedback_add(f, 1, 4, dst + 1);
	CU_ASSERT_EQUAL(dst[0], 0);
	CU_ASSERT_EQUAL(dst[1], 1);
	CU_ASSERT_EQUAL(dst[4], -0.5);
	lh_feedback_keep(f);
	lh_feedback_free(f);
	CU_ASSERT_EQUAL_FATAL(lh_feedback_new(5, false, &f, NULL), 0);
	lh_feedback_set(f, 0, 5, meant, sent);
	lh_feedback_keep(f);
	lh_feedback_mass(f, &l1, &l2);
	CU_ASSERT_EQUAL(l1, 2.5);
	lh_feedback_free(f);
	lh_feedback_free(NULL);
}

/* Whoever is left alone by the others gets back what it held back, once. */
static void test_alone(void)
{
	struct lh_group group;
	struct lh_codec codec;
	struct lh_feedback *f;
	float vector[3] = { 1, 2, 3 }, meant[3] = { 8, 16, 32 }, sent[3] = { 0 };
	struct peer p = { .vector = vector };
	double l1, l2;
	const struct lh_codec_options options = { .topk_fraction = 0.1 };
	CU_ASSERT_EQUAL_FATAL(lh_codec_init(&codec, LH_WIRE_TOPK, &options, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_feedback_new(3, true, &f, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 1, NULL, NULL, NULL), 0);
	lh_feedback_set(f, 0, 3, meant, sent);
	lh_feedback_keep(f);
	struct lh_allreduce_config c = {
		.pattern = &lh_pattern_butterfly, .group = &group, .codec = &codec, .feedback = f, .scale = 1, .n = 3,
		.read = read_vector, .write = write_vector, .ctx = &p,
	};
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, NULL, &p.a, NULL), 0);
	for (uint32_t exchange = 1; exchange <= 2; exchange++) {
		CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(p.a, exchange, NULL), 0);
		CU_ASSERT_TRUE_FATAL(lh_allreduce_done(p.a));
		lh_feedback_keep(f);
		CU_ASSERT_TRUE(vector[0] == 9 && vector[1] == 18 && vector[2] == 35);
	}
	lh_feedback_mass(f, &l1, &l2);
	CU_ASSERT_EQUAL(l1, 0);
	lh_allreduce_free(p.a);
	lh_feedback_free(f);
	lh_group_done(&group);
}

/* Places that no encoder makes, from a peer that has joined: refused as they come, whatever waits for them. */
static void test_malformed_topk(void)
{
	struct lh_loopback *hub;
	struct lh_codec codec;
	struct lh_group group;
	struct lh_err err = LH_ERR_INIT;
	float vector[64] = { 0 };
	struct peer p = { .vector = vector };
	void *to;
	const struct lh_codec_options options = { .topk_fraction = 0.1 };
	CU_ASSERT_EQUAL_FATAL(lh_codec_init(&codec, LH_WIRE_TOPK, &options, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(2, 1, 1, &hub, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 2, NULL, NULL, NULL), 0);
	struct lh_transport *t = lh_loopback_endpoint(hub, 0);
	struct lh_allreduce_config c = {
		.pattern = &lh_pattern_butterfly, .group = &group, .codec = &codec, .scale = 1, .n = 64,
		.read = read_vector, .write = write_vector, .ctx = &p,
	};
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_new(&c, t, &p.a, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_allreduce_start(p.a, 1, NULL), 0);
	struct lh_frame f = {
		.type = LH_FRAME_CONTRIBUTION, .exchange = 1, .length = (uint32_t)codec.bytes(&codec, 32),
	};
	CU_ASSERT_EQUAL_FATAL(t->user->receive_begin(t->user_ctx, 1, &f, &to, &err), 0);
	memset(to, 0xff, f.length);
	CU_ASSERT_EQUAL(t->user->receive_end(t->user_ctx, 1, &f, to, &err), -EPROTO);
	lh_allreduce_free(p.a);
	lh_group_done(&group);
	lh_loopback_free(hub);
}

static const struct lh_test tests[] = {
	{ "butterfly", test_butterfly, 0 },
	{ "ring", test_ring, 0 },
	{ "halving_doubling", test_halving_doubling, 0 },
	{ "two_level", test_two_level, 0 },
	{ "central", test_central, 0 },
	{ "weighted_butterfly", test_weighted_butterfly, 0 },
	{ "packed_trees", test_packed_trees, 0 },
	{ "long_parts", test_long_parts, 0 },
	{ "int8_conserves_exactly", test_int8_conserves_exactly, 0 },
	{ "undo", test_undo, 0 },
	{ "alone", test_alone, 0 },
	{ "malformed_topk", test_malformed_topk, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "codecs", tests, sizeof tests / sizeof *tests);
}
