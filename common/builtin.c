#include "builtin.h"

#include <stddef.h>

/* trainer/README.md says what they are. */
static const struct lh_builtin_model models[] = {
	{ "digits", 89546 },       { "text", 84544 },        { "resnet-lab", 78962 },
	{ "convnext-lab", 134662 }, { "roberta-lab", 61568 }, { "whisper-lab", 88080 },
	{ "resnet18", 11689512, true },        { "resnet50", 25557032, true },      { "resnet152", 60192808, true },
	{ "wide_resnet101_2", 126886696, true }, { "convnext_large", 197767336, true },
	{ "roberta-base", 124697433, true },   { "roberta-large", 355412057, true }, { "xlm-roberta-large", 560142482, true },
	{ "whisper-tiny", 37760640, true },    { "whisper-base", 72593920, true },  { "whisper-small", 241734912, true },
};

const struct lh_builtin_model *lh_builtin_model(unsigned i)
{
	return i < sizeof models / sizeof *models ? &models[i] : NULL;
}
