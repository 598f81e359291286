/* The table of models, and how a specification scales a row of it. */
#include "model/zoo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct lh_zoo_model models[] = {
	{ "resnet18", LH_FAMILY_RESNET, 11689512, { 2, 2, 2, 2 }, 64, 0, 0, 1000, 224, 0 },
	{ "resnet50", LH_FAMILY_RESNET, 25557032, { 3, 4, 6, 3 }, 64, 1, 0, 1000, 224, 0 },
	{ "resnet152", LH_FAMILY_RESNET, 60192808, { 3, 8, 36, 3 }, 64, 1, 0, 1000, 224, 0 },
	{ "wide_resnet101_2", LH_FAMILY_RESNET, 126886696, { 3, 4, 23, 3 }, 64, 2, 0, 1000, 224, 0 },
	{ "convnext_large", LH_FAMILY_CONVNEXT, 197767336, { 3, 3, 27, 3 }, 192, 4, 0, 1000, 224, 0 },
	{ "roberta-base", LH_FAMILY_ROBERTA, 124697433, { 12 }, 768, 4, 12, 50265, 512, 0 },
	{ "roberta-large", LH_FAMILY_ROBERTA, 355412057, { 24 }, 1024, 4, 16, 50265, 512, 0 },
	{ "xlm-roberta-large", LH_FAMILY_ROBERTA, 560142482, { 24 }, 1024, 4, 16, 250002, 512, 0 },
	{ "whisper-tiny", LH_FAMILY_WHISPER, 37760640, { 4 }, 384, 4, 6, 51865, 448, 3000 },
	{ "whisper-base", LH_FAMILY_WHISPER, 72593920, { 6 }, 512, 4, 8, 51865, 448, 3000 },
	{ "whisper-small", LH_FAMILY_WHISPER, 241734912, { 12 }, 768, 4, 12, 51865, 448, 3000 },
};

const char *const lh_zoo_labs[][2] = {
	{ "resnet-lab", "resnet18:width=1/8,depth=1,image=48,symbols=10" },
	{ "convnext-lab", "convnext_large:width=1/16,depth=1,image=32,symbols=10" },
	{ "roberta-lab", "roberta-base:width=1/16,depth=2,tokens=16,symbols=32" },
	{ "roberta-text-lab", "roberta-base:width=1/16,depth=1,tokens=32,symbols=261,drop=0" },
	{ "whisper-lab", "whisper-tiny:width=1/8,depth=1,tokens=8,frames=64,symbols=32" },
	{ NULL, NULL },
};

size_t lh_zoo_count(void) { return sizeof models / sizeof *models; }
const struct lh_zoo_model *lh_zoo_model(size_t i) { return &models[i]; }

static int parse_value(const char *spec, const char *key, const char *text, size_t *ret, struct lh_err *err)
{
	char *end;
	errno = 0;
	const char *digits = !strcmp(key, "width") && !strncmp(text, "1/", 2) ? text + 2 : text;
	const unsigned long v = strtoul(digits, &end, 10);
	const bool zero_means = !strcmp(key, "drop");
	if (errno || end == digits || *end || *digits == '-' || *digits == '+' || *digits == ' ' || v > 1 << 20 ||
	    (!v && !zero_means) || (zero_means && v > 1) || (!strcmp(key, "width") && digits == text && v != 1))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %.200s: %s=%.40s: want %s", spec, key, text,
				  !strcmp(key, "width") ? "1/N" : zero_means ? "0 or 1" : "a number from 1 to 1048576");
	*ret = v;
	return 0;
}

static int parse_scale(const char *spec, char *list, struct lh_zoo_scale *scale, struct lh_err *err)
{
	size_t drop = 1;
	const struct {
		const char *key;
		size_t *to;
	} keys[] = { { "width", &scale->width }, { "depth", &scale->depth }, { "image", &scale->image },
		     { "tokens", &scale->tokens }, { "frames", &scale->frames }, { "symbols", &scale->symbols },
		     { "drop", &drop } };
	int rc = 0;
	char *rest = NULL;
	for (char *item = strtok_r(list, ",", &rest); item && !rc; item = strtok_r(NULL, ",", &rest)) {
		char *value = strchr(item, '=');
		size_t i = 0;
		if (value)
			*value++ = 0;
		while (i < sizeof keys / sizeof *keys && strcmp(keys[i].key, item))
			i++;
		if (!value || i == sizeof keys / sizeof *keys)
			return lh_err_set(err, LH_EXIT_INPUT, -EINVAL,
					  "model %.200s: \"%.40s\": want width=1/N, depth=, image=, tokens=, frames=, "
					  "symbols= or drop=0",
					  spec, item);
		rc = parse_value(spec, item, value, keys[i].to, err);
	}
	scale->no_drop = !drop;
	return rc;
}

