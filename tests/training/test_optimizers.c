/* 120 updates of each optimiser against torch.optim in double, and LAMB against its paper: tests/reference/optimizers.txt
 * and the script that made it. Built twice: in double, where nothing but rounding may differ, and in fp32 as training
 * runs it. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"
#include "opcase.h"
#include "optim/optimizer.h"

#define IN_DOUBLE (sizeof(lh_optim_real) == sizeof(double))
/* Of a tensor's length. In fp32 what rounding leaves after 120 updates that feed back. */
#define BOUND (IN_DOUBLE ? 1e-12 : 1e-5)

enum { TENSORS = 3, MATRIX = 77, BIAS = 11, ZEROS = 15, ALL = MATRIX + BIAS + ZEROS, LINE = 256 };

static const struct {
	const char *name;
	size_t count;
	bool decay;
	double scale, size;
} tensors[TENSORS] = {
	{ "matrix", MATRIX, true, 1, 1 }, { "bias", BIAS, false, 10, 0.1 }, { "zeros", ZEROS, true, 0.01, 0 },
};

struct model {
	struct lh_optim optim;
	struct lh_optim_tensor table[TENSORS];
	lh_optim_real params[ALL], grads[ALL], state[LH_OPTIM_SLOTS_MAX * ALL];
	uint64_t updates;
};

static void begin(struct model *m)
{
	size_t at = 0;
	memset(m->state, 0, sizeof m->state);
	m->updates = 0;
	for (size_t k = 0; k < TENSORS; k++) {
		const uint64_t stream = lh_stream_of(tensors[k].name, "p");
		m->table[k] = (struct lh_optim_tensor){ at, tensors[k].count, tensors[k].decay, false };
		for (size_t i = 0; i < tensors[k].count; i++)
			m->params[at++] = (lh_optim_real)(tensors[k].size * lh_unit(stream, i));
	}
}

/* The sum over `samples`, as it comes from a group of peers. */
static void update(struct model *m, unsigned samples)
{
	char what[16];
	size_t at = 0;
	snprintf(what, sizeof what, "g%u", (unsigned)++m->updates);
	for (size_t k = 0; k < TENSORS; k++) {
		const uint64_t stream = lh_stream_of(tensors[k].name, what);
		for (size_t i = 0; i < tensors[k].count; i++, at++)
			m->grads[at] = (lh_optim_real)(samples * (0.3 * (double)m->params[at] + tensors[k].scale * lh_unit(stream, i)));
	}
	lh_optim_run(&m->optim, m->updates, 1.0 / samples, m->table, TENSORS, ALL, m->params, m->grads, m->state, NULL);
}

static double distance(const struct model *m, size_t k, double norm, const double element[4])
{
	const size_t n = m->table[k].count, at[] = { 0, n / 3, n / 2, n - 1 };
	const lh_optim_real *p = m->params + m->table[k].offset;
	double worst = fabs(sqrt(lh_optim_square_sum(n, p)) - norm);
	for (unsigned i = 0; i < 4; i++)
		worst = fmax(worst, fabs((double)p[at[i]] - element[i]));
	return worst / norm;
}

static void read_case(const char *line, struct model *m)
{
	char kind[16];
	int nesterov, all;
	struct lh_optim_options *o = &m->optim.o;
	*o = (struct lh_optim_options){ .given = true };
	all = sscanf(line, "case %15s %lf %lf %d %lf %lf %lf %lf %u %u %lf %lf", kind, &m->optim.rate, &o->momentum, &nesterov,
		     &o->beta1, &o->beta2, &o->epsilon, &o->weight_decay, &o->warmup_updates, &o->total_updates, &o->floor,
		     &o->clip_norm);
	CU_ASSERT_EQUAL_FATAL(all, 12);
	o->nesterov = nesterov;
	o->schedule = o->total_updates ? LH_SCHEDULE_COSINE : LH_SCHEDULE_CONSTANT;
	for (int i = 0; lh_optimizer_names[i]; i++)
		if (!strcmp(lh_optimizer_names[i], kind))
			m->optim.kind = (enum lh_optimizer)i;
	CU_ASSERT_EQUAL(lh_optim_check(m->optim.kind, o, NULL), 0);
}

static void against_references(void)
{
	FILE *f = fopen(lh_test_path("reference/optimizers.txt"), "re");
	char line[LINE], name[16], told[LINE] = "";
	static struct model m;
	double norm, element[4], worst = 0;
	unsigned t, cases = 0, compared = 0;
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof line, f)) {
		if (*line == '#')
			continue;
		if (!strncmp(line, "case ", 5)) {
			read_case(line, &m);
			begin(&m);
			snprintf(told, sizeof told, "%.*s", (int)strcspn(line, "\n"), line);
			cases++;
			continue;
		}
		int all = sscanf(line, "%u %15s %lf %lf %lf %lf %lf", &t, name, &norm, &element[0], &element[1], &element[2],
				 &element[3]);
		CU_ASSERT_EQUAL_FATAL(all, 7);
		while (m.updates < t)
			update(&m, 1 + cases % 2 * 63);
		for (size_t k = 0; k < TENSORS; k++) {
			if (strcmp(tensors[k].name, name))
				continue;
			const double off = distance(&m, k, norm, element);
			if (!(off < BOUND))
				printf("# %s: update %u, %s off by %.3g of %.3g\n", told, t, name, off, norm);
			CU_ASSERT_TRUE(off < BOUND);
			worst = fmax(worst, off);
			compared++;
		}
	}
	fclose(f);
	printf("# %u cases, %u tensors, worst %.3g of a length, bound %.3g\n", cases, compared, worst, BOUND);
	CU_ASSERT_EQUAL(cases, 9);
	CU_ASSERT_EQUAL(compared, 9 * 6 * TENSORS);
}

int main(int argc, char **argv)
{
	static const struct lh_test all[] = {
		{ "against_references", against_references, 0 },
	};
	return lh_test_main(argc, argv, IN_DOUBLE ? "optimizers_f64" : "optimizers_f32", all, 1);
}
