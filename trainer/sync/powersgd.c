#include "powersgd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/feedback.h"
#include "comm/mux.h"
#include "hash.h"

/* A column is dropped when less than this is left of its length after the columns before it were taken out: what
 * then is left is mostly rounding. */
#define DEPENDENT 1e-5

struct run { /* a tensor */
	uint64_t offset, rows, cols; /* in the vector */
	unsigned columns;            /* of its factors; 0: travels as it is */
	uint64_t p, q;               /* where its factors are, or `p` where it is in the first vector */
};

struct lh_powersgd {
	struct lh_powersgd_config c;
	struct lh_mux *mux;
	struct lh_allreduce *first, *second;
	struct run *runs;
	size_t nruns;
	uint64_t nfirst, nsecond, np; /* elements that travel; np of the first are factors, the rest follows as it is */
	float *p;          /* [np] own product, then the sum, then orthonormal */
	float *q, *own_q;  /* [nsecond] warm: the last sum; own product */
	float *residual;   /* [n]; of compressed tensors: numbers + residual while an exchange is under way */
	double *wide;      /* largest factor */
	float *row;        /* largest row */
	uint32_t number, skipped;
	uint64_t waiting;  /* elements of the all-reduce under way that were not written yet */
	bool finished;
};

/* ---- arithmetic; matrices are row after row ---- */

/* p = m q */
static void multiply(const struct run *t, const float *m, const float *q, float *p)
{
	const unsigned r = t->columns;
	double sum[LH_POWERSGD_RANK_MAX];
	for (uint64_t i = 0; i < t->rows; i++, m += t->cols, p += r) {
		memset(sum, 0, r * sizeof *sum);
		for (uint64_t k = 0; k < t->cols; k++)
			for (unsigned c = 0; c < r; c++)
				sum[c] += (double)m[k] * (double)q[k * r + c];
		for (unsigned c = 0; c < r; c++)
			p[c] = (float)sum[c];
	}
}

/* q = m^T p */
static void multiply_transposed(const struct run *t, const float *m, const float *p, float *q, double *wide)
{
	const unsigned r = t->columns;
	memset(wide, 0, t->cols * r * sizeof *wide);
	for (uint64_t i = 0; i < t->rows; i++, m += t->cols, p += r)
		for (uint64_t k = 0; k < t->cols; k++)
			for (unsigned c = 0; c < r; c++)
				wide[k * r + c] += (double)m[k] * (double)p[c];
	for (uint64_t k = 0; k < t->cols * r; k++)
		q[k] = (float)wide[k];
}

/* One row of p q^T. */
static void product_row(const struct run *t, const float *p, const float *q, float *row)
{
	const unsigned r = t->columns;
	for (uint64_t k = 0; k < t->cols; k++) {
		double sum = 0;
		for (unsigned c = 0; c < r; c++)
			sum += (double)p[c] * (double)q[k * r + c];
		row[k] = (float)sum;
	}
}

static double dot(const double *a, const double *b, uint64_t rows, unsigned r)
{
	double sum = 0;
	for (uint64_t i = 0; i < rows; i++)
		sum += a[i * r] * b[i * r];
	return sum;
}

/* Gram-Schmidt, each column twice: the second time takes out what rounding left of the others in a column of which
 * little remained. Columns that depend on others become 0. */
static void orthonormalise(const struct run *t, float *p, double *wide)
{
	const unsigned r = t->columns;
	for (uint64_t i = 0; i < t->rows * r; i++)
		wide[i] = (double)p[i];
	for (unsigned c = 0; c < r; c++) {
		double before = sqrt(dot(wide + c, wide + c, t->rows, r));
		for (unsigned twice = 0; twice < 2; twice++)
			for (unsigned other = 0; other < c; other++) {
				double along = dot(wide + c, wide + other, t->rows, r);
				for (uint64_t i = 0; i < t->rows; i++)
					wide[i * r + c] -= along * wide[i * r + other];
			}
		double left = sqrt(dot(wide + c, wide + c, t->rows, r));
		double by = left > before * DEPENDENT ? 1 / left : 0;
		for (uint64_t i = 0; i < t->rows; i++)
			wide[i * r + c] *= by;
	}
	for (uint64_t i = 0; i < t->rows * r; i++)
		p[i] = (float)wide[i];
}

