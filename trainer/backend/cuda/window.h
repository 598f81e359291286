/* window.h - which pixels meet in a window: a node's geometry as kernels read it. Sides of images are int; whole tensors
 * are counted in size_t. */
#ifndef BACKEND_CUDA_WINDOW_H
#define BACKEND_CUDA_WINDOW_H

#include "backend/cuda/kernel.h"

struct lh_place {
	size_t sample, channel;
	int i, j;
};

struct lh_taps {
	int in_h, in_w, out_h, out_w, kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;

	/* Where element n of [samples][h][w][c] stands. Division by 64 bits is slow on the device. */
	template <typename N> static LH_MEMBER struct lh_place place_of(N n, N c, N h, N w)
	{
		const N pixel = n / c, row = pixel / w, sample = row / h;
		struct lh_place p;
		p.channel = n - pixel * c;
		p.j = static_cast<int>(pixel - row * w);
		p.sample = sample;
		p.i = static_cast<int>(row - sample * h);
		return p;
	}
	static LH_MEMBER struct lh_place place(size_t n, size_t c, int h, int w)
	{
		if ((n | c) >> 32)
			return place_of<size_t>(n, c, static_cast<size_t>(h), static_cast<size_t>(w));
		return place_of<uint32_t>(static_cast<uint32_t>(n), static_cast<uint32_t>(c), static_cast<uint32_t>(h),
					  static_cast<uint32_t>(w));
	}
	LH_MEMBER size_t input(size_t sample, int row, int col) const
	{
		return (sample * static_cast<size_t>(in_h) + static_cast<size_t>(row)) * static_cast<size_t>(in_w) +
		       static_cast<size_t>(col);
	}
	LH_MEMBER size_t output(size_t sample, int row, int col) const
	{
		return (sample * static_cast<size_t>(out_h) + static_cast<size_t>(row)) * static_cast<size_t>(out_w) +
		       static_cast<size_t>(col);
	}
	/* The output row (column) whose tap u is input row i, or -1. */
	LH_MEMBER int out_row(int i, int u) const { return back(i + pad_h - u * dilation_h, stride_h, out_h); }
	LH_MEMBER int out_col(int j, int v) const { return back(j + pad_w - v * dilation_w, stride_w, out_w); }
	static LH_MEMBER int back(int at, int stride, int size)
	{
		if (at < 0 || at % stride)
			return -1;
		return at / stride < size ? at / stride : -1;
	}
};

static inline struct lh_taps lh_taps_of(const struct lh_node *node)
{
	const auto &k = node->window;
	struct lh_taps t = {};
	t.in_h = static_cast<int>(node->x[0].h);
	t.in_w = static_cast<int>(node->x[0].w);
	t.out_h = static_cast<int>(node->y.h);
	t.out_w = static_cast<int>(node->y.w);
	t.kh = static_cast<int>(k.kh);
	t.kw = static_cast<int>(k.kw);
	t.stride_h = static_cast<int>(k.stride_h);
	t.stride_w = static_cast<int>(k.stride_w);
	t.pad_h = static_cast<int>(k.pad_h);
	t.pad_w = static_cast<int>(k.pad_w);
	t.dilation_h = static_cast<int>(k.dilation_h);
	t.dilation_w = static_cast<int>(k.dilation_w);
	return t;
}

#endif
