/* A peer's state as bytes: from one engine into another, in parts of any order, and through a file. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checkpoint.h"
#include "elastic_state.h"
#include "hash.h"
#include "lhtest.h"
#include "sync/strategy.h"

static struct lh_peer_endpoint endpoints[2] = { { "a", "127.0.0.1", 1, 10 }, { "b", "127.0.0.1", 2, 10 } };
static struct lh_peer_config config;
static const struct lh_engine_ops *ops;
static struct lh_engine_state *donor, *joiner;

enum { STEPS = 3, BATCH = 8 };

static void train(struct lh_engine_state *s, unsigned from, unsigned updates)
{
	uint64_t ids[BATCH];
	double loss = 0;
	for (unsigned u = 0; u < updates; u++) {
		for (unsigned i = 0; i < BATCH; i++)
			ids[i] = (from + u) * BATCH + i;
		CU_ASSERT_EQUAL_FATAL(ops->step(s, ids, BATCH, &loss, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(ops->update(s, BATCH, NULL), 0);
	}
}

static void open_engine(struct lh_engine_state **s)
{
	struct lh_err err = LH_ERR_INIT;
	int rc = ops->open(&config, s, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void open_both(bool paced)
{
	memset(&config, 0, sizeof config);
	config.size = 2;
	config.peers = endpoints;
	config.engine = paced ? LH_ENGINE_PACED : LH_ENGINE_CPU;
	config.parameters = paced ? 100003 : 0;
	config.learning_rate = 0.002;
	config.seed = 7;
	config.target_batch = BATCH;
	strcpy(config.model, paced ? "RN18" : "digits");
	snprintf(config.data_dir, sizeof config.data_dir, "%s", lh_test_path("../trainer/data/files"));
	ops = paced ? &lh_engine_paced : &lh_engine_cpu;
	open_engine(&donor);
	open_engine(&joiner);
	if (!paced) {
		train(donor, 0, STEPS);
		CU_ASSERT_NOT_EQUAL(ops->state_hash(donor), ops->state_hash(joiner));
	}
}

static void close_both(void)
{
	ops->close(donor);
	ops->close(joiner);
}

/* Everything that decides the rounds to come: after the same samples they are the same again. */
static void check_same(void)
{
	CU_ASSERT_EQUAL(ops->state_hash(donor), ops->state_hash(joiner));
	if (ops == &lh_engine_paced)
		return;
	train(donor, STEPS, 2);
	train(joiner, STEPS, 2);
	CU_ASSERT_EQUAL(ops->state_hash(donor), ops->state_hash(joiner));
}

enum { PARTS_MAX = 64 };

static struct { struct lh_frame f; uint8_t *payload; } sent[PARTS_MAX];

static unsigned serve(uint32_t version)
{
	struct lh_state_out out = { .active = false };
	unsigned n = 0;
	const void *payload;
	lh_state_serve(&out, version);
	while (n < PARTS_MAX && lh_state_next(&out, &(struct lh_state_of){ ops, donor, NULL }, &sent[n].f, &payload, NULL) == 1) {
		sent[n].payload = malloc(sent[n].f.length);
		memcpy(sent[n].payload, payload, sent[n].f.length);
		lh_state_sent(&out, payload);
		n++;
	}
	CU_ASSERT_FALSE(out.active);
	lh_state_out_done(&out);
	return n;
}

static void forget(unsigned n)
{
	while (n)
		free(sent[--n].payload);
}

