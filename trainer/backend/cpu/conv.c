/* Convolution as a matrix product over unfolded images, one image at a time so that the unfolded copy stays in
 * cache and its size does not depend on the batch; and max pooling. */
#include "backend/cpu/vec.h"

static size_t unfolded_cols(const struct lh_conv2d *c) { return c->kernel * c->kernel * c->cin; }

size_t lh_op_conv2d_scratch(const struct lh_conv2d *c)
{
	return c->side * c->side * unfolded_cols(c) + unfolded_cols(c) * c->cout;
}

/* Visit every (output pixel, kernel tap) pair: cols gets x, or x gets cols added. Taps outside are zero. */
static void unfold(const struct lh_conv2d *c, const real *x, real *cols)
{
	const long side = (long)c->side, k = (long)c->kernel, half = k / 2;
	for (long i = 0; i < side; i++)
		for (long j = 0; j < side; j++)
			for (long u = i - half; u < i - half + k; u++)
				for (long v = j - half; v < j - half + k; v++, cols += c->cin)
					if (u < 0 || u >= side || v < 0 || v >= side)
						memset(cols, 0, c->cin * sizeof *cols);
					else
						memcpy(cols, x + (size_t)(u * side + v) * c->cin,
						       c->cin * sizeof *cols);
}

static void fold(const struct lh_conv2d *c, const real *cols, real *x)
{
	const long side = (long)c->side, k = (long)c->kernel, half = k / 2;
	memset(x, 0, c->side * c->side * c->cin * sizeof *x);
	for (long i = 0; i < side; i++)
		for (long j = 0; j < side; j++)
			for (long u = i - half; u < i - half + k; u++)
				for (long v = j - half; v < j - half + k; v++, cols += c->cin) {
					if (u < 0 || u >= side || v < 0 || v >= side)
						continue;
					real *pixel = x + (size_t)(u * side + v) * c->cin;
					for (size_t ch = 0; ch < c->cin; ch++)
						pixel[ch] += cols[ch];
				}
}

void lh_op_conv2d_forward(const struct lh_conv2d *c, size_t n, const real *x, const real *w, const real *b, real *y,
			  real *scratch)
{
	const size_t pixels = c->side * c->side, depth = unfolded_cols(c);
	for (size_t s = 0; s < n; s++) {
		unfold(c, x + s * pixels * c->cin, scratch);
		lh_op_gemm(pixels, c->cout, depth, scratch, depth, 1, w, c->cout, y + s * pixels * c->cout, c->cout,
			   false);
	}
	lh_op_bias_forward(n * pixels, c->cout, b, y);
}

void lh_op_conv2d_backward(const struct lh_conv2d *c, size_t n, const real *x, const real *w, const real *dy,
			   real *dx, real *dw, real *db, real *scratch)
{
	const size_t pixels = c->side * c->side, depth = unfolded_cols(c);
	real *transposed = scratch + pixels * depth;
	if (dx)
		lh_op_transpose(depth, c->cout, w, c->cout, transposed);
	for (size_t s = 0; s < n; s++) {
		const real *g = dy + s * pixels * c->cout;
		unfold(c, x + s * pixels * c->cin, scratch);
		lh_op_gemm(depth, c->cout, pixels, scratch, 1, depth, g, c->cout, dw, c->cout, true);
		if (!dx)
			continue;
		lh_op_gemm(pixels, depth, c->cout, g, c->cout, 1, transposed, depth, scratch, depth, false);
		fold(c, scratch, dx + s * pixels * c->cin);
	}
	lh_op_bias_backward(n * pixels, c->cout, dy, db);
}

void lh_op_maxpool_forward(size_t n, size_t side, size_t channels, const real *x, real *y, uint8_t *argmax)
{
	const size_t half = side / 2;
	for (size_t s = 0; s < n; s++, x += side * side * channels)
		for (size_t i = 0; i < half; i++)
			for (size_t j = 0; j < half; j++)
				for (size_t ch = 0; ch < channels; ch++) {
					const real *corner = x + (2 * i * side + 2 * j) * channels + ch;
					uint8_t best = 0;
					for (uint8_t q = 1; q < 4; q++)
						if (corner[((q >> 1) * side + (q & 1)) * channels] >
						    corner[((best >> 1) * side + (best & 1)) * channels])
							best = q;
					*y++ = corner[((best >> 1) * side + (best & 1)) * channels];
					*argmax++ = best;
				}
}

void lh_op_maxpool_backward(size_t n, size_t side, size_t channels, const uint8_t *argmax, const real *dy, real *dx)
{
	const size_t half = side / 2;
	memset(dx, 0, n * side * side * channels * sizeof *dx);
	for (size_t s = 0; s < n; s++, dx += side * side * channels)
		for (size_t i = 0; i < half; i++)
			for (size_t j = 0; j < half; j++)
				for (size_t ch = 0; ch < channels; ch++, argmax++)
					dx[((2 * i + (*argmax >> 1)) * side + 2 * j + (*argmax & 1)) * channels + ch] =
						*dy++;
}
