/* feedback.h - what a lossy codec took away, kept to be sent with the next exchange.
 *
 * In an exchange each element of the vector is encoded exactly once by each peer: in the partial sum that it sends on,
 * or in the result where it is the root. So one residual an element is enough, wherever trees put the peer:
 *
 *     meant = sum of what came + own + residual;   sent = decode(encode(meant));   residual = meant - sent
 *
 * Nothing is lost, only late: sum over exchanges of the results + sum over peers of the residuals = sum of all that the
 * peers put in (exactly, where the sums themselves are).
 */
#ifndef TRAINER_CODEC_FEEDBACK_H
#define TRAINER_CODEC_FEEDBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

struct lh_feedback;

/* n floats, all 0; twice as many with `undo`: then an exchange's residuals take effect at lh_feedback_keep, and until
 * then an exchange that was given up can be forgotten. Without, every exchange is kept at once. */
int lh_feedback_new(uint64_t n, bool undo, struct lh_feedback **ret, struct lh_err *err);
/* dst[i] += residual of element offset + i. */
void lh_feedback_add(const struct lh_feedback *f, uint64_t offset, size_t n, float *dst);
/* The residual of element offset + i becomes meant[i] - sent[i]. */
void lh_feedback_set(struct lh_feedback *f, uint64_t offset, size_t n, const float *meant, const float *sent);
/* With undo: the last exchange counts; each of its elements was set. Otherwise nothing. */
void lh_feedback_keep(struct lh_feedback *f);
/* [n] what is added to the next exchange. */
float *lh_feedback_residual(struct lh_feedback *f);
/* What would be lost with this peer: sum of |r| and square root of the sum of r^2. */
void lh_feedback_mass(const struct lh_feedback *f, double *ret_l1, double *ret_l2);
/* The same of any n floats. */
void lh_residual_mass(const float *r, uint64_t n, double *ret_l1, double *ret_l2);
void lh_feedback_free(struct lh_feedback *f); /* NULL is fine */

#endif
