#include "builtin.h"

#include <stddef.h>

/* trainer/README.md says what they are. */
static const struct lh_builtin_model models[] = {
	{ "digits", 89546 },       { "text", 84544 },        { "resnet-lab", 78962 },
	{ "convnext-lab", 134662 }, { "roberta-lab", 61568 }, { "whisper-lab", 88080 },
};

const struct lh_builtin_model *lh_builtin_model(unsigned i)
{
	return i < sizeof models / sizeof *models ? &models[i] : NULL;
}
