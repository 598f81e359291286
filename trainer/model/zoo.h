/* zoo.h - the study's eleven models by name, at full size and scaled down.
 *
 * A specification is NAME or NAME:key=value,...  with
 *     width=1/N     channels, and widths of transformers (their heads stay), divided by N
 *     depth=N       at most N blocks a stage, N layers an encoder or decoder
 *     image=N       side of the image                (default 224)
 *     tokens=N      length of a text                 (default 512; whisper 448)
 *     frames=N      log-mel frames, even             (default 3000)
 *     symbols=N     classes, or size of the vocabulary
 *     drop=0        no dropout and no stochastic depth
 * "resnet18:width=1/8,depth=1,image=32,symbols=10". Short names for such ones, which train in seconds: lh_zoo_labs.
 */
#ifndef MODEL_ZOO_H
#define MODEL_ZOO_H

#include "data/source.h"
#include "model/graph.h"

enum lh_family { LH_FAMILY_RESNET, LH_FAMILY_CONVNEXT, LH_FAMILY_ROBERTA, LH_FAMILY_WHISPER };

struct lh_zoo_model {
	const char *name;
	enum lh_family family;
	uint64_t parameters;     /* of the full size, as in the literature; building the table must give the same */
	size_t depth[4];         /* blocks a stage; layers */
	size_t width;            /* channels of the first stage; of the transformer */
	size_t inner; /* resnet: 0 basic blocks, else a bottleneck's width / planes; others: feed-forward / width */
	size_t heads, symbols;
	size_t length;           /* image side, tokens */
	size_t frames;
};

struct lh_zoo_scale {
	size_t width, depth, image, tokens, frames, symbols; /* 0: the model's own */
	bool no_drop;
};

size_t lh_zoo_count(void);
const struct lh_zoo_model *lh_zoo_model(size_t i);
/* Names of scaled-down models and what they stand for; ends with NULLs. */
extern const char *const lh_zoo_labs[][2];
/* The row that a specification names, scaled. drop: whether it has dropout. */
int lh_zoo_find(const char *spec, struct lh_zoo_model *ret, bool *ret_drop, struct lh_err *err);
/* What it reads. */
struct lh_input_shape lh_zoo_input(const struct lh_zoo_model *m);
/* Build it. */
int lh_zoo_build(const char *spec, struct lh_graph **ret, struct lh_err *err);

/* The families' files; m is scaled already. */
int lh_resnet_build(struct lh_graph *g, const struct lh_zoo_model *m, struct lh_err *err);
int lh_convnext_build(struct lh_graph *g, const struct lh_zoo_model *m, bool drop, struct lh_err *err);
int lh_roberta_build(struct lh_graph *g, const struct lh_zoo_model *m, bool drop, struct lh_err *err);
int lh_whisper_build(struct lh_graph *g, const struct lh_zoo_model *m, struct lh_err *err);

#endif
