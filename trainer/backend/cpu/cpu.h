/* cpu.h - shared by the operations of the cpu backend. Plain C that reads like the formulas: this folder is the
 * specification. Its only fast part is the matrix product, which comes from a library (blas.c).
 */
#ifndef BACKEND_CPU_CPU_H
#define BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/ops.h"
#include "backend/random.h"

/* c[m][n] = (add ? c : 0) + op(a) op(b), row-major with row strides; op(a) is m x k (ta: a is stored k x m), op(b) is
 * k x n (tb: stored n x k). */
void lh_gemm(bool ta, bool tb, size_t m, size_t n, size_t k, const real *a, size_t lda, const real *b, size_t ldb,
	     real *c, size_t ldc, bool add);

/* dx = (add ? dx : 0) + value */
#define LH_PUT(dx, add, value) ((dx) = ((add) ? (dx) : 0) + (value))

#define LH_CPU_OP(name) extern const struct lh_backend_op lh_cpu_##name
LH_CPU_OP(linear);
LH_CPU_OP(conv2d);
LH_CPU_OP(depthwise);
LH_CPU_OP(batchnorm);
LH_CPU_OP(layernorm);
LH_CPU_OP(relu);
LH_CPU_OP(gelu);
LH_CPU_OP(softmax);
LH_CPU_OP(attention);
LH_CPU_OP(embedding);
LH_CPU_OP(add_rows);
LH_CPU_OP(maxpool);
LH_CPU_OP(avgpool);
LH_CPU_OP(add);
LH_CPU_OP(scale);
LH_CPU_OP(dropout);
LH_CPU_OP(drop_path);
LH_CPU_OP(cross_entropy);
#undef LH_CPU_OP

#endif
