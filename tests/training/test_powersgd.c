/* PowerSGD over the loopback transport: replicas stay identical, nothing is lost, what has the rank comes back, warm
 * factors find what is there, and the bytes are those of the factors.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/loopback.h"
#include "hash.h"
#include "lhtest.h"
#include "sync/powersgd.h"

enum { PEERS_MAX = 8 };

struct peer {
	struct lh_powersgd *g;
	float *in, *out;
	double *all_in, *all_out; /* over all exchanges */
};

struct job {
	enum lh_algorithm algorithm;
	unsigned npeers, columns, part_bytes;
	const struct lh_tensor *tensors;
	size_t ntensors;
	uint64_t n;
	bool always;
	float (*value)(const struct job *j, unsigned rank, uint32_t number, uint64_t i);
	struct lh_loopback *hub;
	struct lh_group group;
	struct peer peers[PEERS_MAX];
	uint64_t draws;
};

static unsigned draw(struct job *j, unsigned below)
{
	return (unsigned)(lh_mix64(lh_test_seed() + ++j->draws * LH_MIX64_STEP) % below);
}

static int read_vector(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, ((struct peer *)ctx)->in + offset, n * sizeof *dst);
	return 0;
}

static int write_vector(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	memcpy(((struct peer *)ctx)->out + offset, src, n * sizeof *src);
	return 0;
}

static void open_job(struct job *j)
{
	static const uint32_t sites[PEERS_MAX] = { 3, 3, 1, 3, 1, 3, 3, 2 };
	for (size_t i = 0; i < j->ntensors; i++)
		j->n += j->tensors[i].rows * j->tensors[i].cols;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(j->npeers, 2, lh_test_seed(), &j->hub, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&j->group, j->npeers, sites, NULL, NULL), 0);
	for (unsigned i = 0; i < j->npeers; i++) {
		struct peer *p = &j->peers[i];
		p->in = calloc(j->n, sizeof(float));
		p->out = calloc(j->n, sizeof(float));
		p->all_in = calloc(j->n, sizeof(double));
		p->all_out = calloc(j->n, sizeof(double));
		CU_ASSERT_TRUE_FATAL(p->in && p->out && p->all_in && p->all_out);
		struct lh_powersgd_config c = {
			.pattern = lh_pattern_find(j->algorithm), .group = &j->group, .rank = i, .columns = j->columns,
			.tensors = j->tensors, .ntensors = j->ntensors, .always = j->always, .n = j->n, .seed = 5,
			.part_bytes = j->part_bytes, .window = 2, .read = read_vector, .write = write_vector, .ctx = p,
		};
		CU_ASSERT_EQUAL_FATAL(lh_powersgd_new(&c, lh_loopback_endpoint(j->hub, i), &p->g, NULL), 0);
	}
}

static void close_job(struct job *j)
{
	for (unsigned i = 0; i < j->npeers; i++) {
		struct peer *p = &j->peers[i];
		lh_powersgd_free(p->g);
		free(p->in);
		free(p->out);
		free(p->all_in);
		free(p->all_out);
	}
	lh_group_done(&j->group);
	lh_loopback_free(j->hub);
}

static void begin(struct job *j, unsigned rank, uint32_t number)
{
	struct peer *p = &j->peers[rank];
	for (uint64_t i = 0; i < j->n; i++) {
		p->in[i] = j->value(j, rank, number, i);
		p->all_in[i] += p->in[i];
	}
	CU_ASSERT_EQUAL_FATAL(lh_powersgd_start(p->g, number, NULL), 0);
}

/* `exchanges` of them; who is done goes on at once, so peers are in different ones. */
static void run(struct job *j, uint32_t exchanges)
{
	struct lh_err err = LH_ERR_INIT;
	uint32_t number[PEERS_MAX] = { 0 };
	for (unsigned finished = 0; finished < j->npeers;) {
		unsigned i = draw(j, j->npeers);
		struct lh_transport *t = lh_loopback_endpoint(j->hub, i);
		CU_ASSERT_FATAL(j->draws < 50000000);
		if (!number[i])
			begin(j, i, ++number[i]);
		int rc = t->ops->progress(t, &err);
		if (rc)
			printf("# %s\n", err.text);
		CU_ASSERT_EQUAL_FATAL(rc, 0);
		if (number[i] > exchanges || !lh_powersgd_done(j->peers[i].g))
			continue;
		for (uint64_t k = 0; k < j->n; k++)
			j->peers[i].all_out[k] += j->peers[i].out[k];
		if (number[i]++ == exchanges)
			finished++;
		else
			begin(j, i, number[i]);
	}
	for (unsigned i = 1; i < j->npeers; i++)
		CU_ASSERT_EQUAL(memcmp(j->peers[0].out, j->peers[i].out, j->n * sizeof(float)), 0);
}

