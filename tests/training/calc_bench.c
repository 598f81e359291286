/* calc_bench - how fast the cpu engine calculates here, and how far a number of rounds gets it; no test.
 *
 *     calc_bench MODEL                              samples/s at microbatch 8, median of 7 runs of about 0.3 s
 *     calc_bench MODEL LR TARGET_BATCH ROUNDS [SEED]  learning curve of one process
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "lhtest.h"

static const struct lh_engine_ops *E = &lh_engine_cpu;

static void die(const struct lh_err *err)
{
	fprintf(stderr, "calc_bench: %s\n", err->text);
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

enum { MICROBATCH = 8 };

static void speed(struct lh_engine_state *s, const char *model)
{
	enum { RUNS = 7 };
	struct lh_err err = LH_ERR_INIT;
	double rate[RUNS];
	uint64_t id = 0;
	for (int run = -1; run < RUNS; run++) { /* the first is warm-up */
		const lh_ns begin = lh_clock_ns();
		lh_ns end = begin;
		uint64_t samples = 0;
		for (double loss = 0; end - begin < 300 * LH_NS_PER_MS; end = lh_clock_ns()) {
			uint64_t ids[MICROBATCH];
			for (int i = 0; i < MICROBATCH; i++)
				ids[i] = id++;
			if (E->step(s, ids, MICROBATCH, &loss, &err))
				die(&err);
			samples += MICROBATCH;
		}
		if (run >= 0)
			rate[run] = (double)samples / ((double)(end - begin) / (double)LH_NS_PER_S);
	}
	qsort(rate, RUNS, sizeof *rate, by_value);
	const lh_ns begin = lh_clock_ns();
	for (int i = 0; i < 20; i++)
		if (E->update(s, 8, &err))
			die(&err);
	double update_s = (double)(lh_clock_ns() - begin) / 20 / (double)LH_NS_PER_S;
	printf("%s: %llu parameters, %.0f samples/s (%.0f ... %.0f), microbatch of 8 in %.2f ms, update %.2f ms\n",
	       model, (unsigned long long)E->parameters(s), rate[RUNS / 2], rate[0], rate[RUNS - 1],
	       8e3 / rate[RUNS / 2], update_s * 1e3);
}

static void learn(struct lh_engine_state *s, uint64_t target_batch, unsigned rounds)
{
	struct lh_err err = LH_ERR_INIT;
	char metric[32];
	double value, reference;
	uint64_t id = 0;
	for (unsigned round = 1; round <= rounds; round++) {
		double loss = 0;
		for (uint64_t i = 0; i < target_batch; i += MICROBATCH) {
			uint64_t ids[MICROBATCH];
			const size_t n = target_batch - i < MICROBATCH ? (size_t)(target_batch - i) : MICROBATCH;
			for (size_t k = 0; k < n; k++)
				ids[k] = id++;
			if (E->step(s, ids, n, &loss, &err))
				die(&err);
		}
		if (E->update(s, target_batch, &err) || E->evaluate(s, metric, &value, &reference, &err))
			die(&err);
		printf("round %3u: loss %.4f, %s %.4f (reference %.4f)\n", round, loss / (double)target_batch, metric,
		       value, reference);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 5 && argc != 6)
		return fprintf(stderr, "usage: calc_bench MODEL [LR TARGET_BATCH ROUNDS [SEED]]\n"), 2;
	struct lh_err err = LH_ERR_INIT;
	struct lh_peer_config c = { .learning_rate = argc > 2 ? atof(argv[2]) : 1e-3, .microbatch = 8,
				    .epochs = argc > 2 ? (uint32_t)atoi(argv[4]) : 0,
				    .seed = argc == 6 ? strtoull(argv[5], NULL, 0) : 1 };
	snprintf(c.model, sizeof c.model, "%s", argv[1]);
	snprintf(c.data_dir, sizeof c.data_dir, "%s", lh_test_path("../trainer/data/files"));
	struct lh_engine_state *s;
	if (E->open(&c, &s, &err))
		die(&err);
	if (argc == 2)
		speed(s, c.model);
	else
		learn(s, strtoull(argv[3], NULL, 0), (unsigned)atoi(argv[4]));
	E->close(s);
	return 0;
}
