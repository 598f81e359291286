/* result.h - one run's outcome as data, as result.json (schema longhaul-result/1), epochs.csv and as text.
 *
 * Keys are in base SI units, the unit in the name; undefined is null. docs/MEASUREMENT.md defines each.
 */
#ifndef HARNESS_RESULT_H
#define HARNESS_RESULT_H

#include "group.h"
#include "exchange.h"
#include "judge.h"
#include "probe/probe.h"
#include "session.h"
#include "tcpcheck.h"

/* With a CPU busy for so much of the communication, more of comm_s is this machine than the network. */
#define LH_HOST_LIMITED 0.5

#define LH_RESULT_SCHEMA "longhaul-result/1"

struct lh_state_changes;

struct lh_result {
	const struct lh_experiment *exp;
	enum lh_netem_where netem;
	char kernel_release[65];
	unsigned cpus;
	const struct lh_probe_report *probe;   /* nlinks == 0: nothing was measured */
	const struct lh_link_traffic *traffic; /* [nsites * nsites] or NULL */
	const struct lh_series *series;        /* NULL: no peer was started */
	const struct lh_metrics *metrics;      /* NULL: nothing was trained */
	unsigned trips;                        /* of an exchange that must follow each other; 0: not known */
	const struct lh_memory_plan *memory;   /* NULL, or not known */
	const struct lh_exchange_plan *exchange; /* NULL: nothing was predicted */
	bool host_known;                       /* the machine's capacity was measured */
	char predicted_limit[128];             /* what the prediction comes from */
	double comm_cpu_busy;                  /* busiest CPU while the peers communicated; NaN: not known */
	struct lh_tcp_verdict tcp;             /* TCP_INFO against inet_diag */
	const struct lh_group_log *group;      /* elastic; NULL: nothing was trained */
	const struct lh_interruption *interruptions;
	size_t ninterruptions;
	const char *baseline_dir;              /* another run that this one is compared with; NULL: none */
	double baseline_sps;                   /* its throughput */
	const char *resumed_dir;               /* the run that this one goes on from; NULL: none */
	uint32_t resumed;                      /* after so many rounds */
	uint64_t resumed_samples;              /* in those */
	const struct lh_state_changes *resumed_changes; /* settings that are not that run's */
	const char *dir;                       /* the run directory; NULL: none */
	struct lh_failure failure;
	struct lh_verdict verdict;
};

struct json_t;
/* NULL when memory ran out. */
struct json_t *lh_result_json(const struct lh_result *r);
int lh_result_write_epochs_csv(const struct lh_result *r, FILE *out);
/* A short table for people. */
void lh_result_print(const struct lh_result *r, FILE *out);

/* Bound of an exchange / what one took, mean of the counted epochs; NaN where the communication of an epoch is not just
 * one exchange. */
double lh_result_bound_fraction(const struct lh_result *r);
/* The algorithm that ran, where it was chosen; else the one that was asked for. */
const char *lh_result_algorithm(const struct lh_result *r);

/* The pace that a peer is to keep: its own, the catalogue's for its device, or the training's; NaN without any. */
double lh_peer_pace(const struct lh_experiment *exp, unsigned peer);

const char *lh_engine_name(enum lh_engine e);
const char *lh_wire_name(enum lh_wire w);
const char *lh_netem_where_name(enum lh_netem_where w); /* "host", "uml", "none" */

#endif