static float any(const struct job *j, unsigned rank, uint32_t number, uint64_t i)
{
	return (float)((double)(int64_t)lh_mix64((i * PEERS_MAX + rank) * 64 + number) * 0x1p-63);
}

/* |x - y| / |y| of the last exchange's result and the sum of what went into it; 0 ... n of it. */
static double distance(const struct job *j, uint64_t from, uint64_t n)
{
	double d2 = 0, y2 = 0;
	for (uint64_t i = from; i < from + n; i++) {
		double sum = 0;
		for (unsigned r = 0; r < j->npeers; r++)
			sum += j->peers[r].in[i];
		d2 += (j->peers[0].out[i] - sum) * (j->peers[0].out[i] - sum);
		y2 += sum * sum;
	}
	return sqrt(d2 / y2);
}

static const struct lh_tensor mixed[] = {
	{ "bias", 0, 7, 1 }, { "wide", 7, 13, 40 }, { "small", 527, 3, 3 }, { "tall", 536, 61, 12 },
	{ "gain", 1268, 1, 9 }, { "square", 1277, 20, 20 },
};
enum { MIXED = sizeof mixed / sizeof *mixed };

/* Of all that went in: what neither came out nor is held back, and what is held back by all together. */
static void account(const struct job *j, double *ret_lost, double *ret_held)
{
	double lost2 = 0, held2 = 0, in2 = 0;
	for (uint64_t i = 0; i < j->n; i++) {
		double in = 0, held = 0;
		for (unsigned r = 0; r < j->npeers; r++) {
			in += j->peers[r].all_in[i];
			held += lh_powersgd_residual(j->peers[r].g)[i];
		}
		double lost = in - j->peers[0].all_out[i] - held;
		in2 += in * in;
		lost2 += lost * lost;
		held2 += held * held;
	}
	*ret_lost = sqrt(lost2 / in2);
	*ret_held = sqrt(held2 / in2);
}

/* With as many columns as the matrix has, nothing is taken away. */
static void test_full_rank_is_exact(void)
{
	for (int a = 0; a < LH_ALGORITHMS; a++)
		for (unsigned n = 2; n <= PEERS_MAX; n++) {
			struct job j = { .algorithm = (enum lh_algorithm)a, .npeers = n, .columns = 64,
					 .part_bytes = 100, .tensors = mixed, .ntensors = MIXED, .always = true,
					 .value = any };
			double lost, held;
			open_job(&j);
			run(&j, 2);
			account(&j, &lost, &held);
			CU_ASSERT_TRUE(distance(&j, 0, j.n) < 1e-5);
			CU_ASSERT_TRUE(held < 1e-5);
			close_job(&j);
		}
}

/* What went in is what came out and what is still held back. And something is held back. */
static void test_conserves(void)
{
	for (int a = 0; a < LH_ALGORITHMS; a++)
		for (unsigned columns = 1; columns <= 4; columns++) {
			struct job j = { .algorithm = (enum lh_algorithm)a, .npeers = 2 + columns, .columns = columns,
					 .part_bytes = 64, .tensors = mixed, .ntensors = MIXED, .value = any };
			double lost, held, l1, l2, own1 = 0, own2 = 0;
			open_job(&j);
			run(&j, 6);
			account(&j, &lost, &held);
			CU_ASSERT_TRUE(lost < 1e-6);
			CU_ASSERT_TRUE(held > 0.1);
			for (uint64_t i = 0; i < j.n; i++) {
				double r = lh_powersgd_residual(j.peers[1].g)[i];
				own1 += fabs(r);
				own2 += r * r;
			}
			lh_powersgd_mass(j.peers[1].g, &l1, &l2);
			CU_ASSERT_DOUBLE_EQUAL(l1, own1, 1e-9 * own1);
			CU_ASSERT_DOUBLE_EQUAL(l2, sqrt(own2), 1e-9 * l2);
			close_job(&j);
		}
}

/* Only at the beginning is there something to send: later exchanges bring what the earlier ones held back. */
static float once(const struct job *j, unsigned rank, uint32_t number, uint64_t i)
{
	return number == 1 ? any(j, rank, 1, i) : 0;
}