/* Numbers in -1 ... 1 that all peers draw alike. */
static float drawn(const struct lh_powersgd *g, uint64_t at)
{
	uint64_t stream = lh_mix64(g->c.seed ^ lh_mix64(0x506f776572534744u + g->number));
	return (float)(int64_t)lh_mix64(stream + (at + 1) * LH_MIX64_STEP) * 0x1p-63f;
}

/* A column of zeros would stay one for ever. */
static void renew_columns(struct lh_powersgd *g, const struct run *t)
{
	const unsigned r = t->columns;
	for (unsigned c = 0; c < r; c++) {
		bool dead = true;
		for (uint64_t k = 0; dead && k < t->cols; k++)
			dead = g->q[t->q + k * r + c] == 0;
		for (uint64_t k = 0; dead && k < t->cols; k++)
			g->q[t->q + k * r + c] = drawn(g, t->q + k * r + c);
	}
}

/* ---- second all-reduce ---- */

/* What the sum is taken to be, and what of our own numbers is not in it. */
static int finish_tensor(struct lh_powersgd *g, const struct run *t, struct lh_err *err)
{
	float *m = g->residual + t->offset;
	const float *p = g->p + t->p;
	int rc = 0;
	for (uint64_t i = 0; !rc && i < t->rows; i++, m += t->cols, p += t->columns) {
		product_row(t, p, g->own_q + t->q, g->row);
		for (uint64_t k = 0; k < t->cols; k++)
			m[k] -= g->row[k];
		product_row(t, p, g->q + t->q, g->row);
		rc = g->c.write(g->c.ctx, t->offset + i * t->cols, t->cols, g->row, err);
	}
	renew_columns(g, t);
	return rc;
}

static int finish(struct lh_powersgd *g, struct lh_err *err)
{
	int rc = 0;
	for (size_t i = 0; !rc && i < g->nruns; i++)
		if (g->runs[i].columns)
			rc = finish_tensor(g, &g->runs[i], err);
	g->finished = true;
	return rc;
}

static int read_second(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	memcpy(dst, ((struct lh_powersgd *)ctx)->own_q + offset, n * sizeof *dst);
	return 0;
}

static int write_second(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	struct lh_powersgd *g = ctx;
	memcpy(g->q + offset, src, n * sizeof *src);
	g->waiting -= n;
	return g->waiting ? 0 : finish(g, err);
}

/* ---- first all-reduce ---- */

/* The first all-reduce's last part is here, though others may still need parts of it from us. Whoever gets those begins
 * the second one only then, so nobody can be in the next exchange before this peer has passed everything on. */
static int begin_second(struct lh_powersgd *g, struct lh_err *err)
{
	for (size_t i = 0; i < g->nruns; i++) {
		const struct run *t = &g->runs[i];
		if (!t->columns)
			continue;
		orthonormalise(t, g->p + t->p, g->wide);
		multiply_transposed(t, g->residual + t->offset, g->p + t->p, g->own_q + t->q, g->wide);
	}
	g->waiting = g->nsecond;
	int rc = lh_allreduce_start(g->second, 2 * g->number, err);
	return rc || g->nsecond ? rc : finish(g, err);
}

/* A piece of the first vector that is not factors, to or from where it is in the peer's own. */
static int plain(struct lh_powersgd *g, uint64_t at, size_t n, float *dst, const float *src, struct lh_err *err)
{
	int rc = 0;
	for (size_t i = 0; !rc && n && i < g->nruns; i++) {
		const struct run *t = &g->runs[i];
		uint64_t length = t->rows * t->cols;
		if (t->columns || at < t->p || at >= t->p + length)
			continue;
		size_t now = t->p + length - at < n ? (size_t)(t->p + length - at) : n;
		rc = dst ? g->c.read(g->c.ctx, t->offset + (at - t->p), now, dst, err) :
			   g->c.write(g->c.ctx, t->offset + (at - t->p), now, src, err);
		dst = dst ? dst + now : NULL;
		src = src ? src + now : NULL;
		at += now;
		n -= now;
	}
	return rc;
}

static int read_first(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err)
{
	struct lh_powersgd *g = ctx;
	size_t factors = offset >= g->np ? 0 : g->np - offset < n ? (size_t)(g->np - offset) : n;
	if (factors)
		memcpy(dst, g->p + offset, factors * sizeof *dst);
	return plain(g, offset + factors, n - factors, dst + factors, NULL, err);
}

static int write_first(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err)
{
	struct lh_powersgd *g = ctx;
	size_t factors = offset >= g->np ? 0 : g->np - offset < n ? (size_t)(g->np - offset) : n;
	if (factors)
		memcpy(g->p + offset, src, factors * sizeof *src);
	int rc = plain(g, offset + factors, n - factors, NULL, src + factors, err);
	g->waiting -= n;
	return rc || g->waiting ? rc : begin_second(g, err);
}

