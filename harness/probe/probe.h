/* probe.h - links measured from inside the peers, and judged against what was asked.
 *
 * A link here is an ordered pair of sites, measured between one representative peer of each (their first; for
 * a site's own LAN its first two; a site with one peer has no LAN measurement). RTT is an ICMP echo answered by
 * the far kernel, timed with CLOCK_MONOTONIC in the near peer. Goodput is TCP payload over time, disjoint pairs
 * at the same time.
 */
#ifndef HARNESS_PROBE_H
#define HARNESS_PROBE_H

#include <stdio.h>

#include "longhaul/experiment.h"
#include "longhaul/network.h"

enum lh_link_verdict {
	LH_LINK_OK, LH_LINK_OUT_OF_TOLERANCE, LH_LINK_BELOW_FLOOR /* asked RTT < the path's own delay */,
	LH_LINK_UNREACHABLE, LH_LINK_NOT_CROSSING /* probe bytes did not pass the shaped interface */,
	LH_LINK_NOT_MEASURED,
};
const char *lh_link_verdict_name(enum lh_link_verdict v); /* "ok", "out-of-tolerance", "below-floor", ... */

struct lh_link_result {
	unsigned from, to;
	enum lh_link_mode mode;
	lh_ns rtt_spec_ns;
	lh_ns floor_ns;               /* the path's own RTT, all delays 0; -1 not measured */
	lh_ns rtt_min_ns, rtt_median_ns, rtt_p99_ns; /* uncorrected; -1 not measured */
	unsigned pings_sent, pings_lost;
	double goodput_1_bit_per_s, goodput_k_bit_per_s; /* NaN: not measured */
	double steady_1_bit_per_s, steady_k_bit_per_s;   /* the same without slow start; NaN: not measured */
	unsigned streams;             /* k */
	bool host_limited_1, host_limited_k; /* the machine's own ceiling, not the link, was measured */
	bool goodput_reused;          /* taken from a probe of the same plan on the same kernel */
	enum lh_link_verdict verdict;
};

struct lh_probe_report {
	struct lh_link_result *links; size_t nlinks; /* nsites x nsites, row-major */
	lh_ns *peer_rtt_ns; unsigned npeers;         /* each peer to its neighbour in rank: RTT median, -1 lost */
	double capacity_byte_per_s;                  /* what this machine carries in all; NaN: not measured */
};

typedef void lh_probe_progress_fn(void *ctx, const char *what, size_t done, size_t total);

/* 1. On a network planned with zero_delay, or before set_floors: the path's own RTT of every pair.
 *    ret_floor_ns[nsites * nsites]. Fails (LH_EXIT_MACHINE) above 0.5 ms, naming the link. */
int lh_probe_floors(struct lh_net *net, const struct lh_topology *t, lh_ns *ret_floor_ns, struct lh_err *err);
/* 2. RTT, loss and crossing of every pair, RTT of every peer; verdicts. -EBADE (LH_EXIT_MACHINE) naming link,
 *    asked and got when a link is out of tolerance; the report is filled all the same. */
int lh_probe_rtt(struct lh_net *net, const struct lh_experiment *exp, const lh_ns *floor_ns,
		 lh_probe_progress_fn *progress, void *ctx, struct lh_probe_report *ret, struct lh_err *err);
/* 3. Goodput with one and with k streams into a report of step 2. */
int lh_probe_goodput(struct lh_net *net, const struct lh_experiment *exp,
		     lh_probe_progress_fn *progress, void *ctx, struct lh_probe_report *rep, struct lh_err *err);
/* What the machine carries between all peers together, delays being 0: TCP payload a second, a stream from every peer to
 * one half-way round, paced to the peers' rates where they have some; then divided by the busy share of the busiest CPU,
 * and NaN where that CPU may be busy with others (outside User-Mode Linux). */
int lh_probe_capacity(struct lh_net *net, const struct lh_topology *t, double *ret_byte_per_s, struct lh_err *err);
void lh_probe_report_done(struct lh_probe_report *rep);
/* A report of a dilated network as that of the one that was asked: times divided, goodput multiplied. */
void lh_probe_undilate(struct lh_probe_report *rep, unsigned dilation);
/* The other way round, goodput alone. */
void lh_probe_dilate_goodput(struct lh_link_result *link, unsigned dilation);

/* Plan, apply, verify, floors (and the capacity where the algorithm is to be chosen), compensation, verify again, RTT
 * gate: the network as every command uses it.
 * On failure nothing is left up, but *ret_rep holds what was measured so far. *ret_net to lh_net_down(). */
int lh_probe_network_up(const struct lh_experiment *exp, lh_probe_progress_fn *progress, void *ctx,
			struct lh_net **ret_net, struct lh_probe_report *ret_rep, struct lh_err *err);

/* Most that a link can carry, in bit/s: its rates, and for each stream one TCP window per RTT. NaN: no such link. */
double lh_probe_bound(const struct lh_topology *t, const struct lh_link_result *link, unsigned streams);

/* Hash of the plan, 16 hex digits: two experiments with the same one build the same network. */
int lh_probe_plan_hash(const struct lh_experiment *exp, char ret[17], struct lh_err *err);
/* Goodput of every link from result.json in the run directory of an earlier `longhaul probe` (or `run`). Refused
 * (LH_EXIT_INPUT) when that was of another plan or another kernel, or when it has no goodput. */
int lh_probe_reuse(const char *dir, const struct lh_experiment *exp, const char *kernel_release,
		   struct lh_probe_report *rep, struct lh_err *err);

/* Tables site x site (RTT asked/measured/floor, goodput), links.csv, and the `links` array of result.json. */
void lh_probe_print_tables(const struct lh_topology *t, const struct lh_probe_report *rep, FILE *out);
int lh_probe_write_csv(const struct lh_topology *t, const struct lh_probe_report *rep, FILE *out);
struct json_t;
struct json_t *lh_probe_links_json(const struct lh_topology *t, const struct lh_probe_report *rep);

#endif
