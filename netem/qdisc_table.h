/* qdisc_table.h - what each kind of queueing discipline provides; private to qdisc*.c. */
#ifndef NETEM_QDISC_TABLE_H
#define NETEM_QDISC_TABLE_H

#include "qdisc.h"

/* Where one comparison reports its fields. */
struct lh_compare {
	const char *object;
	lh_verify_fn *each;
	void *ctx;
	int differences;
};

struct lh_qdisc_ops {
	const char *kind; /* the kernel's name */
	/* Contents of TCA_OPTIONS, the attribute included. */
	int (*fill)(struct nl_msg *msg, const struct lh_qdisc *q, struct lh_err *err);
	/* `options` is TCA_OPTIONS. */
	int (*parse)(const struct nlattr *options, struct lh_qdisc_seen *ret, struct lh_err *err);
	void (*compare)(struct lh_compare *cmp, const struct lh_qdisc *asked, const struct lh_qdisc_seen *got);
	void (*print_tc)(const struct lh_qdisc *q, FILE *out);
};

extern const struct lh_qdisc_ops lh_qdisc_netem_ops, lh_qdisc_tbf_ops;

/* libnl's verdict about a message under construction: the only failure is that it is full. */
int lh_qdisc_full(const char *kind, struct lh_err *err);

/* Report one field; `same` is the caller's judgement, which knows the kernel's rounding. */
void lh_compare_text(struct lh_compare *cmp, const char *field, const char *asked, const char *got,
		     enum lh_verify_verdict verdict);
void lh_compare_number(struct lh_compare *cmp, const char *field, int64_t asked, int64_t got, bool same);

/* bits/s -> the kernel's bytes/s, at least 1 for a rate that is not 0 (0 would mean "no limit"). */
uint64_t lh_rate_bytes(lh_bps rate_bps);

#endif
