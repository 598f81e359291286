/* The paced engine: numbers that depend on nothing but their place, and checks that trip. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "codec/codec.h"
#include "engine.h"
#include "lhtest.h"

enum { PEERS = 3, N = 150000 }; /* more than two of the pages that share a key */

static struct lh_engine_state *engines[PEERS];
static enum lh_algorithm algorithm;
static float own[PEERS][N], sum[N], again[N];

static void open_all(uint64_t seed)
{
	for (unsigned i = 0; i < PEERS; i++) {
		struct lh_peer_endpoint peers[PEERS] = { 0 };
		struct lh_peer_config c = {
			.rank = i, .size = PEERS, .peers = peers, .parameters = N, .seed = seed, .algorithm = algorithm,
		};
		CU_ASSERT_EQUAL_FATAL(lh_engine_paced.open(&c, &engines[i], NULL), 0);
		CU_ASSERT_EQUAL(lh_engine_paced.parameters(engines[i]), N);
		CU_ASSERT_EQUAL(lh_engine_paced.gradient_read(engines[i], 0, N, own[i], NULL), 0);
	}
	for (size_t k = 0; k < N; k++)
		sum[k] = own[0][k] + own[1][k] + own[2][k];
}

static void close_all(void)
{
	for (unsigned i = 0; i < PEERS; i++)
		lh_engine_paced.close(engines[i]);
	lh_engine_paced.close(NULL);
}

static int write_all(unsigned rank, const float *src, size_t block)
{
	int rc = 0;
	for (size_t at = 0; !rc && at < N; at += block)
		rc = lh_engine_paced.gradient_write(engines[rank], at, N - at < block ? N - at : block, src + at, NULL);
	return rc;
}

static void test_values(void)
{
	const struct lh_codec *fp16 = lh_codec_find(LH_WIRE_FP16);
	static uint16_t wire[N];
	double mean = 0, square = 0;
	size_t equal = 0;
	open_all(1);
	for (size_t at = 0; at < N; at += 777) { /* the same numbers whatever the cut */
		size_t n = N - at < 777 ? N - at : 777;
		CU_ASSERT_EQUAL(lh_engine_paced.gradient_read(engines[1], at, n, again + at, NULL), 0);
	}
	CU_ASSERT_EQUAL(memcmp(again, own[1], sizeof again), 0);
	for (size_t k = 0; k < N; k++) {
		CU_ASSERT_TRUE(own[0][k] >= -0.125f && own[0][k] < 0.125f);
		mean += own[0][k] / N;
		square += own[0][k] * own[0][k] / N;
		equal += own[0][k] == own[1][k];
	}
	CU_ASSERT_TRUE(fabs(mean) < 0.001);
	CU_ASSERT_TRUE(fabs(sqrt(square) - 0.25 / sqrt(12)) < 0.001); /* uniform */
	CU_ASSERT_TRUE(equal < N / 1000);                             /* peers differ */
	fp16->encode(fp16, wire, own[0], N, 1);
	fp16->decode(fp16, again, wire, N, 1);
	CU_ASSERT_EQUAL(memcmp(again, own[0], sizeof again), 0); /* exact in fp16 */
	close_all();
}

static void test_replicas_agree(void)
{
	open_all(2);
	uint64_t before = lh_engine_paced.state_hash(engines[0]);
	CU_ASSERT_EQUAL(write_all(0, sum, 1000), 0);
	CU_ASSERT_EQUAL(write_all(1, sum, 1000), 0);
	/* The same blocks in another order. */
	for (size_t at = N - 1000; at < N; at -= 1000)
		CU_ASSERT_EQUAL(lh_engine_paced.gradient_write(engines[2], at, 1000, sum + at, NULL), 0);
	for (unsigned i = 0; i < PEERS; i++)
		CU_ASSERT_EQUAL(lh_engine_paced.update(engines[i], 1, NULL), 0);
	CU_ASSERT_NOT_EQUAL(lh_engine_paced.state_hash(engines[0]), before);
	CU_ASSERT_EQUAL(lh_engine_paced.state_hash(engines[1]), lh_engine_paced.state_hash(engines[0]));
	CU_ASSERT_EQUAL(lh_engine_paced.state_hash(engines[2]), lh_engine_paced.state_hash(engines[0]));
	/* The next round has other numbers. */
	CU_ASSERT_EQUAL(lh_engine_paced.gradient_read(engines[0], 0, N, again, NULL), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(again, own[0], sizeof again), 0);
	lh_engine_paced.flip_bit(engines[1]);
	CU_ASSERT_NOT_EQUAL(lh_engine_paced.state_hash(engines[1]), lh_engine_paced.state_hash(engines[0]));
	close_all();
}

