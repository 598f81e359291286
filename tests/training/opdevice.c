#include "opdevice.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhtest.h"

/* --- types, by their definition --- */

struct format {
	int digits, lowest, bias, fraction_bits; /* lowest: exponent of the smallest normal number */
	double largest;
};
static const struct format formats[LH_PRECISIONS] = {
	[LH_PRECISION_BF16] = { 8, -126, 127, 7, 0x1.fep127 },
	[LH_PRECISION_FP16] = { 11, -14, 15, 10, 65504 },
};

size_t lh_opdevice_bytes(unsigned precision) { return precision == LH_PRECISION_FP32 ? sizeof(float) : sizeof(uint16_t); }

static uint16_t encode_one(const struct format *f, float x)
{
	const uint16_t sign = signbit(x) ? 0x8000 : 0, infinite = (uint16_t)((2 * f->bias + 1) << f->fraction_bits);
	int e;
	if (isnan(x))
		return 0x7fff;
	if (isinf(x) || x == 0)
		return sign | (x == 0 ? 0 : infinite);
	frexp(fabs((double)x), &e);
	e = e - 1 < f->lowest ? f->lowest : e - 1;
	double r = nearbyint(ldexp(fabs((double)x), f->digits - 1 - e)); /* in units of the last place */
	if (ldexp(r, e - f->digits + 1) > f->largest)
		return sign | infinite;
	const double one = ldexp(1, f->digits - 1);
	if (r >= 2 * one) {
		r /= 2;
		e++;
	}
	const int exponent = r < one ? 0 : e + f->bias;
	return (uint16_t)(sign | exponent << f->fraction_bits | ((int)r & ((1 << f->fraction_bits) - 1)));
}

static float decode_one(const struct format *f, uint16_t u)
{
	const int exponent = (u & 0x7fff) >> f->fraction_bits, fraction = u & ((1 << f->fraction_bits) - 1);
	double x = ldexp(fraction, f->lowest - f->fraction_bits);
	if (exponent == 2 * f->bias + 1)
		x = fraction ? (double)NAN : (double)INFINITY;
	else if (exponent)
		x = ldexp(fraction + (1 << f->fraction_bits), exponent - f->bias - f->fraction_bits);
	return (float)(u & 0x8000 ? -x : x);
}

void lh_opdevice_encode(unsigned precision, size_t n, const float *from, void *to)
{
	if (precision == LH_PRECISION_FP32)
		memcpy(to, from, n * sizeof *from);
	for (size_t i = 0; i < n && precision != LH_PRECISION_FP32; i++)
		((uint16_t *)to)[i] = encode_one(&formats[precision], from[i]);
}

void lh_opdevice_decode(unsigned precision, size_t n, const void *from, float *to)
{
	if (precision == LH_PRECISION_FP32)
		memcpy(to, from, n * sizeof *to);
	for (size_t i = 0; i < n && precision != LH_PRECISION_FP32; i++)
		to[i] = decode_one(&formats[precision], ((const uint16_t *)from)[i]);
}

/* --- results --- */

enum { DX = 1, DPARAM = DX + LH_NODE_INPUTS_MAX, BUFFER = DPARAM + LH_NODE_PARAMS_MAX };

const char *lh_opresult_name(unsigned k)
{
	static char text[32];
	if (!k)
		return "y";
	snprintf(text, sizeof text, "%s%u", k < DPARAM ? "dx" : k < BUFFER ? "dparam" : "buffer",
		 k < DPARAM ? k - DX : k < BUFFER ? k - DPARAM : k - BUFFER);
	return text;
}

static void *room(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	return p;
}

static void keep(struct lh_opresult *r, unsigned k, size_t count, const float *from)
{
	r->count[k] = count;
	r->of[k] = room(count, sizeof(float));
	memcpy(r->of[k], from, count * sizeof(float));
}

void lh_opresult_free(struct lh_opresult *r)
{
	for (unsigned k = 0; k < LH_OPRESULTS; k++)
		free(r->of[k]);
	*r = (struct lh_opresult){ 0 };
}

