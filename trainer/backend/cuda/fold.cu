/* Unfolding and folding of images, element by element: each thread makes one number, so nothing is added atomically and the
 * order of every sum is that of the kernel's taps. */
#include "backend/cuda/fold.h"

#include "backend/cuda/kernel.h"

namespace
{
struct geometry {
	int in_h, in_w, out_h, out_w, kh, kw, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
	size_t all, cin; /* channels of the image, of one group */
};

geometry geometry_of(const struct lh_convolution *c)
{
	const struct lh_window &k = c->window;
	geometry g = {};
	g.in_h = static_cast<int>(c->x.h);
	g.in_w = static_cast<int>(c->x.w);
	g.out_h = static_cast<int>(c->y.h);
	g.out_w = static_cast<int>(c->y.w);
	g.kh = static_cast<int>(k.kh);
	g.kw = static_cast<int>(k.kw);
	g.stride_h = static_cast<int>(k.stride_h);
	g.stride_w = static_cast<int>(k.stride_w);
	g.pad_h = static_cast<int>(k.pad_h);
	g.pad_w = static_cast<int>(k.pad_w);
	g.dilation_h = static_cast<int>(k.dilation_h);
	g.dilation_w = static_cast<int>(k.dilation_w);
	g.all = c->x.c;
	g.cin = c->x.c / c->groups;
	return g;
}

LH_DEVICE size_t split(size_t &from, size_t by)
{
	const size_t whole = from / by, rest = from - whole * by;
	from = whole;
	return rest;
}

template <typename T> __global__ void unfold(geometry g, size_t count, const T *x, T *cols)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t e = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < count; e += step) {
		size_t rest = e;
		const size_t ch = split(rest, g.cin);
		const int v = static_cast<int>(split(rest, static_cast<size_t>(g.kw)));
		const int u = static_cast<int>(split(rest, static_cast<size_t>(g.kh)));
		const int j = static_cast<int>(split(rest, static_cast<size_t>(g.out_w)));
		const int i = static_cast<int>(split(rest, static_cast<size_t>(g.out_h)));
		const int row = i * g.stride_h + u * g.dilation_h - g.pad_h, col = j * g.stride_w + v * g.dilation_w - g.pad_w;
		float value = 0;
		if (row >= 0 && row < g.in_h && col >= 0 && col < g.in_w)
			value = lh_float(x[((rest * static_cast<size_t>(g.in_h) + static_cast<size_t>(row)) *
						static_cast<size_t>(g.in_w) + static_cast<size_t>(col)) * g.all + ch]);
		lh_round(value, cols + e);
	}
}

/* The output row whose tap u is input row i; -1: none. */
LH_DEVICE int seen_by(int at, int stride, int size)
{
	if (at < 0 || at % stride || at / stride >= size)
		return -1;
	return at / stride;
}

template <typename T> __global__ void fold(geometry g, size_t count, const T *cols, bool add, T *x)
{
	const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
	for (size_t e = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < count; e += step) {
		size_t rest = e;
		const size_t ch = split(rest, g.cin), pixel = rest;
		const int col = static_cast<int>(split(rest, static_cast<size_t>(g.in_w)));
		const int row = static_cast<int>(split(rest, static_cast<size_t>(g.in_h)));
		float sum = 0;
		for (int u = 0; u < g.kh; u++) {
			const int i = seen_by(row + g.pad_h - u * g.dilation_h, g.stride_h, g.out_h);
			for (int v = 0; v < g.kw && i >= 0; v++) {
				const int j = seen_by(col + g.pad_w - v * g.dilation_w, g.stride_w, g.out_w);
				if (j < 0)
					continue;
				const size_t at = (rest * static_cast<size_t>(g.out_h) + static_cast<size_t>(i)) *
						      static_cast<size_t>(g.out_w) + static_cast<size_t>(j);
				const size_t tap = static_cast<size_t>(u) * static_cast<size_t>(g.kw) + static_cast<size_t>(v);
				sum += lh_float(cols[(at * static_cast<size_t>(g.kh * g.kw) + tap) * g.cin + ch]);
			}
		}
		lh_put_one(x + pixel * g.all + ch, add, sum);
	}
}
} // namespace

int lh_cuda_unfold(struct lh_backend *b, const struct lh_convolution *c, size_t samples, size_t group, const void *x,
		   void *cols, struct lh_err *err)
{
	const geometry g = geometry_of(c);
	const size_t count = samples * lh_shape_rows(c->y) * c->window.kh * c->window.kw * g.cin;
	return lh_with_type(c->type, [=](auto zero) {
		typedef decltype(zero) T;
		return lh_launch(b, err, "unfold", lh_grid_over(b, count, 1, LH_MAP_THREADS), unfold<T>, g, count,
				 static_cast<const T *>(x) + group * g.cin, static_cast<T *>(cols));
	});
}

int lh_cuda_fold(struct lh_backend *b, const struct lh_convolution *c, size_t samples, size_t group, const void *cols,
		 bool add, void *dx, struct lh_err *err)
{
	const geometry g = geometry_of(c);
	const size_t count = samples * lh_shape_rows(c->x) * g.cin;
	return lh_with_type(c->type, [=](auto zero) {
		typedef decltype(zero) T;
		return lh_launch(b, err, "fold", lh_grid_over(b, count, 1, LH_MAP_THREADS), fold<T>, g, count,
				 static_cast<const T *>(cols), add, static_cast<T *>(dx) + group * g.cin);
	});
}

int lh_cuda_add_cast(struct lh_backend *b, enum lh_precision type, size_t n, const void *from, float *to,
		     struct lh_err *err)
{
	return lh_with_type(type, [=](auto zero) {
		typedef decltype(zero) T;
		return lh_run_copy<T, float>(b, err, "add_cast", n, {static_cast<const T *>(from), to, true});
	});
}
