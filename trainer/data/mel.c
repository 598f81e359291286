/* The transform of 400 = 4 x 4 x 5 x 5 samples goes by its factors: n numbers are r transforms of n / r of them, each
 * started one further on, and then for each output a sum of r (decimation in time). Two real frames go as the real and the
 * imaginary part of one transform, and come apart by its symmetry. */
#include "data/mel.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { N = LH_MEL_WINDOW, BINS = N / 2 + 1, HALF = N / 2 };
static const double pi = 3.14159265358979323846;

struct complex {
	double re, im;
};

struct lh_mel {
	double window[N];
	struct complex turn[N];               /* exp(-2 pi i k / N) */
	double filter[LH_MEL_BANDS][BINS];
	unsigned short first[LH_MEL_BANDS], end[LH_MEL_BANDS]; /* bins where a filter is not 0 */
};

void lh_mel_circle(double x, double *ret_cos, double *ret_sin)
{
	/* To the nearest quarter, whose rest is at most an eighth of a turn: there the series are short. */
	const double quarter = floor(4 * x + 0.5), a = 2 * pi * (x - quarter / 4), a2 = a * a;
	double c = 1, s = 1;
	for (int k = 20; k > 0; k -= 2) {
		c = 1 - c * a2 / ((k - 1) * k);
		s = 1 - s * a2 / (k * (k + 1));
	}
	s *= a;
	const int q = (int)quarter & 3;
	*ret_cos = q == 0 ? c : q == 1 ? -s : q == 2 ? -c : s;
	*ret_sin = q == 0 ? s : q == 1 ? c : q == 2 ? -s : -c;
}

static double natural_log(double x)
{
	int exponent;
	double m = frexp(x, &exponent); /* exact */
	if (m < 0.70710678118654752440) {
		m *= 2;
		exponent--;
	}
	/* ln m = 2 (t + t^3 / 3 + t^5 / 5 ...), |t| < 0.172 */
	const double t = (m - 1) / (m + 1), t2 = t * t;
	double sum = 0;
	for (int k = 23; k > 0; k -= 2)
		sum = sum * t2 + 1.0 / k;
	return 2 * t * sum + exponent * 0.69314718055994530942;
}

double lh_mel_log10(double x) { return natural_log(x) * 0.43429448190325182765; }

static double exponential(double x)
{
	/* exp(x) = exp(x / 16)^16 */
	double sum = 1;
	x /= 16;
	for (int k = 24; k > 0; k--)
		sum = 1 + sum * x / k;
	for (int k = 0; k < 4; k++)
		sum *= sum;
	return sum;
}

/* Slaney: linear below 1000 Hz, 15 mels; above, 27 mels are a factor of 6.4. */
static double to_mel(double hz)
{
	return hz < 1000 ? hz * 3 / 200 : 15 + natural_log(hz / 1000) * 27 / natural_log(6.4);
}

static double to_hz(double mel)
{
	return mel < 15 ? mel * 200 / 3 : 1000 * exponential((mel - 15) * natural_log(6.4) / 27);
}

static void make_filters(struct lh_mel *m)
{
	const double top = to_mel(LH_MEL_RATE / 2.0);
	for (unsigned b = 0; b < LH_MEL_BANDS; b++) {
		const double low = to_hz(top * b / (LH_MEL_BANDS + 1)), mid = to_hz(top * (b + 1) / (LH_MEL_BANDS + 1));
		const double high = to_hz(top * (b + 2) / (LH_MEL_BANDS + 1));
		m->first[b] = BINS;
		for (unsigned k = 0; k < BINS; k++) {
			const double hz = (double)k * LH_MEL_RATE / N, up = (hz - low) / (mid - low), down = (high - hz) / (high - mid);
			const double v = up < down ? up : down;
			m->filter[b][k] = v > 0 ? v * 2 / (high - low) : 0;
			if (v > 0) {
				m->first[b] = m->first[b] == BINS ? (unsigned short)k : m->first[b];
				m->end[b] = (unsigned short)(k + 1);
			}
		}
	}
}

