/* tcp.h - the transport that runs: one TCP connection a pair of peers, everything non-blocking in one epoll.
 *
 * A peer listens at its own endpoint, connects to every lower rank and accepts every higher one. Whoever
 * connects says HELLO (rank, size, secret of the run, fingerprint of the configuration); who is not of this run is
 * told why not and closed, and waiting goes on. A connection, once open, is lost only with the run: end of file,
 * reset, a malformed frame, or no byte for the deadline from a peer that is waited for, all name that peer.
 * Peers that are alive but have nothing to say ping every quarter of the deadline.
 * Buffers are left to the kernel's autotuning; only TCP_NODELAY and TCP_USER_TIMEOUT (the deadline) are set.
 */
#ifndef TRAINER_COMM_TCP_H
#define TRAINER_COMM_TCP_H

#include "longhaul/peer.h"
#include "transport.h"

/* Bind and listen at peers[rank]. `config` must outlive the transport. */
int lh_tcp_listen(const struct lh_peer_config *config, struct lh_transport **ret, struct lh_err *err);
/* Begin to connect; progress does the rest. The user must be attached before: others may send at once. */
void lh_tcp_join(struct lh_transport *t);
/* Connected with every peer. */
bool lh_tcp_joined(const struct lh_transport *t);

#endif
