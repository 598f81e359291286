/* What stands behind product.h on the host: the product by its definition, and no library for convolutions, so that
 * op_conv2d.c takes its own way. */
#include "backend/cuda/product.h"
#include "simt.h"

#include <cerrno>

namespace
{
double element(enum lh_precision type, const void *p, size_t i)
{
	if (type == LH_PRECISION_FP32)
		return static_cast<double>(static_cast<const float *>(p)[i]);
	if (type == LH_PRECISION_BF16)
		return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16 *>(p)[i]));
	return static_cast<double>(__half2float(static_cast<const __half *>(p)[i]));
}

void put(enum lh_precision type, void *p, size_t i, double v)
{
	if (type == LH_PRECISION_FP32)
		static_cast<float *>(p)[i] = static_cast<float>(v);
	else if (type == LH_PRECISION_BF16)
		static_cast<__nv_bfloat16 *>(p)[i] = __float2bfloat16(static_cast<float>(v));
	else
		static_cast<__half *>(p)[i] = __float2half(static_cast<float>(v));
}

void one(const struct lh_product &p, size_t batch, const void *x, const void *y, const void *bias, void *c)
{
	const size_t a0 = batch * p.stride_a, b0 = batch * p.stride_b, c0 = batch * p.stride_c;
	for (size_t i = 0; i < p.m; i++)
		for (size_t j = 0; j < p.n; j++) {
			double sum = 0;
			for (size_t k = 0; k < p.k; k++)
				sum += element(p.in, x, a0 + (p.ta ? k * p.lda + i : i * p.lda + k)) *
				       element(p.in, y, b0 + (p.tb ? j * p.ldb + k : k * p.ldb + j));
			sum *= static_cast<double>(p.alpha);
			sum += p.add ? element(p.out, c, c0 + i * p.ldc + j) : 0;
			sum += p.bias ? element(p.out, bias, j) : 0;
			put(p.out, c, c0 + i * p.ldc + j, sum);
		}
}
} // namespace

int lh_product_run(struct lh_backend *, const struct lh_product *p, const void *x, const void *y, const void *bias, void *c,
		   struct lh_err *err)
{
	if (!p->batch || (p->out != LH_PRECISION_FP32 && p->out != p->in))
		return lh_err_set(err, LH_EXIT_MACHINE, -EINVAL, "a product that no library has");
	for (size_t i = 0; i < p->batch; i++)
		one(*p, i, x, y, bias, c);
	return 0;
}

int lh_convolution_forward(struct lh_backend *, const struct lh_convolution *, const void *, const void *, void *,
			   struct lh_err *)
{
	return -ENOTSUP;
}
int lh_convolution_data(struct lh_backend *, const struct lh_convolution *, const void *, const void *, void *, bool,
			struct lh_err *)
{
	return -ENOTSUP;
}
int lh_convolution_filter(struct lh_backend *, const struct lh_convolution *, const void *, const void *, float *, void *,
			  struct lh_err *)
{
	return -ENOTSUP;
}
size_t lh_convolution_scratch(const struct lh_convolution *) { return 0; }
int lh_product_open(struct lh_backend *, struct lh_err *) { return 0; }
void lh_product_close(struct lh_backend *) {}
