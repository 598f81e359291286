/* exchange.h - what the probe says about the all-reduce to come: the wires between the peers, the lower bound, and the
 * algorithm, with its shares and trees, that should be fastest. */
#ifndef HARNESS_EXCHANGE_H
#define HARNESS_EXCHANGE_H

#include "longhaul/experiment.h"
#include "pattern/bound.h"
#include "pattern/predict.h"
#include "pattern/trees.h"
#include "probe/probe.h"

/* Of a rate that counts whole frames, the share that is TCP payload: 1448 bytes in each 1514. */
#define LH_PAYLOAD_SHARE (1448.0 / 1514)

struct lh_exchange_plan {
	enum lh_algorithm algorithm;
	uint32_t *share;        /* [npeers] for the butterflies; NULL: the file's */
	struct lh_trees trees;  /* packed-trees */
	struct lh_prediction prediction;
	struct lh_bound bound;
	bool *side;             /* [npeers] one side of the tightest cut */
	double predicted_s[LH_ALGORITHMS]; /* of each that was looked at; NaN: not */
	uint64_t elements;
	double element_bytes;
	bool tuned;             /* sockets: pairs are paced */
};

/* Bytes of one element on the wire, on average; NaN where it is not known before (powersgd). */
double lh_exchange_element_bytes(const struct lh_training *t);
/* Elements of the vector that a run of this experiment averages; 0: not known. */
uint64_t lh_exchange_elements(const struct lh_experiment *exp);

/* idle: connections have been silent before each exchange. *ret: lh_wires_done(). */
int lh_exchange_wires(const struct lh_experiment *exp, const struct lh_probe_report *rep, bool idle,
		      struct lh_wires *ret, struct lh_err *err);
/* For the training's algorithm or, with `choose`, for the one with the smallest prediction. */
int lh_exchange_plan(const struct lh_experiment *exp, const struct lh_wires *w, uint64_t elements,
		     struct lh_exchange_plan *ret, struct lh_err *err);
void lh_exchange_plan_done(struct lh_exchange_plan *p);
/* Its times divided by it. */
void lh_exchange_undilate(struct lh_exchange_plan *p, unsigned dilation);
/* The trees and shares into a configuration, whose own copy they become. */
int lh_exchange_configure(const struct lh_exchange_plan *p, struct lh_peer_config *c, struct lh_err *err);
/* "cut us, eu | asia", "pair us-0 -> eu-1", ... : what the bound or the prediction comes from. Return buf. */
char *lh_exchange_bound_text(const struct lh_exchange_plan *p, const struct lh_topology *t, char *buf, size_t size);
char *lh_exchange_busiest_text(const struct lh_exchange_plan *p, const struct lh_wires *w, const struct lh_topology *t,
			       char *buf, size_t size);

struct json_t;
/* {"node": ..., "cut": ..., "delay": ..., "host": ..., "total": ...}; a term that is not known is null. */
struct json_t *lh_exchange_bound_json(const struct lh_bound *b, bool host_known);

#endif
