/* allreduce.h - sums a vector over all peers: a pattern, carried by a transport, in the arithmetic of a codec.
 *
 * Theory of operation. The vector is never held here: it is read and written in parts of at most
 * LH_FRAME_PAYLOAD_MAX wire bytes through two callbacks. Each block has a tree (pattern.h). A peer gathers one part
 * from each of its children, adds them and its own (unrounded) in the order of ranks in fp32, and sends the sum on,
 * in the codec. The root encodes the finished sum once, and everybody, the root too, decodes those same bytes, however
 * many peers passed them on: replicas stay identical to the last bit, whatever the order of arrival.
 *
 * Nobody waits for a step of others: a part is sent when it can be made, blocks take turns on a link, results before
 * contributions. So parts stream through a tree of any depth, and the time of a long chain is paid once. Parts come
 * and go in any order: a pair of peers may have several streams, and what is late on a slow one holds up no other part.
 *
 * Flow control: a peer sends part q of a block only when it has the results of all parts up to q - window. So a peer
 * holds at most `window` parts of each child in a block: when part q of a child comes, the child has the result q - window,
 * to which we have contributed, so its place is free. And who makes the result q has, by all that went into it, the
 * word of all peers that they have the result q - window: a peer that passes results on holds at most `window` of a
 * block, too. It cannot deadlock: all that arrives is taken at once (nobody ever stops reading), so where q is the
 * lowest part without a result, results below reach everybody, hence contributions q leave every leaf, hence every
 * other peer, hence result q is made.
 *
 * A peer that calculates longer than the others still takes what they send (into the window), and may meet
 * contributions of the exchange after the one it is in: a peer can be ahead by one, not by two, since ending an
 * exchange takes everybody's part in it; and whoever is ahead has all results, so we have contributed to each of them
 * and the places are free. Results are never ahead: they need our contribution. None of this rests on frames keeping
 * their order, only on causes coming before effects.
 */
#ifndef TRAINER_COMM_ALLREDUCE_H
#define TRAINER_COMM_ALLREDUCE_H

#include "pattern/pattern.h"
#include "transport.h"
#include "codec/codec.h"
#include "codec/feedback.h"

struct lh_allreduce;

struct lh_allreduce_config {
	const struct lh_pattern *pattern;
	const struct lh_group *group; /* all peers; only read by lh_allreduce_new */
	const struct lh_codec *codec; /* only read by lh_allreduce_new */
	struct lh_feedback *feedback; /* of n elements, or NULL: what the codec takes away is lost */
	float scale;              /* a power of two: values are multiplied by it for the wire */
	unsigned rank;
	uint64_t n;               /* elements */
	size_t part_bytes;        /* of one part on the wire, at most; 0: LH_FRAME_PAYLOAD_MAX */
	unsigned window;          /* parts, at most; 0: from LH_ALLREDUCE_BUFFER_MAX */
	size_t window_bytes;      /* of that many parts on the wire, at most; 0: as many as there may be */
	uint32_t first, stride;   /* it carries the exchanges first, first + stride, ... (mux.h); 0, 0: each, from 1 */
	/* Blocks of this peer's vector; write gets the sum. A part is read before it is written. */
	int (*read)(void *ctx, uint64_t offset, size_t n, float *dst, struct lh_err *err);
	int (*write)(void *ctx, uint64_t offset, size_t n, const float *src, struct lh_err *err);
	/* Where that piece of the own vector lies in memory, so that it need not be read into another place; NULL: nowhere in
	 * one piece, or this callback is NULL. It stays as it is until the piece is written. */
	const float *(*peek)(void *ctx, uint64_t offset, size_t n);
	void *ctx;
};

/* Memory for parts of other peers that wait to be summed, by which the window is chosen. */
#define LH_ALLREDUCE_BUFFER_MAX (128u * 1024 * 1024)
#define LH_ALLREDUCE_WINDOW_MIN 8u
#define LH_ALLREDUCE_WINDOW_MAX 2048u

/* Attaches itself to the transport as its user; t is NULL for a run of one peer and must outlive it. */
int lh_allreduce_new(const struct lh_allreduce_config *config, struct lh_transport *t, struct lh_allreduce **ret,
		     struct lh_err *err);
/* Begin the next exchange. They are numbered from 1, the same on all peers; a round of training may have none, one or
 * several. The vector must be ready to be read. */
int lh_allreduce_start(struct lh_allreduce *a, uint32_t exchange, struct lh_err *err);
/* Exchanges up to this number were before a restart: the next one is the first of its own after it. Before the first. */
void lh_allreduce_skip(struct lh_allreduce *a, uint32_t exchange);
/* The sum is written everywhere in this peer, and all that the others need of it was handed to the kernel. */
bool lh_allreduce_done(const struct lh_allreduce *a);
/* What a peer sends per exchange by the pattern: payload and headers (liveness pings come on top). */
uint64_t lh_allreduce_bytes(const struct lh_allreduce *a);
void lh_allreduce_free(struct lh_allreduce *a);

#endif
