/* Convolution as matrix products over unfolded pixels.
 *
 * Output pixels of all samples are numbered through and taken in blocks; row p of the block holds what pixel p sees,
 * [kh][kw][channels of one group], zero outside the image. A block is small enough to stay in the second-level cache
 * from being unfolded to being multiplied. A 1x1 convolution with stride 1 sees its own pixel only: the image is the
 * unfolded block already; taken in blocks all the same, since the library passes over its output more than once. */
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/vec.h"

/* Bytes of one unfolded block: a part of a second-level cache; and rows enough that packing and reading the kernels, which
 * each block does again, is little beside the products (64 rows: 0.65 of a large product's rate in ResNet-18, 512: 0.77). */
enum { BLOCK_BYTES = 1024 * 1024, BLOCK_ROWS_MIN = 512 };

struct geometry {
	struct lh_shape x, y;
	struct lh_window k;
	size_t cin, cout, depth; /* of one group; depth: columns of an unfolded row */
	size_t pixels, block;    /* rows in all, rows of a block */
	bool direct;
};

static struct geometry geometry(const struct lh_node *node, size_t n)
{
	const struct lh_window *k = &node->window;
	struct geometry g = { .x = node->x[0], .y = node->y, .k = *k };
	g.cin = g.x.c / node->groups;
	g.cout = g.y.c / node->groups;
	g.depth = k->kh * k->kw * g.cin;
	g.pixels = n * lh_shape_rows(g.y);
	g.direct = k->kh * k->kw == 1 && k->stride_h * k->stride_w == 1 && !k->pad_h && !k->pad_w;
	g.block = g.direct ? 2 * BLOCK_BYTES / sizeof(real) / (g.x.c + g.y.c) : BLOCK_BYTES / sizeof(real) / g.depth;
	g.block = g.block < BLOCK_ROWS_MIN ? BLOCK_ROWS_MIN : g.block;
	g.block = g.block > g.pixels ? g.pixels : g.block;
	return g;
}

static size_t scratch(const struct lh_node *node, size_t n)
{
	const struct geometry g = geometry(node, n);
	return g.direct ? 0 : g.block * g.depth * sizeof(real);
}

/* One row of taps of one output pixel: taps first ... last - 1 lie inside the image, the first of them at pixel `at`. */
struct taps {
	size_t first, last, at;
};

static struct taps row_of_taps(const struct geometry *g, size_t i, size_t j, size_t u)
{
	const long row = (long)(i * g->k.stride_h + u * g->k.dilation_h) - (long)g->k.pad_h;
	const long col = (long)(j * g->k.stride_w) - (long)g->k.pad_w, step = (long)g->k.dilation_w, w = (long)g->x.w;
	const long first = col < 0 ? (-col + step - 1) / step : 0;
	long last = col < w ? (w - 1 - col) / step + 1 : 0;
	last = last < (long)g->k.kw ? last : (long)g->k.kw;
	if (row < 0 || row >= (long)g->x.h || first >= last)
		return (struct taps){ 0, 0, 0 };
	return (struct taps){ (size_t)first, (size_t)last, (size_t)(row * w + col + first * step) };
}

/* cols gets what output pixels first ... first + rows see in the channels of one group. Neighbouring taps are
 * neighbours in the image too, unless there are groups or holes: then one copy takes the whole row. */
static void unfold(const struct geometry *g, size_t first, size_t rows, const real *x, real *cols)
{
	const bool whole = g->cin == g->x.c && g->k.dilation_w == 1;
	const size_t c = g->cin;
	for (size_t p = first; p < first + rows; p++) {
		const size_t sample = p / lh_shape_rows(g->y), at = p % lh_shape_rows(g->y), i = at / g->y.w, j = at % g->y.w;
		const real *image = x + sample * lh_shape_count(g->x);
		for (size_t u = 0; u < g->k.kh; u++, cols += g->k.kw * c) {
			const struct taps t = row_of_taps(g, i, j, u);
			const real *from = image + t.at * g->x.c;
			memset(cols, 0, t.first * c * sizeof *cols);
			memset(cols + t.last * c, 0, (g->k.kw - t.last) * c * sizeof *cols);
			if (whole)
				memcpy(cols + t.first * c, from, (t.last - t.first) * c * sizeof *cols);
			for (size_t v = t.first; v < t.last && !whole; v++, from += g->k.dilation_w * g->x.c)
				memcpy(cols + v * c, from, c * sizeof *cols);
		}
	}
}

