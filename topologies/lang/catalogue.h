/* catalogue.h - between the program's catalogue and the user's. */
#ifndef LANG_CATALOGUE_H
#define LANG_CATALOGUE_H

#include "longhaul/experiment.h"

/* The i-th of the user's; NULL past the end. */
const struct lh_catalogue_entry *catalogue_own(size_t i);

#endif