double lh_opresult_distance(const struct lh_opresult *got, const struct lh_opresult *want, unsigned k)
{
	double off = 0, length = 0;
	if (got->count[k] != want->count[k])
		return INFINITY;
	for (size_t i = 0; i < want->count[k]; i++) {
		const double g = (double)got->of[k][i], w = (double)want->of[k][i];
		if (isfinite(g) != isfinite(w))
			return INFINITY;
		if (isfinite(w)) {
			off += (g - w) * (g - w);
			length += w * w;
		}
	}
	return sqrt(off) / fmax(sqrt(length), 1e-30);
}

/* --- running --- */

/* A loss, its hits and its gradient are float whatever the precision. */
static unsigned precision_of_y(const struct lh_opbench *b, unsigned precision)
{
	return b->node->op == LH_OP_CROSS_ENTROPY ? LH_PRECISION_FP32 : precision;
}

static void round_to(unsigned precision, size_t n, float *x)
{
	void *there = room(n, sizeof *x);
	lh_opdevice_encode(precision, n, x, there);
	lh_opdevice_decode(precision, n, there, x);
	free(there);
}

static size_t buffer_count(const struct lh_opbench *b, unsigned k) { return b->g->buffers[b->node->buffer[k]].count; }

/* What stands in dx, dparam and the buffers before. */
static float before(bool there, size_t i) { return there ? (float)((int)(i % 7) - 3) / 4 : NAN; }
static void fill_before(const struct lh_opbench *b, const struct lh_opdevice *how)
{
	for (unsigned k = 0; k < b->node->inputs; k++)
		for (size_t i = 0; b->dx[k] && i < b->x_count[k]; i++)
			b->dx[k][i] = before(how->add, i);
	for (unsigned k = 0; k < b->node->params; k++)
		for (size_t i = 0; b->dparam[k] && i < b->param_count[k]; i++)
			b->dparam[k][i] = before(true, i);
	for (unsigned k = 0; k < b->node->buffers; k++)
		for (size_t i = 0; i < buffer_count(b, k); i++)
			((float *)b->run.buffer[k])[i] = 0.5f + (float)(i % 3) / 4;
}

void lh_opdevice_run_cpu(struct lh_opbench *b, const struct lh_opdevice *how, struct lh_opresult *ret)
{
	*ret = (struct lh_opresult){ 0 };
	for (unsigned k = 0; k < b->node->inputs; k++)
		if (!b->integer[k])
			round_to(how->precision, b->x_count[k], b->x[k]);
	round_to(precision_of_y(b, how->precision), b->y_count, b->dy);
	for (size_t i = 3; how->broken && i < b->x_count[0]; i += 17)
		((float *)b->x[0])[i] = NAN;
	b->run.training = !how->untrained;
	fill_before(b, how);
	lh_opbench_forward(b);
	for (unsigned k = 0; k < b->node->buffers; k++)
		keep(ret, BUFFER + k, buffer_count(b, k), b->run.buffer[k]);
	lh_opbench_backward(b, how->add);
	keep(ret, 0, b->y_count, b->y);
	for (unsigned k = 0; k < b->node->inputs; k++)
		if (b->dx[k])
			keep(ret, DX + k, b->x_count[k], b->dx[k]);
	for (unsigned k = 0; k < b->node->params; k++)
		if (b->dparam[k])
			keep(ret, DPARAM + k, b->param_count[k], b->dparam[k]);
}

/* A tensor of the host on the device and back. */
struct tensor {
	void *block;                    /* as allocated */
	char *at;
	size_t count, bytes;
	unsigned precision;
};

struct device {
	const struct lh_backend_ops *ops;
	struct lh_backend *b;
	size_t shift;
	struct lh_err *err;
	int rc;
	struct tensor of[24];
	unsigned n;
};

static struct tensor *take(struct device *d, size_t count, size_t size)
{
	struct tensor *t = &d->of[d->n++];
	CU_ASSERT_TRUE_FATAL(d->n <= sizeof d->of / sizeof *d->of);
	*t = (struct tensor){ .count = count, .bytes = count * size };
	if (!d->rc)
		d->rc = d->ops->alloc(d->b, (count + d->shift) * size, &t->block, d->err);
	t->at = t->block ? (char *)t->block + d->shift * size : NULL;
	return t;
}

static void *upload(struct device *d, unsigned precision, size_t count, const float *from)
{
	struct tensor *t = take(d, count, lh_opdevice_bytes(precision));
	void *there = room(count, lh_opdevice_bytes(precision));
	t->precision = precision;
	lh_opdevice_encode(precision, count, from, there);
	if (!d->rc)
		d->rc = d->ops->put(d->b, t->at, there, t->bytes, d->err);
	free(there);
	return t->at;
}

