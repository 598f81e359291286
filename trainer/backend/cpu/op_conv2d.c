/* Convolution as matrix products over unfolded pixels.
 *
 * Output pixels of all samples are numbered through and taken in blocks; row p of the block holds what pixel p sees,
 * [kh][kw][channels of one group], zero outside the image. A block is small enough to stay in the second-level cache
 * from being unfolded to being multiplied. A 1x1 convolution with stride 1 sees its own pixel only: the image is the
 * unfolded block already. */
#include <string.h>

#include "backend/cpu/cpu.h"

/* Bytes of one unfolded block: half of a second-level cache of 1 MB. */
enum { BLOCK_BYTES = 512 * 1024 };

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
	g.block = BLOCK_BYTES / sizeof(real) / g.depth;
	g.block = g.block < 16 ? 16 : g.block;
	if (g.direct || g.block > g.pixels)
		g.block = g.pixels;
	return g;
}

static size_t scratch(const struct lh_node *node, size_t n)
{
	const struct geometry g = geometry(node, n);
	return g.direct ? 0 : g.block * g.depth * sizeof(real);
}

/* Where in a sample's image tap (u, v) of output pixel (i, j) lies; -1: outside. */
static inline long tap(const struct geometry *g, size_t i, size_t j, size_t u, size_t v)
{
	const long row = (long)(i * g->k.stride_h + u * g->k.dilation_h) - (long)g->k.pad_h;
	const long col = (long)(j * g->k.stride_w + v * g->k.dilation_w) - (long)g->k.pad_w;
	return row < 0 || col < 0 || row >= (long)g->x.h || col >= (long)g->x.w ? -1 : row * (long)g->x.w + col;
}

/* cols gets what output pixels first ... first + rows see in the channels of one group. */
static void unfold(const struct geometry *g, size_t first, size_t rows, const real *x, real *cols)
{
	for (size_t p = first; p < first + rows; p++) {
		const size_t sample = p / lh_shape_rows(g->y), at = p % lh_shape_rows(g->y);
		const real *image = x + sample * lh_shape_count(g->x);
		for (size_t u = 0; u < g->k.kh; u++)
			for (size_t v = 0; v < g->k.kw; v++, cols += g->cin) {
				const long t = tap(g, at / g->y.w, at % g->y.w, u, v);
				if (t < 0)
					memset(cols, 0, g->cin * sizeof *cols);
				else
					memcpy(cols, image + (size_t)t * g->x.c, g->cin * sizeof *cols);
			}
	}
}

/* The transpose of unfold: x gets cols added. */
static void fold(const struct geometry *g, size_t first, size_t rows, const real *cols, real *x)
{
	for (size_t p = first; p < first + rows; p++) {
		const size_t sample = p / lh_shape_rows(g->y), at = p % lh_shape_rows(g->y);
		real *image = x + sample * lh_shape_count(g->x);
		for (size_t u = 0; u < g->k.kh; u++)
			for (size_t v = 0; v < g->k.kw; v++, cols += g->cin) {
				const long t = tap(g, at / g->y.w, at % g->y.w, u, v);
				if (t < 0)
					continue;
				real *pixel = image + (size_t)t * g->x.c;
				for (size_t c = 0; c < g->cin; c++)
					pixel[c] += cols[c];
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
			const real *in = x + i * g.cin;
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
	const real *in = (const real *)r->x[0] + i * g->cin, *w = (const real *)r->param[0] + i * g->cout * g->depth;
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
	real *dx = (real *)r->dx[0] + i * g->cin;
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
