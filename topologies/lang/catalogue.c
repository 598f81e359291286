/* catalogue.c - the study's models on its devices, out of catalogue/devices.csv at build time. */
#include "longhaul/experiment.h"

#include <string.h>

static const struct lh_catalogue_entry table[] = {
#include "catalogue_table.h"
};

const struct lh_catalogue_entry *lh_catalogue_at(size_t i)
{
	return i < sizeof table / sizeof *table ? &table[i] : NULL;
}

const struct lh_catalogue_entry *lh_catalogue_find(const char *model, const char *device)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (!strcmp(table[i].model, model) && !strcmp(table[i].device, device))
			return &table[i];
	return NULL;
}
