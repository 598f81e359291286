/* experiment.h - one file of the user: a topology, what is trained on it, how
 * its links are probed, and what changes while it runs.
 *
 * The loader reads YAML (topologies/README.md is the reference) and reports
 * every error of the file at once, each as
 *     file:line:col: error: message
 * with the line and the span underlined and, where one is near, a suggestion.
 */
#ifndef LONGHAUL_EXPERIMENT_H
#define LONGHAUL_EXPERIMENT_H

#include <stdio.h>

#include "longhaul/peer.h"
#include "longhaul/topology.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lh_training {
	bool given;                 /* the file has a training section */
	enum lh_engine engine;
	bool engine_auto;           /* engine: auto - cuda as long as nobody has found that it cannot; then cpu */
	enum lh_precision precision;
	bool offload, deterministic;
	char model[LH_MODEL_SPEC_MAX]; /* cpu: "text", "digits", "resnet-lab", "resnet18:width=1/8,image=48", ...; paced: a
				     * catalogue name (RN18 ... RXLM) */
	enum lh_wire wire;          /* element type on the wire */
	enum lh_algorithm algorithm; /* of the all-reduce; unused while `choose` */
	bool choose;                /* algorithm: auto - the fastest by prediction from the probe */
	struct lh_codec_options codec;
	struct lh_sync_options sync;
	uint32_t streams;           /* 0: auto */
	enum lh_sockets sockets;
	enum lh_membership membership;
	bool young;                 /* checkpoint interval: by Young's formula from the spot model */
	lh_ns checkpoint_ns;        /* 0: none */
	uint32_t checkpoint_rounds; /* 0: none by rounds */
	uint32_t checkpoint_keep;   /* so many of a peer stay on disk */
	bool hivemind;              /* profile: hivemind; the other fields are set accordingly */
	enum lh_data data;          /* cpu: what the model learns from, never AUTO once the model is known */
	uint64_t target_batch;      /* samples that all peers reach together, per epoch */
	uint32_t microbatch;        /* samples of one forward and backward pass; 1 while it is not chosen yet */
	bool microbatch_auto;       /* as many as memory allows: chosen before the run */
	uint32_t epochs;            /* averaging rounds, warm-up included */
	uint32_t warmup;            /* rounds at the start that the summary leaves out */
	bool device_turns;          /* peers calculate in turn, step by step, as on one device */
	bool device_turns_given;    /* else they do where they share one: engine cuda */
	double samples_per_s;       /* pace of each cpu peer that declares none itself */
	double learning_rate;
	struct lh_optim_options optim; /* of sync.optimizer */
	uint64_t seed;
	lh_ns deadline_ns;          /* no byte from any peer for this long ends the run */
	/* Samples that come over the network; docs/decisions/0034. */
	unsigned store;             /* node that holds them; 0: every peer makes its own */
	lh_bytes sample_bytes;      /* of one, as stored; 0: the model's own form */
	uint64_t data_samples;      /* made-up data: so many, gone through pass by pass; 0: endless */
	lh_bytes cache_bytes;       /* that each peer keeps of what it read; LH_CACHE_ALL */
	uint32_t prefetch;          /* microbatches that a peer reads ahead */
};

struct lh_probe_spec {
	lh_ns tolerance_abs_ns;     /* |RTT error| <= max(abs, rel x RTT asked) */
	lh_ppb tolerance_rel_ppb;
	uint32_t pings;             /* RTT samples per link */
	lh_ns goodput_ns;           /* length of one goodput measurement */
	uint32_t streams;           /* k of the k-stream goodput */
};

enum lh_change_kind {
	LH_CHANGE_LINK, LH_CHANGE_CUT, LH_CHANGE_HEAL, LH_CHANGE_PARTITION, LH_CHANGE_KILL,
	LH_CHANGE_NOTICE, /* elastic: the peer is told that it will be killed */
	LH_CHANGE_ADD,    /* elastic: the peer is started (again) */
};

struct lh_change { /* one line of `schedule:`, or one row of a trace */
	lh_ns at_ns;            /* after the first epoch began */
	enum lh_change_kind kind;
	unsigned from, to;      /* LINK, CUT, HEAL: the ordered pair (a `between` gives two changes) */
	struct lh_impairment imp; /* LINK: the complete new state */
	uint64_t group_mask;    /* PARTITION: bit s = site s is on side A; links across are cut */
	unsigned peer;          /* KILL, NOTICE, ADD */
	bool drawn;             /* by a peer's spot model, not written in the schedule or a trace */
};

/* When a peer's machine is taken away and given back: `spot:`. Expanded into changes before the run, from the seed. */
struct lh_spot {
	lh_ns mean_ns;      /* Poisson: mean time between interruptions of a running peer; 0: none */
	lh_ns notice_ns;    /* from the notice to the kill */
	lh_ns restart_ns;   /* from the kill to the start of the next one; < 0: it stays away */
	lh_ns until_ns;     /* Poisson: nothing is drawn for later */
};

struct lh_experiment {
	struct lh_topology topology;
	struct lh_training training;
	struct lh_probe_spec probe;
	struct lh_spot *spot;      /* [topology.npeers] */
	bool *absent;              /* [topology.npeers] not there at the start: the schedule adds it */
	struct lh_change *changes; /* sorted by at_ns; links that only these make lossy are in packet mode already */
	size_t nchanges;
	unsigned dilation;         /* >= 1: everything that takes time is made to take so many times as long */
	bool dilated;              /* lh_experiment_dilate() was called */
	char *canonical; /* the experiment as YAML again: includes and --set resolved; goes into the manifest */
};

