/* catalogue.c - the study's models on its devices, out of catalogue/devices.csv at build time, and the user's own devices
 * behind them. */
#include "catalogue.h"

#include <string.h>
#include <strings.h>

static const struct lh_catalogue_entry table[] = {
#include "catalogue_table.h"
};
enum { BUILT_IN = sizeof table / sizeof *table };

/* What the study calls the models of the trainer's tables. */
static const struct { const char *study, *table; } aliases[] = {
	{ "RN18", "resnet18" },
	{ "RN50", "resnet50" },
	{ "RN152", "resnet152" },
	{ "WRN101", "wide_resnet101_2" },
	{ "CONV", "convnext_large" },
	{ "RBase", "roberta-base" },
	{ "RLrg", "roberta-large" },
	{ "RXLM", "xlm-roberta-large" },
	{ "WhisperTiny", "whisper-tiny" },
	{ "WhisperBase", "whisper-base" },
	{ "WhisperSmall", "whisper-small" },
};

static const char *study_name(const char *model)
{
	for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
		if (!strcmp(aliases[i].table, model))
			return aliases[i].study;
	return model;
}

bool lh_catalogue_same_model(const char *a, const char *b) { return !strcmp(study_name(a), study_name(b)); }

const struct lh_catalogue_entry *lh_catalogue_at(size_t i)
{
	return i < BUILT_IN ? &table[i] : catalogue_own(i - BUILT_IN);
}

const struct lh_catalogue_entry *lh_catalogue_find(const char *model, const char *device)
{
	const struct lh_catalogue_entry *e;
	for (size_t i = 0; (e = lh_catalogue_at(i)); i++)
		if (!strcasecmp(e->device, device) && lh_catalogue_same_model(e->model, model))
			return e;
	return NULL;
}
