/* opcase.h - one operation at an awkward shape, on the backend under test: its inputs and parameters from seeded
 * streams that tests/reference/make-references.py makes too, a random dy, and everything that forward and backward
 * give.
 *
 * A value is unit(stream of a name, index): k 2^-23 - 1, exact in every type here. Whatever has a state-dict shape is
 * numbered in that shape's order, whatever our layout.
 */
#ifndef OPCASE_H
#define OPCASE_H

#include "backend/cpu/ops.h"
#include "model/graph.h"

/* FNV-1a of "name#what". */
uint64_t lh_stream_of(const char *name, const char *what);
double lh_unit(uint64_t stream, size_t i);   /* -1 ... 1 - 2^-23 */
uint64_t lh_draw(uint64_t stream, size_t i); /* 63 bits */

/* A parameter that lets signals through at every depth: by its name and shape. */
void lh_fill_param(const struct lh_graph_param *p, real *ours);
/* Theirs from ours, element order of the state dict. */
void lh_to_theirs(const struct lh_graph_param *p, const real *ours, real *theirs);

struct lh_opcase {
	const char *name;
	size_t n;                          /* samples */
	void (*build)(struct lh_graph *g); /* its last node is the one */
	double bound_f32;                  /* of a tensor's error against double, relative to its length */
	double bound_bf16, bound_f16;      /* against fp32 from the same inputs */
};
extern const struct lh_opcase lh_opcases[];
extern const size_t lh_opcases_count;

enum { LH_OPBENCH_SAMPLES_MAX = 320 };
struct lh_opbench {
	const struct lh_opcase *c;
	struct lh_graph *g;
	const struct lh_node *node;
	const struct lh_backend_ops *ops;
	struct lh_backend *backend;
	struct lh_op_run run;        /* its pointers: memory below, the backend's is the process's */
	void *x[LH_NODE_INPUTS_MAX]; /* real or int32_t */
	bool integer[LH_NODE_INPUTS_MAX];
	size_t x_count[LH_NODE_INPUTS_MAX], param_count[LH_NODE_PARAMS_MAX], y_count;
	real *dx[LH_NODE_INPUTS_MAX], *param[LH_NODE_PARAMS_MAX], *dparam[LH_NODE_PARAMS_MAX], *y, *dy;
	uint64_t ids[LH_OPBENCH_SAMPLES_MAX];
};

void lh_opbench_open(const struct lh_opcase *c, const struct lh_backend_ops *ops, struct lh_opbench *b);
void lh_opbench_forward(struct lh_opbench *b);
/* add: dx is added to what is there (dparam always is; set it to 0 first). */
void lh_opbench_backward(struct lh_opbench *b, bool add);
const struct lh_graph_param *lh_opbench_param(const struct lh_opbench *b, unsigned k); /* NULL: none */
void lh_opbench_close(struct lh_opbench *b);

#endif
