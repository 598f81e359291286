/* ResNet (He and others 2015) and Wide ResNet, as torchvision has them: the stride of a bottleneck is on its 3x3. */
#include "model/zoo.h"

struct block {
	int x;
	struct lh_name name;
	size_t planes, stride, inner;
};

static int conv_bn(struct lh_graph *g, int x, struct lh_name block, unsigned i, struct lh_conv c)
{
	x = lh_g_conv2d(g, x, lh_name("%.60s.conv%u", block.text, i), c);
	return lh_g_batchnorm(g, x, lh_name("%.60s.bn%u", block.text, i));
}

static int residual(struct lh_graph *g, const struct block *b, size_t out, bool project)
{
	const size_t width = b->inner ? b->planes * b->inner : b->planes;
	int y, shortcut = b->x;
	if (b->inner) {
		y = lh_g_relu(g, conv_bn(g, b->x, b->name, 1, (struct lh_conv){ .out = width, .kernel = 1 }));
		y = conv_bn(g, y, b->name, 2,
			    (struct lh_conv){.out = width, .kernel = 3, .padding = 1, .stride = b->stride});
		y = conv_bn(g, lh_g_relu(g, y), b->name, 3, (struct lh_conv){ .out = out, .kernel = 1 });
	} else {
		y = conv_bn(g, b->x, b->name, 1,
			    (struct lh_conv){.out = width, .kernel = 3, .padding = 1, .stride = b->stride});
		y = conv_bn(g, lh_g_relu(g, y), b->name, 2, (struct lh_conv){ .out = out, .kernel = 3, .padding = 1 });
	}
	if (project) {
		shortcut = lh_g_conv2d(g, b->x, lh_name("%.60s.downsample.0", b->name.text),
				       (struct lh_conv){ .out = out, .kernel = 1, .stride = b->stride });
		shortcut = lh_g_batchnorm(g, shortcut, lh_name("%.60s.downsample.1", b->name.text));
	}
	return lh_g_relu(g, lh_g_add(g, y, shortcut));
}

int lh_resnet_build(struct lh_graph *g, const struct lh_zoo_model *m, struct lh_err *err)
{
	int x = lh_graph_input(g, (struct lh_shape){ m->length, m->length, 3 });
	const int target = lh_graph_input_targets(g, 1, (int32_t)m->symbols);
	x = lh_g_conv2d(g, x, lh_name("conv1"),
			(struct lh_conv){.out = m->width, .kernel = 7, .stride = 2, .padding = 3});
	x = lh_g_relu(g, lh_g_batchnorm(g, x, lh_name("bn1")));
	x = lh_g_maxpool(g, x, 3, 2, 1);
	size_t channels = m->width;
	for (unsigned stage = 0; stage < 4; stage++)
		for (unsigned i = 0; i < m->depth[stage]; i++) {
			struct block b = {.x = x,
					  .name = lh_name("layer%u.%u", stage + 1, i),
					  .planes = m->width << stage,
					  .stride = stage && !i ? 2 : 1,
					  .inner = m->inner};
			const size_t out = b.planes * (m->inner ? 4 : 1);
			x = residual(g, &b, out, b.stride != 1 || channels != out);
			channels = out;
		}
	x = lh_g_linear(g, lh_g_global_avgpool(g, x), lh_name("fc"), m->symbols, true);
	return lh_graph_end(g, x, target, err);
}
