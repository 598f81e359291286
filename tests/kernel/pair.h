/* pair.h - two ends of a veth in one namespace, our queueing discipline on the sending one, raw frames across.
 *
 * Frames are of an experimental Ethernet type, so nothing of the kernel's protocols takes part: what is lost, late,
 * doubled or damaged was so by the qdisc. Times are CLOCK_MONOTONIC when the test program sent and received.
 */
#ifndef PAIR_H
#define PAIR_H

#include <stdint.h>

#include "qdisc.h"

#define PAIR_OUT "lh0"
#define PAIR_IN "lh1"

/* Run fn in a fresh cell with the pair up in it; fails the test unless it returns 0. */
void pair_test(int (*fn)(void));

#define CHECK(condition)                                                     \
	do {                                                                 \
		if (!(condition)) {                                          \
			printf("# line %d: %s\n", __LINE__, #condition);     \
			fflush(stdout);                                      \
			return 1;                                            \
		}                                                            \
	} while (0)

/* system() with the tools' folders in PATH and stderr on stdout. */
int pair_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Replace the root qdisc of PAIR_OUT, as lh_net_set_link() does; prints the kernel's words on failure. */
int pair_put(const struct lh_qdisc *q);
/* A netem with this impairment and a limit that does not bind. */
int pair_netem(const struct lh_impairment *imp);
/* Read the root qdisc of PAIR_OUT back through libmnl. */
int pair_get(struct lh_qdisc_seen *ret);
/* Read back and compare; prints each difference. Returns their number, -1 when it cannot be read. */
int pair_differences(const struct lh_qdisc *asked);

struct pair_frame {
	uint32_t seq;
	bool damaged;
	int64_t sent_ns, got_ns;
};

struct pair_traffic {
	uint32_t frames;    /* to send */
	uint32_t bytes;     /* length of a frame, Ethernet header included */
	int64_t gap_ns;     /* between frames; 0 = as fast as it goes */
	int64_t linger_ns;  /* wait for stragglers after the last was sent */
	struct pair_frame *got; /* what arrived, in that order; room for 2 x frames */
	uint32_t ngot;
};
/* Send and receive; frees nothing of an earlier call. */
int pair_run(struct pair_traffic *t);
void pair_done(struct pair_traffic *t);
/* Send n IPv4 packets that allow congestion marks; how many arrived, and how many of them marked. */
int pair_run_ecn(uint32_t n, uint32_t *ret_arrived, uint32_t *ret_marked);

#endif