static void test_residuals_arrive(void)
{
	for (uint32_t exchanges = 1; exchanges <= 40; exchanges += 39) {
		struct job j = { .npeers = 3, .columns = 2, .tensors = mixed, .ntensors = MIXED, .value = once };
		double lost, held;
		open_job(&j);
		run(&j, exchanges);
		account(&j, &lost, &held);
		CU_ASSERT_TRUE(lost < 1e-6);
		CU_ASSERT_TRUE(exchanges == 1 ? held > 0.1 : held < 1e-4);
		close_job(&j);
	}
}

/* A sum of rank 2, the same in every exchange: warm factors have it after the first few, to rounding. */
static float low_rank(const struct job *j, unsigned rank, uint32_t number, uint64_t i)
{
	uint64_t row = i / 30, col = i % 30;
	double u1 = any(j, 0, 60, row), u2 = any(j, 1, 60, row), v1 = any(j, 2, 60, col), v2 = any(j, 3, 60, col);
	return (float)((rank + 1) * (u1 * v1 + 0.01 * u2 * v2));
}

static void test_low_rank_is_found(void)
{
	static const struct lh_tensor one[] = { { "m", 0, 50, 30 } };
	struct job j = { .npeers = 4, .columns = 2, .tensors = one, .ntensors = 1, .value = low_rank };
	open_job(&j);
	run(&j, 3);
	CU_ASSERT_TRUE(distance(&j, 0, j.n) < 1e-5);
	close_job(&j);
	j = (struct job){ .npeers = 4, .columns = 4, .tensors = one, .ntensors = 1, .value = low_rank };
	open_job(&j); /* two of its columns depend on the others, and are drawn anew every time */
	run(&j, 5);
	CU_ASSERT_TRUE(distance(&j, 0, j.n) < 1e-5);
	close_job(&j);
}

static float nothing(const struct job *j, unsigned rank, uint32_t number, uint64_t i) { return 0; }

static void test_zeros(void)
{
	struct job j = { .npeers = 2, .columns = 3, .tensors = mixed, .ntensors = MIXED, .value = nothing };
	open_job(&j);
	run(&j, 3);
	for (uint64_t i = 0; i < j.n; i++)
		CU_ASSERT_EQUAL(j.peers[0].out[i], 0);
	close_job(&j);
}

/* A number that is none is not hidden. */
static float broken(const struct job *j, unsigned rank, uint32_t number, uint64_t i)
{
	return rank == 1 && i == 700 ? NAN : 1;
}

static void test_nan_is_seen(void)
{
	struct job j = { .npeers = 3, .columns = 2, .tensors = mixed, .ntensors = MIXED, .value = broken };
	open_job(&j);
	run(&j, 1);
	CU_ASSERT_TRUE(isnan(j.peers[0].out[700]));
	CU_ASSERT_EQUAL(j.peers[0].out[0], 3);
	close_job(&j);
}

