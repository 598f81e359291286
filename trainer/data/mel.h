/* mel.h - log-mel spectra as Whisper's feature extractor makes them.
 *
 * 16 000 samples a second; frames of 400 samples under a Hann window, 160 apart, the first centred on sample 0, what lies
 * before the first and after the last sample mirrored; power of the discrete Fourier transform, 80 triangular filters of
 * Slaney's mel scale (area 1), log10 of at least 1e-10, nothing more than 8 below the largest, (x + 4) / 4.
 *
 * All in double with functions of our own, so that the bits are the same on every machine. Against numpy:
 * tests/reference/make-mel.py.
 */
#ifndef DATA_MEL_H
#define DATA_MEL_H

#include <stddef.h>

#include "longhaul/err.h"

enum { LH_MEL_BANDS = 80, LH_MEL_WINDOW = 400, LH_MEL_HOP = 160, LH_MEL_RATE = 16000 };

struct lh_mel;
int lh_mel_new(struct lh_mel **ret, struct lh_err *err);
void lh_mel_free(struct lh_mel *m); /* NULL is fine */
/* frames x 80 numbers of frames x 160 samples; frames >= 2. Any number of threads may share m. */
void lh_mel_spectrum(const struct lh_mel *m, const float *wave, size_t frames, float *out);

/* cos and sin of a whole turn times x, 0 <= x < 1; logarithm to base 10 of x > 0 (normal numbers). */
void lh_mel_circle(double x, double *ret_cos, double *ret_sin);
double lh_mel_log10(double x);

#endif
