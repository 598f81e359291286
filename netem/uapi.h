/* uapi.h - netlink constants that the oldest headers we build with do not have yet. */
#ifndef NETEM_UAPI_H
#define NETEM_UAPI_H

#include <linux/pkt_sched.h>

/* Linux 6.6; Debian 12's headers are 6.1. A kernel that does not know it ignores it (the parse is a lenient one). */
#define LH_TCA_NETEM_PRNG_SEED 15

/* The scheduler's unit of time in the 32-bit fields: fixed at 64 ns since 2.6.31. */
#define LH_PSCHED_SHIFT 6

#endif
