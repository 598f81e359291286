/* bench.h - all-reduces of one size, one after the other, on a network that is up: peers are started, measured, ended.
 *
 * Every exchange begins when all peers have ended the one before and the harness says so to all of them. Its time is
 * from the first peer's begin to the last peer's end, on the one clock that they share.
 */
#ifndef HARNESS_BENCH_H
#define HARNESS_BENCH_H

#include "exchange.h"
#include "longhaul/network.h"
#include "session.h"

#define LH_BENCH_RUNS_MAX 1000u

struct lh_bench_plan {
	struct lh_session *session;
	struct lh_net *net;
	const struct lh_experiment *exp; /* wire, streams, sockets of its training section are what is measured */
	const struct lh_exchange_plan *exchange; /* its algorithm, shares and trees; for so many elements */
	unsigned warmup, runs;
	lh_ns pause_ns;                  /* silence before every exchange */
};

/* One exchange, and what TCP says of it. */
struct lh_bench_exchange {
	double time_s;
	double window_s;                 /* the stream that was stopped longest by its receiver's window */
	double cpu_s;                    /* of all peers */
	uint64_t retransmits;            /* segments, of all peers */
};

struct lh_bench_times {
	struct lh_bench_exchange *each;  /* [warmup + runs] in order, those before the measured ones too */
	unsigned neach;
	unsigned runs;
	double median_s, least_s, most_s;
	uint64_t wrong;                  /* elements, of all peers and exchanges */
	uint64_t bytes_sent;             /* all peers, of one exchange (the last) */
	uint64_t join_bytes;             /* all peers, before the first exchange */
};

/* -EINTR when a signal came. */
int lh_bench_measure(const struct lh_bench_plan *plan, struct lh_bench_times *ret, struct lh_err *err);
void lh_bench_times_done(struct lh_bench_times *t);

#endif