static void transfer(bool paced)
{
	struct lh_state_in in = { .active = false };
	open_both(paced);
	const struct lh_state_of to = { ops, joiner, NULL };
	unsigned n = serve(5), left = n;
	CU_ASSERT_EQUAL(n, lh_state_parts(&(struct lh_state_of){ ops, donor, NULL }) + 1);
	CU_ASSERT_TRUE_FATAL(n > 3);
	CU_ASSERT_EQUAL(lh_state_fetch(&in, &to, 0, 5, 1, NULL), 0);
	for (unsigned i = 0; i < n; i++) /* of another version: not for us */
		sent[i].f.exchange = 4;
	CU_ASSERT_EQUAL(lh_state_take(&in, &to, &sent[0].f, sent[0].payload, NULL), 0);
	for (unsigned i = 0; i < n; i++)
		sent[i].f.exchange = 5;
	while (left) { /* in any order, one of them twice */
		unsigned i = (unsigned)(lh_mix64(lh_test_seed() + left) % left);
		int rc = lh_state_take(&in, &to, &sent[i].f, sent[i].payload, NULL);
		CU_ASSERT_EQUAL(rc, left == 1);
		if (left == n)
			CU_ASSERT_EQUAL(lh_state_take(&in, &to, &sent[i].f, sent[i].payload, NULL), 0);
		left--;
		struct lh_frame f = sent[left].f;
		uint8_t *payload = sent[left].payload;
		sent[left] = sent[i];
		sent[i].f = f;
		sent[i].payload = payload;
	}
	check_same();
	lh_state_in_done(&in);
	forget(n);
	close_both();
}

static void test_transfer(void)
{
	transfer(false);
	transfer(true);
}

static void test_transfer_refusals(void)
{
	struct lh_state_in in = { .active = false };
	struct lh_err err = LH_ERR_INIT;
	open_both(false);
	const struct lh_state_of to = { ops, joiner, NULL };
	unsigned n = serve(5);
	CU_ASSERT_EQUAL(lh_state_fetch(&in, &to, 0, 5, 1, NULL), 0);
	struct lh_frame f = sent[0].f;
	f.part = n;
	CU_ASSERT_EQUAL(lh_state_take(&in, &to, &f, sent[0].payload, &err), -EPROTO);
	f.part = 0;
	f.length--;
	CU_ASSERT_EQUAL(lh_state_take(&in, &to, &f, sent[0].payload, &err), -EPROTO);
	sent[1].payload[100] ^= 1;
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_EQUAL(lh_state_take(&in, &to, &sent[i].f, sent[i].payload, &err), i == n - 1 ? -EBADMSG : 0);
	sent[1].payload[100] ^= 1; /* from another donor, whole */
	CU_ASSERT_EQUAL(lh_state_fetch(&in, &to, 1, 5, 1, NULL), 0);
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_EQUAL(lh_state_take(&in, &to, &sent[i].f, sent[i].payload, &err), i == n - 1);
	check_same();
	lh_state_in_done(&in);
	forget(n);
	close_both();
}

static char path[LH_CHECKPOINT_PATH];

