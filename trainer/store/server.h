/* server.h - the store itself: `longhaul-peer store` hands out samples until it is told to stop.
 *
 * A thread a connection; each makes the stored form of the items that its peer wants, in that order. A stranger, another run
 * and another version are refused with the reason.
 */
#ifndef TRAINER_STORE_SERVER_H
#define TRAINER_STORE_SERVER_H

#include "longhaul/peer.h"
#include "train.h"

struct lh_engine_ops;

/* Until LH_CONTROL_STOP, the end of the control fd, or a signal (*ret_signal). Tells LISTENING, then FINISHED or FAILED. */
int lh_store_serve(const struct lh_peer_config *c, const struct lh_engine_ops *engine, const struct lh_train_io *io,
		   int *ret_signal, struct lh_err *err);

#endif
