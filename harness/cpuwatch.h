/* cpuwatch.h - was it the network or this machine that communication waited for? The busy time of every CPU of the
 * kernel that carries the peers, over windows that are known only after they ended.
 */
#ifndef HARNESS_CPUWATCH_H
#define HARNESS_CPUWATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/units.h"

#define LH_CPUWATCH_CPUS 64 /* further ones are not looked at */

struct lh_cpu_sample {
	lh_ns t_ns;
	uint64_t idle[LH_CPUWATCH_CPUS]; /* clock ticks since boot, waiting for input and output included */
};

struct lh_cpuwatch {
	long ticks_per_s;
	unsigned ncpus;
	struct lh_cpu_sample *samples; /* since the end of the last window */
	size_t n, room;
	double window_s, idle_s[LH_CPUWATCH_CPUS]; /* of all windows so far */
};

void lh_cpuwatch_init(struct lh_cpuwatch *w);
void lh_cpuwatch_done(struct lh_cpuwatch *w);

/* Look now. Ten times a second is enough; what cannot be read is left out. */
void lh_cpuwatch_sample(struct lh_cpuwatch *w, lh_ns now_ns);
/* The same from text in the form of /proc/stat. */
void lh_cpuwatch_sample_text(struct lh_cpuwatch *w, lh_ns now_ns, const char *text);
/* A window ended: its idle time is interpolated between samples. `counts` false: only forget the samples. */
void lh_cpuwatch_window(struct lh_cpuwatch *w, lh_ns from_ns, lh_ns to_ns, bool counts);

/* Busy share of the busiest CPU over all windows together; NaN below half a second of windows. */
double lh_cpuwatch_busiest(const struct lh_cpuwatch *w);

#endif