/* Whoever rounds partial sums on the way is allowed to be off by as much, and no more: not by a peer's part. */
static void wrong_sums(void)
{
	struct lh_err err = LH_ERR_INIT;
	open_all(3);
	CU_ASSERT_EQUAL(write_all(0, own[0], 1000), -EBADMSG); /* one peer's part alone */
	CU_ASSERT_EQUAL(lh_engine_paced.gradient_write(engines[1], 1000, 1000, sum, &err), -EBADMSG); /* elsewhere */
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the sum over all peers is"));
	sum[999] = NAN;
	CU_ASSERT_EQUAL(lh_engine_paced.gradient_write(engines[1], 0, 1000, sum, NULL), -EBADMSG);
	close_all();

	open_all(4); /* a part that never came, and one that came twice */
	CU_ASSERT_EQUAL(lh_engine_paced.gradient_write(engines[0], 0, N - 1, sum, NULL), 0);
	CU_ASSERT_EQUAL(lh_engine_paced.update(engines[0], 1, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "149999 of 150000"));
	CU_ASSERT_EQUAL(write_all(1, sum, 1000), 0);
	CU_ASSERT_EQUAL(lh_engine_paced.gradient_write(engines[1], 0, 1000, sum, NULL), 0);
	CU_ASSERT_EQUAL(lh_engine_paced.update(engines[1], 1, NULL), -EBADMSG);

	close_all();

	open_all(5); /* wrong by the last bit where nobody looks: the hash tells */
	CU_ASSERT_EQUAL(write_all(0, sum, N), 0);
	CU_ASSERT_EQUAL(lh_engine_paced.update(engines[0], 1, NULL), 0);
	sum[70000] = nextafterf(sum[70000], 1);
	CU_ASSERT_EQUAL(write_all(1, sum, N), 0);
	CU_ASSERT_EQUAL(lh_engine_paced.update(engines[1], 1, NULL), 0);
	CU_ASSERT_NOT_EQUAL(lh_engine_paced.state_hash(engines[1]), lh_engine_paced.state_hash(engines[0]));
	close_all();
}

static void test_wrong_sums(void)
{
	for (int a = 0; a < LH_ALGORITHMS; a++) {
		algorithm = (enum lh_algorithm)a;
		wrong_sums();
	}
}

/* A ring rounds the sum of two peers to fp16 before the third adds its own. */
static void test_rounded_on_the_way(void)
{
	const struct lh_codec *fp16 = lh_codec_find(LH_WIRE_FP16);
	static uint16_t wire[N];
	algorithm = LH_ALGORITHM_RING;
	open_all(5);
	for (size_t k = 0; k < N; k++)
		sum[k] = own[0][k] + own[1][k];
	for (int hop = 0; hop < 2; hop++) {
		fp16->encode(fp16, wire, sum, N, 1);
		fp16->decode(fp16, sum, wire, N, 1);
		for (size_t k = 0; k < N && !hop; k++)
			sum[k] += own[2][k];
	}
	CU_ASSERT_EQUAL(write_all(0, sum, 1000), 0);
	close_all();
}

static const struct lh_test tests[] = {
	{ "values", test_values, 0 },
	{ "replicas_agree", test_replicas_agree, 0 },
	{ "wrong_sums", test_wrong_sums, 0 },
	{ "rounded_on_the_way", test_rounded_on_the_way, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "paced", tests, sizeof tests / sizeof *tests);
}
