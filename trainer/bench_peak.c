#include "bench_peak.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "longhaul/units.h"

/* A core's product is as large as its caches like it; a device's grows until it takes LEAST_S. */
enum { SIDE = 768, SIDE_DEVICE = 1024, SIDE_MOST = 8192, CHAIN_DEVICE = 10, RUNS = 4 };
#define LEAST_S 1e-3

static int set_side(struct lh_bench_peak *p, size_t n, struct lh_err *err)
{
	const size_t matrix = n * n * p->ops->activation_bytes;
	float *host = malloc(n * n * sizeof *host);
	int rc = host ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "bench-train");
	if (p->memory)
		p->ops->release(p->backend, p->memory);
	p->memory = NULL;
	if (!rc)
		rc = p->ops->alloc(p->backend, 3 * matrix, &p->memory, err);
	for (size_t i = 0; !rc && i < n * n; i++)
		host[i] = (float)(i % 7) - 3;
	for (size_t k = 0; !rc && k < 2; k++)
		rc = p->ops->put_reals(p->backend, (char *)p->memory + k * matrix, host, n * n, err);
	free(host);
	if (rc)
		return rc;
	/* The products of narrow activations read a narrow copy of the parameter, never the parameter itself. */
	const void *w = (char *)p->memory + matrix;
	p->side = n;
	p->node = (struct lh_node){ .op = LH_OP_LINEAR, .inputs = 1, .params = 2, .param = { 0, -1 }, .x = { { 1, n, n } },
				    .y = { 1, n, n } };
	p->run = (struct lh_op_run){ .node = &p->node, .n = 1, .training = true, .x = { p->memory }, .param = { w },
				     .copy = { w }, .y = (char *)p->memory + 2 * matrix };
	return 0;
}

int lh_bench_peak_open(const struct lh_backend_ops *ops, struct lh_backend *backend, struct lh_bench_peak *p, struct lh_err *err)
{
	*p = (struct lh_bench_peak){ .ops = ops, .backend = backend };
	return set_side(p, ops->host_memory ? SIDE : SIDE_DEVICE, err);
}

/* The best of a few: the first may load code. */
static int best_rate(struct lh_bench_peak *p, double *ret, struct lh_err *err)
{
	const double n = (double)p->side;
	const int chain = p->ops->host_memory ? 1 : CHAIN_DEVICE;
	float last = 0;
	*ret = 0;
	for (int i = 0; i < RUNS; i++) {
		const lh_ns begin = lh_clock_ns();
		int rc = 0;
		for (int k = 0; k < chain && !rc; k++)
			rc = p->ops->op[LH_OP_LINEAR]->forward(p->backend, &p->run, err);
		if (!rc) /* waits for it */
			rc = p->ops->get_reals(p->backend, &last, p->run.y, 1, err);
		if (rc)
			return rc;
		const double rate = chain * 2 * n * n * n * (double)LH_NS_PER_S / (double)(lh_clock_ns() - begin);
		*ret = rate > *ret ? rate : *ret;
	}
	return 0;
}

int lh_bench_peak_measure(struct lh_bench_peak *p, double *ret_now, struct lh_err *err)
{
	int rc = best_rate(p, ret_now, err);
	while (!rc && !p->ops->host_memory && p->side < SIDE_MOST && 2 * pow((double)p->side, 3) < *ret_now * LEAST_S) {
		rc = set_side(p, 2 * p->side, err);
		if (!rc)
			rc = best_rate(p, ret_now, err);
	}
	p->best = *ret_now > p->best ? *ret_now : p->best;
	return rc;
}

void lh_bench_peak_close(struct lh_bench_peak *p)
{
	if (p->memory)
		p->ops->release(p->backend, p->memory);
	*p = (struct lh_bench_peak){ .best = 0 };
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double lh_bench_median(double *x, size_t n)
{
	qsort(x, n, sizeof *x, by_value);
	return x[n / 2];
}
