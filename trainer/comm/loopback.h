/* loopback.h - a transport inside one process, for tests: N endpoints, frames of a pair in order, pairs in an order
 * drawn from a seed. What a test proves here holds for every order of arrival that it drew.
 */
#ifndef TRAINER_COMM_LOOPBACK_H
#define TRAINER_COMM_LOOPBACK_H

#include "transport.h"

struct lh_loopback;

/* depth: frames that one direction of a pair holds before its sender has to wait. */
int lh_loopback_new(unsigned npeers, unsigned depth, uint64_t seed, struct lh_loopback **ret, struct lh_err *err);
struct lh_transport *lh_loopback_endpoint(struct lh_loopback *l, unsigned rank);
void lh_loopback_free(struct lh_loopback *l);

#endif
