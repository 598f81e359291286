/* run.h - the life of one run, from a loaded experiment to the files of its run directory.
 *
 *   open directory -> network up (plan, apply, verify, floors, RTT gate: probe.h) -> manifest -> start peers
 *     -> all joined -> go -> epochs (schedule, watch, progress) -> finished -> links verified again
 *     -> network down -> judge -> write
 *
 * Whatever goes wrong ends in `failure`; judging and writing happen all the same.
 */
#ifndef HARNESS_RUN_H
#define HARNESS_RUN_H

#include "changes.h"
#include "cpuwatch.h"
#include "group.h"
#include "peers.h"
#include "probe/background.h"
#include "progress.h"
#include "result.h"
#include "resume.h"
#include "rundir.h"
#include "tcpcheck.h"
#include "watch.h"

/* Peers have this long to connect to each other, plus a share each; then the run ends. */
#define LH_JOIN_DEADLINE_NS (60 * LH_NS_PER_S)
#define LH_JOIN_DEADLINE_PER_PEER_NS (LH_NS_PER_S / 4)
/* From the last commit to the last peer's end (evaluation included). */
#define LH_DRAIN_DEADLINE_NS (120 * LH_NS_PER_S)
/* After the first sign of failure the others may still say what they saw. */
#define LH_GRACE_NS (2 * LH_NS_PER_S)

/* Faults that tests ask for; all zero in earnest. */
struct lh_run_faults {
	unsigned flip_rank;
	uint32_t flip_epoch;
	lh_ns starve_ns;
};

struct lh_run_options {
	const char *dir;              /* existing and empty */
	struct lh_progress *progress;
	const char *probe_dir;        /* goodput is taken from this earlier probe; NULL: none */
	const char *baseline_dir;     /* the same run undisturbed, to compare with; NULL: none */
	const char *resume_dir;       /* the run goes on from the checkpoints of this one; NULL: from the beginning */
	const char *cell;             /* of a sweep, for the manifest; NULL: none */
	struct lh_run_faults faults;
};

enum lh_run_state {
	LH_RUN_CHECKED, LH_RUN_NETWORK, LH_RUN_JOINING, LH_RUN_TRAINING, LH_RUN_DRAINING, LH_RUN_JUDGING, LH_RUN_DONE,
};

struct lh_run {
	struct lh_session *session;
	const struct lh_experiment *exp;
	const struct lh_run_options *opt;
	enum lh_run_state state;
	struct lh_rundir dir;
	struct lh_net *net;
	struct lh_probe_report probe;
	struct lh_peers peers;
	struct lh_peer_config config; /* of the peers; theirs alone: rank, incarnation, absent, checkpoint_dir */
	struct lh_group_log group;    /* elastic */
	struct lh_interruption *interruptions;
	lh_ns drained_ns;             /* elastic: the group had finished; who is not of it was told to end */
	uint32_t shown_view;          /* elastic: the newest that the user was told of */
	char gave_up[512];            /* elastic: the first peer that did, and why */
	bool cut_off;                 /* elastic: the schedule has cut a link, so that a peer may rightly give up */
	struct lh_resume_plan resume; /* round 0: from the beginning */
	struct lh_exchange_plan exchange;
	bool has_exchange;
	struct lh_series series;
	struct lh_metrics_input measure;
	struct lh_metrics metrics;
	bool has_metrics;
	struct lh_changes changes;
	struct lh_watch watch;
	struct lh_tcpcheck tcpcheck;  /* fixed membership */
	struct lh_cpuwatch cpu;
	struct lh_probe_watch *pings; /* the background probe; NULL: not running */
	lh_ns state_since_ns, last_event_ns, last_cpu_ns, last_cpu_sample_ns;
	uint32_t committed;           /* epochs that every peer has committed */
	unsigned slowest;             /* index of the link with the largest measured RTT */
	char last_cut[256];           /* what the schedule last cut; "" nothing */
	lh_ns last_cut_at_ns;
	int killed_by_schedule;       /* peer; -1: none */
	struct lh_err verify_after;   /* code 0: the links are still what was asked */
	struct lh_failure failure;
	struct lh_result result;
};

/* Samples a second of a valid run of the same training; only what trained the same may say what was lost. */
int lh_run_baseline(const char *dir, const struct lh_experiment *exp, double *ret_sps, struct lh_err *err);

/* Returns the exit status; r is complete for lh_result_json() and lh_result_print() in every case. */
int lh_run_execute(struct lh_run *r, struct lh_session *s, const struct lh_experiment *exp,
		   const struct lh_run_options *opt);
void lh_run_done(struct lh_run *r);

/* run_train.c: start peers, go, until the last one ended. Failures go into r->failure. */
void lh_run_train(struct lh_run *r);
/* "flip=RANK:EPOCH", "starve=5ms", or both with a comma; NULL or "" is none. */
int lh_run_faults_parse(const char *text, struct lh_run_faults *ret, struct lh_err *err);

/* The first failure stays; later ones are its consequences. */
void lh_run_fail(struct lh_run *r, enum lh_failure_kind kind, int peer, int exit_status, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* manifest.c: all that a reader needs to know what was run and on what. NULL when memory ran out. */
struct json_t *lh_manifest_json(const struct lh_run *r);
/* run_exchange.c: algorithm, shares, trees, prediction and bound, from what was measured. */
int lh_run_plan_exchange(struct lh_run *r, struct lh_err *err);
/* run_config.c: what the peers are told. `ret->peers` is freed by lh_peer_config_done(). */
/* What a pattern may know of the peers: site and share of each endpoint. */
void lh_run_group(const struct lh_experiment *exp, struct lh_peer_endpoint *ret_peers);
/* Name, address, site and share of one peer; its pace is left alone. */
int lh_run_endpoint(const struct lh_experiment *exp, unsigned peer, struct lh_peer_endpoint *ret, struct lh_err *err);
int lh_run_secret(char ret[65], struct lh_err *err);
int lh_run_peer_config(const struct lh_run *r, struct lh_peer_config *ret, struct lh_err *err);

#endif
