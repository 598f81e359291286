/* strategy.h - when peers exchange and what: the third choice beside pattern and codec.
 *
 * A round has the phases
 *
 *     plan        which samples are this peer's
 *     calculate   them, at the declared pace, while the network moves; `enough` may end it; then `local`
 *     match       the group of the round is found: `match`, or the floor of matchmaking is waited out
 *     exchange    `begin`, then wait until `ready`: all that this round's commit needs is here
 *     commit      what was exchanged is applied; 1 sends the round back to waiting, for the exchange that it began
 *     abort       instead of commit: the round leaves no trace but the samples' gradients, and may exchange again
 *
 * and is carried out by round.c. A strategy is an object that answers each phase. It may leave an exchange under way
 * when a round ends: the transport is progressed during the next round's calculation.
 */
#ifndef TRAINER_SYNC_STRATEGY_H
#define TRAINER_SYNC_STRATEGY_H

#include "parts.h"
#include "pattern/pattern.h"
#include "worker.h"

struct lh_range { uint64_t first, count; }; /* global sample ids */

struct lh_round {
	uint32_t epoch;           /* from 1 */
	struct lh_range *ranges;  /* of this peer, in the order in which they are calculated */
	size_t nranges;
	uint64_t samples;         /* in all of them: what this peer has calculated in the end */
	uint64_t total_samples;   /* of all peers; eta: known when the round is ready */
	uint32_t uses;            /* set by commit: the newest round whose exchange was applied; 0: none was */
	bool exchanges;           /* set by plan: one will begin at its end, so a group must be found */
	bool waits;               /* set by begin: this round waits for an exchange */
	unsigned groups, group, group_size; /* how many this round's peers averaged in, who leads this peer's, and of how
				   * many it is; 0 where peers do not find groups */
};

struct lh_strategy;

struct lh_strategy_ops {
	const char *name;
	/* On error *ret is not written. */
	int (*open)(struct lh_worker *w, struct lh_strategy **ret, struct lh_err *err);
	int (*plan)(struct lh_strategy *s, struct lh_round *r, struct lh_err *err);
	/* After each microbatch: `done` samples of the round are calculated; 1 ends the calculation. NULL: all of them. */
	int (*enough)(struct lh_strategy *s, const struct lh_round *r, uint64_t done, struct lh_err *err);
	/* While a step waits out its pace; may make *until_ns earlier, at which it is called again. NULL: nothing to do. */
	int (*meanwhile)(struct lh_strategy *s, lh_ns *until_ns, struct lh_err *err);
	/* The last part of the calculation: an update of this peer alone. NULL: there is none. */
	int (*local)(struct lh_strategy *s, struct lh_round *r, struct lh_err *err);
	/* The calculation is over. 1: the group is found, go on. 0: call again at *ret_until, or when something came. NULL:
	 * there is but one group, and only the floor of matchmaking is waited out. */
	int (*match)(struct lh_strategy *s, struct lh_round *r, lh_ns *ret_until, struct lh_err *err);
	/* The group is found. Sets r->waits where the round has something to wait for. */
	int (*begin)(struct lh_strategy *s, struct lh_round *r, struct lh_err *err);
	bool (*ready)(const struct lh_strategy *s, const struct lh_round *r);
	int (*commit)(struct lh_strategy *s, struct lh_round *r, struct lh_err *err);
	/* After ready, instead of commit. `begin` may follow, also after more ranges were calculated. NULL: cannot. */
	void (*abort)(struct lh_strategy *s, struct lh_round *r);
	/* Elastic (../elastic.c). Instead of abort: exchange among this group from now on, where this peer is number `rank`.
	 * NULL: cannot. */
	int (*regroup)(struct lh_strategy *s, const struct lh_group *group, unsigned rank, struct lh_transport *t,
		       struct lh_err *err);
	/* Elastic, when ready: a hash of what the exchange brought, the same on all peers that it brought the same. */
	uint64_t (*result_hash)(const struct lh_strategy *s);
	/* Elastic: what every member has after a commit and a joiner takes from one of them, as bytes, which stand still until
	 * the next commit whatever is calculated meanwhile; it begins with the engine's state. `taken`: all of it was
	 * written. NULL: it is the engine's state. */
	uint64_t (*shared_bytes)(const struct lh_strategy *s);
	int (*shared_read)(struct lh_strategy *s, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err);
	int (*shared_write)(struct lh_strategy *s, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err);
	uint64_t (*shared_hash)(const struct lh_strategy *s);
	int (*taken)(struct lh_strategy *s, struct lh_err *err);
	/* Between two rounds: adds what a checkpoint must have of it, and gets it back in the same places, before the first
	 * round; then `restored` takes it up after round `round`, or refuses it. NULL: nothing. */
	int (*state)(struct lh_strategy *s, struct lh_parts *p, struct lh_err *err);
	int (*restored)(struct lh_strategy *s, uint32_t round, struct lh_err *err);
	/* Elastic: sum of |r| of what error feedback holds back. NULL: nothing ever. */
	double (*held_back)(const struct lh_strategy *s);
	void (*close)(struct lh_strategy *s); /* NULL is fine */
};

struct lh_strategy { /* each kind's own begins with this */
	const struct lh_strategy_ops *ops;
	struct lh_worker *w;
	enum lh_shared shared;    /* what the last commit left */
};

/* Every target batch, exact: samples dealt before the round in proportion to the declared rates, every gradient
 * counts once, everybody averages at the end of each round. */
extern const struct lh_strategy_ops lh_strategy_exact;
/* The same, but nobody is dealt samples: a round ends when the peers' reports say that the batch must be complete. */
extern const struct lh_strategy_ops lh_strategy_eta;
/* As exact, but the sum of round e is exchanged during round e + 1 and applied at its end; the last round applies its
 * own too. */
extern const struct lh_strategy_ops lh_strategy_delayed;
/* Each peer updates itself; what changed is averaged now and then (outer.c). */
extern const struct lh_strategy_ops lh_strategy_local_sgd, lh_strategy_diloco, lh_strategy_streaming_diloco,
	lh_strategy_async;

/* Rounds from one commit of a group that changes to the next: the peers go on alone in between. */
static inline uint32_t lh_strategy_span(const struct lh_sync_options *o)
{
	return o->strategy == LH_STRATEGY_LOCAL_SGD || o->strategy == LH_STRATEGY_DILOCO ? o->every : 1;
}

/* NULL: this program has none of that kind. */
const struct lh_strategy_ops *lh_strategy_find(enum lh_strategy_kind kind);

int lh_round_add(struct lh_round *r, uint64_t first, uint64_t count, struct lh_err *err);
void lh_round_done(struct lh_round *r);

/* This peer's samples of round r->epoch, of c->target_batch, by declared rates. */
int lh_round_deal(const struct lh_peer_config *c, struct lh_round *r, struct lh_err *err);

/* One round, which begins at e->begin_ns: fills the event but for its bytes. *ret_void: the round became void since
 * somebody left; nothing was committed. */
int lh_round_run(struct lh_worker *w, struct lh_strategy *s, uint32_t epoch, struct lh_event *e, bool *ret_void,
		 struct lh_err *err);

#endif
