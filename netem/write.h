/* write.h - requests to the kernel through libnl: batches, acknowledgements, the kernel's own words.
 *
 * A writer is one netlink socket; it stays in the namespace where it was opened. Requests are queued and sent many in
 * one call; only the last of a batch asks for an acknowledgement, since the kernel works through a batch in order before
 * the call returns and reports every failure anyway. libnl's error numbers are folded ("unspecific failure"), so errno and
 * extended-ack text are taken raw in an error callback.
 */
#ifndef NETEM_WRITE_H
#define NETEM_WRITE_H

#include <stddef.h>

#include "longhaul/err.h"

struct lh_writer;
struct nl_msg;

/* In the namespace of the calling process. */
int lh_writer_open(struct lh_writer **ret, struct lh_err *err);
void lh_writer_close(struct lh_writer *w);
/* The socket: any ioctl about interfaces of its namespace works on it, wherever the process is. */
int lh_writer_fd(const struct lh_writer *w);

/* Take `msg` (freed in any case; NULL is -ENOMEM) into the batch. `tag` names it should it fail. Nothing has
 * happened until lh_writer_flush(), but a full batch is sent at once; then a failure is reported here. */
int lh_writer_queue(struct lh_writer *w, struct nl_msg *msg, size_t tag, size_t *ret_failed_tag, struct lh_err *err);
/* Send what is queued and wait. On failure the first failing request's errno is returned, *err has just the kernel's
 * words, and *ret_failed_tag (may be NULL) is its tag; requests after it in the batch may have taken effect. */
int lh_writer_flush(struct lh_writer *w, size_t *ret_failed_tag, struct lh_err *err);
/* Both at once, for a single request. */
int lh_writer_do(struct lh_writer *w, struct nl_msg *msg, struct lh_err *err);

#endif
