/* trace.h - where the time of a peer's one thread goes, round by round.
 *
 * The thread is always in one state (lh_span_kind). Whoever begins something else says so and, when it is done, goes
 * back to what was before:
 *
 *     enum lh_span_kind was = lh_trace_enter(tr, LH_SPAN_ENCODE);
 *     codec->encode(...);
 *     lh_trace_enter(tr, was);
 *
 * So every nanosecond of a round lies in exactly one kind, whatever is called from where, and the kinds add up to the
 * round. One reading of the CPU's counter a change; none when the kind stays. Memory is bounded: single spans are merged
 * with their neighbours when there are too many, the sums stay exact. Every function takes NULL for "nobody traces".
 */
#ifndef TRAINER_COMM_TRACE_H
#define TRAINER_COMM_TRACE_H

#include "longhaul/peer.h"

struct lh_trace;

/* `shown_every`: rounds from one whose single spans are told to the next; 0: none are. */
int lh_trace_new(unsigned rank, uint32_t shown_every, struct lh_trace **ret, struct lh_err *err);
void lh_trace_free(struct lh_trace *tr);

/* Returns the kind until now. */
enum lh_span_kind lh_trace_enter(struct lh_trace *tr, enum lh_span_kind kind);
/* Before the thread sleeps: a wait for peers is one for the window while `blocked` streams take no more bytes. */
enum lh_span_kind lh_trace_sleep(struct lh_trace *tr, unsigned blocked);

/* The first round begins, or what was before does not count. */
void lh_trace_begin(struct lh_trace *tr, lh_ns now_ns);
/* The own share is done; what follows is communication. The last call of a round counts. */
void lh_trace_share_done(struct lh_trace *tr, lh_ns now_ns);
/* An exchange begins, and is complete; the end may be told again and again. */
void lh_trace_exchange_begin(struct lh_trace *tr, uint32_t number);
void lh_trace_exchange_end(struct lh_trace *tr, uint32_t number);
/* The round ends and the next begins. *ret has everything but t_ns and what TCP said; NULL for a trace: all zero. */
void lh_trace_round(struct lh_trace *tr, uint32_t epoch, lh_ns now_ns, struct lh_spans *ret);
/* Make `s->spans` at most `most` again, for a line that came out too long; of the round that ended last. */
void lh_trace_shorten(struct lh_trace *tr, struct lh_spans *s, uint32_t most);

#endif
