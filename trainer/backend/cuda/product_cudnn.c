/* Convolutions by cuDNN's plain C calls, NHWC. They are marked as deprecated in favour of its graph API, and are all there in
 * version 9; the warnings are off here on purpose.
 *
 * The first call of a shape lets cuDNN time its algorithms on the operands at hand and keeps the fastest that fits into the workspace.
 * Where what is written must not be lost, or the choice must be the same each time (deterministic mode, which takes only algorithms
 * that are called so), the heuristics choose. A shape without one is told by -ENOTSUP, as is a machine without cuDNN: op_conv2d.c
 * then unfolds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <cudnn.h>

#include "backend/cuda/fold.h"
#include "backend/cuda/library.h"
#include "backend/cuda/product_state.h"

#define CUDNN_FUNCTIONS(F)                                                                                             \
	F(cudnnCreate) F(cudnnDestroy) F(cudnnSetStream) F(cudnnGetErrorString) F(cudnnCreateTensorDescriptor)         \
	F(cudnnDestroyTensorDescriptor) F(cudnnSetTensor4dDescriptor) F(cudnnCreateFilterDescriptor)                   \
	F(cudnnDestroyFilterDescriptor) F(cudnnSetFilter4dDescriptor) F(cudnnCreateConvolutionDescriptor)              \
	F(cudnnDestroyConvolutionDescriptor) F(cudnnSetConvolution2dDescriptor) F(cudnnSetConvolutionGroupCount)       \
	F(cudnnSetConvolutionMathType) F(cudnnGetConvolutionForwardAlgorithm_v7)                                       \
	F(cudnnGetConvolutionBackwardDataAlgorithm_v7) F(cudnnGetConvolutionBackwardFilterAlgorithm_v7)                \
	F(cudnnFindConvolutionForwardAlgorithmEx) F(cudnnFindConvolutionBackwardDataAlgorithmEx)                       \
	F(cudnnFindConvolutionBackwardFilterAlgorithmEx)                                                               \
	F(cudnnConvolutionForward) F(cudnnConvolutionBackwardData) F(cudnnConvolutionBackwardFilter)

enum direction { FORWARD, DATA, FILTER, DIRECTIONS };
enum { PLANS_STEP = 32, ALGORITHMS = 8, NONE = -1, UNKNOWN = -2 };

struct plan {
	struct lh_convolution c;
	cudnnTensorDescriptor_t x, y;
	cudnnFilterDescriptor_t w;
	cudnnConvolutionDescriptor_t window;
	int algorithm[DIRECTIONS]; /* of enum cudnnConvolution*Algo_t, NONE or UNKNOWN */
	cudnnMathType_t math[DIRECTIONS];
};

struct lh_product_cudnn {
	void *library;
	CUDNN_FUNCTIONS(LH_LIBRARY_POINTER)
	cudnnHandle_t handle;
	struct plan **plans;
	size_t n, room, last;
};

/* Version 9 says why it cannot: a code of its own within the class. */
#ifndef CUDNN_STATUS_CATEGORY
#define CUDNN_STATUS_CATEGORY(status) (status)
#endif
static bool unsupported(cudnnStatus_t rc) { return CUDNN_STATUS_CATEGORY(rc) == CUDNN_STATUS_NOT_SUPPORTED; }

static int check(struct lh_product_cudnn *d, cudnnStatus_t rc, const char *what, struct lh_err *err)
{
	if (rc == CUDNN_STATUS_SUCCESS)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, -EIO, "GPU: convolution: cuDNN %s: %s", what, d->cudnnGetErrorString_(rc));
}

/* ---- opening ---- */

#define NAME(name) #name,

static int load(struct lh_product_cudnn *d, struct lh_err *err)
{
	static const char *const names[] = { LH_CUDNN_SONAME, NULL };
	static const char *const functions[] = { CUDNN_FUNCTIONS(NAME) };
	void *at[sizeof functions / sizeof *functions];
	int rc = lh_library_open("cuDNN (" LH_CUDNN_SONAME ")", names, functions, sizeof functions / sizeof *functions, at,
				 &d->library, err);
	if (rc)
		return rc;
	size_t i = 0;
#define TAKE(name) d->name##_ = (__typeof__(d->name##_))at[i++];
	CUDNN_FUNCTIONS(TAKE)
#undef TAKE
	return 0;
}

