/* memory.h - what one peer needs before it starts, from tables alone: nothing is calculated and nothing allocated. */
#ifndef TRAINER_MEMORY_H
#define TRAINER_MEMORY_H

#include "backend/backend.h"
#include "longhaul/peer.h"

struct lh_memory_need {
	/* On the device. */
	uint64_t weights;     /* parameters in fp32 and buffers; where activations are narrower, the copies that products read */
	uint64_t gradients, optimizer;
	uint64_t activations; /* of one microbatch, with their gradients, what layers keep, and scratch */
	uint64_t fixed;       /* what the backend itself takes of the device */
	uint64_t device;      /* the sum of these */
	/* In the process. */
	uint64_t data;        /* samples on their way to the device; of a store: read ahead, and in the cache */
	uint64_t stored;      /* of one sample where it is stored (not a need); 0: there is no store, or nobody knows */
	uint64_t exchange;    /* parts of other peers, and vectors that the strategy keeps: at most */
	uint64_t program;     /* code, libraries, stacks: LH_MEMORY_PROGRAM */
	uint64_t host;        /* the sum of these; with a backend in host memory the device's on top */
};

/* What a peer with next to no model takes (measured with OpenBLAS: 29 MB). */
#define LH_MEMORY_PROGRAM (UINT64_C(32) << 20)
/* A machine is not filled further: page tables, the harness, what else grows. */
#define LH_MEMORY_FILL 0.9
#define LH_MEMORY_MICROBATCH_MAX 64 /* of an automatic choice: larger ones hardly calculate faster */

/* c->model with this microbatch on this backend (NULL: no model, engine paced). */
int lh_memory_need(const struct lh_peer_config *c, const struct lh_backend_ops *backend,
		   size_t microbatch, struct lh_memory_need *ret, struct lh_err *err);
/* Do c->size peers fit that share one device and one host? have_device is not asked of a backend in host memory; 0: not known. */
bool lh_memory_fits(const struct lh_peer_config *c, const struct lh_memory_need *need, uint64_t have_host,
		    uint64_t have_device, bool host_memory);
/* The largest power of two that fits, at most the largest share of a batch and LH_MEMORY_MICROBATCH_MAX; 1 where none does.
 * *ret_need is that one's. */
int lh_memory_microbatch(const struct lh_peer_config *c, const struct lh_backend_ops *backend,
			 uint64_t have_host, uint64_t have_device, size_t *ret_microbatch, struct lh_memory_need *ret_need,
			 struct lh_err *err);

/* `longhaul-peer memory`. argv[0] is "memory". Returns the exit status. */
int lh_memory_main(int argc, char **argv);

#endif
