/* peer.h - the two formats between `longhaul` and a `longhaul-peer`, and nothing else that they share.
 *
 * Configuration (harness -> peer): one JSON document on an inherited fd, read to EOF.
 * Events (peer -> harness): one JSON object a line on another inherited fd; harness -> peer: one byte per
 * command on the control fd. A peer is told ranks and addresses, never that its network is emulated.
 *
 *     longhaul-peer --config-fd 3 --event-fd 4 --control-fd 5
 *
 * All peers run on one kernel, so every t_ns is CLOCK_MONOTONIC of that kernel and comparable between peers.
 */
#ifndef LONGHAUL_PEER_H
#define LONGHAUL_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"
#include "longhaul/optim.h"
#include "longhaul/precision.h"
#include "longhaul/units.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LH_PEER_PROTOCOL 1

/* Limits of what is read from outside. */
#define LH_MODEL_SPEC_MAX 128                       /* bytes of a model's name or specification, with the NUL */
#define LH_PEER_SIZE_MAX 4096                       /* peers of a run */
#define LH_PEER_CONFIG_MAX (2 * 1024 * 1024)        /* bytes of a configuration */
#define LH_PEER_PARAMETERS_MAX (UINT64_C(1) << 36)  /* elements of a gradient */
#define LH_PEER_BATCH_MAX (UINT64_C(1) << 40)       /* samples of an epoch */
#define LH_EVENT_LINE_MAX 4096                      /* bytes of an event line, newline and NUL included */

enum lh_engine { LH_ENGINE_CPU, LH_ENGINE_PACED, LH_ENGINE_CUDA };
extern const char *const lh_engine_names[]; /* "cpu", ... by enum, NULL-terminated */
enum lh_wire { LH_WIRE_FP32, LH_WIRE_FP16, LH_WIRE_BF16, LH_WIRE_INT8, LH_WIRE_TOPK, LH_WIRE_POWERSGD };
enum lh_algorithm {
	LH_ALGORITHM_BUTTERFLY, LH_ALGORITHM_RING, LH_ALGORITHM_HALVING_DOUBLING, LH_ALGORITHM_TWO_LEVEL,
	LH_ALGORITHM_CENTRAL,
	LH_ALGORITHM_WEIGHTED_BUTTERFLY, /* shares by the harness, from what it measured */
	LH_ALGORITHM_PACKED_TREES,       /* trees by the harness */
};
#define LH_ALGORITHMS (LH_ALGORITHM_PACKED_TREES + 1)
/* As in files: "butterfly", "ring", ... */
extern const char *const lh_algorithm_names[]; /* by enum, NULL-terminated; so are the following */
extern const char *const lh_wire_names[];

/* What a lossy codec needs beside its name. */
struct lh_codec_options {
	double topk_fraction;     /* topk: of the elements of every part, 0 < f <= 1 */
	uint32_t powersgd_rank;   /* powersgd: columns of its factors, >= 1 */
	bool error_feedback;      /* what rounding took away is added to the next round's numbers; always so for topk
				   * and powersgd */
};

enum lh_strategy_kind {
	LH_STRATEGY_EXACT,            /* gradients, every target batch, samples dealt before the round */
	LH_STRATEGY_ETA,              /* the same, but a round ends when the batch is predicted to be reached */
	LH_STRATEGY_DELAYED,          /* exact, applied one round late, exchanged during the next one's calculation */
	LH_STRATEGY_LOCAL_SGD,        /* every peer updates itself; parameters are averaged every `every` rounds */
	LH_STRATEGY_DILOCO,           /* the same, with an outer Nesterov step on what changed */
	LH_STRATEGY_STREAMING_DILOCO, /* by fragments, in the background */
	LH_STRATEGY_ASYNC,            /* parameters averaged in the background, at most `staleness` rounds old */
};
extern const char *const lh_strategy_names[];
/* Why peers cannot come and go with this strategy; NULL: they can. */
const char *lh_strategy_not_elastic(enum lh_strategy_kind kind);