static int open_cudnn(struct lh_backend *b, struct lh_err *err)
{
	struct lh_product_state *s = b->product;
	if (s->cudnn)
		return 0;
	if (s->no_cudnn)
		return -ENOTSUP;
	struct lh_product_cudnn *d = calloc(1, sizeof *d);
	if (!d)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
	if (load(d, NULL)) {
		free(d);
		s->no_cudnn = true;
		return -ENOTSUP;
	}
	int rc = check(d, d->cudnnCreate_(&d->handle), "open", err);
	if (!rc)
		rc = check(d, d->cudnnSetStream_(d->handle, b->cuda.stream), "open", err);
	if (rc) {
		if (d->handle)
			d->cudnnDestroy_(d->handle);
		free(d);
		return rc;
	}
	s->cudnn = d;
	return 0;
}

static void plan_free(struct lh_product_cudnn *d, struct plan *p)
{
	if (p->x)
		d->cudnnDestroyTensorDescriptor_(p->x);
	if (p->y)
		d->cudnnDestroyTensorDescriptor_(p->y);
	if (p->w)
		d->cudnnDestroyFilterDescriptor_(p->w);
	if (p->window)
		d->cudnnDestroyConvolutionDescriptor_(p->window);
	free(p);
}

void lh_product_cudnn_close(struct lh_product_state *s)
{
	struct lh_product_cudnn *d = s->cudnn;
	if (!d)
		return;
	for (size_t i = 0; i < d->n; i++)
		plan_free(d, d->plans[i]);
	free(d->plans);
	d->cudnnDestroy_(d->handle);
	free(d);
	s->cudnn = NULL;
}

/* ---- a plan ---- */

static cudnnStatus_t set_tensor(struct lh_product_cudnn *d, cudnnTensorDescriptor_t *t, size_t n, struct lh_shape s,
				cudnnDataType_t type)
{
	cudnnStatus_t rc = d->cudnnCreateTensorDescriptor_(t);
	return rc ? rc : d->cudnnSetTensor4dDescriptor_(*t, CUDNN_TENSOR_NHWC, type, (int)n, (int)s.c, (int)s.h, (int)s.w);
}

static cudnnStatus_t describe(struct lh_product_cudnn *d, struct plan *p)
{
	static const cudnnDataType_t types[LH_PRECISIONS] = { CUDNN_DATA_FLOAT, CUDNN_DATA_BFLOAT16, CUDNN_DATA_HALF };
	const struct lh_convolution *c = &p->c;
	const struct lh_window *k = &c->window;
	const cudnnDataType_t type = types[c->type];
	cudnnStatus_t rc = set_tensor(d, &p->x, c->n, c->x, type);
	if (!rc)
		rc = set_tensor(d, &p->y, c->n, c->y, type);
	if (!rc)
		rc = d->cudnnCreateFilterDescriptor_(&p->w);
	if (!rc)
		rc = d->cudnnSetFilter4dDescriptor_(p->w, type, CUDNN_TENSOR_NHWC, (int)c->y.c, (int)(c->x.c / c->groups),
						    (int)k->kh, (int)k->kw);
	if (!rc)
		rc = d->cudnnCreateConvolutionDescriptor_(&p->window);
	if (!rc)
		rc = d->cudnnSetConvolution2dDescriptor_(p->window, (int)k->pad_h, (int)k->pad_w, (int)k->stride_h,
							 (int)k->stride_w, (int)k->dilation_h, (int)k->dilation_w,
							 CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT);
	if (!rc)
		rc = d->cudnnSetConvolutionGroupCount_(p->window, (int)c->groups);
	if (!rc)
		rc = d->cudnnSetConvolutionMathType_(p->window, p->math[FORWARD]);
	return rc;
}

static bool same(const struct lh_convolution *a, const struct lh_convolution *b)
{
	const struct lh_window *p = &a->window, *q = &b->window;
	return a->n == b->n && a->groups == b->groups && a->x.h == b->x.h && a->x.w == b->x.w && a->x.c == b->x.c &&
	       a->y.h == b->y.h && a->y.w == b->y.w && a->y.c == b->y.c && a->type == b->type && p->kh == q->kh &&
	       p->kw == q->kw && p->stride_h == q->stride_h && p->stride_w == q->stride_w && p->pad_h == q->pad_h &&
	       p->pad_w == q->pad_w && p->dilation_h == q->dilation_h && p->dilation_w == q->dilation_w;
}

