/* machine.h - what this machine can do, found by trying; for the choice of a kernel and for `doctor`. */
#ifndef HARNESS_MACHINE_H
#define HARNESS_MACHINE_H

#include "longhaul/network.h"

/* Make a cell on the running kernel and try everything there. *ret_caps on success; else err says, in one clause,
 * whether the cell or the network in it was refused (LH_EXIT_MACHINE). The caller must be single-threaded. */
int lh_machine_try_kernel(struct lh_caps *ret_caps, struct lh_err *err);

#endif