/* What a model learns from. DIGITS and TEXT are real and shipped; TONES and SYNTHETIC are made up by a seeded generator. */
enum lh_data { LH_DATA_AUTO, LH_DATA_DIGITS, LH_DATA_TEXT, LH_DATA_TONES, LH_DATA_SYNTHETIC };
extern const char *const lh_data_names[];
/* For reports: "handwritten digits, shipped", "notes and their log-mel spectra, synthesised by a seeded generator", ... */
extern const char *const lh_data_texts[];

struct lh_sync_options {
	enum lh_strategy_kind strategy;
	enum lh_optimizer optimizer;  /* of each peer (the inner one, where there is an outer) */
	uint32_t every;               /* H: rounds from one exchange to the next, >= 1 */
	double outer_learning_rate, outer_momentum;
	uint32_t fragments;           /* streaming: 1 ... every */
	uint32_t overlap;             /* streaming: rounds between the begin of an exchange and its use; < every */
	double blend;                 /* streaming: weight of the peer's own parameters when the result is used, 0 ... 1 */
	uint32_t staleness;           /* async: rounds, >= 1 */
	lh_ns match_floor_ns;         /* every exchange is preceded by at least so long a matchmaking; 0: none */
};

/* STUDY: the kernel's own settings, one stream unless `streams` says more. TUNED: buffers of the BDP, no idle
 * restart, pacing. */
enum lh_sockets { LH_SOCKETS_STUDY, LH_SOCKETS_TUNED };
#define LH_PEER_PART_MAX (512 * 1024)
#define LH_STREAMS_MAX 64 /* TCP connections of one pair of peers */

/* FIXED: the loss of a peer ends the run. ELASTIC: the others go on, and peers may come (back). */
enum lh_membership { LH_MEMBERSHIP_FIXED, LH_MEMBERSHIP_ELASTIC };
extern const char *const lh_sockets_names[], *const lh_membership_names[];

/* Algorithm packed-trees: each block of the vector has trees of its own. Read by every peer, the same for all. */
#define LH_TREES_MAX 1024    /* blocks */
#define LH_TREES_PEERS_MAX 64
struct lh_trees {
	unsigned n, npeers;     /* n 0: none */
	uint32_t *weight;       /* [n] of the block's length; >= 1 */
	uint16_t *root;         /* [n] */
	uint16_t *up, *down;    /* [n * npeers] who gets a peer's partial sum, and who gives it the result; root: itself */
};
int lh_trees_init(struct lh_trees *t, unsigned n, unsigned npeers, struct lh_err *err);
void lh_trees_done(struct lh_trees *t);
/* Every block has a weight, and trees that lead from every peer to its root. */
int lh_trees_check(const struct lh_trees *t, struct lh_err *err);
/* The same trees among these peers only, ranks[n], ascending, who are numbered anew: what passed through another one goes to
 * the next on its way that is there. The same on everybody who asks. */
int lh_trees_among(const struct lh_trees *t, const unsigned *ranks, unsigned n, struct lh_trees *ret, struct lh_err *err);

#define LH_CACHE_ALL (UINT64_C(1) << 62)
#define LH_SAMPLE_BYTES_MAX (UINT64_C(256) << 20)  /* of one sample, as stored */
#define LH_DATA_SAMPLES_MAX (UINT64_C(1) << 40)
#define LH_PREFETCH_MAX 4096                       /* microbatches */
/* Where samples are read from, instead of being made by each peer (docs/decisions/0034). */
struct lh_store_config {
	char name[32];
	char host[64];           /* numeric address; "": there is none */
	uint16_t port;
	uint64_t sample_bytes;   /* of each on the wire; 0: those of the model's stored form */
	uint64_t cache_bytes;    /* that a peer keeps; 0: nothing, LH_CACHE_ALL */
	uint32_t prefetch;       /* microbatches read ahead */
};

