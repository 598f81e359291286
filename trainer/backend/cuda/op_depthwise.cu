/* Depthwise convolution: each channel has a kernel of its own, weights [kh][kw][c] in float.
 *
 * Lanes of a warp are neighbouring channels. Where nothing is skipped (stride and dilation 1) and the kernel is as wide as
 * one of those made here, a thread makes a strip of outputs of a row, so that an input that it loads serves KW of them;
 * the gradient of the input is the same with the kernel turned over. Any other geometry goes element by element.
 * The gradient of the weights sums over rows of outputs in blocks, then over blocks: an order that follows from the shape. */
#include "backend/cuda/columns.h"
#include "backend/cuda/window.h"

namespace
{
enum { STRIP = 8, LANES = LH_COLUMN_LANES, WORKERS = LH_COLUMN_ROWS };
constexpr size_t ROWS_BLOCKS_MAX = 32, ROWS_MIN = 8;

struct strips {
	int in_h, in_w, out_h, out_w, kh, pad_h, pad_w;
	size_t c, rows, across; /* rows of outputs over all samples, strips of a row */
};

/* y = x * w + bias. FLIP: x is dy and y is dx, with the kernel turned over. */
template <typename T, int V, int KW, bool FLIP>
__global__ void strip(struct strips g, const T *x, const float *w, const float *bias, T *y, bool add)
{
	const size_t j = (static_cast<size_t>(blockIdx.x) * LANES + threadIdx.x) * V;
	const size_t step = static_cast<size_t>(gridDim.y) * WORKERS;
	for (size_t s = static_cast<size_t>(blockIdx.y) * WORKERS + threadIdx.y; s < g.rows * g.across && j < g.c; s += step) {
		const size_t line = s / g.across, sample = line / static_cast<size_t>(g.out_h);
		const int row = static_cast<int>(line % static_cast<size_t>(g.out_h));
		const int first = static_cast<int>(s % g.across) * STRIP;
		float sum[STRIP][V];
#pragma unroll
		for (int o = 0; o < STRIP; o++)
#pragma unroll
			for (int k = 0; k < V; k++)
				sum[o][k] = bias ? bias[j + k] : 0;
		for (int u = 0; u < g.kh; u++) {
			const int in_row = row + u - g.pad_h;
			if (in_row < 0 || in_row >= g.in_h)
				continue;
			const T *from = x + (sample * g.in_h + in_row) * g.in_w * g.c + j;
			const float *tap = w + (FLIP ? g.kh - 1 - u : u) * KW * g.c + j;
			float weight[KW][V];
#pragma unroll
			for (int v = 0; v < KW; v++)
#pragma unroll
				for (int k = 0; k < V; k++)
					weight[v][k] = tap[(FLIP ? KW - 1 - v : v) * g.c + k];
#pragma unroll
			for (int t = 0; t < STRIP + KW - 1; t++) {
				const int col = first + t - g.pad_w;
				float in[V] = {};
				if (col >= 0 && col < g.in_w)
					lh_load<V>(from + col * g.c, in);
#pragma unroll
				for (int v = 0; v < KW; v++)
#pragma unroll
					for (int k = 0; k < V; k++)
						if (t - v >= 0 && t - v < STRIP)
							sum[t - v][k] += in[k] * weight[v][k];
			}
		}
		T *to = y + (line * g.out_w + first) * g.c + j;
#pragma unroll
		for (int o = 0; o < STRIP; o++)
			if (first + o < g.out_w)
				lh_put<V>(to + o * g.c, add, sum[o]);
	}
}

/* Element by element. */
template <typename T>
__global__ void any(struct lh_taps g, size_t count, size_t c, const T *x, const float *w, const float *bias, T *y)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
		const struct lh_place p = g.place(i, c, g.out_h, g.out_w);
		float sum = bias ? bias[p.channel] : 0;
		for (int u = 0; u < g.kh; u++)
			for (int v = 0; v < g.kw; v++) {
				const int row = p.i * g.stride_h + u * g.dilation_h - g.pad_h;
				const int col = p.j * g.stride_w + v * g.dilation_w - g.pad_w;
				if (row >= 0 && row < g.in_h && col >= 0 && col < g.in_w)
					sum += lh_float(x[g.input(p.sample, row, col) * c + p.channel]) *
					       w[(u * g.kw + v) * c + p.channel];
			}
		lh_round(sum, y + i);
	}
}