/* Numbers of this exchange onto the residual; their product with Q. */
static int begin_tensor(struct lh_powersgd *g, const struct run *t, struct lh_err *err)
{
	float *m = g->residual + t->offset;
	int rc = 0;
	for (uint64_t i = 0; !rc && i < t->rows; i++, m += t->cols) {
		rc = g->c.read(g->c.ctx, t->offset + i * t->cols, t->cols, g->row, err);
		for (uint64_t k = 0; !rc && k < t->cols; k++)
			m[k] += g->row[k];
	}
	if (!rc)
		multiply(t, g->residual + t->offset, g->q + t->q, g->p + t->p);
	return rc;
}

int lh_powersgd_start(struct lh_powersgd *g, uint32_t number, struct lh_err *err)
{
	if (number != g->number + 1 || !(g->number == g->skipped || lh_powersgd_done(g)))
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "exchange %u cannot begin after exchange %u", number,
				  g->number);
	int rc = 0;
	for (size_t i = 0; !rc && i < g->nruns; i++)
		if (g->runs[i].columns)
			rc = begin_tensor(g, &g->runs[i], err);
	if (rc)
		return rc;
	g->number = number;
	g->finished = false;
	g->waiting = g->nfirst;
	rc = lh_allreduce_start(g->first, 2 * number - 1, err);
	return rc || g->nfirst ? rc : begin_second(g, err);
}

bool lh_powersgd_done(const struct lh_powersgd *g)
{
	return g->finished && lh_allreduce_done(g->first) && lh_allreduce_done(g->second);
}

uint64_t lh_powersgd_bytes(const struct lh_powersgd *g)
{
	return lh_allreduce_bytes(g->first) + lh_allreduce_bytes(g->second);
}

void lh_powersgd_lengths(const struct lh_powersgd *g, uint64_t *ret_first, uint64_t *ret_second)
{
	*ret_first = g->nfirst;
	*ret_second = g->nsecond;
}

void lh_powersgd_kept(struct lh_powersgd *g, float **ret_residual, uint64_t *ret_n, float **ret_factors,
		      uint64_t *ret_nfactors)
{
	*ret_residual = g->residual;
	*ret_n = g->c.n;
	*ret_factors = g->q;
	*ret_nfactors = g->nsecond;
}

void lh_powersgd_skip(struct lh_powersgd *g, uint32_t number)
{
	g->number = g->skipped = number;
	lh_allreduce_skip(g->first, 2 * number);
	lh_allreduce_skip(g->second, 2 * number);
}

const float *lh_powersgd_residual(const struct lh_powersgd *g)
{
	return g->residual;
}

void lh_powersgd_mass(const struct lh_powersgd *g, double *ret_l1, double *ret_l2)
{
	lh_residual_mass(g->residual, g->c.n, ret_l1, ret_l2);
}

/* ---- life ---- */

/* Of its factors; 0: it travels as it is. */
static unsigned columns_of(const struct lh_tensor *x, unsigned columns, bool always)
{
	uint64_t r = columns < x->rows ? columns : x->rows;
	r = r < x->cols ? r : x->cols;
	if (x->rows == 1 || x->cols == 1)
		return 0;
	return r * (x->rows + x->cols) < x->rows * x->cols / 2 || always ? (unsigned)r : 0;
}

void lh_powersgd_count(const struct lh_tensor *tensors, size_t ntensors, unsigned columns, uint64_t *ret_first,
		       uint64_t *ret_second)
{
	*ret_first = *ret_second = 0;
	for (size_t i = 0; i < ntensors; i++) {
		const struct lh_tensor *x = &tensors[i];
		unsigned r = columns_of(x, columns, false);
		*ret_first += r ? r * x->rows : x->rows * x->cols;
		*ret_second += r * x->cols;
	}
}

