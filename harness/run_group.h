/* run_group.h - the part of a run that only elastic membership has: peers that go and come while it trains. */
#ifndef HARNESS_RUN_GROUP_H
#define HARNESS_RUN_GROUP_H

#include "run.h"

/* Before the peers are started: where they write checkpoints. */
int lh_run_checkpoints(struct lh_run *r, struct lh_peer_config *config, struct lh_err *err);
/* All peers that are there from the beginning were started. */
int lh_run_founders(struct lh_run *r, struct lh_err *err);
/* What a peer told, after the series took it. Fails the run where members contradict each other. */
void lh_run_group_told(struct lh_run *r, const struct lh_event *e);
/* A peer's process ended. false: that ends the run as it would with fixed membership. */
bool lh_run_group_exited(struct lh_run *r, unsigned peer, const char *how);
/* The schedule's. */
void lh_run_group_changed(struct lh_run *r, enum lh_change_kind kind, unsigned peer);
int lh_run_group_add(struct lh_run *r, unsigned peer, const struct lh_peers_handler *h, struct lh_err *err);
/* Once a turn: who is not of the group when it has finished is told to end, and then made to. */
void lh_run_group_drain(struct lh_run *r, lh_ns now);

#endif
