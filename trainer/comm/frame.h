/* frame.h - what travels between two peers: a header of 24 bytes and a payload, on each TCP connection of a pair.
 *
 *      0        4        5      6          8          12       16       20      24
 *     | "lhp!" | version| type | block    | exchange | part   | length | view  | payload ...      little-endian
 *
 * Pure: bytes in, frames out. Everything here comes from the network and is checked against named limits before
 * anybody allocates or believes anything. tcp.c moves the bytes, allreduce.c knows which parts it waits for.
 */
#ifndef TRAINER_COMM_FRAME_H
#define TRAINER_COMM_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

#define LH_FRAME_VERSION 3
#define LH_FRAME_HEADER 24
#define LH_FRAME_PAYLOAD_MAX (512 * 1024) /* also the size of one part of a block */
#define LH_FRAME_TEXT_MAX 255             /* of REFUSE and ABORT */
#define LH_FRAME_MEMBER_MAX (64 * 1024)   /* of one message between members */
#define LH_HELLO_BYTES 80
#define LH_NONCE_BYTES 16
#define LH_PROOF_BYTES 32

enum lh_frame_type {
	LH_FRAME_HELLO = 1,        /* connecting peer -> accepting peer: who I am */
	LH_FRAME_WELCOME = 2,      /* the same, back, with a proof that the secret of the run is known */
	LH_FRAME_REFUSE = 3,       /* text: why not; then the connection is closed */
	LH_FRAME_PING = 4,         /* alive, though there is nothing to send */
	LH_FRAME_BYE = 5,          /* exchange: the last that I completed; nothing follows */
	LH_FRAME_ABORT = 6,        /* the run is broken: rank of the culprit, then text */
	LH_FRAME_CONTRIBUTION = 7, /* one part of a block: what the sender's subtree has of the sum */
	LH_FRAME_RESULT = 8,       /* one part of a block, summed */
	LH_FRAME_PROOF = 9,        /* the connecting peer's proof; then the connection is open */
	LH_FRAME_MEMBER = 10,      /* between the members of a group that changes; opaque here */
	LH_FRAME_STATE = 11,       /* a piece of what a joining peer needs; opaque here */
	LH_FRAME_WARM = 12,        /* bytes without meaning, part: how many follow; only as a stream's first (tcp_warm.c) */
	LH_FRAME_WARMED = 13,      /* the last of them has come, and what it acknowledged has been told */
};

struct lh_frame {
	enum lh_frame_type type;
	uint32_t exchange, part, length;
	uint16_t block; /* of data and state; 0 in other frames */
	uint32_t view;  /* membership generation; 0 where it is fixed */
};

void lh_frame_print(const struct lh_frame *f, uint8_t ret[LH_FRAME_HEADER]);
/* -EPROTO: not a longhaul peer, or a header that none sends; -EPROTONOSUPPORT: another version of it. */
int lh_frame_parse(const uint8_t header[LH_FRAME_HEADER], struct lh_frame *ret, struct lh_err *err);

struct lh_hello {
	uint32_t rank, size;
	uint64_t fingerprint;    /* of the configuration that all peers share */
	uint32_t incarnation;    /* how often this rank was started before */
	uint16_t stream, streams; /* which connection of the pair this is, and how many there will be */
	uint64_t pair;           /* drawn by who connects, the same for all connections of one attempt */
	uint8_t nonce[LH_NONCE_BYTES]; /* drawn for this connection */
	uint8_t proof[LH_PROOF_BYTES]; /* of WELCOME (auth.h); 0 in HELLO */
};

void lh_hello_print(const struct lh_hello *h, uint8_t ret[LH_HELLO_BYTES]);
int lh_hello_parse(const uint8_t *payload, size_t len, struct lh_hello *ret, struct lh_err *err);
/* 0 when `theirs` may join a run that is `ours`; else the reason, in words for the other side. */
int lh_hello_check(const struct lh_hello *theirs, const struct lh_hello *ours, struct lh_err *err);

/* Payload of ABORT. print returns its length; parse makes the text printable. */
size_t lh_abort_print(int32_t culprit, const char *text, uint8_t ret[4 + LH_FRAME_TEXT_MAX]);
int lh_abort_parse(const uint8_t *payload, size_t len, int32_t *ret_culprit, char text[LH_FRAME_TEXT_MAX + 1]);
/* Payload of REFUSE: anything a stranger sent, made printable. */
void lh_text_parse(const uint8_t *payload, size_t len, char text[LH_FRAME_TEXT_MAX + 1]);

/* Takes a byte stream apart. The caller reads up to `space` bytes to where the reader points, straight into the
 * place of the payload, and tells how many came. */
struct lh_frame_reader {
	uint8_t header[LH_FRAME_HEADER];
	size_t have;          /* of the header, then of the payload */
	int in_payload;
	struct lh_frame frame;
	uint8_t *payload;     /* the caller's, set at LH_READ_HEADER */
};

enum { LH_READ_MORE = 0, LH_READ_HEADER = 1, LH_READ_FRAME = 2 };

size_t lh_frame_reader_space(struct lh_frame_reader *r, uint8_t **ret_at);
/* LH_READ_HEADER: r->frame is known; set r->payload when its length is not 0, then call with n = 0.
 * LH_READ_FRAME: payload complete; the next call begins a new frame. Negative: the stream is no good. */
int lh_frame_reader_advance(struct lh_frame_reader *r, size_t n, struct lh_err *err);

#endif