/* Where every tensor's factors are. */
static int lay_out(struct lh_powersgd *g, uint64_t *ret_widest, uint64_t *ret_row, struct lh_err *err)
{
	uint64_t at = 0;
	for (size_t i = 0; i < g->nruns; i++) {
		const struct lh_tensor *x = &g->c.tensors[i];
		struct run *t = &g->runs[i];
		if (x->offset != at || !x->rows || !x->cols || x->cols > (g->c.n - at) / x->rows)
			return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "tensor %s: %llu x %llu at %llu does not follow",
					  x->name, (unsigned long long)x->rows, (unsigned long long)x->cols,
					  (unsigned long long)x->offset);
		at += x->rows * x->cols;
		unsigned r = columns_of(x, g->c.columns, g->c.always);
		*t = (struct run){ .offset = x->offset, .rows = x->rows, .cols = x->cols };
		if (!r)
			continue;
		t->columns = r;
		t->p = g->np;
		t->q = g->nsecond;
		g->np += x->rows * r;
		g->nsecond += x->cols * r;
		*ret_widest = x->rows * r > *ret_widest ? x->rows * r : *ret_widest;
		*ret_widest = x->cols * r > *ret_widest ? x->cols * r : *ret_widest;
		*ret_row = x->cols > *ret_row ? x->cols : *ret_row;
	}
	if (at != g->c.n)
		return lh_err_set(err, LH_EXIT_BROKE, -EINVAL, "tensors of %llu elements for a vector of %llu",
				  (unsigned long long)at, (unsigned long long)g->c.n);
	g->nfirst = g->np;
	for (size_t i = 0; i < g->nruns; i++)
		if (!g->runs[i].columns) {
			g->runs[i].p = g->nfirst;
			g->nfirst += g->runs[i].rows * g->runs[i].cols;
		}
	return 0;
}

static int allocate(struct lh_powersgd *g, struct lh_err *err)
{
	uint64_t widest = 1, row = 1;
	g->nruns = g->c.ntensors;
	g->runs = calloc(g->nruns + 1, sizeof *g->runs);
	if (!g->runs)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "factors");
	int rc = lay_out(g, &widest, &row, err);
	if (rc)
		return rc;
	g->p = calloc(g->np + 1, sizeof *g->p);
	g->q = calloc(g->nsecond + 1, sizeof *g->q);
	g->own_q = calloc(g->nsecond + 1, sizeof *g->own_q);
	g->residual = calloc(g->c.n + 1, sizeof *g->residual);
	g->wide = calloc(widest, sizeof *g->wide);
	g->row = calloc(row, sizeof *g->row);
	if (!g->p || !g->q || !g->own_q || !g->residual || !g->wide || !g->row)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "factors of %llu elements",
				  (unsigned long long)g->c.n);
	for (uint64_t i = 0; i < g->nsecond; i++)
		g->q[i] = drawn(g, i);
	return 0;
}

static int connect_both(struct lh_powersgd *g, struct lh_transport *t, struct lh_err *err)
{
	struct lh_allreduce_config x = {
		.pattern = g->c.pattern, .group = g->c.group, .codec = lh_codec_find(LH_WIRE_FP32), .scale = 1,
		.rank = g->c.rank, .n = g->nfirst, .part_bytes = g->c.part_bytes, .window = g->c.window, .first = 1,
		.stride = 2, .read = read_first, .write = write_first, .ctx = g,
	};
	int rc = lh_mux_new(t, g->c.group->npeers, 2, &g->mux, err);
	if (!rc)
		rc = lh_allreduce_new(&x, lh_mux_port(g->mux, 0), &g->first, err);
	x.n = g->nsecond;
	x.first = 2;
	x.read = read_second;
	x.write = write_second;
	if (!rc)
		rc = lh_allreduce_new(&x, lh_mux_port(g->mux, 1), &g->second, err);
	return rc;
}

int lh_powersgd_new(const struct lh_powersgd_config *config, struct lh_transport *t, struct lh_powersgd **ret,
		    struct lh_err *err)
{
	if (!config->columns || config->columns > LH_POWERSGD_RANK_MAX)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "wire powersgd: rank %u is not in 1 ... %u",
				  config->columns, LH_POWERSGD_RANK_MAX);
	struct lh_powersgd *g = calloc(1, sizeof *g);
	if (!g)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "factors");
	g->c = *config;
	int rc = allocate(g, err);
	if (!rc)
		rc = connect_both(g, t, err);
	if (rc) {
		lh_powersgd_free(g);
		return rc;
	}
	*ret = g;
	return 0;
}

void lh_powersgd_free(struct lh_powersgd *g)
{
	if (!g)
		return;
	lh_allreduce_free(g->first);
	lh_allreduce_free(g->second);
	lh_mux_free(g->mux);
	free(g->runs);
	free(g->p);
	free(g->q);
	free(g->own_q);
	free(g->residual);
	free(g->wide);
	free(g->row);
	free(g);
}
