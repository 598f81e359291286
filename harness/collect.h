/* collect.h - the peers' events, put in order: what each peer did in each epoch.
 *
 * Nothing here calculates; metrics.h does. An event that cannot be true (an unknown rank, an epoch out of turn,
 * times that run backwards) is refused, so that a broken peer breaks the run and not the numbers.
 */
#ifndef HARNESS_COLLECT_H
#define HARNESS_COLLECT_H

#include "longhaul/peer.h"

struct lh_peer_series {
	bool listening, joined, finished, failed;
	lh_ns joined_ns, finished_ns, failed_ns;
	uint64_t parameters, initial_hash;
	bool initial;             /* initial_hash is of the parameters of the run's begin */
	bool lost;                /* elastic: it ended once before it had finished */
	bool late;                /* elastic: started after the run began */
	uint32_t epochs;          /* the last it told of. Fixed: 1 ... epochs are in the table; elastic: those in which it
				   * was a member */
	bool away;                /* elastic: not there when the run began and not started yet, or gone */
	int culprit;              /* FAILED: rank, -1 the peer itself */
	char reason[256];         /* FAILED */
};

/* Of an epoch's spans line: its sums; longhaul/peer.h. */
struct lh_span_sums {
	bool known;
	lh_ns total_ns[LH_SPAN_KINDS], comm_ns[LH_SPAN_KINDS];
	bool has_tcp;
	lh_ns tcp_busy_ns, tcp_window_ns, tcp_buffer_ns;
	uint64_t tcp_retransmits, tcp_bytes_sent;
	lh_ns told_ns;            /* after TCP was asked */
};

/* Samples of an epoch that did not fit into its own line. */
struct lh_told_ranges {
	unsigned rank;
	uint32_t epoch;
	char text[sizeof ((struct lh_event *)NULL)->ranges];
};

struct lh_series {
	unsigned npeers;
	uint32_t nepochs;         /* as configured */
	uint32_t first;           /* epochs that an earlier run had: nobody tells of those */
	bool begins_apart;        /* resumed where the peers held different parameters */
	bool elastic;             /* peers may come and go */
	struct lh_told_ranges *more; /* elastic: in the order in which they were told */
	size_t nmore, more_room;
	uint64_t members;         /* elastic: of the newest view; 0: none was told */
	uint32_t view, reached;   /* elastic: its number; epochs that all members of the time committed */
	lh_ns go_ns;              /* just before the first peer was told to go; 0 until then */
	struct lh_peer_series *peers;   /* [npeers] */
	struct lh_event *cells;         /* [nepochs][npeers], EPOCH events; kind is undefined where not yet there */
	struct lh_span_sums *sums;      /* [nepochs][npeers] */
	bool has_eval;
	struct lh_event eval;
};

int lh_series_init(struct lh_series *s, unsigned npeers, uint32_t nepochs, struct lh_err *err);
void lh_series_done(struct lh_series *s);

/* Before anything is added: the run goes on after that epoch. */
void lh_series_resumed(struct lh_series *s, uint32_t first, bool begins_apart);
/* Elastic, before anything is added: which peers are not there when the run begins. */
void lh_series_elastic(struct lh_series *s, const bool *absent);
/* Elastic: the peer's process ended, or was started anew. */
void lh_series_gone(struct lh_series *s, unsigned peer);
void lh_series_started(struct lh_series *s, unsigned peer);

/* -EPROTO (LH_EXIT_BROKE) for an event that cannot be true. */
int lh_series_add(struct lh_series *s, const struct lh_event *e, struct lh_err *err);

/* The same for the line that follows an EPOCH event: of that epoch, and of the same instants. */
int lh_series_add_spans(struct lh_series *s, const struct lh_spans *spans, struct lh_err *err);
/* The sums of a peer's epoch, NULL when they are not there. */
const struct lh_span_sums *lh_series_sums(const struct lh_series *s, uint32_t epoch, unsigned peer);

/* The EPOCH event of a peer, NULL when it is not there (yet). Epochs count from 1. */
const struct lh_event *lh_series_at(const struct lh_series *s, uint32_t epoch, unsigned peer);
/* Epochs that every peer has committed; elastic: every peer that was a member then and still lives. */
uint32_t lh_series_committed(const struct lh_series *s);
/* Elastic: a peer that may have taken part in the epoch did not live to tell of it. */
bool lh_series_lost_one(const struct lh_series *s, uint32_t epoch);
/* Peers that have joined, of those that are there. */
unsigned lh_series_joined(const struct lh_series *s);
unsigned lh_series_present(const struct lh_series *s);
unsigned lh_series_finished(const struct lh_series *s);

/* Do all peers hold the same bytes (those that were there, after epochs that leave the same in all), initially (epoch 0)
 * and after every epoch up to `epochs`? On false, *ret_epoch is the first where they differ and *ret_peer one that
 * differs from most. */
bool lh_series_identical(const struct lh_series *s, uint32_t epochs, uint32_t *ret_epoch, unsigned *ret_peer);

#endif