template <typename T>
__global__ void any_back(struct lh_taps g, size_t count, size_t c, const T *dy, const float *w, T *dx, bool add)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
		const struct lh_place p = g.place(i, c, g.in_h, g.in_w);
		float sum = 0;
		for (int u = 0; u < g.kh; u++) {
			const int row = g.out_row(p.i, u);
			for (int v = 0; v < g.kw && row >= 0; v++) {
				const int col = g.out_col(p.j, v);
				if (col >= 0)
					sum += lh_float(dy[g.output(p.sample, row, col) * c + p.channel]) *
					       w[(u * g.kw + v) * c + p.channel];
			}
		}
		lh_put_one(dx + i, add, sum);
	}
}

/* Block (channels, kernel's row or tap, rows of outputs): partial [blocks of rows][kh][kw][c]. */
template <int KW> LH_DEVICE void reduce_taps(const float (&sum)[KW], double *partial, size_t c, size_t j)
{
	LH_SHARED(float, part, KW * WORKERS * LANES);
#pragma unroll
	for (int v = 0; v < KW; v++)
		part[(v * WORKERS + threadIdx.y) * LANES + threadIdx.x] = sum[v];
	__syncthreads();
	for (unsigned v = threadIdx.y; v < KW && j < c; v += WORKERS) {
		double total = 0;
		for (unsigned y = 0; y < WORKERS; y++)
			total += static_cast<double>(part[(v * WORKERS + y) * LANES + threadIdx.x]);
		partial[v * c + j] = total;
	}
}

template <typename T, int KW>
__global__ void strip_weights(struct strips g, size_t rows_of_block, const T *x, const T *dy, double *partial)
{
	const size_t j = static_cast<size_t>(blockIdx.x) * LANES + threadIdx.x;
	const int u = static_cast<int>(blockIdx.y);
	const size_t begin = blockIdx.z * rows_of_block;
	const size_t end = g.rows - begin < rows_of_block ? g.rows : begin + rows_of_block;
	float sum[KW] = {};
	for (size_t line = begin + threadIdx.y; line < end && j < g.c; line += WORKERS) {
		const int in_row = static_cast<int>(line % static_cast<size_t>(g.out_h)) + u - g.pad_h;
		if (in_row < 0 || in_row >= g.in_h)
			continue;
		const T *from = x + (line / static_cast<size_t>(g.out_h) * g.in_h + in_row) * g.in_w * g.c + j;
		const T *out = dy + line * g.out_w * g.c + j;
		for (int first = 0; first < g.out_w; first += STRIP) {
			float d[STRIP];
#pragma unroll
			for (int o = 0; o < STRIP; o++)
				d[o] = first + o < g.out_w ? lh_float(out[(first + o) * g.c]) : 0;
#pragma unroll
			for (int t = 0; t < STRIP + KW - 1; t++) {
				const int col = first + t - g.pad_w;
				const float in = col >= 0 && col < g.in_w ? lh_float(from[col * g.c]) : 0;
#pragma unroll
				for (int v = 0; v < KW; v++)
					if (t - v >= 0 && t - v < STRIP)
						sum[v] += in * d[t - v];
			}
		}
	}
	reduce_taps<KW>(sum, partial + (static_cast<size_t>(blockIdx.z) * gridDim.y + u) * KW * g.c, g.c, j);
}

