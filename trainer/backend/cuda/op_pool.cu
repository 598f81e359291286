/* Max and average pooling. Max never takes the padding, the first of equals wins, and NaN wins over all; average counts
 * the padding as zeros. Backward asks of each input pixel which outputs have it in their window, so that nothing is
 * scattered and the order of each sum is fixed. */
#include "backend/cuda/kernel.h"
#include "backend/cuda/window.h"

namespace
{
/* state: which tap won, for each output */
size_t max_state(const struct lh_node *node, size_t n) { return n * lh_shape_count(node->y) * sizeof(uint16_t); }

template <typename T, bool MAX>
__global__ void pool(struct lh_taps g, size_t count, size_t c, const T *x, uint16_t *won, T *y)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
		const struct lh_place p = g.place(i, c, g.out_h, g.out_w);
		float best = MAX ? -INFINITY : 0;
		int which = 0;
		for (int u = 0; u < g.kh; u++)
			for (int v = 0; v < g.kw; v++) {
				const int row = p.i * g.stride_h + u * g.dilation_h - g.pad_h;
				const int col = p.j * g.stride_w + v * g.dilation_w - g.pad_w;
				if (row < 0 || row >= g.in_h || col < 0 || col >= g.in_w)
					continue;
				const float a = lh_float(x[g.input(p.sample, row, col) * c + p.channel]);
				if (!MAX) {
					best += a;
				} else if (!(a <= best) && best == best) {
					best = a;
					which = u * g.kw + v;
				}
			}
		if (MAX)
			won[i] = static_cast<uint16_t>(which);
		lh_round(MAX ? best : best / static_cast<float>(g.kh * g.kw), y + i);
	}
}

template <typename T, bool MAX>
__global__ void pool_back(struct lh_taps g, size_t count, size_t c, const uint16_t *won, const T *dy, T *dx, bool add)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
		const struct lh_place p = g.place(i, c, g.in_h, g.in_w);
		float sum = 0;
		for (int u = 0; u < g.kh; u++) {
			const int row = g.out_row(p.i, u);
			for (int v = 0; v < g.kw && row >= 0; v++) {
				const int col = g.out_col(p.j, v);
				if (col < 0)
					continue;
				const size_t at = g.output(p.sample, row, col) * c + p.channel;
				if (!MAX || won[at] == u * g.kw + v)
					sum += lh_float(dy[at]);
			}
		}
		lh_put_one(dx + i, add, MAX ? sum : sum / static_cast<float>(g.kh * g.kw));
	}
}

template <typename T, bool MAX> int forward_of(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t count = r->n * lh_shape_count(r->node->y);
	return lh_launch(b, err, MAX ? "maxpool" : "avgpool", lh_grid_over(b, count, 1, LH_MAP_THREADS), pool<T, MAX>,
			 lh_taps_of(r->node), count, r->node->y.c, static_cast<const T *>(r->x[0]),
			 static_cast<uint16_t *>(r->state), static_cast<T *>(r->y));
}

template <typename T, bool MAX> int backward_of(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	const size_t count = r->n * lh_shape_count(r->node->x[0]);
	if (!r->dx[0])
		return 0;
	return lh_launch(b, err, MAX ? "maxpool" : "avgpool", lh_grid_over(b, count, 1, LH_MAP_THREADS), pool_back<T, MAX>,
			 lh_taps_of(r->node), count, r->node->y.c, static_cast<const uint16_t *>(r->state),
			 static_cast<const T *>(r->dy), static_cast<T *>(r->dx[0]), r->dx_add[0]);
}

template <typename T> int max_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return forward_of<T, true>(b, r, err);
}
template <typename T> int max_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return backward_of<T, true>(b, r, err);
}
template <typename T> int average_forward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return forward_of<T, false>(b, r, err);
}
template <typename T> int average_backward(struct lh_backend *b, const struct lh_op_run *r, struct lh_err *err)
{
	return backward_of<T, false>(b, r, err);
}
} // namespace

LH_CUDA_TABLE(maxpool, max_state, NULL, max_forward, max_backward);
LH_CUDA_TABLE(avgpool, NULL, NULL, average_forward, average_backward);
