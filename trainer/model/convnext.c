/* ConvNeXt (Liu and others 2022) as torchvision has it. Its linear layers over channels are products over all pixels;
 * stochastic depth grows linearly from 0 to DROP_PATH over the blocks. */
#include "model/zoo.h"

#define EPSILON 1e-6
#define LAYER_SCALE 1e-6
#define DROP_PATH 0.5 /* of convnext_large */

static int block(struct lh_graph *g, int x, struct lh_name name, size_t channels, size_t inner, double drop)
{
	int y =
	    lh_g_conv2d(g, x, lh_name("%.60s.block.0", name.text),
			(struct lh_conv){.out = channels, .kernel = 7, .padding = 3, .groups = channels, .bias = true});
	y = lh_g_layernorm(g, y, lh_name("%.60s.block.2", name.text), EPSILON);
	y = lh_g_gelu(g, lh_g_linear(g, y, lh_name("%.60s.block.3", name.text), inner * channels, true));
	y = lh_g_linear(g, y, lh_name("%.60s.block.5", name.text), channels, true);
	y = lh_g_scale(g, y, lh_name("%.60s.layer_scale", name.text), LAYER_SCALE);
	return lh_g_add(g, x, lh_g_drop_path(g, y, lh_name("%.60s.stochastic_depth", name.text), drop));
}

int lh_convnext_build(struct lh_graph *g, const struct lh_zoo_model *m, bool drop, struct lh_err *err)
{
	size_t blocks = 0, done = 0;
	for (unsigned stage = 0; stage < 4; stage++)
		blocks += m->depth[stage];
	int x = lh_graph_input(g, (struct lh_shape){ m->length, m->length, 3 });
	const int target = lh_graph_input_targets(g, 1, (int32_t)m->symbols);
	x = lh_g_conv2d(g, x, lh_name("features.0.0"),
			(struct lh_conv){.out = m->width, .kernel = 4, .stride = 4, .bias = true});
	x = lh_g_layernorm(g, x, lh_name("features.0.1"), EPSILON);
	for (unsigned stage = 0; stage < 4; stage++) {
		const size_t channels = m->width << stage;
		if (stage) {
			x = lh_g_layernorm(g, x, lh_name("features.%u.0", 2 * stage), EPSILON);
			x = lh_g_conv2d(g, x, lh_name("features.%u.1", 2 * stage),
					(struct lh_conv){ .out = channels, .kernel = 2, .stride = 2, .bias = true });
		}
		for (unsigned i = 0; i < m->depth[stage]; i++, done++)
			x = block(g, x, lh_name("features.%u.%u", 2 * stage + 1, i), channels, m->inner,
				  drop && blocks > 1 ? DROP_PATH * (double)done / (double)(blocks - 1) : 0);
	}
	x = lh_g_layernorm(g, lh_g_global_avgpool(g, x), lh_name("classifier.0"), EPSILON);
	x = lh_g_linear(g, x, lh_name("classifier.2"), m->symbols, true);
	return lh_graph_end(g, x, target, err);
}
