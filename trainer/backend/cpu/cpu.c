/* The cpu backend's table and its memory, which is the process's own. */
#include "backend/cpu/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static int cpu_open(const struct lh_backend_config *config, struct lh_backend **ret, struct lh_err *err)
{
	*ret = NULL; /* nothing to remember */
	return 0;
}

static void cpu_close(struct lh_backend *b) { }

static int cpu_alloc(struct lh_backend *b, size_t bytes, void **ret, struct lh_err *err)
{
	const size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	void *p = rounded >= bytes ? aligned_alloc(ALIGNMENT, rounded ? rounded : ALIGNMENT) : NULL;
	if (!p)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "%.1f MB of memory", (double)bytes / 1e6);
	memset(p, 0, rounded);
	*ret = p;
	return 0;
}

static void cpu_release(struct lh_backend *b, void *memory) { free(memory); }

static int cpu_copy(struct lh_backend *b, void *to, const void *from, size_t bytes, struct lh_err *err)
{
	if (bytes)
		memcpy(to, from, bytes);
	return 0;
}

static int cpu_copy_reals(struct lh_backend *b, void *to, const void *from, size_t count, struct lh_err *err)
{
	return cpu_copy(b, to, from, count * sizeof(real), err);
}

static int cpu_zero(struct lh_backend *b, void *device, size_t bytes, struct lh_err *err)
{
	memset(device, 0, bytes);
	return 0;
}

const struct lh_backend_ops lh_backend_cpu = {
	.name = "cpu",
	.element_bytes = sizeof(real),
	.activation_bytes = sizeof(real),
	.host_memory = true,
	.open = cpu_open,
	.close = cpu_close,
	.alloc = cpu_alloc,
	.release = cpu_release,
	.put = cpu_copy,
	.get = cpu_copy,
	.zero = cpu_zero,
	.put_reals = cpu_copy_reals,
	.get_reals = cpu_copy_reals,
	.op = {
		[LH_OP_LINEAR] = &lh_cpu_linear,
		[LH_OP_CONV2D] = &lh_cpu_conv2d,
		[LH_OP_DEPTHWISE] = &lh_cpu_depthwise,
		[LH_OP_BATCHNORM] = &lh_cpu_batchnorm,
		[LH_OP_LAYERNORM] = &lh_cpu_layernorm,
		[LH_OP_RELU] = &lh_cpu_relu,
		[LH_OP_GELU] = &lh_cpu_gelu,
		[LH_OP_SOFTMAX] = &lh_cpu_softmax,
		[LH_OP_ATTENTION] = &lh_cpu_attention,
		[LH_OP_EMBEDDING] = &lh_cpu_embedding,
		[LH_OP_ADD_ROWS] = &lh_cpu_add_rows,
		[LH_OP_MAXPOOL] = &lh_cpu_maxpool,
		[LH_OP_AVGPOOL] = &lh_cpu_avgpool,
		[LH_OP_ADD] = &lh_cpu_add,
		[LH_OP_SCALE] = &lh_cpu_scale,
		[LH_OP_DROPOUT] = &lh_cpu_dropout,
		[LH_OP_DROP_PATH] = &lh_cpu_drop_path,
		[LH_OP_CROSS_ENTROPY] = &lh_cpu_cross_entropy,
	},
};
