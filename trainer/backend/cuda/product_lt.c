/* Matrix products by cuBLASLt.
 *
 * A row-major c[m][n] = op(a) op(b) is, read column by column, c'[n][m] = op(b)' op(a)': so b is cuBLASLt's A and a its B,
 * n its rows and m its columns, and a row-major matrix that is not transposed here is not transposed there either. The bias,
 * one number a column of ours, is then one a row of theirs, which is what its epilogue adds.
 *
 * The first call of a shape makes a plan: descriptors and the heuristics' first choice. Alignment belongs to the shape,
 * since gradients lie in one vector without gaps and the wide loads of some algorithms need 16 bytes. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/library.h"
#include "backend/cuda/product_state.h"

enum { ALIGNMENT_MAX = 256, PLANS_STEP = 64 };

struct key {
	struct lh_product p;
	uint32_t align_x, align_y, align_c; /* of the pointers; c: the bias too */
};

struct plan {
	struct key key;
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t a, b, c;     /* in cuBLASLt's sense: a is our y */
	cublasLtMatmulAlgo_t algo;
};

struct lh_product_lt {
	struct lh_lt f;
	cublasLtHandle_t handle;
	struct plan **plans;
	size_t n, room, last;               /* last: the plan that was used last; the next is mostly the one behind it */
};

static const cudaDataType_t types[LH_PRECISIONS] = { CUDA_R_32F, CUDA_R_16BF, CUDA_R_16F };

static int check(struct lh_product_lt *lt, cublasStatus_t rc, const struct lh_product *p, const char *what,
		 struct lh_err *err)
{
	if (rc == CUBLAS_STATUS_SUCCESS)
		return 0;
	return lh_err_set(err, LH_EXIT_BROKE, rc == CUBLAS_STATUS_NOT_SUPPORTED ? -ENOTSUP : -EIO,
			  "GPU: product %zu x %zu x %zu (%s%s, %s to %s): cuBLASLt %s: %s", p->m, p->n, p->k, p->ta ? "t" : "n",
			  p->tb ? "t" : "n", lh_precision_names[p->in], lh_precision_names[p->out], what,
			  lt->f.cublasLtGetStatusString_(rc));
}

static uint32_t alignment(const void *p)
{
	const uintptr_t at = (uintptr_t)p;
	const uintptr_t low = at & (~at + 1);
	return !at || low > ALIGNMENT_MAX ? ALIGNMENT_MAX : (uint32_t)low;
}

/* ---- a plan ---- */

static void plan_free(struct lh_product_lt *lt, struct plan *plan)
{
	if (plan->desc)
		lt->f.cublasLtMatmulDescDestroy_(plan->desc);
	cublasLtMatrixLayout_t layouts[] = { plan->a, plan->b, plan->c };
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
		if (layouts[i])
			lt->f.cublasLtMatrixLayoutDestroy_(layouts[i]);
	free(plan);
}

