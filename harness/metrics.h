/* metrics.h - from the collected events to the numbers that are printed. Pure; docs/MEASUREMENT.md has every
 * formula. Undefined is NaN.
 */
#ifndef HARNESS_METRICS_H
#define HARNESS_METRICS_H

#include "collect.h"

/* Lateness beyond this share of the epochs makes a run invalid. */
#define LH_LATENESS_LIMIT 0.02

struct lh_metrics_input {
	uint32_t warmup;          /* epochs left out of the summary */
	uint64_t target_batch;    /* samples that an epoch must have */
	lh_ns latency_ns;         /* of the one-way trips that follow each other in one exchange; < 0: not known */
	unsigned cpus;            /* of the kernel that the peers share */
	bool estimated;           /* strategy eta: an epoch ends when its batch is predicted to be full */
	bool calculates;          /* the engine uses the CPU for its calculation (not paced) */
};

struct lh_epoch_metrics {
	uint32_t epoch;
	bool warmup;
	double wall_s, calc_s, comm_s;
	/* Together comm_s. NaN: coding and wait where a peer told no sums; latency where the RTT is not known, then
	 * bandwidth too. */
	double latency_s, bandwidth_s, wait_s, coding_s, update_s;
	double calc_wait_s;       /* of calc_s: the mean peer waited for the slowest to have its share */
	uint64_t samples, bytes_sent, bytes_received;
	uint64_t data_bytes;      /* that came from the store, to all peers */
	double data_wait_s;       /* of calc_s: the mean peer waited for samples */
	unsigned peers;           /* that committed it */
	uint32_t view;            /* elastic: the newest that a peer committed it in; 0: none told */
	bool disturbed;           /* elastic: not all peers were there from its begin to its end */
	uint64_t unreported;      /* elastic: samples that counted, of peers that were gone before they could say so */
	double loss;              /* mean over the samples; NaN without one */
	uint32_t groups, smallest_group; /* by matchmaking: each averaged by itself; peers of the smallest; 0: not told */
	bool shared;              /* the peers are to hold the same parameters after it; else `identical` is void */
	bool identical;
	uint64_t state_hash;      /* of rank 0 */
};

/* What became of the samples of one epoch, by the ranges that the peers told. */
enum lh_dealt {
	LH_DEALT_ONCE,    /* each of the target batch once */
	LH_DEALT_NOT_TOLD, /* a peer told no ranges: only their number can be judged */
	LH_DEALT_TWICE,   /* some id more than once */
	LH_DEALT_STRANGE, /* some id of another epoch */
	LH_DEALT_TOO_FEW, /* some id by no peer, and no peer was lost that could have had it */
};

struct lh_peer_metrics { /* over the counted epochs; update and lateness too */
	uint64_t samples;
	double calc_s, update_s, busy_s, late_s;
	double lateness;          /* late_s / wall of the same epochs; NaN without any */
	uint64_t steps, late_steps; /* microbatches; those behind the pace when they ended */
	/* Of samples that come from a store: bytes and samples that came, and samples from the cache, of all epochs. */
	uint64_t data_bytes, data_samples, data_cached;
	double data_wait_s;       /* waited for them, counted epochs */
	double held_s, queued_s;  /* of a shared device: had it; waited for it */
	double solo_sps;          /* samples / (calc_s + update_s): this peer alone, without communication */
	uint64_t bytes_sent, bytes_received; /* all epochs, warm-up included */
	bool has_tcp;             /* in every counted epoch */
	double tcp_busy_s, tcp_window_s, tcp_buffer_s;
	uint64_t tcp_retransmits;
	uint64_t skipped;         /* updates left out, all epochs */
};

struct lh_summary {
	uint32_t epochs;          /* counted */
	uint64_t samples, bytes_sent;
	double wall_s, calc_s, comm_s, latency_s, bandwidth_s, wait_s, coding_s, update_s, calc_wait_s; /* sums */
	uint64_t data_bytes, data_samples, data_cached; /* from the store: all peers, all epochs */
	double data_wait_s;       /* of calc_s: the mean peer's, sum */
	double time_share[LH_SPAN_KINDS]; /* of all peers' time, by kind; together 1; NaN where a peer told no sums */
	double throughput_sps, granularity, efficiency;
	double solo_sps;          /* sum of the peers' */
	double cpus_needed;       /* CPU seconds of the calculation per second of it, all peers; NaN for paced */
	bool replicas_identical;  /* false without any state to compare */
	uint32_t matched_epochs, split_epochs; /* of all: whose groups were told; of more groups than one */
	uint32_t smallest_group;  /* peers of the smallest of those */
	uint32_t shared_epochs;   /* after which the peers were to hold the same parameters */
	uint32_t differ_epoch;    /* where replicas first differ; UINT32_MAX: nowhere */
	unsigned differ_peer;
	unsigned latest_peer;     /* the one with the largest lateness */
	double lateness;          /* its lateness; NaN without counted epochs */
	uint64_t steps, late_steps; /* of all peers */
	uint32_t short_epoch;     /* first epoch whose samples are not the target batch; 0: none */
	uint32_t wrong_epoch;     /* first epoch whose samples were not each counted once; 0: none */
	enum lh_dealt dealt;      /* what was wrong there, else LH_DEALT_ONCE or LH_DEALT_NOT_TOLD of all epochs */
	uint64_t unreported;      /* sum over all epochs */
	double undisturbed_sps;   /* elastic: throughput of the counted epochs that were not disturbed; NaN without any */
};

struct lh_metrics {
	uint32_t nepochs;         /* that every peer committed in this run, warm-up included */
	struct lh_epoch_metrics *epochs;
	unsigned npeers;
	struct lh_peer_metrics *peers;
	struct lh_summary summary;
};

int lh_metrics_compute(const struct lh_series *s, const struct lh_metrics_input *in,
		       struct lh_metrics *ret, struct lh_err *err);
void lh_metrics_done(struct lh_metrics *m);
/* From a run that was dilated: times by 1 / dilation, rates by dilation; ratios, counts and CPU seconds as they are. */
void lh_metrics_undilate(struct lh_metrics *m, unsigned dilation);
void lh_metrics_epoch_undilate(struct lh_epoch_metrics *e, unsigned dilation);

/* One epoch that every peer has committed; for live progress too. */
void lh_metrics_epoch(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t epoch,
		      struct lh_epoch_metrics *ret);
/* When the last peer of an epoch had its share, and when the last committed. */
void lh_metrics_bounds(const struct lh_series *s, uint32_t epoch, lh_ns *ret_calc_end_ns, lh_ns *ret_end_ns);
/* Was each sample of the epoch counted once? Peers that were lost before they told are given the rest,
 * *ret_unreported. */
enum lh_dealt lh_metrics_dealt(const struct lh_series *s, uint32_t epoch, uint64_t target_batch,
			       uint64_t *ret_unreported, struct lh_err *err);
/* CPUs that the declared paces need, judged by epoch `epoch`: sum over peers of CPU time per second of its own
 * calculation. NaN where the engine does not calculate. */
double lh_metrics_cpus_needed(const struct lh_series *s, const struct lh_metrics_input *in, uint32_t epoch);

#endif
