#include "simt_backend.h"

#include "backend/cuda/cuda.h"
#include "simt.h"

#include <cerrno>
#include <new>

namespace
{
/* Two multiprocessors, so that grids are small and threads stride. */
template <enum lh_precision P> int open_it(const struct lh_backend_config *config, struct lh_backend **ret, struct lh_err *err)
{
	struct lh_backend *b = new (std::nothrow) lh_backend();
	if (!b)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "simt");
	b->precision = P;
	b->cuda.processors = 2;
	b->cuda.tensor_cores = true;
	b->cuda.deterministic = !config || config->deterministic;
	*ret = b;
	return 0;
}
void close_it(struct lh_backend *b) { delete b; }

int alloc(struct lh_backend *, size_t bytes, void **ret, struct lh_err *err)
{
	*ret = lh_simt_alloc(bytes, true);
	return *ret ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "simt: %zu bytes", bytes);
}
void release(struct lh_backend *, void *p) { lh_simt_free(p); }

int put(struct lh_backend *, void *device, const void *host, size_t bytes, struct lh_err *)
{
	if (bytes)
		memcpy(device, host, bytes);
	return 0;
}
int get(struct lh_backend *b, void *host, const void *device, size_t bytes, struct lh_err *err)
{
	return put(b, host, device, bytes, err);
}
int zero(struct lh_backend *, void *device, size_t bytes, struct lh_err *)
{
	if (bytes)
		memset(device, 0, bytes);
	return 0;
}

int put_reals(struct lh_backend *b, void *device, const void *host, size_t count, struct lh_err *err)
{
	return lh_cuda_cast(b, b->precision, count, static_cast<const float *>(host), device, err);
}
int get_reals(struct lh_backend *b, void *host, const void *device, size_t count, struct lh_err *err)
{
	return lh_cuda_uncast(b, b->precision, count, device, static_cast<float *>(host), err);
}
int cast(struct lh_backend *b, void *copy, const void *param, size_t count, struct lh_err *err)
{
	return lh_cuda_cast(b, b->precision, count, static_cast<const float *>(param), copy, err);
}

template <enum lh_precision P> struct lh_backend_ops make()
{
	const unsigned p = P;
	struct lh_backend_ops o = {};
	o.name = "simt";
	o.precision = P;
	o.activation_bytes = P == LH_PRECISION_FP32 ? sizeof(float) : sizeof(uint16_t);
	o.element_bytes = sizeof(float);
	o.host_memory = true;
	o.open = open_it<P>;
	o.close = close_it;
	o.alloc = alloc;
	o.release = release;
	o.put = put;
	o.get = get;
	o.zero = zero;
	o.put_reals = put_reals;
	o.get_reals = get_reals;
	o.cast = cast;
	o.op[LH_OP_LINEAR] = &lh_cuda_linear[p];
	o.op[LH_OP_CONV2D] = &lh_cuda_conv2d[p];
	o.op[LH_OP_ATTENTION] = &lh_cuda_attention[p];
	o.op[LH_OP_DEPTHWISE] = &lh_cuda_depthwise[p];
	o.op[LH_OP_BATCHNORM] = &lh_cuda_batchnorm[p];
	o.op[LH_OP_LAYERNORM] = &lh_cuda_layernorm[p];
	o.op[LH_OP_RELU] = &lh_cuda_relu[p];
	o.op[LH_OP_GELU] = &lh_cuda_gelu[p];
	o.op[LH_OP_SOFTMAX] = &lh_cuda_softmax[p];
	o.op[LH_OP_EMBEDDING] = &lh_cuda_embedding[p];
	o.op[LH_OP_ADD_ROWS] = &lh_cuda_add_rows[p];
	o.op[LH_OP_MAXPOOL] = &lh_cuda_maxpool[p];
	o.op[LH_OP_AVGPOOL] = &lh_cuda_avgpool[p];
	o.op[LH_OP_ADD] = &lh_cuda_add[p];
	o.op[LH_OP_SCALE] = &lh_cuda_scale[p];
	o.op[LH_OP_DROPOUT] = &lh_cuda_dropout[p];
	o.op[LH_OP_DROP_PATH] = &lh_cuda_drop_path[p];
	o.op[LH_OP_CROSS_ENTROPY] = &lh_cuda_cross_entropy[p];
	return o;
}
} // namespace

const struct lh_backend_ops lh_backend_simt[3] = {make<LH_PRECISION_FP32>(), make<LH_PRECISION_BF16>(),
						  make<LH_PRECISION_FP16>()};

uint16_t lh_simt_narrow(unsigned precision, float x)
{
	return precision == LH_PRECISION_BF16 ? __float2bfloat16(x).bits : __float2half(x).bits;
}
float lh_simt_widen(unsigned precision, uint16_t u)
{
	return precision == LH_PRECISION_BF16 ? __bfloat162float(__nv_bfloat16{u}) : __half2float(__half{u});
}
