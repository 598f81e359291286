/* tcp_internal.h - shared by tcp.c (the loop, and what the owner calls), tcp_conn.c (bytes of one connection), tcp_pair.c
 * (all connections with one peer), tcp_join.c (becoming open) and tcp_option.c (what is asked of the kernel's TCP).
 */
#ifndef TRAINER_COMM_TCP_INTERNAL_H
#define TRAINER_COMM_TCP_INTERNAL_H

#include "frame.h"
#include "tcp.h"

#define LH_TCP_PENDING_MAX 8192                    /* accepted connections that have not said who they are, at most */
#define LH_STREAMS_AUTO_MAX 16                     /* of a pair, where nobody said how many */
#define LH_TCP_PASS_BYTES (2 * 1024 * 1024)        /* of one connection before the others get their turn */
#define LH_TCP_RETRY_NS (20 * LH_NS_PER_MS)        /* between two attempts to connect; doubled each time up to ... */
#define LH_TCP_RETRY_MAX_NS (500 * LH_NS_PER_MS)   /* ... this, where the run goes on without that peer */
#define LH_TCP_REFUSED_NS LH_NS_PER_S              /* for a refused one to read why */
/* With several streams, a stream is given no more than so many bytes that it has not yet sent: the next part goes to the
 * one that gets rid of its bytes, and a slow one holds no more than this and one part. */
#define LH_TCP_UNSENT_BYTES (256 * 1024)
#define LH_TCP_WARM_MAX (32 * 1024 * 1024)         /* bytes that one stream begins with */
#define LH_TCP_MESSAGES_MAX (1024 * 1024)          /* bytes between members that wait to be sent to one peer */

enum tcp_state {
	TCP_CONNECTING,
	TCP_GREETING,   /* HELLO is sent, WELCOME is awaited */
	TCP_ACCEPTED,   /* HELLO is awaited; no peer yet */
	TCP_CHALLENGED, /* WELCOME is sent, PROOF is awaited; no peer yet */
	TCP_REFUSED,    /* told so; what still comes is thrown away */
	TCP_OPEN,
	TCP_LEFT,       /* BYE came */
	TCP_GONE,       /* closed */
};

struct tcp_pair;

struct tcp_conn {
	struct tcp_conn *next; /* in the list of those without a peer, or of the discarded ones */
	struct tcp_pair *pair;
	enum tcp_state state;
	int fd;
	unsigned stream;
	bool polls_in, polls_out;
	bool broken;           /* nothing can be sent any more */
	bool held;             /* data of a view to come has begun: not read further */
	int wakes;             /* bytes that must be there before the kernel says so; 0: as it began, one */
	lh_ns since_ns, last_tx_ns;
	struct lh_tcp_round told; /* by the kernel, when it was asked last; since the connection began */
	uint8_t hello[LH_HELLO_BYTES], welcome[LH_HELLO_BYTES]; /* of this greeting, as they were sent */
	struct lh_frame_reader reader;
	uint8_t small[4 + LH_FRAME_TEXT_MAX]; /* payload of the transport's own frames */
	uint8_t *big;          /* payload of members' frames, and of what nobody wants; LH_FRAME_PAYLOAD_MAX */
	bool unwanted;         /* the payload being read */
	bool warm, warmed;     /* the last of what it begins with has come; has come to the other side */
	uint32_t warm_left;    /* of that, to be sent */
	/* Sending: our own frames first, but never into the middle of another. */
	uint8_t control[1024];
	size_t control_len, control_off;
	bool out_active, out_bulk; /* bulk: of the member user, not of the user */
	struct lh_frame out_frame;
	uint8_t out_header[LH_FRAME_HEADER];
	const uint8_t *out_payload;
	uint8_t *out_own;      /* out_payload when it is no longer the user's */
	size_t out_off;
};

struct message { /* between members, waiting to be sent */
	struct message *next;
	size_t len;
	uint8_t payload[];
};

struct tcp_pair { /* with one other peer */
	unsigned rank;
	bool open;                  /* all streams are; stays so until it is lost */
	unsigned nstreams, nopen;   /* nstreams 0: nobody has begun to connect */
	unsigned cold;              /* streams that are open but not warm, in both directions */
	struct tcp_conn **conns;    /* [nstreams] by stream; NULL until it is there */
	unsigned turn;              /* stream that is offered work first */
	uint64_t id;                /* of this attempt */
	uint32_t incarnation;       /* of the other side, in this attempt */
	int wakes_most;             /* bytes of a part that are read at once, where its rest is not less; 0: what there is */
	bool expected, woken, gone; /* gone: it left or was refused for good; not connected again */
	lh_ns last_rx_ns, expected_ns, rtt_ns;
	lh_ns retry_ns, backoff_ns; /* who connects: when to try next, and how long after that */
	struct message *messages, **messages_end;
	size_t message_bytes;
};