static int make_plan(struct lh_product_cudnn *d, const struct lh_convolution *c, struct plan **ret, struct lh_err *err)
{
	if (d->n == d->room) {
		struct plan **more = realloc(d->plans, (d->room + PLANS_STEP) * sizeof *more);
		if (!more)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
		d->plans = more;
		d->room += PLANS_STEP;
	}
	struct plan *p = calloc(1, sizeof *p);
	if (!p)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
	/* fp32 is fp32, not TF32. */
	const cudnnMathType_t math = c->type == LH_PRECISION_FP32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
	*p = (struct plan){ .c = *c, .algorithm = { UNKNOWN, UNKNOWN, UNKNOWN }, .math = { math, math, math } };
	cudnnStatus_t status = describe(d, p);
	if (unsupported(status)) {
		for (unsigned i = 0; i < DIRECTIONS; i++)
			p->algorithm[i] = NONE;
		status = CUDNN_STATUS_SUCCESS;
	}
	int rc = check(d, status, "describe", err);
	if (rc) {
		plan_free(d, p);
		return rc;
	}
	d->last = d->n;
	d->plans[d->n++] = p;
	*ret = p;
	return 0;
}

/* What a call reads and writes. spare: `to` may be written with anything before. */
struct operands {
	const void *a, *b;
	void *to;
	bool spare;
};

/* Take the first of the list that may be used, or NONE. */
#define TAKE_FIRST(b, plan, way, list, count)                                                                          \
	do {                                                                                                           \
		(plan)->algorithm[way] = NONE;                                                                         \
		for (int i_ = (count); i_-- > 0;) {                                                                    \
			if ((list)[i_].status != CUDNN_STATUS_SUCCESS || (list)[i_].memory > (b)->workspace_bytes ||   \
			    ((b)->cuda.deterministic && (list)[i_].determinism != CUDNN_DETERMINISTIC))                \
				continue;                                                                              \
			(plan)->algorithm[way] = (int)(list)[i_].algo;                                                 \
			if ((plan)->c.type != LH_PRECISION_FP32)                                                       \
				(plan)->math[way] = (list)[i_].mathType;                                               \
		}                                                                                                      \
	} while (0)

/* timed: by running them all on these operands; else by the heuristics. */
static cudnnStatus_t list(struct lh_backend *b, struct lh_product_cudnn *d, struct plan *p, enum direction way,
			  const struct operands *o, bool timed)
{
	cudnnConvolutionFwdAlgoPerf_t forward[ALGORITHMS];
	cudnnConvolutionBwdDataAlgoPerf_t data[ALGORITHMS];
	cudnnConvolutionBwdFilterAlgoPerf_t filter[ALGORITHMS];
	cudnnStatus_t rc;
	int n = 0;
	if (way == FORWARD) {
		rc = timed ? d->cudnnFindConvolutionForwardAlgorithmEx_(d->handle, p->x, o->a, p->w, o->b, p->window, p->y, o->to,
									ALGORITHMS, &n, forward, b->workspace, b->workspace_bytes) :
			     d->cudnnGetConvolutionForwardAlgorithm_v7_(d->handle, p->x, p->w, p->window, p->y, ALGORITHMS, &n, forward);
		TAKE_FIRST(b, p, way, forward, rc ? 0 : n);
	} else if (way == DATA) {
		rc = timed ? d->cudnnFindConvolutionBackwardDataAlgorithmEx_(d->handle, p->w, o->a, p->y, o->b, p->window, p->x, o->to,
									     ALGORITHMS, &n, data, b->workspace, b->workspace_bytes) :
			     d->cudnnGetConvolutionBackwardDataAlgorithm_v7_(d->handle, p->w, p->y, p->window, p->x, ALGORITHMS, &n, data);
		TAKE_FIRST(b, p, way, data, rc ? 0 : n);
	} else {
		rc = timed ? d->cudnnFindConvolutionBackwardFilterAlgorithmEx_(d->handle, p->x, o->a, p->y, o->b, p->window, p->w, o->to,
									       ALGORITHMS, &n, filter, b->workspace, b->workspace_bytes) :
			     d->cudnnGetConvolutionBackwardFilterAlgorithm_v7_(d->handle, p->x, p->y, p->window, p->w, ALGORITHMS, &n, filter);
		TAKE_FIRST(b, p, way, filter, rc ? 0 : n);
	}
	return rc;
}

static cudnnStatus_t choose(struct lh_backend *b, struct lh_product_cudnn *d, struct plan *p, enum direction way,
			    const struct operands *o)
{
	cudnnStatus_t rc = CUDNN_STATUS_SUCCESS;
	if (o->spare && !b->cuda.deterministic)
		rc = list(b, d, p, way, o, true);
	if (rc || p->algorithm[way] < 0)
		rc = list(b, d, p, way, o, false);
	return unsupported(rc) ? CUDNN_STATUS_SUCCESS : rc;
}

