/* source_bench: how many samples a second one thread makes, for each set at the study's full sizes. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "data/source.h"
#include "lhtest.h"
#include "model/zoo.h"

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int measure(const char *spec, enum lh_data data)
{
	struct lh_zoo_model m;
	struct lh_source *s = NULL;
	struct lh_err err = LH_ERR_INIT;
	bool drop;
	if (lh_zoo_find(spec, &m, &drop, &err))
		return printf("%s\n", err.text);
	const struct lh_input_shape shape = lh_zoo_input(&m);
	if (lh_source_open(&shape, data, lh_test_path("../trainer/data/files"), 1, spec, &s, &err))
		return printf("%s\n", err.text);
	char *in = malloc(s->input_bytes), *out = malloc(s->target_bytes), *scratch = malloc(s->scratch_bytes + 1);
	double best = 0;
	uint64_t id = 0;
	for (unsigned round = 0; round < 5 && in && out && scratch; round++) {
		const double begin = now_s();
		double took = 0;
		unsigned n = 0;
		for (; took < 0.3; took = now_s() - begin, n++)
			lh_source_sample(s, false, id++, in, out, scratch);
		best = n / took > best ? n / took : best;
	}
	printf("%-16s %-10s %9zu bytes  %9.0f samples/s\n", spec, lh_data_names[data], s->input_bytes + s->target_bytes, best);
	free(in);
	free(out);
	free(scratch);
	lh_source_close(s);
	return 0;
}

int main(void)
{
	static const struct { const char *spec; enum lh_data data; } sets[] = {
		{ "resnet18", LH_DATA_SYNTHETIC }, { "resnet18", LH_DATA_DIGITS }, { "roberta-base", LH_DATA_SYNTHETIC },
		{ "roberta-base", LH_DATA_TEXT }, { "xlm-roberta-large", LH_DATA_SYNTHETIC }, { "whisper-tiny", LH_DATA_SYNTHETIC },
		{ "whisper-tiny", LH_DATA_TONES }, { "resnet-lab", LH_DATA_DIGITS }, { "whisper-lab", LH_DATA_TONES },
	};
	for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++)
		if (measure(sets[i].spec, sets[i].data))
			return 1;
	return 0;
}