static void *upload_integers(struct device *d, size_t count, const int32_t *from)
{
	struct tensor *t = take(d, count, sizeof *from);
	if (!d->rc)
		d->rc = d->ops->put(d->b, t->at, from, t->bytes, d->err);
	return t->at;
}

static void download(struct device *d, const void *at, struct lh_opresult *r, unsigned k)
{
	const struct tensor *t = d->of;
	while (t->at != at)
		t++;
	void *there = room(t->count, lh_opdevice_bytes(t->precision));
	if (!d->rc)
		d->rc = d->ops->get(d->b, there, at, t->bytes, d->err);
	r->count[k] = t->count;
	r->of[k] = room(t->count, sizeof(float));
	lh_opdevice_decode(t->precision, t->count, there, r->of[k]);
	free(there);
}

static struct lh_op_run prepare(struct device *d, struct lh_opbench *b, const struct lh_opdevice *how)
{
	const unsigned precision = how->precision;
	const struct lh_backend_op *op = d->ops->op[b->node->op];
	struct lh_op_run r = b->run;
	float *nan = room(b->y_count, sizeof *nan);
	fill_before(b, how);
	for (unsigned k = 0; k < b->node->inputs; k++) {
		r.x[k] = b->integer[k] ? upload_integers(d, b->x_count[k], b->x[k])
				       : upload(d, precision, b->x_count[k], b->x[k]);
		r.dx[k] = b->dx[k] ? upload(d, precision, b->x_count[k], b->dx[k]) : NULL;
		r.dx_add[k] = how->add;
	}
	for (unsigned k = 0; k < b->node->params; k++) {
		r.param[k] = b->param[k] ? upload(d, LH_PRECISION_FP32, b->param_count[k], b->param[k]) : NULL;
		r.copy[k] = b->param[k] ? upload(d, precision, b->param_count[k], b->param[k]) : NULL;
		r.dparam[k] = b->dparam[k] ? upload(d, LH_PRECISION_FP32, b->param_count[k], b->dparam[k]) : NULL;
	}
	for (unsigned k = 0; k < b->node->buffers; k++)
		r.buffer[k] = upload(d, LH_PRECISION_FP32, buffer_count(b, k), b->run.buffer[k]);
	for (size_t i = 0; i < b->y_count; i++)
		nan[i] = NAN;
	r.y = upload(d, precision_of_y(b, precision), b->y_count, nan);
	free(nan);
	r.dy = upload(d, precision_of_y(b, precision), b->y_count, b->dy);
	const size_t shift = d->shift;
	d->shift = 0; /* these begin where the plan says, which is aligned */
	r.state = take(d, op->state ? op->state(b->node, b->c->n) : 0, 1)->at;
	r.scratch = take(d, op->scratch ? op->scratch(b->node, b->c->n) : 0, 1)->at;
	d->shift = shift;
	return r;
}

int lh_opdevice_run(struct lh_opbench *b, const struct lh_backend_ops *ops, struct lh_backend *backend,
		    const struct lh_opdevice *how, struct lh_opresult *ret, struct lh_err *err)
{
	struct device d = { .ops = ops, .b = backend, .shift = how->shift, .err = err };
	const struct lh_backend_op *op = ops->op[b->node->op];
	*ret = (struct lh_opresult){ 0 };
	b->run.training = !how->untrained;
	const struct lh_op_run r = prepare(&d, b, how);
	if (!d.rc)
		d.rc = op->forward(backend, &r, err);
	for (unsigned k = 0; k < b->node->buffers; k++)
		download(&d, r.buffer[k], ret, BUFFER + k);
	if (!d.rc)
		d.rc = op->backward(backend, &r, err);
	download(&d, r.y, ret, 0);
	for (unsigned k = 0; k < b->node->inputs; k++)
		if (r.dx[k])
			download(&d, r.dx[k], ret, DX + k);
	for (unsigned k = 0; k < b->node->params; k++)
		if (r.dparam[k])
			download(&d, r.dparam[k], ret, DPARAM + k);
	for (unsigned i = 0; i < d.n; i++)
		if (d.of[i].block)
			ops->release(backend, d.of[i].block);
	return d.rc;
}