/* The plan of a shape with an algorithm for this direction; -ENOTSUP: there is none. */
static int plan_of(struct lh_backend *b, const struct lh_convolution *c, enum direction way, const struct operands *o,
		   struct plan **ret, struct lh_err *err)
{
	int rc = open_cudnn(b, err);
	if (rc)
		return rc;
	struct lh_product_cudnn *d = b->product->cudnn;
	struct plan *p = NULL;
	for (size_t i = 0, at = d->last; i < d->n && !p; i++, at++) {
		at = at < d->n ? at : 0;
		if (same(&d->plans[at]->c, c)) {
			p = d->plans[at];
			d->last = at;
		}
	}
	if (!p)
		rc = make_plan(d, c, &p, err);
	if (!rc && p->algorithm[way] == UNKNOWN)
		rc = check(d, choose(b, d, p, way, o), "choose an algorithm", err);
	if (!rc && p->algorithm[way] != NONE)
		rc = check(d, d->cudnnSetConvolutionMathType_(p->window, p->math[way]), "describe", err);
	if (rc)
		return rc;
	*ret = p;
	return p->algorithm[way] == NONE ? -ENOTSUP : 0;
}

/* ---- calls ---- */

/* A library may refuse a call that it had planned; then, too, others have to do it. */
static int done(struct lh_product_cudnn *d, struct plan *p, enum direction way, cudnnStatus_t status, const char *what,
		struct lh_err *err)
{
	if (!unsupported(status))
		return check(d, status, what, err);
	p->algorithm[way] = NONE;
	return -ENOTSUP;
}

int lh_convolution_forward(struct lh_backend *b, const struct lh_convolution *c, const void *x, const void *w, void *y,
			   struct lh_err *err)
{
	const float one = 1, zero = 0;
	struct plan *p;
	int rc = plan_of(b, c, FORWARD, &(struct operands){ x, w, y, true }, &p, err);
	if (rc)
		return rc;
	struct lh_product_cudnn *d = b->product->cudnn;
	return done(d, p, FORWARD,
		    d->cudnnConvolutionForward_(d->handle, &one, p->x, x, p->w, w, p->window,
						(cudnnConvolutionFwdAlgo_t)p->algorithm[FORWARD], b->workspace,
						b->workspace_bytes, &zero, p->y, y),
		    "forward", err);
}

int lh_convolution_data(struct lh_backend *b, const struct lh_convolution *c, const void *w, const void *dy, void *dx,
			bool add, struct lh_err *err)
{
	const float one = 1, beta = add ? 1 : 0;
	struct plan *p;
	int rc = plan_of(b, c, DATA, &(struct operands){ w, dy, dx, !add }, &p, err);
	if (rc)
		return rc;
	struct lh_product_cudnn *d = b->product->cudnn;
	return done(d, p, DATA,
		    d->cudnnConvolutionBackwardData_(d->handle, &one, p->w, w, p->y, dy, p->window,
						     (cudnnConvolutionBwdDataAlgo_t)p->algorithm[DATA], b->workspace,
						     b->workspace_bytes, &beta, p->x, dx),
		    "data gradient", err);
}

static size_t filter_count(const struct lh_convolution *c)
{
	return c->y.c * c->window.kh * c->window.kw * (c->x.c / c->groups);
}

/* dw in the type of activations, beside where it is added. */
size_t lh_convolution_scratch(const struct lh_convolution *c)
{
	return c->type == LH_PRECISION_FP32 ? 0 : filter_count(c) * sizeof(uint16_t);
}

int lh_convolution_filter(struct lh_backend *b, const struct lh_convolution *c, const void *x, const void *dy, float *dw,
			  void *scratch, struct lh_err *err)
{
	const bool direct = c->type == LH_PRECISION_FP32;
	const float one = 1, beta = direct ? 1 : 0;
	void *to = direct ? (void *)dw : scratch;
	struct plan *p;
	int rc = plan_of(b, c, FILTER, &(struct operands){ x, dy, to, !direct }, &p, err);
	if (rc)
		return rc;
	struct lh_product_cudnn *d = b->product->cudnn;
	rc = done(d, p, FILTER,
		  d->cudnnConvolutionBackwardFilter_(d->handle, &one, p->x, x, p->y, dy, p->window,
						     (cudnnConvolutionBwdFilterAlgo_t)p->algorithm[FILTER], b->workspace,
						     b->workspace_bytes, &beta, p->w, to),
		  "filter gradient", err);
	return rc || direct ? rc : lh_cuda_add_cast(b, c->type, filter_count(c), to, dw, err);
}
