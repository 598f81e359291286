/* elastic.h - one peer's life in a group that changes: what member.h decides, done with an engine, a strategy, a transport.
 *
 * train.c calls lh_elastic_run where membership is elastic, instead of its own rounds; events, waiting and commands
 * stay train.c's. docs/decisions/0017-membership.md.
 */
#ifndef TRAINER_ELASTIC_H
#define TRAINER_ELASTIC_H

#include "sync/strategy.h"

struct lh_elastic_host {
	struct lh_worker *w;
	struct lh_strategy *strategy;
	/* rank and t_ns are filled in. */
	int (*tell)(void *ctx, struct lh_event *e, struct lh_err *err);
	/* A round ended: fills bytes and state_hash, and where its time went. */
	void (*end_round)(void *ctx, struct lh_event *e, struct lh_spans *s);
	/* One that ended is committed: tells both. */
	int (*tell_round)(void *ctx, struct lh_event *e, struct lh_spans *s, struct lh_err *err);
	/* What came before does not count: a round begins now. */
	void (*begin)(void *ctx, lh_ns now_ns);
	/* Say goodbye after round `version`, and wait a while for the others to do so. */
	int (*leave)(void *ctx, uint32_t version, bool wait, struct lh_err *err);
	void *ctx;
	const bool *go, *stop, *notice; /* commands that came */
};

/* Until the last round, a stop, a notice, or the loss of the group. Closes the strategy. *ret_version: rounds that this
 * peer has committed; *ret_evaluates: of those that finished, it is the one that evaluates. */
int lh_elastic_run(const struct lh_elastic_host *host, uint32_t *ret_version, bool *ret_evaluates, struct lh_err *err);

/* Can this membership be had with the rest of the configuration? */
int lh_elastic_check(const struct lh_peer_config *c, struct lh_err *err);

#endif
