/* allreduce_internal.h - shared by allreduce.c (running an exchange), allreduce_sum.c (the sum of a part) and
 * allreduce_new.c (what is set up once). */
#ifndef TRAINER_COMM_ALLREDUCE_INTERNAL_H
#define TRAINER_COMM_ALLREDUCE_INTERNAL_H

#include "allreduce.h"

#define NOBODY UINT32_MAX

enum slot_state { SLOT_EMPTY, SLOT_COMING, SLOT_HERE };

struct slot { /* a child's contribution to one part */
	enum slot_state state;
	void *buffer;
};

struct child { /* a peer whose partial sums of one block come to us */
	unsigned peer;
	struct slot *slots;        /* [window], by part % window */
};

struct heir { /* a peer that gets the result of one block from us */
	unsigned peer, block;
	uint32_t returned;         /* results that were handed out for sending, in the order in which they came */
};

struct place { /* one part of a block, by part % window */
	uint32_t arrived;          /* children whose contributions are here */
	bool given, result;        /* summed and handed out; its result is here. Only beyond the low marks of the flow */
	bool coming;               /* its result is being received */
	uint32_t unsent;           /* heirs that were not yet handed the result in `kept` */
	void *kept;                /* encoded result; stays while heirs may need it */
};

struct flow { /* one block */
	struct lh_block block;
	uint32_t parts;
	unsigned up, down;         /* who gets our partial sum, who gives us the result; NOBODY at the root */
	struct child *children;    /* by rank */
	struct heir *heirs;
	unsigned nchildren, nheirs;
	struct place *places;      /* [window] */
	uint32_t *order;           /* [window] which parts the latest results are, for the heirs */
	uint32_t given_low;        /* all parts below were summed and handed out (at the root: finished) */
	uint32_t result_low;       /* the results of all parts below are here */
	uint32_t ready;            /* parts that all children contributed to and that were not yet summed */
	uint32_t results;          /* parts whose result is here */
};

struct link { /* to and from one other peer */
	struct heir **heirs;       /* results that go to it */
	struct flow **flows;       /* blocks whose partial sums go to it */
	unsigned nheirs, nflows;
	unsigned heir_turn, flow_turn; /* where to look next: all of them take turns */
	uint64_t awaited;          /* parts of any kind that it still has to send in this exchange */
	unsigned in_flight;        /* frames handed out and not yet sent */
};

struct buffer; /* one encoded part; several frames may hold it */

struct lh_allreduce {
	struct lh_allreduce_config c;
	struct lh_codec codec;
	struct lh_transport *t;
	struct lh_trace *trace;    /* the transport's */
	unsigned npeers;
	uint32_t exchange, next;   /* the one that began last, and the one after it */
	bool active;
	bool plain;                /* what is on the wire is the floats themselves: sums need no place of their own */
	size_t part_elements;
	unsigned window;
	unsigned nflows;
	struct flow *flows;        /* by block */
	struct child *children;    /* of all flows */
	struct heir *heirs;
	size_t nchildren, nheirs;
	struct heir **heirs_by_peer; /* what links point into */
	struct flow **flows_by_peer;
	struct link *links;        /* [npeers]; our own is not used */
	size_t piece_elements;     /* of a part, in the processor's first-level cache */
	float *sum, *term;         /* one piece each */
	struct buffer *buffers, *pool; /* all, and those that nobody holds */
	size_t buffer_bytes;
};

extern const struct lh_transport_user lh_allreduce_user;

/* Bytes of n elements on the wire. */
size_t lh_allreduce_wire_bytes(const struct lh_allreduce *a, size_t n);
void lh_allreduce_release(struct lh_allreduce *a, void *bytes); /* one holder of a buffer less; NULL is fine */
void lh_allreduce_free_buffers(struct lh_allreduce *a);         /* all, held or not */

size_t lh_allreduce_part_length(const struct lh_allreduce *a, const struct lh_block *b, uint32_t part); /* elements */
/* Our part q where it lies; NULL: it must be read. */
const float *lh_allreduce_peek(const struct lh_allreduce *a, const struct flow *w, uint32_t q);
/* Our part q and those of the children, which are all here, to `to` as it leaves; NULL: there is nobody to send it to.
 * A result is what everybody will read out of that; it is written. */
int lh_allreduce_sum(struct lh_allreduce *a, struct flow *w, uint32_t q, void *to, bool is_result, struct lh_err *err);
/* A result that came is written. */
int lh_allreduce_take_result(struct lh_allreduce *a, const struct flow *w, uint32_t q, const void *bytes, struct lh_err *err);

#endif