static void add(size_t n, const real *from, real *to)
{
	LH_ELEMENTWISE
	for (size_t i = 0; i < n; i++)
		to[i] += from[i];
}

/* The transpose of unfold: x gets cols added. */
static void fold(const struct geometry *g, size_t first, size_t rows, const real *cols, real *x)
{
	const bool whole = g->cin == g->x.c && g->k.dilation_w == 1;
	const size_t c = g->cin;
	for (size_t p = first; p < first + rows; p++) {
		const size_t sample = p / lh_shape_rows(g->y), at = p % lh_shape_rows(g->y), i = at / g->y.w, j = at % g->y.w;
		real *image = x + sample * lh_shape_count(g->x);
		for (size_t u = 0; u < g->k.kh; u++, cols += g->k.kw * c) {
			const struct taps t = row_of_taps(g, i, j, u);
			real *to = image + t.at * g->x.c;
			if (whole)
				add((t.last - t.first) * c, cols + t.first * c, to);
			for (size_t v = t.first; v < t.last && !whole; v++, to += g->k.dilation_w * g->x.c)
				add(c, cols + v * c, to);
		}
	}
}

static int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct geometry g = geometry(r->node, r->n);
	const real *x = r->x[0], *w = r->param[0];
	real *y = r->y, *cols = r->scratch;
	for (size_t first = 0; first < g.pixels; first += g.block) {
		const size_t rows = g.pixels - first < g.block ? g.pixels - first : g.block;
		for (size_t i = 0; i < r->node->groups; i++) {
			const real *in = x + i * g.cin + (g.direct ? first * g.x.c : 0);
			if (!g.direct)
				unfold(&g, first, rows, in, cols);
			lh_gemm(false, true, rows, g.cout, g.depth, g.direct ? in : cols, g.direct ? g.x.c : g.depth,
				w + i * g.cout * g.depth, g.depth, y + first * g.y.c + i * g.cout, g.y.c, false);
		}
	}
	if (r->param[1])
		lh_op_bias_forward(g.pixels, g.y.c, r->param[1], y);
	return 0;
}

static void backward_block(const struct geometry *g, const struct lh_op_run *r, size_t first, size_t rows, size_t i)
{
	const size_t own = g->direct ? first * g->x.c : 0; /* where the block's pixels are, rather than what they see */
	const real *in = (const real *)r->x[0] + i * g->cin + own, *w = (const real *)r->param[0] + i * g->cout * g->depth;
	const real *dy = (const real *)r->dy + first * g->y.c + i * g->cout;
	real *cols = r->scratch;
	if (r->dparam[0]) {
		if (!g->direct)
			unfold(g, first, rows, in, cols);
		lh_gemm(true, false, g->cout, g->depth, rows, dy, g->y.c, g->direct ? in : cols,
			g->direct ? g->x.c : g->depth, (real *)r->dparam[0] + i * g->cout * g->depth, g->depth, true);
	}
	if (!r->dx[0])
		return;
	real *dx = (real *)r->dx[0] + i * g->cin + own;
	lh_gemm(false, false, rows, g->depth, g->cout, dy, g->y.c, w, g->depth, g->direct ? dx : cols,
		g->direct ? g->x.c : g->depth, g->direct && r->dx_add[0]);
	if (!g->direct)
		fold(g, first, rows, cols, dx);
}

static int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct geometry g = geometry(r->node, r->n);
	if (r->dx[0] && !g.direct && !r->dx_add[0])
		memset(r->dx[0], 0, r->n * lh_shape_count(g.x) * sizeof(real));
	for (size_t first = 0; first < g.pixels; first += g.block)
		for (size_t i = 0; i < r->node->groups; i++)
			backward_block(&g, r, first, g.pixels - first < g.block ? g.pixels - first : g.block, i);
	if (r->dparam[1])
		lh_op_bias_backward(g.pixels, g.y.c, r->dy, r->dparam[1]);
	return 0;
}

const struct lh_backend_op lh_cpu_conv2d = { .scratch = scratch, .forward = forward, .backward = backward };
