/* blas.h - which library makes the cpu backend's matrix products. */
#ifndef BACKEND_CPU_BLAS_H
#define BACKEND_CPU_BLAS_H

#include <stdbool.h>

/* Load OpenBLAS with kernels for the vectors that this CPU has (at most 256 bits where the kernel is User-Mode Linux),
 * one thread. Where there is none, products go through our own (lh_op_gemm), some 5 times slower. Returns what
 * was chosen, for the manifest: "OpenBLAS 0.3.21 SkylakeX", or "own (why)". Once per process and before its threads;
 * later calls return the same text. Without a call, products are our own. */
const char *lh_blas_open(void);
/* Why those kernels: "avx512f, dq, bw, vl", "User-Mode Linux: at most 256 bits", "OPENBLAS_CORETYPE is set", ... After
 * lh_blas_open. */
const char *lh_blas_why(void);
/* Back to our own product (tests). */
void lh_blas_own(void);

#endif
