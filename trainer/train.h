/* train.h - one peer's life: listen, join, and rounds of calculation, exchange and update, told as events.
 *
 * One thread does everything. While a share is calculated the peer looks at its sockets between two steps and all
 * through the time that pacing waits out, so that peers that are done earlier are not held up; what arrives
 * during a step waits in the kernel's buffers.
 */
#ifndef TRAINER_TRAIN_H
#define TRAINER_TRAIN_H

#include "engine.h"
#include "longhaul/peer.h"

struct lh_train_io {
	int event_fd;   /* event lines are written here */
	int control_fd; /* commands come from here; -1: go at once, nobody stops us */
	int signal_fd;  /* signalfd: any signal ends the run; -1: none */
	int turns_fd;   /* takes_turns: of the shared device (common/turn.h) */
};

/* Until the last round, a stop, a signal or a failure. After a failure a FAILED event was written and the other
 * peers were told. *ret_signal: the signal that ended it, 0 for none. */
int lh_train_run(const struct lh_peer_config *config, const struct lh_engine_ops *engine,
		 const struct lh_train_io *io, int *ret_signal, struct lh_err *err);

#endif
