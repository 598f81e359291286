/* fragment.h - a model cut into fragments, each parameter in exactly one. Pure.
 *
 * Pages of parameters are dealt to the fragments in turn, so that each fragment has something of every depth of the
 * model (what the paper of streaming DiLoCo calls strided), and fragments differ by at most one page.
 */
#ifndef TRAINER_SYNC_FRAGMENT_H
#define TRAINER_SYNC_FRAGMENT_H

#include <stddef.h>
#include <stdint.h>

struct lh_fragments {
	uint64_t parameters, page; /* elements */
	uint32_t n;
};

struct lh_fragments lh_fragments_of(uint64_t parameters, uint32_t n);
/* Elements of fragment p. */
uint64_t lh_fragment_length(const struct lh_fragments *f, uint32_t p);
/* Where element k of fragment p is in the model; *ret_run: how many follow each other there. */
uint64_t lh_fragment_at(const struct lh_fragments *f, uint32_t p, uint64_t k, uint64_t *ret_run);

/* The fragment whose exchange begins at the end of round `epoch` in periods of `every`; n: none does. */
uint32_t lh_fragment_due(uint32_t n, uint32_t every, uint32_t epoch);

#endif
