/* compare.h - finished runs side by side: what `longhaul compare` prints. Reads result.json, and of manifest.json what the
 * experiments differ in. Formulas: docs/MEASUREMENT.md, "Runs side by side". Undefined is NaN.
 */
#ifndef HARNESS_COMPARE_H
#define HARNESS_COMPARE_H

#include <stdint.h>

#include "result_row.h"

#define LH_COMPARE_SCHEMA "longhaul-compare/1"
#define LH_COMPARE_RUNS_MAX 64

struct json_t;

struct lh_compare_pair { /* two sites, both ways */
	char name[80];            /* "us<->eu", by the order of the sites in the result */
	double bytes;             /* of all epochs, on the wire */
};

struct lh_compare_epoch {
	uint64_t samples;         /* since the beginning */
	double loss;              /* of this epoch */
};

struct lh_compare_run {
	char label[LH_RESULT_LABEL]; /* last part of the directory's name */
	struct lh_result_row row;
	size_t npairs, nepochs;
	struct lh_compare_pair *pairs;
	struct lh_compare_epoch *epochs;
	double wan_bytes, lan_bytes; /* between sites, inside them; NaN: not known */
	double bytes_per_sample;     /* between sites */
	double bound_fraction;       /* lower bound of an exchange / what it took; NaN where there is none */
	char algorithm[32];          /* that was used; "" not known */
	struct json_t *settings;     /* path -> text of the experiment; NULL: not known */
	char settings_missing[256];  /* why */
};

struct lh_compare {
	size_t nruns;
	struct lh_compare_run *runs;
	/* Loss at equal samples: that of each run's last epoch that ends at so many or fewer; 0: nothing to compare. */
	uint64_t loss_samples;
};

/* Read one: a run directory, or the result.json in it. LH_EXIT_INPUT names it and what is wrong. */
int lh_compare_add(struct lh_compare *c, const char *path, struct lh_err *err);
/* From documents already read; for tests and fuzzing. `manifest` may be NULL. */
int lh_compare_add_docs(struct lh_compare *c, const char *path, const struct json_t *result,
			const struct json_t *manifest, struct lh_err *err);
/* After the last. */
void lh_compare_settle(struct lh_compare *c);
void lh_compare_done(struct lh_compare *c);

/* Loss of a run's epoch at loss_samples, and where that epoch ended (may be NULL; 0: there is none). */
double lh_compare_loss(const struct lh_compare *c, size_t run, uint64_t *ret_samples);
/* value / the first run's; NaN unless both runs are valid. */
double lh_compare_ratio(const struct lh_compare *c, size_t run, double value, double first);

/* What differs: [{"key", "count", "values": [text or null]}]; keys of sites, peers and links of which all differ in the
 * same way are one, with a star. NULL when memory ran out. */
struct json_t *lh_compare_differences(const struct lh_compare *c);

void lh_compare_print(const struct lh_compare *c, FILE *out);
struct json_t *lh_compare_json(const struct lh_compare *c);

#endif
