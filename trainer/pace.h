/* pace.h - an absolute schedule for calculation, so that peers that share cores still take the time they declare.
 *
 * Sample k of a round is due at begin + k / rate. A peer that is ahead waits; one that is behind is late, and how
 * late its share ended is reported, never hidden: the schedule does not move. Pure arithmetic; train.c waits.
 */
#ifndef TRAINER_PACE_H
#define TRAINER_PACE_H

#include "longhaul/units.h"

struct lh_pace {
	lh_ns begin_ns;
	double samples_per_s;
};

/* When `samples` samples are due. */
static inline lh_ns lh_pace_due(const struct lh_pace *p, uint64_t samples)
{
	double ns = (double)samples / p->samples_per_s * 1e9;
	return ns < 9e18 - (double)p->begin_ns ? p->begin_ns + (lh_ns)ns : INT64_MAX;
}

/* How far behind the schedule `now_ns` is when `samples` are done; 0 when it is not. */
static inline lh_ns lh_pace_late(const struct lh_pace *p, uint64_t samples, lh_ns now_ns)
{
	lh_ns due = lh_pace_due(p, samples);
	return now_ns > due ? now_ns - due : 0;
}

#endif