struct lh_peer_endpoint {
	char name[32];
	char host[64];        /* numeric address */
	uint16_t port;
	double samples_per_s; /* declared pace; also the weight by which samples are dealt */
	uint32_t site;        /* peers with the same number are near each other (two-level) */
	uint32_t share;       /* butterfly: weight of the part of the sum that this peer makes; all 0: equal */
	uint32_t absent;      /* elastic: 1: not there when the run begins, so not of the first group; joins it later */
};

/* What of a checkpoint a peer takes that goes on after it (trainer/checkpoint.h). */
enum lh_take {
	LH_TAKE_ALL,    /* the same peer of as many */
	LH_TAKE_SHARED, /* not what was that peer's alone, nor what it still had to give: another takes that */
	LH_TAKE_HELD,   /* only what it still had to give, on top of what is there already */
};
extern const char *const lh_take_names[]; /* "all", "shared", "held" */

struct lh_resume {
	uint32_t rank;              /* who takes it */
	char path[320];
	enum lh_take take;
};

struct lh_peer_config {
	int protocol;               /* LH_PEER_PROTOCOL */
	unsigned rank, size;
	struct lh_peer_endpoint *peers; /* [size] */
	char secret[65];            /* 16 ... 64 lower-case hex digits; peers of another run are refused */
	enum lh_engine engine;
	char model[LH_MODEL_SPEC_MAX];
	uint64_t parameters;        /* paced: elements of the pseudo-gradient; cpu: 0 */
	enum lh_wire wire;
	enum lh_algorithm algorithm;
	struct lh_trees trees;      /* packed-trees; with none of them it is a butterfly */
	struct lh_codec_options codec;
	struct lh_sync_options sync;
	uint32_t streams;           /* of each pair, 1 ... LH_STREAMS_MAX; 0: chosen from RTT, window and rate */
	enum lh_sockets sockets;
	uint64_t pace_byte_per_s;   /* of the vector on the wire: a pair is paced to what it carries of it; 0: not */
	uint64_t vector_bytes;      /* one exchange's, on the wire, for windows that are open before it; 0: not known */
	uint32_t part_bytes;        /* of one part of an exchange on the wire, at most; 0: 512 KiB */
	uint32_t window_bytes;      /* of a block's parts that are on their way from one peer to another; 0: what memory allows */
	enum lh_membership membership;
	bool absent;                /* elastic: this peer was not there when the run began; it joins a running group */
	uint32_t incarnation;       /* elastic: how often this rank was started before */
	lh_ns checkpoint_ns;        /* between two checkpoints on disk; 0: none */
	lh_ns interrupted_ns;       /* Young: mean time between interruptions of the job. > 0: a checkpoint is written at
				     * the start, and its time decides the interval (lh_young_ns); checkpoint_ns is 0 */
	uint32_t checkpoint_rounds; /* a checkpoint after each round that this divides; 0: none by rounds */
	uint32_t checkpoint_keep;   /* so many stay on disk; 0: 2 */
	char checkpoint_dir[256];   /* of this peer; "" without checkpoints */
	uint32_t resume_round;      /* > 0: the run goes on after this round, from the files of `resume`; of each rank's, the
				     * first is not LH_TAKE_HELD and the others are */
	struct lh_resume *resume;   /* [nresume] */
	uint32_t nresume;
	uint64_t bench_elements;    /* > 0: no training, but exchanges of so many elements (trainer/bench.h) */
	uint64_t target_batch;
	uint32_t microbatch, epochs;
	enum lh_precision precision; /* of activations: engine cuda */
	uint32_t gpu;               /* engine cuda: of several */
	bool offload;               /* engine cuda: updates and their moments are the host's, for want of the GPU's memory */
	bool deterministic;         /* same seed, same membership: same bits */
	double learning_rate;
	struct lh_optim_options optim;
	uint64_t seed;
	lh_ns deadline_ns;
	enum lh_data data;          /* cpu: AUTO is the model's own */
	uint64_t data_samples;      /* made-up data: a pass has so many; 0: endless */
	struct lh_store_config store;
	bool takes_turns;           /* shares a device: calculates step by step in turn with the others (common/turn.h) */
	char data_dir[256];         /* where the shipped data sets are */
	/* Test hook: flip one bit of the parameters of `flip_rank` after epoch `flip_epoch` (0: never). */
	unsigned flip_rank;
	uint32_t flip_epoch;
	/* Test hook: burn this much CPU in every step, to starve the pace. */
	lh_ns starve_ns;
	uint32_t die_step;          /* elastic, test hook: killed (SIGKILL, by itself) at this step of the protocol, from 1; 0: never */
};

