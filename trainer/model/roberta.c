/* RoBERTa (Liu and others 2019) and XLM-R with their head for masked language modelling, as transformers has them:
 * norms come after the residual sum, the decoder is the embedding's matrix. Positions are inputs, since they count from
 * PADDING + 1 and padded tokens stay at PADDING. */
#include "model/zoo.h"

#define EPSILON 1e-5
#define DROPOUT 0.1
enum { PADDING = 1 };

struct shape {
	size_t width, inner, heads;
	double drop;
	int mask;
};

static int attention(struct lh_graph *g, int x, struct lh_name name, const struct shape *s)
{
	const int q = lh_g_linear(g, x, lh_name("%.60s.self.query", name.text), s->width, true);
	const int k = lh_g_linear(g, x, lh_name("%.60s.self.key", name.text), s->width, true);
	const int v = lh_g_linear(g, x, lh_name("%.60s.self.value", name.text), s->width, true);
	return lh_g_attention(g, q, k, v, s->mask, lh_name("%.60s.self", name.text), s->heads, false, s->drop);
}

/* norm(x + dropout(linear(y))) */
static int close_block(struct lh_graph *g, int x, int y, struct lh_name name, const struct shape *s)
{
	y = lh_g_linear(g, y, lh_name("%.60s.dense", name.text), s->width, true);
	y = lh_g_dropout(g, y, lh_name("%.60s.dropout", name.text), s->drop);
	return lh_g_layernorm(g, lh_g_add(g, y, x), lh_name("%.60s.LayerNorm", name.text), EPSILON);
}

static int layer(struct lh_graph *g, int x, struct lh_name name, const struct shape *s)
{
	int y = attention(g, x, lh_name("%.50s.attention", name.text), s);
	x = close_block(g, x, y, lh_name("%.50s.attention.output", name.text), s);
	y = lh_g_gelu(g, lh_g_linear(g, x, lh_name("%.50s.intermediate.dense", name.text), s->inner * s->width, true));
	return close_block(g, x, y, lh_name("%.50s.output", name.text), s);
}

int lh_roberta_build(struct lh_graph *g, const struct lh_zoo_model *m, bool drop, struct lh_err *err)
{
	const size_t positions = m->length + PADDING + 1;
	struct shape s = { .width = m->width, .inner = m->inner, .heads = m->heads, .drop = drop ? DROPOUT : 0 };
	const int ids = lh_graph_input_ids(g, m->length, (int32_t)m->symbols);
	const int places = lh_graph_input_ids(g, m->length, (int32_t)positions);
	s.mask = lh_graph_input_ids(g, m->length, 2);
	const int targets = lh_graph_input_targets(g, m->length, (int32_t)m->symbols);

	const struct lh_name words = lh_name("roberta.embeddings.word_embeddings.weight");
	int x = lh_g_embedding(g, ids, lh_name("roberta.embeddings.word_embeddings"), m->symbols, m->width, PADDING);
	x = lh_g_add_rows(g, x, lh_name("roberta.embeddings.token_type_embeddings"), 1, false);
	x = lh_g_add(
	    g, x,
	    lh_g_embedding(g, places, lh_name("roberta.embeddings.position_embeddings"), positions, m->width, PADDING));
	x = lh_g_layernorm(g, x, lh_name("roberta.embeddings.LayerNorm"), EPSILON);
	x = lh_g_dropout(g, x, lh_name("roberta.embeddings.dropout"), s.drop);
	for (unsigned i = 0; i < m->depth[0]; i++)
		x = layer(g, x, lh_name("roberta.encoder.layer.%u", i), &s);
	x = lh_g_gelu(g, lh_g_linear(g, x, lh_name("lm_head.dense"), m->width, true));
	x = lh_g_layernorm(g, x, lh_name("lm_head.layer_norm"), EPSILON);
	x = lh_g_tied_linear(g, x, words, "lm_head.bias");
	return lh_graph_end(g, x, targets, err);
}