template <typename T>
__global__ void any_weights(struct lh_taps g, size_t rows, size_t c, size_t rows_of_block, const T *x, const T *dy,
			    double *partial)
{
	const size_t j = static_cast<size_t>(blockIdx.x) * LANES + threadIdx.x;
	const int u = static_cast<int>(blockIdx.y) / g.kw, v = static_cast<int>(blockIdx.y) % g.kw;
	const size_t begin = blockIdx.z * rows_of_block, end = rows - begin < rows_of_block ? rows : begin + rows_of_block;
	float sum[1] = {};
	for (size_t line = begin + threadIdx.y; line < end && j < c; line += WORKERS) {
		const size_t sample = line / static_cast<size_t>(g.out_h);
		const int i = static_cast<int>(line % static_cast<size_t>(g.out_h));
		const int row = i * g.stride_h + u * g.dilation_h - g.pad_h;
		for (int o = 0; o < g.out_w && row >= 0 && row < g.in_h; o++) {
			const int col = o * g.stride_w + v * g.dilation_w - g.pad_w;
			if (col >= 0 && col < g.in_w)
				sum[0] += lh_float(x[g.input(sample, row, col) * c + j]) *
					  lh_float(dy[g.output(sample, i, o) * c + j]);
		}
	}
	reduce_taps<1>(sum, partial + (static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y) * c, c, j);
}

/* --- launches --- */

struct cut {
	size_t blocks, rows;
};
cut cut_of(size_t rows)
{
	size_t n = (rows + ROWS_MIN - 1) / ROWS_MIN;
	n = n > ROWS_BLOCKS_MAX ? ROWS_BLOCKS_MAX : n;
	const size_t each = (rows + n - 1) / n;
	return {(rows + each - 1) / each, each};
}

size_t scratch(const struct lh_node *node, size_t n)
{
	const auto &k = node->window;
	const size_t taps = cut_of(n * node->y.h).blocks * k.kh * k.kw * node->y.c * sizeof(double);
	const size_t bias = lh_cuda_bias_scratch(n * lh_shape_rows(node->y), node->y.c);
	return taps > bias ? taps : bias;
}

bool plain(const struct lh_node *node)
{
	const auto &k = node->window;
	return k.stride_h * k.stride_w * k.dilation_h * k.dilation_w == 1 && (k.kw == 7 || k.kw == 3);
}

struct strips strips_of(const struct lh_node *node, size_t n, bool flip)
{
	const auto &k = node->window;
	const struct lh_shape in = flip ? node->y : node->x[0], out = flip ? node->x[0] : node->y;
	struct strips g = {};
	g.in_h = static_cast<int>(in.h);
	g.in_w = static_cast<int>(in.w);
	g.out_h = static_cast<int>(out.h);
	g.out_w = static_cast<int>(out.w);
	g.kh = static_cast<int>(k.kh);
	g.pad_h = static_cast<int>(flip ? k.kh - 1 - k.pad_h : k.pad_h);
	g.pad_w = static_cast<int>(flip ? k.kw - 1 - k.pad_w : k.pad_w);
	g.c = node->y.c;
	g.rows = n * out.h;
	g.across = (out.w + STRIP - 1) / STRIP;
	return g;
}

template <typename T, int V, bool FLIP>
int launch_strips(struct lh_backend *b, const struct lh_op_run *r, const void *from, const float *bias, void *to, bool add,
		  struct lh_err *err)
{
	const struct strips s = strips_of(r->node, r->n, FLIP);
	const size_t tiles = (s.c + LANES * V - 1) / (LANES * V), wanted = (s.rows * s.across + WORKERS - 1) / WORKERS;
	const size_t most = static_cast<size_t>(lh_cuda_of(b)->processors) * LH_BLOCKS_PER_PROCESSOR / tiles + 1;
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(wanted < most ? wanted : most));
	g.threads = dim3(LANES, WORKERS);
	return lh_launch(b, err, "depthwise", g, r->node->window.kw == 7 ? strip<T, V, 7, FLIP> : strip<T, V, 3, FLIP>, s,
			 static_cast<const T *>(from), static_cast<const float *>(r->param[0]), bias, static_cast<T *>(to), add);
}