/* Document <-> struct. read: refuses unknown versions, missing or mistyped keys, out-of-range values.
 * The string returned by print is malloc'ed. */
int lh_peer_config_read(const char *text, size_t len, struct lh_peer_config *ret, struct lh_err *err);
int lh_peer_config_print(const struct lh_peer_config *c, char **ret_text, struct lh_err *err);
void lh_peer_config_done(struct lh_peer_config *c);

/* Young's interval between checkpoints: sqrt(2 x write time x mean time between interruptions of the job), at least
 * the write time itself. */
lh_ns lh_young_ns(lh_ns write_ns, lh_ns interrupted_ns);

enum lh_event_kind {
	LH_EVENT_LISTENING, /* the port is open */
	LH_EVENT_JOINED,    /* connected to every peer, model built, initial parameters hashed */
	LH_EVENT_EPOCH,     /* one round committed */
	LH_EVENT_EVAL,      /* held-out evaluation after the last epoch (rank 0, cpu engine) */
	LH_EVENT_BENCH,     /* one exchange of `longhaul bench` */
	LH_EVENT_FINISHED,
	LH_EVENT_FAILED,
	/* Only with membership elastic; docs/decisions/0017-membership.md */
	LH_EVENT_VIEW,      /* another group of members begins; told by each of its members */
	LH_EVENT_SYNCED,    /* this peer, which joined, has the group's state */
	LH_EVENT_CHECKPOINT, /* a checkpoint is on disk */
	LH_EVENT_LEFT,      /* this peer left the group as it was told to (LH_CONTROL_NOTICE); FINISHED follows */
	LH_EVENT_SAMPLES,   /* elastic: some of the samples of an epoch that is told next, where they do not all fit there */
};

extern const char *const lh_event_names[]; /* "listening", ... by enum, NULL-terminated */

/* Why there is another group. Of several reasons, the first in this order. */
enum lh_view_cause {
	LH_VIEW_START,    /* the first group of the run (view 1) */
	LH_VIEW_LOST,     /* a member died, stalled or was cut off */
	LH_VIEW_MISMATCH, /* the members' results differed: the round is done again */
	LH_VIEW_JOINED,
	LH_VIEW_LEFT,
};
extern const char *const lh_view_cause_names[]; /* "start", "lost", ... by enum, NULL-terminated */

#define LH_MEMBERS_MAX 64 /* peers of a run with elastic membership: sets of them are masks */

/* Whether all peers hold the same parameters after a commit. */
enum lh_shared {
	LH_SHARED_YES,   /* they do, or something broke */
	LH_SHARED_NO,    /* each has updated its own since the last exchange, or averaged with some of them only */
	LH_SHARED_NEVER, /* asynchronous: they are never meant to */
};

