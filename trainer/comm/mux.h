/* mux.h - several all-reduces in turn on one transport: exchange e belongs to number (e - 1) % n.
 *
 * For what takes several exchanges of different vectors one after the other (two factors of a matrix, the fragments of a
 * model). Each all-reduce is made with `first` = its number + 1, `stride` = n, and its port as the transport. Others
 * may be in the exchange after ours already; with n > 1 several may be under way at once, too, up to n - 1.
 */
#ifndef TRAINER_COMM_MUX_H
#define TRAINER_COMM_MUX_H

#include "transport.h"

struct lh_mux;

/* Becomes the user of t, which must outlive it. */
int lh_mux_new(struct lh_transport *t, unsigned npeers, unsigned n, struct lh_mux **ret, struct lh_err *err);
/* For one all-reduce, which attaches itself to it. Has no other operations than those that an all-reduce needs. */
struct lh_transport *lh_mux_port(struct lh_mux *m, unsigned number);
/* After the all-reduces. NULL is fine. */
void lh_mux_free(struct lh_mux *m);

#endif
