#include "elastic_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum { LAST_BYTES = 16 }; /* sum of the parts' hashes, hash of the state */

static void put64(uint8_t *at, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		at[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

/* ---- whose ---- */

static uint64_t state_bytes(const struct lh_state_of *of)
{
	return of->s && of->s->ops->shared_bytes ? of->s->ops->shared_bytes(of->s) : of->ops->state_bytes(of->engine);
}

static int state_read(const struct lh_state_of *of, uint64_t offset, size_t n, uint8_t *dst, struct lh_err *err)
{
	return of->s && of->s->ops->shared_read ? of->s->ops->shared_read(of->s, offset, n, dst, err) :
						  of->ops->state_read(of->engine, offset, n, dst, err);
}

static int state_write(const struct lh_state_of *of, uint64_t offset, size_t n, const uint8_t *src, struct lh_err *err)
{
	return of->s && of->s->ops->shared_write ? of->s->ops->shared_write(of->s, offset, n, src, err) :
						   of->ops->state_write(of->engine, offset, n, src, err);
}

uint64_t lh_state_hash(const struct lh_state_of *of)
{
	return of->s && of->s->ops->shared_hash ? of->s->ops->shared_hash(of->s) : of->ops->state_hash(of->engine);
}

uint32_t lh_state_parts(const struct lh_state_of *of)
{
	return (uint32_t)((state_bytes(of) + LH_STATE_PART - 1) / LH_STATE_PART);
}

static size_t part_bytes(const struct lh_state_of *of, uint32_t part)
{
	uint64_t left = state_bytes(of) - (uint64_t)part * LH_STATE_PART;
	return left < LH_STATE_PART ? (size_t)left : LH_STATE_PART;
}

static uint64_t part_hash(const uint8_t *data, size_t n, uint32_t part)
{
	return lh_hash64(data, n, lh_mix64(part));
}

/* ---- giving ---- */

void lh_state_serve(struct lh_state_out *o, uint32_t version)
{
	o->active = true;
	o->version = version;
	o->next = 0;
	o->sum = 0;
}

int lh_state_next(struct lh_state_out *o, const struct lh_state_of *of, struct lh_frame *ret,
		  const void **ret_payload, struct lh_err *err)
{
	unsigned i = 0;
	while (i < LH_STATE_AHEAD && o->busy[i])
		i++;
	if (!o->active || i == LH_STATE_AHEAD)
		return 0;
	if (!o->buffer[i] && !(o->buffer[i] = malloc(LH_STATE_PART)))
		return lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "state for a peer that joins");
	uint32_t parts = lh_state_parts(of);
	size_t n = LAST_BYTES;
	if (o->next < parts) {
		n = part_bytes(of, o->next);
		int rc = state_read(of, (uint64_t)o->next * LH_STATE_PART, n, o->buffer[i], err);
		if (rc)
			return rc;
		o->sum += part_hash(o->buffer[i], n, o->next);
	} else {
		put64(o->buffer[i], o->sum);
		put64(o->buffer[i] + 8, lh_state_hash(of));
		o->active = false;
	}
	*ret = (struct lh_frame){
		.type = LH_FRAME_STATE, .exchange = o->version, .part = o->next++, .length = (uint32_t)n,
	};
	*ret_payload = o->buffer[i];
	o->busy[i] = true;
	return 1;
}

void lh_state_sent(struct lh_state_out *o, const void *payload)
{
	for (unsigned i = 0; i < LH_STATE_AHEAD; i++)
		if (o->buffer[i] == payload)
			o->busy[i] = false;
}

void lh_state_out_lost(struct lh_state_out *o)
{
	o->active = false;
	memset(o->busy, 0, sizeof o->busy);
}

void lh_state_out_done(struct lh_state_out *o)
{
	for (unsigned i = 0; i < LH_STATE_AHEAD; i++)
		free(o->buffer[i]);
	memset(o, 0, sizeof *o);
}

/* ---- taking ---- */

int lh_state_fetch(struct lh_state_in *in, const struct lh_state_of *of, unsigned donor, uint32_t version,
		   lh_ns now_ns, struct lh_err *err)
{
	uint32_t parts = lh_state_parts(of);
	lh_ns begin = in->begin_ns ? in->begin_ns : now_ns; /* of the first attempt: that is how long it took */
	uint64_t bytes = in->bytes;
	free(in->have);
	*in = (struct lh_state_in){
		.active = true, .donor = donor, .version = version, .parts = parts, .begin_ns = begin, .bytes = bytes,
		.have = calloc(parts ? parts : 1, 1),
	};
	return in->have ? 0 : lh_err_sys(err, LH_EXIT_MACHINE, -ENOMEM, "state of the group");
}

static int refuse(const struct lh_frame *f, struct lh_err *err)
{
	return lh_err_set(err, LH_EXIT_BROKE, -EPROTO, "unexpected part %u of the state (%u bytes)", f->part, f->length);
}

int lh_state_take(struct lh_state_in *in, const struct lh_state_of *of, const struct lh_frame *f,
		  const uint8_t *payload, struct lh_err *err)
{
	if (!in->active || f->exchange != in->version)
		return 0;
	in->bytes += LH_FRAME_HEADER + f->length;
	if (f->part == in->parts && f->length == LAST_BYTES) {
		in->told_sum = get64(payload);
		in->told_hash = get64(payload + 8);
		in->has_sum = true;
	} else if (f->part >= in->parts || f->length != part_bytes(of, f->part)) {
		return refuse(f, err);
	} else if (!in->have[f->part]) { /* twice after a change of the group, and then the same */
		int rc = state_write(of, (uint64_t)f->part * LH_STATE_PART, f->length, payload, err);
		if (rc)
			return rc;
		in->have[f->part] = 1;
		in->got++;
		in->sum += part_hash(payload, f->length, f->part);
	}
	if (in->got < in->parts || !in->has_sum)
		return 0;
	if (in->sum != in->told_sum || of->ops->state_hash(of->engine) != in->told_hash)
		return lh_err_set(err, LH_EXIT_BROKE, -EBADMSG, "the state of round %u came altered", in->version);
	int rc = of->s && of->s->ops->taken ? of->s->ops->taken(of->s, err) : 0;
	in->active = false;
	return rc ? rc : 1;
}

void lh_state_in_done(struct lh_state_in *in)
{
	free(in->have);
	memset(in, 0, sizeof *in);
}
