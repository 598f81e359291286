/* simt_backend.h - the CUDA backend's own kernels as a backend of the host, for tests in C. Its memory is the process's,
 * between guard pages; a kernel's error is the call's. Theory: simt.h. */
#ifndef SIMT_BACKEND_H
#define SIMT_BACKEND_H

#ifdef __cplusplus
extern "C" {
#endif

#include "backend/backend.h"

extern const struct lh_backend_ops lh_backend_simt[3]; /* fp32, bf16, fp16 */

void *lh_simt_alloc(size_t bytes, bool zero); /* else NaN */
void lh_simt_free(void *p);
void lh_simt_seed(uint64_t seed);             /* of the order in which threads run */
/* __float2half and back, __float2bfloat16 and back, for all numbers of 16 bits and on the way there. */
uint16_t lh_simt_narrow(unsigned precision, float x);
float lh_simt_widen(unsigned precision, uint16_t u);

#ifdef __cplusplus
}
#endif
#endif
