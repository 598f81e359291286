/* lhnet.h - topologies made by hand, cells and echoes for tests that need a network.
 *
 * What runs inside a cell is another process than the test: it reports by its exit status, LH_CHECK() says where.
 */
#ifndef LHNET_H
#define LHNET_H

#include <stdio.h>

#include "longhaul/network.h"

/* Print what failed as a TAP comment and leave the body with 1. */
#define LH_CHECK(condition)                                                                                  \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);                             \
			return 1;                                                                            \
		}                                                                                            \
	} while (0)

/* As LH_CHECK() that a call returned 0; prints err->text. */
#define LH_CHECK_OK(call, err)                                                                               \
	do {                                                                                                 \
		if (call) {                                                                                  \
			printf("# %s:%d: %s: %s\n", __FILE__, __LINE__, #call, (err)->text);                 \
			return 1;                                                                            \
		}                                                                                            \
	} while (0)

/* Sites a, b, c, ... with `peers` peers each (a-0, a-1, ...), tcp: default, every link unlimited and without
 * delay. NULL: no memory. Free with lh_test_topology_free(). */
struct lh_topology *lh_test_topology(unsigned sites, unsigned peers);
void lh_test_topology_free(struct lh_topology *t);
/* Every link, LANs too, gets this rate. */
void lh_test_rate_all(struct lh_topology *t, lh_bps rate_bps);

/* Run body(ctx) in a cell with a network of its own; asserts that it returned 0. Skips (netns) where the machine has no
 * namespaces. `as_user`: when root, become an ordinary user first, for good: the test must be a forked one. */
void lh_test_in_cell(int (*body)(void *ctx), void *ctx, bool as_user);

/* Plan and bring up. 0 or negative errno. */
int lh_test_up(const struct lh_topology *t, struct lh_net **ret, struct lh_err *err);

/* ICMP echo from the network that the process is in to each address, `count` times each, `gap_ms` apart; returns how many
 * answers came until `wait_ms` after the last, or a negative errno. */
int lh_test_echo(const char *const *addresses, size_t n, unsigned count, unsigned gap_ms, unsigned wait_ms);

/* The same from inside a peer, to peers; both families when `family` is 0. */
struct lh_test_echo_job {
	const struct lh_topology *t;
	const unsigned *to;
	size_t nto;
	int family;
	unsigned count, gap_ms, wait_ms;
};
/* Returns the number of answers, negative errno when it could not be tried. At most 255 answers are counted. */
int lh_test_echo_from(struct lh_net *net, unsigned from, const struct lh_test_echo_job *job);
/* Answers of one echo to one peer over both families: 2 when it is reached. */
int lh_test_reach(struct lh_net *net, const struct lh_topology *t, unsigned from, unsigned to, unsigned wait_ms);

/* Packets that left an interface of the namespace which the process is in; -1 where it is not there. */
long lh_test_tx_packets(const char *ifname);
/* Open files of this process. */
int lh_test_open_files(void);

#endif