/* One `--set a.b=value`; later ones win. The value is YAML; topologies/README.md says how items of lists are named. */
struct lh_override { const char *text; };

/* Read and check `path`: a file, or "preset:NAME" for one of the presets in the program. On failure every diagnostic
 * was printed to `diag` (may be NULL), *err says how many (or, without diag, the first), and nothing is allocated.
 * *ret_exp is the caller's to lh_experiment_done(). err->exit is LH_EXIT_INPUT. */
int lh_experiment_load(const char *path, const struct lh_override *overrides, size_t noverrides,
		       FILE *diag, struct lh_experiment *ret_exp, struct lh_err *err);
/* The same from memory; `name` stands for the file in diagnostics, `include` resolves
 * against the current directory. For tests and fuzzing. */
int lh_experiment_load_text(const char *name, const char *text, size_t len,
			    const struct lh_override *overrides, size_t noverrides,
			    FILE *diag, struct lh_experiment *ret_exp, struct lh_err *err);
/* Where sockets are tuned: every peer's TCP settings from the rates and RTTs of its paths, instead of the file's buffers.
 * Loading and renewing the canonical text do it. */
void lh_experiment_tune(struct lh_experiment *exp);
/* What `streams: auto` comes to: so many that the windows fill the longest path; else the file's number. */
uint32_t lh_experiment_streams(const struct lh_experiment *exp);
/* Of an exchange, on the wire: 512 KiB, and with tuned sockets less where paths are slow. */
uint32_t lh_experiment_part_bytes(const struct lh_experiment *exp);
/* Of a block's parts, under way from one peer to another, with tuned sockets: what the longest paths hold, and no more than
 * caches do where they are short. 0: not limited but by memory. */
uint32_t lh_experiment_window_bytes(const struct lh_experiment *exp);
/* After a caller changed the plain data (a sweep sets every RTT): tune again and make `canonical` again. */
int lh_experiment_renew_canonical(struct lh_experiment *exp, struct lh_err *err);
/* Once, last, where dilation is above 1: delays, timers and the schedule times it, rates and paces divided by it (to a whole
 * bit/s). Windows, queues in bytes or packets and everything counted stay, since rate x time does. `canonical` stays as the
 * user wrote it. Does nothing a second time. */
void lh_experiment_dilate(struct lh_experiment *exp);
/* What its numbers are dilated by now: 1 unless lh_experiment_dilate() was called. */
static inline unsigned lh_experiment_scale(const struct lh_experiment *exp)
{
	return exp->dilated ? exp->dilation : 1;
}
/* How often any peer is taken away, as the spot model and the schedule say: the sum of 1 / mean over the peers
 * with one, and the schedule's kills by the time of the last of them. 0: never. */
double lh_experiment_interruptions_per_s(const struct lh_experiment *exp);
void lh_experiment_done(struct lh_experiment *exp);

/* Every scalar of a YAML text such as `canonical` with the way to it: "training.strategy", "sites.us.peers[us-0].nic",
 * "links[us->eu].delay" (items of lists by their name or their ends, else by number from 0). Keys need not be known. */
typedef void lh_flat_fn(void *ctx, const char *path, const char *value);
int lh_experiment_flatten(const char *name, const char *text, size_t len, lh_flat_fn *fn, void *ctx,
			  struct lh_err *err);

/* JSON Schema of the file format, generated from the key table. */
int lh_schema_print(FILE *out, struct lh_err *err);
/* The key table as Markdown (topologies/README.md's reference part). */
int lh_schema_print_reference(FILE *out, struct lh_err *err);

/* The catalogue: measured size and wall rate of the study's models on its devices, and behind them the user's own. */
struct lh_catalogue_entry {
	char model[LH_NAME_MAX], device[LH_NAME_MAX];
	uint64_t parameters;
	double samples_per_s; /* wall clock, one device, no averaging */
	/* The user's own, as `longhaul calibrate` measured them. */
	bool own;
	char engine[8], precision[8], products[96], measured[24];
	uint32_t microbatch;
};
/* NULL when the pair is not in the catalogue. Devices are found whatever their case; a model by the study's name or by that
 * of its table ("RN18", "resnet18"). Valid until the next load or add. */
const struct lh_catalogue_entry *lh_catalogue_find(const char *model, const char *device);
/* i-th entry, NULL past the end. */
const struct lh_catalogue_entry *lh_catalogue_at(size_t i);
/* Do both names mean the same model? */
bool lh_catalogue_same_model(const char *a, const char *b);

/* The user's own devices: a JSON file "longhaul-catalogue/1". Process-wide, not for several threads. A file that is not
 * there, or not ours to read, is an empty one; of a bad one nothing is taken and *err names the place. */
int lh_catalogue_load(const char *path, struct lh_err *err);
int lh_catalogue_load_text(const char *name, const char *text, size_t len, struct lh_err *err);
/* May such a pair be added? Names as experiments can write them, and no device of the program's own catalogue. */
int lh_catalogue_name_check(const char *model, const char *device, struct lh_err *err);
/* Into the file, in place of the pair's earlier entry; folders are made. The file is at every moment the old one or the
 * new one, and two that add at a time both succeed. */
int lh_catalogue_add(const char *path, const struct lh_catalogue_entry *e, struct lh_err *err);

#ifdef __cplusplus
}
#endif
#endif
