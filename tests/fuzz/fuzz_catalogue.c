/* The user's catalogue: whatever is in it, it is refused with a reason, or each of its entries can be found again and has
 * numbers that a run can use. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "longhaul/experiment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct lh_catalogue_entry *e;
	struct lh_err err = LH_ERR_INIT;
	if (lh_catalogue_load_text("fuzz", (const char *)data, size, &err)) {
		if (err.exit != LH_EXIT_INPUT || strncmp(err.text, "fuzz", 4))
			abort();
		return 0;
	}
	for (size_t i = 0; (e = lh_catalogue_at(i)); i++)
		if (lh_catalogue_find(e->model, e->device) != e || !(e->samples_per_s > 0) || !isfinite(e->samples_per_s) ||
		    !e->parameters || e->parameters > LH_PEER_PARAMETERS_MAX || !*e->model || !*e->device)
			abort();
	return 0;
}
