/* internal.h - what the files of probe/ share. */
#ifndef HARNESS_PROBE_INTERNAL_H
#define HARNESS_PROBE_INTERNAL_H

#include "probe.h"

/* The peers that stand for an ordered pair of sites; false where there are none (a LAN of one peer). */
bool lh_probe_pair_of(const struct lh_topology *t, unsigned from, unsigned to, unsigned *ret_a, unsigned *ret_b);

#endif
