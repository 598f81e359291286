/* precision.h - in what type a trainer keeps activations and multiplies. Parameters, gradients and optimiser state are fp32
 * in each; sums are fp32 at least. */
#ifndef LONGHAUL_PRECISION_H
#define LONGHAUL_PRECISION_H

enum lh_precision { LH_PRECISION_FP32, LH_PRECISION_BF16, LH_PRECISION_FP16, LH_PRECISIONS };

#ifdef __cplusplus
extern "C" {
#endif
extern const char *const lh_precision_names[]; /* "fp32", ... by enum, NULL-terminated */
#ifdef __cplusplus
}
#endif
#endif
