/* Whisper (Radford and others 2022) as transformers has it: log-mel frames through two convolutions and an encoder,
 * text through a decoder that sees its own past and the encoder's output. Norms come first; keys have no bias; the
 * encoder's positions are sinusoids that nobody trains. The published models were trained without dropout. */
#include "model/zoo.h"

#define EPSILON 1e-5
enum { MELS = 80, PADDING = 50257 };

struct shape {
	size_t width, inner, heads;
};

static int linear(struct lh_graph *g, int x, struct lh_name block, const char *which, size_t out, bool bias)
{
	return lh_g_linear(g, x, lh_name("%.60s.%s", block.text, which), out, bias);
}

/* x + attention(from norm(x) to `memory`, or to itself where that is negative) */
static int attend(struct lh_graph *g, int x, int memory, struct lh_name layer, const char *which, const struct shape *s,
		  bool causal)
{
	const struct lh_name block = lh_name("%.40s.%s", layer.text, which);
	const int y = lh_g_layernorm(g, x, lh_name("%.60s_layer_norm", block.text), EPSILON);
	const int from = memory < 0 ? y : memory;
	const int k = linear(g, from, block, "k_proj", s->width, false);
	const int v = linear(g, from, block, "v_proj", s->width, true);
	const int q = linear(g, y, block, "q_proj", s->width, true);
	const int a = lh_g_attention(g, q, k, v, -1, block, s->heads, causal, 0);
	return lh_g_add(g, x, linear(g, a, block, "out_proj", s->width, true));
}

static int feed_forward(struct lh_graph *g, int x, struct lh_name layer, const struct shape *s)
{
	int y = lh_g_layernorm(g, x, lh_name("%.40s.final_layer_norm", layer.text), EPSILON);
	y = lh_g_gelu(g, linear(g, y, layer, "fc1", s->inner * s->width, true));
	return lh_g_add(g, x, linear(g, y, layer, "fc2", s->width, true));
}

static int encoder(struct lh_graph *g, const struct lh_zoo_model *m, const struct shape *s, int mel)
{
	struct lh_conv c = { .out = s->width, .kernel = 3, .padding = 1, .bias = true };
	int x = lh_g_gelu(g, lh_g_conv1d(g, mel, lh_name("model.encoder.conv1"), c));
	c.stride = 2;
	x = lh_g_gelu(g, lh_g_conv1d(g, x, lh_name("model.encoder.conv2"), c));
	x = lh_g_add_rows(g, x, lh_name("model.encoder.embed_positions"), m->frames / 2, true);
	for (unsigned i = 0; i < m->depth[0]; i++) {
		const struct lh_name layer = lh_name("model.encoder.layers.%u", i);
		x = feed_forward(g, attend(g, x, -1, layer, "self_attn", s, false), layer, s);
	}
	return lh_g_layernorm(g, x, lh_name("model.encoder.layer_norm"), EPSILON);
}

int lh_whisper_build(struct lh_graph *g, const struct lh_zoo_model *m, struct lh_err *err)
{
	const struct shape s = { .width = m->width, .inner = m->inner, .heads = m->heads };
	const int mel = lh_graph_input(g, (struct lh_shape){ 1, m->frames, MELS });
	const int ids = lh_graph_input_ids(g, m->length, (int32_t)m->symbols);
	const int targets = lh_graph_input_targets(g, m->length, (int32_t)m->symbols);
	const int memory = encoder(g, m, &s, mel);
	int x = lh_g_embedding(g, ids, lh_name("model.decoder.embed_tokens"), m->symbols, m->width, PADDING);
	x = lh_g_add_rows(g, x, lh_name("model.decoder.embed_positions"), m->length, false);
	for (unsigned i = 0; i < m->depth[0]; i++) {
		const struct lh_name layer = lh_name("model.decoder.layers.%u", i);
		x = attend(g, x, -1, layer, "self_attn", &s, true);
		x = attend(g, x, memory, layer, "encoder_attn", &s, false);
		x = feed_forward(g, x, layer, &s);
	}
	x = lh_g_layernorm(g, x, lh_name("model.decoder.layer_norm"), EPSILON);
	x = lh_g_tied_linear(g, x, lh_name("model.decoder.embed_tokens.weight"), NULL);
	return lh_graph_end(g, x, targets, err);
}