static void open_dir(void)
{
	snprintf(config.checkpoint_dir, sizeof config.checkpoint_dir, "%s/longhaul-state-XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(config.checkpoint_dir));
}

static unsigned count_files(void)
{
	DIR *dir = opendir(config.checkpoint_dir);
	unsigned n = 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void close_dir(void)
{
	while (!lh_checkpoint_newest(&config, path, NULL))
		unlink(path);
	CU_ASSERT_EQUAL(rmdir(config.checkpoint_dir), 0); /* nothing else was left there */
}

static struct lh_checkpoint_of of(struct lh_engine_state *s)
{
	return (struct lh_checkpoint_of){ &config, ops, s, NULL };
}

static int save(uint32_t round, uint64_t *ret_bytes, struct lh_err *err)
{
	struct lh_checkpoint where = { .round = round, .samples = round * BATCH, .shared = true };
	struct lh_checkpoint_of whose = of(donor);
	int rc = lh_checkpoint_write(&whose, &where, err);
	*ret_bytes = where.bytes;
	return rc;
}

static int load(struct lh_checkpoint *ret, struct lh_err *err)
{
	struct lh_checkpoint_of whose = of(joiner);
	return lh_checkpoint_read(path, LH_TAKE_ALL, &whose, ret, err);
}

static void test_checkpoint(void)
{
	for (unsigned paced = 0; paced < 2; paced++) {
		struct lh_checkpoint c;
		struct lh_err err = LH_ERR_INIT;
		uint64_t bytes = 0;
		open_both(paced);
		open_dir();
		CU_ASSERT_EQUAL(lh_checkpoint_newest(&config, path, NULL), -ENOENT);
		lh_checkpoint_path(&config, 3, path);
		CU_ASSERT_EQUAL(load(&c, &err), -ENOENT);
		CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
		for (uint32_t round = 1; round < 6; round++)
			CU_ASSERT_EQUAL(save(round, &bytes, NULL), 0);
		CU_ASSERT_EQUAL(count_files(), 2); /* the newest */
		CU_ASSERT_TRUE(bytes > ops->state_bytes(donor));
		CU_ASSERT_EQUAL(lh_checkpoint_newest(&config, path, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(load(&c, &err), 0);
		CU_ASSERT_EQUAL(c.round, 5);
		CU_ASSERT_EQUAL(c.samples, 5 * BATCH);
		CU_ASSERT_EQUAL(c.size, 2);
		CU_ASSERT_TRUE(c.shared);
		check_same();
		config.checkpoint_keep = 1;
		CU_ASSERT_EQUAL(save(6, &bytes, NULL), 0);
		CU_ASSERT_EQUAL(count_files(), 1);
		close_dir();
		close_both();
	}
}

/* Cut anywhere, or one bit changed anywhere: refused, and the engine keeps what it had. */
static void test_torn(void)
{
	struct lh_checkpoint c;
	struct lh_err err = LH_ERR_INIT;
	uint64_t bytes = 0;
	open_both(false);
	open_dir();
	CU_ASSERT_EQUAL_FATAL(save(1, &bytes, NULL), 0);
	CU_ASSERT_EQUAL(lh_checkpoint_newest(&config, path, NULL), 0);
	FILE *f = fopen(path, "r+");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	uint64_t before = ops->state_hash(joiner);
	for (uint64_t at = 0; at < bytes; at += at < 600 ? 1 : 9973) {
		fseek(f, (long)at, SEEK_SET);
		int was = fgetc(f);
		fseek(f, (long)at, SEEK_SET);
		fputc(was ^ 0x10, f);
		fflush(f);
		err = (struct lh_err)LH_ERR_INIT;
		CU_ASSERT_EQUAL(load(&c, &err), -EBADMSG);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
		fseek(f, (long)at, SEEK_SET);
		fputc(was, f);
		fflush(f);
	}
	for (uint64_t len = bytes - 1; len; len -= len > 100600 ? 99991 : len > 600 ? 997 : 1) {
		CU_ASSERT_EQUAL(ftruncate(fileno(f), (off_t)len), 0);
		CU_ASSERT_EQUAL(load(&c, &err), -EBADMSG);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "torn"));
	}
	CU_ASSERT_EQUAL(ops->state_hash(joiner), before);
	fclose(f);
	close_dir();
	close_both();
}

/* Of another run: which of its settings differs is told. */
static void test_foreign(void)
{
	struct lh_checkpoint c;
	struct lh_err err = LH_ERR_INIT;
	uint64_t bytes = 0;
	open_both(false);
	open_dir();
	CU_ASSERT_EQUAL_FATAL(save(1, &bytes, NULL), 0);
	CU_ASSERT_EQUAL(lh_checkpoint_newest(&config, path, NULL), 0);
	config.seed++;
	CU_ASSERT_EQUAL(load(&c, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "its seed is 7, this run's is 8"));
	config.seed--;
	config.target_batch *= 2;
	CU_ASSERT_EQUAL(load(&c, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "target_batch"));
	config.target_batch /= 2;
	strcpy(config.model, "text");
	CU_ASSERT_EQUAL(load(&c, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "its model is digits"));
	strcpy(config.model, "digits");
	CU_ASSERT_EQUAL(load(&c, NULL), 0);
	FILE *f = fopen(path, "r+"); /* of a later format */
	fseek(f, 8, SEEK_SET);
	fputc(3, f);
	fclose(f);
	CU_ASSERT_EQUAL(load(&c, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "format 3; this program reads format 2"));
	close_dir();
	close_both();
}

/* A strategy that keeps so many numbers, of either kind. */
static float extra[4];
static uint64_t extras;
static enum lh_state_kind extra_kind;

static int extra_state(struct lh_strategy *s, struct lh_parts *p, struct lh_err *err)
{
	return lh_parts_add(p, extra_kind, LH_STATE_F32, "extra", extra, extras, err);
}

static int with_extra(bool writes, uint64_t n, enum lh_take take, struct lh_err *err)
{
	static const struct lh_strategy_ops extra_ops = { .state = extra_state };
	struct lh_strategy strategy = { .ops = &extra_ops };
	struct lh_checkpoint where = { .round = 1, .samples = BATCH, .shared = true };
	struct lh_checkpoint_of whose = of(writes ? donor : joiner);
	extras = n;
	whose.strategy = n ? &strategy : NULL;
	*err = (struct lh_err)LH_ERR_INIT;
	return writes ? lh_checkpoint_write(&whose, &where, err) : lh_checkpoint_read(path, take, &whose, &where, err);
}

/* What one of the two has and the other lacks, or has otherwise, is named; what another peer held back is added. */
static void test_strategys_own(void)
{
	struct lh_err err;
	open_both(false);
	open_dir();
	extra_kind = LH_STATE_HELD;
	for (int i = 0; i < 4; i++)
		extra[i] = (float)i;
	CU_ASSERT_EQUAL_FATAL(with_extra(true, 4, LH_TAKE_ALL, &err), 0);
	CU_ASSERT_EQUAL(lh_checkpoint_newest(&config, path, NULL), 0);
	CU_ASSERT_EQUAL(with_extra(false, 0, LH_TAKE_ALL, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "this run has no use for its tensor extra"));
	CU_ASSERT_EQUAL(with_extra(false, 3, LH_TAKE_ALL, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "its tensor extra is "));
	for (int i = 0; i < 4; i++)
		extra[i] = 10;
	CU_ASSERT_EQUAL(with_extra(false, 4, LH_TAKE_HELD, &err), 0);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(extra[i], (float)(10 + i));
	CU_ASSERT_EQUAL(with_extra(false, 4, LH_TAKE_ALL, &err), 0);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(extra[i], (float)i);
	CU_ASSERT_EQUAL(with_extra(true, 0, LH_TAKE_ALL, &err), 0);
	CU_ASSERT_EQUAL(with_extra(false, 4, LH_TAKE_ALL, &err), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "it has no tensor extra"));
	close_dir();
	close_both();
}

/* No room: one error, and what was there is whole. */
static void test_full(void)
{
	struct lh_checkpoint c;
	struct lh_err err = LH_ERR_INIT;
	uint64_t bytes = 0;
	struct rlimit was, small = { .rlim_cur = 100000 };
	open_both(false);
	open_dir();
	CU_ASSERT_EQUAL_FATAL(save(1, &bytes, NULL), 0);
	signal(SIGXFSZ, SIG_IGN); /* then write says EFBIG, as a full disk says ENOSPC */
	getrlimit(RLIMIT_FSIZE, &was);
	small.rlim_max = was.rlim_max;
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	CU_ASSERT_EQUAL(save(2, &bytes, &err), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &was);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_MACHINE);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "those before it are whole"));
	CU_ASSERT_EQUAL(count_files(), 1);
	CU_ASSERT_EQUAL(lh_checkpoint_newest(&config, path, NULL), 0);
	CU_ASSERT_EQUAL(load(&c, NULL), 0);
	CU_ASSERT_EQUAL(c.round, 1);
	check_same();
	close_dir();
	close_both();
}

static const struct lh_test tests[] = {
	{ "transfer", test_transfer, 0 },
	{ "transfer_refusals", test_transfer_refusals, 0 },
	{ "checkpoint", test_checkpoint, 0 },
	{ "torn", test_torn, 0 },
	{ "foreign", test_foreign, 0 },
	{ "a strategy's own", test_strategys_own, 0 },
	{ "full", test_full, LH_TEST_FORK },
};

int main(int argc, char **argv)
{
	return lh_test_main(argc, argv, "state", tests, sizeof tests / sizeof *tests);
}