struct tcp {
	struct lh_transport base;
	const struct lh_peer_config *c;
	struct lh_hello hello; /* what is the same in each of ours */
	int epoll_fd, listen_fd;
	struct tcp_pair *pairs;    /* [size]; our own is not used */
	struct tcp_conn *unknown;  /* accepted, without peer */
	struct tcp_conn *dead;
	unsigned nunknown, unknown_max;
	bool joining, quiet;       /* quiet: nothing of the user is sent any more */
	bool leaving, elastic, has_held;
	int restless_fd;           /* watched, and always readable; -1: none */
	lh_ns now_ns;              /* when this pass began */
	lh_ns progress_ns, timer_ns;
	double *carries;           /* [size] of the vector, to each peer; NULL: not known */
};

/* tcp_conn.c */
struct tcp_conn *tcp_conn_new(struct tcp *t, enum tcp_state state, int fd);
void tcp_conn_close(struct tcp *t, struct tcp_conn *c);
void tcp_conn_discard(struct tcp *t, struct tcp_conn *c); /* close; nobody has it any more */
void tcp_conn_bury(struct tcp *t); /* free the discarded ones */
/* What epoll shall tell. The first call adds it. */
int tcp_conn_poll(struct tcp *t, struct tcp_conn *c, bool in, bool out, bool add);
bool tcp_conn_queue(struct tcp_conn *c, const struct lh_frame *f, const void *payload);
int tcp_conn_write(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
int tcp_conn_read(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
int tcp_conn_hung_up(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
/* The view has changed: what is under way is no longer the user's. */
int tcp_conn_disown(struct tcp_conn *c, struct lh_err *err);
/* Go on with the frame at which it was held, if the time has come. */
int tcp_conn_resume(struct tcp *t, struct tcp_conn *c, struct lh_err *err);

/* tcp_pair.c */
int tcp_pair_reset(struct tcp *t, struct tcp_pair *p, unsigned nstreams); /* close all; room for nstreams */
/* Every stream is there. */
int tcp_pair_opened(struct tcp *t, struct tcp_pair *p, struct lh_err *err);
/* No good any more: ends the run and names the peer, or tells the member user and returns 0. */
int tcp_pair_fail(struct tcp *t, struct tcp_pair *p, struct lh_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* What to send next on this stream: 1, 0 for nothing, or an error. */
int tcp_pair_next(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
void tcp_pair_sent(struct tcp *t, struct tcp_conn *c);
bool tcp_pair_has_work(const struct tcp *t, const struct tcp_pair *p);
int tcp_pair_write(struct tcp *t, struct tcp_pair *p, struct lh_err *err);
int tcp_pair_timer(struct tcp *t, struct tcp_pair *p, lh_ns now_ns, struct lh_err *err);
void tcp_pair_done(struct tcp *t, struct tcp_pair *p);

/* tcp_join.c */
void tcp_accept(struct tcp *t);
int tcp_connected(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
/* An attempt to connect has failed: another one later. */
int tcp_retry(struct tcp *t, struct tcp_pair *p);
int tcp_join_frame(struct tcp *t, struct tcp_conn *c, struct lh_err *err);
void tcp_refuse(struct tcp *t, struct tcp_conn *c, const char *why);
/* A pair may have been the last that was awaited. */
void tcp_join_look(struct tcp *t);
int tcp_join_timer(struct tcp *t, lh_ns now_ns, struct lh_err *err);
void tcp_forget_unknown(struct tcp *t, struct tcp_conn *c);

/* tcp_option.c */
void tcp_option_listener(const struct tcp *t, int fd);
void tcp_option_set(const struct tcp *t, int fd);
lh_ns tcp_option_rtt(int fd);
/* Of a part that is coming, so much or all that is left before the kernel tells. */
int tcp_option_wakes(const struct tcp *t, const struct tcp_pair *p);
void tcp_option_wake(struct tcp_conn *c);
/* How many streams a pair with this round-trip time gets. */
unsigned tcp_option_streams(const struct tcp *t, int fd);

/* tcp_pace.c */
int tcp_pace_init(struct tcp *t, struct lh_err *err);
void tcp_pace_pair(const struct tcp *t, const struct tcp_pair *p);

/* tcp_warm.c */
void tcp_warm_pair(struct tcp *t, struct tcp_pair *p);
bool tcp_warm_next(struct tcp_conn *c); /* into out_frame */
int tcp_warm_came(struct tcp *t, struct tcp_conn *c, struct lh_err *err);

extern const struct lh_transport_ops lh_tcp_ops;

#endif
