/* loopback.h - a transport inside one process, for tests: N endpoints, and an order of arrival drawn from a seed. What a
 * test proves here holds for every order that it drew.
 *
 * Each direction of a pair has streams, as tcp.c has connections: frames of one stream keep their order; frames of
 * two overtake each other, begin to arrive before others have ended, and are sent in another order than they were
 * handed out, so that a payload is read long after send_next gave it away.
 */
#ifndef TRAINER_COMM_LOOPBACK_H
#define TRAINER_COMM_LOOPBACK_H

#include "transport.h"

struct lh_loopback;

/* depth: frames that one direction of a pair holds before its sender has to wait. One stream a pair. */
int lh_loopback_new(unsigned npeers, unsigned depth, uint64_t seed, struct lh_loopback **ret, struct lh_err *err);
/* Before the first frame. */
int lh_loopback_streams(struct lh_loopback *l, unsigned streams, struct lh_err *err);
struct lh_transport *lh_loopback_endpoint(struct lh_loopback *l, unsigned rank);
void lh_loopback_free(struct lh_loopback *l);

#endif