int lh_mel_new(struct lh_mel **ret, struct lh_err *err)
{
	struct lh_mel *m = calloc(1, sizeof *m);
	if (!m)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "log-mel tables");
	for (unsigned k = 0; k < N; k++) {
		double c, s;
		lh_mel_circle((double)k / N, &c, &s);
		m->turn[k] = (struct complex){ c, -s };
		m->window[k] = 0.5 - 0.5 * c;
	}
	make_filters(m);
	*ret = m;
	return 0;
}

void lh_mel_free(struct lh_mel *m) { free(m); }

static inline struct complex times(struct complex a, struct complex b)
{
	return (struct complex){ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re };
}

/* out[0 ... n - 1] = transform of in[0], in[stride], ... */
static void transform(const struct lh_mel *m, const unsigned char *radix, unsigned n, unsigned stride,
		      const struct complex *in, struct complex *out)
{
	const unsigned r = *radix, part = n / r, step = N / n;
	if (n == 1) {
		*out = *in;
		return;
	}
	for (unsigned k = 0; k < r; k++)
		transform(m, radix + 1, part, stride * r, in + k * stride, out + k * part);
	for (unsigned k = 0; k < part; k++) {
		struct complex x[5];
		for (unsigned j = 0; j < r; j++)
			x[j] = times(out[j * part + k], m->turn[j * k * step]);
		for (unsigned q = 0; q < r; q++) {
			struct complex sum = x[0];
			for (unsigned j = 1; j < r; j++) {
				const struct complex t = times(x[j], m->turn[j * q % r * (N / r)]);
				sum.re += t.re;
				sum.im += t.im;
			}
			out[q * part + k] = sum;
		}
	}
}

/* The sample at `i`, mirrored at both ends. */
static double sample(const float *wave, long count, long i)
{
	i = i < 0 ? -i : i;
	i = i >= count ? 2 * (count - 1) - i : i;
	return i >= 0 && i < count ? (double)wave[i] : 0;
}

static void bands(const struct lh_mel *m, const double *power, float *out)
{
	for (unsigned b = 0; b < LH_MEL_BANDS; b++) {
		double sum = 0;
		for (unsigned k = m->first[b]; k < m->end[b]; k++)
			sum += m->filter[b][k] * power[k];
		out[b] = (float)lh_mel_log10(sum < 1e-10 ? 1e-10 : sum);
	}
}

static void two_frames(const struct lh_mel *m, const float *wave, size_t frames, size_t f, float *out)
{
	static const unsigned char radix[] = { 4, 4, 5, 5, 1 };
	const long count = (long)(frames * LH_MEL_HOP), at = (long)(f * LH_MEL_HOP) - HALF;
	const bool second = f + 1 < frames;
	struct complex in[N], z[N];
	double power[2][BINS];
	for (long i = 0; i < N; i++)
		in[i] = (struct complex){ sample(wave, count, at + i) * m->window[i],
					  second ? sample(wave, count, at + LH_MEL_HOP + i) * m->window[i] : 0 };
	transform(m, radix, N, 1, in, z);
	for (unsigned k = 0; k < BINS; k++) {
		const struct complex a = z[k], b = z[(N - k) % N];
		const double r0 = (a.re + b.re) / 2, i0 = (a.im - b.im) / 2, r1 = (a.im + b.im) / 2, i1 = (b.re - a.re) / 2;
		power[0][k] = r0 * r0 + i0 * i0;
		power[1][k] = r1 * r1 + i1 * i1;
	}
	bands(m, power[0], out);
	if (second)
		bands(m, power[1], out + LH_MEL_BANDS);
}

void lh_mel_spectrum(const struct lh_mel *m, const float *wave, size_t frames, float *out)
{
	float largest = -10;
	for (size_t f = 0; f < frames; f += 2)
		two_frames(m, wave, frames, f, out + f * LH_MEL_BANDS);
	for (size_t i = 0; i < frames * LH_MEL_BANDS; i++)
		largest = out[i] > largest ? out[i] : largest;
	for (size_t i = 0; i < frames * LH_MEL_BANDS; i++)
		out[i] = ((out[i] < largest - 8 ? largest - 8 : out[i]) + 4) / 4;
}