struct lh_event {
	enum lh_event_kind kind;
	unsigned rank;
	lh_ns t_ns;
	/* EPOCH */
	uint32_t epoch;            /* from 1 */
	uint32_t view;             /* elastic: the group that committed it (VIEW has its members), from 1; else 0 */
	lh_ns begin_ns;            /* previous commit of this peer, or the go */
	lh_ns calc_end_ns;         /* this peer's share of the batch is done, pacing waited out */
	lh_ns exchange_end_ns;     /* the averaged gradient is here; elastic: on all members, as they said */
	lh_ns commit_ns;           /* the update is applied */
	uint64_t samples;          /* of this peer, this epoch */
	uint64_t total_samples;    /* of all peers, this epoch: what the averaged gradient was divided by; 0: not known */
	char ranges[256];          /* which they were, "0+32,48+16": first id and how many; "": not told. SAMPLES too, which has
				    * epoch and these: an epoch's own are behind those */
	uint64_t bytes_sent, bytes_received; /* on peer sockets, framing included */
	double loss_sum;           /* over its samples; NaN where the engine has no loss */
	lh_ns busy_ns;             /* thread CPU time of the calculation */
	lh_ns late_ns;             /* how far behind the declared pace the share ended; 0 = on time */
	lh_ns held_ns, queued_ns;  /* takes_turns: had the shared device; waited for it */
	uint32_t steps, late_steps; /* microbatches of the share; those of them that ended later than the pace allows */
	uint32_t groups;           /* matchmaking: so many groups averaged this round, each by itself; 0: not told */
	uint32_t group, group_size; /* who leads this peer's, a rank; of how many it is */
	uint64_t skipped;          /* updates that this peer has left out until now: fp16, the sum was not finite */
	/* Of samples that come from a store: bytes that came, framing included; samples that came and that were in the cache, by
	 * when they were read, which may be ahead of their use; how long this peer had nothing to calculate with. */
	uint64_t data_bytes, data_samples, data_cached;
	lh_ns data_wait_ns;
	double held_back_l1;       /* elastic: sum of |r| of what error feedback holds back: lost with this peer; else NaN */
	uint32_t uses;             /* the newest round whose exchange this commit applied; 0: none */
	enum lh_shared shared;     /* after this commit */
	uint64_t state_hash;       /* of all parameters after the commit (JOINED too: of the initial ones) */
	/* BENCH: epoch, begin_ns, exchange_end_ns, bytes_sent, bytes_received, busy_ns (CPU of the process, kernel's
	 * share included) and */
	uint64_t wrong;            /* elements of the result that are not what they must be */
	lh_ns tcp_window_ns;       /* longest of all streams: stopped by the receiver's window */
	uint64_t tcp_retransmits;  /* segments, all streams */
	/* JOINED, with bytes_sent and bytes_received before the first exchange: greetings, and what opens windows */
	uint64_t parameters;
	/* EVAL */
	char metric[32];           /* "held_out_accuracy", "held_out_loss_nats", with its reference below */
	double value, reference;   /* reference: chance level, or unigram entropy */
	/* FAILED */
	int culprit;               /* rank of the peer that went away or stalled; -1: this one */
	char reason[256];
	/* VIEW, with `view`: its number. Ranks are bits: 1 << rank. */
	uint64_t members, gone, came; /* of this group; of the one before and not of this; the other way round. A rank that
				    * was started anew between the two is in both */
	enum lh_view_cause cause;
	lh_ns noticed_ns;          /* when this peer first knew of the cause; a joiner: when it asked to join */
	uint32_t version;          /* rounds that the group has committed. SYNCED, CHECKPOINT, LEFT: of the state */
	uint32_t aborted_round;    /* the round under way, which is done again by this group; 0: none was, or it was
				    * committed by the change */
	uint64_t samples_redealt;  /* of that round: dealt to peers that are gone, and dealt again */
	/* SYNCED, with begin_ns, bytes_received, state_hash */
	unsigned donor;            /* rank that the last part of the state came from */
	/* CHECKPOINT, with begin_ns, state_hash */
	uint64_t bytes;            /* of the file */
};

/* One line with its newline and a NUL, into buf (LH_EVENT_LINE_MAX is always enough); returns its length,
 * -ENOSPC, or -EINVAL for an event that parse would refuse (instants of an epoch out of order, ...).
 * A value that is not finite is written as null and read back as NaN. */
int lh_event_print(const struct lh_event *e, char *buf, size_t size);
/* One line without newline. Refuses what print cannot have written. */
int lh_event_parse(const char *line, size_t len, struct lh_event *ret, struct lh_err *err);

/* ---- where a round's time went: one line a round and peer, event "spans" ---- */

