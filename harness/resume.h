/* resume.h - which checkpoints of an earlier run a run goes on from, and which peer takes what of which file
 * (docs/decisions/0025-checkpoints.md).
 */
#ifndef HARNESS_RESUME_H
#define HARNESS_RESUME_H

#include "longhaul/experiment.h"
#include "state_run.h"

struct lh_resume_plan {
	uint32_t round;
	uint64_t samples;        /* in all its rounds */
	unsigned size;           /* peers that wrote them */
	bool shared;             /* all of them held the same parameters */
	struct lh_resume *files; /* by rank, each rank's base first */
	uint32_t nfiles;
	struct lh_state_changes changed; /* settings that are not those of the checkpoints, and need not be */
};

/* dir: a run directory with checkpoints/. The newest round that will do: one that all peers of a fixed group have, or any
 * member of an elastic one. whole: every byte of the files is checked too. */
int lh_resume_find(const char *dir, const struct lh_experiment *exp, bool whole, struct lh_resume_plan *ret,
		   struct lh_err *err);
void lh_resume_done(struct lh_resume_plan *p);

#endif