static int find_model(const char *name, const struct lh_zoo_model **ret, struct lh_err *err)
{
	char names[400] = "";
	for (size_t i = 0; i < lh_zoo_count(); i++) {
		if (!strcmp(models[i].name, name)) {
			*ret = &models[i];
			return 0;
		}
		const size_t used = strlen(names);
		snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", models[i].name);
	}
	for (size_t i = 0; lh_zoo_labs[i][0]; i++) {
		const size_t used = strlen(names);
		snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "; small ones: ", lh_zoo_labs[i][0]);
	}
	return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %.80s: not one of %s", name, names);
}

static int apply_scale(const char *spec, const struct lh_zoo_scale *s, struct lh_zoo_model *m, struct lh_err *err)
{
	const bool images = m->family == LH_FAMILY_RESNET || m->family == LH_FAMILY_CONVNEXT;
	if ((s->image && !images) || (s->tokens && images) || (s->frames && m->family != LH_FAMILY_WHISPER))
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %.200s: it has no such input", spec);
	if (s->width && m->width % s->width)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %.200s: 1/%zu of a width of %zu", spec, s->width,
				  m->width);
	m->width /= s->width ? s->width : 1;
	for (size_t i = 0; i < 4; i++)
		m->depth[i] = s->depth && s->depth < m->depth[i] ? s->depth : m->depth[i];
	m->length = s->image ? s->image : s->tokens ? s->tokens : m->length;
	m->frames = s->frames ? s->frames : m->frames;
	m->symbols = s->symbols ? s->symbols : m->symbols;
	if (m->heads && m->width % m->heads)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %.200s: %zu heads do not divide a width of %zu",
				  spec, m->heads, m->width);
	return 0;
}

static int build_family(struct lh_graph *g, const struct lh_zoo_model *m, bool drop, struct lh_err *err)
{
	switch (m->family) {
	case LH_FAMILY_RESNET: return lh_resnet_build(g, m, err);
	case LH_FAMILY_CONVNEXT: return lh_convnext_build(g, m, drop, err);
	case LH_FAMILY_ROBERTA: return lh_roberta_build(g, m, drop, err);
	default: return lh_whisper_build(g, m, err);
	}
}

int lh_zoo_find(const char *spec, struct lh_zoo_model *ret, bool *ret_drop, struct lh_err *err)
{
	char text[256];
	for (size_t i = 0; lh_zoo_labs[i][0]; i++)
		if (!strcmp(spec, lh_zoo_labs[i][0]))
			spec = lh_zoo_labs[i][1];
	if (strlen(spec) >= sizeof text)
		return lh_err_set(err, LH_EXIT_INPUT, -EINVAL, "model %.40s...: too long a name", spec);
	strcpy(text, spec);
	char *list = strchr(text, ':');
	if (list)
		*list++ = 0;
	const struct lh_zoo_model *row = NULL;
	struct lh_zoo_scale scale = { 0 };
	int rc = find_model(text, &row, err);
	if (!rc && list)
		rc = parse_scale(spec, list, &scale, err);
	struct lh_zoo_model m = rc ? (struct lh_zoo_model){ 0 } : *row;
	if (!rc)
		rc = apply_scale(spec, &scale, &m, err);
	if (rc)
		return rc;
	*ret = m;
	*ret_drop = !scale.no_drop;
	return 0;
}

struct lh_input_shape lh_zoo_input(const struct lh_zoo_model *m)
{
	static const enum lh_input kinds[] = {
		[LH_FAMILY_RESNET] = LH_INPUT_IMAGES, [LH_FAMILY_CONVNEXT] = LH_INPUT_IMAGES,
		[LH_FAMILY_ROBERTA] = LH_INPUT_MASKED, [LH_FAMILY_WHISPER] = LH_INPUT_SPEECH,
	};
	return (struct lh_input_shape){ .kind = kinds[m->family], .side = m->length, .length = m->length,
					.frames = m->frames, .symbols = m->symbols };
}

int lh_zoo_build(const char *spec, struct lh_graph **ret, struct lh_err *err)
{
	struct lh_zoo_model m;
	bool drop = true;
	int rc = lh_zoo_find(spec, &m, &drop, err);
	if (rc)
		return rc;
	struct lh_graph *g = lh_graph_new(spec);
	if (!g)
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "model %s", spec);
	rc = build_family(g, &m, drop, err);
	if (rc) {
		lh_graph_free(g);
		return rc;
	}
	*ret = g;
	return 0;
}
