/* sweep.h - the grid behind a sweep: its axes, its cells, the order in which they run, and what its runs say
 * together. Pure; cmd_sweep.c runs it.
 *
 * An axis is `key=v1,v2,...`. The key is one of the file's (as for --set), or one of the short forms:
 *     rtt            RTT of every link between two sites
 *     peers          peers of every site
 *     target-batch, microbatch, epochs, pace, model, wire, algorithm, strategy, streams, ...   training.<key>
 */
#ifndef HARNESS_SWEEP_H
#define HARNESS_SWEEP_H

#include "longhaul/experiment.h"
#include "result_row.h"
#include "stats.h"

#define LH_SWEEP_AXES_MAX 8
#define LH_SWEEP_VALUES_MAX 64
#define LH_SWEEP_CELLS_MAX 4096
#define LH_SWEEP_SCHEMA "longhaul-sweep/1"

struct lh_axis {
	char key[96];             /* as given */
	unsigned nvalues;
	char *values[LH_SWEEP_VALUES_MAX];
};

struct lh_sweep {
	unsigned naxes;
	struct lh_axis axes[LH_SWEEP_AXES_MAX];
	unsigned ncells;          /* product of the axes' lengths */
	unsigned warmup, runs;    /* of each cell */
	uint64_t seed;
};

/* lists[n]: the -L operands. LH_EXIT_INPUT names the operand. */
int lh_sweep_init(struct lh_sweep *s, const char *const *lists, size_t n, unsigned warmup, unsigned runs,
		  uint64_t seed, struct lh_err *err);
void lh_sweep_done(struct lh_sweep *s);

/* Value of an axis in a cell; the last axis varies fastest. */
const char *lh_sweep_value(const struct lh_sweep *s, unsigned cell, unsigned axis);
/* "rtt=50ms, target-batch=256". Returns buf. */
char *lh_sweep_cell_text(const struct lh_sweep *s, unsigned cell, char *buf, size_t size);

/* One run of one cell. pass counts from 0; the first `warmup` passes do not count. */
struct lh_sweep_step {
	unsigned cell, pass;
};
/* Every pass goes through all cells once, each pass in an order of its own drawn from the seed, so that a machine
 * that warms up or slows down does it to all cells alike. ret[ncells * (warmup + runs)]. */
void lh_sweep_order(const struct lh_sweep *s, struct lh_sweep_step *ret);

/* The experiment of a cell: the file with the caller's overrides, then the cell's. Diagnostics go to diag. */
int lh_sweep_load(const struct lh_sweep *s, unsigned cell, const char *file, const struct lh_override *overrides,
		  size_t noverrides, FILE *diag, struct lh_experiment *ret, struct lh_err *err);

enum lh_sweep_metric {
	LH_SWEEP_THROUGHPUT, LH_SWEEP_CALC, LH_SWEEP_COMM, LH_SWEEP_GRANULARITY, LH_SWEEP_EFFICIENCY, LH_SWEEP_RTT,
	LH_SWEEP_LATENCY, LH_SWEEP_BANDWIDTH, LH_SWEEP_WAIT, LH_SWEEP_CODING, LH_SWEEP_UPDATE, /* of LH_SWEEP_COMM */
	LH_SWEEP_METRICS,
};
const char *lh_sweep_metric_name(enum lh_sweep_metric m); /* "throughput_sps", "calc_s_per_epoch", ... */

struct lh_sweep_cell {
	unsigned done, valid;     /* counted runs that ended, and those that may be believed */
	unsigned host_limited;    /* valid runs whose communication this machine set */
	bool paced;               /* engine paced: calculation was waited out */
	struct lh_stats metrics[LH_SWEEP_METRICS]; /* over the valid ones */
};
/* rows[n]: the counted runs of a cell that ended. */
int lh_sweep_cell_compute(const struct lh_result_row *rows, size_t n, struct lh_sweep_cell *ret);

/* cells[ncells]. */
void lh_sweep_print(const struct lh_sweep *s, const struct lh_sweep_cell *cells, FILE *out);
int lh_sweep_write_csv(const struct lh_sweep *s, const struct lh_sweep_cell *cells, FILE *out);
struct json_t *lh_sweep_json(const struct lh_sweep *s, const struct lh_sweep_cell *cells);

/* Plan of the sweep as JSON: what --resume compares. */
struct json_t *lh_sweep_plan_json(const struct lh_sweep *s, const char *canonical);

#endif
