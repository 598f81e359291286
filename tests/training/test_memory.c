/* The memory plan: it says what processes really take, and the microbatch that it chooses is the largest that fits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "lhtest.h"
#include "memory.h"

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#else
enum { SANITIZED = 0 };
#endif

static struct lh_peer_endpoint endpoints[4] = {
	{ "a-0", "127.0.0.1", 1, .samples_per_s = 30 }, { "a-1", "127.0.0.1", 2, .samples_per_s = 10 },
	{ "a-2", "127.0.0.1", 3, .samples_per_s = 10 }, { "a-3", "127.0.0.1", 4, .samples_per_s = 10 },
};

static struct lh_peer_config config_of(const char *model, unsigned size)
{
	struct lh_peer_config c = { .protocol = LH_PEER_PROTOCOL, .size = size, .peers = endpoints, .wire = LH_WIRE_FP16,
				    .target_batch = 256, .microbatch = 2, .epochs = 1, .learning_rate = 0.01, .seed = 1,
				    .sync = { .every = 1, .fragments = 1, .staleness = 1 } };
	snprintf(c.model, sizeof c.model, "%s", model);
	snprintf(c.data_dir, sizeof c.data_dir, "%s", lh_test_path("../trainer/data/files"));
	return c;
}

static void test_parts(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_memory_need n, two;
	struct lh_peer_config c = config_of("resnet18", 4);
	const uint64_t vector = UINT64_C(11689512) * 4;
	CU_ASSERT_EQUAL(lh_memory_need(&c, &lh_backend_cpu, 1, &n, &err), 0);
	CU_ASSERT(n.weights >= vector && n.weights < vector + vector / 100);
	CU_ASSERT_EQUAL(n.gradients, vector);
	CU_ASSERT_EQUAL(n.optimizer, 2 * vector);
	CU_ASSERT_EQUAL(n.data, 2 * (224 * 224 * 3 + 1) * 4);
	CU_ASSERT_EQUAL(n.host, n.weights + n.gradients + n.optimizer + n.activations + n.data + n.exchange + n.program);
	CU_ASSERT_EQUAL(lh_memory_need(&c, &lh_backend_cpu, 2, &two, &err), 0);
	CU_ASSERT(two.activations > n.activations + n.activations / 2 && two.activations <= 2 * n.activations);
	c.sync.optimizer = LH_OPTIMIZER_SGD;
	CU_ASSERT_EQUAL(lh_memory_need(&c, &lh_backend_cpu, 1, &two, &err), 0);
	CU_ASSERT_EQUAL(two.optimizer, 0);
	c.sync.strategy = LH_STRATEGY_DILOCO;
	c.codec.error_feedback = true;
	CU_ASSERT_EQUAL(lh_memory_need(&c, &lh_backend_cpu, 1, &two, &err), 0);
	CU_ASSERT_EQUAL(two.exchange, n.exchange + 5 * vector);
	c = config_of("no-such-model", 1);
	CU_ASSERT(lh_memory_need(&c, &lh_backend_cpu, 1, &n, &err) < 0);
	CU_ASSERT_EQUAL(err.exit, LH_EXIT_INPUT);
}

static void test_choice(void)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_memory_need n, more;
	struct lh_peer_config c = config_of("resnet18", 4);
	size_t got = 0;
	for (size_t want = 1; want <= 64; want *= 2) {
		CU_ASSERT_EQUAL(lh_memory_need(&c, &lh_backend_cpu, want, &more, &err), 0);
		const uint64_t just = (uint64_t)((double)(4 * more.host) / LH_MEMORY_FILL) + 2;
		CU_ASSERT(lh_memory_fits(&c, &more, just, 0, true));
		CU_ASSERT(!lh_memory_fits(&c, &more, just - 16, 0, true));
		CU_ASSERT_EQUAL(lh_memory_microbatch(&c, &lh_backend_cpu, just, 0, &got, &n, &err), 0);
		CU_ASSERT_EQUAL(got, want);
		CU_ASSERT_EQUAL(n.host, more.host);
	}
	/* One sample that does not fit is told as such, and a share bounds the choice: 15 of 30 go to the fastest. */
	CU_ASSERT_EQUAL(lh_memory_microbatch(&c, &lh_backend_cpu, 1000, 0, &got, &n, &err), 0);
	CU_ASSERT_EQUAL(got, 1);
	CU_ASSERT(!lh_memory_fits(&c, &n, 1000, 0, true));
	c.target_batch = 30;
	CU_ASSERT_EQUAL(lh_memory_microbatch(&c, &lh_backend_cpu, UINT64_C(1) << 40, 0, &got, &n, &err), 0);
	CU_ASSERT_EQUAL(got, 8);
	/* A device of its own: its memory counts, and the host's too. */
	CU_ASSERT(!lh_memory_fits(&c, &n, UINT64_C(1) << 40, 1000, false));
	CU_ASSERT(!lh_memory_fits(&c, &n, 1000, UINT64_C(1) << 40, false));
	CU_ASSERT(lh_memory_fits(&c, &n, UINT64_C(1) << 40, UINT64_C(1) << 40, false));
	CU_ASSERT(lh_memory_fits(&c, &n, UINT64_C(1) << 40, 1000, true)); /* nobody asks for any of that */
}

static uint64_t resident_peak(void)
{
	char line[128];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

/* A step and an update of the real engine: no more than planned, and a plan that is not far above. */
static void takes(const char *model, double at_least)
{
	struct lh_err err = LH_ERR_INIT;
	struct lh_memory_need n;
	struct lh_peer_config c = config_of(model, 1);
	struct lh_engine_state *s = NULL;
	const struct lh_engine_ops *ops = lh_engine_of(&c);
	const uint64_t ids[2] = { 0, 1 }, before = resident_peak();
	double loss = 0;
	CU_ASSERT_EQUAL(lh_memory_need(&c, &lh_backend_cpu, 2, &n, &err), 0);
	int rc = ops->open(&c, &s, &err);
	if (rc)
		printf("# %s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_EQUAL(ops->step(s, ids, 2, &loss, &err), 0);
	CU_ASSERT_EQUAL(ops->update(s, 2, &err), 0);
	const uint64_t took = resident_peak() - before;
	ops->close(s);
	printf("# %s: planned %.1f MB, took %.1f MB\n", model, (double)n.host / 1e6, (double)took / 1e6);
	CU_ASSERT(SANITIZED || took <= n.host);
	CU_ASSERT((double)took >= at_least * (double)(n.host - n.program));
}

static void test_resnet(void) { takes("resnet18", 0.85); }
static void test_lab(void) { takes("whisper-lab", 0); }
static void test_digits(void) { takes("digits", 0); }
static void test_text(void) { takes("text", 0); }

int main(int argc, char **argv)
{
	static const struct lh_test tests[] = {
		{ "what it consists of", test_parts, 0 },
		{ "the largest microbatch that fits", test_choice, 0 },
		{ "resnet18 takes what was planned", test_resnet, LH_TEST_FORK },
		{ "whisper-lab too", test_lab, LH_TEST_FORK },
		{ "digits too", test_digits, LH_TEST_FORK },
		{ "text too", test_text, LH_TEST_FORK },
	};
	return lh_test_main(argc, argv, "memory", tests, sizeof tests / sizeof *tests);
}
