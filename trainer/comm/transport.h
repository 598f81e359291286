/* transport.h - moves frames between this peer and each other one: whole, and with somebody to blame.
 *
 * Nothing here blocks: the owner waits on `fd` until `timer`, then calls `progress`, which reads, writes and asks
 * the user (one collective, attached once) where received payloads go and what to send next. Frames of one pair may
 * go by different streams, so one may overtake another, begin before another has ended, and be sent before it.
 */
#ifndef TRAINER_COMM_TRANSPORT_H
#define TRAINER_COMM_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "longhaul/units.h"
#include "trace.h"

struct lh_transport;

struct lh_transport_user {
	/* A frame with f->length bytes begins: where to? The buffer stays the user's. */
	int (*receive_begin)(void *ctx, unsigned peer, const struct lh_frame *f, void **ret_buffer, struct lh_err *err);
	/* Its payload is complete. */
	int (*receive_end)(void *ctx, unsigned peer, const struct lh_frame *f, void *buffer, struct lh_err *err);
	/* 1: send this; the payload must stay until sent. 0: nothing now; lh_transport_wake when there is. Asked again
	 * before the last one was sent: several frames are on their way to a peer at once. */
	int (*send_next)(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err);
	/* The last byte was handed to the kernel; the payload is the user's again. */
	void (*sent)(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload);
};

/* Where the group of peers may change, a second user, which is told who is there and whose messages the transport
 * carries. Its callbacks come from within progress; they may call any operation but progress and close. */
struct lh_transport_member {
	/* Connected with this peer, which was started `incarnation` times before. */
	void (*found)(void *ctx, unsigned peer, uint32_t incarnation);
	/* No longer: it died, stalled, left, or gave way to a later incarnation of itself. Nothing of it comes any more,
	 * and nothing that was handed out for it is in use. */
	void (*lost)(void *ctx, unsigned peer, const char *reason);
	/* A MEMBER or STATE frame. The payload is valid during the call. */
	int (*message)(void *ctx, unsigned peer, const struct lh_frame *f, const uint8_t *payload, struct lh_err *err);
	/* STATE frames to send, as send_next and sent of the user; asked when there is nothing of the user to send. */
	int (*state_next)(void *ctx, unsigned peer, struct lh_frame *ret, const void **ret_payload, struct lh_err *err);
	void (*state_sent)(void *ctx, unsigned peer, const struct lh_frame *f, const void *payload);
};

struct lh_transport_ops {
	/* Read and write what can be. 0, or an error; t->culprit says whose. Errors are final. */
	int (*progress)(struct lh_transport *t, struct lh_err *err);
	/* send_next may have something for this peer. */
	void (*wake)(struct lh_transport *t, unsigned peer);
	/* From now on (or no longer) bytes of this peer are waited for; its silence is an error after the deadline. */
	void (*expect)(struct lh_transport *t, unsigned peer, bool on);
	/* Sleep until progress has work, or until a watched descriptor is readable or hung up (`called` is set then), and
	 * progress: one system call for both. NULL where the transport has none. */
	int (*wait)(struct lh_transport *t, struct lh_err *err);
	/* A descriptor of the owner's that ends wait, or no longer does; one that cannot be polled is always readable. 0 or a
	 * negative errno. */
	int (*watch)(struct lh_transport *t, int fd, bool on);
	/* Pollable for reading when progress has work; -1: call it always. */
	int (*fd)(const struct lh_transport *t);
	/* progress wants to be called at this time at the latest. */
	lh_ns (*timer)(const struct lh_transport *t);
	/* Tell everybody that this peer completed `exchange` last and sends nothing more. */
	void (*leave)(struct lh_transport *t, uint32_t exchange);
	/* After leave: everybody else has left too, nothing is in flight. */
	bool (*left)(const struct lh_transport *t);
	/* Tell everybody, as far as it can be done in a moment, that the run is broken and by whom (-1: by us). */
	void (*abort)(struct lh_transport *t, int culprit, const char *reason);
	void (*close)(struct lh_transport *t);
	/* ---- only where there is a member user ---- */
	/* Queue a MEMBER message to this peer; order is kept. -ENOTCONN, -EMSGSIZE, or -ENOBUFS where it does not take
	 * what was queued before. */
	int (*tell)(struct lh_transport *t, unsigned peer, const void *payload, size_t len);
	/* Another group: data goes out and is taken with this view from now on. What is under way is neither given to the
	 * user nor read from its buffers any more, so that the old all-reduce may be freed. */
	int (*view)(struct lh_transport *t, uint32_t view, struct lh_err *err);
	/* Give this peer up; `lost` is not called. It may be found again. */
	void (*drop)(struct lh_transport *t, unsigned peer);
	/* Of the handshake; 0: not known. */
	lh_ns (*rtt)(const struct lh_transport *t, unsigned peer);
};

struct lh_transport {
	const struct lh_transport_ops *ops;
	const struct lh_transport_user *user;
	void *user_ctx;
	const struct lh_transport_member *member; /* NULL: a peer's loss is an error */
	void *member_ctx;
	uint32_t view;
	uint64_t bytes_sent, bytes_received; /* on the sockets of peers, headers included */
	bool called;          /* a watched descriptor ended wait; the owner clears it */
	unsigned blocked;     /* streams whose bytes the kernel does not take at the moment */
	struct lh_trace *trace; /* may be NULL; whoever does something says so there */
	int culprit;          /* rank that the error of progress is about; -1: none or ourselves */
	bool bye_seen;         /* somebody has left ... */
	uint32_t bye_exchange; /* ... after completing this exchange (the earliest of them) */
};

#endif