/* A row-major rows x cols matrix with row stride ld, as cuBLASLt sees it. */
static cublasStatus_t layout(struct lh_product_lt *lt, enum lh_precision type, size_t rows, size_t cols, size_t ld,
			     const struct lh_product *p, size_t stride, cublasLtMatrixLayout_t *ret)
{
	const int32_t batch = (int32_t)p->batch;
	const int64_t step = (int64_t)stride;
	cublasStatus_t rc = lt->f.cublasLtMatrixLayoutCreate_(ret, types[type], cols, rows, (int64_t)ld);
	if (rc || p->batch == 1)
		return rc;
	rc = lt->f.cublasLtMatrixLayoutSetAttribute_(*ret, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
	if (!rc)
		rc = lt->f.cublasLtMatrixLayoutSetAttribute_(*ret, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step,
							     sizeof step);
	return rc;
}

static cublasStatus_t describe(struct lh_product_lt *lt, struct plan *plan)
{
	const struct lh_product *p = &plan->key.p;
	const cublasOperation_t of_a = p->tb ? CUBLAS_OP_T : CUBLAS_OP_N, of_b = p->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
	const cublasLtEpilogue_t epilogue = p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
	const int32_t bias_type = types[p->out];
	const struct { cublasLtMatmulDescAttributes_t which; const void *value; size_t size; bool wanted; } set[] = {
		{ CUBLASLT_MATMUL_DESC_TRANSA, &of_a, sizeof of_a, true },
		{ CUBLASLT_MATMUL_DESC_TRANSB, &of_b, sizeof of_b, true },
		{ CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue, true },
		{ CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type, p->bias },
	};
	cublasStatus_t rc = lt->f.cublasLtMatmulDescCreate_(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
	for (size_t i = 0; i < sizeof set / sizeof *set && !rc; i++)
		if (set[i].wanted)
			rc = lt->f.cublasLtMatmulDescSetAttribute_(plan->desc, set[i].which, set[i].value, set[i].size);
	if (!rc)
		rc = layout(lt, p->in, p->tb ? p->n : p->k, p->tb ? p->k : p->n, p->ldb, p, p->stride_b, &plan->a);
	if (!rc)
		rc = layout(lt, p->in, p->ta ? p->k : p->m, p->ta ? p->m : p->k, p->lda, p, p->stride_a, &plan->b);
	if (!rc)
		rc = layout(lt, p->out, p->m, p->n, p->ldc, p, p->stride_c, &plan->c);
	return rc;
}

static cublasStatus_t choose(struct lh_backend *b, struct lh_product_lt *lt, struct plan *plan)
{
	const struct key *k = &plan->key;
	/* In place: partial sums are added in an order that a counter keeps; the others reduce in a pass of their own. */
	const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
	const uint64_t workspace = b->workspace_bytes;
	const struct { cublasLtMatmulPreferenceAttributes_t which; const void *value; size_t size; } set[] = {
		{ CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace },
		{ CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes },
		{ CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &k->align_y, sizeof k->align_y },
		{ CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &k->align_x, sizeof k->align_x },
		{ CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &k->align_c, sizeof k->align_c },
		{ CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &k->align_c, sizeof k->align_c },
	};
	cublasLtMatmulPreference_t preference;
	cublasLtMatmulHeuristicResult_t best;
	int found = 0;
	cublasStatus_t rc = lt->f.cublasLtMatmulPreferenceCreate_(&preference);
	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof set / sizeof *set && !rc; i++)
		rc = lt->f.cublasLtMatmulPreferenceSetAttribute_(preference, set[i].which, set[i].value, set[i].size);
	if (!rc)
		rc = lt->f.cublasLtMatmulAlgoGetHeuristic_(lt->handle, plan->desc, plan->a, plan->b, plan->c, plan->c,
							   preference, 1, &best, &found);
	lt->f.cublasLtMatmulPreferenceDestroy_(preference);
	if (!rc && (!found || best.state))
		rc = found ? best.state : CUBLAS_STATUS_NOT_SUPPORTED;
	if (!rc)
		plan->algo = best.algo;
	return rc;
}

static int make_plan(struct lh_backend *b, struct lh_product_lt *lt, const struct key *key, struct plan **ret,
		     struct lh_err *err)
{
	if (lt->n == lt->room) {
		struct plan **more = realloc(lt->plans, (lt->room + PLANS_STEP) * sizeof *more);
		if (!more)
			return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
		lt->plans = more;
		lt->room += PLANS_STEP;
	}
	struct plan *plan = calloc(1, sizeof *plan);
	if (!plan)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
	plan->key = *key;
	cublasStatus_t status = describe(lt, plan);
	if (!status)
		status = choose(b, lt, plan);
	int rc = check(lt, status, &key->p, "plan", err);
	if (rc) {
		plan_free(lt, plan);
		return rc;
	}
	lt->last = lt->n;
	lt->plans[lt->n++] = plan;
	*ret = plan;
	return 0;
}

static bool same(const struct key *a, const struct key *b)
{
	const struct lh_product *p = &a->p, *q = &b->p;
	return p->m == q->m && p->n == q->n && p->k == q->k && p->lda == q->lda && p->ldb == q->ldb && p->ldc == q->ldc &&
	       p->batch == q->batch && p->stride_a == q->stride_a && p->stride_b == q->stride_b &&
	       p->stride_c == q->stride_c && p->in == q->in && p->out == q->out && p->ta == q->ta && p->tb == q->tb &&
	       p->bias == q->bias && a->align_x == b->align_x && a->align_y == b->align_y && a->align_c == b->align_c;
}

/* Steps repeat: the plan that is looked for is mostly the one that was used after the last one. */
static struct plan *find_plan(struct lh_product_lt *lt, const struct key *key)
{
	for (size_t i = 0, at = lt->last; i < lt->n; i++, at++) {
		at = at < lt->n ? at : 0;
		if (same(&lt->plans[at]->key, key)) {
			lt->last = at;
			return lt->plans[at];
		}
	}
	return NULL;
}

/* ---- calls ---- */

static int open_lt(struct lh_backend *b, struct lh_err *err)
{
	struct lh_product_lt *lt = b->product->lt;
	if (lt)
		return 0;
	lt = b->product->lt = calloc(1, sizeof *lt);
	if (!lt)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "engine cuda");
	int rc = lh_lt_open(&lt->f, err);
	cublasStatus_t status = rc ? CUBLAS_STATUS_SUCCESS : lt->f.cublasLtCreate_(&lt->handle);
	if (status)
		rc = lh_err_set(err, LH_EXIT_MACHINE, -EIO, "engine cuda: open cuBLASLt: %s",
				lt->f.cublasLtGetStatusString_(status));
	if (rc) {
		free(lt);
		b->product->lt = NULL;
	}
	return rc;
}

void lh_product_lt_close(struct lh_product_state *s)
{
	struct lh_product_lt *lt = s->lt;
	if (!lt)
		return;
	for (size_t i = 0; i < lt->n; i++)
		plan_free(lt, lt->plans[i]);
	free(lt->plans);
	lt->f.cublasLtDestroy_(lt->handle);
	free(lt);
	s->lt = NULL;
}

int lh_product_run(struct lh_backend *b, const struct lh_product *p, const void *x, const void *y, const void *bias,
		   void *c, struct lh_err *err)
{
	int rc = open_lt(b, err);
	if (rc)
		return rc;
	struct lh_product_lt *lt = b->product->lt;
	struct key key = { .p = *p, .align_x = alignment(x), .align_y = alignment(y), .align_c = alignment(c) };
	const uint32_t of_bias = alignment(bias);
	key.align_c = p->bias && of_bias < key.align_c ? of_bias : key.align_c;
	struct plan *plan = find_plan(lt, &key);
	if (!plan)
		rc = make_plan(b, lt, &key, &plan, err);
	if (rc)
		return rc;
	const float beta = p->add ? 1 : 0;
	cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
	if (p->bias)
		status = lt->f.cublasLtMatmulDescSetAttribute_(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
	if (!status)
		status = lt->f.cublasLtMatmul_(lt->handle, plan->desc, &p->alpha, y, plan->a, x, plan->b, &beta, c, plan->c, c,
					       plan->c, &plan->algo, b->workspace, b->workspace_bytes, b->cuda.stream);
	return check(lt, status, p, "multiply", err);
}
