#include "builtin.h"

#include <stddef.h>

#define IMAGES LH_DATA_SYNTHETIC, 1u << LH_DATA_DIGITS | 1u << LH_DATA_SYNTHETIC
#define WORDS LH_DATA_SYNTHETIC, 1u << LH_DATA_TEXT | 1u << LH_DATA_SYNTHETIC
#define SPEECH LH_DATA_SYNTHETIC, 1u << LH_DATA_TONES | 1u << LH_DATA_SYNTHETIC
#define ONLY(data) LH_DATA_##data, 1u << LH_DATA_##data

/* trainer/README.md says what they are. */
static const struct lh_builtin_model models[] = {
	{ "digits", 89546, false, ONLY(DIGITS) },
	{ "text", 84544, false, ONLY(TEXT) },
	{ "resnet-lab", 78962, false, IMAGES },
	{ "convnext-lab", 134662, false, IMAGES },
	{ "roberta-lab", 61568, false, ONLY(SYNTHETIC) }, /* too few symbols for bytes */
	{ "roberta-text-lab", 45285, false, LH_DATA_TEXT, 1u << LH_DATA_TEXT | 1u << LH_DATA_SYNTHETIC },
	{ "whisper-lab", 88080, false, SPEECH },
	{ "resnet18", 11689512, true, IMAGES },
	{ "resnet50", 25557032, true, IMAGES },
	{ "resnet152", 60192808, true, IMAGES },
	{ "wide_resnet101_2", 126886696, true, IMAGES },
	{ "convnext_large", 197767336, true, IMAGES },
	{ "roberta-base", 124697433, true, WORDS },
	{ "roberta-large", 355412057, true, WORDS },
	{ "xlm-roberta-large", 560142482, true, WORDS },
	{ "whisper-tiny", 37760640, true, SPEECH },
	{ "whisper-base", 72593920, true, SPEECH },
	{ "whisper-small", 241734912, true, SPEECH },
};

const struct lh_builtin_model *lh_builtin_model(unsigned i)
{
	return i < sizeof models / sizeof *models ? &models[i] : NULL;
}
