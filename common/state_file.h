/* state_file.h - a checkpoint as bytes: what it says of itself, a table of tensors, and the tensors.
 *
 *     0          8         12           16           24           32           36          40        48
 *     | "lhckpt\n" | format | byte order | head bytes | file bytes | fact bytes | tensors   | head hash | facts, table
 *     head bytes: the tensors, one after the other, as the table says
 *
 * The head's own numbers are little-endian; the tensors are as the machine has them, and "byte order" is 0x01020304 as
 * that machine has it. Facts are lines "key=value": what the state is of, and where in the run it was taken. Every byte is
 * under a hash (XXH64): the head's own, or its tensor's. There is one way to lay out given tensors, and a file laid out in
 * another is refused. Written by peers (trainer/checkpoint.h), read by them and by the harness: docs/decisions/0025.
 */
#ifndef COMMON_STATE_FILE_H
#define COMMON_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "longhaul/err.h"

#define LH_STATE_FORMAT 2
#define LH_STATE_FILE_NAME "peer-%u-round-%010u.checkpoint" /* rank, rounds */
#define LH_STATE_FIXED 48                    /* bytes before the facts */
#define LH_STATE_ENTRY 192                   /* bytes of one row of the table */
#define LH_STATE_NAME_MAX 112                /* of a tensor, NUL included */
#define LH_STATE_DIMS_MAX 4
/* Limits of what is read; beyond them nothing is allocated. */
#define LH_STATE_FACTS_MAX 16384
#define LH_STATE_TENSORS_MAX 16384
#define LH_STATE_HEAD_MAX (LH_STATE_FIXED + LH_STATE_FACTS_MAX + LH_STATE_TENSORS_MAX * LH_STATE_ENTRY)

enum lh_state_kind {
	LH_STATE_PARAMETER,
	LH_STATE_OPTIMIZER, /* moments, counters */
	LH_STATE_BUFFER,    /* of this peer's model alone: running statistics */
	LH_STATE_SHARED,    /* of the strategy, the same on all peers */
	LH_STATE_OWN,       /* of the strategy, this peer's alone; means nothing to another number of peers */
	LH_STATE_HELD,      /* what this peer has still to give: only the sum over the peers counts */
	LH_STATE_KINDS
};
enum lh_state_type { LH_STATE_F32, LH_STATE_F64, LH_STATE_U64, LH_STATE_U8, LH_STATE_TYPES };
extern const char *const lh_state_kind_names[], *const lh_state_type_names[]; /* by enum, NULL-terminated */

struct lh_state_tensor {
	char name[LH_STATE_NAME_MAX];
	enum lh_state_kind kind;
	enum lh_state_type type;
	uint32_t ndim;                      /* 1 ... */
	uint64_t shape[LH_STATE_DIMS_MAX];
	uint64_t offset, bytes, hash;       /* in the file */
};

struct lh_state_head {
	char *facts;               /* fact_bytes and a NUL */
	uint32_t fact_bytes, ntensors;
	struct lh_state_tensor *tensors;
	uint64_t bytes;            /* of the head */
	uint64_t file_bytes;
};

/* Bytes of one element. */
size_t lh_state_width(enum lh_state_type type);
/* Elements times width; 0 when that is beyond 2^63, or a dimension is 0. */
uint64_t lh_state_tensor_bytes(const struct lh_state_tensor *t);
/* Where everything goes: fills bytes and file_bytes of the head and offset and bytes of its tensors. -EINVAL: a limit. */
int lh_state_lay_out(struct lh_state_head *h, struct lh_err *err);
/* The head as bytes, h->bytes of them. */
void lh_state_head_print(const struct lh_state_head *h, uint8_t *ret);

/* How long the head is that begins with these LH_STATE_FIXED bytes; 0: no head begins so, and *err says why. */
uint64_t lh_state_head_bytes(const uint8_t fixed[LH_STATE_FIXED], struct lh_err *err);
/* `file_bytes`: of the whole file, of which `bytes` begins it and has at least the head. Texts of errors do not name the
 * file. */
int lh_state_head_parse(const uint8_t *bytes, size_t len, uint64_t file_bytes, struct lh_state_head *ret,
			struct lh_err *err);
void lh_state_head_done(struct lh_state_head *h);

/* Is that the name of one? */
bool lh_state_file_name(const char *name, unsigned *ret_rank, uint32_t *ret_round);
/* Read and check the head of an open file, and with `whole` the hash of every tensor. */
int lh_state_file_read(int fd, bool whole, struct lh_state_head *ret, struct lh_err *err);

/* The value of a fact, up to its newline; NULL: there is none. *ret_len: without the newline. */
const char *lh_state_fact(const struct lh_state_head *h, const char *key, size_t *ret_len);
/* The same as a whole number; -ENOENT, -EINVAL. */
int lh_state_fact_number(const struct lh_state_head *h, const char *key, uint64_t *ret);
const struct lh_state_tensor *lh_state_find(const struct lh_state_head *h, const char *name);

#endif