/* r (rows + cols) < rows x cols / 2: of `mixed` with r = 2 that are wide, tall and square; with 5 none but tall. */
static void test_bytes(void)
{
	static const struct { unsigned columns; uint64_t first, second; } cases[] = {
		{ 2, 7 + 9 + 9 + 2 * (13 + 61 + 20), 2 * (40 + 12 + 20) },
		{ 4, 7 + 9 + 9 + 4 * (13 + 61 + 20), 4 * (40 + 12 + 20) },
		{ 5, 7 + 9 + 9 + 520 + 400 + 5 * 61, 5 * 12 },
		{ 8, 7 + 9 + 9 + 520 + 400 + 732, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct job j = { .npeers = 2, .columns = cases[i].columns, .tensors = mixed, .ntensors = MIXED,
				 .value = any };
		uint64_t first, second;
		open_job(&j);
		lh_powersgd_count(mixed, MIXED, cases[i].columns, &first, &second);
		CU_ASSERT_TRUE(first == cases[i].first && second == cases[i].second);
		lh_powersgd_lengths(j.peers[0].g, &first, &second);
		CU_ASSERT_EQUAL(first, cases[i].first);
		CU_ASSERT_EQUAL(second, cases[i].second);
		run(&j, 3);
		uint64_t own = first / 2, own2 = second / 2, frames = 2 + 2 * (second > 0);
		/* Two peers: each sends the other's half and the result of its own, both times. */
		CU_ASSERT_EQUAL(lh_powersgd_bytes(j.peers[1].g), 4 * (first - own + own + second - own2 + own2) +
				frames * LH_FRAME_HEADER);
		CU_ASSERT_EQUAL(lh_loopback_endpoint(j.hub, 1)->bytes_sent, 3 * lh_powersgd_bytes(j.peers[1].g));
		if (!second)
			CU_ASSERT_TRUE(distance(&j, 0, j.n) < 1e-6);
		close_job(&j);
	}
}

/* The catalogue's models, whose shapes the paced engine knows by their size. The literature's ratios: of ResNet-18 with
 * r = 2 the paper has 136; the others are our own sums over the published shapes. */
static void test_known_models(void)
{
	enum { TENSORS = 1000 };
	static const struct { const char *name; uint64_t parameters; unsigned columns, ratio; } models[] = {
		{ "RN18", 11689512, 2, 137 }, { "RN50", 25557032, 4, 67 }, { "RN152", 60192808, 4, 53 },
		{ "RBase", 124697433, 4, 118 }, { "RXLM", 560142482, 4, 167 }, { "none", 11689511, 2, 0 },
	};
	static struct lh_tensor tensors[TENSORS];
	struct lh_peer_endpoint endpoints[2] = { 0 };
	for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
		struct lh_peer_config c = { .size = 2, .peers = endpoints, .engine = LH_ENGINE_PACED, .seed = 1,
					    .parameters = models[i].parameters };
		struct lh_engine_state *s;
		CU_ASSERT_EQUAL_FATAL(lh_engine_paced.open(&c, &s, NULL), 0);
		size_t n = lh_engine_paced.tensors(s, tensors, TENSORS);
		lh_engine_paced.close(s);
		CU_ASSERT_TRUE_FATAL(n < TENSORS);
		CU_ASSERT_EQUAL(n > 0, models[i].ratio > 0);
		uint64_t at = 0, first, second;
		for (size_t k = 0; k < n; at += tensors[k].rows * tensors[k].cols, k++)
			CU_ASSERT_EQUAL(tensors[k].offset, at);
		if (!n)
			continue;
		CU_ASSERT_EQUAL(at, models[i].parameters);
		lh_powersgd_count(tensors, n, models[i].columns, &first, &second);
		double ratio = (double)at / (double)(first + second);
		printf("# %s, r = %u: %.1f times fewer elements\n", models[i].name, models[i].columns, ratio);
		CU_ASSERT_DOUBLE_EQUAL(ratio, models[i].ratio, 0.01 * models[i].ratio);
	}
}

static void test_refusals(void)
{
	static const struct lh_tensor gap[] = { { "a", 0, 3, 3 }, { "b", 10, 3, 3 } }, late[] = { { "a", 1, 3, 3 } },
				      huge[] = { { "a", 0, UINT64_C(1) << 40, UINT64_C(1) << 40 } },
				      none[] = { { "a", 0, 0, 3 } };
	const struct { const struct lh_tensor *tensors; size_t ntensors; unsigned columns; } bad[] = {
		{ gap, 2, 1 }, { late, 1, 1 }, { huge, 1, 1 }, { none, 1, 1 }, { mixed, MIXED, 0 },
		{ mixed, MIXED, 257 }, { mixed, MIXED - 1, 1 }, { mixed, 0, 1 },
	};
	struct lh_loopback *hub;
	struct lh_group group;
	CU_ASSERT_EQUAL_FATAL(lh_loopback_new(2, 1, 1, &hub, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(lh_group_init(&group, 2, NULL, NULL, NULL), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct lh_powersgd *g;
		struct lh_powersgd_config c = {
			.pattern = &lh_pattern_butterfly, .group = &group, .columns = bad[i].columns,
			.tensors = bad[i].tensors, .ntensors = bad[i].ntensors, .n = 1677, .read = read_vector,
			.write = write_vector,
		};
		CU_ASSERT_EQUAL(lh_powersgd_new(&c, lh_loopback_endpoint(hub, 0), &g, NULL), -EINVAL);
	}
	lh_group_done(&group);
	lh_loopback_free(hub);
	lh_powersgd_free(NULL);
}

static const struct lh_test tests[] = {
	{ "full_rank_is_exact", test_full_rank_is_exact, 0 },
	{ "conserves", test_conserves, 0 },
	{ "residuals_arrive", test_residuals_arrive, 0 },
	{ "low_rank_is_found", test_low_rank_is_found, 0 },
	{ "zeros", test_zeros, 0 },
	{ "nan_is_seen", test_nan_is_seen, 0 },
	{ "bytes", test_bytes, 0 },
	{ "known_models", test_known_models, 0 },
	{ "refusals", test_refusals, 0 },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "powersgd", tests, sizeof tests / sizeof *tests);
}
