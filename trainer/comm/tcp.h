/* tcp.h - the transport that runs: some TCP connections a pair of peers, everything non-blocking in one epoll.
 *
 * A peer listens at its own endpoint, connects to every lower rank and accepts every higher one. Whoever connects says
 * HELLO (rank, size, fingerprint of the configuration, which stream of how many), and both prove that they know the
 * secret of the run; who is not of this run is told why not and closed, and waiting goes on. A part goes by whichever
 * stream of the pair can take one next, so a slow stream carries less and holds up nobody.
 *
 * FIXED membership: a connection, once open, is lost only with the run: end of file, reset, a malformed frame, or no
 * byte for the deadline from a peer that is waited for, all name that peer. ELASTIC: the same closes all connections
 * with that peer and is told to the member user; the listener stays, and who was lost or comes later is found. Stream 0
 * is then for members' messages only, so that no data ever stands before them.
 * Peers that are alive but have nothing to say ping every quarter of the deadline.
 */
#ifndef TRAINER_COMM_TCP_H
#define TRAINER_COMM_TCP_H

#include "longhaul/peer.h"
#include "transport.h"

/* Bind and listen at peers[rank]. `config` must outlive the transport. */
int lh_tcp_listen(const struct lh_peer_config *config, struct lh_transport **ret, struct lh_err *err);
/* Watch these of the owner's descriptors; -1 is none. */
int lh_tcp_watch_all(struct lh_transport *t, const int *fds, unsigned n, struct lh_err *err);
/* Begin to connect; progress does the rest. The users must be attached before: others may send at once. */
void lh_tcp_join(struct lh_transport *t);
/* Connected with every peer; ELASTIC: with every one that is there from the beginning. */
bool lh_tcp_joined(const struct lh_transport *t);

/* What the kernel's TCP says of the streams to one peer, since the last time that it was asked (or the beginning). The
 * times are those of the stream that has most of each, the others are sums. */
struct lh_tcp_round {
	lh_ns busy_ns;        /* with bytes to send or in flight */
	lh_ns window_ns;      /* of it: stopped by the other side's receive window */
	lh_ns buffer_ns;      /* of it: stopped by the own send buffer */
	uint64_t retransmits; /* segments */
	uint64_t bytes_sent;  /* payload, retransmitted bytes included */
	lh_ns rtt_ns;         /* smoothed, as it is now; the largest */
};
void lh_tcp_round_info(struct lh_transport *t, unsigned peer, struct lh_tcp_round *ret);

#endif