/* A peer is one thread, so at every instant of a round it does exactly one of these (docs/MEASUREMENT.md). */
enum lh_span_kind {
	LH_SPAN_OTHER,      /* what has no name of its own: the loop, hashing, telling the harness */
	LH_SPAN_CALCULATE,  /* steps, and waiting out the declared pace */
	LH_SPAN_WAIT,       /* nothing to do until bytes of other peers come */
	LH_SPAN_MATCH,      /* finding the group of this round */
	LH_SPAN_ENCODE,     /* numbers -> wire bytes */
	LH_SPAN_SEND,       /* handing bytes to the kernel */
	LH_SPAN_WINDOW,     /* the same as wait, while the kernel takes no more bytes of some stream */
	LH_SPAN_RECEIVE,    /* taking bytes from the kernel */
	LH_SPAN_REDUCE,     /* reading the own vector, adding, writing results into it */
	LH_SPAN_DECODE,     /* wire bytes -> numbers */
	LH_SPAN_OPTIMISE,   /* the update */
	LH_SPAN_CHECKPOINT, /* writing state to disk, or sending it to a peer that joins */
	LH_SPAN_DATA,       /* nothing to calculate with until samples come from the store */
	LH_SPAN_KINDS
};
extern const char *const lh_span_names[]; /* by enum, NULL-terminated */

#define LH_SPANS_MAX 96          /* single spans of one line, ... */
#define LH_SPANS_SURE 48         /* ... and so many have room whatever their numbers are */
#define LH_SPANS_EXCHANGES_MAX 4 /* exchanges of one line */

struct lh_span {
	enum lh_span_kind kind;  /* of several in one: what most of its time went to */
	uint64_t from_us, to_us; /* since the round's begin, rounded down; to_us >= from_us */
	uint32_t merged;         /* spans that follow each other and are shown as this one; 1: just one */
};

struct lh_spans {
	unsigned rank;
	lh_ns t_ns;
	uint32_t epoch;            /* the round, from 1 */
	lh_ns begin_ns, end_ns;    /* as its EPOCH event: previous commit, commit */
	lh_ns total_ns[LH_SPAN_KINDS]; /* exact; together end_ns - begin_ns */
	lh_ns comm_ns[LH_SPAN_KINDS];  /* of these, after this peer's own share was done */
	/* Exchanges that were under way in this round; to: 0 while it goes on into the next round. */
	uint32_t nexchanges;
	struct { uint32_t number; lh_ns from_ns, to_ns; } exchanges[LH_SPANS_EXCHANGES_MAX];
	/* What TCP says of this round: of all streams to other peers the one that says most, and the sum. */
	bool has_tcp;
	lh_ns tcp_busy_ns, tcp_window_ns, tcp_buffer_ns; /* largest: bytes in flight; stopped by the receiver's window;
							  * by the own send buffer */
	uint64_t tcp_retransmits;  /* sum, segments */
	uint64_t tcp_bytes_sent;   /* sum, payload with what was sent again */
	uint32_t nspans;           /* 0 in rounds that are not shown one by one */
	struct lh_span spans[LH_SPANS_MAX]; /* in order, none overlaps */
};

/* As lh_event_print and lh_event_parse. With LH_SPANS_SURE spans or fewer a line always fits. */
int lh_spans_print(const struct lh_spans *s, char *buf, size_t size);
int lh_spans_parse(const char *line, size_t len, struct lh_spans *ret, struct lh_err *err);
/* Is it such a line? To be asked before lh_event_parse, which refuses them. */
bool lh_spans_is_line(const char *line, size_t len);

/* Commands on the control fd. EOF means "stop". */
#define LH_CONTROL_GO 'g'   /* begin epoch 1 (after every peer has JOINED) */
#define LH_CONTROL_STOP 's' /* finish the round under way, then FINISHED */
#define LH_CONTROL_NOTICE 'n' /* elastic: this peer will be killed soon; write a checkpoint, leave the group after this
			       * round */

#ifdef __cplusplus
}
#endif
#endif
