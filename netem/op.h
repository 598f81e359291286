/* op.h - the kinds of operations: one row each with how to say, print, do and undo it. */
#ifndef NETEM_OP_H
#define NETEM_OP_H

#include <stdio.h>

#include "net.h"

struct lh_op_ops {
	const char *name;
	/* "qdisc netem": what is done, for progress and errors; the object goes before it. */
	void (*what)(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size);
	/* The equivalent shell command, one line without its end. */
	void (*command)(const struct lh_plan *plan, const struct lh_op *op, FILE *out);
	/* Do it, or queue it on the namespace's writer with `at` (its index) as the tag. */
	int (*apply)(struct lh_net *net, const struct lh_op *op, size_t at, struct lh_err *err);
	/* Undo it if it was done; NULL: falls with the interface or namespace that it belongs to. */
	int (*undo)(struct lh_net *net, const struct lh_op *op, struct lh_err *err);
	const char *undone_with; /* where undo is NULL: what it falls with */
};

extern const struct lh_op_ops lh_op_table[LH_OP_KINDS];

/* The user's object that the operation is about: "link us->eu", "peer us-0". */
const char *lh_op_object(const struct lh_plan *plan, const struct lh_op *op);

/* "link us->eu: qdisc netem". Returns buf. */
char *lh_op_print(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size);

/* Rows' functions; printing in op_print.c, the kernel's side in op.c. */
#define LH_OP_PRINTERS(x)                                                                        \
	void lh_op_##x##_what(const struct lh_plan *plan, const struct lh_op *op, char *buf, size_t size); \
	void lh_op_##x##_command(const struct lh_plan *plan, const struct lh_op *op, FILE *out)
LH_OP_PRINTERS(netns);
LH_OP_PRINTERS(sysctl);
LH_OP_PRINTERS(loopback);
LH_OP_PRINTERS(veth);
LH_OP_PRINTERS(up);
LH_OP_PRINTERS(offloads);
LH_OP_PRINTERS(qdisc);
LH_OP_PRINTERS(neighbour);
LH_OP_PRINTERS(address);
LH_OP_PRINTERS(route);
LH_OP_PRINTERS(rule);
LH_OP_PRINTERS(ready);
#undef LH_OP_PRINTERS

#endif
