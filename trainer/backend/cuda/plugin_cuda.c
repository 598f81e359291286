/* The plugin's one symbol, and the backend's three tables. */
#include "backend/cuda/device.h"
#include "backend/plugin.h"

#define OPEN(precision, name)                                                                                          \
	static int name(const struct lh_backend_config *config, struct lh_backend **ret, struct lh_err *err)           \
	{                                                                                                              \
		return lh_cuda_open(precision, config, ret, err);                                                      \
	}
OPEN(LH_PRECISION_FP32, open_fp32)
OPEN(LH_PRECISION_BF16, open_bf16)
OPEN(LH_PRECISION_FP16, open_fp16)

static int cast_copy(struct lh_backend *b, void *copy, const void *param, size_t count, struct lh_err *err)
{
	return lh_cuda_cast(b, b->precision, count, param, copy, err);
}

#define OP(OP_NAME, name, p) [LH_OP_##OP_NAME] = &lh_cuda_##name[p]
#define TABLE(p, bytes, open_in)                                                                                       \
	{                                                                                                              \
		.name = "cuda", .precision = p, .activation_bytes = bytes, .element_bytes = sizeof(float),             \
		.fixed_bytes = LH_CUDA_FIXED_BYTES, .open = open_in, .close = lh_cuda_close, \
		.alloc = lh_cuda_alloc, .release = lh_cuda_release, .put = lh_cuda_put, .get = lh_cuda_get,            \
		.memory = lh_cuda_memory,                                                                              \
		.zero = lh_cuda_zero, .put_reals = lh_cuda_put_reals, .get_reals = lh_cuda_get_reals,                  \
		.cast = cast_copy, .wait = lh_cuda_wait, .optim_open = lh_cuda_update_open,                            \
		.optim_close = lh_cuda_update_close, .optim_square_sum = lh_cuda_update_square_sum,                    \
		.optim_step = lh_cuda_update_step,                                                                     \
		.op = {                                                                                                \
			OP(LINEAR, linear, p), OP(CONV2D, conv2d, p), OP(DEPTHWISE, depthwise, p),                     \
			OP(BATCHNORM, batchnorm, p), OP(LAYERNORM, layernorm, p), OP(RELU, relu, p),                   \
			OP(GELU, gelu, p), OP(SOFTMAX, softmax, p), OP(ATTENTION, attention, p),                       \
			OP(EMBEDDING, embedding, p), OP(ADD_ROWS, add_rows, p), OP(MAXPOOL, maxpool, p),               \
			OP(AVGPOOL, avgpool, p), OP(ADD, add, p), OP(SCALE, scale, p), OP(DROPOUT, dropout, p),        \
			OP(DROP_PATH, drop_path, p), OP(CROSS_ENTROPY, cross_entropy, p),                              \
		},                                                                                                     \
	}

static const struct lh_backend_ops tables[LH_PRECISIONS] = {
	[LH_PRECISION_FP32] = TABLE(LH_PRECISION_FP32, 4, open_fp32),
	[LH_PRECISION_BF16] = TABLE(LH_PRECISION_BF16, 2, open_bf16),
	[LH_PRECISION_FP16] = TABLE(LH_PRECISION_FP16, 2, open_fp16),
};

extern const struct lh_backend_plugin lh_backend_plugin;
__attribute__((visibility("default"))) const struct lh_backend_plugin lh_backend_plugin = {
	.version = LH_VERSION,
	.sizes = LH_BACKEND_PLUGIN_SIZES,
	.built_for = LH_CUDA_BUILT_FOR,
	.probe = lh_cuda_probe,
	.ops = { &tables[LH_PRECISION_FP32], &tables[LH_PRECISION_BF16], &tables[LH_PRECISION_FP16] },
};
