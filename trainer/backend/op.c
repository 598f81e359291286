/* What every backend agrees on about an operation. */
#include "backend/backend.h"

const struct lh_op_traits lh_op_traits[LH_OP_COUNT] = {
	[LH_OP_LINEAR] = { "linear", 1, false },
	[LH_OP_CONV2D] = { "conv2d", 1, false },
	[LH_OP_DEPTHWISE] = { "depthwise", 1, false },
	[LH_OP_BATCHNORM] = { "batchnorm", 1, false },
	[LH_OP_LAYERNORM] = { "layernorm", 1, false },
	[LH_OP_RELU] = { "relu", 0, true },
	[LH_OP_GELU] = { "gelu", 1, false },
	[LH_OP_SOFTMAX] = { "softmax", 0, true },
	[LH_OP_ATTENTION] = { "attention", 15, true },
	[LH_OP_EMBEDDING] = { "embedding", 1, false },
	[LH_OP_ADD_ROWS] = { "add_rows", 0, false },
	[LH_OP_MAXPOOL] = { "maxpool", 0, false },
	[LH_OP_AVGPOOL] = { "avgpool", 0, false },
	[LH_OP_ADD] = { "add", 0, false },
	[LH_OP_SCALE] = { "scale", 1, false },
	[LH_OP_DROPOUT] = { "dropout", 0, false },
	[LH_OP_DROP_PATH] = { "drop_path", 0, false },
	[LH_OP_CROSS_ENTROPY] = { "cross_entropy", 3, false },
};

double lh_op_multiply_adds(const struct lh_node *node)
{
	const struct lh_window *k = &node->window;
	const double outputs = (double)lh_shape_count(node->y);
	switch (node->op) {
	case LH_OP_LINEAR: return outputs * (double)node->x[0].c;
	case LH_OP_CONV2D: return outputs * (double)(k->kh * k->kw * (node->x[0].c / node->groups));
	case LH_OP_DEPTHWISE: return outputs * (double)(k->kh * k->kw);
	case LH_OP_ATTENTION: return 2 * outputs * (double)lh_shape_rows(node->x[1]);
	default: return 0;
	}
}
