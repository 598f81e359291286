/* What linear layers and convolutions add to every row, and its gradient. */
#include "backend/cuda/columns.h"

namespace
{
template <typename T> struct bias_back {
	const T *dy;
	size_t c;
	template <int V> LH_MEMBER void at(size_t row, size_t j, float (&v)[1][V]) const
	{
		lh_load<V>(dy + row * c + j, v[0]);
	}
};
} // namespace

int lh_cuda_bias_forward(struct lh_backend *b, unsigned precision, size_t rows, size_t c, const float *bias, void *y,
			 struct lh_err *err)
{
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		T *own = static_cast<T *>(y);
		return lh_run_affine<T>(b, err, "bias", rows, {own, NULL, NULL, NULL, bias, own, false, c});
	});
}

size_t lh_cuda_bias_scratch(size_t rows, size_t c) { return lh_columns_scratch(1, rows, c); }

int lh_cuda_bias_backward(struct lh_backend *b, unsigned precision, size_t rows, size_t c, const void *dy, float *dbias,
			  void *scratch, struct lh_err *err)
{
	return lh_with_type(precision, [=](auto zero) {
		typedef decltype(zero) T;
		const bias_back<T> f = {static_cast<const T *>(dy), c};
		const lh_add_to<1> to = {{dbias}};
		return lh_columns<T, 1>(b, err, "bias", rows, c, lh_aligned<T>(lh_vector_of<T>(), c, f.dy), f, to, scratch);
	});
}
