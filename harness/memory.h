/* memory.h - do the peers fit? Asked of longhaul-peer, which knows models and devices, before anything is created. */
#ifndef HARNESS_MEMORY_H
#define HARNESS_MEMORY_H

#include "longhaul/experiment.h"

struct lh_session;

struct lh_memory_plan {
	bool known;               /* false: nothing is trained, or there is no longhaul-peer to ask */
	uint32_t microbatch;
	bool chosen;              /* microbatch: auto */
	bool fits, host_memory;   /* host_memory: the device's memory is the machine's */
	uint64_t have_host, have_device; /* free now; 0: not known */
	/* Of one peer, in bytes: trainer/memory.h. */
	char products[128], products_why[96]; /* library and kernels of the matrix products, and why those; "": paced */
	uint64_t stored;          /* of one sample where it is stored; 0: engine paced, or not asked for */
	uint64_t weights, gradients, optimizer, activations, fixed, data, exchange, program, device, host;
};

/* Of the experiment as it is, with the machine's free memory; s->peer_path must be known. */
int lh_memory_plan(const struct lh_session *s, const struct lh_experiment *exp, struct lh_memory_plan *ret,
		   struct lh_err *err);
/* LH_EXIT_MACHINE and one line with peer, model, need and have where they do not fit. */
int lh_memory_check(const struct lh_memory_plan *m, const struct lh_experiment *exp, struct lh_err *err);
/* "each of 4 peers needs 500.4 MB (weights ...); 21.3 GB are free". Returns buf. */
const char *lh_memory_text(const struct lh_memory_plan *m, const struct lh_experiment *exp, char *buf, size_t size);
/* null where not known. */
struct json_t *lh_memory_json(const struct lh_memory_plan *m);

#endif