template <typename T, bool FLIP>
int run_strips(struct lh_backend *b, const struct lh_op_run *r, const void *from, const float *bias, void *to, bool add,
	       struct lh_err *err)
{
	if (lh_aligned<T>(2, r->node->y.c, from, to))
		return launch_strips<T, 2, FLIP>(b, r, from, bias, to, add, err);
	return launch_strips<T, 1, FLIP>(b, r, from, bias, to, add, err);
}

template <typename T> int forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const float *bias = static_cast<const float *>(r->param[1]);
	const size_t count = r->n * lh_shape_count(r->node->y);
	if (plain(r->node))
		return run_strips<T, false>(b, r, r->x[0], bias, r->y, false, err);
	return lh_launch(b, err, "depthwise", lh_grid_over(b, count, 1, LH_MAP_THREADS), any<T>, lh_taps_of(r->node), count,
			 r->node->y.c, static_cast<const T *>(r->x[0]), static_cast<const float *>(r->param[0]), bias,
			 static_cast<T *>(r->y));
}

template <typename T> int to_weights(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const auto &k = node->window;
	const struct strips s = strips_of(node, r->n, false);
	const cut part = cut_of(s.rows);
	const size_t taps = k.kh * k.kw * s.c;
	const T *x = static_cast<const T *>(r->x[0]), *dy = static_cast<const T *>(r->dy);
	double *partial = static_cast<double *>(r->scratch);
	lh_grid g = {};
	g.blocks = dim3(static_cast<unsigned>((s.c + LANES - 1) / LANES),
			static_cast<unsigned>(plain(node) ? k.kh : k.kh * k.kw), static_cast<unsigned>(part.blocks));
	g.threads = dim3(LANES, WORKERS);
	int rc;
	if (plain(node))
		rc = lh_launch(b, err, "depthwise", g, k.kw == 7 ? strip_weights<T, 7> : strip_weights<T, 3>, s, part.rows, x,
			       dy, partial);
	else
		rc = lh_launch(b, err, "depthwise", g, any_weights<T>, lh_taps_of(node), s.rows, s.c, part.rows, x, dy,
			       partial);
	const lh_add_to<1> to = {{static_cast<float *>(r->dparam[0])}};
	g.blocks = dim3(static_cast<unsigned>((taps + LANES - 1) / LANES));
	return rc ? rc
		  : lh_launch(b, err, "depthwise", g, lh_columns_second<1, lh_add_to<1>>, part.blocks, taps,
			      static_cast<const double *>(partial), to);
}

template <typename T> int backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const struct lh_node *node = r->node;
	const size_t count = r->n * lh_shape_count(node->x[0]);
	int rc = r->dparam[0] ? to_weights<T>(b, r, err) : 0;
	if (!rc && r->dparam[1])
		rc = lh_cuda_bias_backward(b, lh_precision_of<T>::value, r->n * lh_shape_rows(node->y), node->y.c, r->dy,
					   static_cast<float *>(r->dparam[1]), r->scratch, err);
	if (rc || !r->dx[0])
		return rc;
	if (plain(node))
		return run_strips<T, true>(b, r, r->dy, NULL, r->dx[0], r->dx_add[0], err);
	return lh_launch(b, err, "depthwise", lh_grid_over(b, count, 1, LH_MAP_THREADS), any_back<T>, lh_taps_of(node), count,
			 node->y.c, static_cast<const T *>(r->dy), static_cast<const float *>(r->param[0]),
			 static_cast<T *>(r->dx[0]), r->dx_add[0]);
}
} // namespace

LH_CUDA_TABLE(depthwise, NULL, scratch, forward, backward);
