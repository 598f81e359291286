/* tcp_internal.h - shared by tcp.c (frames on open connections, the event loop) and tcp_join.c (becoming open). */
#ifndef TRAINER_COMM_TCP_INTERNAL_H
#define TRAINER_COMM_TCP_INTERNAL_H

#include "frame.h"
#include "tcp.h"

#define LH_TCP_PENDING_MAX 128                     /* accepted connections that have not said who they are */
#define LH_TCP_PASS_BYTES (2 * 1024 * 1024)        /* of one connection before the others get their turn */
#define LH_TCP_RETRY_NS (20 * LH_NS_PER_MS)        /* between two attempts to connect */
#define LH_TCP_REFUSED_NS LH_NS_PER_S              /* for a refused one to read why */

enum tcp_state {
	TCP_IDLE,       /* not connected; retry_ns says when to try */
	TCP_CONNECTING,
	TCP_GREETING,   /* HELLO is sent, WELCOME is awaited */
	TCP_ACCEPTED,   /* HELLO is awaited; no rank yet */
	TCP_REFUSED,    /* told so; what still comes is thrown away */
	TCP_OPEN,
	TCP_LEFT,       /* BYE came */
	TCP_GONE,       /* closed */
};

struct tcp_conn {
	struct tcp_conn *next; /* in the list of those without rank */
	enum tcp_state state;
	int fd;
	unsigned rank;
	bool expected, woken, polls_out, broken;
	lh_ns since_ns, retry_ns, last_rx_ns, last_tx_ns, expected_ns;
	struct lh_frame_reader reader;
	uint8_t small[4 + LH_FRAME_TEXT_MAX]; /* payload of the transport's own frames */
	/* Sending: our own frames first, but never into the middle of the user's. */
	uint8_t control[1024];
	size_t control_len, control_off;
	bool out_active;
	struct lh_frame out_frame;
	uint8_t out_header[LH_FRAME_HEADER];
	const uint8_t *out_payload;
	size_t out_off;
};

struct tcp {
	struct lh_transport base;
	const struct lh_peer_config *c;
	struct lh_hello hello; /* ours */
	int epoll_fd, listen_fd;
	struct tcp_conn **conns;   /* [size] by rank; NULL until it is there */
	struct tcp_conn *unknown;  /* accepted, without rank */
	unsigned nunknown, nopen;
	bool joining, quiet;       /* quiet: nothing of the user is sent any more */
	bool leaving;
	lh_ns progress_ns, timer_ns;
};

/* tcp.c */
struct tcp_conn *tcp_conn_new(struct tcp *t, enum tcp_state state, int fd, unsigned rank);
void tcp_conn_hang_up(struct tcp *t, struct tcp_conn *c);
int tcp_conn_poll(struct tcp *t, struct tcp_conn *c, bool out, bool add);
bool tcp_conn_queue(struct tcp_conn *c, const struct lh_frame *f, const void *payload);
int tcp_conn_write(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
int tcp_conn_fail(struct tcp *t, struct tcp_conn *c, struct lh_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

extern const struct lh_transport_ops lh_tcp_ops;

/* tcp_join.c */
void tcp_accept(struct tcp *t);
int tcp_connected(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
int tcp_retry(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
int tcp_join_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
void tcp_refuse(struct tcp *t, struct tcp_conn *c, const char *why);
int tcp_join_timer(struct tcp *t, lh_ns now_ns, struct lh_err *err);
void tcp_forget_unknown(struct tcp *t, struct tcp_conn *c);

#endif
